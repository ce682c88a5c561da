"""A robot that knows the way to place A learns the way to place B: what does --retain keep, and what does it cost?

    python benchmarks/retention.py [--seeds N] [--quick]

The mobile robot observes its absolute position and a label of the place it is to go to, not the place itself, so that
what it knows of A can be forgotten. For each seed one parent learns A with PPO (24,576 steps); each arm fine-tunes its
last model to B (49,152 steps, the same learning rate) with ``--retain`` none, bc, kl, l2sp, ewc or replay, at the
kind's default coefficient. Steps, actions and the size of the label were chosen with seed 100, which is none of the
measured ones, so that none learns B and forgets A.

Measures, both of the child's last model over 50 episodes with the same starts: A kept and B learned, the share of
episodes at whose end the robot is at the place. Fixed beforehand, by 95 % intervals (Student's t over seeds) of the
paired differences to none:

- inconclusive for all, where none keeps more than 0.8 of A on average, or a parent knows less than 0.9 of it
- keeps A: the difference in A lies above 0; else no effect shown
- at the price of B: the difference in B lies below 0
"""

from pairs import Interval, Options, Run, Runs, options_of, paired, parser_of, show_table, student, write_result

NAME = "retention"
KINDS = ("none", "bc", "kl", "l2sp", "ewc", "replay")
FORGOTTEN = 0.8
KNOWN = 0.9
LEARNING_RATE = 1e-3
ENVIRONMENT = ("--env", "MobileRobotPlace-v0", "--gym-packages", "changed_envs")
PARENT = (
    *(*ENVIRONMENT, "--env-kwargs", "place:a", "--algo", "ppo", "--n-envs", 8, "--no-norm-obs"),
    *("--hyperparam", "n_steps:128", "batch_size:128", "n_epochs:10", "gamma:0.95", f"learning_rate:{LEARNING_RATE}"),
)


def parent_flags(options: Options) -> tuple[object, ...]:
    """Give the command's flags for learning A."""
    return (*PARENT, *length(options, 24_576))


def child_flags(options: Options, parent: Run, kind: str) -> tuple[object, ...]:
    """Give the command's flags for learning B; without a best model the last one is judged."""
    source = ("--load-rl-model-path", f"{parent.path}@last", "--new-lr", LEARNING_RATE, "--retain", kind)
    env = (*ENVIRONMENT, "--env-kwargs", "place:b")
    n_episodes = 10 if options.quick else 50
    return (*source, *env, *length(options, 49_152), "--compare-episodes", n_episodes)


def length(options: Options, n_steps: int) -> tuple[object, ...]:
    """Give how long a run is, and that neither evaluations nor a best model take part."""
    return ("--num-timesteps", 2048 if options.quick else n_steps, "--eval-freq", 0, "--min-episodes-save", 10**6)


def measure(options: Options) -> dict[str, list[Run]]:
    """Run all arms: seed by seed, so that what else the machine does meets them alike."""
    runs = Runs(options.folder, len(options.seeds) * (1 + len(KINDS)))
    children: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    for seed in options.seeds:
        parent = runs.train("parent", seed, *parent_flags(options))
        for kind in KINDS:
            children[kind].append(runs.train(kind, seed, *child_flags(options, parent, kind)))
    return children


def verdict(kept: Interval, learned: Interval, none_kept: float, known: list[float]) -> str:
    """Say what a kind of retention does."""
    if none_kept > FORGOTTEN or min(known) < KNOWN:
        return "inconclusive: nothing was forgotten, or a parent did not know A"
    effect = "keeps A" if kept.sign > 0 else "forgets more of A" if kept.sign < 0 else "no effect on A shown"
    price = ", at the price of B" if learned.sign < 0 else ""
    return f"{effect}{price}: A {kept}, B {learned} against none"


def report(options: Options, runs: dict[str, list[Run]]) -> None:
    """Print and store what came out."""
    kept = {kind: [run.comparison("child, parent's env", "success_rate") for run in runs[kind]] for kind in KINDS}
    learned = {kind: [run.comparison("after (last)", "success_rate") for run in runs[kind]] for kind in KINDS}
    known = [run.comparison("parent, its env", "success_rate") for run in runs["none"]]
    in_a = {kind: paired(kept[kind], kept["none"]) for kind in KINDS[1:]}
    in_b = {kind: paired(learned[kind], learned["none"]) for kind in KINDS[1:]}
    rows = [
        (kind, str(student(kept[kind])), str(student(learned[kind])), str(in_a.get(kind, "")), str(in_b.get(kind, "")))
        for kind in KINDS
    ]
    show_table([("--retain", "A kept", "B learned", "A against none", "B against none"), *rows])
    content = {
        "parent_in_a": known,
        "zero_shot_in_b": [run.comparison("before", "success_rate") for run in runs["none"]],
        "a_kept": kept,
        "b_learned": learned,
        "a_against_none": in_a,
        "b_against_none": in_b,
    }
    none_kept = student(kept["none"]).mean
    write_result(options, content, {kind: verdict(in_a[kind], in_b[kind], none_kept, known) for kind in KINDS[1:]})


def main() -> None:
    """Measure, print and store."""
    options = options_of(parser_of(__doc__).parse_args(), NAME)
    report(options, measure(options))


if __name__ == "__main__":
    main()
