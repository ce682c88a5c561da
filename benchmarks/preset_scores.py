"""What the tuned presets reach, and what random actions do: the figures behind the tables of the environments.

    python benchmarks/preset_scores.py                         # every environment, every preset
    python benchmarks/preset_scores.py --only OmnirobotEnv-v0 --algo ppo --write
    python benchmarks/preset_scores.py --algo --write          # random actions only, anew

Each preset is trained by ``--config auto`` on several seeds; the best model then plays 500 episodes, deterministically,
with start seeds of its own. The humanoid plays 20, and always with the usual two physics steps an action: its reward is
paid for every action, so that returns compare only between episodes of equally many. ``--write`` puts the means into
environments/scores.json, from where ``python -m environments.list`` has them. A run that is finished is not repeated.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairs import ROOT, Interval, Run, Runs, episode_rewards, options_of, parser_of, show_table, student, write_result

from environments.registry import ENVIRONMENTS, build, check_env_kwargs

SCORES = ROOT / "environments" / "scores.json"
EVALUATION = ("-n", "500")
EVALUATIONS = {"inmoov": ("-n", "20", "--env-kwargs", "action_repeat:2")}
"""Flags of the evaluation, by family where they are not the usual ones."""
N_RANDOM_EPISODES = 100
ALGORITHMS = ("ppo", "sac", "dqn")


@dataclass(frozen=True)
class Row:
    """A task that a preset is trained on.

    :param env_id: of the environment
    :param task: its name
    :param algo: of the preset
    """

    env_id: str
    task: str
    algo: str

    @property
    def name(self) -> str:
        """How it is called in folders and results."""
        return f"{self.env_id}_{self.task}_{self.algo}"

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """The options that all scores are measured with: a random target, where there is one."""
        return {"task": self.task, **random_target(self.env_id, self.task)}

    @property
    def flags(self) -> list[str]:
        """What is told the command."""
        kwargs = [f"{name}:{value}" for name, value in self.env_kwargs.items()]
        return ["--config", "auto", "--env", self.env_id, "--algo", self.algo, "--no-vis", "--env-kwargs", *kwargs]


def random_target(env_id: str, task: str) -> dict[str, bool]:
    """Give the option of a random target, or nothing where the task has none."""
    try:
        check_env_kwargs(env_id, {"task": task, "random_target": True})
    except ValueError:
        return {}
    return {"random_target": True}


def rows(wanted: Iterable[tuple[str, str]], algos: list[str]) -> Iterator[Row]:
    """Yield the rows of environments and tasks that have a preset."""
    presets = {path.stem for path in (ROOT / "rl_baselines" / "presets").glob("*.yaml")}
    for env_id, task in wanted:
        for algo in algos:
            if f"{ENVIRONMENTS[env_id].family}_{algo}" in presets:
                yield Row(env_id, task, algo)


def tasks(only: list[str], named: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the tasks of the environments that are asked for."""
    for env_id in only or ENVIRONMENTS:
        for task in ENVIRONMENTS[env_id].tasks:
            if task in (named or ENVIRONMENTS[env_id].tasks):
                yield env_id, task


def random_return(env_id: str, task: str) -> Interval:
    """Give the mean return of random actions over 100 episodes."""
    env = build(env_id, task=task, **random_target(env_id, task))
    env.action_space.seed(0)
    returns = []
    for seed in range(N_RANDOM_EPISODES):
        env.reset(seed=seed)
        total, is_over = 0.0, False
        while not is_over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, is_over = total + reward, terminated or truncated
        returns.append(total)
    env.close()
    return student(returns)


def evaluate(run: Run, family: str) -> dict[str, Any]:
    """Let the best model of a run play, or give what it reached before."""
    kept = run.path / "preset_score.json"
    if not kept.is_file():
        how = EVALUATIONS.get(family, EVALUATION)
        command = [sys.executable, "-m", "rl_baselines.enjoy", str(run.path), *how, "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        kept.write_text(done.stdout)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def score(run: Run, family: str) -> dict[str, float]:
    """Give what one run reached and took."""
    evaluation, training = evaluate(run, family), episode_rewards(run.path / "monitor")[-100:]
    best = max(run.evaluations, key=lambda row: row["mean_reward"])
    return {
        "mean_reward": evaluation["mean_reward"],
        "success_rate": evaluation.get("success_rate") or 0.0,
        "training_mean": sum(training) / len(training),
        "best_step": best["timesteps"],
        "steps": run.record["timesteps"],
        "minutes": run.record["seconds"] / 60 if "seconds" in run.record else float("nan"),
    }


def main() -> None:
    """Train, evaluate, print and store."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--only", nargs="*", default=[], help="ids; default: all")
    parser.add_argument("--task", nargs="*", default=[], help="default: all")
    parser.add_argument(
        "--algo", nargs="*", default=list(ALGORITHMS), help="default: ppo sac dqn; none for random actions only"
    )
    parser.add_argument("--write", action="store_true", help="write the means into environments/scores.json")
    arguments = parser.parse_args()
    options = options_of(arguments, "preset_scores")
    pairs = list(tasks(arguments.only, arguments.task))
    wanted = list(rows(pairs, arguments.algo))
    runs = Runs(options.folder, len(wanted) * len(options.seeds))
    scores = json.loads(SCORES.read_text())
    table = [
        ["environment", "task", "policy", "mean return", "success", "training mean", "best at", "steps", "minutes"]
    ]
    found: dict[str, Any] = {}
    for env_id, task in pairs:
        known = scores.setdefault(env_id, {}).setdefault(task, {})
        if "random" not in known or not arguments.algo:
            interval = random_return(env_id, task)
            half_width = interval.high - interval.mean
            known["random"] = {"mean": interval.mean, "half_width": half_width, "n": N_RANDOM_EPISODES}
        table.append([env_id, task, "random", f"{known['random']['mean']:.4g}", *[""] * 5])
    for row in wanted:
        reached = []
        for seed in options.seeds:
            began = time.monotonic()
            short = ["--num-timesteps", "2000"] if options.quick else []
            run = runs.train(row.name, seed, *row.flags, *short)
            reached.append(score(run, ENVIRONMENTS[row.env_id].family))
            print(f"{row.name} seed {seed}: {json.dumps(reached[-1])} {time.monotonic() - began:.0f} s", flush=True)
        means = {name: sum(one[name] for one in reached) / len(reached) for name in reached[0]}
        interval = student([one["mean_reward"] for one in reached])
        entry = {"mean": interval.mean, "half_width": interval.high - interval.mean, "n": len(reached)}
        scores[row.env_id][row.task][row.algo] = {**entry, "steps": means["steps"]}
        found[row.name] = reached
        cells = [f"{means[name]:.4g}" for name in ("success_rate", "training_mean", "best_step", "steps", "minutes")]
        table.append([row.env_id, row.task, row.algo, str(interval), *cells])
    show_table(table)
    if arguments.write and not options.quick:
        SCORES.write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n")
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    write_result(options, {"scores": found}, {})


if __name__ == "__main__":
    main()
