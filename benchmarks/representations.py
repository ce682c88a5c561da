"""What a policy learns by different representations of the mobile robot's pictures, and what is measured of them.

    python benchmarks/representations.py [--seeds N] [--quick]

For each seed: 40 random episodes of ``MobileRobotGymEnv-v0 -r`` in pictures of 64 x 64 (10,040 transitions), from
which each arm learns a representation; then PPO (the command's defaults) learns by it for 100,000 steps. Beside them
the ground truth and raw pixels by a convolutional policy. The order that was published for this task (A. Raffin et al.,
S-RL Toolbox, 2018, GTC means) is: supervised .71, splits .67, random .50, auto-encoder .38; there with pictures of
224 x 224, 20,000 samples and policies of 5 million steps.

Measures: KNN-MSE, GTC mean and the linear probe on held-out episodes; the mean reward of the last 100 training
episodes. Fixed beforehand, by 95 % intervals (Student's t over seeds) of the paired differences in reward to the
random encoder: better, worse, or inconclusive. Where ground truth is not better than random, all are inconclusive.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pairs import (
    Interval,
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

NAME = "representations"
ENVIRONMENT = ("--env", "MobileRobotGymEnv-v0", "-r", "--env-kwargs", "image_size:64")
LOSSES = {
    "supervised": ("supervised",),
    "autoencoder": ("autoencoder", "--state-dim", 200),
    "inverse": ("inverse", "--state-dim", 200),
    "splits": ("autoencoder:1:198", "inverse:2:2"),
    "random": ("random", "--state-dim", 200),
}
ARMS = ("ground_truth", *LOSSES, "raw_pixels")
FIGURES = ("knn_mse", "gtc_mean", "probe_mean")


def record(options: Options, seed: int) -> Path:
    """Record what is learnt from, or give what was recorded before."""
    folder = options.folder / "data"
    if not (folder / f"seed_{seed}" / "dataset.json").exists():
        n_episodes = 3 if options.quick else 40
        words = [*map(str, ENVIRONMENT), "--num-episode", str(n_episodes), "--seed", str(seed)]
        words += ["--save-path", str(folder), "--name", f"seed_{seed}"]
        execute([sys.executable, "-m", "environments.dataset_generator", *words], folder / f"output_{seed}")
    return folder / f"seed_{seed}"


def learn(options: Options, arm: str, seed: int, data: Path) -> Path:
    """Learn a representation, or give the one that was learnt before: the command goes on by itself."""
    folder = options.folder / "models" / arm / f"seed_{seed}"
    epochs = 1 if options.quick else 20
    words = ["--data-folder", str(data), "--losses", *map(str, LOSSES[arm]), "--epochs", str(epochs)]
    words += ["--seed", str(seed), "--learning-rate", "0.001", "--log-folder", str(folder)]
    execute([sys.executable, "-m", "state_representation.train", *words], folder.with_name(f"output_{seed}"))
    return folder


def measure(options: Options) -> tuple[dict[str, list[Run]], dict[str, list[dict[str, Any]]]]:
    """Run all arms, seed by seed; give the trainings and what was measured of the representations."""
    runs = Runs(options.folder / "policies", len(options.seeds) * len(ARMS))
    trained: dict[str, list[Run]] = {arm: [] for arm in ARMS}
    metrics: dict[str, list[dict[str, Any]]] = {arm: [] for arm in LOSSES}
    length = ("--num-timesteps", 2048 if options.quick else 100_000, "--eval-freq", 0, "--memory-states", 0, "--no-vis")
    for seed in options.seeds:
        data = record(options, seed)
        for arm in ARMS:
            seen: tuple[object, ...] = ("--srl-model", arm)
            if arm in LOSSES:
                model = learn(options, arm, seed, data)
                metrics[arm].append(json.loads((model / "metrics.json").read_text()))
                seen = ("--srl-model-path", model)
            trained[arm].append(runs.train(arm, seed, *ENVIRONMENT, *seen, *length))
    return trained, metrics


def verdict(difference: Interval, ceiling: Interval) -> str:
    """Say what an arm is, against the random encoder."""
    if ceiling.sign <= 0:
        return "inconclusive: not even the ground truth was better"
    return f"{('worse', 'inconclusive', 'better')[difference.sign + 1]}: {difference}"


def report(options: Options, trained: dict[str, list[Run]], metrics: dict[str, list[dict[str, Any]]]) -> None:
    """Print and store what came out."""
    rewards = {arm: [last_reward(run) for run in trained[arm]] for arm in ARMS}
    against = {arm: paired(rewards[arm], rewards["random"]) for arm in ARMS if arm != "random"}
    measured = {
        arm: {name: student([one[name] for one in found]) for name in FIGURES} for arm, found in metrics.items()
    }
    rows = [
        (arm, *(str(measured[arm][name]) if arm in measured else "" for name in FIGURES), str(student(rewards[arm])))
        for arm in ARMS
    ]
    show_table([("representation", *FIGURES, "reward"), *rows])
    content = {"rewards": rewards, "against_random": against, "metrics": metrics}
    write_result(options, content, {arm: verdict(found, against["ground_truth"]) for arm, found in against.items()})


def last_reward(run: Run) -> float:
    """Give the mean reward of the last 100 training episodes."""
    rewards = episode_rewards(run.path / "monitor")[-100:]
    return sum(rewards) / len(rewards)


def main() -> None:
    """Measure, print and store."""
    options = options_of(parser_of(__doc__).parse_args(), NAME)
    report(options, *measure(options))


if __name__ == "__main__":
    main()
