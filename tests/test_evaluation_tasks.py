"""Tasks by their names, and the environments that these mean for a policy."""

import gymnasium as gym
import numpy as np
import pytest

from rl_baselines.config import EnvironmentConfig
from rl_baselines.errors import UsageError
from rl_baselines.evaluation_tasks import SHORT_NAMES, environment_for, find_misfit, parse_task, parse_tasks

OMNI = EnvironmentConfig(
    env="OmnirobotEnv-v0",
    srl_model="ground_truth",
    env_kwargs={"task": "reach", "random_target": True, "shape_reward": True, "max_steps": 30, "is_discrete": False},
    num_stack=2,
)


def kwargs_of(text: str, own: EnvironmentConfig = OMNI) -> dict[str, object]:
    return environment_for(parse_task(text), own).env_kwargs


def test_short_names_are_the_ancestors_flags() -> None:
    assert list(SHORT_NAMES) == ["sc", "cc", "sqc", "ec", "chc", "esc"]
    assert SHORT_NAMES["sc"] == {"task": "reach", "random_target": True}
    assert [parse_task(name).label for name in SHORT_NAMES] == ["reach", "circle", "square", "eight", "chase", "escape"]


def test_options_follow_after_commas_that_lists_may_hold_too() -> None:
    task = parse_task("sc,target_region:[0.2,0.8],max_steps:50")
    assert task.options == {"task": "reach", "random_target": True, "target_region": [0.2, 0.8], "max_steps": 50}
    assert (task.env, task.label) == (None, "reach,target_region:[0.2,0.8],max_steps:50")


def test_a_task_is_the_same_one_whatever_a_policy_was_trained_in() -> None:
    """Options of the policy's own task do not reach into it, also where it is that task; sensors and motion do."""
    assert kwargs_of("circle") == {"task": "circle", "max_steps": 30, "is_discrete": False}
    assert kwargs_of("reach") == {"task": "reach", "max_steps": 30, "is_discrete": False}
    assert kwargs_of("sc") == {"task": "reach", "random_target": True, "max_steps": 30, "is_discrete": False}
    assert kwargs_of("OmnirobotEnv-v0,max_steps:9") == {"max_steps": 9, "is_discrete": False}


def test_another_environment_keeps_what_is_observed_and_how_one_acts() -> None:
    moved = environment_for(parse_task("MobileRobotGymEnv-v0,random_target:true"), OMNI)
    assert (moved.env, moved.srl_model, moved.num_stack) == ("MobileRobotGymEnv-v0", "ground_truth", 2)
    assert moved.env_kwargs == {"is_discrete": False, "random_target": True}
    foreign = environment_for(parse_task("CartPole-v1"), OMNI)
    assert (foreign.env, foreign.srl_model, foreign.env_kwargs) == ("CartPole-v1", None, {})


def test_an_environment_from_elsewhere_keeps_its_options() -> None:
    own = EnvironmentConfig(env="Pendulum-v1", srl_model="native", env_kwargs={"g": 9.0})
    assert environment_for(parse_task("Pendulum-v1"), own) == own
    with pytest.raises(UsageError, match=r"^Pendulum-v1 has no task circle$"):
        environment_for(parse_task("cc"), own)


def test_labels_are_what_was_written_where_two_would_be_alike() -> None:
    assert [task.label for task in parse_tasks(["sc", "cc"])] == ["reach", "circle"]
    assert [task.label for task in parse_tasks(["sc", "reach", "cc"])] == ["sc", "reach", "circle"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["circel"], "unknown task 'circel'; did you mean 'circle'"),
        (["cc", "cc"], "the task 'cc' is named twice; name each task once"),
        (["cc,task:reach"], "the task 'cc,task:reach' names two tasks; name reach instead of cc"),
        (["cc,fast"], "an option of the task 'cc,fast' expects name:value, got 'fast'"),
    ],
)
def test_what_names_no_task(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_tasks(texts)
    assert str(caught.value).startswith(message)


def test_a_task_of_another_of_our_robots() -> None:
    with pytest.raises(UsageError, match=r"^OmnirobotEnv-v0 has no task tomato; it has reach, circle, square"):
        environment_for(parse_task("tomato"), OMNI)


def test_misfits() -> None:
    two, three = (gym.spaces.Box(-1, 1, (n,)) for n in (2, 3))
    wider, four, six = gym.spaces.Box(-5, 5, (2,)), gym.spaces.Discrete(4), gym.spaces.Discrete(6)
    assert find_misfit((wider, four), (two, four)) is None
    assert find_misfit((three, four), (two, four)) == "it observes 2 numbers, and the task gives 3 numbers"
    assert find_misfit((two, six), (two, four)) == "its actions are Discrete(4), and those of the task Discrete(6)"
    named, other = gym.spaces.Dict({"a": two}), gym.spaces.Dict({"b": two})
    assert find_misfit((named, four), (other, four)) is not None and find_misfit((named, four), (named, four)) is None
    pixels = gym.spaces.Box(0, 255, (2,), np.uint8)
    assert find_misfit((pixels, four), (two, four)) is not None
