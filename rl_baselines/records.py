"""The records of a run in step with its checkpoints: how long they are, and how they are cut back to there.

Records are ``progress.csv``, ``evaluations.csv`` and the files under ``monitor`` and ``tensorboard``. The length of
``progress.csv`` is its number of rows, because its header may be rewritten wider; that of the others is in bytes.
"""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from environments.durable import force_to_disk, replace_file
from rl_baselines.progress_file import complete_rows
from rl_baselines.run_folder import RunFolder


def mark(folder: RunFolder) -> dict[str, int]:
    """Give the length of each record by its path relative to the run folder.

    :return: rows without the header of ``progress.csv``, bytes of all others
    """
    return {
        str(path.relative_to(folder.path)): (
            _count(complete_rows(path)) if path == folder.progress else path.stat().st_size
        )
        for path in _records(folder)
    }


def trim(folder: RunFolder, marks: Mapping[str, int], aside: Path) -> list[str]:
    """Cut the records back to the marks; when this is cut short by a kill, do it again.

    A record is first copied as it is to the same path under `aside`, one without a mark is moved there; a file that is
    there already is never overwritten. A record may be shorter than its mark, when the machine lost power before it
    was written to disk; then a last line that is torn is cut off.

    :param marks: from `mark`
    :param aside: a folder that is made when it is needed
    :return: in words, for each kind of record, what was cut off and then what is lacking; empty when all fit
    """
    cut: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    for name in sorted({*(str(path.relative_to(folder.path)) for path in _records(folder)), *marks}):
        path, kind = folder.path / name, Path(name).parts[0]
        # TensorBoard takes every file with "tfevents" in its name for a part of a run.
        target = aside / name.replace("tfevents", "events")
        trim_one = _trim_rows if path == folder.progress else _trim_bytes
        n_cut, n_lacking = trim_one(path, marks.get(name, 0), target)
        cut[kind] += n_cut
        lacking[kind] += n_lacking
    units = {folder.progress: "row", folder.evaluations: "byte", folder.monitor: "byte", folder.tensorboard: "byte"}
    kinds = [(path.name, unit) for path, unit in units.items()]
    return [words for kind, unit in kinds for words in _in_words(kind, unit, cut[kind], lacking[kind])]


def _records(folder: RunFolder) -> list[Path]:
    tables = [path for path in (folder.progress, folder.evaluations) if path.exists()]
    found = [path for parent in (folder.monitor, folder.tensorboard) for path in sorted(parent.rglob("*"))]
    return [*tables, *(path for path in found if path.is_file())]


def _count(rows: Sequence[bytes]) -> int:
    return max(0, len(rows) - 1)  # the first is the header


def _trim_rows(path: Path, n_rows: int, target: Path) -> tuple[int, int]:
    """Cut a table back to its first rows; a row that is torn counts as one.

    :return: how many were cut off, and how many are lacking
    """
    rows = complete_rows(path)
    is_torn = path.exists() and path.stat().st_size > sum(map(len, rows))
    n_found = _count(rows) + is_torn
    n_kept = min(_count(rows), n_rows)
    if not n_kept:
        _move(path, target)
    elif n_kept < n_found:
        _copy(path, target)
        replace_file(path, b"".join(rows[: 1 + n_kept]))
    return n_found - n_kept, n_rows - n_kept


def _trim_bytes(path: Path, n_bytes: int, target: Path) -> tuple[int, int]:
    """Cut a file back to its first bytes.

    :return: how many were cut off, and how many are lacking
    """
    n_found = path.stat().st_size if path.exists() else 0
    n_kept = min(n_found, n_bytes)
    if n_found < n_bytes and path.suffix == ".csv":
        n_kept = path.read_bytes().rfind(b"\n") + 1 if n_found else 0
    if not n_kept:
        _move(path, target)
    elif n_kept < n_found:
        _copy(path, target)
        os.truncate(path, n_kept)
    return n_found - n_kept, n_bytes - n_kept


def _move(path: Path, target: Path) -> None:
    if path.exists():
        os.replace(path, _free_name(target))


def _copy(path: Path, target: Path) -> None:
    """Copy a file and force it to disk; the copy has its name when it is complete."""
    free = _free_name(target)
    unfinished = free.with_name(f".{free.name}.tmp")
    shutil.copyfile(path, unfinished)
    force_to_disk(unfinished)
    os.replace(unfinished, free)


def _free_name(target: Path) -> Path:
    """Give the path, or one like it where nothing is yet, in a folder that exists."""
    target.parent.mkdir(parents=True, exist_ok=True)
    free, number = target, 1
    while free.exists():
        number += 1
        free = target.with_name(f"{target.name}.{number}")
    return free


def _in_words(kind: str, unit: str, n_cut: int, n_lacking: int) -> list[str]:
    amounts = [(f"{kind}: ", n_cut), (f"{kind} lacks ", n_lacking)]
    return [f"{words}{count:,} {unit}{'' if count == 1 else 's'}" for words, count in amounts if count]
