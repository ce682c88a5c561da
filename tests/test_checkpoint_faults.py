"""A checkpoint survives kill -9 at any call and at any moment, a full disk, a read-only disk and flipped bits.

Runs are interrupted over and over and resumed; what they end with equals the same run without interruption.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli import TINY, Finished, Run, call, newest, run_command, run_train, start
from faults import KINDS
from resuming import assert_same, resume

from rl_baselines.checkpoint import Checkpoint
from rl_baselines.train import main

COMMON = ("--gym-packages", "faults", "--eval-freq", 64, "--eval-episodes", 1, *TINY)
PPO = (
    *("--env", "CartPole-v1", "--n-envs", 2, *COMMON, "--hyperparam", "n_steps:8", "n_epochs:1"),
    *("--num-timesteps", 640, "--save-interval", 32, "--keep-checkpoints", 1, "--seed", 3),
    *("--best-by", "train", "--min-episodes-save", 2),  # many are new in between, and saved without their state
)
SAC = (
    *("--env", "Pendulum-v1", "--algo", "sac", *COMMON, "--best-by", "eval"),
    *("--hyperparam", "learning_starts:40", "batch_size:8", "buffer_size:200"),
    *("--num-timesteps", 320, "--save-interval", 8, "--keep-checkpoints", 2, "--seed", 4),
)
RUNS: dict[str, tuple[Any, ...]] = {"ppo": PPO, "sac": SAC}
INTERVAL, FINAL = {"ppo": 32, "sac": 8}, {"ppo": 640, "sac": 320}
PRUNED = r"/checkpoints/(\d+|\.\d+\.deleted)/"
CHUNKS: dict[str, Any] = {"FAULT_CHUNK_BYTES": "1280"}  # 32 transitions of Pendulum


@dataclass(frozen=True)
class Reference:
    """A run without interruption.

    :param calls: kinds of the calls that changed its checkpoints and links
    """

    run: Run
    calls: list[str]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    found = {}
    for name, flags in RUNS.items():
        log = tmp_path_factory.mktemp("calls") / f"{name}.txt"
        run, _ = run_train(*flags, log_dir=tmp_path_factory.mktemp(name), FAULT_LOG=str(log), **CHUNKS)
        found[name] = Reference(run, [kind for kind, _ in calls_in(log)])
    return found


def calls_in(log: Path) -> list[tuple[str, str]]:
    return [(kind, path) for kind, _, path in (line.partition(" ") for line in log.read_text().splitlines())]


class Chain:
    """A run that is started, and resumed whenever it was interrupted.

    :param log_dir: new
    """

    def __init__(self, name: str, log_dir: Path, flags: Sequence[object] = ()) -> None:
        self.name, self.flags, self.log_dir = name, (*RUNS[name], *flags), log_dir
        self.run: Run | None = None
        self.log = log_dir / "calls.txt"
        self.n_nothing_to_resume = 0
        log_dir.mkdir()

    @property
    def command(self) -> tuple[object, ...]:
        if self.run is None:
            return (*self.flags, "--log-dir", "logs")
        return ("--resume", os.path.relpath(self.run.path, self.log_dir))

    def go_on(self, **variables: str) -> Finished:
        """Start or resume the run in a process of its own, under a fault."""
        self.log.unlink(missing_ok=True)
        given: dict[str, Any] = {"FAULT_LOG": str(self.log), **CHUNKS, **variables}
        done = run_command("rl_baselines.train", *self.command, folder=self.log_dir, **given)
        self.run = newest(self.log_dir / "logs")
        return done

    def after_kill(self) -> None:
        """Assert that all checkpoints are whole and that little is lost; start anew when there is none."""
        assert self.run is not None
        steps = resumable(self.run)
        reached = [int(step) for _, path in calls_in(self.log) for step in re.findall(r"checkpoints/\.?(\d+)", path)]
        assert max(reached, default=0) - max(steps, default=0) <= INTERVAL[self.name]
        if not steps:
            done = run_command("rl_baselines.train", *self.command, folder=self.log_dir)
            assert (done.code, done.out) == (2, "")
            assert re.fullmatch(r"error: \S+ has no checkpoint that can be resumed: start it anew, .*\n", done.err)
            shutil.rmtree(self.log_dir / "logs")
            self.run, self.n_nothing_to_resume = None, self.n_nothing_to_resume + 1

    def kill(self, action: str, kind: str, n: int, **variables: str) -> None:
        """Go on, and be killed at the n-th call of a kind."""
        done = self.go_on(FAULT=f"{action}:{kind}:{n}", **variables)
        assert done.code == -signal.SIGKILL, (action, kind, n, done)
        assert kind in ("any", calls_in(self.log)[-1][0])
        self.after_kill()

    def finish(self, reference: Run) -> None:
        """Go on to the end, which must be that of the reference."""
        done = self.go_on()
        assert (done.code, done.err) == (0, ""), done
        assert self.run is not None
        assert_same(self.run, reference)


def whole_checkpoints(run: Run) -> list[int]:
    """The steps of the checkpoints, which must be complete."""
    folders = [path for path in (run.path / "checkpoints").iterdir() if path.name.isdigit()]
    assert {path.name: Checkpoint(path).damage() for path in folders} == {path.name: None for path in folders}
    return sorted(int(path.name) for path in folders)


def resumable(run: Run) -> list[int]:
    """The steps of the checkpoints that hold more than a model; all are complete."""
    return [step for step in whole_checkpoints(run) if (run.checkpoint(step) / "state").is_dir()]


def kill_points(calls: Sequence[str], kinds: Sequence[str], seed: int) -> list[tuple[str, str, int]]:
    """Choose for each kind whether to kill before or after the call, and which of some two checkpoints' worth."""
    rng = random.Random(seed)
    per_checkpoint = {kind: max(1, round(calls.count(kind) / 40)) for kind in kinds}
    points = [(rng.choice(("kill", "kill-after")), kind, rng.randint(1, 2 * per_checkpoint[kind])) for kind in kinds]
    rng.shuffle(points)
    return points


FAST_KINDS = {
    "ppo": ("open", "write", "fsync", "rename", "symlink", "unlink"),
    "sac": ("write", "fsync", "rename", "link", "mkdir", "rmdir"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_kill_9_at_any_call_loses_at_most_one_interval(
    name: str, references: dict[str, Reference], tmp_path: Path
) -> None:
    points = kill_points(references[name].calls, FAST_KINDS[name], seed=1)
    assert set(FAST_KINDS["ppo"]) | set(FAST_KINDS["sac"]) == set(KINDS)
    chain = Chain(name, tmp_path / name)
    for point in points:
        chain.kill(*point)
    chain.kill("kill-after", "unlink", 2, FAULT_FILES=PRUNED)
    chain.finish(references[name].run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("name", RUNS)
def test_kill_9_at_many_calls_loses_at_most_one_interval(
    name: str, seed: int, references: dict[str, Reference], tmp_path: Path
) -> None:
    """With the kinds that are known, 8 and 9, and one among the deletions of an old checkpoint, these are 57 kills."""
    calls = references[name].calls
    kinds = [kind for kind in KINDS if kind in calls]
    assert len(kinds) == {"ppo": 8, "sac": 9}[name]
    chain = Chain(name, tmp_path / name)
    for point in kill_points(calls, kinds, seed):
        chain.kill(*point)
    chain.kill("kill-after", "unlink", seed, FAULT_FILES=PRUNED)
    chain.finish(references[name].run)


@pytest.mark.slow
def test_a_run_that_is_killed_before_its_first_checkpoint_is_whole_says_that_nothing_can_be_resumed(
    tmp_path: Path,
) -> None:
    chain = Chain("ppo", tmp_path / "ppo")
    first = rf"checkpoints/{INTERVAL['ppo']:09d}$"
    chain.kill("kill", "rename", 1, FAULT_FILES=first)
    assert chain.n_nothing_to_resume == 1 and chain.run is None
    chain.kill("kill-after", "rename", 1, FAULT_FILES=first)
    assert chain.n_nothing_to_resume == 1 and chain.run is not None
    assert resumable(chain.run) == [INTERVAL["ppo"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_kills_at_the_very_end_do_no_harm(name: str, references: dict[str, Reference], tmp_path: Path) -> None:
    """While the last checkpoint is written, before the links name it, and before the record says finished."""
    chain = Chain(name, tmp_path / name)
    chain.kill("kill", "rename", 1, FAULT_FILES=f"checkpoints/{FINAL[name]:09d}$")
    assert chain.run is not None and FINAL[name] not in whole_checkpoints(chain.run)
    chain.kill("kill-after", "rename", 1, FAULT_FILES=f"checkpoints/{FINAL[name]:09d}$")
    assert chain.run.checkpoint("last").name != f"{FINAL[name]:09d}" and FINAL[name] in whole_checkpoints(chain.run)
    chain.kill("kill", "rename", 2, FAULT_FILES=r"/run\.json$")
    assert chain.run.record["status"] == "running"
    chain.finish(references[name].run)


def kill_at_random_moments(chain: Chain, n_kills: int, seed: int) -> None:
    """Go on and be killed from outside, counted from the first call that changes a checkpoint or from the start."""
    rng = random.Random(seed)
    for index in range(n_kills):
        chain.log.unlink(missing_ok=True)
        out = chain.log_dir / "out.txt"
        process = start("rl_baselines.train", *chain.command, out=out, FAULT_LOG=str(chain.log), **CHUNKS)
        try:
            if index % 5 == 4:
                time.sleep(rng.uniform(0.5, 2.5))
            else:
                deadline = time.monotonic() + 60
                while not chain.log.exists():
                    assert process.poll() is None and time.monotonic() < deadline, out.read_text()
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 0.1))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run was at its end already"
        if list(chain.log_dir.glob("logs/*/*/*/*/run.json")):
            chain.run = newest(chain.log_dir / "logs")
            chain.log.touch()
            chain.after_kill()
        else:
            assert index % 5 == 4
            shutil.rmtree(chain.log_dir / "logs", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_kill_9_at_random_moments_loses_nothing(name: str, references: dict[str, Reference], tmp_path: Path) -> None:
    chain = Chain(name, tmp_path / name)
    kill_at_random_moments(chain, 5, seed=5)
    chain.finish(references[name].run)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_kill_9_at_many_random_moments_loses_nothing(
    name: str, references: dict[str, Reference], tmp_path: Path
) -> None:
    chain = Chain(name, tmp_path / name)
    kill_at_random_moments(chain, 10, seed=6)
    chain.finish(references[name].run)


def fail(chain: Chain, name_of_error: str, kind: str, n: int, files: str | None = None) -> str:
    """Go on until a call fails, and all that a disk in that state refuses afterwards too.

    :return: what was printed about it
    """
    variables = {} if files is None else {"FAULT_FILES": files}
    done = chain.go_on(FAULT=f"{name_of_error}:{kind}:{n}", **variables)
    assert chain.run is not None
    assert done.code == 1, done
    (line,) = done.err.splitlines()
    steps = resumable(chain.run)
    path = re.escape(os.path.relpath(chain.run.path, chain.log_dir))
    words = {"ENOSPC": "No space left on device", "EROFS": "Read-only file system"}[name_of_error]
    pattern = (
        rf"error: training stopped at step [\d,]+: (?P<what>\S*{path}\S*: .*{words}.*); the checkpoint of step "
        rf"{steps[-1]:,} is intact: mend that, then go on with --resume {path}"
    )
    match = re.fullmatch(pattern, line)
    assert match, line
    if name_of_error != "EROFS":  # where nothing can be deleted either
        assert [path.name for path in chain.run.path.rglob(".*.tmp")] == []
        assert [path.name for path in (chain.run.path / "checkpoints").iterdir() if not path.name.isdigit()] == []
    return match["what"]


FULL_AT = {
    "ppo": [("open", 20), ("write", 130), ("fsync", 21), ("mkdir", 5)],
    "sac": [("write", 111), ("link", 2), ("symlink", 4)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_a_full_disk_ends_the_training_in_one_line_and_harms_no_checkpoint(
    name: str, references: dict[str, Reference], tmp_path: Path
) -> None:
    chain = Chain(name, tmp_path / name)
    for kind, n in FULL_AT[name]:
        assert "/checkpoints/" in fail(chain, "ENOSPC", kind, n) or kind == "symlink"
    chain.finish(references[name].run)


@pytest.mark.slow
def test_a_full_disk_at_any_write_of_a_checkpoint_is_told_alike(
    references: dict[str, Reference], tmp_path: Path
) -> None:
    """Model, statistics, state and manifest are written by different libraries, each with errors of its own."""
    chain = Chain("ppo", tmp_path / "ppo")
    writes = (("model", 2), ("model", 9), ("vecnormalize.pkl", 1), ("state.json", 1), ("arrays", 3), ("manifest", 1))
    for index, (file, n) in enumerate(writes, start=2):
        files = rf"/\.{index * INTERVAL['ppo']:09d}\.tmp/.*{file}"
        assert "/checkpoints/" in fail(chain, "ENOSPC", "write", n, files)
    chain.finish(references["ppo"].run)


@pytest.mark.slow
def test_a_read_only_disk_ends_the_training_in_one_line_and_harms_no_checkpoint(
    references: dict[str, Reference], tmp_path: Path
) -> None:
    chain = Chain("sac", tmp_path / "sac")
    for kind, n in (("open", 25), ("rename", 10), ("unlink", 12), ("fsync", 25)):
        fail(chain, "EROFS", kind, n)
    chain.finish(references["sac"].run)


@pytest.mark.slow
def test_records_that_cannot_be_written_end_the_training_in_one_line(
    references: dict[str, Reference], tmp_path: Path
) -> None:
    chain = Chain("ppo", tmp_path / "ppo")
    for kind, n, files in (
        ("write", 7, r"/progress\.csv$"),
        ("write", 3, r"/evaluations\.csv$"),
        ("write", 3, r"000\.monitor\.csv$"),
        ("write", 60, r"/tensorboard/"),
        ("rename", 2, r"/run\.json$"),
    ):
        fail(chain, "ENOSPC", kind, n, files)
    chain.finish(references["ppo"].run)


@pytest.mark.slow
def test_a_record_that_a_worker_cannot_write_ends_the_training_in_one_line(
    references: dict[str, Reference], tmp_path: Path
) -> None:
    chain = Chain("ppo", tmp_path / "ppo", ("--vec-env", "processes", "--num-cpu", 2))
    what = fail(chain, "ENOSPC", "write", 4, r"001\.monitor\.csv$")
    assert what.endswith("env 1 (worker 1) failed in step: OSError: [Errno 28] No space left on device")
    chain.finish(references["ppo"].run)


FIRST_FILES = [
    r"/000\.monitor\.csv$",
    *(pytest.param(files, marks=pytest.mark.slow) for files in (r"/\.config\.yaml\.tmp$", r"/\.run\.json\.tmp$")),
]


@pytest.mark.parametrize("files", FIRST_FILES)
def test_a_disk_that_is_full_from_the_start_is_told_in_one_line(files: str, tmp_path: Path) -> None:
    flags = (*PPO, "--log-dir", "logs")
    done = run_command("rl_baselines.train", *flags, folder=tmp_path, FAULT="ENOSPC:write:1", FAULT_FILES=files)
    assert (done.code, done.out) == (1, ""), done.err
    assert re.fullmatch(r"error: \S+/logs/CartPole-v1/\S+: No space left on device\n", done.err)


@pytest.mark.slow
def test_a_model_without_the_state_of_its_training_is_not_offered_to_be_resumed(tmp_path: Path) -> None:
    """Best models between checkpoints are of that kind."""
    chain = Chain("ppo", tmp_path / "ppo", ("--min-episodes-save", 1, "--save-interval", 64))
    done = chain.go_on(FAULT="ENOSPC:write:4", FAULT_FILES=r"/progress\.csv$")
    assert chain.run is not None and whole_checkpoints(chain.run) and not resumable(chain.run)
    path = os.path.relpath(chain.run.path, chain.log_dir)
    assert (done.code, done.err) == (
        1,
        f"error: training stopped at step 64, with no checkpoint yet: {path}: No space left on device\n",
    )


@pytest.fixture
def damaged(references: dict[str, Reference], tmp_path: Path) -> Run:
    """A copy of the run with a replay buffer, to be damaged; its links between checkpoints are those of the copy."""
    source = references["sac"].run.path
    subprocess.run(["cp", "-a", source, tmp_path / source.name], check=True)
    return Run(tmp_path / source.name)


def offered(run: Run, file: str, how: str) -> str | None:
    """The run and checkpoint that `--resume` offers for a damaged one; None when there is none."""
    done = call(main, "--resume", run.path)
    assert (done.code, done.out) == (2, "")
    newest_one = re.escape(str(run.checkpoint(FINAL["sac"])))
    pattern = rf"error: the checkpoint {newest_one} is damaged: {re.escape(file)} {how}; (?P<remedy>.*)\n"
    match = re.fullmatch(pattern, done.err)
    assert match, done.err
    if match["remedy"] == "the run has no older one that is intact":
        return None
    remedy = re.fullmatch(r"the newest intact one before it is that of step \d+: --resume (\S+)", match["remedy"])
    assert remedy, match["remedy"]
    return remedy.group(1)


def files_of(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint that no other shares."""
    return sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_nlink == 1)


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_is_found_and_an_older_checkpoint_offered(
    references: dict[str, Reference], damaged: Run
) -> None:
    rng = random.Random(7)
    newest_one = damaged.checkpoint(FINAL["sac"])
    paths = files_of(newest_one)
    names = [str(path.relative_to(newest_one)) for path in paths]
    assert names[:4] == ["manifest.json", "model.zip", "state/arrays.npz", names[3]]
    assert names[3].startswith("state/replay/") and names[4:] == ["state/state.json", *names[5:]]
    assert names[5:] == ["vecnormalize.json", "vecnormalize.pkl"]
    commands = set()
    for path, name in zip(paths, names, strict=True):
        whole = path.read_bytes()
        positions = [0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(3))]
        if name == "manifest.json":
            positions.append(whole.index(b"manifest_sha256"))
        for position in positions:
            changed = bytearray(whole)
            changed[position] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            commands.add(offered(damaged, name, r"(was changed|cannot be read \(\w+\))"))
        path.write_bytes(whole)
    assert commands == {f"{damaged.path}@step:{FINAL['sac'] - INTERVAL['sac']}"}

    paths[0].write_bytes(paths[0].read_bytes()[:-1] + b"x")
    (command,) = commands
    done = resume(str(command), folder=damaged.path.parent, **CHUNKS)
    assert f"From step {FINAL['sac'] - INTERVAL['sac']:,}: exact" in done.out
    assert_same(damaged, references["sac"].run)


def test_a_missing_and_a_cut_file_are_found_and_an_older_checkpoint_offered(damaged: Run) -> None:
    newest_one = damaged.checkpoint(FINAL["sac"])
    expected = f"{damaged.path}@step:{FINAL['sac'] - INTERVAL['sac']}"
    for path in files_of(newest_one):
        whole, name = path.read_bytes(), str(path.relative_to(newest_one))
        is_manifest = name == "manifest.json"
        path.write_bytes(whole[: len(whole) // 2])
        assert offered(damaged, name, r"cannot be read \(\w+\)" if is_manifest else "was changed") == expected
        path.unlink()
        assert offered(damaged, name, r"cannot be read \(\w+\)" if is_manifest else "is missing") == expected
        path.write_bytes(whole)


def test_damage_that_two_checkpoints_share_leads_to_one_that_has_no_part_in_it(damaged: Run) -> None:
    """A chunk of the replay buffer is one file for all checkpoints that hold it."""
    newest_one, before = damaged.checkpoint(FINAL["sac"]), damaged.checkpoint(FINAL["sac"] - INTERVAL["sac"])
    shared = [path for path in newest_one.glob("state/replay/*") if path.stat().st_nlink > 1]
    path = next(path for path in shared if (before / path.relative_to(newest_one)).exists())
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(bytes([file.read(1)[0] ^ 1]))
    holders = {other.parents[2] for other in damaged.path.glob("checkpoints/*/state/replay/*") if other.samefile(path)}
    intact = [step for step in damaged.steps if damaged.checkpoint(step) not in holders]
    assert {newest_one, before} <= holders and intact
    name = str(path.relative_to(newest_one))
    assert offered(damaged, name, "was changed") == f"{damaged.path}@step:{intact[-1]}"
