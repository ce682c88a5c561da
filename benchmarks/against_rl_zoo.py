"""A SAC agent goes on under a stronger gravity: with this project's command, and with ``rl_zoo3.train -i``.

    python benchmarks/against_rl_zoo.py [--seeds N] [--zoo-python PYTHON] [--quick]

rl_zoo3 asks for older versions of packages that are pinned here, so it gets an environment of its own, for instance

    python -m venv zoo && zoo/bin/pip install rl_zoo3     # then --zoo-python zoo/bin/python

For each seed stock Stable-Baselines3 trains one agent (SAC, Pendulum-v1, 8,000 steps) and saves it and its replay
buffer. Both commands get the same zip, environment (g = 12 in place of 10), hyperparameters, learning rate and 5,000
steps; once with the zip alone and once with ``replay_buffer.pkl`` beside it. `learning_starts` is 1,000, as the source
was trained: in rl-zoo's own settings it is 10,000 for most robots, and it acts at random again for as long.

Measures: mean reward of the first 20 training episodes, and of the last model over 20 episodes with the same starts,
played by stock Stable-Baselines3 for both. Fixed beforehand, by 95 % intervals (Student's t over seeds) of the paired
differences, ours minus rl_zoo3's: better above 0, worse below 0, else inconclusive. The first episodes are inconclusive
too where rl_zoo3's do not lie below what the source reaches there as it is: then nothing dips.
"""

import sys
import time
from pathlib import Path

import yaml
from pairs import (
    Options,
    Run,
    Runs,
    episode_rewards,
    execute,
    options_of,
    paired,
    parser_of,
    show_table,
    student,
    write_result,
)

NAME = "against_rl_zoo"
ENV, GRAVITY = "Pendulum-v1", 12.0
N_FIRST, N_EVALUATED = 20, 20
HYPERPARAMETERS = {"learning_rate": 1e-3, "learning_starts": 1000, "buffer_size": 50_000, "batch_size": 256}
NET = [64, 64]
BUFFER, ALONE = "buffer", "zip"
ARMS = tuple(f"{tool}_{source}" for source in (ALONE, BUFFER) for tool in ("ours", "rl_zoo"))


def source_of(options: Options, runs: Runs, seed: int) -> dict[str, Path]:
    """Give a seed's agent, alone and with its replay buffer, trained with stock Stable-Baselines3 if not there yet."""
    from stable_baselines3 import SAC

    paths = {kind: options.folder / "source" / f"seed_{seed}" / kind / f"{ENV}.zip" for kind in (ALONE, BUFFER)}
    began = time.monotonic()
    if not all(path.exists() for path in paths.values()):
        settings = {**HYPERPARAMETERS, "policy_kwargs": {"net_arch": NET}, "seed": seed, "device": "cpu"}
        model = SAC("MlpPolicy", ENV, **settings).learn(n_steps(options, 8000))
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
        model.save_replay_buffer(paths[BUFFER].parent / "replay_buffer.pkl")
    runs.note(f"source, seed {seed}", time.monotonic() - began)
    return paths


def n_steps(options: Options, usual: int) -> int:
    """Give a number of timesteps, or a few with ``--quick``."""
    return 1200 if options.quick else usual


def run_ours(options: Options, runs: Runs, arm: str, seed: int, source: Path) -> tuple[Path, Path]:
    """Go on with this project's command; give monitor folder and last model."""
    run: Run = runs.train(
        *(arm, seed, "--load-rl-model-path", source, "--env", ENV, "--env-kwargs", f"g:{GRAVITY}", "--no-norm-obs"),
        *("--new-lr", HYPERPARAMETERS["learning_rate"], "--lr-decay", "constant", "--compare-episodes", 0),
        *("--num-timesteps", n_steps(options, 5000), "--eval-freq", 0, "--n-envs", 1),
    )
    return run.path / "monitor", run.last_model


def run_zoo(options: Options, runs: Runs, arm: str, seed: int, source: Path, python: str) -> tuple[Path, Path]:
    """Go on with rl_zoo3; give monitor folder and last model."""
    folder = options.folder / arm / f"seed_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    logs = folder / "sac" / f"{ENV}_1"
    began = time.monotonic()
    if not (logs / f"{ENV}.zip").exists():
        settings = {"n_timesteps": n_steps(options, 5000), "policy": "MlpPolicy", **HYPERPARAMETERS}
        (folder / "settings.yml").write_text(yaml.safe_dump({ENV: settings}))
        execute(
            [
                *(python, "-m", "rl_zoo3.train", "--algo", "sac", "--env", ENV, "--env-kwargs", f"g:{GRAVITY}"),
                *("-i", str(source), "-conf", str(folder / "settings.yml"), "-f", str(folder), "--seed", str(seed)),
                *("--eval-freq", "-1", "--device", "cpu", "--num-threads", "1"),
            ],
            folder,
        )
    runs.note(f"{arm}, seed {seed}", time.monotonic() - began)
    return logs, logs / f"{ENV}.zip"


def score(model: Path) -> float:
    """Give the mean reward of a zip over the common episodes, played by stock Stable-Baselines3."""
    import gymnasium as gym
    from stable_baselines3 import SAC
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    env = Monitor(gym.make(ENV, g=GRAVITY))
    env.reset(seed=12345)
    return float(evaluate_policy(SAC.load(model, device="cpu"), env, N_EVALUATED)[0])


def measure(options: Options, python: str) -> dict[str, dict[str, list[float]]]:
    """Run all arms and give what they scored, by measure and arm."""
    runs = Runs(options.folder, len(options.seeds) * (1 + len(ARMS)))
    first: dict[str, list[float]] = {arm: [] for arm in ARMS}
    last: dict[str, list[float]] = {arm: [] for arm in (*ARMS, "source")}
    for seed in options.seeds:
        sources = source_of(options, runs, seed)
        last["source"].append(score(sources[ALONE]))
        for arm in ARMS:
            tool, _, kind = arm.rpartition("_")
            source = sources[kind]
            if tool == "ours":
                monitor, model = run_ours(options, runs, arm, seed, source)
            else:
                monitor, model = run_zoo(options, runs, arm, seed, source, python)
            first[arm].append(mean_of_first(monitor))
            last[arm].append(score(model))
    return {"first_episodes": first, "last_model": last}


def mean_of_first(monitor: Path) -> float:
    """Give the mean reward of the first training episodes."""
    rewards = episode_rewards(monitor)[:N_FIRST]
    return sum(rewards) / len(rewards)


def verdict(ours: list[float], theirs: list[float], as_it_is: list[float] | None) -> str:
    """Say what the difference means.

    :param as_it_is: the source's scores, where they must lie above rl_zoo3's for there to be a problem
    """
    difference = paired(ours, theirs)
    if as_it_is is not None and paired(theirs, as_it_is).sign >= 0:
        return f"inconclusive: rl_zoo3's first episodes do not dip ({difference})"
    word = {1: "better", -1: "worse", 0: "inconclusive"}[difference.sign]
    return f"{word}: {difference} against rl_zoo3"


def report(options: Options, scores: dict[str, dict[str, list[float]]]) -> None:
    """Print and store what came out."""
    first, last = scores["first_episodes"], scores["last_model"]
    rows = [(arm, str(student(first[arm])) if arm in first else "", str(student(last[arm]))) for arm in last]
    show_table([("arm", f"first {N_FIRST} episodes", "last model"), *rows])
    verdicts, differences = {}, {}
    for kind in (ALONE, BUFFER):
        ours, theirs = f"ours_{kind}", f"rl_zoo_{kind}"
        for name, values, base in (("first episodes", first, last["source"]), ("last model", last, None)):
            verdicts[f"{kind}, {name}"] = verdict(values[ours], values[theirs], base)
            differences[f"{kind}, {name}"] = paired(values[ours], values[theirs])
    write_result(options, {**scores, "differences": differences}, verdicts)


def main() -> None:
    """Measure, print and store."""
    parser = parser_of(__doc__)
    parser.add_argument("--zoo-python", default=sys.executable, help="Python that has rl_zoo3; default: this one")
    arguments = parser.parse_args()
    options = options_of(arguments, NAME)
    report(options, measure(options, str(Path(arguments.zoo_python).absolute())))  # a link keeps its environment


if __name__ == "__main__":
    main()
