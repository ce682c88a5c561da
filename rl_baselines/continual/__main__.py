"""``python -m rl_baselines.continual``: one policy learns task after task, by several methods, and is compared.

Exit codes: 0 done, 1 a command of the experiment failed, 2 wrong usage, 75 stopped; the same command goes on.
"""

import io
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import (
    AlgorithmConfig,
    EnvironmentConfig,
    EnvironmentShortcuts,
    EvaluationConfig,
    HyperparameterShortcuts,
    RunOptions,
    TrainingConfig,
    VectorConfig,
)
from rl_baselines.continual.options import ContinualOptions
from rl_baselines.train import EXIT_STOPPED, TrainFiles

if TYPE_CHECKING:
    from rich.console import Console

    from rl_baselines.continual.experiment import Experiment
    from rl_baselines.continual.outcome import Outcome
    from rl_baselines.job_queue import JobReport
    from rl_baselines.resolution import RunPlan

PROG = "python -m rl_baselines.continual"
DESCRIPTION = "Learn task after task with several methods, evaluate every stage on every task, and compare."
GROUPS = (
    *(ContinualOptions, TrainFiles, EnvironmentConfig, EnvironmentShortcuts, VectorConfig, AlgorithmConfig),
    *(HyperparameterShortcuts, TrainingConfig, EvaluationConfig, RunOptions),
)
EXIT_FAILED = 1


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    given = parse(GROUPS, argv, PROG, DESCRIPTION)
    names = ContinualOptions.__dataclass_fields__
    options = ContinualOptions(**{name: value for name, value in given.items() if name in names})
    training = {name: value for name, value in given.items() if name not in names}

    import os

    from rl_baselines.continual.settling import settle
    from rl_baselines.job_queue import JobQueue
    from rl_baselines.run_folder import lock_folder
    from rl_baselines.screen import make_console, standard_output_kept

    console = make_console()
    with standard_output_kept(options.json):
        experiment, plan = settle(options, training)
        n_at_once = options.jobs or os.cpu_count() or 1
        jobs = experiment.jobs(n_processes=n_at_once if len(experiment.seeds) == 1 else 1)
        with closing(lock_folder(experiment.folder)):
            _show_start(console, experiment, plan, len(jobs))
            logs = experiment.folder / "logs"
            report = JobQueue(jobs, n_at_once, logs, lambda text: console.print(text, soft_wrap=True)).run()
            if len(report.done) < len(jobs):
                return _explain(report, argv)
            result = _finish(console, experiment)
    if options.json:
        print(json.dumps(result))
    return 0


def _show_start(console: "Console", experiment: "Experiment", plan: "RunPlan", n_jobs: int) -> None:
    from rl_baselines.continual.pictures import name_of
    from rl_baselines.retention.retention import RETENTION_KINDS, default_coefficient
    from rl_baselines.run_folder import short
    from rl_baselines.screen import show_table

    algo, kinds = plan.config.algorithm.algo, [kind for kind in experiment.methods if kind in RETENTION_KINDS]
    coefficients = {kind: experiment.retain_coef.get(kind, default_coefficient(kind, algo)) for kind in kinds}
    schedule = plan.learning_rate.schedule
    assert schedule is not None
    kwargs = plan.config.environment.env_kwargs
    first = ", ".join(f"{name}:{value}" for name, value in kwargs.items() if name not in experiment.tasks[0].options)
    seeds = ", ".join(map(str, experiment.seeds))
    rows = [
        ("environment", f"{experiment.env}  {first}"),
        ("tasks", ", then ".join(str(task.label) for task in experiment.tasks)),
        ("methods", ", ".join(name_of(method) for method in experiment.methods)),
        *([("coefficients", ", ".join(f"{kind} {value:g}" for kind, value in coefficients.items()))] if kinds else []),
        ("seeds", seeds),
        ("training", f"{algo}, {experiment.num_timesteps:,} timesteps of each task"),
        ("learning rate", f"from scratch {schedule.initial:g}, {schedule.decay} ({plan.learning_rate.reason})"),
        ("", f"fine-tunes {experiment.learning_rate:g}, {schedule.decay}"),
        ("commands", f"{n_jobs}, {short(experiment.folder / 'logs')} has what they print"),
        ("folder", short(experiment.folder)),
    ]
    show_table(console, "Continual learning", rows)


def _explain(report: "JobReport", argv: Sequence[str]) -> int:
    """Say what keeps an experiment from its end, and give the exit code."""
    left = len(report.waiting) + len(report.failed)
    again = "the same command goes on"
    if report.stopped_by is not None:
        print(f"stopped by {report.stopped_by}: {len(report.done)} commands are done, {left} are left; {again}")
        return EXIT_STOPPED
    names = ", ".join(report.failed)
    print(
        f"error: {len(report.failed)} commands failed ({names}), {left} are left; mend that, {again}", file=sys.stderr
    )
    return EXIT_FAILED


def _finish(console: "Console", experiment: "Experiment") -> dict[str, Any]:
    """Write table, figures and pictures, and show what came out."""
    from environments.durable import replace_file
    from rl_baselines.checkpoint import write_json
    from rl_baselines.continual.outcome import Outcome
    from rl_baselines.continual.pictures import draw_finals, draw_tables
    from rl_baselines.run_folder import short
    from rl_baselines.screen import show_table

    outcome = Outcome.read(experiment)
    paths = [experiment.folder / name for name in ("result.json", "scores.csv", "tables.png", "scores.png")]
    result = {"folder": str(experiment.folder), **outcome.to_json(), "files": [str(path) for path in paths]}
    write_json(paths[0], result)
    replace_file(paths[1], outcome.table())
    for path, figure in zip(paths[2:], (draw_tables(outcome), draw_finals(outcome)), strict=True):
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        replace_file(path, picture.getvalue())
    header = ("score in the end", *(task.label for task in experiment.tasks), "average", "forgetting", "transfer back")
    show_table(console, "Scores: random actions 0, each task's teacher 1", _rows(outcome), (*header, "and forth"))
    for path in paths:
        console.print(short(Path(path)), soft_wrap=True, markup=False)
    return result


def _rows(outcome: "Outcome") -> list[list[str]]:
    from rl_baselines.continual.outcome import SEQUENCE_FIGURES
    from rl_baselines.continual.pictures import name_of
    from rl_baselines.cross_evaluation.heat_map import cell_text
    from rl_baselines.transfer_matrix import estimate

    rows = []
    for method in outcome.scores:
        finals = [cell_text(estimate(samples), "{:.2f}") for samples in outcome.final(method)]
        figures = outcome.figures(method)
        cells = [
            cell_text(figures[name], "{:.2f}") if name in figures else "" for name in ("average", *SEQUENCE_FIGURES)
        ]
        rows.append([name_of(method), *finals, *cells])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
