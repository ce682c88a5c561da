"""The vector env in processes: the numbers of a DummyVecEnv, and workers that neither die early nor stay behind."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from rl_baselines import worker_process
from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.process_vec_env import ProcessVecEnv
from rl_baselines.worker_process import WorkerDiedError

HERE = Path(__file__).parent


class Walk(gym.Env):
    """A random walk with dictionary observations, rewards that float32 rounds, and ways to go wrong."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space = spaces.Dict(
        {"place": spaces.Box(-np.inf, np.inf, (2,)), "age": spaces.Box(0, 99, (1,), np.int64)}
    )
    action_space = spaces.Discrete(2)
    step_duration_s = 0.0

    def __init__(self, name: int, render_mode: str | None = None) -> None:
        self.name = name
        self.render_mode = render_mode
        self.not_picklable = lambda: name

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.age = np.full(2, (options or {}).get("start", 0.0)), 0
        return self._observe(), {"name": self.name, "options": options}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action == 2:
            raise ZeroDivisionError(f"walk {self.name} fell off the edge")
        time.sleep(self.step_duration_s)
        self.place = self.place + self.np_random.normal(size=2) + action
        self.age += 1
        return self._observe(), float(self.place.sum()), self.age >= 3 + self.name, self.age >= 4, {"age": self.age}

    def _observe(self) -> dict[str, np.ndarray]:
        return {"place": self.place.astype(np.float32), "age": np.array([self.age])}

    def render(self) -> np.ndarray:
        return np.full((4, 6, 3), self.name, dtype=np.uint8)

    def delay(self, step_duration_s: float) -> None:
        self.step_duration_s = step_duration_s

    def pid(self) -> int:
        return os.getpid()

    def add(self, number: int, indices_like: int = 0) -> int:
        return self.name + number + indices_like


def make_walk(name: int) -> gym.Env:
    return EpisodeSeeds(Monitor(Walk(name, "rgb_array")), seed=name)


def broken_walk(name: int) -> gym.Env:
    if name == 3:
        raise FileNotFoundError("no such robot")
    return make_walk(name)


def walks(n_envs: int, make: Callable[[int], gym.Env] = make_walk) -> list[Callable[[], gym.Env]]:
    return [partial(make, name) for name in range(n_envs)]


def control(env_id: str, n_envs: int) -> list[Callable[[], gym.Env]]:
    return [partial(gym.make, env_id) for _ in range(n_envs)]


def assert_same(mine: Any, theirs: Any) -> None:
    """The same values, types and dtypes, through containers."""
    if isinstance(theirs, dict):
        assert set(mine) == set(theirs)
        for key in theirs:
            assert_same(mine[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, np.ndarray):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    else:
        assert mine == theirs


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_gone(pids: list[int], timeout_s: float = 5.0) -> list[int]:
    """The pids that still run after a while."""
    deadline = time.monotonic() + timeout_s
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid for pid in pids if is_running(pid)]


Script = subprocess.Popen[str]


@pytest.fixture
def start_script() -> Iterator[Callable[[str], Script]]:
    """Runs scripts, each the leader of its own process group, of which nothing is left after the test."""
    scripts: list[Script] = []

    def start(body: str) -> Script:
        scripts.append(popen_script(body))
        return scripts[-1]

    yield start
    for script in scripts:
        kill_group(script)


def kill_group(script: Script) -> None:
    with suppress(ProcessLookupError):
        os.killpg(script.pid, signal.SIGKILL)


def popen_script(body: str) -> Script:
    """Start a script that has three walks on two workers in ``env`` and prints the workers' pids first."""
    head = """
        import os, signal, sys, time
        from test_process_vec_env import *
        env = ProcessVecEnv(walks(3), 2)
        env.reset()
        print(*sorted(set(env.env_method("pid"))), flush=True)
    """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    pipe = subprocess.PIPE
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [HERE.parent, HERE]))}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ, start_new_session=True)


def workers_of(script: Script) -> list[int]:
    assert script.stdout is not None
    return [int(pid) for pid in script.stdout.readline().split()]


def finish(script: Script, text: str = "") -> str:
    """The rest of a script's output (``communicate`` would lose what reading lines has buffered)."""
    assert script.stdin is not None
    assert script.stdout is not None
    hung = threading.Timer(30, kill_group, [script])
    hung.start()
    with script.stdin, script.stdout:
        script.stdin.write(text)
        script.stdin.flush()
        output = script.stdout.read()
    script.wait()
    hung.cancel()
    return output


@pytest.mark.parametrize("n_processes", [1, 2, 5])
@pytest.mark.parametrize(
    "env_fns",
    [control("CartPole-v1", 5), control("Pendulum-v1", 5), walks(5)],
    ids=["discrete actions", "continuous actions", "dictionary observations"],
)
def test_numbers_equal_those_of_one_dummy_vec_env(env_fns: Any, n_processes: int) -> None:
    mine, theirs = ProcessVecEnv(env_fns, n_processes), DummyVecEnv(env_fns)
    rng = np.random.default_rng(5)
    for env in (mine, theirs):
        env.seed(7)
        env.set_options([{"start": float(i), "low": -0.01, "high": 0.01} if i % 2 else {} for i in range(5)])
    assert mine.metadata == theirs.metadata
    for first in (True, False):
        assert_same(mine.reset(), theirs.reset())
        assert_same(mine.reset_infos, theirs.reset_infos)
        for _ in range(40 if first else 5):
            if isinstance(theirs.action_space, spaces.Discrete):
                actions = rng.integers(2, size=5)
            else:
                actions = rng.uniform(-2, 2, (5, 1)).astype(np.float32)
            my_step, their_step = mine.step(actions), theirs.step(actions)
            for info in (*my_step[3], *their_step[3]):
                info.get("episode", {}).pop("t", None)  # wall time
            assert_same(my_step, their_step)
            assert_same(mine.reset_infos, theirs.reset_infos)
    mine.close()


def test_training_gives_the_same_weights_as_with_a_dummy_vec_env() -> None:
    from stable_baselines3 import PPO

    weights = []
    for env in (ProcessVecEnv(walks(4), 2), DummyVecEnv(walks(4))):
        model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=32, n_epochs=2, seed=3, device="cpu")
        model.learn(128)
        weights.append(model.policy.state_dict())
        env.close()
    for name, tensor in weights[0].items():
        assert tensor.equal(weights[1][name]), name


def test_attributes_and_methods_reach_the_right_envs() -> None:
    mine, theirs = ProcessVecEnv(walks(5), 2), DummyVecEnv(walks(5))
    envs: tuple[VecEnv, VecEnv] = (mine, theirs)
    for env in envs:
        assert env.get_attr("name") == [0, 1, 2, 3, 4]
        assert env.get_attr("name", [4, 0, -2, 0]) == [4, 0, 3, 0]
        assert env.env_method("add", 10, indices_like=100, indices=[3, 1]) == [113, 111]
        env.set_attr("colour", "red", indices=[1, 4])
        assert env.get_attr("colour", [1, 4]) == ["red", "red"]
        assert env.env_is_wrapped(Monitor, indices=2) == [True]
        assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * 5
        assert env.has_attr("not_picklable")
        assert not env.has_attr("colour")
        with pytest.raises(AttributeError, match="shape"):
            env.get_attr("shape", 4)
        with pytest.raises(IndexError):
            env.get_attr("name", 5)
        assert [image.max() for image in env.get_images() if image is not None] == [0, 1, 2, 3, 4]
    assert_same(mine.render(), theirs.render())
    mine.close()


def test_chosen_start_seeds_reach_an_env_in_a_worker() -> None:
    mine, theirs = ProcessVecEnv(walks(3), 2), DummyVecEnv(walks(3))
    for env in (mine, theirs):
        env.env_method("start_episodes_at", [42], indices=2)
        env.reset()
    actions = np.zeros(3, dtype=int)
    assert_same(mine.step(actions)[0], theirs.step(actions)[0])
    mine.close()


@pytest.mark.parametrize("n_processes", [0, 4])
def test_number_of_processes_must_fit(n_processes: int) -> None:
    with pytest.raises(
        ValueError, match=f"n_processes must lie between 1 and the number of envs, 3; got {n_processes}"
    ):
        ProcessVecEnv(walks(3), n_processes)


def test_what_an_env_raises_names_the_env_and_leaves_the_rest_usable() -> None:
    env = ProcessVecEnv(walks(5), 2)
    env.reset()
    with pytest.raises(RuntimeError) as caught:
        env.step(np.array([0, 0, 0, 2, 0]))
    assert str(caught.value) == "env 3 (worker 1) failed in step: ZeroDivisionError: walk 3 fell off the edge"
    assert "in step" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r"env 1 \(worker 0\) failed in env_method add: TypeError: "):
        env.env_method("add", "a word", indices=1)
    with pytest.raises(
        RuntimeError, match=r"env 2 \(worker 1\) failed in get_attr not_picklable: .*[Cc]an't (get|pickle)"
    ):
        env.get_attr("not_picklable", 2)
    env.reset()
    assert env.step(np.zeros(5, dtype=int))[0]["age"].tolist() == [[1]] * 5
    env.close()


def test_what_a_factory_raises_names_the_env_and_leaves_no_worker() -> None:
    with pytest.raises(RuntimeError) as caught:
        ProcessVecEnv(walks(5, broken_walk), 2)
    assert str(caught.value) == "env 3 (worker 1) failed in make: FileNotFoundError: no such robot"
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_named_and_the_others_end() -> None:
    env = ProcessVecEnv(walks(5), 2)
    env.reset()
    pids = env.env_method("pid")
    os.kill(pids[4], signal.SIGKILL)
    with pytest.raises(WorkerDiedError) as caught:
        env.step(np.zeros(5, dtype=int))
    assert str(caught.value) == "worker 1 (envs 2 to 4) died with exit code -9 (SIGKILL); the vector env is closed"
    assert not wait_until_gone(pids)
    with pytest.raises(RuntimeError, match="step was asked of a vector env that is closed"):
        env.step(np.zeros(5, dtype=int))


def test_closing_twice_and_beside_another_vector_env_is_quick() -> None:
    first, second = ProcessVecEnv(walks(2), 2), ProcessVecEnv(walks(2), 1)
    pids = first.env_method("pid")
    start = time.monotonic()
    first.close()
    first.close()
    assert time.monotonic() - start < 1
    assert not wait_until_gone(pids, 0)
    assert second.get_attr("name") == [0, 1]
    second.close()


def test_a_worker_in_the_middle_of_a_step_is_killed_at_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "END_TIMEOUT_S", 0.2)
    env = ProcessVecEnv(walks(2), 2)
    pids = env.env_method("pid")
    env.env_method("delay", 60.0)
    env.reset()
    env.step_async(np.zeros(2, dtype=int))
    env.close()
    assert not wait_until_gone(pids, 0)


def test_a_forgotten_vector_env_ends_its_workers() -> None:
    env = ProcessVecEnv(walks(2), 2)
    pids = env.env_method("pid")
    del env
    gc.collect()
    assert not wait_until_gone(pids)


def test_nothing_else_may_be_asked_during_a_step_but_a_reset() -> None:
    env = ProcessVecEnv(walks(2), 2)
    env.reset()
    env.step_async(np.zeros(2, dtype=int))
    with pytest.raises(RuntimeError, match="ask was asked between step_async and step_wait"):
        env.get_attr("name")
    assert_same(env.reset()["age"], np.zeros((2, 1), dtype=np.int64))  # type: ignore[call-overload]
    env.close()


def test_spawned_workers_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    mine, theirs = ProcessVecEnv(control("CartPole-v1", 2), 1), DummyVecEnv(control("CartPole-v1", 2))
    for env in (mine, theirs):
        env.seed(1)
    assert_same(mine.reset(), theirs.reset())
    mine.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_outlive_a_signal_to_the_whole_group(
    start_script: Callable[[str], Script], number: signal.Signals
) -> None:
    script = start_script(
        f"""
        signal.signal({int(number)}, lambda *_: print("signalled", flush=True))
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(20):
            env.step(np.zeros(3, dtype=int))
        env.close()
        print("done")
        """
    )
    pids = workers_of(script)
    assert script.stdout is not None
    assert script.stdout.readline() == "ready\n"
    os.killpg(script.pid, number)
    assert finish(script, "\n") == "signalled\ndone\n"
    assert script.returncode == 0
    assert len(pids) == 2
    assert not wait_until_gone(pids)


def test_killing_the_parent_leaves_no_worker(start_script: Callable[[str], Script]) -> None:
    script = start_script(
        "second = ProcessVecEnv(walks(2), 2)\nprint(*second.env_method('pid'), flush=True)\ntime.sleep(60)"
    )
    pids = workers_of(script) + workers_of(script)
    assert len([pid for pid in pids if is_running(pid)]) == 4
    os.kill(script.pid, signal.SIGKILL)
    assert not wait_until_gone(pids)
    assert finish(script) == ""


@pytest.mark.parametrize("ending", ["", "env.step_async(np.zeros(3, dtype=int))", "raise SystemExit(3)"])
def test_exit_without_close_is_quick_and_leaves_no_worker(start_script: Callable[[str], Script], ending: str) -> None:
    script = start_script(f"print(time.time(), flush=True)\n{ending}")
    pids = workers_of(script)
    start = float(finish(script))
    assert time.time() - start < 5
    assert script.returncode == (3 if "SystemExit" in ending else 0)
    assert not wait_until_gone(pids)
