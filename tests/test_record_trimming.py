"""Records cut back to where a checkpoint was, at whatever moment a process was killed, and going on from there."""

import itertools
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stable_baselines3.common.monitor
from cli import read_csv
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from test_progress_file import TIMESTEPS, dump, random_rows

from rl_baselines.config import RunConfig, from_flat
from rl_baselines.progress_file import ProgressFile
from rl_baselines.records import mark, trim
from rl_baselines.run_folder import RunFolder
from rl_baselines.vec_env import EnvFactory, make_training_env

EVALUATIONS = b"timesteps,mean_reward\r\n10,1.5\r\n"
MONITOR = b'#{"t_start": 100.5, "env_id": "Walk-v0"}\nr,l,t\r\n-3.0,10,0.5\r\n'
EVENTS = bytes(range(200))
EVENTS_NAME = "tensorboard/events.out.tfevents.17.host.1.0"
FILES = {
    "progress.csv": b"time/total_timesteps,a\r\n1,0.5\r\n2,\r\n",
    "evaluations.csv": EVALUATIONS,
    "monitor/000.monitor.csv": MONITOR,
    "monitor/001.monitor.csv": MONITOR,
    EVENTS_NAME: EVENTS,
}
GROWTH = {
    "progress.csv": b'3,0.25\r\n4,"x\ny"\r\n5,',
    "evaluations.csv": b"20,2.5\r\n",
    "monitor/000.monitor.csv": b"-4.0,10,0.75\r\n-5.0,1",
    "monitor/001.monitor.csv": b"",
    EVENTS_NAME: b"more events",
}
CUT = ["progress.csv: 3 rows", "evaluations.csv: 8 bytes", "monitor: 20 bytes", "tensorboard: 11 bytes"]


class Killed(BaseException):
    """Stands for the end of the process."""


def folder_with(path: Path, files: Mapping[str, bytes]) -> RunFolder:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return RunFolder(path)


def content_of(path: Path) -> dict[str, bytes]:
    """All files under a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def grown(path: Path, growth: Mapping[str, bytes] = GROWTH) -> tuple[RunFolder, dict[str, int]]:
    """A run folder whose records have grown since they were marked."""
    folder = folder_with(path / "run", FILES)
    marks = mark(folder)
    for name, more in growth.items():
        with open(folder.path / name, "ab") as file:
            file.write(more)
    return folder, marks


def set_aside(name: str) -> str:
    return name.replace("tfevents", "events")


def test_marks_are_rows_of_progress_and_bytes_of_the_others(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {**FILES, "plots/curve.png": b"1", "config.yaml": b"2"})
    assert mark(folder) == {
        "progress.csv": 2,
        "evaluations.csv": len(EVALUATIONS),
        "monitor/000.monitor.csv": len(MONITOR),
        "monitor/001.monitor.csv": len(MONITOR),
        EVENTS_NAME: 200,
    }
    assert mark(RunFolder(tmp_path / "none")) == {}


def test_rows_are_counted_by_their_ends(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"progress.csv": b'a,b\r\n1,"x\r\ny"\r\n2,"""\n"\r\n3,tor'})
    assert mark(folder) == {"progress.csv": 2}


def test_records_are_as_they_were_at_the_mark_and_whole_under_aside(tmp_path: Path) -> None:
    folder, marks = grown(tmp_path)
    assert trim(folder, marks, tmp_path / "aside") == CUT
    assert content_of(folder.path) == FILES
    expected = {set_aside(name): FILES[name] + more for name, more in GROWTH.items() if more}
    assert content_of(tmp_path / "aside") == expected
    assert not any("tfevents" in name for name in expected) and len(expected) == 4


@pytest.mark.parametrize("name", [name for name, more in GROWTH.items() if more])
def test_each_kind_is_cut_alone(tmp_path: Path, name: str) -> None:
    folder, marks = grown(tmp_path, {name: GROWTH[name]})
    expected = [words for words in CUT if name.startswith(words.split(":")[0])]
    assert trim(folder, marks, tmp_path / "aside") == expected and len(expected) == 1
    assert content_of(folder.path) == FILES
    assert content_of(tmp_path / "aside") == {set_aside(name): FILES[name] + GROWTH[name]}


def test_nothing_is_touched_where_all_fits(tmp_path: Path) -> None:
    folder, marks = grown(tmp_path, {})
    times = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert trim(folder, marks, tmp_path / "aside") == []
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == times
    assert not (tmp_path / "aside").exists()
    assert trim(RunFolder(tmp_path / "none"), {"progress.csv": 0, "evaluations.csv": 0}, tmp_path / "aside") == []


def test_trimming_again_changes_nothing(tmp_path: Path) -> None:
    folder, marks = grown(tmp_path)
    trim(folder, marks, tmp_path / "aside")
    before = content_of(tmp_path)
    assert trim(folder, marks, tmp_path / "aside") == []
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("marks", [{}, dict.fromkeys(FILES, 0)], ids=["no marks", "marks of nothing"])
def test_records_without_a_mark_are_moved_aside(tmp_path: Path, marks: dict[str, int]) -> None:
    folder = folder_with(tmp_path / "run", FILES)
    n_bytes = 2 * len(MONITOR)
    assert trim(folder, marks, tmp_path / "aside") == [
        "progress.csv: 2 rows",
        f"evaluations.csv: {len(EVALUATIONS)} bytes",
        f"monitor: {n_bytes} bytes",
        "tensorboard: 200 bytes",
    ]
    assert content_of(folder.path) == {}
    assert content_of(tmp_path / "aside") == {set_aside(name): content for name, content in FILES.items()}


def test_what_lies_aside_already_is_never_overwritten(tmp_path: Path) -> None:
    """Neither by copies nor by files that are moved; TensorBoard finds none of them."""
    folder, marks = grown(tmp_path)
    del marks["evaluations.csv"]
    found = []
    for more in (b"", b"6,1.0\r\n"):
        folder_with(folder.path, {name: FILES[name] + GROWTH[name] + more for name in FILES})
        found.append({name: FILES[name] + GROWTH[name] + more for name in FILES})
        trim(folder, marks, tmp_path / "aside")
    aside = content_of(tmp_path / "aside")
    for name in ("progress.csv", "evaluations.csv", "monitor/000.monitor.csv", EVENTS_NAME):
        assert (aside[set_aside(name)], aside[set_aside(name) + ".2"]) == (found[0][name], found[1][name])
    assert not any("tfevents" in name for name in aside)


OPERATIONS = [(os, "replace"), (os, "truncate"), (shutil, "copyfile"), (os, "fsync")]


def killed_at(patch: pytest.MonkeyPatch, number: int, half_done: bool) -> None:
    """End the process at the operation of that number, before it or, where it can be, in the middle of it."""
    count = itertools.count()

    def dying(operation: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if next(count) < number:
                return operation(*args)
            if half_done and name == "copyfile":
                Path(args[1]).write_bytes(Path(args[0]).read_bytes()[:5])
            raise Killed

        return call

    for module, name in OPERATIONS:
        patch.setattr(module, name, dying(getattr(module, name), name))


@pytest.mark.parametrize("half_done", [False, True])
def test_a_kill_between_any_two_operations_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_done: bool
) -> None:
    for number in range(100):
        folder, marks = grown(tmp_path / str(number))
        del marks["monitor/001.monitor.csv"]
        aside = tmp_path / str(number) / "aside"
        was_killed = False
        with monkeypatch.context() as patch:
            killed_at(patch, number, half_done)
            try:
                trim(folder, marks, aside)
            except Killed:
                was_killed = True
        once_more = trim(folder, marks, aside)
        expected = {name: FILES[name] for name in marks}
        left = {name: content for name, content in content_of(folder.path).items() if not name.startswith(".")}
        assert left == expected
        kept = {name: content for name, content in content_of(aside).items() if "/." not in f"/{name}"}
        originals = {set_aside(name): FILES[name] + GROWTH[name] for name in FILES}
        assert kept.keys() >= originals.keys()
        for name, content in kept.items():
            assert content == originals[name.removesuffix(".2")], (number, name)
        if not was_killed:
            assert once_more == []
            break
    n_copies, n_moves = 4, 1
    assert number == 3 * n_copies + 2 + 3 + n_moves  # a copy: copyfile, fsync, replace; then fsync, replace or truncate


def test_missing_rows_and_bytes_are_said(tmp_path: Path) -> None:
    """A machine that lost power may have lost the ends of files; lines that are torn must not be continued."""
    folder, marks = grown(tmp_path, {})
    folder_with(
        folder.path,
        {
            "progress.csv": FILES["progress.csv"][:-2],
            "evaluations.csv": EVALUATIONS[:-3],
            "monitor/001.monitor.csv": MONITOR[:-11],
            EVENTS_NAME: EVENTS[:-5],
        },
    )
    lacking = [
        "progress.csv lacks 1 row",
        "evaluations.csv lacks 8 bytes",
        "monitor lacks 13 bytes",
        "tensorboard lacks 5 bytes",
    ]
    torn = ["progress.csv: 1 row", "evaluations.csv: 5 bytes", "monitor: 2 bytes"]
    said = [words for pair in itertools.zip_longest(torn, lacking) for words in pair if words]
    assert trim(folder, marks, tmp_path / "aside") == said
    assert content_of(folder.path) == {
        "progress.csv": b"time/total_timesteps,a\r\n1,0.5\r\n",
        "evaluations.csv": b"timesteps,mean_reward\r\n",
        "monitor/000.monitor.csv": MONITOR,
        "monitor/001.monitor.csv": MONITOR[:-13],
        EVENTS_NAME: EVENTS[:-5],
    }
    assert trim(folder, marks, tmp_path / "aside") == lacking


def test_records_that_are_gone_or_empty_are_said(tmp_path: Path) -> None:
    """Empty files are moved away, so that those who write them begin with a header."""
    folder, marks = grown(tmp_path, {})
    folder.progress.unlink()
    (folder.path / EVENTS_NAME).unlink()
    folder_with(folder.path, {"evaluations.csv": b"", "monitor/000.monitor.csv": MONITOR[:7]})
    assert trim(folder, marks, tmp_path / "aside") == [
        "progress.csv lacks 2 rows",
        f"evaluations.csv lacks {len(EVALUATIONS)} bytes",
        "monitor: 7 bytes",
        f"monitor lacks {len(MONITOR)} bytes",
        "tensorboard lacks 200 bytes",
    ]
    assert content_of(folder.path) == {"monitor/001.monitor.csv": MONITOR}
    assert content_of(tmp_path / "aside") == {"evaluations.csv": b"", "monitor/000.monitor.csv": MONITOR[:7]}


@pytest.mark.parametrize("seed", range(8))
def test_progress_of_a_killed_and_resumed_run_is_that_of_one_never_interrupted(tmp_path: Path, seed: int) -> None:
    """Columns come at random rows: before the mark, between mark and kill, or after both."""
    n_rows, generator = 14, random.Random(seed + 50)
    rows = random_rows(seed, n_rows)
    expected = dump(tmp_path / "expected.csv", *rows)
    folder = folder_with(tmp_path / "run", {"config.yaml": b""})
    n_marked, n_killed = sorted(generator.sample(range(n_rows + 1), 2))
    dump(folder.progress, *rows[:n_marked])
    marks = mark(folder)
    dump(folder.progress, *rows[n_marked:n_killed])
    with open(folder.progress, "ab") as file:
        file.write(b'9,"torn')
    n_cut = n_killed - n_marked + 1
    assert trim(folder, marks, folder.path / "aside") == [f"progress.csv: {n_cut} row{'s'[: n_cut > 1]}"]
    found = dump(folder.progress, *rows[n_marked:])
    assert found == expected
    assert [row[TIMESTEPS] for row in read_csv(folder.progress)] == [str(step) for step in range(n_rows)]


def log(folder: RunFolder, steps: Sequence[int]) -> list[dict[str, int]]:
    """Train as one process does, and give the marks after each step."""
    folder.tensorboard.mkdir(parents=True, exist_ok=True)
    logger = Logger(None, [ProgressFile(folder.progress), TensorBoardOutputFormat(str(folder.tensorboard))])
    marks = []
    for step in steps:
        logger.record("train/loss", step / 10)
        logger.dump(step)
        marks.append(mark(folder))
    logger.close()
    return marks


def scalars(path: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(path))
    events.Reload()
    return [(event.step, round(event.value, 5)) for event in events.Scalars("train/loss")]


@pytest.fixture
def event_files_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard reads the files of one second and one process by their number as text: the tenth before the ninth.

    Only the tests write so many in one process.
    """
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


@pytest.mark.parametrize("torn", [b"", b"\x18\x00\x00\x00torn"])
@pytest.mark.usefixtures("event_files_from_zero")
def test_tensorboard_reads_the_cut_events_and_those_that_follow(tmp_path: Path, torn: bytes) -> None:
    folder = RunFolder(tmp_path)
    marks = log(folder, range(6))[2]
    (events,) = folder.tensorboard.iterdir()
    events.write_bytes(events.read_bytes() + torn)
    size = events.stat().st_size
    assert trim(folder, marks, folder.aside) == [
        "progress.csv: 3 rows",
        f"tensorboard: {size - marks[str(events.relative_to(folder.path))]} bytes",
    ]
    assert scalars(folder.tensorboard) == [(step, step / 10) for step in range(3)]
    log(folder, range(3, 8))
    assert scalars(folder.tensorboard) == [(step, step / 10) for step in range(8)]
    assert len(list(folder.tensorboard.iterdir())) == 2
    assert [row["train/loss"] for row in read_csv(folder.progress)] == [str(step / 10) for step in range(8)]
    assert list(folder.aside.rglob("*tfevents*")) == [] and len(list(folder.aside.rglob("*events*"))) == 1


@pytest.mark.usefixtures("event_files_from_zero")
def test_events_of_a_process_that_never_reached_a_checkpoint_are_moved(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    marks = log(folder, range(3))[-1]
    log(folder, range(3, 5))
    lost = {path for path in folder.tensorboard.iterdir() if str(path.relative_to(folder.path)) not in marks}
    content = [path.read_bytes() for path in lost]
    assert trim(folder, marks, folder.aside)[1] == f"tensorboard: {len(content[0])} bytes" and len(content) == 1
    assert [path.read_bytes() for path in (folder.aside / "tensorboard").iterdir()] == content
    log(folder, range(3, 8))
    assert scalars(folder.tensorboard) == [(step, step / 10) for step in range(8)]


class Clock:
    """Stands for the module `time` in that of the monitor; each look takes half a second."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def time(self) -> float:
        self.now_s += 0.5
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1000.0)
    monkeypatch.setattr(stable_baselines3.common.monitor, "time", SimpleNamespace(time=clock.time))
    return clock


def play(env: Any, n_episodes: int) -> None:
    for _ in range(n_episodes):
        env.reset()
        while not any(env.step(0)[2:4]):
            pass


def walk(monitor: Path, continues: bool) -> Any:
    return EnvFactory("Walk-v0", ("toy_envs",), {}, 3, str(monitor), continues)()


def column(path: Path, name: str) -> list[float]:
    return [float(row[name]) for row in read_csv(path, n_comments=1)]


def test_a_monitor_that_continues_appends_on_the_clock_of_its_file(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "000.monitor.csv"
    first = walk(tmp_path / "000", continues=False)
    play(first, 3)
    first.close()
    before = file.read_text()
    clock.now_s = 5000.0
    second = walk(tmp_path / "000", continues=True)
    play(second, 2)
    second.close()
    assert file.read_text().startswith(before) and file.read_text().count("#") == 1
    assert column(file, "t") == [0.5, 1.5, 2.5, 4000.5, 4001.5]
    assert column(file, "l") == [10] * 5


def test_a_monitor_that_does_not_continue_starts_its_file_again(tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        env = walk(tmp_path / "000", continues=False)
        play(env, 2)
        env.close()
    assert column(tmp_path / "000.monitor.csv", "t") == [0.5, 1.5]


@pytest.mark.parametrize("content", [None, b"", MONITOR[:20], MONITOR[: MONITOR.index(b"r,l")], MONITOR[:45]])
def test_a_monitor_that_continues_no_complete_header_writes_one(
    tmp_path: Path, clock: Clock, content: bytes | None
) -> None:
    file = tmp_path / "000.monitor.csv"
    if content is not None:
        file.write_bytes(content)
    env = walk(tmp_path / "000", continues=True)
    play(env, 1)
    env.close()
    assert file.read_text().splitlines()[:2] == ['#{"t_start": 1000.5, "env_id": "Walk-v0"}', "r,l,t"]
    assert column(file, "t") == [0.5]


def test_a_monitor_continues_a_file_that_is_named_in_full(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "000.monitor.csv"
    file.write_bytes(MONITOR)
    env = walk(file, continues=True)
    play(env, 1)
    env.close()
    assert column(file, "t") == [0.5, 900.5] and file.read_bytes().startswith(MONITOR)


@pytest.mark.parametrize("vector", [{"vec_env": "dummy"}, {"vec_env": "processes", "num_cpu": 2}], ids=str)
def test_monitors_of_a_resumed_run_go_on_where_they_were_cut(tmp_path: Path, vector: dict[str, Any]) -> None:
    config: RunConfig = from_flat({"env": "Walk-v0", "gym_packages": ("toy_envs",), "n_envs": 2, **vector})
    folder = folder_with(tmp_path, {"config.yaml": b""})
    files = [folder.monitor / f"{index:03d}.monitor.csv" for index in range(2)]

    def train(n_episodes: int, continues: bool) -> dict[str, int]:
        env = make_training_env(config, [5, 6], folder.monitor, continues)
        try:
            env.reset()
            for _ in range(10 * n_episodes):
                env.step([0, 0])
            return mark(folder)
        finally:
            env.close()

    marks = train(2, continues=False)
    before = content_of(folder.monitor)
    train(3, continues=True)
    assert [len(column(file, "r")) for file in files] == [5, 5]
    trim(folder, marks, folder.aside)
    assert content_of(folder.monitor) == before
    train(4, continues=True)
    for index, file in enumerate(files):
        assert file.read_bytes().startswith(before[file.name])
        times = column(file, "t")
        assert times == sorted(times) and len(times) == 6 and times[2] > times[1]
        assert column(file, "l") == [10] * 6
        assert column(file, "r")[2] == column(file, "r")[0], index  # the same seeds, for no state was restored here
