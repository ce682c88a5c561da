"""Search for the hyperparameters of a tuned preset: random trials on one seed, the best of them again on more seeds.

    python benchmarks/search_presets.py mobile_robot ppo

A trial is worth the mean over ten evaluations of the mean return of 20 deterministic episodes (humanoid: five of 5):
whoever learns earlier and stays good wins. The trials are drawn from the space below with a fixed seed; the first one
holds the first value of each list. Everything else of a run stands in BASE and COMMON. What was found is in
rl_baselines/presets; what the presets reach is measured by preset_scores.py.
"""

import itertools
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairs import ROOT, Runs, parser_of, show_table

COMMON = ("--best-by", "eval", "--no-vis")
EVALUATIONS = {"inmoov": (5, 5)}  # slow to simulate
USUAL_EVALUATIONS = (10, 20)
"""How many, and of how many episodes each."""
FINAL_SEEDS = (1, 2)

BASE: dict[tuple[str, str], tuple[str, ...]] = {
    ("mobile_robot", "ppo"): ("--env", "MobileRobotGymEnv-v0", "-r", "--num-timesteps", "60000"),
    ("mobile_robot", "sac"): ("--env", "MobileRobotGymEnv-v0", "-r", "-c", "--num-timesteps", "8000"),
    ("mobile_robot", "dqn"): ("--env", "MobileRobotGymEnv-v0", "-r", "--num-timesteps", "30000"),
    ("omnirobot", "ppo"): ("--env", "OmnirobotEnv-v0", "-cc", "--num-timesteps", "100000"),
    ("omnirobot", "sac"): ("--env", "OmnirobotEnv-v0", "-sc", "-c", "--num-timesteps", "8000"),
    ("omnirobot", "dqn"): ("--env", "OmnirobotEnv-v0", "-sc", "--num-timesteps", "20000"),
    ("kuka_button", "sac"): ("--env", "KukaButtonGymEnv-v0", "-r", "-c", "--num-timesteps", "16000"),
    ("kuka_button", "dqn"): ("--env", "KukaButtonGymEnv-v0", "-r", "--num-timesteps", "40000"),
    ("inmoov", "ppo"): ("--env", "InmoovGymEnv-v0", "-r", "--num-timesteps", "10000"),
    ("inmoov", "sac"): ("--env", "InmoovGymEnv-v0", "-r", "-c", "--num-timesteps", "5000"),
    ("inmoov", "dqn"): ("--env", "InmoovGymEnv-v0", "-r", "--num-timesteps", "10000"),
}
SPACES: dict[str, dict[str, Sequence[Any]]] = {
    "ppo": {
        "learning_rate": (1e-3, 5e-4, 2e-3),
        "n_steps": (256, 64, 128),
        "batch_size": (256, 64, 512),
        "n_epochs": (10, 4),
        "gamma": (0.99, 0.95, 0.98),
        "ent_coef": (0.01, 0.0),
    },
    "sac": {
        "learning_rate": (1e-3, 3e-4, 2e-3),
        "gamma": (0.98, 0.95, 0.99),
        "tau": (0.005, 0.02),
        "batch_size": (256, 128),
        "learning_starts": (500, 1000),
        "target_entropy": ("auto", -4.0),
    },
    "dqn": {
        "learning_rate": (1e-3, 5e-4, 2e-3),
        "gamma": (0.95, 0.98, 0.99),
        "train_freq": (4, 2),
        "gradient_steps": (2, 1),
        "target_update_interval": (500, 200, 1000),
        "exploration_fraction": (0.2, 0.1),
        "batch_size": (128, 64),
        "learning_starts": (1000, 500),
    },
}
OF_THE_FAMILY: dict[tuple[str, str], dict[str, Sequence[Any]]] = {
    ("kuka_button", "sac"): {"gamma": (0.98, 0.99), "action_repeat": (8,)},
    ("inmoov", "ppo"): {"gamma": (0.9, 0.8), "n_steps": (64, 32), "batch_size": (64, 128)},
    ("inmoov", "sac"): {"gamma": (0.9, 0.95), "learning_starts": (300, 600)},
    ("inmoov", "dqn"): {"gamma": (0.9, 0.8), "learning_starts": (500, 1000)},
}
"""In place of those of the algorithm: the arm is rewarded late, the humanoid at once, and it takes long to
simulate.
"""
OF_THE_ENVIRONMENT: dict[str, dict[str, Sequence[Any]]] = {
    "kuka_button": {"action_repeat": (8, 4)},
    "inmoov": {"action_repeat": (20,)},
}


def draw_trials(space: Mapping[str, Sequence[Any]], n_trials: int) -> Iterator[dict[str, Any]]:
    """Yield different settings: the first values, then random ones."""
    rng, seen = random.Random(0), set()
    settings = {name: values[0] for name, values in space.items()}
    for _ in range(100 * n_trials):
        key = tuple(settings.values())
        if key not in seen:
            seen.add(key)
            yield settings
        if len(seen) == n_trials:
            return
        settings = {name: rng.choice(values) for name, values in space.items()}


def flags_of(settings: Mapping[str, Any], env_options: Mapping[str, Any]) -> list[str]:
    """Write settings as flags of the command."""
    own = [f"{name}:{value}" for name, value in settings.items() if name in env_options]
    others = [f"{name}:{value}" for name, value in settings.items() if name not in env_options]
    return (["--env-kwargs", *own] if own else []) + ["--hyperparam", *others]


def main() -> None:
    """Search, print what each trial was worth, and store it."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("family")
    parser.add_argument("algo", choices=SPACES)
    parser.add_argument("--trials", type=int, default=10, help="settings that are tried; default 10")
    parser.add_argument("--finalists", type=int, default=3, help="how many of them run again; default 3")
    arguments = parser.parse_args()
    key = (arguments.family, arguments.algo)
    if key not in BASE:
        sys.exit(f"there is nothing to search for {' with '.join(key)}; known: {', '.join(map(' '.join, BASE))}")
    env_options = OF_THE_ENVIRONMENT.get(arguments.family, {})
    space = {**SPACES[arguments.algo], **env_options, **OF_THE_FAMILY.get(key, {})}
    trials = list(draw_trials(space, 3 if arguments.quick else arguments.trials))
    folder = Path(arguments.folder or ROOT / "logs" / "benchmarks" / "search" / "_".join(key)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(folder, len(trials) + arguments.finalists * len(FINAL_SEEDS))
    n_evaluations, episodes = EVALUATIONS.get(arguments.family, USUAL_EVALUATIONS)
    every = int(BASE[key][-1]) // n_evaluations
    base = [*BASE[key], "--algo", arguments.algo, *COMMON, "--eval-episodes", str(episodes), "--eval-freq", str(every)]
    values: dict[int, list[float]] = {number: [] for number in range(len(trials))}

    def run(number: int, seed: int) -> None:
        found = runs.train(f"trial_{number}", seed, *base, *flags_of(trials[number], env_options))
        rewards = [row["mean_reward"] for row in found.evaluations]
        values[number].append(sum(rewards) / len(rewards))

    for number in range(len(trials)):
        run(number, 0)
    finalists = sorted(values, key=lambda number: values[number][0], reverse=True)[: arguments.finalists]
    for number, seed in itertools.product(finalists, FINAL_SEEDS):
        run(number, seed)
    order = sorted(values, key=lambda number: (len(values[number]), sum(values[number])), reverse=True)
    rows = [[*map(str, trials[number].values()), " ".join(f"{one:.4g}" for one in values[number])] for number in order]
    show_table([[*trials[0], "mean over evaluations, by seed"], *rows])
    result = {"base": base, "trials": [{"settings": trials[number], "values": values[number]} for number in order]}
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
