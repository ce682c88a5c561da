"""Learning representations: what is measured of them, that they learn, go on exactly, and refuse what cannot be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import ROOT, TESTS, Finished, call, read_csv
from worlds import linear_picture, record_world, square_picture

from environments.dataset import Dataset
from state_representation import evaluate, train
from state_representation.frames import Frames
from state_representation.losses import LOSSES
from state_representation.metrics import (
    effective_rank,
    ground_truth_correlation,
    knn_mse,
    linear_probe,
    measure,
    neighbours,
)
from state_representation.model import StateModel
from state_representation.objectives import Objective, RepresentationError
from state_representation.principal_components import IncrementalComponents
from state_representation.training import Training, TrainingSettings

QUICK = ("--epochs", 2, "--state-dim", 4, "--torch-threads", 1)


def learn(folder: Path, data: Path, *args: object) -> Finished:
    return call(train.main, "--data-folder", data, "--log-folder", folder, *args)


def learnt(folder: Path, data: Path, *args: object) -> dict[str, Any]:
    """What a training gives as JSON, which must succeed in silence."""
    done = learn(folder, data, *args, "--json")
    assert (done.code, "warning" in done.err) == (0, False), done.err
    result: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return result


def train_here(tmp_path: Path, frames: Frames, **settings: Any) -> Training:
    torch.set_num_threads(1)
    return Training(TrainingSettings(**settings), frames, tmp_path)


def test_neighbours_and_their_distance_in_the_ground_truth() -> None:
    """States on a line at 0, 1, 3, 7: the two nearest of each; ground truth is 10 times as wide."""
    states = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert neighbours(states, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    squares = [1, 9, 1, 4, 4, 9, 16, 36]
    assert knn_mse(states, 10 * states, 2) == pytest.approx(100 * np.mean(squares))
    rng = np.random.default_rng(0)
    states = rng.standard_normal((1203, 3))
    by_hand = np.square(states[:, None] - states[None]).sum(axis=2) + np.diag(np.full(1203, np.inf))
    assert np.array_equal(neighbours(states, 5), by_hand.argsort(axis=1)[:, :5])


def test_correlation_takes_the_best_element_in_either_direction() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((500, 2))
    states = np.stack([-3 * truth[:, 0] + 5, np.full(500, 2.0), truth[:, 0] + truth[:, 1]], axis=1)
    found = ground_truth_correlation(states, truth)
    assert found[0] == pytest.approx(1) and found[1] == pytest.approx(abs(np.corrcoef(states[:, 2], truth[:, 1])[0, 1]))
    assert ground_truth_correlation(np.ones((5, 3)), truth[:5]).tolist() == [0, 0]
    assert np.isnan(ground_truth_correlation(truth, np.ones((500, 1)))).all()


def test_linear_probe_is_judged_on_other_episodes() -> None:
    rng = np.random.default_rng(0)
    states = rng.standard_normal((300, 5))
    truth = np.stack([2 * states[:, 0] - states[:, 4] + 1, rng.standard_normal(300)], axis=1)
    explained = linear_probe(states[:200], truth[:200], states[200:], truth[200:])
    assert explained[0] == pytest.approx(1, abs=1e-4) and explained[1] < 0.05
    shifted = linear_probe(states[:200], truth[:200], states[200:], truth[200:] + 10)
    assert shifted[0] < -5
    still = linear_probe(states[:200], truth[:200], states[200:], np.ones((100, 2)))
    assert np.isnan(still).all()


def test_effective_rank_counts_directions() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal((1000, 1))
    assert effective_rank(np.repeat(one, 5, axis=1)) == pytest.approx(1)
    assert effective_rank(rng.standard_normal((20_000, 3))) == pytest.approx(3, abs=0.01)
    assert effective_rank(np.full((10, 3), 7.0)) == 0
    two = np.diag([3.0, 1.0])
    states = np.concatenate([two, -two])
    assert effective_rank(states) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_a_collapse_is_told() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(200, 2)).astype(np.float32)
    apart = np.arange(200) >= 150
    good = measure(np.concatenate([truth, truth], axis=1), truth, apart, ("x", "y"))
    bad = measure(np.repeat(truth[:, :1], 4, axis=1), truth, apart, ("x", "y"))
    assert good.warning is None and good.mean_correlation == pytest.approx(1)
    assert bad.warning is not None and bad.warning.startswith("collapse: the states vary in 1 directions")
    unknown = measure(truth, np.zeros((200, 0), np.float32), apart, ())
    assert (unknown.knn_mse, unknown.mean_correlation) == (None, None) and unknown.warning is None


def test_components_a_batch_at_a_time_are_those_of_all() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((1000, 20)) * np.geomspace(10, 0.01, 20) + 3
    found = IncrementalComponents(3)
    for start in range(0, 1000, 130):
        found.take(rows[start : start + 130])
    _, _, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    assert found.mean == pytest.approx(rows.mean(axis=0))
    assert np.abs((found.components * directions[:3]).sum(axis=1)) == pytest.approx(1, abs=1e-3)


def test_frames_are_those_of_the_episodes(tmp_path: Path) -> None:
    """A transition leads from a frame to the next of its episode; the target that never moves is not in the truth."""
    record_world(tmp_path / "data", linear_picture, n_episodes=3, n_steps=4)
    frames = Frames.read([tmp_path / "data"])
    episodes = list(Dataset.open(tmp_path / "data"))
    assert frames.truth_names == ("robot x", "robot y") and frames.truths.shape == (15, 2)
    assert frames.starts.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]
    assert np.array_equal(frames.images, np.concatenate([episode.observations for episode in episodes]))
    assert np.array_equal(frames.actions, np.concatenate([episode.actions for episode in episodes]))
    assert frames.episodes.tolist() == [0] * 5 + [1] * 5 + [2] * 5 and frames.n_actions == 4
    learnt_from, apart = frames.split(0.2, seed=3)
    assert len(apart) == 4 and len(np.unique(frames.episodes[frames.starts[apart]])) == 1
    assert sorted([*learnt_from, *apart]) == list(range(12))
    assert len(Frames.read([tmp_path / "data"], max_frames=6).images) == 10


def test_a_linear_world_is_known_to_its_principal_components(tmp_path: Path) -> None:
    """GTC 1 and KNN-MSE next to 0: two directions of brightness are all there is."""
    record_world(tmp_path / "data", linear_picture, n_episodes=8, n_steps=60)
    result = learnt(tmp_path / "pca", tmp_path / "data", "--losses", "pca", "--state-dim", 2)
    assert result["probe_mean"] == pytest.approx(1, abs=1e-3) and result["rank"] == pytest.approx(2, abs=0.1)
    frames, model = Frames.read([tmp_path / "data"]), StateModel.load(tmp_path / "pca")
    supervised = learnt(
        *(tmp_path / "known", tmp_path / "data", "--losses", "supervised", "--encoder", "linear", "--epochs", 60),
        *("--learning-rate", 0.001, "--torch-threads", 1),
    )
    assert min(supervised["correlations"]) > 0.999 and supervised["probe_mean"] > 0.999
    exact = knn_mse(frames.truths, frames.truths)
    assert knn_mse(model.encode(frames.images), frames.truths) < 1.05 * exact + 1e-4


@pytest.mark.parametrize(
    "name",
    ["autoencoder", *(pytest.param(name, marks=pytest.mark.slow) for name in ("supervised", "inverse", "vae"))],
)
def test_a_loss_is_driven_down_on_a_few_pictures(tmp_path: Path, name: str) -> None:
    """32 transitions are learnt by heart: the loss falls to a tenth and less of what it was."""
    record_world(tmp_path / "data", square_picture, n_episodes=5, n_steps=8)
    frames = Frames.read([tmp_path / "data"])
    weight = 1e-3 if name == "vae" else 1.0
    dim = 2 if name == "supervised" else 16
    settings: dict[str, Any] = {"objectives": (Objective(name, weight, 0, dim),), "epochs": 120, "learning_rate": 0.003}
    training = train_here(tmp_path, frames, architecture="mlp", beta=0.01, inverse_model="mlp", **settings)
    assert len(training._train) == 32
    training.run(lambda: None, lambda row: None)
    assert training.history[-1]["total"] < 0.1 * training.history[0]["total"]


def test_pictures_are_encoded_as_if_alone(tmp_path: Path) -> None:
    record_world(tmp_path / "data")
    learnt(tmp_path / "model", tmp_path / "data", "--losses", "autoencoder", *QUICK)
    frames, model = Frames.read([tmp_path / "data"]), StateModel.load(tmp_path / "model")
    together = model.encode(frames.images)
    alone = np.concatenate([model.encode(image[None]) for image in frames.images])
    assert together.shape == (len(frames.images), 4) and together.dtype == np.float32
    assert np.abs(together - alone).max() < 1e-5 * max(1, np.abs(together).max())
    with pytest.raises(RepresentationError, match=r"it encodes pictures uint8 \(16, 16, 3\), got uint8 \(8, 8, 3\)"):
        model.encode(np.zeros((1, 8, 8, 3), np.uint8))


QUICKLY_TRIED = ("dae", "triplet")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICKLY_TRIED else pytest.mark.slow)
        for name in LOSSES
        if name != "supervised"
    ],
)
def test_every_loss_learns_by_the_command(tmp_path: Path, name: str) -> None:
    record_world(tmp_path / "data", n_episodes=3, n_steps=12, n_channels=6)
    result = learnt(tmp_path / "model", tmp_path / "data", "--losses", name, *QUICK, "--encoder", "mlp")
    rows = read_csv(tmp_path / "model" / "history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[0][name]) >= 0
    assert result["epochs"] == 2 and result["state_dim"] == 4
    plots = {path.stem for path in (tmp_path / "model" / "plots").iterdir()}
    assert plots == {"losses", "states", "neighbours", *(["restored"] if name in ("autoencoder", "dae", "vae") else [])}
    model = StateModel.load(tmp_path / "model")
    assert model.description.n_channels == (3 if name == "triplet" else 6)
    assert model.encode(np.zeros((1, 16, 16, 6), np.uint8)).shape == (1, 4)


@pytest.mark.slow
def test_the_best_weights_are_kept_and_patience_ends(tmp_path: Path) -> None:
    record_world(tmp_path / "data")
    result = learnt(
        *(tmp_path / "model", tmp_path / "data", "--losses", "supervised", "--encoder", "mlp", "--epochs", 200),
        *("--patience", 3, "--learning-rate", 0.02, "--torch-threads", 1),
    )
    losses = [float(row["validation_total"]) for row in read_csv(tmp_path / "model" / "history.csv")]
    assert result["best_epoch"] == int(np.argmin(losses)) + 1 == len(losses) - 3
    frames = Frames.read([tmp_path / "data"])
    states = StateModel.load(tmp_path / "model").encode(frames.images)
    _, apart = frames.split(0.2, 0)
    starts, (seen, _) = frames.starts[apart], frames.split(0.2, 0)
    mean, spread = (getattr(frames.truths[frames.starts[seen]], how)(axis=0) for how in ("mean", "std"))
    errors = np.square(states[starts] - (frames.truths[starts] - mean) / spread).mean()
    assert errors == pytest.approx(min(losses), rel=1e-4)


def test_balanced_sampling_draws_each_sign_equally(tmp_path: Path) -> None:
    record_world(tmp_path / "data", n_episodes=8, n_steps=200)
    frames = Frames.read([tmp_path / "data"])
    settings = {"objectives": (Objective("reward", 1.0, 0, 2),), "architecture": "linear"}
    for is_balanced in (False, True):
        training = train_here(tmp_path, frames, balanced=is_balanced, **settings)
        drawn = frames.rewards[training._drawn(np.random.default_rng(0))]
        shares = np.array([(drawn == sign).mean() for sign in (-1, 0, 1)])
        assert bool(np.abs(shares - 1 / 3).max() < 0.05) is is_balanced


@pytest.mark.slow
@pytest.mark.parametrize("losses", [("autoencoder", "inverse"), ("dae:1:3", "priors:1:1"), ("vae",)])
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, losses: tuple[str, ...]) -> None:
    """Killed as a real process without a chance to clean up, it goes on by the same command, to the last bit."""
    record_world(tmp_path / "data", n_episodes=6, n_steps=100)

    def start(folder: str) -> "subprocess.Popen[bytes]":
        words = ["--data-folder", str(tmp_path / "data"), "--log-folder", str(tmp_path / folder), "--epochs", "8"]
        words += ["--losses", *losses, "--state-dim", "4", "--torch-threads", "1"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"}
        command = [sys.executable, "-m", "state_representation.train", *words]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    whole = start("whole")
    _, error = whole.communicate(timeout=250)
    assert whole.returncode == 0, error.decode()
    killed = start("killed")
    deadline = time.monotonic() + 200
    while len(_history(tmp_path / "killed")) < 3:
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "model.json").exists()
    last = start("killed")
    _, error = last.communicate(timeout=250)
    assert last.returncode == 0, error.decode()
    for name in ("encoder.safetensors", "history.csv", "metrics.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _history(folder: Path) -> list[dict[str, str]]:
    return read_csv(folder / "history.csv") if (folder / "history.csv").exists() else []


@pytest.mark.slow
def test_more_epochs_go_on_as_if_it_had_never_ended(tmp_path: Path) -> None:
    record_world(tmp_path / "data", n_episodes=3)
    args = ("--losses", "autoencoder", "forward", "--state-dim", 3, "--encoder", "mlp", "--torch-threads", 1)
    learnt(tmp_path / "two", tmp_path / "data", *args, "--epochs", 2)
    done = learn(tmp_path / "two", tmp_path / "data", *args, "--epochs", 4)
    assert done.code == 0 and "4, 2 are done" in done.out and "epoch 2:" not in done.out
    learnt(tmp_path / "four", tmp_path / "data", *args, "--epochs", 4)
    for name in ("encoder.safetensors", "history.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()


def test_representations_are_compared(tmp_path: Path) -> None:
    """On their own data by the episodes that they kept apart, as after the training."""
    record_world(tmp_path / "data")
    record_world(tmp_path / "other", n_episodes=4)
    known = learnt(tmp_path / "known", tmp_path / "data", "--losses", "supervised", *QUICK[:2], "--encoder", "mlp")
    learnt(tmp_path / "chance", tmp_path / "data", "--losses", "random", "--state-dim", 4)
    done = call(evaluate.main, tmp_path / "known", tmp_path / "chance", tmp_path / "data", "--json")
    found = json.loads(done.out)
    assert list(found) == [str(tmp_path / "known"), str(tmp_path / "chance")] and done.code == 0
    assert found[str(tmp_path / "known")]["knn_mse"] == pytest.approx(known["knn_mse"])
    table = call(evaluate.main, tmp_path / "known", tmp_path / "other")
    assert table.code == 0 and "World-v0: robot x, robot y" in table.out and "GTC mean" in table.out


def test_the_same_seed_gives_the_same_encoder_and_leaves_torch_alone(tmp_path: Path) -> None:
    record_world(tmp_path / "data", n_episodes=2, n_steps=3)
    torch.manual_seed(5)
    frames = Frames.read([tmp_path / "data"])
    objectives = (Objective("random", 1.0, 0, 4),)
    made = [train_here(tmp_path, frames, objectives=objectives, seed=seed).encoder for seed in (1, 1, 2)]
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    one, same, other = (encoder.head.weight for encoder in made)
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(
    ("world", "args", "message"),
    [
        ({}, (), "name at least one loss"),
        ({}, ("--losses", "invers"), "unknown loss 'invers'; did you mean 'inverse'?"),
        ({}, ("--losses", "random", "inverse"), "random descends no loss and stands alone: --losses random"),
        ({}, ("--losses", "pca", "--encoder", "mlp"), "pca is a linear map: give --encoder linear, not mlp"),
        ({}, ("--losses", "pca"), "pictures to learn from have no 200 principal components"),
        ({}, ("--losses", "triplet"), "triplet needs pictures of two cameras, and these have 3 channels"),
        (
            {},
            ("--losses", "supervised", "--state-dim", 5),
            "of 2 elements (robot x, robot y); its part of the state has 5",
        ),
        ({"continuous": True}, ("--losses", "priors"), "priors needs discrete actions"),
        ({"n_episodes": 1}, ("--losses", "inverse"), "one episode cannot be split"),
        ({}, ("--losses", "inverse", "--device", "cuda:77"), "--device cuda:77 cannot be used"),
        ({}, ("--losses", "inverse", "--epochs", 0), "--epochs must be at least 1, got 0"),
        ({}, ("--losses", "inverse", "--validation", 1.5), "--validation lies between 0 and 1, got 1.5"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, world: dict[str, Any], args: tuple[Any, ...], message: str) -> None:
    record_world(tmp_path / "data", **{"n_episodes": 3, "n_steps": 5, **world})
    done = learn(tmp_path / "model", tmp_path / "data", *args)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_folders_that_hold_something_else_are_left_alone(tmp_path: Path) -> None:
    record_world(tmp_path / "data", n_episodes=2, n_steps=5)
    args = ("--losses", "inverse", "--encoder", "mlp", *QUICK)
    learnt(tmp_path / "model", tmp_path / "data", *args)
    before = (tmp_path / "model" / "encoder.safetensors").read_bytes()
    other = learn(tmp_path / "model", tmp_path / "data", *args, "--seed", 3)
    assert other.code == 2 and "holds a training with other settings: its seed is 0, asked for is 3" in other.err
    assert (tmp_path / "model" / "encoder.safetensors").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    mine = learn(tmp_path / "mine", tmp_path / "data", *args)
    assert mine.code == 2 and "holds no training of a representation; name a new --log-folder" in mine.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "model" / "training.safetensors").write_bytes(b"torn")
    torn = learn(tmp_path / "model", tmp_path / "data", *args)
    assert torn.code == 2 and "cannot go on from" in torn.err and torn.err.count("\n") == 1


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, one of smaller pictures, a representation, and one that was torn."""
    folder = tmp_path_factory.mktemp("places")
    record_world(folder / "data", n_episodes=2, n_steps=5)
    record_world(folder / "small", linear_picture, n_episodes=2, n_steps=5)
    learnt(folder / "model", folder / "data", "--losses", "random", "--state-dim", 2)
    shutil.copytree(folder / "model", folder / "torn")
    (folder / "torn" / "encoder.safetensors").write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("data",), "name the folder of a representation and that of a dataset"),
        (("model",), "name the folder of a representation and that of a dataset"),
        (("nowhere", "data"), "is no representation: it has no model.json"),
        (("model", "small"), "it encodes pictures uint8 (16, 16, 3), got uint8 (8, 8, 3)"),
        (("torn", "data"), "the representation"),
    ],
)
def test_what_cannot_be_measured(places: Path, paths: tuple[str, ...], message: str) -> None:
    done = call(evaluate.main, *(places / path for path in paths))
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


def test_observations_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    space = {"kind": "box", "shape": [16, 16, 3], "dtype": "float32", "low": 0.0, "high": 1.0}
    record_world(tmp_path / "data", n_episodes=2, n_steps=3, observation_space=space)
    done = learn(tmp_path / "model", tmp_path / "data", "--losses", "inverse")
    assert done.code == 2 and "a representation is learnt from pictures" in done.err and "raw_pixels" in done.err


def test_a_training_that_diverges_fails_in_one_line(tmp_path: Path) -> None:
    record_world(tmp_path / "data", n_episodes=3)
    args = ("--losses", "autoencoder", "--encoder", "mlp", *QUICK, "--learning-rate", 1e30)
    done = learn(tmp_path / "model", tmp_path / "data", *args)
    assert done.code == 1 and done.err.startswith("error: the loss became") and "lower --learning-rate" in done.err
    assert done.err.count("\n") == 1 and not (tmp_path / "model" / "model.json").exists()
    left = call(evaluate.main, tmp_path / "model", tmp_path / "data")
    assert left.code == 2 and "is not finished; give the command that learns it once more" in left.err


def test_places_that_cannot_be_written_and_numbers_that_make_no_sense(tmp_path: Path) -> None:
    record_world(tmp_path / "data", n_episodes=2, n_steps=5, ground_truth_known=False)
    (tmp_path / "file").touch()
    for done, message in (
        (learn(tmp_path / "file" / "model", tmp_path / "data", "--losses", "random"), "cannot write into"),
        (learn(tmp_path / "model", tmp_path / "data", "--losses", "supervised"), "supervised needs a ground truth"),
        (call(evaluate.main, tmp_path, "--training-set-size", -5), "--training-set-size is a number of frames, or -1"),
    ):
        assert done.code == 2 and message in done.err and done.err.count("\n") == 1, done.err
    result = learnt(tmp_path / "model", tmp_path / "data", "--losses", "random", "--state-dim", 3)
    assert (result["knn_mse"], result["gtc_mean"], result["truth_names"]) == (None, None, [])
