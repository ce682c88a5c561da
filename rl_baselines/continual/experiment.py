"""What the experiment consists of: the trainings of each seed, the teachers' datasets, one evaluation of them all.

::

    DIR/experiment.json          what is compared
    DIR/training.yaml            what every training is told besides its task
    DIR/student.yaml             the same of the students of distillation
    DIR/logs/                    the output of each command
    DIR/seed_0/teacher_reach/    a log folder with one run: what learnt a task from scratch
    DIR/seed_0/bc_circle/        the same of the run that took over from the task before
    DIR/seed_0/student/          the same of the student
    DIR/seed_0/data_reach/       a dataset of what the teacher did
    DIR/seed_0/evaluation/       all policies of the seed on all tasks
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from environments.dataset import INDEX_NAME
from rl_baselines.cross_evaluation.outputs import RESULT
from rl_baselines.evaluation_tasks import EvaluationTask
from rl_baselines.job_queue import Job
from rl_baselines.retention.retention import RETENTION_KINDS
from rl_baselines.run_folder import RunFolder, find_runs

TEACHERS, STUDENT = "teachers", "distillation"
SEQUENCES = ("none", *RETENTION_KINDS)
METHODS = (*SEQUENCES, STUDENT)
TRAINING_NAME, STUDENT_NAME = "training.yaml", "student.yaml"
SECONDS_TO_END = 60.0


@dataclass(frozen=True)
class Experiment:
    """What is to be compared, settled to the last setting.

    :param folder: where all of it lies
    :param env: id of the environment
    :param tasks: in the order in which they are learnt
    :param methods: in the order of the table
    :param seeds: of the repetitions
    :param configs: files of settings of the teachers, later ones win; those of the experiment are added
    :param learning_rate: of the fine-tunes
    :param num_timesteps: of each training
    :param retain_coef: weight of a retention, by its kind, where it is not the usual one
    :param n_episodes: of the evaluation of a policy on a task, also before and after a fine-tune
    :param teacher_episodes: that are recorded of each teacher
    :param epochs: of distillation
    """

    folder: Path
    env: str
    tasks: tuple[EvaluationTask, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    configs: tuple[str, ...]
    learning_rate: float
    num_timesteps: int
    retain_coef: dict[str, float]
    n_episodes: int
    teacher_episodes: int
    epochs: int

    @property
    def sequences(self) -> tuple[str, ...]:
        """The methods that learn one task after the other."""
        return tuple(method for method in self.methods if method in SEQUENCES)

    def settled(self) -> dict[str, Any]:
        """Give, ready for JSON, all that decides the numbers of a seed."""
        own = {name: value for name, value in vars(self).items() if name not in ("folder", "seeds")}
        plain: dict[str, Any] = json.loads(json.dumps({**own, "tasks": [task.text for task in self.tasks]}))
        return plain

    def teacher_flags(self, task: EvaluationTask) -> list[str]:
        """Give the flags that a training from scratch gets, but for seed and folder."""
        configs = [*self.configs, str(self.folder / TRAINING_NAME)]
        return ["--config", *configs, *self.task_flags(task)]

    def task_flags(self, task: EvaluationTask) -> list[str]:
        """Give the flags that name a task."""
        options = [f"{name}:{value}" for name, value in task.options.items()]
        return ["--env", task.env or self.env, *(["--env-kwargs", *options] if options else [])]

    def jobs(self, n_processes: int) -> list[Job]:
        """Give all commands, each after those that it needs.

        :param n_processes: for a command that can use several
        """
        return [job for seed in self.seeds for job in self._jobs_of(seed, n_processes)]

    def policies(self, seed: int) -> Iterator[tuple[str, int, Path]]:
        """Yield the policies of a seed: method, number of tasks learnt, folder of the run.

        The first policy of a sequence is the teacher of the first task.
        """
        for index, task in enumerate(self.tasks):
            yield TEACHERS, index, self._place(seed, _teacher(task))
        for method in self.sequences:
            for index, task in enumerate(self.tasks[1:], 1):
                yield method, index, self._place(seed, f"{method}_{task.label}")
        if STUDENT in self.methods:
            yield STUDENT, len(self.tasks) - 1, self._place(seed, "student")

    def evaluation(self, seed: int) -> Path:
        """Give the folder with the scores of all policies of a seed."""
        return self._place(seed, "evaluation")

    def _place(self, seed: int, name: str) -> Path:
        return self.folder / f"seed_{seed}" / name.replace("/", "-").replace(",", "_").replace(":", "_")

    def _jobs_of(self, seed: int, n_processes: int) -> Iterator[Job]:
        for task in self.tasks:
            yield self._training(seed, _teacher(task), partial(self.teacher_flags, task))
        for method in self.sequences:
            before = _teacher(self.tasks[0])
            for task in self.tasks[1:]:
                name = f"{method}_{task.label}"
                yield self._training(seed, name, partial(self._fine_tune_flags, seed, method, task, before), before)
                before = name
        if STUDENT in self.methods:
            yield from self._distillation(seed)
        trained = [f"seed {seed} {path.name}" for _, _, path in self.policies(seed)]
        words = partial(self._evaluation_words, seed, n_processes)
        is_done = (self.evaluation(seed) / RESULT).is_file
        yield Job(f"seed {seed} evaluation", "rl_baselines.cross_eval", words, is_done, tuple(trained))

    def _training(self, seed: int, name: str, flags: Any, *needs: str) -> Job:
        place = self._place(seed, name)

        def words() -> list[str]:
            _wait_until_free(place)
            return [*flags(), "--seed", str(seed), "--log-dir", str(place), "--auto-resume"]

        needed = tuple(f"seed {seed} {self._place(seed, need).name}" for need in needs)
        return Job(f"seed {seed} {place.name}", "rl_baselines.train", words, lambda: bool(finished_run(place)), needed)

    def _fine_tune_flags(self, seed: int, method: str, task: EvaluationTask, before: str) -> list[str]:
        weight = self.retain_coef.get(method)
        return [
            *("--load-rl-model-path", str(_run_of(self._place(seed, before)))),
            *("--config", str(self.folder / TRAINING_NAME)),
            *self.task_flags(task),
            *("--retain", method, *(["--retain-coef", str(weight)] if weight is not None else [])),
            *("--new-lr", str(self.learning_rate), "--num-timesteps", str(self.num_timesteps)),
            *("--compare-episodes", str(self.n_episodes)),
        ]

    def _distillation(self, seed: int) -> Iterator[Job]:
        recorded = []
        for task in self.tasks:
            folder = self._place(seed, f"data_{task.label}")
            name = f"seed {seed} {folder.name}"
            teacher = self._place(seed, _teacher(task))
            words = partial(self._recording_words, seed, teacher, folder, task)
            is_done = (folder / INDEX_NAME).is_file
            needs = (f"seed {seed} {teacher.name}",)
            yield Job(name, "environments.dataset_generator", words, is_done, needs)
            recorded.append((name, str(folder)))
        job = self._training(seed, "student", partial(self._student_flags, [folder for _, folder in recorded]))
        yield Job(job.name, job.module, job.arguments, job.is_done, tuple(name for name, _ in recorded))

    def _recording_words(self, seed: int, teacher: Path, folder: Path, task: EvaluationTask) -> list[str]:
        return [
            *("--run-policy", "custom", "--log-custom-policy", str(_run_of(teacher)), "--task-label", task.label),
            *("--num-episode", str(self.teacher_episodes), "--num-cpu", "1", "--seed", str(seed)),
            *("--save-path", str(folder.parent), "--name", folder.name),
        ]

    def _student_flags(self, datasets: Sequence[str]) -> list[str]:
        return [
            *("--algo", STUDENT, "--config", str(self.folder / STUDENT_NAME)),
            *self.task_flags(self.tasks[0]),
            *("--teacher-data-folder", *datasets, "--epochs-distillation", str(self.epochs)),
        ]

    def _evaluation_words(self, seed: int, n_processes: int) -> list[str]:
        runs = [f"{path.name}={_run_of(path)}" for _, _, path in self.policies(seed)]
        return [
            *("--policies", *runs, "--tasks", *(task.text for task in self.tasks)),
            *("--n-episodes", str(self.n_episodes), "--jobs", str(n_processes)),
            *("--output", str(self.evaluation(seed))),
        ]


def finished_run(place: Path) -> RunFolder | None:
    """Give the finished run of a log folder; None where there is none yet."""
    runs = [run for run in find_runs(place) if run.read_record().get("status") == "finished"]
    return runs[0] if runs else None


def _teacher(task: EvaluationTask) -> str:
    return f"teacher_{task.label}"


def _run_of(place: Path) -> Path:
    run = finished_run(place)
    assert run is not None, f"no finished run in {place}"
    return run.path


def _wait_until_free(place: Path) -> None:
    """Wait for a training that was told to end a moment ago, when what had started it was killed."""
    deadline = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < deadline and any(run.is_locked() for run in find_runs(place)):
        time.sleep(0.5)
