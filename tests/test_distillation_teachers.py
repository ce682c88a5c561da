"""A student that acts itself, and trained runs that tell it what they would do, each one in its own task."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import TINY, Finished, Run, call, call_train, table_row
from resuming import assert_same, resume, train_killed, train_whole

from rl_baselines.distillation.practice import environments_of, find_teachers
from rl_baselines.distillation.run_teachers import RunTeachers
from rl_baselines.enjoy import main as enjoy
from rl_baselines.lineage import main as lineage
from rl_baselines.retention.policy_outputs import action_parameters, policy_input, state_values
from rl_baselines.train import main as train
from rl_baselines.train import plan_from

QUIET = ("--no-vis", "--memory-states", 0, "--eval-episodes", 1)
OMNI = ("--env", "OmnirobotEnv-v0", "--env-kwargs", "observe_task:true", "max_steps:20")
ROLLOUT = ("--n-envs", 2, "--hyperparam", "n_steps:16")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """One that follows the circle, and one that reaches random targets."""
    flags = (*OMNI, *ROLLOUT, *TINY, *QUIET, "--eval-freq", 0, "--num-timesteps", 64)
    circle, _ = call_train(*flags, "-cc", "--seed", 1, log_dir=tmp_path_factory.mktemp("circle"))
    reach, _ = call_train(*flags, "-sc", "--seed", 2, log_dir=tmp_path_factory.mktemp("reach"))
    return circle, reach


@pytest.fixture(scope="module")
def student(teachers: tuple[Run, Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Finished]:
    return call_train(*practice(*teachers), log_dir=tmp_path_factory.mktemp("student"))


def practice(*teachers: Run) -> tuple[Any, ...]:
    """Flags of a student that acts in the environments of its teachers."""
    flags = ("--algo", "distillation", *OMNI, "-cc", *ROLLOUT, *TINY, *QUIET, "--seed", 3, "--num-timesteps", 96)
    records = ("--save-interval", 32, "--keep-checkpoints", 0, "--eval-freq", 64, "--min-episodes-save", 1)
    return (*flags, *records, "--teachers", *(teacher.path for teacher in teachers))


def refused(*flags: object) -> str:
    done = call(train, *flags, "--no-vis")
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    return done.err.removeprefix("error: ").strip()


def test_environments_are_dealt_out_to_the_tasks_of_the_teachers(teachers: tuple[Run, Run]) -> None:
    """The run's own task is done as it is set here, the other one as its teacher was trained."""
    given = {"algo": "distillation", "env": "OmnirobotEnv-v0", "teachers": tuple(str(run.path) for run in teachers)}
    plan, _ = plan_from({**given, "env_kwargs": {"observe_task": True, "task": "circle", "max_steps": 30}})
    circle, reach = environments_of(plan.config)
    common = {"observe_task": True, "max_steps": 30, "observation": "ground_truth"}
    assert circle == {**common, "task": "circle"}
    assert reach == {**common, "task": "reach", "random_target": True}
    assert plan.config.vector.n_envs == 8 and plan.config.evaluation.best_by == "train"
    assert plan.config.algorithm.hyperparam["n_steps"] == 128 and plan.config.algorithm.hyperparam["n_epochs"] == 4


def test_every_state_is_taught_by_the_teacher_of_its_task(teachers: tuple[Run, Run]) -> None:
    """Environments 0 and 2 do the first task, 1 and 3 the second; each teacher sees through its own statistics."""
    given = {"algo": "distillation", "env": "OmnirobotEnv-v0", "teachers": tuple(str(run.path) for run in teachers)}
    plan, _ = plan_from({**given, "env_kwargs": {"observe_task": True, "task": "circle"}})
    found = find_teachers(plan.config)
    assert [teacher.task for teacher in found] == ["circle", "reach"]
    models = [load(teacher) for teacher in found]
    observations = np.random.default_rng(0).normal(size=(3, 4, 10)).astype(np.float32)
    kind = _kind(models[0])
    lessons = RunTeachers(models, ("circle", "reach"), kind).lessons(observations)
    assert lessons.tasks.tolist() == [0] * 6 + [1] * 6
    for index, model in enumerate(models):
        states = observations[:, [index, index + 2]].reshape(6, 10)
        rows = lessons.tasks == index
        assert lessons.observations[rows].tolist() == states.tolist()
        inputs = policy_input(model.policy, states, model.get_vec_normalize_env())
        with torch.no_grad():
            expected = action_parameters(model.policy, inputs)["logits"].numpy()
            values = state_values(model.policy, inputs).numpy()
        assert np.allclose(lessons.targets["logits"][rows], expected, atol=1e-6)
        assert np.allclose(lessons.values[rows], values, atol=1e-5)


def load(teacher: Any) -> Any:
    """The model of a teacher, without a check against a student."""
    from rl_baselines.model_building import load_to_act
    from rl_baselines.transfer.inheritance import inherited_layer

    model, env = load_to_act(teacher.source, [inherited_layer(teacher.source, {})[0]], 1)
    env.close()
    return model


def _kind(model: Any) -> Any:
    from rl_baselines.distillation.targets import target_of
    from rl_baselines.retention.policy_outputs import output_kind

    kind = output_kind(model.policy)
    assert kind is not None
    return target_of(kind, model.action_space)


def test_a_student_that_acts_is_a_run_like_others(student: tuple[Run, Finished], teachers: tuple[Run, Run]) -> None:
    run, done = student
    assert run.record["timesteps"] == 96 and run.record["episodes"] > 0
    assert len(run.rewards) == 2 and all(run.rewards)
    rows = [row for row in run.progress if row["distillation/agreement"]]
    assert [row["time/total_timesteps"] for row in rows] == ["32", "64", "96"]
    for row in rows:
        shares = [float(row[f"distillation/agreement/{task}"]) for task in ("circle", "reach")]
        assert float(row["distillation/agreement"]) == pytest.approx(sum(shares) / 2)
    told = table_row(done.out, "teachers")
    assert told == "; ".join(f"{task}: {one.id}" for task, one in zip(("circle", "reach"), teachers, strict=True))
    assert run.record["best"]["by"] == "train"
    assert json.loads(call(enjoy, run.path, "-n", 1, "--json").out)["n_episodes"] == 1


def test_teachers_know_their_students(student: tuple[Run, Finished], teachers: tuple[Run, Run]) -> None:
    """The student names its teachers, and is shown among what came of each."""
    run, _ = student
    out = call(lineage, run.path).out
    for task, teacher in zip(("circle", "reach"), teachers, strict=True):
        assert f"taught {task} by {teacher.id}" in out
        assert (teacher.checkpoint("last") / "children.txt").read_text().split() == [run.id]


def test_stopped_and_resumed_it_is_the_same_to_the_last_bit(student: tuple[Run, Finished], tmp_path: Path) -> None:
    whole, _ = student
    copy = Run(tmp_path / Path(whole.id))
    shutil.copytree(whole.path, copy.path, symlinks=True)
    done = call(train, "--resume", f"{copy.path}@step:32", "--no-vis")
    assert (done.code, done.err) == (0, ""), done
    assert "From step 32: exact" in done.out
    assert_same(copy, whole)


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    """Killed in the middle of a rollout; its teacher is loaded again."""
    walk = ("--env", "Walk-v0", "--gym-packages", "toy_envs", "killer", *TINY, *QUIET, *ROLLOUT)
    teacher, _ = call_train(*walk, "--num-timesteps", 320, "--eval-freq", 0, log_dir=tmp_path / "teacher")
    flags = (*walk, "--algo", "distillation", "--teachers", teacher.path, "--num-timesteps", 256, "--eval-freq", 64)
    flags = (*flags, "--save-interval", 64, "--min-episodes-save", 1, "--keep-checkpoints", 0)
    whole = train_whole(flags, tmp_path / "whole")
    killed = train_killed(flags, tmp_path / "killed", 180)
    assert 0 < killed.resumable_steps[-1] < 256
    assert ": exact" in resume(killed, "--no-vis", folder=tmp_path).out
    assert_same(killed, whole)


def test_one_teacher_teaches_its_own_task(teachers: tuple[Run, Run]) -> None:
    circle, reach = teachers
    flags = ("--algo", "distillation", *OMNI)
    assert refused(*flags, "-ec", "--teachers", circle.path) == (
        "no teacher does eight, the task of the environment; name one of theirs by --env-kwargs task:NAME: circle"
    )
    assert refused(*flags, "-cc", "--teachers", circle.path, f"{circle.path}@last").endswith(
        "both do the task circle; name one of them"
    )
    assert refused(*flags, "-cc", "--n-envs", 3, "--teachers", circle.path, reach.path) == (
        "3 environments do not deal out to the tasks of 2 teachers; give --n-envs a multiple of 2"
    )


def test_what_makes_no_sense_is_refused(teachers: tuple[Run, Run], tmp_path: Path) -> None:
    circle, _ = teachers
    flags = ("--algo", "distillation", *OMNI, "-cc", "--teachers", circle.path, "--log-dir", tmp_path / "logs")
    assert refused(*flags, "--epochs-distillation", 3) == (
        "--epochs-distillation is of distillation from datasets (--teacher-data-folder); with --teachers, "
        "--num-timesteps sets the length"
    )
    assert refused(*flags, "--best-by", "validation").startswith("--best-by validation needs episodes kept apart")
    other = ("--algo", "distillation", "--env", "MobileRobotGymEnv-v0", "--teachers", circle.path)
    assert refused(*other).endswith(
        "was trained in OmnirobotEnv-v0, the student acts in MobileRobotGymEnv-v0; give --env OmnirobotEnv-v0"
    )
    alone = ("--algo", "distillation", "--env", "OmnirobotEnv-v0", "-cc", "--teachers", circle.path)
    assert "the observations of" in refused(*alone, "--log-dir", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_a_student_that_acts_comes_to_agree_with_its_teacher(tmp_path: Path) -> None:
    """In more than 97 of 100 states that it comes to itself, from about half."""
    flags = ("--env", "CartPole-v1", "--num-timesteps", 30_000, "--hyperparam", "ent_coef:0", "learning_rate:0.001")
    teacher, _ = call_train(*flags, *QUIET, "--eval-freq", 0, log_dir=tmp_path / "teacher")
    flags = ("--algo", "distillation", "--env", "CartPole-v1", "--num-timesteps", 30_000, "--eval-freq", 0)
    run, _ = call_train(*flags, *QUIET, "--teachers", teacher.path, log_dir=tmp_path / "student")
    shares = [float(row["distillation/agreement"]) for row in run.progress if row["distillation/agreement"]]
    assert shares[0] < 0.8 and np.mean(shares[-5:]) > 0.97
