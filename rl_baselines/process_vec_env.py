"""A vector env in worker processes that gives the same numbers as a ``DummyVecEnv`` over the same envs.

Each worker holds a share of the envs in a ``DummyVecEnv`` of its own, so there may be more envs than processes.
The vector env comes first, then what a worker does (``_EnvSlice``).
"""

import pickle
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, SupportsIndex

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import CloudpickleWrapper, DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from rl_baselines.worker_process import Worker, WorkerDiedError, end_workers

EnvFactory = Callable[[], gym.Env[Any, Any]]


class ProcessVecEnv(VecEnv):
    """Run envs in worker processes, several envs to a worker.

    Workers ignore SIGINT and SIGTERM, which a terminal sends to all processes of a group, and end with this object:
    on ``close``, when it is collected, and at the end of the parent of whatever kind. What an env raises is raised here
    as a RuntimeError (an AttributeError or OSError as well, if it was one) and leaves the vector env usable. The death
    of a worker is a RuntimeError that ends the other workers too.

    :param env_fns: one factory for each env
    :param n_processes: number of workers; worker 0 takes the first envs, and shares differ by at most one env
    :raises ValueError: for fewer than one process or more processes than envs
    """

    def __init__(self, env_fns: Sequence[EnvFactory], n_processes: int) -> None:
        if not 1 <= n_processes <= len(env_fns):
            raise ValueError(
                f"n_processes must lie between 1 and the number of envs, {len(env_fns)}; got {n_processes}"
            )
        self._waiting = False
        self._workers: list[Worker] = []
        self._end = Finalize(self, end_workers, args=(self._workers,), exitpriority=100)
        for number, share in enumerate(_shares(len(env_fns), n_processes)):
            factories = CloudpickleWrapper(list(env_fns[share.start : share.stop]))
            self._workers.append(Worker(number, share, partial(_EnvSlice, factories), self._workers))
        try:
            made = self._ask("make", dict.fromkeys(self._workers, ()))
            observation_space, action_space, metadata = made[0]
            super().__init__(len(env_fns), observation_space, action_space)
        except BaseException:
            self.close()
            raise
        self.metadata = metadata

    def step_async(self, actions: np.ndarray) -> None:
        """Start one step of all envs.

        :param actions: (n_envs, ...)
        """
        self._send("step", {worker: (actions[worker.rows],) for worker in self._workers})
        self._waiting = True

    def step_wait(self) -> VecEnvStepReturn:
        """Finish the step; an env whose episode ended has been reset.

        :return: observations; rewards, float32, (n_envs,); dones, bool, (n_envs,); infos
        """
        self._waiting = False
        replies = self._receive(self._workers)
        observations, rewards, dones, infos, reset_infos = zip(*replies, strict=True)
        for worker, infos_of_ended in zip(self._workers, reset_infos, strict=True):
            for position, info in infos_of_ended.items():
                self.reset_infos[worker.share[position]] = info
        return _joined(observations), np.concatenate(rewards), np.concatenate(dones), _chained(infos)

    def reset(self) -> VecEnvObs:
        """Reset all envs with the seeds and options set before; a step under way is finished and dropped."""
        if self._waiting:
            self.step_wait()
        requests = {worker: (self._seeds[worker.rows], self._options[worker.rows]) for worker in self._workers}
        observations, reset_infos = zip(*self._ask("reset", requests), strict=True)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = _chained(reset_infos)
        return _joined(observations)

    def close(self) -> None:
        """Close the envs and end the workers; a second call does nothing."""
        self._end()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Render each env.

        :return: for each env an image, uint8 (height, width, 3), or None when the envs' render mode is another
        """
        if self.render_mode != "rgb_array":
            warnings.warn(f"images need the render mode rgb_array, the envs have {self.render_mode}", stacklevel=2)
            return [None] * self.num_envs
        return self._ask_envs("env_method", None, ("render",))

    def has_attr(self, attr_name: str) -> bool:
        """Tell whether all envs have an attribute; its values need not be picklable."""
        return all(self._ask_envs("has_attr", None, (attr_name,)))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Give an attribute of each env; of the wrappers that have it the outermost counts."""
        return self._ask_envs("get_attr", indices, (attr_name,))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute on the outermost wrapper of each env."""
        self._ask_envs("set_attr", indices, (attr_name, value))

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of each env and give the list of what they return."""
        return self._ask_envs("env_method", indices, (method_name, *method_args), method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Tell for each env whether a wrapper of this class is around it."""
        return self._ask_envs("env_is_wrapped", indices, (wrapper_class,))

    def _ask_envs(
        self, method: str, indices: VecEnvIndices, arguments: tuple[Any, ...], keywords: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """Call a method of the workers' vector envs and give one value for each env of ``indices``, in their order."""
        wanted = [range(self.num_envs)[i] for i in self._get_indices(indices)]
        owners = [next(worker for worker in self._workers if i in worker.share) for i in wanted]
        positions: dict[Worker, list[int]] = {worker: [] for worker in owners}
        for i, worker in zip(wanted, owners, strict=True):
            positions[worker].append(worker.share.index(i))
        requests = {worker: (method, asked, arguments, dict(keywords or {})) for worker, asked in positions.items()}
        values = {worker: iter(reply) for worker, reply in zip(requests, self._ask("ask", requests), strict=True)}
        return [next(values[worker]) for worker in owners]

    def _ask(self, command: str, requests: Mapping[Worker, tuple[Any, ...]]) -> list[Any]:
        if self._waiting:
            raise RuntimeError(f"{command} was asked between step_async and step_wait")
        self._send(command, requests)
        return self._receive(requests)

    def _send(self, command: str, requests: Mapping[Worker, tuple[Any, ...]]) -> None:
        if not self._end.still_active():
            raise RuntimeError(f"{command} was asked of a vector env that is closed")
        # All are pickled before one is sent: an argument that cannot be leaves no worker with an answer nobody reads.
        messages = [(worker, pickle.dumps((command, arguments))) for worker, arguments in requests.items()]
        with self._closed_on_death():
            for worker, message in messages:
                worker.send(message)

    def _receive(self, workers: Iterable[Worker]) -> list[Any]:
        with self._closed_on_death():
            messages = [(worker, worker.receive()) for worker in workers]
        replies = [(worker, pickle.loads(message)) for worker, message in messages]
        for worker, reply in replies:
            if isinstance(reply, _Failure):
                raise reply.error_of(worker)
        return [reply for _, reply in replies]

    @contextmanager
    def _closed_on_death(self) -> Iterator[None]:
        try:
            yield
        except WorkerDiedError:
            self.close()
            raise


class EnvAttributeError(RuntimeError, AttributeError):
    """An AttributeError that an env raised in a worker."""


class EnvOSError(OSError, RuntimeError):
    """An OSError that an env raised in a worker, with its number and file; `strerror` is the whole message."""

    def __str__(self) -> str:
        return str(self.strerror)


class _Failure(NamedTuple):
    """What an env raised, as a worker reports it.

    :param position: the env's place in the worker's share
    :param os_error: number and file of an OSError
    """

    position: int
    command: str
    message: str
    is_attribute_error: bool
    os_error: tuple[int, str | None] | None
    traceback: str

    def error_of(self, worker: Worker) -> RuntimeError:
        """Give the error that the parent raises."""
        where = f"env {worker.share[self.position]} (worker {worker.number})"
        message = f"{where} failed in {self.command}: {self.message}"
        error: RuntimeError = EnvAttributeError(message) if self.is_attribute_error else RuntimeError(message)
        if self.os_error is not None:
            number, file = self.os_error
            error = EnvOSError(number, message, file)
        error.add_note(f"Traceback in the worker:\n{self.traceback}")
        return error


class _NotedEnvs(list[gym.Env]):
    """A list of envs that notes which one was taken last, so that an exception can be traced to its env."""

    last_taken = 0

    def __getitem__(self, position: SupportsIndex) -> gym.Env:  # type: ignore[override]
        self.last_taken = int(position)
        return super().__getitem__(position)


class _EnvSlice:
    """A worker's share of the envs and the answers to the parent's commands.

    :param env_fns: wraps a list of ``EnvFactory``
    """

    def __init__(self, env_fns: CloudpickleWrapper) -> None:
        self._env_fns: list[EnvFactory] = env_fns.var
        self._envs = _NotedEnvs()

    def answer(self, message: bytes) -> bytes:
        """Carry a command out.

        :param message: pickled (command, arguments)
        :return: the pickled result, or a ``_Failure``
        """
        command, arguments = "reading a command", ()
        try:
            command, arguments = pickle.loads(message)
            return pickle.dumps(getattr(self, command)(*arguments))
        except Exception as error:  # noqa: BLE001  whatever an env raises is the parent's to handle
            return pickle.dumps(self._failure(error, command, arguments))

    def _failure(self, error: Exception, command: str, arguments: tuple[Any, ...]) -> _Failure:
        if command == "ask":
            method, _, of_method, _ = arguments
            command = " ".join([method, *(name for name in of_method[:1] if isinstance(name, str))])
        message = f"{type(error).__name__}: {error}"
        is_attribute_error, os_error = isinstance(error, AttributeError), None
        if isinstance(error, OSError) and error.errno is not None:
            os_error = error.errno, None if error.filename is None else str(error.filename)
        position = self._envs.last_taken
        return _Failure(position, command, message, is_attribute_error, os_error, traceback.format_exc())

    def make(self) -> tuple[gym.Space, gym.Space, dict[str, Any]]:
        """Make the envs.

        :return: the observation space, the action space and the metadata
        """
        self._env = DummyVecEnv([partial(self._make_one, position) for position in range(len(self._env_fns))])
        self._envs.extend(self._env.envs)
        self._env.envs = self._envs
        return self._env.observation_space, self._env.action_space, self._env.metadata

    def _make_one(self, position: int) -> gym.Env:
        self._envs.last_taken = position
        return self._env_fns[position]()

    def step(self, actions: np.ndarray) -> tuple[VecEnvObs, np.ndarray, np.ndarray, list[dict], dict[int, dict]]:
        """Step all envs; the last value is the reset infos of those that ended, by position."""
        observations, rewards, dones, infos = self._env.step(actions)
        reset_infos = {position: self._env.reset_infos[position] for position in np.flatnonzero(dones).tolist()}
        return observations, rewards, dones, infos, reset_infos

    def reset(self, seeds: list[int | None], options: list[dict[str, Any]]) -> tuple[VecEnvObs, list[dict[str, Any]]]:
        """Reset all envs; the second value is their reset infos."""
        self._env._seeds = seeds  # VecEnv.seed takes only one number
        self._env.set_options(options)
        return self._env.reset(), self._env.reset_infos

    def ask(self, method: str, positions: list[int], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
        """Call a method of the vector env for one env after the other."""
        return [self._ask_one(position, method, arguments, keywords) for position in positions]

    def _ask_one(self, position: int, method: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if method == "has_attr":
            return self._envs[position].has_wrapper_attr(*arguments)
        values = getattr(self._env, method)(*arguments, indices=[position], **keywords)
        return None if values is None else values[0]

    def close(self) -> None:
        """Close the envs; a record that cannot be written was complained about before."""
        for env in self._envs:
            with suppress(OSError):
                env.close()


def _shares(n_envs: int, n_processes: int) -> list[range]:
    """Divide the envs into contiguous shares as equal as possible."""
    bounds = [n_envs * number // n_processes for number in range(n_processes + 1)]
    return [range(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]


def _joined(parts: Sequence[Any]) -> Any:
    """Join the observations of the workers along the first axis, env by env."""
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return np.concatenate(parts)


def _chained(parts: Iterable[Iterable[Any]]) -> list[Any]:
    return [item for part in parts for item in part]
