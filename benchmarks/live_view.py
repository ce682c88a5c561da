"""What does watching cost? PPO on the Kuka arm with the live view on and off, the cost of telling, the server's memory.

    python benchmarks/live_view.py [--seeds N] [--quick]

Each pair is the same command, kuka_button_ppo for 40,960 steps, with a live view on a server of its own and with
--no-vis, in turns which of the two is first; timed are the learning, as run.json has it, and the whole process. Then
one million points are told to a watcher that is connected to the server, and the time of each telling and the server's
memory are taken.

Needs what `python -m rl_baselines.live install` puts into the cache folder.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from pairs import Options, Runs, execute, options_of, parser_of, show_table, student, write_result

sys.path.insert(0, str(Path(__file__).parents[1]))

from rl_baselines.live.connection import Address
from rl_baselines.live.events import Scalars
from rl_baselines.live.server_records import running
from rl_baselines.live.servers import find_or_start, stop
from rl_baselines.live.writer import VisdomWriter

NAME = "live_view"
ARMS = ("watched", "alone")
N_POINTS = 1_000_000
FIGURES = ("rollout/ep_rew_mean", "rollout/ep_len_mean", "train/value_loss", "train/approx_kl", "train/learning_rate")


def train(options: Options, arm: str, seed: int, server: Address) -> tuple[float, float]:
    """Give the seconds of learning, and of the process from its start to its end."""
    folder = options.folder / arm / f"seed_{seed}"
    flags = ("--vis-server", str(server)) if arm == "watched" else ("--no-vis",)
    steps = 4096 if options.quick else 40_960
    command = [sys.executable, "-m", "rl_baselines.train", "--config", "kuka_button_ppo", "--seed", str(seed), *flags]
    began = time.monotonic()
    execute([*command, "--num-timesteps", str(steps), "--log-dir", str(folder)], folder)
    seconds = time.monotonic() - began
    record = max(folder.glob("*/*/*/*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    return float(json.loads(record.read_text())["seconds"]), seconds


def tell(options: Options, server: Address) -> tuple[list[float], float, float]:
    """Tell many points.

    :return: seconds of each telling, and the server's memory before and after, in MB
    """
    n_points = N_POINTS // (50 if options.quick else 1)
    writer = VisdomWriter(lambda: server, "many_points", lambda _: None)
    before, seconds = memory_of(server), []
    for step in range(n_points // len(FIGURES)):
        figures = dict.fromkeys(FIGURES, step % 1000 / 7)
        began = time.perf_counter()
        writer.put(Scalars(step, figures))
        seconds.append(time.perf_counter() - began)
    time.sleep(5)
    writer.close()
    return seconds, before, memory_of(server)


def memory_of(server: Address) -> float:
    """Give the resident memory of the server's process in MB."""
    pid = next(info.pid for info in running() if info.port == server.port)
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    """Measure, print and store."""
    options = options_of(parser_of(__doc__ or "").parse_args(), NAME)
    os.environ.pop("CI", None)
    server = find_or_start(8197, print)
    if server is None:
        raise SystemExit("the live view has no server: run python -m rl_baselines.live install first")
    seconds: dict[str, list[tuple[float, float]]] = {arm: [] for arm in ARMS}
    progress = Runs(options.folder, len(options.seeds) * len(ARMS))
    try:
        for seed in options.seeds:
            for arm in ARMS if seed % 2 else reversed(ARMS):
                seconds[arm].append(train(options, arm, seed, server))
                progress.note(f"{arm}, seed {seed}", seconds[arm][-1][1])
        told, before, after = tell(options, server)
    finally:
        stop(server.port)
    report(options, seconds, told, before, after)


def report(
    options: Options, seconds: dict[str, list[tuple[float, float]]], told: list[float], before: float, after: float
) -> None:
    """Print and store what came out."""
    pairs = list(zip(seconds["watched"], seconds["alone"], strict=True))
    ratios = {what: [on[i] / off[i] for on, off in pairs] for i, what in enumerate(("learning", "process"))}
    told.sort()
    rows = [(arm, *(f"{statistics.median(column):.1f}" for column in zip(*seconds[arm], strict=True))) for arm in ARMS]
    show_table([("arm", "learning, median seconds", "process, median seconds"), *rows])
    micro = {name: 1e6 * told[int(share * (len(told) - 1))] for name, share in (("median", 0.5), ("99.9 %", 0.999))}
    content: dict[str, Any] = {
        "seconds": seconds,
        "ratios": ratios,
        "telling_microseconds": {**micro, "longest": 1e6 * told[-1]},
        "server_megabytes": {"before": before, "after": after},
    }
    verdicts = {
        **{
            f"seconds of {what}, watched to alone": f"median {statistics.median(values):.3f}, mean {student(values)}"
            for what, values in ratios.items()
        },
        "telling figures": f"median {micro['median']:.1f} us, 99.9 % within {micro['99.9 %']:.1f} us",
        "memory of the server": f"{before:.0f} MB before, {after:.0f} MB after {len(told) * len(FIGURES):,} points",
    }
    write_result(options, content, verdicts)


if __name__ == "__main__":
    main()
