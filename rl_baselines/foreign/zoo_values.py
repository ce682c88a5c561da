"""Values as rl-zoo writes them in its YAML files, read without evaluating anything."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rl_baselines.errors import UsageError

_LINEAR = re.compile(r"lin_(.+)")
_LITERAL = re.compile(r"\s*(dict\(|[\[({])")
_CODE_TAG = "tag:yaml.org,2002:python/"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also reads ordered dictionaries and tuples."""


def _ordered_dictionary(loader: _Loader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.constructor.ConstructorError(None, None, "expected a list of pairs", node.start_mark)
    arguments = loader.construct_sequence(node, deep=True)
    return dict(arguments[0]) if arguments else {}


def _tuple(loader: _Loader, node: yaml.Node) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True)) if isinstance(node, yaml.SequenceNode) else ()


_Loader.add_constructor(_CODE_TAG + "object/apply:collections.OrderedDict", _ordered_dictionary)
_Loader.add_constructor(_CODE_TAG + "tuple", _tuple)


def read_zoo_file(path: Path) -> dict[str, Any]:
    """Read a ``config.yml`` or ``args.yml``; empty where there is none.

    :raises UsageError: when it is torn, or asks for anything but plain values, ordered dictionaries and tuples
    """
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except yaml.constructor.ConstructorError as error:
        tag = re.search(r"tag '([^']+)'", str(error))
        what = f"asks for {tag.group(1).replace(_CODE_TAG, '!!python/')}" if tag else str(error.problem)
        raise UsageError(f"{path} {what}: only plain values are read from it, so that nothing of it runs") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{path} must hold 'name: value' lines, got a {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def zoo_value(value: Any, where: str) -> Any:
    """Read a value that may be Python text, such as ``dict(net_arch=[64, 64], activation_fn=nn.ReLU)``.

    :param where: what it is for, named in the error
    :return: the value; names such as ``nn.ReLU`` stay texts
    :raises UsageError: for text that is more than a literal
    """
    if not isinstance(value, str) or not _LITERAL.match(value):
        return value
    try:
        return _literal(ast.parse(value.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise UsageError(f"{where} is not a plain value, so it is not read: {' '.join(value.split())[:100]}") from None


def _literal(node: ast.expr) -> Any:
    """Give the value of a literal, of ``dict(name=value)`` and of a name.

    :raises ValueError: for anything else
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_literal(key): _literal(item) for key, item in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("a dictionary that is spread out")
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _literal(node.operand)
        if isinstance(number, (int, float)):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _dotted(node)
    raise ValueError("no literal")


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError("no name")


def linear_start(value: Any) -> float | None:
    """Give x of ``lin_x``, a value that falls linearly from x to 0; None for any other value."""
    match = _LINEAR.fullmatch(value) if isinstance(value, str) else None
    try:
        return float(match.group(1)) if match else None
    except ValueError:
        return None
