"""The format of datasets: what is written comes back to the last bit, and what is not whole is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from environments.dataset import Dataset, DatasetError, Episode, Origin, episode_to_bytes, unfinished_path
from environments.dataset_folder import DatasetBuild, building, write_dataset, write_episode
from environments.space_records import record_space, space_of

ORIGIN = Origin(
    env_id="MobileRobotGymEnv-v0",
    env_kwargs={"observation": "raw_pixels", "target_region": [0.0, 0.5]},
    observation_space=record_space(spaces.Box(0, 255, (4, 5, 3), np.uint8)),
    action_space=record_space(spaces.Discrete(4)),
    policy={"kind": "random"},
    task="reach",
    teacher={"name": "categorical", "sizes": [4]},
    seed=7,
)


def make_episode(n_steps: int = 3, seed: int = 0, **changes: Any) -> Episode:
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "observations": rng.integers(0, 256, (n_steps + 1, 4, 5, 3), np.uint8),
        "actions": rng.integers(0, 4, n_steps),
        "rewards": rng.standard_normal(n_steps),
        "terminated": True,
        "truncated": False,
        "ground_truth": rng.standard_normal((n_steps + 1, 2)).astype(np.float32),
        "target": rng.standard_normal((n_steps + 1, 2)).astype(np.float32),
        "start_seed": 2**31 - 1 - seed,
        "teacher": {"logits": rng.standard_normal((n_steps, 4)).astype(np.float32)},
        "success": None,
    }
    return Episode(**{**values, **changes})


def assert_equal(one: Episode, other: Episode) -> None:
    for name in ("observations", "actions", "rewards", "ground_truth", "target"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    assert one.teacher.keys() == other.teacher.keys()
    for name, array in one.teacher.items():
        assert array.dtype == other.teacher[name].dtype and np.array_equal(array, other.teacher[name])
    for name in ("terminated", "truncated", "start_seed", "origin", "success"):
        assert getattr(one, name) is getattr(other, name) or getattr(one, name) == getattr(other, name)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """Every array keeps its bits and its type, every end its meaning, and the origins all they say."""
    second = Origin(**{**ORIGIN.__dict__, "task": "circle"})
    episodes = [
        make_episode(3, 1),
        make_episode(5, 2, terminated=False, truncated=True, origin=1, success=False, teacher={}),
        make_episode(1, 3, success=True),
    ]
    written = write_dataset(tmp_path / "data", [ORIGIN, second], episodes)
    read = Dataset.open(tmp_path / "data")
    assert read.origins == written.origins == (ORIGIN, second)
    assert (read.n_episodes, len(read), read.n_timesteps) == (3, 3, 9)
    for mine, theirs in zip(episodes, read, strict=True):
        assert_equal(mine, theirs)
    assert_equal(read.episode(-1), episodes[2])
    assert [entry.n_steps for entry in read.entries] == [3, 5, 1]
    assert not unfinished_path(tmp_path / "data").exists()


def test_same_episode_same_bytes() -> None:
    assert episode_to_bytes(make_episode()) == episode_to_bytes(make_episode())
    assert episode_to_bytes(make_episode()) == episode_to_bytes(make_episode(origin=1))
    assert episode_to_bytes(make_episode()) != episode_to_bytes(make_episode(success=True))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(4),
        spaces.Box(0, 255, (4, 4, 3), np.uint8),
        spaces.Box(np.array([-0.1, -np.inf], np.float32), np.array([1 / 3, np.inf], np.float32)),
        spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
    ],
    ids=str,
)
def test_spaces_come_back_from_json(space: spaces.Space[Any]) -> None:
    record = json.loads(json.dumps(record_space(space), allow_nan=False))
    assert space_of(record) == space


def test_space_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a space of arrays or whole numbers, got Dict"):
        record_space(spaces.Dict({}))
    with pytest.raises(ValueError, match="unknown kind 'ball'"):
        space_of({"kind": "ball"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": np.zeros(2, np.int64)}, "an episode of 3 steps needs 3 actions, got 2"),
        ({"observations": np.zeros((3, 2))}, "an episode of 3 steps needs 4 observations, got 3"),
        ({"target": np.zeros((3, 2), np.float32)}, "an episode of 3 steps needs 4 target, got 3"),
        ({"teacher": {"logits": np.zeros((4, 4))}}, "an episode of 3 steps needs 3 teacher logits, got 4"),
        ({"rewards": np.zeros(3, np.float32)}, r"rewards must be float64, \(T,\), T > 0, got float32 \(3,\)"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_episode(**changes)


def remove_episode(folder: Path) -> None:
    (folder / "episodes" / "000001.npz").unlink()


def change_episode(folder: Path) -> None:
    path = folder / "episodes" / "000001.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap_episodes(folder: Path) -> None:
    shutil.copy(folder / "episodes" / "000000.npz", folder / "episodes" / "000001.npz")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_episode, "is damaged: episodes/000001.npz: No such file or directory"),
        (change_episode, "is damaged: episodes/000001.npz is not as it was written"),
        (swap_episodes, "is damaged: episodes/000001.npz is not as it was written"),
    ],
)
def test_damaged_episode_is_refused(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    """An episode that is not the one that was written is never given; the others still are."""
    path = tmp_path / "data"
    write_dataset(path, [ORIGIN], [make_episode(seed=0), make_episode(seed=1)])
    damage(path)
    dataset = Dataset.open(path)
    assert_equal(dataset.episode(0), make_episode(seed=0))
    with pytest.raises(DatasetError, match=message):
        dataset.episode(1)
    with pytest.raises(IndexError):
        dataset.episode(2)


def edit_index(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**index, **changes}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: edit_index(p, format=2), "has format 2, but this version reads 1 only"),
        (lambda p: edit_index(p, n_episodes=3), "is damaged: dataset.json contradicts itself"),
        (lambda p: edit_index(p, episodes=[{}]), "is damaged: dataset.json is not as written"),
        (lambda p: edit_index(p, origins=[{"env": 1}]), "is damaged: dataset.json is not as written"),
        (lambda p: (p / "dataset.json").write_text("{"), "is damaged: cannot read dataset.json"),
        (lambda p: (p / "dataset.json").write_text("[]"), "is damaged: dataset.json names no format"),
        (lambda p: (p / "dataset.json").unlink(), "is not finished; give the command that records it once more"),
        (shutil.rmtree, "there is no dataset at"),
        (lambda p: (shutil.rmtree(p), p.mkdir()), "is not a dataset: it has no dataset.json"),
        (lambda p: p.rename(unfinished_path(p)), "is not finished; give the command that records it once more"),
    ],
)
def test_folder_that_is_no_whole_dataset_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "data"
    write_dataset(path, [ORIGIN], [make_episode()])
    spoil(path)
    with pytest.raises(DatasetError, match=message) as caught:
        Dataset.open(path)
    assert "\n" not in str(caught.value)


def test_nothing_is_replaced_unless_asked_for(tmp_path: Path) -> None:
    """A dataset gives way only to a complete one, and only when told so; another folder never does."""
    path = tmp_path / "data"
    write_dataset(path, [ORIGIN], [make_episode(seed=0)])
    with pytest.raises(DatasetError, match="is there already; give -f to replace it, or choose another place"):
        write_dataset(path, [ORIGIN], [make_episode(seed=1)])
    assert_equal(Dataset.open(path).episode(0), make_episode(seed=0))
    with building(path, {"seed": 1}, replaces=True) as build:
        write_episode(build.folder, 0, make_episode(seed=1))
        assert_equal(Dataset.open(path).episode(0), make_episode(seed=0))
        build.finish([ORIGIN], [0])
    assert_equal(Dataset.open(path).episode(0), make_episode(seed=1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
    (tmp_path / "other").mkdir()
    with pytest.raises(DatasetError, match="other is there and is not a dataset; choose another place"):
        write_dataset(tmp_path / "other", [ORIGIN], [make_episode()], replaces=True)


def test_broken_off_build_is_continued_by_the_same_plan_only(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with building(path, {"seed": 1, "n_episodes": 2}) as build:
        write_episode(build.folder, 1, make_episode(seed=1))
        assert build.missing(3) == [0, 2]
        with pytest.raises(DatasetError, match="is being made by another process; wait for its end"):
            DatasetBuild(path, {"seed": 1, "n_episodes": 2})
    with pytest.raises(
        DatasetError, match="begun with another seed: 1, now 2; give the same settings to finish it, or -f to begin"
    ):
        DatasetBuild(path, {"seed": 2, "n_episodes": 2})
    with building(path, {"seed": 1, "n_episodes": 2}) as build:
        assert build.missing(2) == [0]
        torn = build.folder / "episodes" / "000001.npz"
        torn.write_bytes(torn.read_bytes()[:-100])
        assert build.missing(2) == [0, 1]
        write_episode(build.folder, 1, make_episode(seed=1))
    with building(path, {"seed": 2, "n_episodes": 2}, replaces=True) as build:
        assert build.missing(2) == [0, 1]
