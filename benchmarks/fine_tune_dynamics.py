"""A Kuka arm whose motors become slower: what is the source's replay buffer worth to a SAC fine-tune?

    python benchmarks/fine_tune_dynamics.py [--seeds N] [--quick]

For each seed one parent learns to press the button with SAC (12,000 steps, dense reward, moves of the gripper along x,
y and z). Then the joints turn at 0.3 of their speed (`motor_speed:0.3`), and two fine-tunes of its last model follow,
6,000 steps at the parent's learning rate, evaluated every 500 steps on 10 episodes with the same starts:

- with_buffer: as the command does it, the parent's transitions are appended to
- without_buffer: all parts but the replay buffer; the loaded policy fills a new one

Measures: worst evaluation during the fine-tune, and the last one, mean reward. Fixed beforehand, by 95 % intervals
(Student's t over seeds) of paired differences: the buffer helps where with minus without lies above 0, harms where it
lies below, else inconclusive. Both are inconclusive where the parents press the button in less than half of the
episodes with their own motors, and the worst evaluation where without_buffer does not fall below the zero-shot score,
so that nothing dips. A parent with seed 100, which is none of the measured ones, did not learn its task in these steps.
"""

from pairs import Interval, Options, Run, Runs, options_of, paired, parser_of, show_table, student, write_result

NAME = "fine_tune_dynamics"
LEARNING_RATE = 1e-3
KNOWN = 0.5
SLOWER = "motor_speed:0.3"
PARENT = (
    *("--env", "KukaButtonGymEnv-v0", "--algo", "sac", "--no-norm-obs", "--lr-decay", "constant", "--eval-freq", 0),
    *("--env-kwargs", "is_discrete:false", "force_down:false", "action_repeat:8", "shape_reward:true"),
    *("--hyperparam", f"learning_rate:{LEARNING_RATE}", "gamma:0.95", "learning_starts:1000", "batch_size:128"),
    *("--policy-kwargs", "net_arch:[64,64]"),
)
ARMS: dict[str, tuple[object, ...]] = {
    "with_buffer": (),
    "without_buffer": ("--load-parts", "policy", "critic", "features", "optimizer", "entropy"),
}


def child_flags(options: Options, parent: Run, arm: str) -> tuple[object, ...]:
    """Give the command's flags for a fine-tune with slower motors."""
    n_steps, eval_freq, n_episodes = (300, 150, 2) if options.quick else (6000, 500, 10)
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
        parent = runs.train("parent", seed, *PARENT, "--num-timesteps", 1200 if options.quick else 12_000)
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
    with_buffer, without = ARMS
    worst = {arm: [min(row["mean_reward"] for row in run.evaluations) for run in found] for arm, found in runs.items()}
    last = {arm: [run.evaluations[-1]["mean_reward"] for run in found] for arm, found in runs.items()}
    zero_shot = [run.comparison("before", "mean_reward") for run in runs[without]]
    at_home = [run.comparison("parent, its env", "success_rate") for run in runs[without]]
    rows = [(arm, str(student(worst[arm])), str(student(last[arm]))) for arm in ARMS]
    show_table([("arm", "worst evaluation", "last evaluation"), *rows])
    print(f"success of the parents with their own motors {student(at_home)}; zero-shot reward {student(zero_shot)}")
    dip = paired(worst[without], zero_shot)
    differences = {
        "worst": paired(worst[with_buffer], worst[without]),
        "last": paired(last[with_buffer], last[without]),
    }
    content = {
        "parent_success_at_home": at_home,
        "zero_shot": zero_shot,
        "worst": worst,
        "last": last,
        "dip_without_buffer": dip,
        "differences": differences,
    }
    ignorant = "the parents do not know their task" if student(at_home).mean < KNOWN else ""
    steady = f"without the buffer nothing dips ({dip})" if dip.sign >= 0 else ""
    verdicts = {
        "worst evaluation": verdict(differences["worst"], ignorant or steady),
        "last evaluation": verdict(differences["last"], ignorant),
    }
    write_result(options, content, verdicts)


def main() -> None:
    """Measure, print and store."""
    options = options_of(parser_of(__doc__).parse_args(), NAME)
    report(options, measure(options))


if __name__ == "__main__":
    main()
