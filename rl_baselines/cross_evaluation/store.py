"""The folder of a cross-evaluation: each cell is stored when it is done, so that one cut short goes on."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from environments.durable import replace_file
from rl_baselines.checkpoint import write_json
from rl_baselines.cross_evaluation.plan import Cell, Plan, key_of
from rl_baselines.cross_evaluation.playing import unpack
from rl_baselines.errors import UsageError
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.run_folder import lock_folder

DESCRIPTION = "evaluation.json"
CELLS = "cells"
_OF_THE_START = (".lock", CELLS, f".{DESCRIPTION}.tmp")  # what is there when it was cut short at once


class Store:
    """The files of one cross-evaluation, claimed for this process.

    :param path: the folder, which is made
    :param plan: what is stored there
    :raises UsageError: when it holds something else, is in use, or cannot be written
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self._plan = path, plan
        self._cells = path / CELLS
        settled = plan.settled()
        _check(path, settled)
        try:
            self._cells.mkdir(parents=True, exist_ok=True)
            self._lock = lock_folder(path)
        except OSError as error:
            raise UsageError(f"cannot write in {path}: {error.strerror or error}") from None
        try:
            write_json(path / DESCRIPTION, {"key": key_of(settled), **_named(plan), **settled})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the folder free."""
        self._lock.close()

    def save(self, cell: Cell, content: bytes) -> None:
        """Store a cell.

        :param content: as `pack` gives it
        :raises OSError: when it cannot be written
        """
        replace_file(self._file(cell), content)

    def results(self) -> dict[str, EvaluationResult]:
        """Read the cells that are there, by name; what is damaged is left out, to be played again."""
        found = {}
        for cell in self._plan.cells:
            with suppress(OSError, ValueError):
                found[cell.name] = unpack(self._file(cell).read_bytes())
        return found

    def _file(self, cell: Cell) -> Path:
        return self._cells / f"{cell.name}.npz"


def _named(plan: Plan) -> dict[str, Any]:
    return {
        "labels": [policy.label for policy in plan.policies],
        "paths": [policy.source.path for policy in plan.policies],
        "task_labels": [task.label for task in plan.tasks],
    }


def _check(path: Path, settled: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but this evaluation."""
    description = path / DESCRIPTION
    if not description.exists():
        if path.exists() and (not path.is_dir() or any(entry.name not in _OF_THE_START for entry in path.iterdir())):
            raise UsageError(f"--output {path} is there and holds no cross-evaluation; name a new or an empty folder")
        return
    try:
        key = json.loads(description.read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        key = None
    if key != key_of(settled):
        raise UsageError(
            f"{path} holds another cross-evaluation (other policies, tasks or episodes); name another --output"
        )
