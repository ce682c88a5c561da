"""Pickles of strangers, read without running their code.

What a pickle names decides what runs when it is loaded. Here every name is looked up in one table: numbers, lists and
arrays are built by functions of ours, and objects of the classes that Stable-Baselines3, Gymnasium and their
predecessors are known to write become a `Record`, which only holds what was written. Not even their ``__setstate__``
runs. Any other name is refused.
"""

import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rl_baselines.errors import UsageError

DAMAGE = (  # what a torn or forged pickle can raise besides
    *(AssertionError, AttributeError, BufferError, EOFError, ImportError, IndexError, KeyError, MemoryError),
    *(OverflowError, RuntimeError, TypeError, ValueError, struct.error, pickle.UnpicklingError),
)
_DTYPE = re.compile(r"[<>=|]?([biufc]\d+|[?bBhHiIlLqQefdgFDG]|[SU]\d+|O8?)")


class RefusedError(Exception):
    """A pickle names what is not read here."""


class Record:
    """What was written of an object whose class is not used: ``class_name``, ``arguments``, ``state``, ``items``.

    It can stand where pickles expect a function, too: to call it gives another record.
    """

    class_name = ""

    def __new__(cls, *arguments: Any, **named: Any) -> "Record":
        """Take what the class would have been given."""
        record = super().__new__(cls)
        record.arguments, record.named, record.state = arguments, named, None
        return record

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    state: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Do nothing: all is taken already."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *arguments: Any) -> "Record":
        """Stand for the result of a call that is not made."""
        return type(self)(self, *arguments)

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that were written; empty where there are none."""
        state = self.state[0] if isinstance(self.state, tuple) and len(self.state) == 2 else self.state
        return state if isinstance(state, dict) else {}

    @property
    def short_name(self) -> str:
        """The name of the class without its module."""
        return self.class_name.rpartition(".")[2]


class _Function:
    """A function of ours that a pickle may call, and do nothing else with."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise RefusedError("a function with a state")


class _DataType:
    """A numpy data type in the making: only plain numbers, texts and references."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise RefusedError(f"the numpy data type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order, rest = state[1], state[2:5]
        if any(part is not None for part in rest) or order not in ("<", ">", "|", "="):
            raise RefusedError("a structured numpy data type")
        if order != "|":
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """A numpy array that is filled by us instead of by numpy, which would trust the pickle's description of it."""

    def __new__(cls, *arguments: Any, **named: Any) -> "_Array":
        """Refuse a pickle that wants to choose the memory itself."""
        raise RefusedError("an array with memory of its own")

    def __setstate__(self, state: Any) -> None:
        _, shape, data_type, fortran, data = state
        array = _shaped(data, data_type, shape, "F" if fortran else "C")
        contents = list(array.ravel()) if array.dtype.hasobject else array.tobytes()
        super().__setstate__((1, array.shape, array.dtype, False, contents))  # type: ignore[arg-type]


def _shaped(data: Any, data_type: Any, shape: Any, order: str) -> _Array:
    if not isinstance(data_type, _DataType) or not isinstance(shape, tuple):
        raise RefusedError("an array without data type and shape")
    if data_type.dtype.hasobject:
        if not isinstance(data, list):
            raise RefusedError("an array of objects that is no list")
        flat = np.fromiter(data, object, len(data))
    else:
        flat = np.frombuffer(data, data_type.dtype)
        flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    return flat.reshape(shape, order="F" if order == "F" else "C").view(_Array)


def _empty_array(cls: Any, *_: Any) -> _Array:
    if cls is not _Array:
        raise RefusedError("an array of another class")
    return np.empty((0,), np.int8).view(_Array)


def _scalar(data_type: Any, data: Any = None) -> Any:
    if not isinstance(data_type, _DataType) or data_type.dtype.hasobject:
        raise RefusedError("a number without data type")
    return np.frombuffer(data, data_type.dtype)[0].item()


def _object(cls: Any, *_: Any) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, Record)):
        raise RefusedError("an object of an unknown class")
    return cls()


def _set_function_state(function: Any, state: Any, *_: Any) -> Any:
    if isinstance(function, Record):
        function.state = state
    return function


_TYPE_NAMES = ("float", "int", "bool", "str", "object", "complex")
_BUILT: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
    ("collections", "OrderedDict"): _Function(lambda pairs=(): dict(pairs)),
    ("collections", "deque"): _Function(lambda items=(), length=None: list(items)),
    ("copyreg", "_reconstructor"): _Function(_object),
    ("copy_reg", "_reconstructor"): _Function(_object),
    ("_codecs", "encode"): _Function(lambda text, encoding="latin1": str(text).encode("latin1")),
    ("cloudpickle.cloudpickle", "_function_setstate"): _Function(_set_function_state),
    ("cloudpickle.cloudpickle_fast", "_function_setstate"): _Function(_set_function_state),
    **{(module, "set"): _Function(lambda items=(): set(items)) for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): _Function(lambda: b"") for module in ("builtins", "__builtin__")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Function(_empty_array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Function(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Function(_shaped) for core in ("core", "_core")},
}
_RECORDED = re.compile(  # modules whose objects become records
    r"gym(nasium)?\.spaces(\.\w+)?"
    r"|numpy\.random\.\w+"
    r"|stable_baselines3\.(common\.(buffers|noise|running_mean_std|type_aliases|utils|vec_env\.vec_normalize)|her\.\w+)"
    r"|sb3_contrib\.common\.\w+"
    r"|cloudpickle\.cloudpickle(_fast)?"
    r"|torch\.(nn\.modules\.activation|optim\.\w+)"
    r"|(stable_baselines3|sb3_contrib)\.[\w.]*policies"
)
_RECORDED_NAMES = {
    *(("torch", "device"), ("types", "CodeType"), ("enum", "Enum")),
    *(("stable_baselines3.common.torch_layers", name) for name in ("NatureCNN", "FlattenExtractor")),
    *(("stable_baselines3.common.sb2_compat.rmsprop_tf_like", "RMSpropTFLike"),),
    *(("numpy", name) for name in ("float32", "float64", "int64", "int32", "uint8", "int8", "bool_")),
    *((module, name) for module in ("builtins", "__builtin__") for name in _TYPE_NAMES),
}


class _Reader(pickle.Unpickler):
    """The unpickler: every name is looked up here."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._classes: dict[str, type[Record]] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Give what stands for a name.

        :raises RefusedError: for a name that is not known
        """
        key = (module_name, global_name)
        if key in _BUILT:
            return _BUILT[key]
        name = f"{module_name}.{global_name}"
        if "." in global_name or not (key in _RECORDED_NAMES or _RECORDED.fullmatch(module_name)):
            raise RefusedError(name)
        return self._classes.setdefault(name, type("Record", (Record,), {"class_name": name}))


def read_pickle(content: "bytes | Path", where: str, trusted: bool = False) -> Any:
    """Read a pickle.

    :param content: the pickle or its file
    :param where: what it is, for the error message
    :param trusted: load it as Python does, with all the code it names
    :return: numbers, texts, lists, dictionaries, arrays and `Record`; the objects themselves if trusted
    :raises UsageError: when it is missing or torn, or names what is not read
    """
    try:
        with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as file:
            return pickle.load(file) if trusted else _Reader(file).load()
    except RefusedError as refused:
        raise UsageError(
            f"{where} holds {refused}, which is not loaded because it could run code; if you trust its origin, add "
            "--trust-source"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {where}: {error.strerror or error}") from None
    except DAMAGE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{where} is not a readable pickle: {reason}") from None


def attributes_of(value: Any) -> dict[str, Any]:
    """Give the attributes of a record, or of a real object from a trusted pickle."""
    if isinstance(value, Record):
        return value.attributes
    return dict(vars(value)) if hasattr(value, "__dict__") else {}


def class_of(value: Any) -> str:
    """Name the class of a record, or of a real object from a trusted pickle, without its module."""
    return value.short_name if isinstance(value, Record) else type(value).__name__
