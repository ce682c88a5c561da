"""What checkpoints cost: time, size, share of the training, memory, and how soon a resumed run is ready.

    python benchmarks/checkpoint_cost.py [--repeats 7] [--folder FOLDER]

PPO and SAC on the Kuka arm with their default settings, SAC with 1e5 and 1e6 transitions. Each checkpoint of ours, with
everything that an exact resume needs, is saved in turn with what stock Stable-Baselines3 offers (`model.save`,
`VecNormalize.save` and `save_replay_buffer`); medians over the pairs. The share of the training is the time of one
checkpoint over the default interval: a twentieth of a million steps, or a minute.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl_baselines.beginnings import begin, go_on
from rl_baselines.callbacks import StopTraining
from rl_baselines.checkpointing import MAX_SECONDS_BETWEEN_CHECKPOINTS
from rl_baselines.config import RunOptions
from rl_baselines.layers import Layer
from rl_baselines.resolution import plan_run
from rl_baselines.resuming import open_resumption, plan_resumption
from rl_baselines.training import Outcome, TrainingRun

TIMESTEPS = 1_000_000
KUKA: dict[str, Any] = {"env": "KukaButtonGymEnv-v0", "num_timesteps": TIMESTEPS, "eval_freq": 0}
SAC: dict[str, Any] = {**KUKA, "algo": "sac", "env_kwargs": {"is_discrete": False}}


@dataclass
class Stop:
    """Ends a training after some more steps."""

    run: TrainingRun
    timesteps: int

    def at_boundary(self) -> None:
        """Stop when they are done."""
        if self.run.model.num_timesteps >= self.timesteps:
            raise StopTraining("measured", can_go_on=True)


def set_up(settings: dict[str, Any], folder: Path) -> TrainingRun:
    """Begin a run that saves only when it is told to."""
    options = RunOptions(log_dir=str(folder), save_interval=10**12, keep_checkpoints=3)
    return begin(plan_run([Layer("benchmark", settings)], None), options, ())


def steps_per_second(run: TrainingRun, n_steps: int) -> float:
    """Train for some steps and give the speed, without the start."""
    began = time.perf_counter()
    run.learn([Stop(run, n_steps)], Outcome())
    seconds = time.perf_counter() - began - run.writer.seconds
    return run.model.num_timesteps / seconds


def fill(run: TrainingRun, n_transitions: int, rng: np.random.Generator) -> None:
    """Fill the replay buffer with made-up transitions, as if they had been collected."""
    buffer: Any = run.model.replay_buffer  # type: ignore[attr-defined]
    for array in (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards):
        array[:n_transitions] = rng.standard_normal(array[:n_transitions].shape, dtype=np.float32)
    add(run, n_transitions - buffer.size())


def add(run: TrainingRun, n_transitions: int) -> None:
    """Let some more transitions be there."""
    buffer: Any = run.model.replay_buffer  # type: ignore[attr-defined]
    new = buffer.pos + n_transitions
    buffer.full, buffer.pos = buffer.full or new >= buffer.buffer_size, new % buffer.buffer_size
    run.model.num_timesteps += n_transitions


def stock(run: TrainingRun, folder: Path) -> None:
    """Save what stock Stable-Baselines3 can save."""
    model: Any = run.model
    own, model.learning_rate = (
        model.learning_rate,
        3e-4,
    )  # our schedule's class cannot be pickled by reference elsewhere
    at_boundary, model.at_boundary = model.at_boundary, None
    try:
        model.save(folder / "model.zip")
    finally:
        model.learning_rate, model.at_boundary = own, at_boundary
    infos, run.env.reset_infos = run.env.reset_infos, []
    model.get_vec_normalize_env().save(str(folder / "vecnormalize.pkl"))
    run.env.reset_infos = infos
    if hasattr(model, "replay_buffer"):
        model.save_replay_buffer(folder / "replay.pkl")


def seconds(call: Callable[[], Any]) -> float:
    """Give the time that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def size_of(folder: Path) -> float:
    """Size in MB; files that lie in several checkpoints count in each."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def new_bytes(folder: Path) -> float:
    """Size in MB of what no other checkpoint holds too."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1) / 1e6


def peak_growth(call: Callable[[], Any]) -> float:
    """Give by how many MB the process grows at most meanwhile (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from the present size
    before = resident("VmRSS")
    call()
    return (resident("VmHWM") - before) / 1000


def resident(name: str) -> int:
    """Give one of the kernel's figures of this process's memory, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def measure(name: str, settings: dict[str, Any], n_transitions: int, repeats: int, root: Path) -> list[str]:
    """Measure one configuration."""
    run = set_up(settings, root / "logs")
    speed = steps_per_second(run, 20_480 if n_transitions == 0 else 3_000)
    if n_transitions:
        fill(run, n_transitions, np.random.default_rng(0))
    interval = min(TIMESTEPS / 20 / speed, MAX_SECONDS_BETWEEN_CHECKPOINTS)
    new = max(1, int(interval * speed)) if n_transitions else 2048
    ours: list[float] = []
    theirs: list[float] = []
    growths: list[float] = []
    run.model.num_timesteps += 1
    first = seconds(run.checkpointing.save)
    for index in range(repeats):
        if n_transitions:
            add(run, new)
        else:
            run.model.num_timesteps += new
        target = root / "stock"
        target.mkdir()
        pair = [
            lambda: ours.append(seconds(run.checkpointing.save)),
            lambda: theirs.append(seconds(lambda: stock(run, target))),  # noqa: B023 - called at once
        ]
        for call in pair if index % 2 else reversed(pair):
            call()
        stock_size = size_of(target)
        shutil.rmtree(target)
    if n_transitions:
        add(run, new)
    else:
        run.model.num_timesteps += new
    growths.append(peak_growth(run.checkpointing.save))
    checkpoint = run.folder.all_checkpoints()[-1]
    total, fresh = size_of(checkpoint.path), new_bytes(checkpoint.path)
    run.close(Outcome(status="stopped"))
    ready = [ready_after(run.folder.path) for _ in range(3)]
    one = statistics.median(ours)
    return [
        *(name, f"{speed:,.0f}", f"{interval:.0f}", f"{1000 * first:.0f}", f"{1000 * one:.0f}"),
        *(f"{100 * one / interval:.2f}", f"{1000 * statistics.median(theirs):.0f}"),
        f"{statistics.median(b / a for a, b in zip(ours, theirs, strict=True)):.1f}",
        *(f"{total:.1f}", f"{fresh:.1f}", f"{stock_size:.1f}", f"{growths[0]:.1f}", f"{statistics.median(ready):.1f}"),
    ]


def ready_after(run: Path) -> float:
    """Give the seconds from the start of a process until a resumed run takes its first step."""
    began = time.time()
    done = subprocess.run([sys.executable, __file__, "--ready", str(run)], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])) - began


def report_ready(path: str) -> None:
    """Resume a run as ``--resume`` does and print the time when it is at its first boundary."""
    resumption = open_resumption(path, Path("logs"))
    plan = plan_resumption(resumption, 10 * TIMESTEPS)
    run = go_on(resumption, plan, RunOptions(save_interval=10**12), ())

    class Ready:
        def at_boundary(self) -> None:
            print(json.dumps(time.time()), flush=True)
            raise SystemExit(0)

    run.learn([Ready()], Outcome())


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", help="where to write; default: a temporary folder")
    parser.add_argument("--ready", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ready:
        report_ready(arguments.ready)
        return
    cases = (("PPO", KUKA, 0), ("SAC, 1e5 transitions", SAC, 100_000), ("SAC, 1e6 transitions", SAC, 1_000_000))
    header = (
        *("", "steps/s", "interval s", "first ms", "ours ms", "share %", "stock ms", "stock / ours"),
        *("size MB", "new MB", "stock MB", "growth MB", "ready s"),
    )
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as root:
        for name, settings, n_transitions in cases:
            rows.append(measure(name, settings, n_transitions, arguments.repeats, Path(root)))
            print(f"{name} done", file=sys.stderr)
    columns = list(zip(header, *rows, strict=True))
    padded = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
    for line in zip(*padded, strict=True):
        print("  ".join(line))


if __name__ == "__main__":
    main()
