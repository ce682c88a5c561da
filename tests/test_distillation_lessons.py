"""What a student learns from: which episodes and states of datasets, and which datasets are refused."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from teaching import change_index, fleeing, homing, record, steering

from environments.dataset import Dataset
from rl_baselines.distillation.lessons import (
    LessonPlan,
    Lessons,
    Material,
    check_fit,
    describe_teachers,
    plan_lessons,
    read_material,
)
from rl_baselines.errors import UsageError
from rl_baselines.retention.policy_outputs import OutputKind

WALK = (spaces.Box(-20.0, 20.0, (2,), np.float32), spaces.Discrete(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets: 10 episodes of 10 steps without a label, and 4 of 5 steps of the task away, without values."""
    path = tmp_path_factory.mktemp("datasets")
    record(path / "home", homing)
    record(path / "away", fleeing, n_episodes=4, n_steps=5, task="away")
    return path


def plan(folder: Path, *names: str, n_wanted: int = -1, seed: int = 0) -> LessonPlan:
    return plan_lessons([str(folder / name) for name in names or ("home", "away")], n_wanted, seed)


def read(lessons: LessonPlan) -> Material:
    return read_material(lessons, check_fit(lessons, "Walk-v0", *WALK))


def test_a_fifth_of_the_episodes_of_every_task_is_kept_apart(folder: Path) -> None:
    found = plan(folder)
    assert found.tasks == ("Walk-v0", "away")
    for task, n_training, n_validation in (("Walk-v0", 8, 2), ("away", 3, 1)):
        parts = (found.training, found.validation)
        training, validation = ({one.index for one in part if one.task == task} for part in parts)
        assert (len(training), len(validation)) == (n_training, n_validation)
        assert training | validation == set(range(n_training + n_validation)) and not training & validation
    assert found.n_states == 8 * 10 + 3 * 5


def test_which_ones_follows_from_the_seed(folder: Path) -> None:
    def apart(seed: int) -> list[int]:
        return [episode.index for episode in plan(folder, seed=seed).validation]

    assert apart(1) == apart(1)
    assert len({tuple(apart(seed)) for seed in range(10)}) > 1


def test_states_come_with_what_the_teacher_does_there(folder: Path) -> None:
    found = read(plan(folder))
    assert found.kind == OutputKind("categorical", (3,))
    assert (len(found.training), len(found.validation)) == (95, 25)
    for lessons in (found.training, found.validation):
        home = lessons.tasks == 0
        for row, observation in enumerate(lessons.observations):
            expected = homing(observation) if home[row] else fleeing(observation)
            assert lessons.targets["logits"][row].tolist() == expected["logits"].tolist()
        assert (-lessons.values[home]).tolist() == np.abs(lessons.observations[home, 0]).tolist()
        assert np.isnan(lessons.values[~home]).all()


def test_the_last_observation_of_an_episode_is_not_among_them(folder: Path) -> None:
    """No action was taken there: the second element counts the steps, and 10 is the last."""
    lessons = read(plan(folder, "home")).training
    assert sorted(set(lessons.observations[:, 1].tolist())) == list(range(10))


def test_the_variance_of_the_values_is_of_those_that_are_known(folder: Path) -> None:
    found = read(plan(folder))
    home = found.training.tasks == 0
    assert found.value_variance == pytest.approx(np.abs(found.training.observations[home, 0]).var(), rel=1e-5)
    assert read(plan(folder, "away")).value_variance is None


def test_fewer_states_are_drawn_when_asked_for(folder: Path) -> None:
    """They are different ones of those to learn from, and follow from the seed; validation stays whole."""
    everything, some = read(plan(folder)), read(plan(folder, n_wanted=30))
    assert plan(folder, n_wanted=30).n_states == len(some.training) == 30
    assert len(some.validation) == 25
    rows = [tuple(row) for row in some.training.observations.tolist()]
    assert set(rows) <= {tuple(row) for row in everything.training.observations.tolist()}
    assert len(set(rows)) == 30
    again, other = read(plan(folder, n_wanted=30)), read(plan(folder, n_wanted=30, seed=1))
    assert again.training.observations.tolist() == some.training.observations.tolist()
    assert other.training.observations.tolist() != some.training.observations.tolist()
    assert len(read(plan(folder, n_wanted=95)).training) == 95


def test_weights_of_states() -> None:
    """Three states of one task weigh as much as one of another: 4 / (2 * 3) each, and 4 / 2; one on average."""
    lessons = Lessons(np.zeros((4, 2)), {}, np.zeros(4), np.array([0, 0, 2, 0]))
    assert lessons.weights(balanced=True).tolist() == pytest.approx([2 / 3, 2 / 3, 2, 2 / 3])
    assert lessons.weights(balanced=False).tolist() == [1, 1, 1, 1]


def test_the_identity_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    """The same in another folder; another one for other episodes, or another order."""
    record(tmp_path / "moved", homing)
    record(tmp_path / "other", homing, n_episodes=11)
    identity = plan(folder, "home").identity
    assert plan(tmp_path, "moved").identity == identity
    assert plan(tmp_path, "other").identity != identity
    assert plan(folder, "home", "away").identity != plan(folder, "away", "home").identity


def test_teachers_are_named_by_their_runs(folder: Path) -> None:
    first, second = describe_teachers(plan(folder))
    assert (first["task"], first["n_episodes"]) == ("Walk-v0", 10)
    assert (second["task"], second["n_episodes"]) == ("away", 4)
    assert first["policy"]["run"] == "Walk-v0/native/ppo/26-01-01_00h00_00"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, "tells no distribution over actions, so there is nothing to learn from it: record a"),
        ({"teacher": {"name": "gaussian", "sizes": []}}, "a gaussian teacher cannot teach a student whose actions are"),
        (
            {"observation_space": {"kind": "box", "shape": [3], "dtype": "float32", "low": -1.0, "high": 1.0}},
            r"Box of shape \(3,\), float32, from -1 to 1, those of Walk-v0 here are Box of shape \(2,\), float32, from",
        ),
        (
            {"action_space": {"kind": "discrete", "n": 4, "start": 0}},
            r"Discrete\(4\), those of Walk-v0 here are",
        ),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    change_index(record(tmp_path / "data", homing, n_episodes=2, n_steps=2), **changes)
    with pytest.raises(UsageError, match=rf"{tmp_path}/data \(Walk-v0, recorded in Walk-v0\).*{message}"):
        check_fit(plan(tmp_path, "data"), "Walk-v0", *WALK)


def test_teachers_of_two_kinds_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "one", steering, "Pendulum-v1", n_episodes=2, n_steps=2)
    two = record(tmp_path / "two", steering, "Pendulum-v1", n_episodes=2, n_steps=2, task="two")
    change_index(two, teacher={"name": "squashed_gaussian", "sizes": []})
    env = gym.make("Pendulum-v1")
    with pytest.raises(UsageError, match=r"^one loss cannot do for both: .* learnt as gaussian, .* as deterministic"):
        check_fit(plan(tmp_path, "one", "two"), "Pendulum-v1", env.observation_space, env.action_space)


def test_one_episode_of_a_task_is_too_few(tmp_path: Path) -> None:
    record(tmp_path / "data", homing, n_episodes=1)
    with pytest.raises(UsageError, match=r"^the datasets hold one episode of the task Walk-v0: at least 2 are needed"):
        plan(tmp_path, "data")


def test_more_states_than_there_are_cannot_be_had(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"^--distillation-training-set-size 96: the datasets have 95 states to learn"):
        plan(folder, n_wanted=96)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    def broken(observation: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": np.array([0, np.nan, 0], np.float32)}

    record(tmp_path / "data", broken, n_episodes=2)
    with pytest.raises(UsageError, match=r"^episode \d of .*data: the teacher's distribution holds numbers that are n"):
        read(plan(tmp_path, "data"))


def test_a_damaged_episode_is_named(tmp_path: Path) -> None:
    dataset: Dataset = record(tmp_path / "data", homing, n_episodes=2)
    (dataset.path / "episodes" / "000001.npz").write_bytes(b"torn")
    with pytest.raises(UsageError, match=r"^the dataset .*data is damaged: episodes/000001.npz is not as it was"):
        read(plan(tmp_path, "data"))
