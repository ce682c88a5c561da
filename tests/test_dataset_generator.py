"""The command that records datasets: what it records, that workers change nothing in it, and that nothing is lost."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import Finished, Run, call, call_train, shared_run, start
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize
from test_dataset import assert_equal

from environments.dataset import Dataset
from environments.dataset_generator import main
from environments.registry import build
from rl_baselines.errors import UsageError
from rl_baselines.layers import Layer
from rl_baselines.model_building import load_to_act
from rl_baselines.run_folder import RunFolder
from rl_baselines.sources import resolve
from rl_baselines.training_episodes import checkpoint_after
from rl_baselines.transfer.inheritance import inherited_layer

SMALL = ("--env", "MobileRobotGymEnv-v0", "-r", "--srl-model", "ground_truth", "--env-kwargs", "max_steps:20")
SLOW = ("--env", "OmnirobotEnv-v0", "--env-kwargs", "max_steps:40", "--num-episode", 12, "--name", "data")


def generate(folder: Path, *args: object) -> Finished:
    return call(main, "--save-path", folder, *args)


def recorded(folder: Path, *args: object) -> Dataset:
    """The dataset that a command records, which must succeed in silence but for its result."""
    done = generate(folder, *args)
    assert (done.code, done.err) == (0, "")
    return Dataset.open(done.out.partition("dataset:  ")[2].partition("\n")[0])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    """One, two or three processes write the same bytes."""
    for n_workers in (1, 2, 3):
        args = (*SMALL, "--toward-target-timesteps-proportion", 0.5, "--num-episode", 5, "--num-cpu", n_workers)
        recorded(tmp_path, *args, "--name", n_workers)
    one, two, three = (files(tmp_path / f"{n_workers}") for n_workers in (1, 2, 3))
    assert list(one) == ["dataset.json", *(f"episodes/{index:06d}.npz" for index in range(5))]
    assert one == two == three


def test_origin_tells_how_to_record_it_again(tmp_path: Path) -> None:
    """The environment that the origin names, with its arguments, plays the episode once more from its start seed."""
    dataset = recorded(tmp_path, "-sqc", "--num-episode", 2, "--seed", 9, "--env", "OmnirobotEnv-v0",
                       "--env-kwargs", "max_steps:3")  # fmt: skip
    origin = dataset.origins[0]
    assert (dataset.path.name, origin.env_id, origin.task, origin.seed) == (
        *("OmnirobotEnv-v0_square", "OmnirobotEnv-v0", "square", 9),
    )
    assert origin.policy == {"kind": "random", "toward_target_timesteps_proportion": 0.0}
    assert (origin.teacher, origin.feature_names) == (None, ())
    env = build(origin.env_id, **origin.env_kwargs)
    assert origin.spaces == (env.observation_space, env.action_space)
    for episode in dataset:
        assert np.array_equal(env.reset(seed=episode.start_seed)[0], episode.observations[0])
        for index, action in enumerate(episode.actions):
            observation, reward, _, truncated, _ = env.step(action)
            assert np.array_equal(observation, episode.observations[index + 1])
            assert (reward, truncated) == (episode.rewards[index], index == 3)


def chosen(folder: Path, *args: object) -> tuple[dict[str, Any], str | None]:
    """The environment arguments and the label of a dataset that is recorded with some flags."""
    dataset = recorded(folder, *args, "--num-episode", 1, "-f", "--name", "data")
    origin = dataset.origins[0]
    return dict(origin.env_kwargs), origin.task


def test_flags_choose_the_environment(tmp_path: Path) -> None:
    """The ancestor's flags mean what they say."""
    tasks = {"-sc": "reach", "-cc": "circle", "-ec": "eight", "-chc": "chase", "-esc": "escape"}
    tiny = ("--env-kwargs", "max_steps:1", "image_size:8")
    for flag, task in tasks.items():
        kwargs, label = chosen(tmp_path, "--env", "OmnirobotEnv-v0", flag, *tiny)
        assert (kwargs["task"], label, kwargs["observation"]) == (task, task, "raw_pixels")
    kwargs, label = chosen(tmp_path, "--env", "OmnirobotEnv-v0", "-sc", "--short-episodes", "--task-label", "SC", *tiny)
    assert (kwargs["short_episodes"], kwargs["random_target"], label) == (True, True, "SC")
    kwargs, _ = chosen(tmp_path, "-c", "-joints", "--max-distance", 0.5, "--shape-reward", "--multi-view", *tiny)
    assert (kwargs["is_discrete"], kwargs["action_joints"], kwargs["max_distance"]) == (False, True, 0.5)
    assert (kwargs["shape_reward"], kwargs["multi_view"]) == (True, True)
    assert Dataset.open(tmp_path / "data").episode(0).observations.shape[1:] == (8, 8, 6)


def test_reward_distribution(tmp_path: Path) -> None:
    """Few different rewards are counted, many are summed up in quantiles."""
    done = generate(tmp_path, *SMALL, "--num-episode", 2, "--run-policy", "walker", "--reward-dist")
    dataset = Dataset.open(tmp_path / "MobileRobotGymEnv-v0_reach")
    rewards = np.concatenate([episode.rewards for episode in dataset])
    assert done.out.splitlines()[:2] == [f"dataset:  {dataset.path}", "episodes: 2, 42 steps, 0.0 MB"]
    shares = [f"  {value}: {(rewards == value).mean():.2%}" for value in (0, 1)]
    assert done.out.splitlines()[3:] == ["reward distribution:", *shares]
    done = generate(tmp_path, *SMALL, "--shape-reward", "--num-episode", 2, "--name", "many", "--reward-dist")
    assert f"   50 % are at most {np.median(all_rewards(tmp_path / 'many')):.4g}" in done.out


def all_rewards(folder: Path) -> np.ndarray:
    return np.concatenate([episode.rewards for episode in Dataset.open(folder)])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--num-episode", 0], "--num-episode must be at least 1, got 0"),
        (["--num-cpu", 0], "--num-cpu must be at least 1, got 0"),
        (["--seed", -1], "--seed must not be negative, got -1"),
        (["--name", "a/b"], "--name is a plain name, got 'a/b'; --save-path is where it lies"),
        (["--env", "KukaButonGymEnv-v0"], "unknown environment 'KukaButonGymEnv-v0'; did you mean 'KukaButton"),
        (["--run-policy", "custom"], "--run-policy custom needs a trained run: --log-custom-policy RUN, or --latest"),
        (["--latest"], "--latest concerns a trained run: give --run-policy custom too"),
        (["--episode", 3], "--episode concerns a trained run: give --run-policy custom too"),
        (["--toward-target-timesteps-proportion", 2], "--toward-target-timesteps-proportion lies between 0 and 1, got"),
        (["--run-policy", "custom", "--latest", "--toward-target-timesteps-proportion", 0.5],
         "--toward-target-timesteps-proportion mixes a script with chance, not with a trained run"),
        (["--run-policy", "custom", "--log-custom-policy", "nowhere"], "there is no model at nowhere"),
        (["--env", "CartPole-v1", "--run-policy", "walker"], "CartPole-v1: only our own robots can be led towards"),
        (["--multi-view", "--srl-model", "joints"], "--multi-view gives pictures, --srl-model joints none"),
        (["--short-episodes"], "short_episodes"),
        (["--env", "OmnirobotEnv-v0", "-ec", "--short-episodes"], "short_episodes concerns task:reach and task:circle"),
        (["--max-distance", 1, "--env-kwargs", "max_distance:2"], "--max-distance and --env-kwargs max_distance:2 dis"),
        (["--num-stack", 2], "unknown flag '--num-stack'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, args: Sequence[object], message: str) -> None:
    done = generate(tmp_path, *args)
    assert done.code == 2 and done.out == ""
    assert done.err.startswith("error: ") and done.err.count("\n") == 1 and message in done.err
    assert list(tmp_path.iterdir()) == []


def test_save_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = generate(tmp_path / "file", *SMALL, "--num-episode", 1)
    assert done.code == 2 and done.err.endswith("file is a file\n") and done.err.count("\n") == 1


def test_dataset_is_not_overwritten_unless_asked_for(tmp_path: Path) -> None:
    args = (*SMALL, "--num-episode", 1, "--name", "data")
    before = recorded(tmp_path, *args).episode(0)
    refused = generate(tmp_path, *args, "--seed", 1)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"error: the dataset {tmp_path / 'data'} is there already; give -f to replace it, or choose another place\n"
    )
    assert_equal(Dataset.open(tmp_path / "data").episode(0), before)
    after = recorded(tmp_path, *args, "--seed", 1, "-f").episode(0)
    assert after.start_seed != before.start_seed
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def children_of(process: "subprocess.Popen[str]") -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(child) for child in listed.split()]


def wait_until(is_so: Any, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begun(folder: Path, out: Path) -> "tuple[subprocess.Popen[str], list[int]]":
    """A process that has recorded some of its episodes, and its workers."""
    process = start("environments.dataset_generator", *SLOW, "--num-cpu", 2, "--save-path", folder, out=out)
    wait_until(lambda: len(list((folder / "data.unfinished" / "episodes").glob("*.npz"))) >= 2)
    return process, children_of(process)


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
def test_killed_recording_is_continued_to_the_same_bytes(tmp_path: Path) -> None:
    """What was complete is kept; other settings are refused; in the end all is as if nothing had happened."""
    process, workers = begun(tmp_path / "killed", tmp_path / "out.txt")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: are_gone(workers))
    unfinished = tmp_path / "killed" / "data.unfinished"
    kept = {path: path.stat().st_mtime_ns for path in (unfinished / "episodes").glob("0*.npz")}
    other = generate(tmp_path / "killed", *SLOW, "--seed", 1)
    assert (other.code, other.err) == (
        2,
        f"error: {unfinished} holds a part of a dataset that was begun with another seed: 0, now 1; give the same "
        "settings to finish it, or -f to begin anew\n",
    )
    done = generate(tmp_path / "killed", *SLOW)
    assert done.out.startswith(f"going on: {len(kept)} of 12 episodes are there\n")
    final = tmp_path / "killed" / "data"
    assert {path.name: (final / "episodes" / path.name).stat().st_mtime_ns for path in kept} == {
        path.name: written for path, written in kept.items()
    }
    recorded(tmp_path / "whole", *SLOW)
    assert files(final) == files(tmp_path / "whole" / "data")
    assert not unfinished.exists()


@pytest.mark.slow
def test_dead_worker_ends_all_with_one_line(tmp_path: Path) -> None:
    process, workers = begun(tmp_path, tmp_path / "out.txt")
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    assert process.wait(30) == 1
    wait_until(lambda: are_gone(workers))
    out = (tmp_path / "out.txt").read_text()
    assert out.startswith("error: worker 1 died with exit code -9 (SIGKILL) in episode ")
    assert out.endswith("; give the same command to go on\n") and out.count("\n") == 1


@pytest.mark.slow
def test_interrupt_keeps_what_is_complete(tmp_path: Path) -> None:
    process, workers = begun(tmp_path, tmp_path / "out.txt")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    wait_until(lambda: are_gone(workers))
    assert (tmp_path / "out.txt").read_text() == "interrupted\n"
    assert len(list((tmp_path / "data.unfinished" / "episodes").glob("0*.npz"))) >= 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training with normalized observations, two of them stacked."""
    trained, _ = call_train(
        *("--env", "MobileRobotGymEnv-v0", "-r", "--env-kwargs", "max_steps:30", "--num-stack", 2, "--n-envs", 2),
        *("--policy-kwargs", "net_arch:[8]", "--hyperparam", "n_steps:16", "n_epochs:1", "--num-timesteps", 192),
        *("--save-interval", 32, "--keep-checkpoints", 0, "--eval-freq", 0, "--no-vis", "--memory-states", 0),
        log_dir=tmp_path_factory.mktemp("runs") / "logs",
    )
    return trained


def test_trained_run_acts_as_teacher(tmp_path: Path, run: Run) -> None:
    """Raw single observations are recorded, with what the policy makes of two of them, normalized; workers change
    nothing."""
    args = ("--run-policy", "custom", "--log-custom-policy", run.path, "--num-episode", 3)
    dataset = recorded(tmp_path, *args, "--name", "data")
    recorded(tmp_path, *args, "--name", "again", "--num-cpu", 2)
    assert files(tmp_path / "data") == files(tmp_path / "again")
    origin = dataset.origins[0]
    source = resolve(str(run.path), tmp_path)
    assert origin.policy == {
        **{"kind": "run", "run": run.id, "algo": "ppo", "timesteps": source.timesteps},
        **{"identity": source.identity, "deterministic": False},
    }
    assert (origin.teacher, origin.task) == ({"name": "categorical", "sizes": [4]}, "reach")
    assert (origin.env_kwargs["max_steps"], origin.env_kwargs["observation"]) == (30, "ground_truth")
    model, env = load_to_act(source, [inherited_layer(source, {})[0], Layer("flags", {})], 1)
    assert isinstance(env, VecNormalize)
    for episode in dataset:
        assert np.allclose(episode.observations, episode.ground_truth - episode.target, atol=1e-6)
        before = np.concatenate([np.zeros((1, 2), np.float32), episode.observations[:-2]])
        stacked = np.concatenate([before, episode.observations[:-1]], axis=1)
        inputs: Any = model.policy.obs_to_tensor(env.normalize_obs(stacked))[0]
        assert isinstance(model.policy, ActorCriticPolicy)
        expected = model.policy.get_distribution(inputs).distribution.logits.detach().numpy()  # type: ignore[union-attr]
        assert np.allclose(episode.teacher["logits"], expected, atol=1e-5)
        values = model.policy.predict_values(inputs).detach().numpy()[:, 0]
        assert np.allclose(episode.teacher["values"], values, atol=1e-5)
    env.close()


def test_deterministic_run_takes_the_likeliest_action(tmp_path: Path, run: Run) -> None:
    args = ("--run-policy", "custom", "--log-custom-policy", f"{run.path}@last", "--num-episode", 1)
    sure = recorded(tmp_path, *args, "--deterministic", "--name", "sure").episode(0)
    drawn = recorded(tmp_path, *args, "--name", "drawn").episode(0)
    assert np.array_equal(sure.actions, sure.teacher["logits"].argmax(1))
    assert not np.array_equal(drawn.actions, drawn.teacher["logits"].argmax(1))


def test_pictures_are_recorded_of_a_run_that_sees_none(tmp_path: Path, run: Run) -> None:
    """The policy goes on seeing what it was trained on; only what is recorded is another observation."""
    args = ("--run-policy", "custom", "--log-custom-policy", run.path, "--num-episode", 1)
    args = (*args, "--env-kwargs", "max_steps:9")
    blind = recorded(tmp_path, *args, "--name", "blind").episode(0)
    dataset = recorded(tmp_path, *args, "--name", "seen", "--srl-model", "raw_pixels")
    seen = dataset.episode(0)
    assert seen.observations.shape == (11, 64, 64, 3) and dataset.origins[0].policy["sees"] == "ground_truth"
    assert np.array_equal(seen.actions, blind.actions) and np.array_equal(seen.ground_truth, blind.ground_truth)
    assert np.array_equal(seen.teacher["logits"], blind.teacher["logits"])


def test_checkpoint_by_training_episode(tmp_path: Path, run: Run) -> None:
    """Two environments play episodes of 31 steps: after 32, 64 and 96 of their steps, 2, 4 and 6 have ended."""
    folder = RunFolder(run.path)
    assert run.steps == [32, 64, 96, 128, 160, 192]
    assert [checkpoint_after(folder, episode) for episode in (0, 1, 2, 3, 4, 5, 6, 99)] == [
        *(32, 32, 96, 96, 160, 160, 192, 192),
    ]
    with pytest.raises(
        UsageError, match="has no checkpoint from before episode -1; it has some after: 0, 2, 2, 4, 4, 6"
    ):
        checkpoint_after(folder, -1)
    logs = run.path.parents[3]
    args = ("--run-policy", "custom", "--log-custom-policy", logs, "--latest", "--episode", 3, "--num-episode", 1)
    assert recorded(tmp_path, *args).origins[0].policy["timesteps"] == 96


@pytest.mark.slow
def test_continuous_teacher_from_elsewhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Of a policy that squashes its actions the mean and deviation before that are kept, in the action's own range."""
    run = shared_run(tmp_path_factory, "pendulum_sac")
    dataset = recorded(tmp_path, "--run-policy", "custom", "--log-custom-policy", run.path, "--num-episode", 1)
    episode = dataset.episode(0)
    assert (dataset.path.name, dataset.origins[0].teacher) == (
        "Pendulum-v1",
        {"name": "squashed_gaussian", "sizes": []},
    )
    shapes = {name: array.shape for name, array in episode.teacher.items()}
    assert shapes == {"log_std": (200, 1), "mean": (200, 1), "values": (200,)}
    assert 1 < np.abs(episode.actions).max() <= 2 and episode.actions.dtype == np.float32
