"""A Kuka arm whose motors become slower: what is the source's replay buffer worth to a SAC fine-tune?

    python benchmarks/fine_tune_dynamics.py [--seeds N] [--quick]

For each seed one parent learns to press the button with SAC (sparse reward, moves of the gripper along x, y and z,
state-dependent exploration), until all episodes of an evaluation succeed, every 1,000 steps, 30,000 steps at most. Then
the joints turn at 0.3 of their speed (`motor_speed:0.3`), and three fine-tunes of its last model follow, 5,000 steps at
the parent's learning rate, evaluated every 500 steps on 10 episodes with the same starts:

- with_buffer: as the command does it, the parent's transitions are appended to
- half_and_half: half of every batch is of the parent's transitions (`--replay-mix 0.5`)
- without_buffer: all parts but the replay buffer; the loaded policy fills a new one

Measures of the reward of an episode, which is 5 where the button was pressed: worst evaluation during the fine-tune,
mean of all evaluations, and the last one. Fixed beforehand, by 95 % intervals (Student's t over seeds) of paired
differences to without_buffer: the buffer helps above 0, harms below, else inconclusive. All are inconclusive where the
parents press the button in less than half of the episodes with their own motors, and the worst and the mean evaluation
where without_buffer's worst does not lie below the zero-shot score, so that nothing dips.

Tried with seed 100, which is none of the measured ones: parents by the dense reward, with independent noise, did not
learn in 12,000 steps; at half of the speed no arm but with_buffer had an evaluation below the zero-shot score. Tried
with all seeds: the last models after 16,000 steps, which succeed in 0.3 [-0.3, 0.9] of the episodes, so that nothing
could be concluded.
"""

from pairs import Interval, Options, Run, Runs, options_of, paired, parser_of, show_table, student, write_result

NAME = "fine_tune_dynamics"
LEARNING_RATE = 1e-3
KNOWN = 0.5
SLOWER = "motor_speed:0.3"
PARENT = (
    *("--env", "KukaButtonGymEnv-v0", "--algo", "sac", "--no-norm-obs", "--lr-decay", "constant"),
    *("--best-by", "eval", "--eval-freq", 1000, "--eval-episodes", 10, "--stop-value", 5),
    *("--env-kwargs", "is_discrete:false", "force_down:false", "action_repeat:8"),
    *("--hyperparam", f"learning_rate:{LEARNING_RATE}", "gamma:0.98", "learning_starts:2000", "batch_size:128"),
    *("use_sde:true", "sde_sample_freq:32", "use_sde_at_warmup:true"),
    *("--policy-kwargs", "net_arch:[64,64]"),
)
WITHOUT = "without_buffer"
ARMS: dict[str, tuple[object, ...]] = {
    "with_buffer": (),
    "half_and_half": ("--replay-mix", 0.5),
    WITHOUT: ("--load-parts", "policy", "critic", "features", "optimizer", "entropy"),
}


def child_flags(options: Options, parent: Run, arm: str) -> tuple[object, ...]:
    """Give the command's flags for a fine-tune with slower motors."""
    n_steps, eval_freq, n_episodes = (300, 150, 2) if options.quick else (5000, 500, 10)
    return (
        *("--load-rl-model-path", f"{parent.path}@last", "--new-lr", LEARNING_RATE, "--env-kwargs", SLOWER),
        *("--num-timesteps", n_steps, "--eval-freq", eval_freq, "--eval-episodes", n_episodes),
        *("--compare-episodes", n_episodes, *ARMS[arm]),
    )


def measure(options: Options) -> dict[str, list[Run]]:
    """Run all arms: seed by seed, so that what else the machine does meets them alike."""
    runs = Runs(options.folder, len(options.seeds) * (1 + len(ARMS)))
    children: dict[str, list[Run]] = {arm: [] for arm in ARMS}
    for seed in options.seeds:
        parent = runs.train("parent", seed, *PARENT, "--num-timesteps", 2400 if options.quick else 30_000)
        for arm in ARMS:
            children[arm].append(runs.train(arm, seed, *child_flags(options, parent, arm)))
    return children


def verdict(difference: Interval, problem: str) -> str:
    """Say what the buffer is worth.

    :param problem: why nothing can be concluded, or nothing
    """
    if problem:
        return f"inconclusive: {problem}; with minus without {difference}"
    word = {1: "the buffer helps", -1: "the buffer harms", 0: "inconclusive"}[difference.sign]
    return f"{word}: {difference} with minus without"


def report(options: Options, runs: dict[str, list[Run]]) -> None:
    """Print and store what came out."""
    rewards = {arm: [[row["mean_reward"] for row in run.evaluations] for run in found] for arm, found in runs.items()}
    measures: dict[str, dict[str, list[float]]] = {
        "worst": {arm: [min(run) for run in found] for arm, found in rewards.items()},
        "mean": {arm: [sum(run) / len(run) for run in found] for arm, found in rewards.items()},
        "last": {arm: [run[-1] for run in found] for arm, found in rewards.items()},
    }
    zero_shot = [run.comparison("before", "mean_reward") for run in runs[WITHOUT]]
    at_home = [run.comparison("parent, its env", "success_rate") for run in runs[WITHOUT]]
    rows = [(arm, *(str(student(values[arm])) for values in measures.values())) for arm in ARMS]
    show_table([("arm", *(f"{name} evaluation" for name in measures)), *rows])
    print(f"success of the parents with their own motors {student(at_home)}; zero-shot reward {student(zero_shot)}")
    dip = paired(measures["worst"][WITHOUT], zero_shot)
    ignorant = "the parents do not know their task" if student(at_home).mean < KNOWN else ""
    steady = f"without the buffer nothing dips ({dip})" if dip.sign >= 0 else ""
    problems = {"worst": ignorant or steady, "mean": ignorant or steady, "last": ignorant}
    differences = {
        (arm, name): paired(values[arm], values[WITHOUT])
        for arm in ARMS
        if arm != WITHOUT
        for name, values in measures.items()
    }
    content = {
        "parent_success_at_home": at_home,
        "zero_shot": zero_shot,
        **measures,
        "dip_without_buffer": dip,
        "differences": {f"{arm}, {name}": difference for (arm, name), difference in differences.items()},
    }
    verdicts = {
        f"{arm}, {name} evaluation": verdict(difference, problems[name])
        for (arm, name), difference in differences.items()
    }
    write_result(options, content, verdicts)


def main() -> None:
    """Measure, print and store."""
    options = options_of(parser_of(__doc__).parse_args(), NAME)
    report(options, measure(options))


if __name__ == "__main__":
    main()
