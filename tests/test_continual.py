"""The experiment of continual learning: what it consists of, what its figures are, and that it survives kills."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli import ROOT

from rl_baselines.continual import main
from rl_baselines.continual.experiment import METHODS, Experiment
from rl_baselines.continual.options import ContinualOptions
from rl_baselines.continual.outcome import Outcome
from rl_baselines.continual.pictures import draw_finals, draw_tables
from rl_baselines.continual.settling import settle
from rl_baselines.evaluation_tasks import parse_tasks
from rl_baselines.run_folder import lock_folder

OMNI = ("--env", "OmnirobotEnv-v0")
THREE = ("--tasks", "sc", "cc", "sqc")


def experiment(folder: Path, **changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "folder": folder,
        "env": "OmnirobotEnv-v0",
        "tasks": parse_tasks(("sc", "cc", "sqc")),
        "methods": ("none", "bc", "distillation"),
        "seeds": (0, 1),
        "configs": ("auto",),
        "learning_rate": 5e-4,
        "num_timesteps": 1000,
        "retain_coef": {"bc": 0.3},
        "n_episodes": 20,
        "teacher_episodes": 10,
        "epochs": 3,
    }
    return Experiment(**{**values, **changes})


def test_every_stage_waits_for_what_it_takes_over_from(tmp_path: Path) -> None:
    """Teachers need nothing, a fine-tune the run before, a student its data, the evaluation every policy."""
    jobs = {job.name: job for job in experiment(tmp_path, seeds=(4,)).jobs(2)}
    needs = {
        name.removeprefix("seed 4 "): [need.removeprefix("seed 4 ") for need in job.needs] for name, job in jobs.items()
    }
    assert needs == {
        "teacher_reach": [],
        "teacher_circle": [],
        "teacher_square": [],
        "none_circle": ["teacher_reach"],
        "none_square": ["none_circle"],
        "bc_circle": ["teacher_reach"],
        "bc_square": ["bc_circle"],
        "data_reach": ["teacher_reach"],
        "data_circle": ["teacher_circle"],
        "data_square": ["teacher_square"],
        "student": ["data_reach", "data_circle", "data_square"],
        "evaluation": [
            *("teacher_reach", "teacher_circle", "teacher_square"),
            *("none_circle", "none_square", "bc_circle", "bc_square", "student"),
        ],
    }
    assert not any(job.is_done() for job in jobs.values())


def test_a_training_from_scratch_is_told_its_task_and_what_all_are_told(tmp_path: Path) -> None:
    jobs = {job.name: job for job in experiment(tmp_path).jobs(2)}
    assert list(jobs["seed 1 teacher_reach"].arguments()) == [
        *("--config", "auto", str(tmp_path / "training.yaml"), "--env", "OmnirobotEnv-v0"),
        *("--env-kwargs", "task:reach", "random_target:True"),
        *("--seed", "1", "--log-dir", str(tmp_path / "seed_1" / "teacher_reach"), "--auto-resume"),
    ]


def test_the_same_settings_give_the_same_folder_however_many_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"env": "OmnirobotEnv-v0", "num_timesteps": 500}
    one, plan = settle(ContinualOptions(tasks=("sc", "cc")), given)
    five, _ = settle(ContinualOptions(tasks=("sc", "cc"), n_seeds=5), given)
    other, _ = settle(ContinualOptions(tasks=("cc", "sc")), given)
    assert one.folder == five.folder != other.folder
    assert one.folder.parent == tmp_path / "logs" / "continual" and one.folder.name.startswith("OmnirobotEnv-v0_")
    assert five.seeds == (0, 1, 2, 3, 4)
    assert one.methods == METHODS and one.configs == ("auto",) and one.learning_rate == 5e-4
    assert plan.config.environment.env_kwargs["observe_task"] is True and plan.config.vector.norm_obs is False
    assert json.loads((one.folder / "experiment.json").read_text())["training"] == {
        **{"env": "OmnirobotEnv-v0", "num_timesteps": 500, "vis": False},
        **{"env_kwargs": {"observe_task": True}, "norm_obs": False},
    }


def test_a_student_acts_in_the_environment_of_its_teachers(tmp_path: Path) -> None:
    """With what their preset says of it, their network and nothing of how they learn; its task is a flag of its own."""
    options = ContinualOptions(tasks=("button", "KukaMovingButtonGymEnv-v0"), output=str(tmp_path / "arm"))
    settle(options, {"env": "KukaButtonGymEnv-v0", "policy_kwargs": {"net_arch": [16]}})
    student = yaml.safe_load((tmp_path / "arm" / "student.yaml").read_text())
    assert student["env_kwargs"] == {"is_discrete": False, "force_down": False, "action_repeat": 4}
    assert student["policy_kwargs"] == {"net_arch": [16]} and student["srl_model"] == "ground_truth"
    assert not {"hyperparam", "num_timesteps", "n_envs"} & student.keys()


def scores_of(folder: Path, seed: int, rewards: np.ndarray, random: np.ndarray) -> None:
    """Write an evaluation as the command leaves it: two episodes each, around the given means."""
    target = experiment(folder).evaluation(seed)
    target.mkdir(parents=True)
    both = np.stack([rewards - 1, rewards + 1], axis=2)
    np.savez(target / "cross_eval.npz", rewards=both, random_rewards=np.stack([random - 1, random + 1], axis=1))


def test_figures_by_hand(tmp_path: Path) -> None:
    """Random actions give 0 and the teachers 10 on every task; a method's numbers are then tenths of its rewards."""
    teachers = np.full((3, 3), 2.0) + 8 * np.eye(3)
    for seed, shift in ((0, -1.0), (1, 1.0)):
        naive = np.array([[4.0 + shift, 9.0, 1.0], [0.0, 5.0 + shift, 9.0]])  # after circle, after square
        held = np.array([[9.0, 8.0, 2.0], [8.0 + shift, 8.0, 6.0]])
        student = np.array([[10.0, 9.0 + shift, 10.0]])
        scores_of(tmp_path, seed, np.concatenate([teachers, naive, held, student]), np.zeros(3))
    found = Outcome.read(experiment(tmp_path))
    assert {method: table.shape for method, table in found.rewards.items()} == {
        **dict.fromkeys(("teachers", "none", "bc"), (3, 3, 2)),
        "distillation": (1, 3, 2),
    }
    np.testing.assert_allclose(found.final("teachers"), 1.0)
    np.testing.assert_allclose(found.final("none"), [[0, 0], [0.4, 0.6], [0.9, 0.9]])
    np.testing.assert_allclose(found.final("distillation"), [[1, 1], [0.8, 1.0], [1, 1]])
    figures = found.figures("none")
    # Forgotten: reach 1.0 - 0.0, circle 0.9 - (0.4, 0.6). The change since learnt is the same with the other sign.
    assert figures["average"].mean == pytest.approx((0.5 + 0.9 + 0) / 3)
    assert figures["forgetting"].mean == pytest.approx((1.0 + 0.4) / 2)
    assert figures["backward_transfer"].mean == pytest.approx(-0.7)
    # Before it was learnt circle had 0.2, square 0.1; random actions have 0.
    assert figures["forward_transfer"].mean == pytest.approx((0.2 + 0.1) / 2)
    half = 12.706204736 * np.std([0.65, 0.75], ddof=1) / np.sqrt(2)
    assert figures["forgetting"].high == pytest.approx(0.7 + half)
    assert set(found.figures("distillation")) == {"average"}
    assert found.figures("distillation")["average"].mean == pytest.approx((1 + 0.9 + 1) / 3)
    table = found.table().decode().splitlines()
    assert table[0] == "method,after,task,seed,mean_reward,score"
    assert "none,circle,reach,0,3.0,0.3" in table and "distillation,all,circle,1,10.0,1.0" in table
    assert found.to_json()["methods"]["none"]["final"]["circle"]["reward"]["mean"] == 5.0


def test_pictures_name_methods_and_tasks(tmp_path: Path) -> None:
    for seed in (0, 1):
        scores_of(tmp_path, seed, np.random.default_rng(seed).uniform(0, 10, (8, 3)) + 5, np.zeros(3))
    outcome = Outcome.read(experiment(tmp_path))
    tables, finals = draw_tables(outcome), draw_finals(outcome)
    shown = [axes for axes in tables.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == ["teachers", "naive fine-tuning", "--retain bc", "distillation"]
    assert [label.get_text() for label in shown[1].get_yticklabels()] == ["after reach", "after circle", "after square"]
    assert len(shown[3].texts) == 3
    legend = finals.axes[0].get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["reach", "circle", "square"]
    for figure in (tables, finals):
        figure.savefig(io.BytesIO(), format="png")


BAD = [
    ((*OMNI, "--tasks", "sc"), "--tasks names the tasks in their order, at least two; got 1, such as sc cc sqc"),
    ((*OMNI, "--tasks", "sc", "circel"), "unknown task 'circel'; did you mean 'circle'?"),
    ((*OMNI, *THREE, "-cc"), "tasks are named by --tasks, such as sc cc sqc, not by flags of their own"),
    ((*OMNI, *THREE, "--env-kwargs", "task:circle"), "task is named by --tasks, not for all of them at once"),
    (
        (*OMNI, *THREE, "-r"),
        "random_target is said of each task in --tasks, as in reach,random_target:VALUE, not for all of them at once",
    ),
    ((*OMNI, *THREE, "--methods", "ewcc"), "unknown method 'ewcc'; did you mean 'ewc'?"),
    ((*OMNI, *THREE, "--retain-coef", "naive:1"), "unknown --retain-coef 'naive'; known: bc, ewc, kl, l2sp, replay"),
    (
        (*OMNI, *THREE, "--num-stack", "2"),
        "a student learns from single observations: leave --num-stack out, or name other --methods",
    ),
    ((*OMNI, *THREE, "--n-seeds", "0"), "--n-seeds must be at least 1, got 0"),
    ((*OMNI, *THREE, "--new-lr", "-1"), "--new-lr must be a positive number, got -1.0"),
    (
        (*OMNI, *THREE, "--algo", "random_agent"),
        "random_agent has no learning rate, so it cannot learn one task after another",
    ),
    (
        (*OMNI, "--tasks", "sc", "esc", "--env-kwargs", "observe_task:false"),
        "no policy of reach can act in escape: it observes 2 numbers, and the task gives 4 numbers",
    ),
    (("--env", "MobileRobotGymEnv-v0", *THREE), "unknown MobileRobotGymEnv-v0 task 'circle'; known: reach"),
    (
        (*OMNI, *THREE, "--algo", "trpo", "--methods", "bc"),
        "trpo has no retention of kind bc; algorithms that have it: ",
    ),
]


@pytest.mark.parametrize(("flags", "message"), BAD)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    flags: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(list(flags)) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_experiment_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settle(ContinualOptions(tasks=("sc", "cc"), output=str(tmp_path / "a")), {"env": "OmnirobotEnv-v0"})
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert main([*OMNI, "--tasks", "sc", "cc", "--epochs-distillation", "3", "--output", str(tmp_path / "a")]) == 2
    assert "its epochs is 30, asked for is 3; name another --output" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").touch()
    assert main([*OMNI, "--tasks", "sc", "cc", "--output", str(tmp_path / "b")]) == 2
    assert "is there and holds no experiment; name a new or an empty folder" in capsys.readouterr().err


def test_two_processes_do_not_work_on_one_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "experiment"
    settle(ContinualOptions(tasks=("sc", "cc"), output=str(folder)), {"env": "OmnirobotEnv-v0"})
    with closing(lock_folder(folder)):
        assert main([*OMNI, "--tasks", "sc", "cc", "--output", str(folder)]) == 2
    assert f"{folder} is in use by process {os.getpid()}: wait for it, or stop it first" in capsys.readouterr().err


TINY = (
    *(*OMNI, "--tasks", "sc", "cc", "--methods", "none", "bc", "distillation", "--n-seeds", "1", "-n", "2"),
    *("--config", "omnirobot_ppo", "--num-timesteps", "1024", "--env-kwargs", "max_steps:30", "--eval-freq", "0"),
    *("--best-by", "train", "--min-episodes-save", "1", "--save-interval", "256", "--teacher-episodes", "4"),
    *("--epochs-distillation", "2"),
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_experiment_ends_with_the_same_numbers(tmp_path: Path) -> None:
    """Killed twice as a real process, without a chance to clean up, it goes on by the same command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(folder: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "rl_baselines.continual", *TINY, "--output", str(tmp_path / folder)]
        with open(tmp_path / f"{folder}.txt", "w") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.PIPE)

    whole = start("whole")
    _, error = whole.communicate(timeout=600)
    assert whole.returncode == 0, error.decode()
    said = " ".join((tmp_path / "whole.txt").read_text().replace("│", "").split())
    assert "coefficients bc 0.1 seeds 0 " in said and "fine-tunes 0.0005, linear" in said
    for done in ("seed_0/teacher_circle/*/*/*/*/checkpoints/*", "seed_0/bc_circle/*/*/*/*/checkpoints/*"):
        process = start("killed")
        deadline = time.monotonic() + 300
        while not list((tmp_path / "killed").glob(done)) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start("killed")
    _, error = last.communicate(timeout=600)
    assert last.returncode == 0, error.decode()
    assert (tmp_path / "killed" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()
    result = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert list(result["methods"]) == ["teachers", "none", "bc", "distillation"]
