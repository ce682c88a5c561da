"""A CartPole agent from elsewhere and a pole twice as long: how soon does it balance again, against scratch?

    python benchmarks/longer_pole.py [--seeds N] [--source SOURCE] [--quick]

The agent is a zip of stock Stable-Baselines3 (PPO with rl-zoo's settings for CartPole, 100,000 steps), one for each
seed, trained here; or --source, any zip or rl-zoo folder of a PPO agent for CartPole, the same for every seed. Arms, all
with those settings, 50,000 steps on the longer pole, evaluated every 1,024 steps on 20 episodes with the same starts:

- scratch
- fine-tune, same rate: ``--new-lr`` as the rate of scratch
- fine-tune, default rate: without ``--new-lr``, a hundredth of that

Measure: timesteps until the mean of an evaluation reaches 475; where none does, the budget, which is too few.
Fixed beforehand: an arm is sooner (or later) than scratch where the 95 % interval (Student's t over seeds) of the paired
differences lies below (or above) 0, else inconclusive. Inconclusive too where the source reaches 475 on the longer pole
as it is in any seed: then nothing was to be learned.
"""

import sys
import time
from pathlib import Path

from pairs import Options, Run, Runs, execute, options_of, paired, parser_of, show_table, student, write_result

NAME = "longer_pole"
ENOUGH = 475.0
HALF_LENGTH_M = 1.0
LEARNING_RATE = 1e-3
SETTINGS = (
    *("--algo", "ppo", "--n-envs", 8, "--no-norm-obs", "--lr-decay", "linear"),
    *("--hyperparam", "n_steps:32", "batch_size:256", "n_epochs:20", "gamma:0.98", "gae_lambda:0.8", "ent_coef:0"),
)
ENVIRONMENT = (
    *("--env", "LongerPole-v0", "--gym-packages", "changed_envs"),
    *("--env-kwargs", f"half_length_m:{HALF_LENGTH_M}"),
)
FINE_TUNES = {"fine_tune_same_rate": ("--new-lr", LEARNING_RATE), "fine_tune_default_rate": ("--new-lr", 0.01 * LEARNING_RATE)}


def train_source(path: str, seed: int, timesteps: int) -> None:
    """Train and save an agent with stock Stable-Baselines3 alone."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", 8, seed=seed),
        learning_rate=lambda left: LEARNING_RATE * left,
        clip_range=0.2,
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        seed=seed,
        device="cpu",
    )
    model.learn(timesteps).save(path)


def source_of(options: Options, runs: Runs, seed: int) -> str:
    """Give the zip of a seed's agent, trained if it is not there yet."""
    folder = options.folder / "source" / f"seed_{seed}"
    path = folder / "ppo.zip"
    began = time.monotonic()
    if not path.exists():
        timesteps = 2048 if options.quick else 100_000
        words = ["--train-source", str(path), "--source-seed", str(seed), "--source-timesteps", str(timesteps)]
        execute([sys.executable, str(Path(__file__).resolve()), *words], folder)
    runs.note(f"source, seed {seed}", time.monotonic() - began)
    return str(path)


def steps_to_enough(run: Run, budget: int) -> float:
    """Give the timesteps at the first evaluation whose mean is enough, or the budget where none is."""
    reached = [row["timesteps"] for row in run.evaluations if row["mean_reward"] >= ENOUGH]
    return reached[0] if reached else float(budget)


def measure(options: Options, source: str | None) -> None:
    """Run all arms and store what came out."""
    budget, eval_freq = (1024, 512) if options.quick else (50_000, 1024)
    common = (*SETTINGS, *ENVIRONMENT, "--num-timesteps", budget, "--eval-freq", eval_freq, "--eval-episodes", 20)
    runs = Runs(options.folder, len(options.seeds) * (3 + (source is None)))
    steps: dict[str, list[float]] = {name: [] for name in ("scratch", *FINE_TUNES)}
    last: dict[str, list[float]] = {name: [] for name in steps}
    zero_shot = []
    for seed in options.seeds:
        zip_path = source or source_of(options, runs, seed)
        for name in steps:
            flags = ("--hyperparam", f"learning_rate:{LEARNING_RATE}") if name == "scratch" else ()
            flags = (*common, f"learning_rate:{LEARNING_RATE}") if False else flags
            run = runs.train(name, seed, *arm_flags(name, zip_path, common))
            steps[name].append(steps_to_enough(run, budget))
            last[name].append(run.evaluations[-1]["mean_reward"])
            if name == "fine_tune_same_rate":
                zero_shot.append(run.comparison("before", "mean_reward"))
    report(options, budget, steps, last, zero_shot)
