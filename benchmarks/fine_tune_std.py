"""A Kuka arm that presses a button in one place is to find it anywhere: does ``--reset-std`` help PPO?

    python benchmarks/fine_tune_std.py [--seeds N] [--quick]

For each seed one parent is trained by the shipped preset kuka_button_ppo, 40,960 steps without an entropy bonus, and
its best model is fine-tuned to a button that lies elsewhere in every episode, as kuka_button_random_target does it,
for 81,920 steps at the parent's learning rate, evaluated every 8,192 steps on 50 episodes with the same starts. Arms:
kept (as the command does it), reset_std (``--reset-std``), scratch (the parent's preset on the new task).

Measures: area under the curve of success (mean over the evaluations), and success of the last evaluation. Fixed
beforehand, by 95 % intervals (Student's t over seeds) of paired differences: better above 0, worse below, else
inconclusive; against kept, and against scratch. All inconclusive where the parents succeed in less than half of the
episodes in their own environment, or where kept has an area of 0.9 or more: then it is no problem.

The presets explore by generalised state-dependent exploration, whose `log_std` scales features: the mean of its
exponential, 1 at the start, is given beside, and is not an action's standard deviation. Tried with seed 100, which is
none of the measured ones: independent Gaussian noise and the dense reward (81,920 steps, 10 epochs: standard deviation
0.90; 245,760 steps, 20 epochs: 0.37) give parents of which kept, too, succeeds in 0.96 from its first evaluation on.
"""

from pathlib import Path

from pairs import Options, Run, Runs, options_of, paired, parser_of, show_table, student, write_result

NAME = "fine_tune_std"
KNOWN = 0.5
SOLVED_AREA = 0.9
LEARNING_RATE = 1e-3
PRESET = ("--config", "kuka_button_ppo", "--best-by", "eval")
KEPT, RESET, SCRATCH = "kept", "reset_std", "scratch"
ARMS = (KEPT, RESET, SCRATCH)


def flags_of(options: Options, arm: str, parent: Run) -> tuple[object, ...]:
    """Give the command's flags for an arm."""
    n_steps, eval_freq, n_episodes = (4096, 2048, 4) if options.quick else (81_920, 8192, 50)
    last = ("--num-timesteps", n_steps, "--eval-freq", eval_freq, "--eval-episodes", n_episodes, "--random-target")
    if arm == SCRATCH:
        return (*PRESET, *last)
    source = ("--load-rl-model-path", parent.path, "--new-lr", LEARNING_RATE)
    return (*source, *last, "--compare-episodes", n_episodes, *(("--reset-std",) if arm == RESET else ()))


def mean_std(model: Path) -> float:
    """Give the mean of exp(log_std) of a saved policy, read by stock Stable-Baselines3."""
    from stable_baselines3 import PPO

    return float(PPO.load(model, device="cpu").policy.log_std.detach().exp().mean())


def area(run: Run) -> float:
    """Give the mean success over the evaluations of a run."""
    return sum(row["success_rate"] for row in run.evaluations) / len(run.evaluations)


def measure(options: Options) -> tuple[list[Run], dict[str, list[Run]]]:
    """Run all arms: seed by seed, so that what else the machine does meets them alike; give parents and arms."""
    runs = Runs(options.folder, len(options.seeds) * (1 + len(ARMS)))
    parents: list[Run] = []
    found: dict[str, list[Run]] = {arm: [] for arm in ARMS}
    for seed in options.seeds:
        n_steps = 4096 if options.quick else 40_960
        parents.append(runs.train("parent", seed, *PRESET, "--num-timesteps", n_steps))
        for arm in ARMS:
            found[arm].append(runs.train(arm, seed, *flags_of(options, arm, parents[-1])))
    return parents, found


def verdict(ours: list[float], theirs: list[float], problem: str) -> str:
    """Say what the difference means.

    :param problem: why nothing can be concluded, or nothing
    """
    difference = paired(ours, theirs)
    if problem:
        return f"inconclusive: {problem} ({difference})"
    word = {1: "better", -1: "worse", 0: "inconclusive"}[difference.sign]
    return f"{word}: {difference}"


def report(options: Options, parents: list[Run], runs: dict[str, list[Run]]) -> None:
    """Print and store what came out."""
    std = [mean_std(parent.best_model) for parent in parents]
    areas = {arm: [area(run) for run in runs[arm]] for arm in ARMS}
    last = {arm: [run.evaluations[-1]["success_rate"] for run in runs[arm]] for arm in ARMS}
    at_home = [run.comparison("parent, its env", "success_rate") for run in runs[KEPT]]
    zero_shot = [run.comparison("before", "success_rate") for run in runs[KEPT]]
    show_table(
        [
            ("arm", "area under the curve of success", "last evaluation"),
            *((arm, str(student(areas[arm])), str(student(last[arm]))) for arm in ARMS),
        ]
    )
    print(f"parents: success {student(at_home)}, zero-shot {student(zero_shot)}, exp(log_std) {student(std)}")
    problem = ""
    if student(at_home).mean < KNOWN:
        problem = "the parents do not know their task"
    elif student(areas[KEPT]).mean >= SOLVED_AREA:
        problem = "kept has no problem"
    verdicts = {
        f"{RESET} against {other}, {name}": verdict(values[RESET], values[other], problem)
        for other in (KEPT, SCRATCH)
        for name, values in (("area", areas), ("last", last))
    }
    content = {"parent_std": std, "parent_success": at_home, "zero_shot": zero_shot, "area": areas, "last": last}
    write_result(options, content, verdicts)


def main() -> None:
    """Measure, print and store."""
    options = options_of(parser_of(__doc__).parse_args(), NAME)
    report(options, *measure(options))


if __name__ == "__main__":
    main()
