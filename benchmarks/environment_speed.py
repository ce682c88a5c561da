"""How fast the environments step and reset, what of it PyBullet itself takes, and whether they hold on to memory.

    python benchmarks/environment_speed.py                 # every environment
    python benchmarks/environment_speed.py --memory        # a million steps and ten thousand resets of each

The bare calls are those that the environment itself makes of PyBullet in the same episode, recorded beforehand and made
again without anything around them: the ratio is what our code costs on top. Each figure is the median of the repeats,
in which the environment and the bare calls take turns.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairs import show_table

from environments.registry import ENVIRONMENTS, build
from environments.robot_env import RobotEnv
from environments.simulation import Simulation

N_STEPS_PHYSICS = 600
N_STEPS_KINEMATIC = 50_000
N_RESETS = 200
MEMORY_STEPS, MEMORY_RESETS = 1_000_000, 10_000

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@contextmanager
def recorded() -> Iterator[list[Call]]:
    """Have worlds that are built meanwhile note each call of PyBullet and its arguments in the list that is given."""
    calls: list[Call] = []
    bind = Simulation.bind

    def noting(self: Simulation, function: Callable[..., Any], *fixed: Any, **named: Any) -> Callable[..., Any]:
        bound = bind(self, function, *fixed, **named)

        def noted(*arguments: Any, **keywords: Any) -> Any:
            calls.append((bound, arguments, keywords))
            return bound(*arguments, **keywords)

        return noted

    Simulation.bind = noting  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        Simulation.bind = bind  # type: ignore[method-assign]


def actions_for(env: RobotEnv, n_steps: int) -> list[Any]:
    """Draw actions, the same ones in every run."""
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(min(n_steps, 1000))]


def steps_until(env: RobotEnv, n_steps: int, actions: list[Any]) -> int:
    """Step until the episode ends, at most so often, and give how often that was."""
    for step in range(n_steps):
        _, _, terminated, truncated, _ = env.step(actions[step % len(actions)])
        if terminated or truncated:
            return step + 1
    return n_steps


def seconds_a_step(env: RobotEnv, n_steps: int) -> float:
    """Give the wall-clock time of a step, resets apart."""
    actions, n_done, seconds = actions_for(env, n_steps), 0, 0.0
    while n_done < n_steps:
        env.reset(seed=0)
        began = time.perf_counter()
        n_done += steps_until(env, n_steps - n_done, actions)
        seconds += time.perf_counter() - began
    return seconds / n_done


def bare_seconds_a_step(env: RobotEnv, calls: list[Call], n_steps: int) -> float:
    """Give the wall-clock time of what an episode calls of PyBullet, by step.

    :param env: built while its calls were recorded
    :param calls: where they are noted
    """
    env.reset(seed=0)
    calls.clear()
    n_done = steps_until(env, n_steps, actions_for(env, n_steps))
    episode = list(calls)
    env.reset(seed=0)
    began = time.perf_counter()
    for function, arguments, keywords in episode:
        function(*arguments, **keywords)
    return (time.perf_counter() - began) / n_done


def seconds_a_reset(env: RobotEnv) -> float:
    """Give the wall-clock time of a reset after a few steps."""
    actions, seconds = actions_for(env, 5), 0.0
    for seed in range(N_RESETS):
        began = time.perf_counter()
        env.reset(seed=seed)
        seconds += time.perf_counter() - began
        steps_until(env, 5, actions)
    return seconds / N_RESETS


def measure(env_id: str, task: str, repeats: int) -> dict[str, Any]:
    """Measure one task of one environment."""
    is_kinematic = ENVIRONMENTS[env_id].robot.is_kinematic
    n_steps = N_STEPS_KINEMATIC if is_kinematic else N_STEPS_PHYSICS
    env = build(env_id, task=task)
    with recorded() as calls:
        noted = build(env_id, task=task)
    pairs = [
        (seconds_a_step(env, n_steps), 0.0 if is_kinematic else bare_seconds_a_step(noted, calls, n_steps))
        for _ in range(repeats)
    ]
    resets = [seconds_a_reset(env) for _ in range(repeats)]
    env.close()
    noted.close()
    return {
        "step_us": 1e6 * statistics.median(step for step, _ in pairs),
        "bare_us": 1e6 * statistics.median(bare for _, bare in pairs),
        "ratio": None if is_kinematic else statistics.median(step / bare for step, bare in pairs),
        "reset_ms": 1e3 * statistics.median(resets),
    }


def peak_mb() -> float:
    """Give the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(env_id: str, task: str, n_steps: int, n_resets: int) -> dict[str, Any]:
    """Give by how much the peak of memory grows over steps and over resets, after a tenth of each to warm up."""
    env = build(env_id, task=task)
    actions = actions_for(env, 1000)

    def work(steps: int, resets: int) -> None:
        done = 0
        while done < steps:
            env.reset()
            done += steps_until(env, steps - done, actions)
        for _ in range(resets):
            env.reset()

    work(n_steps // 10, n_resets // 10)
    before = peak_mb()
    work(n_steps, n_resets)
    env.close()
    return {"before_mb": before, "growth_mb": peak_mb() - before}


def main() -> None:
    """Measure, print and, if asked to, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", nargs="*", help="ids; default: all")
    parser.add_argument("--repeats", type=int, default=7, help="default 7")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--steps", type=int, default=MEMORY_STEPS, help=f"for --memory, default {MEMORY_STEPS}")
    parser.add_argument("--resets", type=int, default=MEMORY_RESETS, help=f"for --memory, default {MEMORY_RESETS}")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    if options.memory:
        rows = [["environment", "task", "before, MB", "growth, MB"]]
    else:
        rows = [["environment", "task", "steps/s", "step, us", "bare calls, us", "ratio", "reset, ms"]]
    for env_id in options.env or ENVIRONMENTS:
        for task in ENVIRONMENTS[env_id].tasks:
            if options.memory:
                found = measure_memory(env_id, task, options.steps, options.resets)
                cells = [f"{found['before_mb']:.0f}", f"{found['growth_mb']:.1f}"]
            else:
                found = measure(env_id, task, options.repeats)
                ratio = "no physics" if found["ratio"] is None else f"{found['ratio']:.3f}"
                cells = [f"{1e6 / found['step_us']:,.0f}", f"{found['step_us']:.1f}", f"{found['bare_us']:.1f}", ratio]
                cells.append(f"{found['reset_ms']:.3f}")
            rows.append([env_id, task, *cells])
            figures[f"{env_id} {task}"] = found
            print(" ".join(rows[-1]), flush=True)
    print()
    show_table(rows)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
