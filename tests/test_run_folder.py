"""Run folders: names, checkpoints, links, pruning, locks."""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rl_baselines.checkpoint import Checkpoint, StoredFile, hash_of, save_checkpoint
from rl_baselines.errors import UsageError
from rl_baselines.run_folder import RunFolder, find_runs, newest_run

NOW = datetime.datetime(2026, 3, 4, 5, 6, 7)
LEVELS = ("CartPole-v1", "native", "ppo")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "logs", LEVELS, NOW)


def write_weights(path: Path) -> dict[str, StoredFile]:
    (path / "model.zip").write_text("weights")
    (path / "state").mkdir()
    (path / "state" / "state.json").write_text("{}")
    return {}


def save(folder: RunFolder, timesteps: int, best: int | None = None) -> Checkpoint:
    return save_checkpoint(folder.checkpoints, timesteps, write_weights, {"score": {"mean_reward": 1.5}, "best": best})


def test_name_is_the_ancestors_scheme_and_the_same_second_gets_a_suffix(tmp_path: Path) -> None:
    first, second = (RunFolder.create(tmp_path, LEVELS, NOW) for _ in range(2))
    assert first.path == tmp_path / "CartPole-v1/native/ppo/26-03-04_05h06_07"
    assert second.path == tmp_path / "CartPole-v1/native/ppo/26-03-04_05h06_07_2"
    assert first.run_id == "CartPole-v1/native/ppo/26-03-04_05h06_07"


def test_slashes_in_ids_make_no_further_level(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, ("ALE/Pong-v5", "native", "dqn"), NOW)
    assert folder.path.parents[2] == tmp_path / "ALE-Pong-v5"


def test_checkpoint_is_complete_with_hashes_and_score(folder: RunFolder) -> None:
    checkpoint = save(folder, 200_000)
    assert checkpoint.path == folder.checkpoints / "000200000"
    assert checkpoint.is_complete() and checkpoint.timesteps == 200_000
    entry = {"size": 7, "sha256": hash_of(checkpoint.model)}
    manifest = checkpoint.manifest
    assert manifest.pop("files").pop("model.zip") == entry and len(manifest.pop("manifest_sha256")) == 64
    assert manifest == {"timesteps": 200_000, "score": {"mean_reward": 1.5}, "best": None}
    assert checkpoint.damage() is None and checkpoint.can_be_resumed()
    assert not list(folder.checkpoints.glob(".*"))


@pytest.mark.parametrize("damage", ["no manifest", "torn manifest", "shorter file", "missing file"])
def test_damaged_checkpoints_are_not_complete(folder: RunFolder, damage: str) -> None:
    checkpoint = save(folder, 10)
    manifest = checkpoint.path / "manifest.json"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "torn manifest":
        manifest.write_text(manifest.read_text()[:20])
    elif damage == "shorter file":
        checkpoint.model.write_text("w")
    else:
        checkpoint.model.unlink()
    assert not checkpoint.is_complete()
    assert folder.all_checkpoints() == []


def test_a_failed_write_leaves_no_checkpoint(folder: RunFolder) -> None:
    def fail(path: Path) -> dict[str, StoredFile]:
        (path / "model.zip").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder.checkpoints, 10, fail, {})
    assert folder.all_checkpoints() == []
    assert save(folder, 10).is_complete()


def test_links_are_relative_and_survive_a_move(folder: RunFolder, tmp_path: Path) -> None:
    checkpoint = save(folder, 10)
    folder.point("best", checkpoint)
    assert os.readlink(folder.path / "best") == "checkpoints/000000010"
    os.rename(tmp_path / "logs", tmp_path / "moved")
    moved = RunFolder(tmp_path / "moved" / folder.path.relative_to(tmp_path / "logs"))
    assert moved.pointed("best") == Checkpoint(moved.checkpoints / "000000010")
    assert moved.pointed("last") is None


def test_pointer_files_stand_in_for_links(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    checkpoint = save(folder, 10)
    folder.point("last", checkpoint)
    assert not (folder.path / "last").is_symlink()
    assert folder.pointed("last") == checkpoint


def test_pruning_keeps_newest_linked_milestones_and_parents(folder: RunFolder) -> None:
    checkpoints = {step: save(folder, step) for step in range(10, 100, 10)}
    folder.point("best", checkpoints[20])
    folder.point("last", checkpoints[90])
    checkpoints[40].add_child("some/run")
    folder.prune(keep=3, milestones=frozenset({10}))
    assert [c.timesteps for c in folder.all_checkpoints()] == [10, 20, 40, 70, 80, 90]
    folder.prune(keep=0, milestones=frozenset())
    assert len(folder.all_checkpoints()) == 6


def test_checkpoints_sort_by_number(folder: RunFolder) -> None:
    for step in (1_000_000_000, 9, 10):
        save(folder, step)
    assert [c.timesteps for c in folder.all_checkpoints()] == [9, 10, 1_000_000_000]


def test_newest_run_is_the_one_that_began_last(tmp_path: Path) -> None:
    runs = []
    for index, day in enumerate(["02", "10", "09"]):
        started = f"2026-01-{day}T00:00:00+00:00"
        run = RunFolder.create(tmp_path, LEVELS, NOW + datetime.timedelta(days=-index))
        run.write_record({"id": run.run_id, "started": started})
        runs.append(run.path)
    assert newest_run(tmp_path).path == runs[1]
    assert sorted(run.path for run in find_runs(tmp_path)) == sorted(runs)


def test_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"^there is no run under {tmp_path}; --log-dir names another folder$"):
        newest_run(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match=r"^cannot write under --log-dir /proc/runs: "):
        RunFolder.create(Path("/proc/runs"), LEVELS, NOW)


def test_discarding_leaves_nothing_but_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/other").write_text("kept")
    RunFolder.create(tmp_path / "logs", LEVELS, NOW).discard()
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["other"]


def test_a_locked_folder_refuses_another_process_until_its_owner_dies(folder: RunFolder) -> None:
    program = "from rl_baselines.run_folder import RunFolder; from pathlib import Path; "
    program += f"RunFolder(Path({str(folder.path)!r})).lock()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"UsageError: {folder.path} is in use by process {os.getpid()}: wait for it, or stop it first" in done.stderr
    folder.unlock()
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    folder.lock()


def test_record_is_replaced_whole(folder: RunFolder) -> None:
    folder.write_record({"status": "running"})
    folder.write_record({"status": "finished"})
    assert json.loads(folder.record.read_text()) == folder.read_record() == {"status": "finished"}
    folder.record.write_text("{")
    with pytest.raises(UsageError, match="is no intact run folder: cannot read run.json"):
        folder.read_record()


def save_model(folder: RunFolder, timesteps: int) -> Checkpoint:
    """A best model between two checkpoints."""

    def write(path: Path) -> dict[str, StoredFile]:
        (path / "model.zip").write_text("weights")
        return {}

    return save_checkpoint(folder.checkpoints, timesteps, write, {"score": {}, "best": timesteps})


def steps(folder: RunFolder) -> list[int]:
    return [checkpoint.timesteps for checkpoint in folder.all_checkpoints()]


def test_the_best_model_as_of_a_checkpoint_that_stays_stays_too(folder: RunFolder) -> None:
    save_model(folder, 5)
    save(folder, 10, best=5)
    folder.point("best", save_model(folder, 15))
    for timesteps in (20, 30, 40):
        save(folder, timesteps, best=15)
    folder.prune(keep=2, milestones=frozenset({10}))
    assert steps(folder) == [5, 10, 15, 30, 40]
    folder.point("best", save_model(folder, 45))
    folder.prune(keep=2, milestones=frozenset())
    assert steps(folder) == [15, 30, 40, 45], "those without state do not count among the newest two"
    save(folder, 50, best=45)
    save(folder, 60, best=45)
    folder.prune(keep=2, milestones=frozenset())
    assert steps(folder) == [45, 50, 60]


def test_what_is_beyond_a_step_is_moved_aside_and_unfinished_work_deleted(folder: RunFolder) -> None:
    for timesteps in (10, 20, 30):
        save(folder, timesteps)
    (folder.checkpoints / ".000000040.tmp").mkdir()
    (folder.checkpoints / ".000000005.deleted").mkdir()
    aside = folder.new_aside(NOW)
    assert aside == folder.aside / "26-03-04_05h06_07"
    assert folder.set_aside_after(10, aside) == [20, 30]
    assert steps(folder) == [10] and not list(folder.checkpoints.glob(".*"))
    assert [Checkpoint(path).damage() for path in sorted((aside / "checkpoints").iterdir())] == [None, None]
    assert folder.new_aside(NOW) == folder.aside / "26-03-04_05h06_07_2"


def test_damage_is_named(folder: RunFolder) -> None:
    checkpoint = save(folder, 10)
    assert checkpoint.damage() is None
    checkpoint.model.write_text("WEIGHTS")
    assert checkpoint.is_complete(), "its size is right"
    assert checkpoint.damage() == "model.zip was changed"
    checkpoint.model.unlink()
    assert checkpoint.damage() == "model.zip is missing"
    manifest = checkpoint.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"timesteps": 10', '"timesteps": 90'))
    assert checkpoint.damage() == "manifest.json was changed"
    manifest.write_text("{")
    assert checkpoint.damage() == "manifest.json cannot be read (JSONDecodeError)"


def test_files_whose_hashes_are_known_are_not_read(folder: RunFolder) -> None:
    """Chunks of a replay buffer that are links into the checkpoint before."""

    def write(path: Path) -> dict[str, StoredFile]:
        (path / "state").mkdir()
        (path / "state" / "chunk").write_text("chunk")
        return {"state/chunk": StoredFile(5, "known")}

    files = save_checkpoint(folder.checkpoints, 10, write, {}).manifest["files"]
    assert files == {"state/chunk": {"size": 5, "sha256": "known"}}
