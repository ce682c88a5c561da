"""Layers of settings: who wins, what displaces what, and what is refused."""

import re
from pathlib import Path

import pytest
import yaml

from rl_baselines.config import RunConfig, from_flat, to_flat
from rl_baselines.config_files import preset_names, read_settings, write_config
from rl_baselines.errors import UsageError
from rl_baselines.layers import TASK_FLAGS, Layer, combine, tuned_layer
from rl_baselines.resolution import complete, plan_run
from rl_baselines.train import plan_from


def plan(*layers: dict):
    return plan_run([Layer(f"layer {index}", values) for index, values in enumerate(layers)], None)


def settled(**values: object) -> dict:
    return to_flat(complete([Layer("flags", {"env": "CartPole-v1", **values})])[0])


def test_later_layers_win_and_named_options_merge_one_by_one() -> None:
    merged = combine(
        [
            Layer("parent", {"seed": 1, "hyperparam": {"n_steps": 64, "gamma": 0.9}, "env_kwargs": {"a": 1}}),
            Layer("file", {"seed": 2, "hyperparam": {"gamma": 0.8}}),
            Layer("flags", {"num_timesteps": 5, "env_kwargs": {"b": 2}}),
        ]
    )
    assert merged == {
        "seed": 2,
        "num_timesteps": 5,
        "hyperparam": {"n_steps": 64, "gamma": 0.8},
        "env_kwargs": {"a": 1, "b": 2},
    }


def test_rivals_displace_each_other() -> None:
    lower = Layer("parent", {"vec_env": "dummy", "n_envs": 8, "hyperparam": {"n_minibatches": 4}})
    assert combine([lower, Layer("flags", {"num_cpu": 2})]) == {
        "num_cpu": 2,
        "n_envs": 8,
        "hyperparam": {"n_minibatches": 4},
    }
    assert combine([lower, Layer("flags", {"hyperparam": {"batch_size": 64}})])["hyperparam"] == {"batch_size": 64}


def test_shortcuts_write_environment_options() -> None:
    flags = {"continuous_actions": True, "random_target": True, "shape_reward": False, "action_repeat": 4}
    assert combine([Layer("flags", flags)])["env_kwargs"] == {
        "is_discrete": False,
        "random_target": True,
        "shape_reward": False,
        "action_repeat": 4,
    }


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            {"random_target": True, "env_kwargs": {"random_target": False}},
            r"^flags: --random-target asks for random_target:True and --env-kwargs for random_target:False; give one",
        ),
        (
            {"srl_model": "joints", "env_kwargs": {"observation": "ground_truth"}},
            r"^flags: --srl-model joints and --env-kwargs observation:ground_truth disagree; give one of them$",
        ),
    ],
)
def test_a_flag_and_an_option_that_disagree(layer: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        combine([Layer("flags", layer)])


@pytest.mark.parametrize(
    ("flag", "env_kwargs"),
    [
        ("simple_continual", {"task": "reach", "random_target": True}),
        ("circular_continual", {"task": "circle"}),
        ("square_continual", {"task": "square"}),
        ("eight_continual", {"task": "eight"}),
        ("chasing_continual", {"task": "chase"}),
        ("escape_continual", {"task": "escape"}),
    ],
)
def test_flags_and_arguments_of_the_ancestor_name_a_task(flag: str, env_kwargs: dict) -> None:
    assert combine([Layer("flags", {flag: True})])["env_kwargs"] == env_kwargs
    alias = TASK_FLAGS[flag]
    assert combine([Layer("flags", {"env_kwargs": {alias: True}})])["env_kwargs"] == env_kwargs
    settled = complete([Layer("flags", {"env": "OmnirobotEnv-v0", flag: True})])[0]
    assert settled.environment.env_kwargs == {**env_kwargs, "observation": "ground_truth"}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            {"escape_continual": True, "eight_continual": True},
            "flags: --escape-continual asks for task:escape and --eight-continual for task:eight; give one of them",
        ),
        ({"eight_continual": False}, "flags: --no-eight-continual names no task; name one by --env-kwargs task:NAME"),
        (
            {"eight_continual": True, "env_kwargs": {"task": "circle"}},
            "flags: --eight-continual asks for task:eight and --env-kwargs for task:circle; give one of them",
        ),
        (
            {"simple_continual": True, "random_target": False},
            "flags: --random-target asks for random_target:False and --simple-continual for random_target:True; "
            "give one of them",
        ),
        (
            {"env_kwargs": {"circular_continual_move": True, "square_continual_move": True}},
            "flags: square_continual_move stands for task:square, but task:circle is asked for too",
        ),
        (
            {"env_kwargs": {"circular_continual_move": False}},
            "flags: circular_continual_move can only be True; leave it out, or name another task with task",
        ),
        ({"circular_continual": True}, "unknown KukaButtonGymEnv-v0 task 'circle'; known: button"),
        (
            {"circular_continual": True, "env": "CartPole-v1"},
            "unknown CartPole-v1 argument 'task'; known: render_mode, sutton_barto_reward",
        ),
    ],
)
def test_tasks_that_cannot_be_done(layer: dict, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        complete([Layer("flags", layer)])


def test_a_flag_overrules_the_options_of_a_lower_layer() -> None:
    merged = combine([Layer("file", {"env_kwargs": {"random_target": False}}), Layer("flags", {"random_target": True})])
    assert merged["env_kwargs"] == {"random_target": True}


def test_the_observation_kind_may_be_given_either_way() -> None:
    by_option = plan({"env": "KukaButtonGymEnv-v0", "env_kwargs": {"observation": "joints"}}).config.environment
    by_key = plan({"env": "KukaButtonGymEnv-v0", "srl_model": "joints"}).config.environment
    assert by_option == by_key
    assert by_key.srl_model == "joints" and by_key.env_kwargs == {"observation": "joints"}


def test_defaults_are_settled() -> None:
    flat = settled()
    assert (flat["srl_model"], flat["policy"], flat["vec_env"], flat["n_envs"]) == ("native", "MlpPolicy", "dummy", 8)
    assert (flat["norm_obs"], flat["lr_decay"], flat["torch_threads"]) == (True, "linear", 1)
    assert settled(algo="dqn")["n_envs"] == 1
    kuka = to_flat(complete([Layer("flags", {})])[0])
    assert (kuka["env"], kuka["srl_model"]) == ("KukaButtonGymEnv-v0", "ground_truth")


@pytest.mark.parametrize(
    ("given", "n_envs", "num_cpu", "vec_env"),
    [
        ({}, 8, None, "dummy"),
        ({"num_cpu": 3}, 3, 3, "processes"),
        ({"num_cpu": 2, "n_envs": 6}, 6, 2, "processes"),
        ({"n_envs": 1, "vec_env": "processes"}, 1, 1, "processes"),
    ],
)
def test_number_of_environments_and_processes(given: dict, n_envs: int, num_cpu: int | None, vec_env: str) -> None:
    flat = settled(**given, hyperparam={"n_minibatches": 1})
    assert (flat["n_envs"], flat["num_cpu"], flat["vec_env"]) == (n_envs, num_cpu, vec_env)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"env": "CartPol-v1"}, r"^unknown environment 'CartPol-v1'; did you mean 'CartPole-v1'\?$"),
        ({"num_cpu": 2, "vec_env": "dummy"}, r"^--num-cpu counts processes, and --vec-env dummy uses none"),
        ({"num_cpu": 4, "n_envs": 2}, r"^--num-cpu 4 is more than --n-envs 2"),
        (
            {"srl_model": "joints"},
            r"^CartPole-v1 has only its own observation: --srl-model joints needs one of our robots$",
        ),
        ({"env": "KukaButtonGymEnv-v0", "srl_model": "native"}, r"^--srl-model native is for third-party environments"),
        ({"env": "KukaButtonGymEnv-v0", "env_kwargs": {"max_distanc": 1}}, r"did you mean 'max_distance'\?$"),
        ({"env": "MobileRobotGymEnv-v0", "srl_model": "joints"}, r"joints"),
        (
            {"algo": "sac"},
            r"^sac cannot act in CartPole-v1: its action space is Discrete, sac needs Box; algorithms for",
        ),
        ({"her": True}, r"^--her does not go with ppo; it goes with sac, td3, ddpg, tqc and dqn$"),
        ({"new_lr": 1e-3}, r"^--new-lr is the rate of a fine-tune .* --hyperparam learning_rate:0.001$"),
        ({"num_timesteps": 0}, r"^--num-timesteps must be at least 1, got 0$"),
        ({"seed": -1}, r"^--seed must not be negative, got -1$"),
        ({"clip_obs": 0.0}, r"^--clip-obs must be a positive number, got 0.0$"),
    ],
)
def test_what_cannot_be_done_is_refused(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan({"env": "CartPole-v1", **given})


def test_images_are_not_normalized_and_get_all_threads() -> None:
    import os

    flat = to_flat(plan({"env": "MobileRobotGymEnv-v0", "srl_model": "raw_pixels"}).config)
    assert (flat["policy"], flat["norm_obs"], flat["torch_threads"]) == ("CnnPolicy", False, os.cpu_count())
    with pytest.raises(UsageError, match="^--norm-obs needs low-dimensional continuous observations"):
        plan({"env": "MobileRobotGymEnv-v0", "srl_model": "raw_pixels", "norm_obs": True})


def test_the_learning_rate_names_the_rule_that_decided_it() -> None:
    assert plan({"env": "CartPole-v1"}).learning_rate.reason == "default of ppo"
    by_layer = plan({"env": "CartPole-v1", "hyperparam": {"learning_rate": 0.01}}, {"seed": 3}).learning_rate
    assert (by_layer.reason, by_layer.root) == ("layer 0: learning_rate", 0.01)
    assert by_layer.schedule is not None and by_layer.schedule(1.0) == 0.01
    assert plan({"env": "CartPole-v1", "algo": "random_agent"}).learning_rate.schedule is None


def test_steps_are_rounded_up_to_whole_rollouts() -> None:
    made = plan({"env": "CartPole-v1", "num_timesteps": 1025})
    assert (made.steps_per_rollout, made.steps_planned) == (1024, 2048)


def test_stored_configuration_reads_back_the_same(tmp_path: Path) -> None:
    config = plan({"env": "KukaButtonGymEnv-v0", "random_target": True, "num_cpu": 2}).config
    write_config(config, tmp_path / "config.yaml")
    assert from_flat(read_settings(str(tmp_path / "config.yaml"))) == config
    again = plan(read_settings(str(tmp_path / "config.yaml"))).config
    assert again == config
    assert set(yaml.safe_load((tmp_path / "config.yaml").read_text())) == set(to_flat(RunConfig()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_timestep: 3", r": unknown setting 'num_timestep'; did you mean 'num_timesteps'\?$"),
        ("num_timesteps: soon", r": num_timesteps expects a whole number, got 'soon'$"),
        ("norm_obs: 3", r": norm_obs expects true or false or null, got 3$"),
        ("best_by: luck", r"unknown .*best_by 'luck'"),
        ("- a\n- b", r" must hold settings as 'name: value' lines, got a list$"),
        ("a: [1", r" is not valid YAML: "),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_settings(str(tmp_path / "a.yaml"))
    assert "\n" not in str(caught.value)


def test_files_may_use_flags_spelling_powers_and_shortcuts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("num-timesteps: 1e5\nrandom_target: true\nhyperparam: {gamma: 0.9}\n")
    assert read_settings(str(tmp_path / "a.yaml")) == {
        "num_timesteps": 100_000,
        "random_target": True,
        "hyperparam": {"gamma": 0.9},
    }


def test_a_missing_file_and_an_unknown_preset() -> None:
    with pytest.raises(UsageError, match=r"^cannot read --config nope.yaml: No such file or directory$"):
        read_settings("nope.yaml")
    with pytest.raises(UsageError, match=r"^unknown preset 'kuka_button_pp'; did you mean 'kuka_button_ppo'\?$"):
        read_settings("kuka_button_pp")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_understood(name: str) -> None:
    assert read_settings(name)


@pytest.mark.parametrize(
    ("given", "preset", "env"),
    [
        ({}, "kuka_button_ppo", "KukaButtonGymEnv-v0"),
        ({"env": "MobileRobotGymEnv-v0", "random_target": True}, "mobile_robot_ppo", "MobileRobotGymEnv-v0"),
        ({"env": "MobileRobot1DGymEnv-v0", "algo": "ppo2"}, "mobile_robot_ppo", "MobileRobot1DGymEnv-v0"),
        ({"env": "OmnirobotEnv-v0", "circular_continual": True}, "omnirobot_ppo", "OmnirobotEnv-v0"),
    ],
)
def test_the_tuned_preset_is_that_of_family_and_algorithm(given: dict, preset: str, env: str) -> None:
    layer = tuned_layer([Layer("flags", given)])
    assert layer.name == f"--config auto ({preset})"
    assert layer.values == {**read_settings(preset), "env": env, "algo": "ppo"}
    plan, _ = plan_from({**given, "config": ("auto",)})
    assert plan.config.training.num_timesteps == layer.values["num_timesteps"]
    assert plan.config.environment.env == env
    own, _ = plan_from({**given, "config": ("auto",), "num_timesteps": 4096})
    assert own.config.training.num_timesteps == 4096, "flags win"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"env": "CartPole-v1"},
            "--config auto: nothing was tuned for CartPole-v1 with ppo; there are presets for our robots only",
        ),
        (
            {"load_rl_model_path": "logs/somewhere"},
            "--config auto is for runs from scratch; a fine-tune takes its settings from its source",
        ),
    ],
)
def test_where_nothing_was_tuned(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        plan_from({**given, "config": ("auto",)})
    with pytest.raises(UsageError, match="^--config auto: nothing was tuned for KukaButtonGymEnv-v0 with td3; there"):
        plan_from({"config": ("auto",), "algo": "td3"})


def test_a_file_before_the_tuned_preset_yields_to_it_and_one_after_wins(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("env: OmnirobotEnv-v0\nhyperparam: {n_steps: 32}\n")
    before, _ = plan_from({"config": (str(mine), "auto")})
    after, _ = plan_from({"config": ("auto", str(mine))})
    assert before.config.environment.env == after.config.environment.env == "OmnirobotEnv-v0"
    assert (before.config.algorithm.hyperparam["n_steps"], after.config.algorithm.hyperparam["n_steps"]) == (64, 32)
