"""How long a cross-evaluation takes: 10 policies on the 6 tasks of the Omnirobot, 20 episodes each, by the command.

    python benchmarks/cross_eval_speed.py
    python benchmarks/cross_eval_speed.py --jobs 1 --profile     # where the time of one process goes

The policies are PPO's, saved as they are before they learn anything: to act takes them as long as it takes others.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pairs import ROOT

N_POLICIES = 10
TASKS = ("sc", "cc", "sqc", "ec", "chc", "esc")
ENV = ("--env", "OmnirobotEnv-v0", "--env-kwargs", "observe_task:true")


def save_policies(folder: Path) -> list[Path]:
    """Give the folders of new runs, each with a policy that has learnt next to nothing."""
    from rl_baselines.train import main

    for seed in range(N_POLICIES):
        flags = (*ENV, "--num-timesteps", 16, "--hyperparam", "n_steps:2", "n_minibatches:1", "n_epochs:1")
        records = ("--eval-freq", 0, "--memory-states", 0, "--no-vis", "--log-dir", folder / f"seed_{seed}")
        if main([str(word) for word in (*flags, "--seed", seed, *records)]) != 0:
            raise SystemExit("a policy could not be made")
    return [path.parent for path in sorted(folder.glob("seed_*/*/*/*/*/run.json"))]


def time_the_command(policies: Sequence[Path], folder: Path, n_jobs: int) -> None:
    """Print how long the command takes in a process of its own."""
    words = [sys.executable, "-m", "rl_baselines.cross_eval", "--policies", *map(str, policies), "--tasks", *TASKS]
    words += ["-n", "20", "--jobs", str(n_jobs), "--output", str(folder / "out"), "--json"]
    began = time.monotonic()
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    n_cells = len(json.loads(done.stdout)["cells"])
    cpu = used.ru_utime + used.ru_stime
    print(f"{n_cells} cells of 20 episodes, {n_jobs} processes: {seconds:.1f} s, {cpu:.1f} s of CPU time")


def show_profile(policies: Sequence[Path]) -> None:
    """Print where the time of six cells goes, after one that imports what is needed."""
    import torch

    from rl_baselines.cross_evaluation.plan import find_policies, make_plan
    from rl_baselines.cross_evaluation.playing import play
    from rl_baselines.evaluation_tasks import parse_tasks

    torch.set_num_threads(1)
    plan, _ = make_plan(find_policies([str(policies[0])], policies[0]), parse_tasks(TASKS), 20)
    play(plan, plan.cells[0])
    began = time.process_time()
    for cell in plan.cells[: len(TASKS)]:
        play(plan, cell)
    print(f"{(time.process_time() - began) / len(TASKS):.2f} s of CPU time a cell")
    profile = cProfile.Profile()
    for cell in plan.cells[: len(TASKS)]:
        profile.runcall(play, plan, cell)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(40)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument("--profile", action="store_true", help="show where the time of a cell goes too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        policies = save_policies(Path(name))
        time_the_command(policies, Path(name), arguments.jobs)
        print(f"load of the machine over the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        if arguments.profile:
            show_profile(policies)


if __name__ == "__main__":
    main()
