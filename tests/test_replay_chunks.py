"""Checkpoints of replay buffers: exact, complete alone, and as cheap as what is new."""

import hashlib
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.her import HerReplayBuffer

from rl_baselines import replay_chunks
from rl_baselines.errors import UsageError
from rl_baselines.replay_chunks import ReplayChunks

SIZE, ROWS = 30, 4  # slots of a buffer and of a chunk: seven chunks and one of two slots
VECTOR, TORQUE = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,))
SENSORS = spaces.Dict({"file": VECTOR, "picture": spaces.Box(0, 255, (1, 4, 4), np.uint8), "n": spaces.Discrete(9)})
MEMORY_OPTIMIZED = {"optimize_memory_usage": True, "handle_timeout_termination": False}
EPISODES = ("ep_start", "ep_length", "_current_ep_start")


def plain(**settings: Any) -> ReplayBuffer:
    return ReplayBuffer(**{"buffer_size": SIZE, "observation_space": VECTOR, "action_space": TORQUE, **settings})


def hindsight(n_envs: int = 2, **settings: Any) -> HerReplayBuffer:
    env = DummyVecEnv([lambda: BitFlippingEnv(n_bits=3)] * n_envs)
    return HerReplayBuffer(SIZE * n_envs, env.observation_space, env.action_space, env, n_envs=n_envs, **settings)


KINDS: dict[str, Callable[[], ReplayBuffer]] = {
    "vectors": plain,
    "discrete actions of three environments": lambda: plain(
        n_envs=3, buffer_size=3 * SIZE, action_space=spaces.Discrete(5)
    ),
    "images": lambda: plain(observation_space=spaces.Box(0, 255, (3, 8, 8), np.uint8)),
    "truth values": lambda: plain(observation_space=spaces.Box(0, 1, (5,), np.bool_)),
    "memory optimized": lambda: plain(n_envs=2, buffer_size=2 * SIZE, **MEMORY_OPTIMIZED),
    "n-step returns": lambda: NStepReplayBuffer(2 * SIZE, VECTOR, TORQUE, n_envs=2, n_steps=3),
    "dictionaries": lambda: DictReplayBuffer(SIZE, SENSORS, TORQUE),
    "hindsight": hindsight,
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())


def arrays_of(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """Return every array of a buffer but hindsight's infos, whole, those of dictionaries by name and key."""
    arrays = {}
    for name, value in vars(buffer).items():
        if isinstance(value, dict):
            arrays.update({f"{name} {key}": part for key, part in value.items() if isinstance(part, np.ndarray)})
        elif isinstance(value, np.ndarray) and name != "infos":
            arrays[name] = value
    return arrays


def content(buffer: ReplayBuffer) -> dict[str, Any]:
    """Return all that a buffer holds, to be compared with that of another."""
    arrays = {name: (part.dtype.str, part.shape, part.tobytes()) for name, part in arrays_of(buffer).items()}
    return {"pos": buffer.pos, "full": buffer.full, **arrays}


def random_row(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (100 * rng.standard_normal(array.shape[1:])).astype(array.dtype)


def add(buffer: ReplayBuffer, count: int, rng: np.random.Generator) -> None:
    """Add random transitions, some of which end an episode."""
    for _ in range(count):
        if isinstance(buffer.observations, dict):
            old, new = ({k: random_row(a, rng) for k, a in buffer.observations.items()} for _ in range(2))
        else:
            old, new = random_row(buffer.observations, rng), random_row(buffer.observations, rng)
        done = rng.random(buffer.n_envs) < 0.2
        infos = [{"TimeLimit.truncated": bool(ended and rng.random() < 0.5)} for ended in done]
        action, reward = random_row(buffer.actions, rng), random_row(buffer.rewards, rng)
        buffer.add(old, new, action, reward, done, infos)


def filled(make: Callable[[], ReplayBuffer] = plain, count: int = 3 * ROWS) -> ReplayBuffer:
    buffer = make()
    add(buffer, count, np.random.default_rng(1))
    return buffer


def chunked(buffer: ReplayBuffer, rows: int = ROWS) -> ReplayChunks:
    """Return the chunks of a buffer, a few slots each."""
    slot_bytes = sum(part.nbytes for name, part in arrays_of(buffer).items() if name not in EPISODES) // SIZE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay_chunks, "CHUNK_BYTES", rows * slot_bytes + 1)
        return ReplayChunks(buffer)


def save(chunks: ReplayChunks, folder: Path, rows_added: int = 0) -> dict[str, Any]:
    folder.mkdir()
    return chunks.save(folder, rows_added)[0]


def loaded(make: Callable[[], ReplayBuffer], folder: Path, description: Mapping[str, Any]) -> ReplayBuffer:
    buffer = make()
    ReplayChunks(buffer).load(folder, as_stored(description))
    return buffer


def as_stored(value: Any) -> Any:
    """Return a description as it comes back from a JSON file with arrays beside it; anything else fails."""
    if isinstance(value, np.ndarray):
        assert value.dtype != object
        return value.copy()
    if isinstance(value, dict):
        return {key: as_stored(part) for key, part in value.items()}
    return [as_stored(part) for part in value] if isinstance(value, list) else json.loads(json.dumps(value))


def inodes(folder: Path) -> list[int]:
    return [path.stat().st_ino for path in sorted(folder.iterdir())]


def shared(one: Path, other: Path) -> list[bool]:
    """Return, chunk by chunk, whether two checkpoints share the file."""
    return [a == b for a, b in zip(inodes(one), inodes(other), strict=True)]


@every_kind
@pytest.mark.parametrize("count", [0, 7, SIZE - 1, SIZE, SIZE + 17])
def test_a_buffer_comes_back_bit_for_bit(tmp_path: Path, make: Callable[[], ReplayBuffer], count: int) -> None:
    buffer = filled(make, count)
    description = save(chunked(buffer), tmp_path / "a")
    assert len(inodes(tmp_path / "a")) == -(-min(count, SIZE) // ROWS)
    assert content(loaded(make, tmp_path / "a", description)) == content(buffer)


@every_kind
def test_thirty_checkpoints_of_a_growing_buffer_are_each_exact(
    tmp_path: Path, make: Callable[[], ReplayBuffer]
) -> None:
    """A buffer that is put away and taken out again now and then stays equal to one that never was."""
    rng = np.random.default_rng(7)
    untouched, buffer = make(), make()
    chunks = chunked(buffer)
    for step in range(30):
        count = int(rng.choice([0, 1, 2, 5, 9, SIZE, SIZE + 3], p=[0.1, 0.2, 0.2, 0.2, 0.2, 0.05, 0.05]))
        add(untouched, count, np.random.default_rng(step))
        add(buffer, count, np.random.default_rng(step))
        folder = tmp_path / str(step)
        description = save(chunks, folder, count)
        if rng.random() < 0.2:
            shutil.rmtree(tmp_path / str(step - 1), ignore_errors=True)
        assert content(loaded(make, folder, description)) == content(untouched)
        if rng.random() < 0.3:
            buffer = make()
            chunks = ReplayChunks(buffer)
            chunks.load(folder, as_stored(description))


def test_unchanged_chunks_are_shared_with_the_checkpoint_before(tmp_path: Path) -> None:
    buffer = filled(count=5 * ROWS)
    chunks = chunked(buffer)
    first, before = save(chunks, tmp_path / "a"), content(buffer)
    assert len(inodes(tmp_path / "a")) == 5
    add(buffer, SIZE - 5 * ROWS + 5, np.random.default_rng(2))
    second = save(chunks, tmp_path / "b", SIZE - 5 * ROWS + 5)
    a, b = inodes(tmp_path / "a"), inodes(tmp_path / "b")
    assert [inode in a for inode in b] == [False, False, True, True, False, False, False, False]
    assert content(loaded(plain, tmp_path / "a", first)) == before
    assert content(loaded(plain, tmp_path / "b", second)) == content(buffer)


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        (3 * ROWS, 0, [True, True, False]),  # the newest slot may have been marked as done
        (3 * ROWS - 1, 1, [True, True, False]),
        (ROWS + 1, 2 * ROWS - 1, [True, False, False]),
        (SIZE + 5, 1, [True, False] + 6 * [True]),
        (SIZE + 4, 1, [False, False] + 6 * [True]),
        (SIZE - 3 + SIZE, 3, 6 * [True] + 2 * [False]),
        (SIZE - 1 + SIZE, 2, [False] + 6 * [True] + [False]),
        (SIZE + 1, SIZE - 1, 8 * [False]),
        (SIZE + 1, SIZE, 8 * [False]),
        (SIZE + 1, 2 * SIZE + 3, 8 * [False]),
    ],
)
def test_the_chunks_with_new_slots_are_written(tmp_path: Path, start: int, count: int, expected: list[bool]) -> None:
    buffer = filled(count=start)
    chunks = chunked(buffer)
    save(chunks, tmp_path / "a")
    add(buffer, count, np.random.default_rng(2))
    description = save(chunks, tmp_path / "b", count)
    a = inodes(tmp_path / "a")
    assert [inode in a for inode in inodes(tmp_path / "b")] == expected
    assert content(loaded(plain, tmp_path / "b", description)) == content(buffer)


def test_a_wrong_count_of_new_slots_rewrites_everything(tmp_path: Path) -> None:
    buffer = filled(count=SIZE)
    chunks = chunked(buffer)
    save(chunks, tmp_path / "a")
    add(buffer, 20, np.random.default_rng(2))
    description = save(chunks, tmp_path / "b", 2)
    assert shared(tmp_path / "a", tmp_path / "b") == 8 * [False]
    assert content(loaded(plain, tmp_path / "b", description)) == content(buffer)


def test_what_is_written_does_not_grow_with_the_buffer(tmp_path: Path) -> None:
    """New rows and two chunks bound the bytes of the next checkpoint, and file headers come on top."""
    buffer, new = filled(KINDS["images"], SIZE), 6
    chunks = chunked(buffer, rows=3)
    save(chunks, tmp_path / "a")
    add(buffer, new, np.random.default_rng(2))
    save(chunks, tmp_path / "b", new)
    sizes = [path.stat().st_size for path in (tmp_path / "b").iterdir() if path.stat().st_nlink == 1]
    row_bytes = 2 * 3 * 8 * 8 + 4 + 3 * 4
    header_bytes = 6 * 300
    assert new * row_bytes < sum(sizes) < (new + 2 * 3) * row_bytes + len(sizes) * header_bytes
    assert len(sizes) == 3 and len(inodes(tmp_path / "b")) == 10


def test_a_checkpoint_is_complete_without_the_one_before(tmp_path: Path) -> None:
    buffer = filled()
    chunks = chunked(buffer)
    save(chunks, tmp_path / "a")
    add(buffer, 2, np.random.default_rng(2))
    description = save(chunks, tmp_path / "b", 2)
    shutil.rmtree(tmp_path / "a")
    assert content(loaded(plain, tmp_path / "b", description)) == content(buffer)


def test_where_links_are_not_possible_files_are_copied_and_all_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("no links here")

    buffer = filled()
    chunks = chunked(buffer)
    save(chunks, tmp_path / "a")
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    synced: list[int] = []
    add(buffer, 1, np.random.default_rng(2))
    description = save(chunks, tmp_path / "b", 1)
    assert set(inodes(tmp_path / "b")) <= set(synced)
    copied = sorted(path.name for path in (tmp_path / "a").iterdir())[:2]
    assert {path.stat().st_nlink for path in tmp_path.glob("*/*")} == {1}
    assert [(tmp_path / "b" / name).stat().st_mtime_ns for name in copied] == [
        (tmp_path / "a" / name).stat().st_mtime_ns for name in copied
    ]
    assert content(loaded(plain, tmp_path / "b", description)) == content(buffer)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"torn")], ids=["gone", "torn"])
def test_a_lost_file_of_the_checkpoint_before_is_written_anew(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    buffer = filled()
    chunks = chunked(buffer)
    description = save(chunks, tmp_path / "a")
    damage(tmp_path / "a" / description["chunks"][0]["name"])
    again = save(chunks, tmp_path / "b")
    assert again == description
    links = [(tmp_path / "b" / chunk["name"]).stat().st_nlink for chunk in again["chunks"]]
    assert links == [1, 2, 1]
    assert content(loaded(plain, tmp_path / "b", again)) == content(buffer)


def test_a_save_after_a_load_links(tmp_path: Path) -> None:
    description = save(chunked(filled()), tmp_path / "a")
    buffer = plain()
    chunks = ReplayChunks(buffer)
    chunks.load(tmp_path / "a", as_stored(description))
    add(buffer, 1, np.random.default_rng(2))
    (tmp_path / "b").mkdir()
    again, files = chunks.save(tmp_path / "b", 1)
    assert [(tmp_path / "b" / name).stat().st_nlink for name in files] == [2, 2, 1, 1]
    assert again["chunks"][:2] == description["chunks"][:2]
    assert content(loaded(plain, tmp_path / "b", again)) == content(buffer)


def test_files_are_found_where_their_folder_was_renamed_to(tmp_path: Path) -> None:
    chunks = chunked(filled())
    save(chunks, tmp_path / "aside")
    (tmp_path / "aside").rename(tmp_path / "a")
    chunks.rebase(tmp_path / "a")
    save(chunks, tmp_path / "b")
    assert shared(tmp_path / "a", tmp_path / "b") == [True, True, False]


def test_files_are_named_and_described_by_what_they_hold(tmp_path: Path) -> None:
    chunks = chunked(filled())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        description, files = chunks.save(tmp_path / name, 0)
        assert sorted(os.listdir(tmp_path / name)) == list(files)
        assert description["chunks"] == [{"name": n, "size": f.size, "sha256": f.sha256} for n, f in files.items()]
        for index, (file, stored) in enumerate(files.items()):
            written = (tmp_path / name / file).read_bytes()
            assert (stored.size, stored.sha256) == (len(written), hashlib.sha256(written).hexdigest())
            assert file == f"{index:06d}-{stored.sha256[:16]}.npz"
            with np.load(tmp_path / name / file, allow_pickle=False) as parts:
                assert {part.shape[0] for part in parts.values()} == {ROWS}


def test_saving_needs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_chunks, "CHUNK_BYTES", 2**19)
    buffer = plain(buffer_size=200_000)
    buffer.pos, buffer.full = 5, True
    buffer.rewards[:] = np.random.default_rng(0).standard_normal(buffer.rewards.shape)
    chunks = ReplayChunks(buffer)
    (tmp_path / "a").mkdir()
    tracemalloc.start()
    try:
        _, files = chunks.save(tmp_path / "a", 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(files) == 16
    assert peak < 2 * 2**19


def test_the_newest_observation_of_a_memory_optimized_buffer_comes_back(tmp_path: Path) -> None:
    """It lies in a slot that is not filled, or in a chunk that is linked from an older checkpoint."""
    make = KINDS["memory optimized"]
    for count in (ROWS, SIZE + ROWS):
        buffer = filled(make, count - 1)
        chunks = chunked(buffer)
        save(chunks, tmp_path / f"{count} a")
        add(buffer, 1, np.random.default_rng(2))
        description = save(chunks, tmp_path / f"{count} b", 1)
        restored = loaded(make, tmp_path / f"{count} b", description)
        assert restored.observations[ROWS].tobytes() == buffer.observations[ROWS].tobytes()
        assert np.any(restored.observations[ROWS] != 0)
    assert shared(tmp_path / f"{count} a", tmp_path / f"{count} b")[1] is True


@pytest.mark.parametrize("make", [hindsight, KINDS["n-step returns"], plain], ids=["hindsight", "n-step", "plain"])
@pytest.mark.parametrize("count", [SIZE - 3, SIZE + 11])
def test_a_restored_buffer_samples_what_the_original_does(
    tmp_path: Path, make: Callable[[], ReplayBuffer], count: int
) -> None:
    buffer = filled(make, count)
    restored = loaded(make, tmp_path / "a", save(chunked(buffer), tmp_path / "a"))
    batches = []
    for each in (buffer, restored):
        add(each, 4, np.random.default_rng(3))
        set_random_seed(5)
        sample = each.sample(64)
        parts = sample.next_observations if isinstance(sample.next_observations, dict) else {"": sample.observations}
        batches.append([*(part.tolist() for part in parts.values()), sample.actions.tolist(), sample.rewards.tolist()])
    assert batches[0] == batches[1]


def test_where_episodes_begin_and_end_takes_a_number_each(tmp_path: Path) -> None:
    buffer = hindsight(n_envs=2)
    for step in range(24):
        row = {key: random_row(array, np.random.default_rng(step)) for key, array in buffer.observations.items()}
        buffer.add(row, row, np.zeros((2, 1)), np.zeros(2), np.array([step % 8 == 7, step % 12 == 11]), [{}, {}])
    episodes = save(chunked(buffer), tmp_path / "a")["episodes"]
    assert episodes["start"]["values"].tolist() == [0, 8, 16, 0, 0, 12, 0]
    assert episodes["start"]["counts"].tolist() == [8, 8, 8, 6, 12, 12, 6]
    assert episodes["length"]["values"].tolist() == [8, 0, 12, 0]
    assert episodes["length"]["counts"].tolist() == [24, 6, 24, 6]
    assert episodes["current_start"].tolist() == [24, 24]


def test_a_trajectory_truncated_after_loading_is_saved_as_such(tmp_path: Path) -> None:
    """Stable-Baselines3 then marks the newest slot, which was saved before, as done."""
    description = save(chunked(filled(hindsight)), tmp_path / "a")
    buffer = hindsight()
    chunks = ReplayChunks(buffer)
    chunks.load(tmp_path / "a", as_stored(description))
    with pytest.warns(UserWarning, match="last trajectory in the replay buffer will be truncated"):
        buffer.truncate_last_trajectory()
    add(buffer, 1, np.random.default_rng(2))
    assert content(loaded(hindsight, tmp_path / "b", save(chunks, tmp_path / "b", 1))) == content(buffer)


def test_a_description_does_not_follow_the_buffer(tmp_path: Path) -> None:
    for make in (hindsight, KINDS["memory optimized"]):
        buffer = filled(make)
        before = content(buffer)
        folder = tmp_path / type(buffer).__name__
        description = save(chunked(buffer), folder)
        add(buffer, SIZE, np.random.default_rng(2))
        assert content(loaded(make, folder, description)) == before


def test_loading_replaces_what_a_buffer_held(tmp_path: Path) -> None:
    buffer = filled(count=5)
    description = save(chunked(buffer), tmp_path / "a")
    used = filled(count=SIZE + 3)
    ReplayChunks(used).load(tmp_path / "a", description)
    assert content(used) == content(buffer)


def test_a_loaded_buffer_keeps_the_chunks_it_was_saved_in(tmp_path: Path) -> None:
    description = save(chunked(filled(), rows=3), tmp_path / "a")
    buffer = plain()
    chunks = chunked(buffer, rows=5)
    chunks.load(tmp_path / "a", description)
    assert save(chunks, tmp_path / "b") == description
    assert shared(tmp_path / "a", tmp_path / "b") == [True, True, True, False]


@pytest.mark.parametrize(
    ("make", "difference"),
    [
        (lambda: plain(buffer_size=20), "its number of slots per environment is 30, here it is 20"),
        (lambda: plain(n_envs=2, buffer_size=60), "its number of environments is 1, here it is 2"),
        (lambda: NStepReplayBuffer(SIZE, VECTOR, TORQUE), "its class is ReplayBuffer, here it is NStepReplayBuffer"),
        (
            lambda: plain(**MEMORY_OPTIMIZED),
            r"its list of arrays is actions, dones, next_observations, observations, rewards, timeouts, "
            r"here it is actions, dones, observations, rewards, timeouts",
        ),
        (
            lambda: plain(observation_space=spaces.Box(-1, 1, (4,))),
            r"its array observations is <f4 \(1, 3\), here it is <f4 \(1, 4\)",
        ),
        (
            lambda: plain(action_space=spaces.Discrete(2)),
            r"its array actions is <f4 \(1, 1\), here it is <i8 \(1, 1\)",
        ),
    ],
    ids=["size", "environments", "class", "arrays", "shape", "dtype"],
)
def test_another_buffer_is_refused(tmp_path: Path, make: Callable[[], ReplayBuffer], difference: str) -> None:
    description = save(chunked(filled()), tmp_path / "a")
    message = (
        f"^the saved replay buffer is another than the one here: {difference}; use the settings it was saved with$"
    )
    buffer = make()
    before = content(buffer)
    with pytest.raises(UsageError, match=message):
        ReplayChunks(buffer).load(tmp_path / "a", description)
    assert content(buffer) == before


def test_a_missing_chunk_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    description = save(chunked(filled()), tmp_path / "a")
    name = description["chunks"][2]["name"]
    (tmp_path / "a" / name).unlink()
    buffer = plain()
    with pytest.raises(UsageError, match=f"^the replay buffer in {tmp_path / 'a'} is not complete: {name} is missing$"):
        ReplayChunks(buffer).load(tmp_path / "a", description)
    assert content(buffer) == content(plain())


def changed_in_the_middle(path: Path) -> None:
    written = bytearray(path.read_bytes())
    written[200] ^= 1  # in the data of the first array
    path.write_bytes(written)


def of_other_length(path: Path) -> None:
    with np.load(path) as parts:
        np.savez(path, **{name: part[:1] for name, part in parts.items()})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "File is not a zip file"),
        (lambda path: path.write_bytes(b""), "No data left in file"),
        (changed_in_the_middle, "Bad CRC-32 for file 'observations.npy'"),
        (of_other_length, r"observations is float32 \(1, 1, 3\)"),
        (lambda path: np.savez(path, other=np.zeros(3)), "'observations is not a file in the archive'"),
    ],
    ids=["cut", "empty", "changed", "other length", "other arrays"],
)
def test_a_damaged_chunk_is_one_clear_line(tmp_path: Path, damage: Callable[[Path], Any], reason: str) -> None:
    description = save(chunked(filled()), tmp_path / "a")
    path = tmp_path / "a" / description["chunks"][1]["name"]
    damage(path)
    with pytest.raises(UsageError, match=f"^cannot read a part of the replay buffer, {path}: {reason}"):
        ReplayChunks(plain()).load(tmp_path / "a", description)


def test_infos_of_environments_are_refused() -> None:
    message = "^a replay buffer with copy_info_dict=True cannot be saved without pickle: .*--save-replay-buffer none"
    with pytest.raises(UsageError, match=message):
        ReplayChunks(hindsight(copy_info_dict=True))


@pytest.mark.parametrize("value", [np.zeros(3), {}, [], 0], ids=["array", "dict", "list", "number"])
def test_a_class_with_state_of_its_own_is_refused(value: Any) -> None:
    class WithPriorities(ReplayBuffer):
        """Has more than the module's tables know."""

    buffer = WithPriorities(SIZE, VECTOR, TORQUE)
    ReplayChunks(buffer)
    buffer.priorities = value
    with pytest.raises(RuntimeError, match=r"^WithPriorities has priorities: say in rl_baselines\.replay_chunks how"):
        ReplayChunks(buffer)
