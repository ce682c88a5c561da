"""Values as people write them: parsing of `name:value` texts, and checking a value against a type hint."""

import math
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from rl_baselines.errors import UsageError, unknown

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


def parse_literal(text: str) -> Any:
    """Read one value: number, boolean, null, `[list]`, `{name: value}` or else a plain word.

    :param text: for instance ``1e-3``, ``[64,64]``, ``{pi:[64],vf:[64]}``, ``leaky_relu``
    """
    spaced = re.sub(r"(?<=[\w\]}]):(?=[^\s])", ": ", text) if text.lstrip().startswith("{") else text
    try:
        return _with_numbers(yaml.safe_load(spaced))
    except yaml.YAMLError as error:
        raise UsageError(f"cannot read the value {text!r}: quote it, or write lists as [64,64]") from error


def _with_numbers(value: Any) -> Any:
    """Turn texts such as ``1e-3``, which YAML 1.1 leaves as they are, into numbers."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_numbers(item) for key, item in value.items()}
    return value


def parse_pairs(texts: Iterable[str], what: str) -> dict[str, Any]:
    """Read `name:value` texts into a dictionary.

    :param what: what the pairs are, for the error message, for instance ``--hyperparam``
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name:
            raise UsageError(f"{what} expects name:value, got {text!r}; for instance {what} {name or 'name'}:1")
        pairs[name] = parse_literal(value)
    return pairs


def parse_duration(text: str, what: str) -> float:
    """Read a time such as ``90s``, ``5h50m`` or ``2d`` in seconds.

    :param what: what it is for, named in the error
    :raises UsageError: when it is no such time, or none at all
    """
    match = _DURATION.fullmatch(text)
    parts = [int(part) for part in match.groups(default="0")] if match else []
    if not any(parts):
        raise UsageError(f"{what} expects a time such as 90s, 30m, 5h50m or 2d, got {text!r}")
    return float(sum(part * seconds for part, seconds in zip(parts, (86400, 3600, 60, 1), strict=True)))


def coerce(value: Any, hint: Any, what: str) -> Any:
    """Give `value` the type that `hint` asks for, without guessing.

    Integers may be written as ``1e5``; types that cannot be written as text (callables, classes) never match.

    :param hint: a type hint made of None, bool, int, float, str, Literal, tuple, list, dict, Any and their unions
    :param what: what the value is for, named in the error
    :raises UsageError: when the value does not fit
    """
    if get_origin(hint) in (Union, types.UnionType):
        return _coerce_union(value, get_args(hint), what)
    if hint is Any:
        return value
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise unknown(what, str(value), [str(choice) for choice in get_args(hint)])
        return value
    origin = get_origin(hint) or hint
    if origin in _CONVERTERS:
        converted = _CONVERTERS[origin](value)
        if converted is not _NO:
            return converted
    raise UsageError(f"{what} expects {describe(hint)}, got {value!r}")


def _coerce_union(value: Any, options: tuple[Any, ...], what: str) -> Any:
    if value is None and type(None) in options:
        return None
    exact = [option for option in options if isinstance(option, type) and type(value) is option]
    for option in (*exact, *options):
        try:
            return coerce(value, option, what)
        except UsageError:
            continue
    written = [option for option in options if describe(option)]
    raise UsageError(f"{what} expects {' or '.join(describe(option) for option in written)}, got {value!r}")


def describe(hint: Any) -> str:
    """Name a type hint in words; empty for types that cannot be written as text."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(filter(None, map(describe, get_args(hint))))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", type(None): "null"}
    names |= {tuple: "a list", list: "a list", dict: "name: value pairs"}
    return names.get(get_origin(hint) or hint, "")


_NO = object()


def _to_float(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else _NO


def _to_int(value: Any) -> Any:
    number = _to_float(value)
    return int(number) if number is not _NO and math.isfinite(number) and number == int(number) else _NO


def _to_tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, (list, tuple)) else _NO


_CONVERTERS: dict[Any, Any] = {
    bool: lambda value: value if isinstance(value, bool) else _NO,
    int: _to_int,
    float: _to_float,
    str: lambda value: value if isinstance(value, str) else _NO,
    type(None): lambda value: value if value is None else _NO,
    tuple: _to_tuple,
    list: lambda value: list(value) if isinstance(value, (list, tuple)) else _NO,
    dict: lambda value: dict(value) if isinstance(value, Mapping) else _NO,
}
