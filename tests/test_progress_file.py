"""The table of the logger's values: order of columns, format of cells, going on after what is there."""

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import read_csv
from stable_baselines3.common.logger import CSVOutputFormat, Figure, HParam, Image, Logger, Video

from rl_baselines.progress_file import ProgressFile, complete_rows

TIMESTEPS = "time/total_timesteps"


def dump(path: Path, *rows: Mapping[str, Any]) -> str:
    """Write rows as one process does, and give the file."""
    logger = Logger(None, [ProgressFile(path)])
    for row in rows:
        for name, value in row.items():
            logger.record(name, value)
        logger.dump(7)
    logger.close()
    return path.read_bytes().decode() if path.exists() else ""


def random_rows(seed: int, n_rows: int) -> list[dict[str, Any]]:
    """Rows whose names come and go, in an order of their own, as those of different algorithms do."""
    generator = random.Random(seed)
    names = [f"train/{letter}" for letter in "abcdefg"]
    rows = []
    for step in range(n_rows):
        chosen = generator.sample(names, generator.randint(0, min(len(names), 1 + step // 2)))
        row: dict[str, Any] = {
            name: generator.choice([generator.random(), step, f'a "b", {step}\n']) for name in chosen
        }
        rows.append({**row, TIMESTEPS: step})
    return rows


def test_timesteps_come_first_and_the_others_by_name(tmp_path: Path) -> None:
    values = {"train/loss": 0.5, "rollout/ep_rew_mean": 2.0, TIMESTEPS: 10, "a": 1}
    expected = "time/total_timesteps,a,rollout/ep_rew_mean,train/loss\r\n10,1,2.0,0.5\r\n"
    assert dump(tmp_path / "one.csv", values) == expected
    assert dump(tmp_path / "other.csv", dict(reversed(values.items()))) == expected


def test_columns_do_not_depend_on_which_dump_brought_them(tmp_path: Path) -> None:
    early = dump(tmp_path / "early.csv", {TIMESTEPS: 1, "b": 1.5, "a": 2}, {TIMESTEPS: 2})
    late = dump(tmp_path / "late.csv", {TIMESTEPS: 1, "b": 1.5}, {TIMESTEPS: 2, "a": 3})
    assert early == "time/total_timesteps,a,b\r\n1,2,1.5\r\n2,,\r\n"
    assert late == "time/total_timesteps,a,b\r\n1,,1.5\r\n2,3,\r\n"


def test_timesteps_come_first_also_when_another_name_came_before_them(tmp_path: Path) -> None:
    assert dump(tmp_path / "a.csv", {"eval/x": 1}, {TIMESTEPS: 2}) == "time/total_timesteps,eval/x\r\n,1\r\n2,\r\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, "0.1"),
        (1e-10, "1e-10"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.10000000149011612"),
        (float(np.float32(0.1)), "0.10000000149011612"),
        (np.array(0.1, np.float32), "0.10000000149011612"),
        (torch.tensor(0.1), "0.10000000149011612"),
        (3, "3"),
        (10**18 + 1, "1000000000000000001"),
        (np.int64(3), "3"),
        (torch.tensor(3), "3"),
        (True, "True"),
        (np.bool_(False), "False"),
        (None, ""),
        ("plain", "plain"),
        ("", ""),
        ('a "b", c', '"a ""b"", c"'),
        ("two\nlines", '"two\nlines"'),
        ("two\rlines", '"two\rlines"'),
        ("äß", "äß"),
        (np.array([1.5, 2]), '"[1.5, 2.0]"'),
        (torch.tensor([1.5, 2]), '"[1.5, 2.0]"'),
    ],
)
def test_a_value_is_written_as_python_prints_it(tmp_path: Path, value: Any, expected: str) -> None:
    assert dump(tmp_path / "a.csv", {TIMESTEPS: 1, "x": value}) == f"time/total_timesteps,x\r\n1,{expected}\r\n"


def test_values_are_those_that_stable_baselines3_writes(tmp_path: Path) -> None:
    row = {TIMESTEPS: 10, "a": 0.1, "b": True, "c": 'a "b"', "d": None, "e": np.float32(1.25), "f": np.int64(3)}
    dump(tmp_path / "ours.csv", row)
    theirs = CSVOutputFormat(str(tmp_path / "theirs.csv"))
    theirs.write(row, {})
    theirs.close()
    assert read_csv(tmp_path / "ours.csv") == read_csv(tmp_path / "theirs.csv") and len(row) == 7


def test_what_is_excluded_and_what_fits_no_table_has_no_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    logger = Logger(None, [ProgressFile(path)])
    logger.record("a", 1)
    logger.record("b", 2, exclude="csv")
    logger.record("c", 3, exclude=("stdout", "csv"))
    logger.record("d", 4, exclude="tensorboard")
    logger.record("e", Image(np.zeros((2, 2, 3)), "HWC"))
    logger.record("f", Figure(None, close=True))  # type: ignore[arg-type]
    logger.record("g", Video(torch.zeros(1), 30))
    logger.record("h", HParam({}, {"a": 1}))
    logger.dump()
    assert path.read_text() == "a,d\n1,4\n"


def test_a_dump_without_values_leaves_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    logger = Logger(None, [ProgressFile(path)])
    logger.dump()
    assert not path.exists()
    assert dump(path, {"a": 1}, {}, {"a": 2}) == "a\r\n1\r\n2\r\n"


def test_a_row_is_in_the_file_when_the_dump_returns(tmp_path: Path) -> None:
    logger = Logger(None, [ProgressFile(tmp_path / "a.csv")])
    for step in range(3):
        logger.record("a", step)
        logger.dump()
        assert [row["a"] for row in read_csv(tmp_path / "a.csv")] == [str(one) for one in range(step + 1)]


def test_a_wider_header_keeps_the_older_rows_whatever_texts_they_hold(tmp_path: Path) -> None:
    texts = ['a "b", c', "two\nlines", "two\r\nlines", "\r", ",", '"', ""]
    dump(tmp_path / "a.csv", *({TIMESTEPS: step, "m": text} for step, text in enumerate(texts)))
    dump(tmp_path / "a.csv", {TIMESTEPS: 99, "a": 1, "z": 2})
    found = read_csv(tmp_path / "a.csv")
    assert list(found[0]) == [TIMESTEPS, "a", "m", "z"]
    assert [row["m"] for row in found] == [*texts, ""]
    assert [(row["a"], row["z"]) for row in found] == [("", "")] * len(texts) + [("1", "2")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_kill_while_the_header_is_widened_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(tmp_path / "a.csv", {"b": 1})

    def killed(*_: Any) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(InterruptedError):
            dump(tmp_path / "a.csv", {"a": 2, "b": 2})
    assert (tmp_path / "a.csv").read_bytes().decode() == before == "b\r\n1\r\n"
    assert dump(tmp_path / "a.csv", {"a": 2, "b": 2}) == "a,b\r\n,1\r\n2,2\r\n"


@pytest.mark.parametrize("seed", range(5))
def test_a_file_written_by_several_processes_is_that_of_one(tmp_path: Path, seed: int) -> None:
    rows = random_rows(seed, 12)
    expected = dump(tmp_path / "one.csv", *rows)
    cuts = sorted(random.Random(seed + 100).sample(range(1, 12), 3))
    pieces: list[Sequence[Mapping[str, Any]]] = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, 12], strict=True)]
    for piece in pieces:
        found = dump(tmp_path / "several.csv", *piece)
    assert found == expected
    assert [row[TIMESTEPS] for row in read_csv(tmp_path / "several.csv")] == [str(step) for step in range(12)]


def test_a_file_without_content_gets_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert dump(tmp_path / "a.csv", {"a": 1}) == "a\r\n1\r\n"


def test_rows_end_outside_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\r\n1,"x\ny"\r\n2,"""\r\n"\n3,4')
    assert complete_rows(path) == [b"a,b\r\n", b'1,"x\ny"\r\n', b'2,"""\r\n"\n']
    assert list(csv.reader(row.decode() for row in complete_rows(path)))[1:] == [["1", "x\ny"], ["2", '"\r\n']]
    assert complete_rows(tmp_path / "none.csv") == []
