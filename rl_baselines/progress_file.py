"""The output of a Stable-Baselines3 logger that writes ``progress.csv`` and goes on after the rows that are there."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import Figure, HParam, Image, KVWriter, Video, filter_excluded_keys

from environments.durable import replace_file

FIRST_COLUMN = "time/total_timesteps"
_NO_CELL = (Figure, HParam, Image, Video)


class ProgressFile(KVWriter):
    """Appends one row with every dump.

    The timesteps come first and the other columns follow by name, so that their order is the same in every process. A
    dump with a new column rewrites the file with a wider header and empty cells in the older rows.

    :param path: ``progress.csv``; its last row must be complete
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns = next(iter(_cells(path)), [])

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append a row, which is in the file when this returns; a dump with nothing for a table leaves none.

        :param key_values: figures, images, videos and hyperparameters are left out
        :param key_excluded: outputs that leave a name out; this one is ``csv``
        :param step: not used, for the timesteps are a column
        """
        wanted = filter_excluded_keys(key_values, key_excluded, "csv")
        row = {name: _plain(value) for name, value in wanted.items() if not isinstance(value, _NO_CELL)}
        if not row:
            return
        if not row.keys() <= set(self._columns):
            self._widen(row)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def close(self) -> None:
        """Leave the file as it is, for nothing is held back."""

    def _widen(self, names: Iterable[str]) -> None:
        columns = sorted({*self._columns, *names}, key=lambda name: (name != FIRST_COLUMN, name))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(dict(zip(self._columns, cells, strict=False)) for cells in _cells(self.path)[1:])
        replace_file(self.path, text.getvalue().encode())
        self._columns = columns


def complete_rows(path: Path) -> list[bytes]:
    """Read the rows of a CSV file as they are, header first, without a last one that was cut short.

    A missing file has none.
    """
    rows, row = [], b""
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        row += line
        if row.endswith(b"\n") and row.count(b'"') % 2 == 0:  # else the line ends within a quoted text
            rows.append(row)
            row = b""
    return rows


def _cells(path: Path) -> list[list[str]]:
    return list(csv.reader(row.decode() for row in complete_rows(path)))


def _plain(value: Any) -> Any:
    """Turn numpy's numbers and tensors into Python's, which print the same whatever held them."""
    return value.tolist() if hasattr(value, "tolist") else value
