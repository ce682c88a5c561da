"""Whatever becomes of the server: training is not held up, nothing raises, and in the end all points are there."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_visdom import FakeVisdom

from rl_baselines.live.connection import loopback
from rl_baselines.live.events import Scalars, Text
from rl_baselines.live.writer import VisdomWriter

N_POINTS = 200
KEY = "rollout/ep_rew_mean"
MAX_BLOCK_S = 1e-3
"""What a training may be held up by one event."""
MAX_WAIT_S = 0.1
"""What the interpreter's lock, which the server of these tests shares, may take besides, now and then."""


@pytest.fixture
def fake() -> Iterator[FakeVisdom]:
    server = FakeVisdom()
    yield server
    server.mood = "error"  # lets go of what hangs
    server.die()


def writer_for(port: int, said: list[str] | None = None) -> VisdomWriter:
    return VisdomWriter(lambda: loopback(port), "run", (said if said is not None else []).append, flush_s=0.02)


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def seconds_delayed() -> float:
    """The time for which this thread could have run and other processes had the machine."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def tell(writer: VisdomWriter, first: int, n: int) -> None:
    """Tell points at a pace, none of which may hold up the training."""
    seconds = []
    for i in range(first, first + n):
        began, delayed = time.perf_counter(), seconds_delayed()
        writer.put(Scalars(i, {KEY: float(i), "train/loss": 1.0, "train/n_updates": 3.0}))
        seconds.append(time.perf_counter() - began - (seconds_delayed() - delayed))
        time.sleep(0.001)
    assert max(seconds) < MAX_WAIT_S and sorted(seconds)[int(0.97 * n)] < MAX_BLOCK_S


def points_of(fake: FakeVisdom) -> list[float]:
    return fake.windows.get("run", {}).get("reward", {"data": [{"y": []}]})["data"][0]["y"]


def test_points_arrive_within_moments_and_only_what_changed_is_sent(fake: FakeVisdom) -> None:
    writer = writer_for(fake.port)
    writer.put(Text("Settings", "a"))
    writer.put(Scalars(1, {KEY: 2.0}))
    wait_until(lambda: points_of(fake) == [2.0])
    writer.put(Scalars(2, {KEY: 3.0}))
    wait_until(lambda: points_of(fake) == [2.0, 3.0])
    writer.put(Text("Settings", "a"))
    writer.close()
    assert fake.n_messages == {"reward": 2, "reward_smoothed": 2, "text/Settings": 1}


@pytest.mark.parametrize("mood", ["error", "hang"])
def test_a_server_that_fails_for_a_while_has_all_points_in_the_end(fake: FakeVisdom, mood: str) -> None:
    said: list[str] = []
    writer = writer_for(fake.port, said)
    tell(writer, 0, N_POINTS // 2)
    wait_until(lambda: len(points_of(fake)) == N_POINTS // 2)
    fake.mood = mood
    tell(writer, N_POINTS // 2, N_POINTS // 2)
    wait_until(lambda: len(said) == 2)
    fake.mood = "well"
    wait_until(lambda: len(points_of(fake)) == N_POINTS)
    wait_until(lambda: len(said) == 3)
    writer.close()
    assert points_of(fake) == [float(i) for i in range(N_POINTS)]
    assert said[0] == f"watch it live: http://localhost:{fake.port}/env/run"
    assert said[1].startswith(f"live view: http://127.0.0.1:{fake.port} does not answer (")
    assert said[2] == f"live view: http://127.0.0.1:{fake.port} is back"


def test_a_server_that_dies_is_followed_by_one_that_is_sent_everything(fake: FakeVisdom) -> None:
    writer = writer_for(fake.port)
    tell(writer, 0, N_POINTS)
    wait_until(lambda: len(points_of(fake)) == N_POINTS)
    fake.die()
    tell(writer, N_POINTS, N_POINTS)
    successor = FakeVisdom(fake.port)
    try:
        wait_until(lambda: len(points_of(successor)) == 2 * N_POINTS)
        wait_until(lambda: set(successor.windows["run"]) == {"reward", "reward_smoothed", "value_loss"})
    finally:
        writer.close()
        successor.die()


def test_where_nothing_answers_it_is_said_once_and_the_end_comes_soon() -> None:
    said: list[str] = []
    unused = FakeVisdom()
    unused.die()
    writer = writer_for(unused.port, said)
    tell(writer, 0, N_POINTS)
    wait_until(lambda: len(said) == 2)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 4 and len(said) == 2


def test_a_server_that_hangs_at_the_end_is_left_after_some_seconds(fake: FakeVisdom) -> None:
    writer = writer_for(fake.port)
    fake.mood = "hang"
    writer.put(Scalars(1, {KEY: 2.0}))
    time.sleep(0.1)
    began = time.monotonic()
    writer.close()
    assert 1 < time.monotonic() - began < 6


def test_what_is_no_number_leaves_a_gap_and_the_rest_is_shown(fake: FakeVisdom) -> None:
    writer = writer_for(fake.port)
    for i, value in enumerate((1.0, float("nan"), float("inf"), 2.0)):
        writer.put(Scalars(i, {KEY: value}))
    writer.close()
    assert points_of(fake) == [1.0, None, None, 2.0]


def test_a_forked_process_has_a_thread_of_its_own(fake: FakeVisdom) -> None:
    writer = writer_for(fake.port)
    writer.put(Scalars(0, {KEY: 1.0}))
    wait_until(lambda: points_of(fake) == [1.0])
    child = os.fork()
    if child == 0:
        writer.put(Scalars(1, {KEY: 2.0}))
        writer.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert points_of(fake) == [1.0, 2.0]
    writer.close()


def test_where_there_is_no_server_nothing_is_held() -> None:
    writer = VisdomWriter(lambda: None, "run", lambda _: None)
    writer.put(Scalars(0, {KEY: 1.0}))
    writer.close()
    writer.put(Scalars(1, {KEY: 1.0}))
    assert not writer._queue
