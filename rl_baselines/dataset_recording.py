"""Record the episodes of a dataset in worker processes, each when a worker is free; who records it changes nothing."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import gymnasium as gym

from environments.dataset import episode_name, episode_to_bytes
from environments.dataset_folder import DatasetBuild
from environments.durable import replace_file
from environments.recording import Policy, record
from rl_baselines.worker_process import Worker, WorkerDiedError, end_workers

RECORDED, FAILED = b"+", b"-"
EnvMaker = Callable[[], gym.Env[Any, Any]]
PolicyMaker = Callable[[gym.Env[Any, Any]], Policy]


class RecordingError(Exception):
    """An episode cannot be recorded; the message is one line. What was recorded is kept."""


def record_missing(
    build: DatasetBuild,
    indices: Sequence[int],
    make_service: "Callable[[], RecordingService]",
    n_workers: int,
    on_episode: Callable[[object], None],
) -> None:
    """Record episodes into a dataset under construction.

    :param indices: of the episodes
    :param make_service: called in each worker
    :param n_workers: number of processes
    :param on_episode: called after each episode
    :raises RecordingError: when an episode fails or a worker dies; the other workers are ended
    """
    queue = _Queue(indices)
    workers: list[Worker] = []
    pool = ThreadPoolExecutor(n_workers)
    try:
        for number in range(n_workers):
            workers.append(Worker(number, range(number, number + 1), make_service, workers))
        serving = [pool.submit(_serve, worker, queue, build, on_episode) for worker in workers]
        done, _ = wait(serving, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    finally:
        queue.close()
        end_workers(workers)
        pool.shutdown()


class RecordingService:
    """Answers the index of an episode with its file, in a worker process.

    :param make_env: makes the environment
    :param make_policy: makes what acts in it
    :param seed: of all episodes
    """

    def __init__(self, make_env: EnvMaker, make_policy: PolicyMaker, seed: int) -> None:
        self._make_env, self._make_policy, self._seed = make_env, make_policy, seed
        self._env: gym.Env[Any, Any] | None = None

    def answer(self, message: bytes) -> bytes:
        """Record the episode whose index comes as text; a failure is answered in words."""
        try:
            if self._env is None:
                self._env = self._make_env()
                self._policy = self._make_policy(self._env)
            return RECORDED + episode_to_bytes(record(self._env, self._policy, self._seed, int(message)))
        except Exception as error:  # noqa: BLE001  whatever an env raises is the parent's to tell
            text = str(error).strip() or "no reason was given"
            return FAILED + f"{type(error).__name__}: {text.splitlines()[0]}".encode()

    def close(self) -> None:
        """Close the environment."""
        if self._env is not None:
            self._env.close()


def service_maker(make_env: EnvMaker, make_policy: PolicyMaker, seed: int) -> "Callable[[], RecordingService]":
    """Give what makes a `RecordingService`, for `record_missing`."""
    return partial(RecordingService, make_env, make_policy, seed)


class _Queue:
    """Hands out indices to several threads."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._indices = iter(indices)
        self._lock = threading.Lock()
        self._is_open = True

    def close(self) -> None:
        """Hand out no more."""
        self._is_open = False

    def __iter__(self) -> Iterator[int]:
        while True:
            with self._lock:
                index = next(self._indices, None) if self._is_open else None
            if index is None:
                return
            yield index


def _serve(worker: Worker, queue: _Queue, build: DatasetBuild, on_episode: Callable[[object], None]) -> None:
    """Have one worker record as long as there is anything to record."""
    for index in queue:
        try:
            worker.send(str(index).encode())
            reply = worker.receive()
        except WorkerDiedError as error:
            raise RecordingError(
                f"worker {worker.number} died with {error.reason} in episode {index}; give the same command to go on"
            ) from None
        if reply[:1] == FAILED:
            raise RecordingError(f"episode {index} failed: {reply[1:].decode()}")
        replace_file(build.folder / episode_name(index), reply[1:])
        on_episode(index)
