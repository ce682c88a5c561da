"""The files that a cross-evaluation leaves: arrays, tables and a picture."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from environments.durable import replace_file
from rl_baselines.checkpoint import write_json
from rl_baselines.cross_evaluation.heat_map import draw_heat_map
from rl_baselines.cross_evaluation.matrix import Matrix, finite
from rl_baselines.transfer_matrix import Estimate

ARRAYS, EPISODES, CELLS, RESULT, PICTURE = (
    *("cross_eval.npz", "episodes.csv", "cells.csv"),
    *("result.json", "heat_map.png"),
)


def write_all(matrix: Matrix, folder: Path, sequential: bool) -> dict[str, Any]:
    """Write all files.

    :param sequential: whether the policies are the states of one learner
    :return: what stands in ``result.json``
    :raises OSError: when one cannot be written
    """
    file = io.BytesIO()
    np.savez(file, **_arrays(matrix))  # type: ignore[arg-type]
    replace_file(folder / ARRAYS, file.getvalue())
    replace_file(folder / EPISODES, _table(matrix.episodes()))
    replace_file(folder / CELLS, _table(matrix.cells()))
    replace_file(folder / PICTURE, _png(matrix))
    result = describe(matrix, folder, sequential)
    write_json(folder / RESULT, result)
    return result


def describe(matrix: Matrix, folder: Path, sequential: bool) -> dict[str, Any]:
    """Give all figures ready for JSON."""
    plan, names = matrix.plan, (ARRAYS, EPISODES, CELLS, RESULT, PICTURE)
    zero, one = matrix.levels
    return {
        "folder": str(folder),
        "n_episodes": plan.n_episodes,
        "policies": [
            {"label": policy.label, "path": policy.source.path, "selection": policy.source.selection}
            for policy in plan.policies
        ],
        "tasks": [
            {"label": task.label, "text": task.text, "zero": finite(float(zero[t])), "one": finite(float(one[t]))}
            for t, task in enumerate(plan.tasks)
        ],
        "cells": list(matrix.cells()),
        "sequence": {name: _plain(found) for name, found in matrix.sequence().items()} if sequential else None,
        "files": [str(folder / name) for name in names],
    }


def _plain(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: {"mean": finite(one.mean), "low": one.low, "high": one.high} for name, one in found.items()}


def _arrays(matrix: Matrix) -> dict[str, np.ndarray]:
    plan = matrix.plan
    return {
        "rewards": matrix.rewards,
        "lengths": matrix.lengths,
        "successes": matrix.successes,
        "scores": matrix.scores,
        "random_rewards": matrix.random_rewards,
        "start_seeds": np.array(plan.start_seeds),
        "policies": np.array([policy.label for policy in plan.policies]),
        "tasks": np.array([task.label for task in plan.tasks]),
    }


def _png(matrix: Matrix) -> bytes:
    file = io.BytesIO()
    draw_heat_map(matrix).savefig(file, format="png")
    return file.getvalue()


def _table(rows: Iterable[Mapping[str, Any]]) -> bytes:
    rows = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
