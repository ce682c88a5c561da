"""Pickles read without running their code: what is built, and that nothing else is."""

import collections
import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from strangers import Bomb, gym_box

from rl_baselines.errors import UsageError
from rl_baselines.foreign.restricted_pickle import Record, attributes_of, class_of, read_pickle

ARRAYS = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "none": np.zeros((0, 2)),
    "no dimension": np.array(2.5),
    "booleans": np.array([True, False]),
    "texts": np.array(["ab", "c"]),
    "objects": np.array([{"a": 1}, [1, 2]], dtype=object),
}


def read(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return read_pickle(pickle.dumps(value, protocol), "it")


def refusal(content: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        read_pickle(content, "it")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_whole(name: str, protocol: int) -> None:
    array = ARRAYS[name]
    found = read({"x": array}, protocol)["x"]
    assert found.dtype == array.dtype.newbyteorder("=") and found.shape == array.shape and np.array_equal(found, array)


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_and_containers_come_back(protocol: int) -> None:
    value = [1, 2.5, "a", b"b", None, True, (1, 2), {"a": {3, 4}}, np.float64(0.5), np.int64(7)]
    assert read(value, protocol) == value
    ordered, last = collections.OrderedDict(a=1), collections.deque([1, 2], maxlen=5)
    assert read([ordered, last], protocol) == [{"a": 1}, [1, 2]]


@pytest.mark.parametrize("protocol", range(6))
def test_known_classes_become_records_that_only_hold_what_was_written(protocol: int) -> None:
    statistics = RunningMeanStd(shape=(2,))
    statistics.update(np.array([[1.0, 2.0], [3.0, 5.0]]))
    found = read(statistics, protocol)
    assert isinstance(found, Record) and class_of(found) == "RunningMeanStd"
    assert found.class_name == "stable_baselines3.common.running_mean_std.RunningMeanStd"
    assert np.array_equal(attributes_of(found)["mean"], statistics.mean)
    box = spaces.Box(-1, 1, (2,), seed=3)
    box.sample()
    assert attributes_of(read(spaces.Dict(a=box), protocol))["spaces"]["a"].attributes["_shape"] == (2,)
    old = read_pickle(gym_box(shape=(4,), low=np.zeros(4)), "it")
    assert (old.class_name, old.attributes["shape"]) == ("gym.spaces.box.Box", (4,))
    assert attributes_of(read_pickle(pickle.dumps(statistics), "it", trusted=True)).keys() == vars(statistics).keys()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: pickle.dumps(print), "builtins.print"),
        (lambda: pickle.dumps(eval), "builtins.eval"),
        (lambda: pickle.dumps(getattr), "builtins.getattr"),
        (lambda: pickle.dumps(Path("x")), "pathlib.PosixPath"),
        (lambda: pickle.dumps(collections.Counter()), "collections.Counter"),
        (lambda: b"cos\nsystem\n(S'true'\ntR.", "posix.system|os.system"),
        (lambda: b"cgymnasium.spaces\nbox.np.load\n(S'true'\ntR.", "gymnasium.spaces.box.np.load"),
        (lambda: pickle.dumps(np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")])), "the numpy data type|structured"),
    ],
)
def test_other_names_are_refused(make: Callable[[], bytes], name: str) -> None:
    line = refusal(make())
    assert any(part in line for part in name.split("|")), line
    assert line.endswith("which is not loaded because it could run code; if you trust its origin, add --trust-source")


def test_a_trap_deep_inside_is_refused_and_does_not_run(tmp_path: Path) -> None:
    content = pickle.dumps({"a": [np.array([Bomb(tmp_path / "ran")], dtype=object)]})
    assert refusal(content).startswith("it holds pathlib.Path.touch, which") or "pathlib" in refusal(content)
    assert not (tmp_path / "ran").exists()
    read_pickle(content, "it", trusted=True)
    assert (tmp_path / "ran").exists()


def forged(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "content",
    [
        forged(NDARRAY, b"(K\x01\x85\x8c\x01Ot\x81"),  # an array of references with memory of its own
        forged(NDARRAY, b"K\x01\x85\x85R"),
        forged(DTYPE, b"\x8c\x02f4\x85R", b"(K\x03\x8c\x01<NN}K\x08K\x01K\x00tb"),  # fields slipped into a plain type
        forged(RECONSTRUCT, NDARRAY, b"K\x00\x85C\x01b\x87R", b"(K\x01K\x08\x85K\x01\x89C\x08AAAAAAAAtb"),
        forged(RECONSTRUCT, b"}b"),  # a function is given attributes
        forged(b"cgym.spaces\nBox\n", b"}b"),  # a class is given attributes
        forged(b"ccollections\nOrderedDict\n)R", b"}\x8c\x05itemsK\x01sb"),
    ],
)
def test_forged_pickles_are_refused(content: bytes) -> None:
    pickletools.dis(content, out=io.StringIO())
    assert refusal(content).startswith(("it holds ", "it is not a readable pickle: "))


def test_a_pickle_cut_or_changed_anywhere_is_one_line_or_harmless() -> None:
    content = pickle.dumps({"a": np.arange(20.0), "b": RunningMeanStd(shape=(3,)), "c": spaces.Box(0, 1, (2,))})
    generator = np.random.default_rng(0)
    for place in range(len(content)):
        assert "\n" not in refusal(content[:place])
    lines = []
    for _ in range(400):
        changed = bytearray(content)
        changed[generator.integers(len(content))] = generator.integers(256)
        try:
            read_pickle(bytes(changed), "it")
        except UsageError as error:
            lines.append(str(error))
    assert len(lines) > 100 and not any("\n" in line for line in lines)
