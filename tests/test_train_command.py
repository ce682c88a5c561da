"""``python -m rl_baselines.train`` from scratch: algorithms, observations, environments, best models, repetition."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from cli import (
    CARTPOLE_PPO,
    PENDULUM_SAC,
    TINY,
    Run,
    call,
    call_train,
    differences,
    run_train,
    shared_run,
    without_times,
)

from rl_baselines.algorithms import ALGORITHMS
from rl_baselines.enjoy import main as enjoy

EVALUATION_COLUMNS = [
    *("timesteps", "mean_reward", "std_reward", "reward_low", "reward_high"),
    *("success_rate", "success_low", "success_high", "mean_length", "n_episodes"),
]
ROLLOUT = ("--hyperparam", "n_steps:10")
REPLAY = ("--hyperparam", "learning_starts:20", "batch_size:8", "buffer_size:200")
WALK = ("--env", "Walk-v0", "--gym-packages", "toy_envs")
PENDULUM = ("--env", "Pendulum-v1")
ALGORITHM_CASES: dict[str, tuple[str, ...]] = {
    "ppo": (*WALK, *ROLLOUT, *TINY),
    "ppo2": (*WALK, *ROLLOUT, *TINY),
    "a2c": (*WALK, *ROLLOUT, *TINY),
    "dqn": (*WALK, *REPLAY, *TINY),
    "deepq": (*WALK, *REPLAY, *TINY),
    "sac": (*PENDULUM, *REPLAY, *TINY),
    "td3": (*PENDULUM, *REPLAY, *TINY, "--hyperparam", "noise_type:normal"),
    "ddpg": (*PENDULUM, *REPLAY, *TINY),
    "trpo": (*WALK, *ROLLOUT, "batch_size:20", *TINY),
    "tqc": (*PENDULUM, *REPLAY, *TINY),
    "qrdqn": (*WALK, *REPLAY, *TINY),
    "crossq": (*PENDULUM, *REPLAY, *TINY),
    "ars": (*WALK, "--hyperparam", "n_delta:2", "--n-envs", "1", *TINY),
    "cma_es": (*WALK, "--hyperparam", "population_size:4", "--n-envs", "2", *TINY),
    "cma-es": (*WALK, "--policy", "LinearPolicy", "--hyperparam", "full_covariance:true", "--n-envs", "2"),
    "ppo_lstm": (*WALK, *ROLLOUT, *TINY, "lstm_hidden_size:8"),
    "maskable_ppo": ("--env", "MaskedWalk-v0", "--gym-packages", "toy_envs", *ROLLOUT, *TINY),
    "random_agent": (*WALK, *ROLLOUT),
}
NAMES = {"ppo2": "ppo", "deepq": "dqn", "cma-es": "cma_es"}
WHOLE_EPISODES = {"ars": 1, "cma_es": 2}
"""Environments of the cases whose updates take as many steps as their episodes last."""


def assert_complete(run: Run, n_envs: int, n_steps: int) -> None:
    """A finished run has every record and an intact last checkpoint."""
    assert (run.record["status"], run.record["timesteps"], run.record["id"]) == ("finished", n_steps, run.id)
    assert (run.path / "last").is_symlink() and not (run.path / "last").readlink().is_absolute()
    files = run.manifest("last")["files"]
    assert run.manifest("last")["timesteps"] == n_steps and "model.zip" in files
    for name, entry in files.items():
        content = (run.checkpoint("last") / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["sha256"])
    assert run.settings["n_envs"] == len(run.rewards) == n_envs
    assert list(run.evaluations[0]) == EVALUATION_COLUMNS
    assert int(run.evaluations[-1]["timesteps"]) == n_steps
    (events,) = (run.path / "tensorboard").iterdir()
    assert events.name.startswith("events.out.tfevents") and events.stat().st_size > 0
    assert (run.path / "plots" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_cases_cover_the_table() -> None:
    """Distillation needs teachers, and has files of tests of its own."""
    assert {NAMES.get(name, name) for name in ALGORITHM_CASES} | {"distillation"} == set(ALGORITHMS)


@pytest.mark.parametrize("algo", ALGORITHM_CASES)
def test_every_algorithm_trains_acts_and_is_fine_tuned(algo: str, tmp_path: Path) -> None:
    flags = ("--algo", algo, "--num-timesteps", 80, "--eval-freq", 40, "--eval-episodes", 1)
    run, done = call_train(*ALGORITHM_CASES[algo], *flags, log_dir=tmp_path)
    name = NAMES.get(algo, algo)
    row = ALGORITHMS[name]
    n_envs = WHOLE_EPISODES.get(name, row.default_n_envs)
    assert run.settings["algo"] == name == run.path.parent.name
    assert_complete(run, n_envs, run.record["timesteps"])
    if name not in WHOLE_EPISODES:
        assert run.record["timesteps"] == run.record["steps_planned"] == 80
    if row.learning_rate:
        rates = [float(line["train/learning_rate"]) for line in run.progress if line.get("train/learning_rate")]
        assert (
            rates
            and max(rates) <= run.record["learning_rate"]["initial"] == run.settings["hyperparam"]["learning_rate"]
        )
    else:
        assert run.record["learning_rate"]["initial"] is None

    watched = call(enjoy, "latest", "--log-dir", tmp_path, "-n", 2, "--json")
    assert (watched.code, watched.err) == (0, "")
    result = json.loads(watched.out)
    assert result["n_episodes"] == 2 and math.isfinite(result["mean_reward"])
    if algo != "random_agent":
        check_fine_tune(run, tmp_path)


def check_fine_tune(run: Run, log_dir: Path) -> None:
    """At a rate (or spread of candidates) too small to change a float32 a child's networks stay those of its parent."""
    has_rate = ALGORITHMS[run.settings["algo"]].learning_rate
    still = ("--new-lr", 1e-300) if has_rate else ("--hyperparam", "initial_sigma:1e-300")
    flags = (*still, "--compare-episodes", 0, "--eval-freq", 0)
    child, _ = call_train("--load-rl-model-path", run.path, *flags, log_dir=log_dir)
    assert child.record["parent"]["run"] == run.id and child.settings["algo"] == run.settings["algo"]
    moved = [name for name in differences(run.tensors(), child.tensors()) if name.startswith("policy/")]
    if run.settings["algo"] == "trpo":  # its steps are as long as its KL limit allows, only its critic has a rate
        assert not [name for name in moved if "value_net" in name] and moved
    else:  # targets follow, and CrossQ renormalizes
        assert not [
            name for name in moved if "target" not in name and not name.endswith(("ra_mean", "ra_var", "steps"))
        ]


@pytest.mark.slow
@pytest.mark.parametrize("algo", ALGORITHM_CASES)
def test_every_algorithm_trains_in_a_process_of_its_own(algo: str, tmp_path: Path) -> None:
    flags = ("--algo", algo, "--num-timesteps", 80, "--eval-freq", 40, "--eval-episodes", 1)
    here, _ = call_train(*ALGORITHM_CASES[algo], *flags, log_dir=tmp_path / "here")
    there, _ = run_train(*ALGORITHM_CASES[algo], *flags, log_dir=tmp_path / "there")
    assert differences(here.tensors(), there.tensors()) == []
    assert here.rewards == there.rewards and here.evaluations == there.evaluations


def test_hindsight_replay_learns_from_goals_that_were_reached(tmp_path: Path) -> None:
    flags = ("--env", "GoalWalk-v0", "--gym-packages", "toy_envs", "--algo", "sac", "--her", *REPLAY, *TINY)
    run, done = call_train(*flags, "--num-timesteps", 60, "--eval-episodes", 1, log_dir=tmp_path)
    assert_complete(run, 1, 60)
    assert run.settings["policy"] == "MultiInputPolicy" and run.settings["her"] is True
    assert "hindsight replay" in done.out
    statistics = json.loads((run.checkpoint("last") / "vecnormalize.json").read_text())
    assert statistics["norm_obs_keys"] == ["achieved_goal", "desired_goal", "observation"]


def test_pictures_are_transposed_and_stacked_and_not_normalized(tmp_path: Path) -> None:
    run, _ = call_train(
        *("--env", "MobileRobotGymEnv-v0", "--srl-model", "raw_pixels", "--env-kwargs", "image_size:36"),
        *("max_steps:15", "--torch-threads", 1),
        *("--algo", "dqn", "--num-stack", 4, "--num-timesteps", 40, "--eval-episodes", 1),
        *("--hyperparam", "buffer_size:50", "learning_starts:20", "batch_size:4", "--eval-freq", 20),
        log_dir=tmp_path,
    )
    assert_complete(run, 1, 40)
    assert run.path.parent.parent.name == "raw_pixels"
    assert (run.settings["policy"], run.settings["norm_obs"]) == ("CnnPolicy", False)
    assert tuple(run.tensors()["policy/q_net.features_extractor.cnn.0.weight"].shape) == (32, 12, 8, 8)
    assert not [name for name in run.manifest("last")["files"] if "vecnormalize" in name]


def test_dictionaries_normalize_their_vectors_only(tmp_path: Path) -> None:
    flags = ("--env", "DictionaryWalk-v0", "--gym-packages", "toy_envs", "--n-envs", 2, *ROLLOUT, *TINY)
    run, _ = call_train(*flags, "--num-timesteps", 20, "--eval-episodes", 1, log_dir=tmp_path)
    assert_complete(run, 2, 20)
    statistics = json.loads((run.checkpoint("last") / "vecnormalize.json").read_text())
    assert statistics["norm_obs_keys"] == list(statistics["observations"]) == ["vector"]
    weights = run.tensors()["policy/features_extractor.extractors.image.cnn.0.weight"]
    assert tuple(weights.shape) == (32, 3, 8, 8)


def test_normalization_counts_stacked_observations_of_an_off_policy_run(tmp_path: Path) -> None:
    """VecNormalize lies outside the frame stack: a row of 4 x 3 numbers for the reset and for each step."""
    flags = (*PENDULUM, "--algo", "sac", "--num-stack", 4, "--norm-reward", *REPLAY, *TINY)
    run, _ = call_train(*flags, "--num-timesteps", 50, "--eval-freq", 25, "--eval-episodes", 1, log_dir=tmp_path)
    statistics = json.loads((run.checkpoint("last") / "vecnormalize.json").read_text())
    assert len(statistics["observations"]["mean"]) == 12
    assert statistics["observations"]["count"] == pytest.approx(1e-4 + 1 + 50, abs=1e-9)
    assert statistics["returns"]["count"] == pytest.approx(1e-4 + 50, abs=1e-9)
    assert tuple(run.tensors()["policy/actor.latent_pi.0.weight"].shape) == (16, 12)


@pytest.mark.parametrize(
    ("env", "package", "flags"),
    [
        ("PandaReach-v3", "panda_gym", ("--algo", "sac", "--her", *REPLAY, "learning_starts:60")),
        pytest.param(
            *("HalfCheetahBulletEnv-v0", "pybullet_envs_gymnasium", ("--algo", "td3", *REPLAY)), marks=pytest.mark.slow
        ),
    ],
)
def test_third_party_robots_train(env: str, package: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip(package, reason=f"{package} comes with an extra")
    run, _ = run_train(
        *("--env", env, "--gym-packages", package, *flags, *TINY, "--num-timesteps", 80),
        *("--eval-freq", 80, "--eval-episodes", 1),
        log_dir=tmp_path,
    )
    assert_complete(run, 1, 80)
    assert run.path.parents[2].name == env and run.path.parents[1].name == "native"


def test_mujoco_trains(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="MuJoCo comes with an extra")
    run, _ = call_train(
        *("--env", "Ant-v5", "--algo", "sac", *REPLAY, *TINY, "--num-timesteps", 30, "--eval-freq", 0), log_dir=tmp_path
    )
    assert (run.record["status"], run.record["timesteps"]) == ("finished", 30)


@pytest.mark.parametrize(("slope", "best_step", "score"), [(1, 80, 5.0), (-1, 30, -1.0)])
def test_best_by_evaluation_has_the_highest_score(slope: int, best_step: int, score: float, tmp_path: Path) -> None:
    """Evaluations at 30, 60 and the end pay 1, 3, 5 times the slope; a worse one does not replace the best."""
    flags = ("--env", "Trend-v0", "--gym-packages", "toy_envs", "--env-kwargs", f"slope:{slope}", "--n-envs", 1)
    evaluation = ("--best-by", "eval", "--eval-freq", 30, "--eval-episodes", 1)
    run, _ = call_train(
        *flags, *ROLLOUT, "n_minibatches:1", *TINY, "--num-timesteps", 80, *evaluation, log_dir=tmp_path
    )
    scores = {int(row["timesteps"]): float(row["mean_reward"]) for row in run.evaluations}
    assert scores == {30: pytest.approx(slope), 60: pytest.approx(3 * slope), 80: pytest.approx(5 * slope)}
    assert run.record["best"] == {"timesteps": best_step, "mean_reward": pytest.approx(score), "by": "eval"}
    assert run.manifest("best")["timesteps"] == best_step
    assert run.manifest("best")["score"] == {"best_by": "eval", "mean_reward": scores[best_step]}


@pytest.mark.parametrize(("slope", "best_step", "score"), [(1, 80, 4.5), (-1, 40, -2.5)])
def test_best_by_training_has_the_highest_mean(slope: int, best_step: int, score: float, tmp_path: Path) -> None:
    """The k-th episode pays k times the slope; models count from the fourth of eight episodes on."""
    flags = ("--env", "Trend-v0", "--gym-packages", "toy_envs", "--env-kwargs", f"slope:{slope}", "--n-envs", 1)
    evaluation = ("--min-episodes-save", 4, "--eval-freq", 0)
    run, _ = call_train(
        *flags, *ROLLOUT, "n_minibatches:1", *TINY, "--num-timesteps", 80, *evaluation, log_dir=tmp_path
    )
    assert run.rewards == [[pytest.approx(slope * k) for k in range(1, 9)]]
    assert run.record["best"] == {"timesteps": best_step, "mean_reward": pytest.approx(score), "by": "train"}
    assert run.manifest("best")["score"] == {"best_by": "train", "mean_reward": pytest.approx(score)}


def test_stop_value_ends_the_run(tmp_path: Path) -> None:
    flags = ("--env", "Trend-v0", "--gym-packages", "toy_envs", "--n-envs", 1, *ROLLOUT, "n_minibatches:1", *TINY)
    stop = ("--stop-value", 3, "--eval-freq", 20, "--eval-episodes", 1)
    run, done = call_train(*flags, "--num-timesteps", 200, *stop, log_dir=tmp_path)
    assert [int(row["timesteps"]) for row in run.evaluations] == [20, 40]
    assert (run.record["status"], run.record["timesteps"], run.record["steps_planned"]) == ("finished", 40, 200)
    assert run.record["reason"] == "the evaluation's mean reward 3 reached 3"
    assert "Finished: the evaluation's mean reward 3 reached 3" in done.out
    assert run.manifest("last")["timesteps"] == 40


def test_processes_give_the_numbers_of_one_process(tmp_path: Path) -> None:
    flags = ("--env", "CartPole-v1", "--n-envs", 4, "--hyperparam", "n_steps:32", *TINY, "--num-timesteps", 256)
    one, _ = call_train(*flags, "--vec-env", "dummy", "--eval-freq", 0, log_dir=tmp_path / "one")
    two, done = run_train(*flags, "--num-cpu", 2, "--eval-freq", 0, log_dir=tmp_path / "two")
    assert "4 in 2 processes" in done.out
    assert differences(one.tensors(), two.tensors()) == []
    assert one.rewards == two.rewards and sum(map(len, one.rewards)) > 5
    statistics = [(run.checkpoint("last") / "vecnormalize.json").read_text() for run in (one, two)]
    assert statistics[0] == statistics[1]

    again, _ = run_train("--config", two.path / "config.yaml", log_dir=tmp_path / "again")
    assert again.settings == two.settings and again.settings["vec_env"] == "processes"
    assert differences(two.tensors(), again.tensors()) == []
    assert without_times(two.progress) == without_times(again.progress)


@pytest.mark.parametrize("name", ["cartpole_ppo", pytest.param("pendulum_sac", marks=pytest.mark.slow)])
def test_a_stored_configuration_repeats_its_run(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = shared_run(tmp_path_factory, name)
    again, _ = run_train("--config", first.path / "config.yaml", log_dir=tmp_path)
    assert again.settings == first.settings
    assert differences(first.tensors(), again.tensors()) == []
    assert first.rewards == again.rewards
    assert without_times(first.progress) == without_times(again.progress)
    if name == "cartpole_ppo":
        assert first.evaluations == again.evaluations and len(first.evaluations) == 5
        assert first.manifest("best")["score"] == again.manifest("best")["score"]


@pytest.mark.parametrize("flags", [CARTPOLE_PPO, PENDULUM_SAC])
def test_another_seed_gives_other_numbers(
    flags: tuple[object, ...], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = "cartpole_ppo" if flags is CARTPOLE_PPO else "pendulum_sac"
    first = shared_run(tmp_path_factory, name)
    other, _ = call_train("--config", first.path / "config.yaml", "--seed", 77, log_dir=tmp_path)
    changed = differences(first.tensors(), other.tensors())
    weights = [key for key in first.tensors() if key.startswith("policy/") and key.endswith("weight")]
    assert set(weights) <= set(changed)


def test_files_and_flags_rank(tmp_path: Path) -> None:
    """Defaults, then files, later ones over earlier ones, then flags; named values are merged one by one."""
    (tmp_path / "one.yaml").write_text("num_timesteps: 40\nseed: 1\nhyperparam: {n_steps: 20, gamma: 0.5}\n")
    (tmp_path / "two.yaml").write_text("seed: 2\nhyperparam: {gamma: 0.6}\n")
    files = ("--config", tmp_path / "one.yaml", tmp_path / "two.yaml")
    flags = (*WALK, *TINY, "--n-envs", 1, "--hyperparam", "n_steps:10", "n_minibatches:1", "--eval-freq", 0)
    run, _ = call_train(*files, *flags, log_dir=tmp_path)
    hyperparam = run.settings["hyperparam"]
    assert (run.settings["num_timesteps"], run.settings["seed"]) == (40, 2)
    assert (hyperparam["n_steps"], hyperparam["gamma"], hyperparam["gae_lambda"]) == (10, 0.6, 0.95)


def test_observation_kind_of_a_flag_replaces_that_of_a_stored_configuration(tmp_path: Path) -> None:
    """With all the options that the kind stood for."""
    flags = ("--env", "MobileRobotGymEnv-v0", "--env-kwargs", "image_size:36", "max_steps:5", "--algo", "random_agent")
    short = ("--n-envs", 1, "--num-timesteps", 5, "--hyperparam", "n_steps:5", "--eval-freq", 0)
    both, _ = call_train(*flags, *short, "--srl-model", "multi_view", log_dir=tmp_path / "both")
    assert both.settings["env_kwargs"]["multi_view"] is True
    one, _ = call_train("--config", both.path / "config.yaml", "--srl-model", "raw_pixels", log_dir=tmp_path / "one")
    assert one.settings["env_kwargs"] == {"image_size": 36, "max_steps": 5, "observation": "raw_pixels"}
    assert one.record["environment"]["observation_space"] == "Box(0, 255, (36, 36, 3), uint8)"
