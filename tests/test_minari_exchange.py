"""Datasets in Minari's store: nothing is lost on the way there and back, and Minari itself can use them."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli import Finished, call
from gymnasium import spaces
from test_dataset import ORIGIN, make_episode
from test_dataset_generator import files

from environments.dataset import Dataset, Origin
from environments.dataset_exchange import main
from environments.dataset_folder import write_dataset
from environments.recording import Walker, record
from environments.registry import build
from environments.space_records import record_space

minari = pytest.importorskip("minari")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Minari's local store, empty."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    return tmp_path / "store"


def exchange(*words: object) -> Finished:
    return call(main, *words)


def pictures(path: Path) -> Dataset:
    """A dataset of large enough noise for Minari to take it for pictures, of two origins and every kind of end."""
    space = record_space(spaces.Box(0, 255, (32, 33, 3), np.uint8))
    origin = Origin(**{**vars(ORIGIN), "observation_space": space})
    rng = np.random.default_rng(0)
    episodes = [
        make_episode(
            *(2, index),
            observations=rng.integers(0, 256, (3, 32, 33, 3), np.uint8),
            terminated=index == 0,
            truncated=index == 1,
            success=(None, False, True)[index],
            origin=index % 2,
        )
        for index in range(3)
    ]
    nowhere = np.zeros((3, 0), np.float32)
    episodes.append(make_episode(2, observations=episodes[0].observations, target=nowhere, ground_truth=nowhere))
    return write_dataset(path, [origin, Origin(**{**vars(origin), "task": "circle"})], episodes)


def test_dataset_comes_back_byte_by_byte(tmp_path: Path, store: Path) -> None:
    """Pictures, teachers, places, ends, seeds and origins: the folders are the same."""
    pictures(tmp_path / "data")
    done = exchange("export", tmp_path / "data", "robots/noise-v0")
    assert (done.code, done.out, done.err) == (0, f"exported: {store / 'robots/noise-v0'}\n", "")
    done = exchange("import", "robots/noise-v0", tmp_path / "back")
    assert (done.code, done.out) == (0, f"dataset:  {tmp_path / 'back'}, 4 episodes, 8 steps\n")
    assert files(tmp_path / "back") == files(tmp_path / "data")


def test_minari_can_use_it(tmp_path: Path) -> None:
    """Minari gives the same episodes, and the environment that they come from."""
    env = build("MobileRobotGymEnv-v0", max_steps=9)
    spaces_of = {"observation_space": env.observation_space, "action_space": env.action_space}
    origin = Origin("MobileRobotGymEnv-v0", {"max_steps": 9}, **{k: record_space(v) for k, v in spaces_of.items()})
    episode = record(env, Walker(env), 0)
    write_dataset(tmp_path / "data", [origin], [episode])
    assert exchange("export", tmp_path / "data", "robots/walker-v1").code == 0
    loaded = minari.load_dataset("robots/walker-v1")
    assert (loaded.total_episodes, loaded.total_steps) == (1, 10)
    data = loaded[0]
    assert np.array_equal(data.observations, episode.observations)
    assert np.array_equal(data.actions, episode.actions) and np.array_equal(data.rewards, episode.rewards)
    assert data.truncations.tolist() == [False] * 9 + [True] and not data.terminations.any()
    assert np.array_equal(data.infos["ground_truth"], episode.ground_truth)
    again = loaded.recover_environment()
    assert np.array_equal(again.reset(seed=episode.start_seed)[0], episode.observations[0])


def test_dataset_from_elsewhere_is_imported(tmp_path: Path) -> None:
    """Of a dataset that is not ours only what Minari tells is known."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    observations = np.arange(8, dtype=np.float64).reshape(4, 2)
    buffer = EpisodeBuffer(
        observations=observations,
        actions=np.array([0, 1, 1]),
        rewards=np.array([1, 0, 2]),
        terminations=np.array([False, False, True]),
        truncations=np.zeros(3, bool),
        infos={"ground_truth": np.zeros((4, 7))},
    )
    space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is not told of the dataset
        minari.create_dataset_from_buffers(
            "lab/other-v0", [buffer], observation_space=space, action_space=spaces.Discrete(2)
        )
    assert exchange("import", "lab/other-v0", tmp_path / "data").code == 0
    dataset = Dataset.open(tmp_path / "data")
    episode = dataset.episode(0)
    assert np.array_equal(episode.observations, observations) and episode.observations.dtype == np.float64
    assert (episode.actions.tolist(), episode.rewards.tolist()) == ([0, 1, 1], [1.0, 0.0, 2.0])
    assert (episode.terminated, episode.truncated, episode.success, episode.start_seed) == (True, False, None, -1)
    assert episode.ground_truth.shape == (4, 0) and not episode.teacher
    assert dataset.origins[0].policy == {"kind": "minari", "dataset": "lab/other-v0"}
    assert dataset.origins[0].spaces == (space, spaces.Discrete(2))


def test_what_cannot_be_exchanged_is_said_in_one_line(tmp_path: Path, store: Path) -> None:
    pictures(tmp_path / "data")
    assert exchange("export", tmp_path / "data", "robots/noise-v0").code == 0
    usage = "give export DATASET ID, or import ID DATASET; an ID is like kuka/random-v0"
    for words, message in (
        (["export", tmp_path / "data", "robots/noise-v0"], "Minari has a dataset robots/noise-v0 already; take another "
         "version, or delete that one"),
        (["export", tmp_path / "data", "noise"], "Minari's names are like kuka/random-v0, with a version, not 'noise'"),
        (["export", tmp_path / "nothing", "robots/x-v0"], f"there is no dataset at {tmp_path / 'nothing'}"),
        (["import", "robots/x-v0", tmp_path / "x"], f"there is no Minari dataset robots/x-v0 in {store / 'robots'}; "
         "minari list local shows all"),
        (["import", "robots/noise-v0", tmp_path / "data"], f"the dataset {tmp_path / 'data'} is there already; give -f "
         "to replace it, or choose another place"),
        (["export", tmp_path / "data"], usage),
        (["move", "a", "b"], usage),
        (["export", tmp_path / "data", "robots/y-v0", "-f"], "Minari's datasets are not replaced: leave -f out and "
         "take another version"),
    ):  # fmt: skip
        done = exchange(*words)
        assert (done.code, done.out, done.err) == (2, "", f"error: {message}\n")


def test_store_at_a_relative_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", "here")
    done = exchange("export", tmp_path / "data", "robots/noise-v0")
    assert (done.code, done.err) == (
        *(2, "error: MINARI_DATASETS_PATH must be an absolute path, and leads to here/robots/noise-v0\n"),
    )


def test_broken_off_export_leaves_nothing(tmp_path: Path, store: Path) -> None:
    """A damaged episode stops the export, and its name is free again."""
    dataset = pictures(tmp_path / "data")
    shutil.copy(dataset.path / "episodes" / "000000.npz", dataset.path / "episodes" / "000002.npz")
    done = exchange("export", tmp_path / "data", "robots/noise-v0")
    assert done.code == 2 and done.err.endswith("is damaged: episodes/000002.npz is not as it was written\n")
    assert not (store / "robots" / "noise-v0").exists()
