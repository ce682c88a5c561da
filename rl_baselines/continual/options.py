"""What the experiment can be told, beside what every training can be told."""

from dataclasses import dataclass
from typing import Any

from rl_baselines.config import setting


@dataclass(frozen=True)
class ContinualOptions:
    """Experiment"""

    tasks: tuple[str, ...] = setting(
        (),
        "Tasks in the order in which they are learnt: sc cc sqc ec chc esc, or a task's name such as circle, perhaps "
        "with options: circle,max_steps:100.",
        metavar="TASK",
    )
    methods: tuple[str, ...] = setting(
        (),
        "Methods to compare: none (naive fine-tuning), bc, kl, l2sp, ewc, replay (fine-tuning with that --retain), "
        "distillation (one student of all teachers). Default: all.",
        metavar="METHOD",
    )
    n_seeds: int = setting(1, "Repetitions with seeds of their own: --seed, --seed + 1 ...")
    new_lr: float | None = setting(
        None, "Initial learning rate of the fine-tunes. Default: that of the trainings from scratch."
    )
    retain_coef: dict[str, Any] = setting({}, "Weights of retention, by method: bc:1 ewc:10.", metavar="METHOD:X")
    teacher_episodes: int = setting(100, "Episodes that are recorded of each teacher, for distillation.")
    epochs_distillation: int = setting(30, "Epochs of distillation.")
    n_episodes: int = setting(50, "Episodes in which each policy is evaluated on each task.", ("-n",))
    jobs: int | None = setting(None, "Commands that run side by side. Default: the number of cores.")
    output: str | None = setting(
        None,
        "Folder of the experiment. Default: <log-dir>/continual/<env>_<key>, the same for the same settings, so that "
        "the same command goes on.",
        metavar="DIR",
    )
    json: bool = setting(False, "Print one JSON object on standard output.")
