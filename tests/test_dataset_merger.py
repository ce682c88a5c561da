"""Merged datasets: every episode of every source with its origin, and sources as they were."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import Finished, call, start
from gymnasium import spaces
from test_dataset import ORIGIN, assert_equal, make_episode

from environments.dataset import Dataset, Episode, Origin, unfinished_path
from environments.dataset_folder import write_dataset
from environments.dataset_merger import main, merge
from environments.space_records import record_space


def origin_with(**changes: Any) -> Origin:
    return Origin(**{**vars(ORIGIN), **changes})


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Three datasets, the third of two origins, one of them that of the first."""
    write_dataset(tmp_path / "a", [ORIGIN], [make_episode(seed=0), make_episode(seed=1)])
    write_dataset(tmp_path / "b", [origin_with(task="circle")], [make_episode(seed=2)])
    third = [make_episode(seed=3, origin=1), make_episode(seed=4)]
    write_dataset(tmp_path / "c", [origin_with(seed=8), ORIGIN], third)
    return [tmp_path / name for name in "abc"]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def merge_by_command(*args: object) -> Finished:
    return call(main, "--merge", *args)


def test_merged_dataset_holds_all_episodes_in_order(tmp_path: Path, sources: list[Path]) -> None:
    """Equal origins become one, episodes follow theirs, and no source changes."""
    before = [contents(source) for source in sources]
    done = merge_by_command(*sources, tmp_path / "all")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"dataset:  {tmp_path / 'all'}\nepisodes: 5, 15 steps, of 3 origins\n"
    merged = Dataset.open(tmp_path / "all")
    assert merged.origins == (ORIGIN, origin_with(task="circle"), origin_with(seed=8))
    assert [entry.origin for entry in merged.entries] == [0, 0, 1, 0, 2]
    for seed, episode in enumerate(merged):
        assert_equal(episode, make_episode(seed=seed, origin=merged.entries[seed].origin))
    assert [contents(source) for source in sources] == before


def test_labels_name_the_tasks(tmp_path: Path, sources: list[Path]) -> None:
    """Each source gets its label; two that were of one origin are of two then."""
    done = merge_by_command(sources[0], sources[0], tmp_path / "all", "--continual-learning-labels", "SC", "CC")
    assert done.code == 0
    merged = Dataset.open(tmp_path / "all")
    assert [merged.origins[entry.origin].task for entry in merged.entries] == ["SC", "SC", "CC", "CC"]
    assert Dataset.open(sources[0]).origins[0].task == "reach"


def test_merged_datasets_can_be_merged_and_sources_deleted(tmp_path: Path, sources: list[Path]) -> None:
    merge(sources[:2], tmp_path / "ab")
    merge([tmp_path / "ab", sources[2]], tmp_path / "all")
    for source in (*sources, tmp_path / "ab"):
        for path in source.rglob("*.npz"):
            path.unlink()
    assert [episode.n_steps for episode in Dataset.open(tmp_path / "all")] == [3] * 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_space": record_space(spaces.Discrete(3))}, "differ in actions: 4 discrete and 3 discrete"),
        (
            {"observation_space": record_space(spaces.Box(0, 255, (4, 5, 6), np.uint8))},
            "differ in observations: 4 x 5 x 3 uint8 and 4 x 5 x 6 uint8",
        ),
        (
            {"observation_space": record_space(spaces.Box(0, 200, (4, 5, 3), np.uint8))},
            "differ in observations: high 255 and 200",
        ),
    ],
)
def test_datasets_of_other_spaces_are_refused(
    tmp_path: Path, sources: list[Path], changes: dict[str, Any], message: str
) -> None:
    write_dataset(tmp_path / "other", [origin_with(**changes)], [make_episode()])
    done = merge_by_command(sources[0], tmp_path / "other", tmp_path / "all")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {sources[0]} and {tmp_path / 'other'} {message}\n"
    assert not (tmp_path / "all").exists() and not unfinished_path(tmp_path / "all").exists()


def test_nothing_is_merged_over(tmp_path: Path, sources: list[Path]) -> None:
    """A dataset gives way only when told so, and a source never does."""
    assert merge_by_command(*sources[:2], sources[2]).err.endswith(
        "c is there already; give -f to replace it, or choose another place\n"
    )
    done = merge_by_command(*sources[:2], sources[0], "-f")
    assert done.err == f"error: {sources[0]} is one of the datasets to merge; choose another destination\n"
    assert merge_by_command(*sources[:2], sources[2], "-f").code == 0
    assert Dataset.open(sources[2]).n_episodes == 3


def test_what_cannot_be_merged_is_said_in_one_line(tmp_path: Path, sources: list[Path]) -> None:
    usage = "error: give two or more datasets and the folder of the new one: --merge A B NEW\n"
    assert call(main).err == merge_by_command(*sources[:2]).err == usage
    assert merge_by_command("x", "y", "z").err == "error: there is no dataset at x\n"
    done = merge_by_command(*sources[:2], tmp_path / "all", "--continual-learning-labels", "SC")
    assert done.err == "error: 2 datasets need 2 labels, got 1\n"
    (sources[1] / "episodes" / "000000.npz").write_bytes(b"")
    done = merge_by_command(*sources[:2], tmp_path / "all")
    assert done.err == f"error: the dataset {sources[1]} is damaged: episodes/000000.npz is not as it was written\n"
    assert not (tmp_path / "all").exists()


def test_killed_merge_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    """The destination is there at the end or not at all; the same command then begins anew and leaves no trace."""
    episodes: list[Episode] = [make_episode(2, seed) for seed in range(300)]
    write_dataset(tmp_path / "a", [ORIGIN], episodes[:200])
    write_dataset(tmp_path / "b", [ORIGIN], episodes[200:])
    args = ("--merge", tmp_path / "a", tmp_path / "b", tmp_path / "all")
    process = start("environments.dataset_merger", *args, out=tmp_path / "out.txt")
    begun = unfinished_path(tmp_path / "all") / "episodes"
    while not list(begun.glob("*.npz")):
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "all").exists()
    assert not unfinished_path(tmp_path / "all").joinpath("dataset.json").exists()
    assert merge_by_command(*args[1:]).code == 0
    assert Dataset.open(tmp_path / "all").n_episodes == len(list((tmp_path / "all" / "episodes").iterdir())) == 300
    assert not begun.exists()
