"""A CartPole agent from elsewhere and a pole twice as long: how soon does it balance again, against scratch?

    python benchmarks/longer_pole.py [--seeds N] [--source SOURCE] [--quick]

The agent is a zip of stock Stable-Baselines3 (PPO with rl-zoo's settings for CartPole, 100,000 steps), one for each
seed, trained here; or --source, any zip or rl-zoo folder of a PPO agent for CartPole, the same for every seed. Arms,
all with those settings, 40,960 steps on the longer pole, evaluated every 2,048 steps on 20 episodes with common starts:

- scratch: at rl-zoo's learning rate of 1e-3
- fine_tune_same_rate: ``--new-lr`` as that of scratch
- fine_tune_hundredth: a hundredth of it, which is what a fine-tune takes where ``--new-lr`` is not given

Measure: timesteps until the mean of an evaluation reaches 475; where none does, the budget, which is too few.
Fixed beforehand: an arm is sooner (or later) than scratch where the 95 % interval (Student's t over seeds) of the
paired differences lies below (or above) 0, else inconclusive. Inconclusive too where a source reaches 475 on the longer
pole as it is: then nothing was to be learned. Length, steps and arms were chosen with seed 100, which is none of the
measured ones.
"""

import time

from pairs import Interval, Options, Run, Runs, options_of, paired, parser_of, show_table, student, write_result

NAME = "longer_pole"
ENOUGH = 475.0
LEARNING_RATE = 1e-3
SCRATCH = "scratch"
ARMS: dict[str, tuple[object, ...]] = {
    SCRATCH: (),
    "fine_tune_same_rate": ("--new-lr", LEARNING_RATE),
    "fine_tune_hundredth": ("--new-lr", LEARNING_RATE / 100),
}
HYPERPARAMETERS = ("n_steps:32", "batch_size:256", "n_epochs:20", "gamma:0.98", "gae_lambda:0.8", "ent_coef:0")
COMMON = (
    *("--env", "LongerPole-v0", "--gym-packages", "changed_envs", "--env-kwargs", "half_length_m:1"),
    *("--algo", "ppo", "--n-envs", 8, "--no-norm-obs", "--lr-decay", "linear", "--eval-episodes", 20),
)


def train_source(path: str, seed: int, timesteps: int) -> None:
    """Train and save an agent with stock Stable-Baselines3 alone."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    settings = {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.8, "clip_range": 0.2}
    env = make_vec_env("CartPole-v1", 8, seed=seed)
    rate = lambda left: LEARNING_RATE * left  # noqa: E731 - as rl-zoo writes schedules
    PPO("MlpPolicy", env, learning_rate=rate, seed=seed, device="cpu", **settings).learn(timesteps).save(path)


def own_source(options: Options, runs: Runs, seed: int) -> str:
    """Give the zip of a seed's agent, trained if it is not there yet."""
    path = options.folder / "source" / f"seed_{seed}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if not path.exists():
        train_source(str(path), seed, 2048 if options.quick else 100_000)
    runs.note(f"source, seed {seed}", time.monotonic() - began)
    return str(path)


def flags_of(arm: str, source: str, options: Options) -> tuple[object, ...]:
    """Give the command's flags for an arm."""
    budget, eval_freq = (1024, 512) if options.quick else (40_960, 2048)
    common = (*COMMON, "--num-timesteps", budget, "--eval-freq", eval_freq, "--hyperparam", *HYPERPARAMETERS)
    if arm == SCRATCH:
        return (*common, f"learning_rate:{LEARNING_RATE}")
    return (*common, "--load-rl-model-path", source, *ARMS[arm], "--compare-episodes", 20)


def steps_to_enough(run: Run) -> float:
    """Give the timesteps at the first evaluation whose mean is enough, or the budget where none is."""
    reached = (row["timesteps"] for row in run.evaluations if row["mean_reward"] >= ENOUGH)
    return next(reached, float(run.record["timesteps"]))


def reaches_enough(run: Run) -> bool:
    """Tell whether the mean of any evaluation is enough."""
    return any(row["mean_reward"] >= ENOUGH for row in run.evaluations)


def verdict(difference: Interval, zero_shot: list[float]) -> str:
    """Say what the difference to scratch means."""
    if max(zero_shot) >= ENOUGH:
        return "inconclusive: a source balances the longer pole as it is"
    word = {-1: "sooner", 1: "later", 0: "inconclusive"}[difference.sign]
    return f"{word}: {difference} timesteps against scratch"


def measure(options: Options, source: str | None) -> dict[str, list[Run]]:
    """Run all arms: seed by seed, so that what else the machine does meets them alike."""
    runs = Runs(options.folder, len(options.seeds) * (len(ARMS) + (source is None)))
    found: dict[str, list[Run]] = {arm: [] for arm in ARMS}
    for seed in options.seeds:
        path = source or own_source(options, runs, seed)
        for arm in ARMS:
            found[arm].append(runs.train(arm, seed, *flags_of(arm, path, options)))
    return found


def report(options: Options, runs: dict[str, list[Run]], source: str | None) -> None:
    """Print and store what came out."""
    steps = {arm: [steps_to_enough(run) for run in found] for arm, found in runs.items()}
    last = {arm: [run.evaluations[-1]["mean_reward"] for run in found] for arm, found in runs.items()}
    zero_shot = [run.comparison("before", "mean_reward") for run in runs["fine_tune_same_rate"]]
    n_reached = {arm: sum(reaches_enough(run) for run in found) for arm, found in runs.items()}
    differences = {arm: paired(steps[arm], steps[SCRATCH]) for arm in ARMS if arm != SCRATCH}
    show_table(
        [
            ("arm", f"steps to {ENOUGH:g}", "reached", "last evaluation", "against scratch"),
            *(
                (
                    *(arm, str(student(steps[arm])), f"{n_reached[arm]} of {len(steps[arm])}"),
                    *(str(student(last[arm])), str(differences.get(arm, ""))),
                )
                for arm in ARMS
            ),
        ]
    )
    content = {
        "source": "own, one for each seed" if source is None else "given, the same for all seeds",
        "steps_to_enough": steps,
        "n_reached": n_reached,
        "last_evaluation": last,
        "zero_shot": zero_shot,
        "differences_to_scratch": differences,
        "last_evaluation_to_scratch": {arm: paired(last[arm], last[SCRATCH]) for arm in differences},
    }
    write_result(options, content, {arm: verdict(found, zero_shot) for arm, found in differences.items()})


def main() -> None:
    """Measure, print and store."""
    parser = parser_of(__doc__)
    parser.add_argument("--source", help="a zip or an rl-zoo folder; default: agents that are trained here")
    arguments = parser.parse_args()
    options = options_of(arguments, NAME if arguments.source is None else f"{NAME}_given")
    report(options, measure(options, arguments.source), arguments.source)


if __name__ == "__main__":
    main()
