"""Distillation from datasets as a user runs it: the student is a run like any other."""

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import Finished, Run, call, call_train, newest, start, table_row, zip_tensors
from resuming import assert_same, resume
from stable_baselines3 import PPO
from teaching import TOYS, WALK_HOME, change_index, fleeing, homing, record, steering

from rl_baselines.enjoy import main as enjoy
from rl_baselines.inspect import main as inspect
from rl_baselines.lineage import main as lineage
from rl_baselines.model_building import load_to_act
from rl_baselines.retention.policy_outputs import action_parameters, policy_input, state_values
from rl_baselines.sources import resolve
from rl_baselines.train import main as train
from rl_baselines.transfer.inheritance import inherited_layer

QUIET = ("--no-vis", "--eval-episodes", 2, "--memory-states", 0)
SHORT = ("--algo", "distillation", *WALK_HOME, *QUIET, "--epochs-distillation", 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets: ``home`` with 20 episodes of the walk, 160 states to learn from; ``away`` with 5, 40 states."""
    path = tmp_path_factory.mktemp("datasets")
    record(path / "home", homing, n_episodes=20, task="home")
    record(path / "away", fleeing, n_episodes=5, task="away")
    return path


@pytest.fixture(scope="module")
def student(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Finished]:
    flags = (*SHORT, "--save-interval", 100, "--keep-checkpoints", 0, "--eval-freq", 200)
    lessons = ("--hyperparam", "batch_size:2", "--teacher-data-folder", data / "home", data / "away")
    return call_train(*flags, *lessons, log_dir=tmp_path_factory.mktemp("logs"))


def refused(*flags: object) -> str:
    """The one line with which a training is refused."""
    done = call(train, *flags, "--no-vis")
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    return done.err.removeprefix("error: ").strip()


def epochs(run: Run) -> list[dict[str, str]]:
    """The rows that an epoch ended with; the last evaluation has one of its own."""
    return [row for row in run.progress if row["distillation/epoch"]]


def test_the_length_is_in_states(student: tuple[Run, Finished]) -> None:
    run, done = student
    assert run.settings["num_timesteps"] == run.record["timesteps"] == run.record["steps_planned"] == 600
    assert table_row(done.out, "timesteps") == "600 states = 3 epochs of 200"
    assert table_row(done.out, "states") == "away 40 (and 10 kept apart), home 160 (and 40 kept apart)"
    assert table_row(done.out, "environments") == "none is acted in but to evaluate"
    assert run.settings["epochs_distillation"] == 3 and run.record["episodes"] == 0


def test_every_epoch_is_recorded(student: tuple[Run, Finished]) -> None:
    run, _ = student
    rows = epochs(run)
    assert [row["time/total_timesteps"] for row in rows] == ["200", "400", "600"]
    assert [row["distillation/epoch"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        told = {name.removeprefix("distillation/"): float(row[name]) for name in row if name.startswith("distillation")}
        assert told["agreement"] == pytest.approx((told["agreement/home"] + told["agreement/away"]) / 2)
        assert told["loss"] == pytest.approx(told["policy_loss"] + 0.5 * told["value_loss"])
        assert row["train/learning_rate"] == "0.001"
    assert [row["timesteps"] for row in run.evaluations] == ["200", "400", "600"]


def test_the_best_model_is_that_of_the_lowest_loss_in_the_episodes_kept_apart(student: tuple[Run, Finished]) -> None:
    run, done = student
    losses = {int(row["time/total_timesteps"]): float(row["distillation/validation_loss"]) for row in epochs(run)}
    best = min(losses, key=lambda step: losses[step])
    assert run.checkpoint("best").name == f"{best:09d}"
    assert run.manifest("best")["score"] == {"best_by": "validation", "validation_loss": losses[best]}
    assert run.record["best"] == {"timesteps": best, "validation_loss": losses[best], "by": "validation"}
    assert table_row(done.out, "best model by").startswith("loss in the episodes kept apart")
    assert table_row(done.out, "best model") == f"validation loss {losses[best]:.3g} at step {best:,} (by validation)"


def test_observations_are_normalized_by_what_is_learnt_from(student: tuple[Run, Finished]) -> None:
    """The statistics are those of the states of an epoch, at the first checkpoint and at the last."""
    run, _ = student
    first, last = (
        json.loads((run.checkpoint(step) / "vecnormalize.json").read_text())["observations"] for step in (200, 600)
    )
    assert first == last and last["count"] == 200
    steps = np.tile(np.arange(10), 20)  # the second element of an observation counts the steps of an episode
    assert last["mean"][1] == pytest.approx(steps.mean()) and last["var"][1] == pytest.approx(steps.var())


def test_teachers_are_in_the_record(student: tuple[Run, Finished], data: Path) -> None:
    run, _ = student
    first, second = run.record["schooling"]["teachers"]
    assert (first["task"], first["dataset"], first["n_episodes"]) == ("home", str(data / "home"), 20)
    assert (second["task"], second["n_episodes"]) == ("away", 5)
    shown = call(lineage, run.path)
    assert "taught home by Walk-v0/native/ppo/26-01-01_00h00_00" in shown.out
    assert "by validation" in shown.out


def test_it_is_a_plain_zip_that_ppo_reads(student: tuple[Run, Finished]) -> None:
    run, _ = student
    model = PPO.load(run.checkpoint("last") / "model.zip", device="cpu")
    own = zip_tensors(run.checkpoint("last") / "model.zip")
    for name, tensor in model.policy.state_dict().items():
        assert tensor.equal(own[f"policy/{name}"])


def test_it_can_be_watched_and_inspected(student: tuple[Run, Finished]) -> None:
    run, _ = student
    watched = call(enjoy, run.path, "-n", 2, "--json")
    assert (watched.code, watched.err) == (0, "")
    assert math.isfinite(json.loads(watched.out)["mean_reward"])
    shown = call(inspect, run.path, "--json")
    assert json.loads(shown.out)["algorithm"] == "distillation"


def test_it_is_fine_tuned_by_ppo(student: tuple[Run, Finished], tmp_path: Path) -> None:
    """Parameters and statistics are the student's; optimiser, hyperparameters and lengths are PPO's own."""
    run, _ = student
    flags = ("--num-timesteps", 64, "--hyperparam", "n_steps:8", "--compare-episodes", 2, "--new-lr", "0.0000001")
    child, done = call_train("--load-rl-model-path", f"{run.path}@last", *flags, *QUIET, log_dir=tmp_path)
    assert child.path.parent.name == child.settings["algo"] == "ppo"
    assert child.settings["n_envs"] == 8 and child.settings["teacher_data_folder"] == []
    assert child.settings["hyperparam"]["gae_lambda"] == 0.95 and child.settings["best_by"] == "train"
    assert table_row(done.out, "optimizer", 2) == "its moments are of the loss of distillation"
    assert table_row(done.out, "critic") == "loaded"
    ours, theirs = child.tensors(), run.tensors()
    for name in theirs:
        if name.startswith("policy/"):
            assert ours[name].allclose(theirs[name], atol=1e-5)
    assert "changed: algo distillation -> ppo" in call(lineage, child.path, "--log-dir", tmp_path).out


def test_a_student_agrees_with_its_teacher_on_states_that_it_was_not_taught(tmp_path: Path) -> None:
    """In more than 99 of 100 states of the episodes kept apart, where equal actions are a third by chance."""
    record(tmp_path / "data", homing, n_episodes=200)
    flags = ("--algo", "distillation", *WALK_HOME, *QUIET, "--eval-freq", 0, "--save-interval", 100_000)
    more = ("--epochs-distillation", 8, "--hyperparam", "learning_rate:0.02", "batch_size:64", "--lr-decay", "linear")
    run, _ = call_train(*flags, *more, "--teacher-data-folder", tmp_path / "data", log_dir=tmp_path / "logs")
    assert float(epochs(run)[-1]["distillation/agreement"]) > 0.99


@pytest.mark.slow
def test_a_student_of_a_trained_run_does_as_it_does(tmp_path: Path) -> None:
    """It agrees in more than 99 of 100 states of episodes kept apart, and balances the pole as long; it is smaller."""
    flags = ("--env", "CartPole-v1", "--num-timesteps", 50_000, "--hyperparam", "ent_coef:0", "learning_rate:0.001")
    teacher, _ = call_train(*flags, *QUIET, "--eval-freq", 0, log_dir=tmp_path / "teacher")
    source = resolve(str(teacher.path), tmp_path)
    model, env = load_to_act(source, [inherited_layer(source, {})[0]], 1)

    def told(observation: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            inputs = policy_input(model.policy, observation[None], model.get_vec_normalize_env())
            parameters = {name: part.numpy()[0] for name, part in action_parameters(model.policy, inputs).items()}
            return {**parameters, "values": state_values(model.policy, inputs).numpy()[0]}

    record(tmp_path / "data", told, "CartPole-v1", n_episodes=60, n_steps=500, drawn=True)
    env.close()
    flags = ("--algo", "distillation", "--env", "CartPole-v1", *QUIET, "--policy-kwargs", "net_arch:[32]")
    more = ("--epochs-distillation", 15, "--lr-decay", "linear", "--eval-episodes", 20)
    run, _ = call_train(*flags, *more, "--teacher-data-folder", tmp_path / "data", log_dir=tmp_path / "student")
    assert float(epochs(run)[-1]["distillation/agreement"]) > 0.99
    scores = [json.loads(call(enjoy, one.path, "-n", 20, "--json").out)["mean_reward"] for one in (teacher, run)]
    assert scores[1] > 0.9 * scores[0] > 100


@pytest.mark.slow
def test_a_critic_that_has_learnt_nothing_is_not_loaded(data: Path, tmp_path: Path) -> None:
    run, _ = call_train(*SHORT, "--teacher-data-folder", data / "away", log_dir=tmp_path / "student")
    flags = ("--num-timesteps", 64, "--hyperparam", "n_steps:8", "--compare-episodes", 0, "--new-lr", "0.0001")
    _, done = call_train("--load-rl-model-path", run.path, *flags, *QUIET, log_dir=tmp_path / "child")
    assert table_row(done.out, "critic", 2) == "the student has learnt no values"


@pytest.mark.slow
def test_it_can_be_taught_again(student: tuple[Run, Finished], data: Path, tmp_path: Path) -> None:
    """With --algo distillation and data; its own lessons, hyperparameters and length are not taken over."""
    run, _ = student
    flags = ("--algo", "distillation", "--teacher-data-folder", data / "away", "--epochs-distillation", 2)
    more = ("--new-lr", "0.00000001", "--compare-episodes", 0, *QUIET)
    child, _ = call_train("--load-rl-model-path", f"{run.path}@last", *flags, *more, log_dir=tmp_path)
    assert (child.settings["algo"], child.settings["num_timesteps"]) == ("distillation", 80)
    ours, theirs = child.tensors(), run.tensors()
    assert all(ours[name].allclose(theirs[name], atol=1e-5) for name in theirs if name.startswith("policy/"))


def test_another_algorithm_cannot_go_on_with_it(student: tuple[Run, Finished]) -> None:
    message = refused("--load-rl-model-path", student[0].path, "--algo", "a2c")
    assert "is a model of distillation, --algo a2c cannot continue it; leave --algo out" in message


def test_stopped_and_resumed_it_is_the_same_to_the_last_bit(
    student: tuple[Run, Finished], data: Path, tmp_path: Path
) -> None:
    """From a checkpoint within an epoch: minibatches follow from the seed and the epoch."""
    whole, _ = student
    copy = Run(tmp_path / Path(whole.id))
    shutil.copytree(whole.path, copy.path, symlinks=True)
    assert copy.resumable_steps == [128, 200, 328, 400, 528, 600]
    done = call(train, "--resume", f"{copy.path}@step:{copy.resumable_steps[0]}", "--no-vis")
    assert (done.code, done.err) == (0, ""), done
    assert f"From step {copy.resumable_steps[0]:,}: exact" in done.out
    assert_same(copy, whole)


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_to_the_last_bit(data: Path, tmp_path: Path) -> None:
    """Wherever the kill comes: only the checkpoint it leaves is gone on from."""
    flags = (*SHORT, "--epochs-distillation", 40, "--save-interval", 500, "--keep-checkpoints", 0, "--eval-freq", 2000)
    flags = (*flags, "--hyperparam", "batch_size:2")
    flags = (*flags, "--teacher-data-folder", data / "home", data / "away")
    whole, _ = call_train(*flags, log_dir=tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    process = start("rl_baselines.train", *flags, "--log-dir", tmp_path / "killed", out=tmp_path / "out")
    while not list((tmp_path / "killed").glob("*/*/*/*/checkpoints/0000025*")):
        assert process.poll() is None, (tmp_path / "out").read_text()
        time.sleep(0.01)
    process.kill()
    process.wait()
    killed = newest(tmp_path / "killed")
    assert killed.record["status"] == "running" and killed.resumable_steps[-1] < 8_000
    out = resume(killed, "--no-vis", folder=tmp_path).out
    assert ": exact" in out
    assert_same(killed, whole)


def test_data_that_has_changed_is_not_gone_on_with(student: tuple[Run, Finished], data: Path, tmp_path: Path) -> None:
    moved = tmp_path / "data"
    shutil.copytree(data / "away", moved)
    run, _ = call_train(*SHORT, "--teacher-data-folder", moved, log_dir=tmp_path / "logs")
    files = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"}
    go_on = ("--resume", run.path, "--num-timesteps", 240)
    shutil.rmtree(moved)
    assert refused(*go_on) == f"--teacher-data-folder: there is no dataset at {moved}"
    record(moved, fleeing, n_episodes=6, task="away")
    assert refused(*go_on) == (
        f"the datasets are not those that the run has learnt from so far: the content of {moved} has changed; put it "
        "back, or begin a new run"
    )
    assert {path: path.read_bytes() for path in files} == files
    shutil.rmtree(moved)
    shutil.copytree(data / "away", moved)
    assert refused("--resume", run.path, "--num-timesteps", 230) == (
        "--num-timesteps 230: a distillation goes on for whole epochs, of 40 states; give 240 or 200"
    )
    assert call(train, *go_on, "--no-vis").code == 0
    assert run.record["timesteps"] == 240


@pytest.mark.slow
def test_a_gaussian_student(tmp_path: Path) -> None:
    """It gets nearer to a continuous teacher: its standard deviation falls to that of the teacher, 0.37."""
    record(tmp_path / "data", steering, "Pendulum-v1", n_episodes=6, n_steps=100)
    flags = ("--algo", "distillation", "--env", "Pendulum-v1", *QUIET, "--hyperparam", "learning_rate:0.01")
    more = ("--epochs-distillation", 25, "--eval-freq", 0, "--policy-kwargs", "net_arch:[16]")
    run, done = call_train(*flags, *more, "--teacher-data-folder", tmp_path / "data", log_dir=tmp_path / "logs")
    gaps = [float(row["distillation/action_gap"]) for row in epochs(run)]
    assert gaps[-1] < 0.5 * gaps[0]
    assert run.tensors("last")["policy/log_std"].item() == pytest.approx(-1, abs=0.2)
    assert table_row(done.out, "loss").startswith("KL(teacher's Gaussian || student's)")


@pytest.mark.slow
def test_a_student_of_squashed_actions(tmp_path: Path) -> None:
    """It comes nearer to the likeliest actions; its standard deviation is not learnt and stays 1."""
    data = record(tmp_path / "data", steering, "Pendulum-v1", n_episodes=6, n_steps=100)
    change_index(data, teacher={"name": "squashed_gaussian", "sizes": []})
    flags = ("--algo", "distillation", "--env", "Pendulum-v1", *QUIET, "--hyperparam", "learning_rate:0.01")
    more = ("--epochs-distillation", 10, "--eval-freq", 0, "--policy-kwargs", "net_arch:[16]")
    run, done = call_train(*flags, *more, "--teacher-data-folder", tmp_path / "data", log_dir=tmp_path / "logs")
    gaps = [float(row["distillation/action_gap"]) for row in epochs(run)]
    assert gaps[-1] < 0.5 * gaps[0]
    assert run.tensors("last")["policy/log_std"].item() == 0
    assert table_row(done.out, "loss").startswith("squared distance to the teacher's action")


@pytest.mark.slow
def test_pictures(tmp_path: Path) -> None:
    """Pictures are learnt from as they are: bytes, with channels last in the dataset."""

    def looking(observation: np.ndarray) -> dict[str, np.ndarray]:
        place = float(observation[0, :, 0].argmax())
        return {"logits": np.array([place - 18, 0.5, 18 - place], np.float32)}

    record(tmp_path / "data", looking, "PictureWalk-v0", n_episodes=6)
    flags = ("--algo", "distillation", "--env", "PictureWalk-v0", *TOYS, *QUIET, "--epochs-distillation", 2)
    run, _ = call_train(*flags, "--torch-threads", 1, "--teacher-data-folder", tmp_path / "data", log_dir=tmp_path)
    assert run.settings["policy"] == "CnnPolicy" and not run.settings["norm_obs"]
    losses = [float(row["distillation/loss"]) for row in epochs(run)]
    assert losses[1] < losses[0]
    assert call(enjoy, run.path, "-n", 1).code == 0


def test_observations_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    """Of the same shape, but with elements of other names."""

    def idle(observation: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": np.zeros(4, np.float32)}

    names = ("a", "b")
    record(tmp_path / "data", idle, "OmnirobotEnv-v0", n_episodes=2, n_steps=2, feature_names=names)
    flags = ("--algo", "distillation", "--env", "OmnirobotEnv-v0", "--teacher-data-folder", tmp_path / "data")
    assert refused(*flags, "--log-dir", tmp_path / "logs").startswith(
        f"the observations of {tmp_path}/data (OmnirobotEnv-v0) mean something else than those of OmnirobotEnv-v0 "
        "here: a stands where this one has robot_from_target_x"
    )


HOME: tuple[Any, ...] = ("--algo", "distillation", *WALK_HOME, "--teacher-data-folder", "home")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (HOME[:-2], "distillation needs something to learn from: --teacher-data-folder DIR, or --teachers RUN"),
        ((*HOME, "--teachers", "x"), "--teacher-data-folder and --teachers exclude each other; give one of them"),
        ((*HOME[:-1], "nothing"), "--teacher-data-folder: there is no dataset at {data}/nothing"),
        (
            (*HOME, "--num-timesteps", 100),
            "the length of a distillation is set by --epochs-distillation, here 30 epochs of 160 states: leave out "
            "--num-timesteps",
        ),
        (
            (*HOME, "--new-lr", "0.1"),
            "--new-lr is the rate of a fine-tune (--load-rl-model-path); a run from scratch takes --hyperparam "
            "learning_rate:0.1",
        ),
        (
            (*WALK_HOME, "--teacher-data-folder", "home"),
            "--teacher-data-folder is of --algo distillation, this run is of ppo",
        ),
        (
            (*WALK_HOME, "--epochs-distillation", 3),
            "--epochs-distillation is of --algo distillation, this run is of ppo",
        ),
        (
            (*WALK_HOME, "--best-by", "validation"),
            "--best-by validation is of --algo distillation, ppo keeps no episodes apart",
        ),
        (
            (*HOME, "--best-by", "train"),
            "--best-by train does not go with distillation from datasets, which has no training episodes; take "
            "validation or eval",
        ),
        (
            (*HOME, "--hyperparam", "n_steps:8"),
            "hyperparameter n_steps is of a student that acts (--teachers); this one learns from datasets, and "
            "--epochs-distillation sets how long",
        ),
        (
            (*HOME, "--n-envs", 2),
            "distillation from datasets acts in no environments: leave out --n-envs, --num-cpu and --vec-env",
        ),
        (
            (*HOME, "--num-stack", 2),
            "--num-stack does not go with distillation from datasets, whose observations are single ones",
        ),
        ((*HOME, "--norm-reward"), "--norm-reward does not go with distillation, which learns nothing from rewards"),
        ((*HOME, "--epochs-distillation", 0), "--epochs-distillation must be at least 1, got 0"),
        (
            (*HOME, "--distillation-training-set-size", 0),
            "--distillation-training-set-size is a number of states, or -1 for all, got 0",
        ),
        (
            (*HOME, "--env", "CartPole-v1"),
            "the observations of {data}/home (home, recorded in Walk-v0) are Box of shape (2,), float32, from -20 to "
            "20, those of CartPole-v1 here are Box of shape (4,), float32, from -inf to inf",
        ),
        (
            (*HOME, "--hyperparam", "temperature:0"),
            "hyperparameter temperature must be a positive number, got 0",
        ),
        (
            (*HOME, "--env", "DictionaryWalk-v0"),
            "distillation cannot observe dictionaries; use one of ",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    flags: tuple[Any, ...], message: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    assert refused(*flags, "--log-dir", tmp_path / "logs").startswith(message.format(data=data))
    assert not (tmp_path / "logs").exists()
