"""Nested state comes back from disk to the last bit, and where two states differ is told."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl_baselines.errors import UsageError
from rl_baselines.state_files import first_difference, read_state, write_state

HUGE = 2**127 + 12345678901234567890
ARRAYS: dict[str, np.ndarray] = {
    "bool": np.array([True, False]),
    "uint8": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "float32": np.array([0.1, -0.0, np.nan, np.inf, -np.inf, 1e-45], np.float32),
    "float64": np.array([0.1, -0.0, np.nan, np.inf, 5e-324, 1 / 3]),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint32": np.array([2**32 - 1], np.uint32),
    "zero dimensions": np.array(0.1, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every other": np.arange(10)[::2],
    "texts": np.array(["left", "right"]),
}
PLAIN: dict[str, Any] = {
    "nothing": None,
    "truth": [True, False],
    "whole numbers": [0, -1, HUGE, -HUGE],
    "floats": [0.1, -0.0, 0.0, 1e300, 5e-324, 1 / 3],
    "not finite": [float("nan"), float("inf"), float("-inf")],
    "texts": ["", "épée", "a/b", 'quote " and \\ and \n'],
    "empty": {"list": [], "dictionary": {}},
    "": {"": {"": 1}},
}


def through_files(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    write_state(folder, state)
    return read_state(folder)


def assert_identical(found: Any, expected: Any) -> None:
    """The same types, dtypes, shapes and bits."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_identical(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_identical(one, other)
    elif isinstance(expected, np.ndarray | np.generic):
        assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    else:
        assert repr(found) == repr(expected)


def test_plain_values_come_back(tmp_path: Path) -> None:
    assert_identical(through_files(PLAIN, tmp_path), PLAIN)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_to_the_last_bit(name: str, tmp_path: Path) -> None:
    assert_identical(through_files({"array": ARRAYS[name]}, tmp_path), {"array": ARRAYS[name]})


def test_arrays_come_back_at_their_places_in_nested_state(tmp_path: Path) -> None:
    state = {"a": [{"b": np.arange(2)}, [np.ones(1)]], "b": {"a": {"a": np.zeros(3)}}, "c": 1}
    assert_identical(through_files(state, tmp_path), state)


@pytest.mark.parametrize(
    "number",
    [np.float32(0.1), np.float64("nan"), np.int64(-7), np.uint8(255), np.bool_(True), np.float32(-0.0), np.str_("a")],
    ids=repr,
)
def test_a_number_of_numpy_comes_back_as_one_of_the_same_type(number: np.generic, tmp_path: Path) -> None:
    found = through_files({"number": number}, tmp_path)["number"]
    assert type(found) is type(number)
    assert found.tobytes() == number.tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64, torch.bool])
def test_a_tensor_comes_back_as_an_array(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.tensor([[1, 0], [0, 1]]).to(dtype)
    assert_identical(through_files({"tensor": tensor}, tmp_path)["tensor"], tensor.numpy())


def test_a_tensor_that_has_a_gradient_comes_back_as_an_array(tmp_path: Path) -> None:
    tensor = torch.tensor([0.5, -2.0], requires_grad=True)
    assert_identical(through_files({"tensor": tensor}, tmp_path)["tensor"], np.array([0.5, -2.0], np.float32))


def test_tuples_become_lists(tmp_path: Path) -> None:
    assert through_files({"pair": (1, ("a", None))}, tmp_path) == {"pair": [1, ["a", None]]}


def test_the_states_of_generators_come_back(tmp_path: Path) -> None:
    generator, legacy = np.random.default_rng(3), np.random.RandomState(4)
    generator.normal(size=3)
    legacy.normal(size=3)
    state = {"generator": generator.bit_generator.state, "legacy": legacy.get_state(legacy=False)}
    expected = [generator.normal(size=4), legacy.normal(size=4), generator.integers(2**62)]
    found = through_files(state, tmp_path)
    assert found["generator"]["state"]["state"] > 2**64
    generator.bit_generator.state = found["generator"]
    legacy.set_state(found["legacy"])
    again = [generator.normal(size=4), legacy.normal(size=4), generator.integers(2**62)]
    assert first_difference(again, expected) is None


@pytest.mark.parametrize(
    "state",
    [
        {"file": np.ones(1), "allow_pickle": np.zeros(1)},
        {"a": {"b": np.ones(1)}, "a/b": np.zeros(1)},
        {"/a": np.ones(1), "a": np.zeros(1), "a/": np.full(1, 2.0)},
        {"a": np.ones(1), "a.npy": np.zeros(1)},
        {"a": [np.ones(1)], "a/0": np.zeros(1), "": np.full(1, 3.0)},
    ],
    ids=str,
)
def test_keys_that_look_alike_are_kept_apart(state: dict[str, Any], tmp_path: Path) -> None:
    assert_identical(through_files(state, tmp_path), state)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [1, {"b": object()}]}, "a object at /a/1/b cannot be saved"),
        ({"a": {1, 2}}, "a set at /a cannot be saved"),
        ({"a": b"bytes"}, "a bytes at /a cannot be saved"),
        ({"a": {"b": np.array([None])}}, "a ndarray at /a/b cannot be saved"),
        ({"a": {2: 1}}, "the key 2 at /a cannot be saved"),
        ({3: 1}, "the key 3 at the top cannot be saved"),
        ({"a": {"__array__": "x"}}, "the key '__array__' at /a cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_named_with_its_place(state: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        write_state(tmp_path, state)


@pytest.mark.parametrize("name", ["state.json", "arrays.npz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97])
def test_a_torn_file_is_told(name: str, share: float, tmp_path: Path) -> None:
    write_state(tmp_path, {"array": np.arange(100.0), "text": "a" * 100})
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(UsageError, match=f"^cannot read the state in {re.escape(str(tmp_path))}: "):
        read_state(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "arrays.npz"])
def test_a_missing_file_is_told(name: str, tmp_path: Path) -> None:
    write_state(tmp_path, {"array": np.arange(3)})
    (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=f"^cannot read the state in .*{re.escape(name)}"):
        read_state(tmp_path)


def test_an_array_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_state(tmp_path, {"array": np.arange(3)})
    np.savez(tmp_path / "arrays.npz", other=np.arange(3))
    with pytest.raises(UsageError, match=r"^cannot read the state in .*array is not a file in the archive"):
        read_state(tmp_path)


def test_a_pickled_object_is_not_read(tmp_path: Path) -> None:
    write_state(tmp_path, {"array": np.arange(3)})
    np.savez(tmp_path / "arrays.npz", array=np.array([print], dtype=object))
    with pytest.raises(UsageError, match="allow_pickle=False"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    "value", [PLAIN, ARRAYS, HUGE, "text", np.float32("nan"), torch.ones(2)], ids=lambda v: str(type(v))
)
def test_equal_states_do_not_differ(value: Any) -> None:
    assert first_difference(value, value) is None
    assert first_difference({"a": [value]}, {"a": (value,)}) is None


NAN = float("nan")


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a/b/1: 2 and 3"),
        ({"a": 1, "b": 2}, {"a": 1}, "b: only in one of them"),
        ({"a": 1}, {"a": 1, "c": {"d": 2}}, "c: only in one of them"),
        ({"a": [1, 2]}, {"a": [1]}, "a: 2 items and 1 items"),
        ({"a": {}}, {"a": None}, "a: 0 items and None"),
        ({"a": 1}, {"a": 1.0}, "a: 1 and 1.0"),
        ({"a": True}, {"a": 1}, "a: True and 1"),
        ({"a": 0.0}, {"a": -0.0}, "a: 0.0 and -0.0"),
        ({"a": NAN}, {"a": 0.0}, "a: nan and 0.0"),
        ({"a": "x"}, {"a": "y"}, "a: 'x' and 'y'"),
        (1, 2, "1 and 2"),
        ({"a": np.ones(2)}, {"a": np.ones(2, np.float32)}, "a: float64 (2,) and float32 (2,)"),
        ({"a": np.ones(2)}, {"a": np.ones((2, 1))}, "a: float64 (2,) and float64 (2, 1)"),
        ({"a": np.ones(2)}, {"a": [1.0, 1.0]}, "a: float64 (2,) and 2 items"),
        ({"a": np.float64(1)}, {"a": 1.0}, "a: float64 () and 1.0"),
        ({"a": 1.0}, {"a": np.float64(1)}, "a: 1.0 and float64 ()"),
        ({"a": np.float32(1)}, {"a": np.float64(1)}, "a: float32 () and float64 ()"),
        ([np.array([1.0, 2.0, 3.0])], [np.array([1.0, 2.5, 2.0])], "0: 2 of 3 numbers differ, by 1 at most"),
        (np.array([NAN, 1.0, 2.0]), np.array([NAN, 1.0, 2.25]), "1 of 3 numbers differ, by 0.25 at most"),
        (np.array([NAN, 1.0]), np.array([0.0, 1.5]), "2 of 2 numbers differ, by 0.5 at most"),
        (np.array([NAN]), np.array([0.0]), "1 of 1 numbers differ"),
        (np.array([0.0]), np.array([-0.0]), "1 of 1 numbers differ, by 0 at most"),
        (np.array([1, 255], np.uint8), np.array([1, 0], np.uint8), "1 of 2 numbers differ, by 255 at most"),
        (np.array([True, False]), np.array([True, True]), "1 of 2 numbers differ, by 1 at most"),
        (np.array(1), np.array(3), "1 of 1 numbers differ, by 2 at most"),
        (np.array(["ab"]), np.array(["ac"]), "1 of 1 numbers differ"),
        (torch.ones(2), torch.tensor([1.0, 0.0]), "1 of 2 numbers differ, by 1 at most"),
        (torch.ones(2, requires_grad=True), torch.zeros(2), "2 of 2 numbers differ, by 1 at most"),
    ],
)
def test_the_first_difference_is_named_with_its_place(one: Any, other: Any, message: str) -> None:
    assert first_difference(one, other) == message


def test_a_tensor_equals_the_array_of_its_numbers() -> None:
    tensor = torch.tensor([0.1, NAN], requires_grad=True)
    assert first_difference({"a": tensor}, {"a": tensor.detach().numpy().copy()}) is None


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_layout_in_memory_comes_back(axes: tuple[int, ...], tmp_path: Path) -> None:
    """Pictures are transposed views, and a network rounds differently for arrays of another layout."""
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).transpose(axes)
    write_state(tmp_path, {"pictures": array})
    back = read_state(tmp_path)["pictures"]
    assert back.tolist() == array.tolist()
    assert (back.shape, back.strides) == (array.shape, array.strides)
