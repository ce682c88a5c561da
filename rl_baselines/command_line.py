"""From argument lists to settings: the flags of any set of configuration groups, parsed by tyro.

Only settings that were really given are returned, so that lower layers (parent run, files) know what they may fill.
What is slow to import is imported where it is needed, so that ``--help`` answers at once.
"""

import contextlib
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, field, make_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from rl_baselines.config import default_of, flag_of, settings_of
from rl_baselines.errors import STORAGE_ERRORS, StorageError, UsageError
from rl_baselines.literals import parse_pairs


def run_command(command: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command's body and turn the user's mistakes into one line and exit code 2.

    :param command: takes the arguments and gives the exit code
    :return: the exit code: the command's own, 1 when a file could not be written, 2 for a usage error, 130 when
        interrupted before there was work to save
    """
    try:
        with _storage_errors_of_threads_silent():
            return command(list(sys.argv[1:] if argv is None else argv))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except StorageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


@contextlib.contextmanager
def _storage_errors_of_threads_silent() -> Iterator[None]:
    """Let threads end without a traceback when they cannot write: TensorBoard's raises its error in this one too."""
    previous = threading.excepthook

    def hook(thread: threading.ExceptHookArgs) -> None:
        if not (isinstance(thread.exc_value, OSError) and thread.exc_value.errno in STORAGE_ERRORS):
            previous(thread)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = previous


def parse(groups: tuple[type, ...], argv: Sequence[str], prog: str, description: str) -> dict[str, Any]:
    """Parse arguments and give the settings that were given, by name.

    Prints the help and exits with 0 for ``--help``.

    :raises UsageError: for anything that does not parse, with the nearest match of a misspelt flag
    """
    settings = list(settings_of(groups))
    parsed = _parse_with_tyro(_parser_class(groups), list(argv), prog, description, _spellings(settings))
    given = _given_names(settings, argv)
    values: dict[str, Any] = {}
    for group_values in vars(parsed).values():
        for name, value in vars(group_values).items():
            if name in given:
                values[name] = value
    for item, hint in settings:
        if item.name in values and _is_repeated(hint) and not item.metadata["positional"]:
            flat = tuple(text for texts in values[item.name] for text in texts)
            values[item.name] = parse_pairs(flat, flag_of(item.name)) if _plain(hint) is dict else flat
        elif item.metadata["positional"] and values.get(item.name) == default_of(item):
            values.pop(item.name, None)
    return values


def _parse_with_tyro(parser: type, argv: list[str], prog: str, description: str, known: list[str]) -> Any:
    import tyro

    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            parsed, unknown = tyro.cli(  # type: ignore[var-annotated]
                parser,
                prog=prog,
                description=description,
                args=argv,
                return_unknown_args=True,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(_one_line(captured.getvalue())) from None
    if unknown:
        raise UsageError(_unknown_argument(unknown[0], known))
    return parsed


def _unknown_argument(argument: str, known: list[str]) -> str:
    if not argument.startswith("-"):
        return f"unexpected argument {argument!r}; settings are given as --name value, --help lists them"
    from environments.names import nearest_match

    near = nearest_match(argument.split("=")[0], known)
    return f"unknown flag {argument!r}" + (f"; did you mean {near}?" if near else "; --help lists them")


def _one_line(message: str) -> str:
    """Reduce tyro's message to its first paragraph: in a box, or on ASCII terminals under a title of its own."""
    paragraphs: list[list[str]] = [[]]
    for row in (line.strip(" \t│|") for line in message.splitlines()):
        if not row or set(row) <= {"─", "-"}:
            paragraphs.append([])
        elif not row.startswith(("╭", "╰")):
            paragraphs[-1].append(row)
    texts = [" ".join(rows) for rows in paragraphs if rows]
    line = texts[0] if "╭" in message or len(texts) == 1 else texts[1]
    return re.sub(r"no type matching \S+ could be instantiated from \['?(.*?)'?\]\.", r"cannot read '\1'", line)


def _spellings(settings: list[tuple[Field[Any], Any]]) -> list[str]:
    return [spelling for item, hint in settings for spelling in _flags_of(item, hint)]


def _flags_of(item: Field[Any], hint: Any) -> list[str]:
    flag = flag_of(item.name)
    return [flag, *item.metadata["flags"], *(["--no-" + flag[2:]] if _plain(hint) is bool else [])]


def _given_names(settings: list[tuple[Field[Any], Any]], argv: Sequence[str]) -> set[str]:
    """Tell which settings are named in an argument list; a positional one always counts."""
    owner = {spelling: item.name for item, hint in settings for spelling in _flags_of(item, hint)}
    words = {re.sub("_", "-", word.split("=")[0]) if word.startswith("--") else word for word in argv}
    return {owner[word] for word in words if word in owner} | {i.name for i, _ in settings if i.metadata["positional"]}


def _plain(hint: Any) -> Any:
    """Strip the optional part and the parameters of a hint: `dict[str, Any]` is `dict`, `int | None` is `int`."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(option for option in get_args(hint) if option is not NoneType)
    return hint if get_origin(hint) is Literal else get_origin(hint) or hint


def _is_repeated(hint: Any) -> bool:
    return _plain(hint) in (dict, tuple)


def _parser_class(groups: tuple[type, ...]) -> type:
    """Build the class that tyro parses: same names, but every value is optional and no switch has a third state."""
    made = []
    for group in groups:
        members = [_parser_field(item, hint) for item, hint in settings_of((group,))]
        cls = make_dataclass(group.__name__, members, frozen=True)
        cls.__doc__ = ""
        title = re.sub(r"\W+", "_", (group.__doc__ or group.__name__).lower()).strip("_")
        made.append((title, cls, field(default_factory=cls)))
    return make_dataclass("Arguments", made, frozen=True)


def _words(default: Any) -> str:
    return " ".join(default) if isinstance(default, tuple) else str(default)


def _parser_field(item: Field[Any], hint: Any) -> tuple[str, Any, Any]:
    import tyro

    default, plain = default_of(item), _plain(hint)
    shown = f" (default: {_words(default)})" if default not in (None, (), {}, False) else ""
    metavar = item.metadata["metavar"] or {int: "N", float: "X", str: "TEXT"}.get(plain, "")
    described: dict[str, Any] = {"help": item.metadata["help"] + shown, "help_behavior_hint": ""}
    if item.metadata["flags"]:
        described["aliases"] = list(item.metadata["flags"])
    if metavar:
        described["metavar"] = metavar + (" ..." if _is_repeated(hint) else "")
    argument = tyro.conf.arg(**described)
    if _is_repeated(hint) and not item.metadata["positional"]:
        return item.name, Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, argument], field(default=())
    if item.metadata["positional"]:
        kind = tuple[str, ...] if _is_repeated(hint) else plain
        return item.name, Annotated[kind, tyro.conf.Positional, argument], field(default=default)
    empty = {bool: False, int: 0, float: 0.0, str: ""}.get(plain, default)
    if get_origin(plain) is Literal and default is None:
        empty = get_args(plain)[0]
    return item.name, Annotated[plain, argument], field(default=empty)
