"""``python -m rl_baselines.cross_eval``: every policy on every task, with common start seeds. No run changes.

Exit codes: 0 done, 1 a worker process died or a file could not be written, 2 wrong usage, 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import TrustOptions, setting

if TYPE_CHECKING:
    from rl_baselines.cross_evaluation.matrix import Matrix
    from rl_baselines.cross_evaluation.plan import Plan
    from rl_baselines.cross_evaluation.store import Store

EXIT_INTERRUPTED = 130
DESCRIPTION = "Evaluate every policy on every task, with the same start seeds."


@dataclass(frozen=True)
class CrossEvalOptions:
    """Cross-evaluation"""

    policies: tuple[str, ...] = setting(
        (),
        "Policies: run folders (their best models), RUN@last, RUN@step:N, RUN@all for all checkpoints of a run, model "
        "zips, rl-zoo folders, latest; LABEL=RUN gives one a label.",
        metavar="RUN",
    )
    tasks: tuple[str, ...] = setting(
        (),
        "Tasks: sc cc sqc ec chc esc, a task's name such as circle, or an environment's id; each perhaps with options: "
        "circle,max_steps:100.",
        metavar="TASK",
    )
    n_episodes: int = setting(20, "Episodes of each policy on each task.", ("-n",))
    jobs: int | None = setting(None, "Processes that play. Default: the number of cores. No figure depends on it.")
    output: str | None = setting(
        None,
        "Folder of the results. Default: <log-dir>/cross_eval/<key>, the same for the same command.",
        metavar="DIR",
    )
    sequential: bool = setting(
        False,
        "The policies are one learner after the first task, after the second ...: tell average accuracy, forgetting, "
        "backward and forward transfer.",
    )
    skip_unfit: bool = setting(False, "Leave cells empty whose policy cannot act in the task, instead of an error.")
    json: bool = setting(False, "Print one JSON object on standard output.")
    algo: str | None = setting(None, "Algorithm of lone zips that do not tell it.", metavar="NAME")
    log_dir: str = setting("logs", "Where results go by default, and where latest is looked for.", metavar="FOLDER")


def check(options: CrossEvalOptions) -> None:
    """Refuse options that say too little.

    :raises UsageError: for the first of them
    """
    from rl_baselines.errors import UsageError

    if not options.policies:
        raise UsageError("name the policies: --policies RUN ...")
    if not options.tasks:
        raise UsageError("name the tasks: --tasks sc cc sqc, or circle, or an environment's id ...")
    if options.n_episodes < 1:
        raise UsageError(f"--n-episodes must be at least 1, got {options.n_episodes}")
    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"--jobs must be at least 1, got {options.jobs}")


def plan_from(options: CrossEvalOptions, trusted: bool) -> "Plan":
    """Settle what is played.

    :param trusted: whether pickled objects of the policies may be loaded
    :raises UsageError: for what cannot be done
    """
    from rl_baselines.cross_evaluation.plan import find_policies, make_plan
    from rl_baselines.errors import UsageError
    from rl_baselines.evaluation_tasks import parse_tasks

    tasks = parse_tasks(options.tasks)
    policies = find_policies(options.policies, Path(options.log_dir), trusted)
    if options.sequential and (len(policies) != len(tasks) or len(tasks) < 2):
        raise UsageError(
            "--sequential takes as many policies as tasks, at least two, the learner after each task; got "
            f"{len(policies)} and {len(tasks)}"
        )
    plan, misfits = make_plan(policies, tasks, options.n_episodes, options.algo)
    if misfits and not (options.skip_unfit and plan.cells):
        n_pairs = len(policies) * len(tasks)
        remedy = "--skip-unfit leaves those cells empty" if plan.cells else "nothing is left to play"
        names = "; ".join(map(str, misfits))
        raise UsageError(f"{len(misfits)} of {n_pairs} pairs of policy and task do not fit: {names}; {remedy}")
    return plan


def play_missing(plan: "Plan", store: "Store", n_jobs: int) -> "Matrix":
    """Play the cells that are not stored yet, and give all.

    :raises CellFailedError: when a worker process dies; what was done by then is stored
    """
    from rl_baselines.cross_evaluation.matrix import Matrix
    from rl_baselines.cross_evaluation.playing import play_all
    from rl_baselines.screen import part_progress

    there = store.results()
    missing = [cell for cell in plan.cells if cell.name not in there]
    if missing:
        with part_progress("cells", len(plan.cells), len(there)) as advance:
            for cell, content in play_all(plan, missing, n_jobs):
                store.save(cell, content)
                advance()
    return Matrix(plan, store.results() if missing else there)


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    given = parse((CrossEvalOptions, TrustOptions), argv, "python -m rl_baselines.cross_eval", DESCRIPTION)
    trusted = given.pop("trust_source", False)
    options = CrossEvalOptions(**given)
    check(options)

    from contextlib import closing

    from rl_baselines.cross_evaluation.outputs import write_all
    from rl_baselines.cross_evaluation.plan import key_of
    from rl_baselines.cross_evaluation.playing import CellFailedError
    from rl_baselines.cross_evaluation.store import Store
    from rl_baselines.run_folder import short
    from rl_baselines.screen import standard_output_kept

    with standard_output_kept(options.json):
        plan = plan_from(options, trusted)
        default = Path(options.log_dir) / "cross_eval" / key_of(plan.settled())
        folder = (Path(options.output) if options.output is not None else default).absolute()
        with closing(Store(folder, plan)) as store:
            try:
                matrix = play_missing(plan, store, options.jobs or os.cpu_count() or 1)
            except (CellFailedError, KeyboardInterrupt) as error:
                reason = f"error: {error}" if isinstance(error, CellFailedError) else "interrupted"
                done = f"{len(store.results())} of {len(plan.cells)} cells are stored in {short(folder)}"
                print(f"{reason}; {done}, the same command goes on with the rest", file=sys.stderr)
                return 1 if isinstance(error, CellFailedError) else EXIT_INTERRUPTED
            result = write_all(matrix, folder, options.sequential)
    if options.json:
        print(json.dumps(result))
    else:
        _show(matrix, result)
    return 0


def _show(matrix: "Matrix", result: dict[str, Any]) -> None:
    from rl_baselines.cross_evaluation.heat_map import table_rows
    from rl_baselines.run_folder import short
    from rl_baselines.screen import make_console, show_table

    console, header = make_console(), ("policy", *(task.label for task in matrix.plan.tasks))
    rewards = table_rows(matrix, matrix.rewards, matrix.random_rewards, "{:.4g}")
    scores = table_rows(matrix, matrix.scores, matrix.random_scores, "{:.2f}")
    episodes = f"{matrix.plan.n_episodes} episodes"
    show_table(console, f"Mean reward of {episodes}, \u00b1 half of the 95 % interval", rewards, header)
    show_table(console, "Normalised: random actions 0, the best policy on the task 1", scores, header)
    if result["sequence"] is not None:
        show_table(console, "The learner over the sequence", _sequence_rows(result), ("", "reward", "normalised"))
    for name in result["files"]:
        console.print(short(Path(name)), soft_wrap=True, markup=False)


def _sequence_rows(result: dict[str, Any]) -> list[list[str]]:
    from rl_baselines.cross_evaluation.heat_map import cell_text
    from rl_baselines.transfer_matrix import Estimate

    def written(found: dict[str, float | None], form: str) -> str:
        mean = found["mean"]
        return cell_text(Estimate(float("nan") if mean is None else mean, found["low"], found["high"]), form)

    reward, score = result["sequence"]["reward"], result["sequence"]["score"]
    names = {name: name.replace("_", " ") for name in reward}
    return [[text, written(reward[name], "{:.4g}"), written(score[name], "{:.2f}")] for name, text in names.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
