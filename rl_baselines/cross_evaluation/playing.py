"""Plays the cells of a cross-evaluation in worker processes.

A cell is played in environments and with a model of its own, on one thread, so that what comes out depends neither on
the number of workers nor on the order.
"""

import io
import traceback
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.config import to_flat
from rl_baselines.cross_evaluation.plan import Cell, Plan
from rl_baselines.errors import UsageError
from rl_baselines.evaluation import EvaluationResult, evaluate
from rl_baselines.layers import Layer
from rl_baselines.model_building import load_to_act
from rl_baselines.random_agent import RandomPolicy
from rl_baselines.vec_env import make_evaluation_env
from rl_baselines.worker_process import Worker, WorkerDiedError, end_workers, first_to_answer

_PLAYED, _REFUSED, _FAILED = b"p", b"r", b"f"


class CellFailedError(RuntimeError):
    """A worker process ended in the middle of a cell; the message is one line."""


def play(plan: Plan, cell: Cell) -> EvaluationResult:
    """Play a cell.

    :raises UsageError: when the policy cannot act there after all
    """
    policy, env = _ready(plan, cell)
    try:
        return evaluate(policy, env, plan.start_seeds)
    finally:
        env.close()


def _ready(plan: Plan, cell: Cell) -> tuple[PolicyPredictor, VecEnv]:
    if cell.policy is not None:
        layers = [Layer(plan.tasks[cell.task].text, to_flat(cell.config))]
        return load_to_act(plan.policies[cell.policy].source, layers, plan.n_envs)
    env = make_evaluation_env(cell.config, plan.n_envs)
    return RandomPolicy(env.observation_space, env.action_space), env


def play_all(plan: Plan, cells: Sequence[Cell], n_jobs: int) -> Iterator[tuple[Cell, bytes]]:
    """Yield each cell with what was played, as `pack` gives it, in the order in which they are done.

    :param n_jobs: worker processes at most
    :raises CellFailedError: when a worker dies; the other workers end too
    :raises UsageError: as `play`
    """
    _ready(plan, cells[0])[1].close()  # what that imports, the workers have from the start
    waiting = list(reversed(cells))
    workers: list[Worker] = []
    busy: dict[int, tuple[Worker, Cell]] = {}
    try:
        for number in range(min(n_jobs, len(cells))):
            workers.append(Worker(number, range(1), partial(_Player, plan, cells), workers))
            busy[number] = workers[-1], _give(workers[-1], waiting.pop(), cells)
        while busy:
            worker = first_to_answer([worker for worker, _ in busy.values()])
            cell = busy.pop(worker.number)[1]
            try:
                answer = worker.receive()
                if waiting:
                    busy[worker.number] = worker, _give(worker, waiting.pop(), cells)
            except WorkerDiedError as error:
                raise CellFailedError(
                    f"a worker process died with {error.reason} while it played {_name(plan, cell)}"
                ) from None
            yield cell, _content(answer, _name(plan, cell))
    finally:
        end_workers(workers)


def _give(worker: Worker, cell: Cell, cells: Sequence[Cell]) -> Cell:
    worker.send(str(cells.index(cell)).encode())
    return cell


def _name(plan: Plan, cell: Cell) -> str:
    policy = "random actions" if cell.policy is None else plan.policies[cell.policy].label
    return f"{policy} on {plan.tasks[cell.task].label}"


def _content(answer: bytes, name: str) -> bytes:
    kind, content = answer[:1], answer[1:]
    if kind == _REFUSED:
        raise UsageError(f"{name}: {content.decode()}")
    if kind == _FAILED:
        raise RuntimeError(f"{name}: {content.decode()}")
    return content


class _Player:
    """What a worker does: it plays the cell whose place it is told."""

    def __init__(self, plan: Plan, cells: Sequence[Cell]) -> None:
        self._plan, self._cells = plan, cells
        torch.set_num_threads(1)

    def answer(self, message: bytes) -> bytes:
        """Play a cell."""
        try:
            return _PLAYED + pack(play(self._plan, self._cells[int(message)]))
        except UsageError as error:
            return _REFUSED + str(error).encode()
        except Exception:  # noqa: BLE001 - it is raised again in the parent
            return _FAILED + traceback.format_exc().encode()

    def close(self) -> None:
        """Do nothing: every cell closes what it opened."""


def pack(result: EvaluationResult) -> bytes:
    """Write a result as the content of an npz file."""
    file = io.BytesIO()
    arrays = {"rewards": result.rewards, "lengths": result.lengths, "start_seeds": np.array(result.start_seeds)}
    if result.successes is not None:
        arrays["successes"] = result.successes
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpack(content: bytes) -> EvaluationResult:
    """Read what `pack` wrote.

    :raises ValueError: for anything else, and what is damaged
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            seeds = tuple(arrays["start_seeds"].tolist())
            return EvaluationResult(arrays["rewards"], arrays["lengths"], arrays.get("successes"), seeds)
    except Exception as error:
        raise ValueError(f"no result of a cell: {error}") from error
