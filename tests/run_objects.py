"""The objects that a training run is made of, held against the tables of `rl_baselines.state_inventory`."""

import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from rl_baselines.snapshot import seconds_learning
from rl_baselines.state_files import first_difference
from rl_baselines.state_inventory import REBUILT, SAVED, SETTLED
from rl_baselines.training import TrainingRun

TABLES: tuple[Mapping[str, Any], ...] = (SAVED, REBUILT, SETTLED)


def fate_of(kind: type, attribute: str) -> str:
    """Saved, rebuilt, settled or, where the tables do not name it, argument or unknown."""
    names = [base.__name__ for base in kind.__mro__]
    for fate, table in zip(("saved", "rebuilt", "settled"), TABLES, strict=True):
        if any(attribute in table.get(name, ()) for name in names):
            return fate
    return "argument" if attribute.removeprefix("_") in _arguments(kind) else "unknown"


def _arguments(kind: type) -> set[str]:
    constructors = [vars(base)["__init__"] for base in kind.__mro__[:-1] if "__init__" in vars(base)]
    return {name for constructor in constructors for name in inspect.signature(constructor).parameters}


class Objects:
    """All objects of a run that the tables know, by place; attributes that are rebuilt are not looked into.

    :param run: at a rollout boundary
    """

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self.by_place: dict[str, Any] = {}
        self._places: dict[int, str] = {}
        roots = (
            "model",
            "freezing",
            "retention",
            "evaluation",
            "task_evaluation",
            "by_training",
            "best",
            "checkpointing",
            "writer",
        )
        for name in roots:
            self._discover(name, getattr(run, name))

    def _discover(self, place: str, value: Any) -> None:
        if isinstance(value, MethodType):  # one that was put in place of another may belong to an object of its own
            value = value.__self__
        if id(value) in self._places:
            return
        if isinstance(value, Mapping | list | tuple | deque):
            for key, part in _items(value) if isinstance(value, Mapping) else enumerate(value):
                self._discover(f"{place}.{key}", part)
        elif _is_known(type(value)):
            self.by_place[place], self._places[id(value)] = value, place
            for name, part in vars(value).items():
                if isinstance(part, torch.nn.Parameter):
                    self._places[id(part)] = f"{place}.{name}"
                elif fate_of(type(value), name) != "rebuilt":
                    self._discover(f"{place}.{name}", part)

    def attributes(self) -> Iterator[tuple[str, type, str, str]]:
        """Every attribute of every object: its object's place and class, its name and its fate."""
        for place, owner in self.by_place.items():
            for name in vars(owner):
                yield place, type(owner), name, fate_of(type(owner), name)

    def value(self, place: str, name: str) -> Any:
        """An attribute as plain values and arrays; other known objects in it are named by their places."""
        if name == "start_time":  # the clocks of two runs agree but for the seconds between them
            return int(seconds_learning(self.run.model) // 1000)
        return self.plain(getattr(self.by_place[place], name, None), ())

    def plain(self, value: Any, above: tuple[int, ...]) -> Any:
        if id(value) in self._places and not isinstance(value, torch.Tensor):
            return f"<{self._places[id(value)]}>"
        if id(value) in above:
            return "<above>"
        above = (*above, id(value))
        if value is None or isinstance(value, bool | int | float | bytes | np.number | np.bool_):
            return value
        if isinstance(value, str | Path):
            return str(value).replace(str(self.run.folder.path), "<run>")
        if isinstance(value, torch.Tensor):
            return {"values": value.detach().cpu().numpy(), "requires_grad": value.requires_grad}
        if isinstance(value, np.ndarray):
            return [self.plain(part, above) for part in value.flat] if value.dtype == object else value
        if isinstance(value, Mapping):
            return {self._key(key): self.plain(part, above) for key, part in _items(value)}
        if isinstance(value, list | tuple | deque):
            limit = [("maxlen", value.maxlen)] if isinstance(value, deque) else []
            return [self.plain(part, above) for part in [*limit, *value]]
        if isinstance(value, set | frozenset):
            return sorted(map(str, value))
        return self._plain_object(value, above)

    def _key(self, key: Any) -> str:
        return self._places.get(id(key), str(type(key))) if isinstance(key, torch.Tensor) else str(key)

    def _plain_object(self, value: Any, above: tuple[int, ...]) -> Any:
        if isinstance(value, type | FunctionType | BuiltinFunctionType | MethodType):
            return value.__qualname__
        if isinstance(value, torch.Generator):
            return value.get_state().numpy()
        if isinstance(value, np.random.Generator):
            return value.bit_generator.state
        if isinstance(value, spaces.Space):
            return repr(value)  # the generators that are drawn from are among the random states
        fields = vars(value) if hasattr(value, "__dict__") else {"text": str(value)}
        return {"class": type(value).__qualname__, **{name: self.plain(part, above) for name, part in fields.items()}}


def _items(value: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """The entries of a mapping; torch numbers hooks over all objects of the process, so only their order tells."""
    if value and all(isinstance(part, FunctionType | MethodType) for part in value.values()):
        return enumerate(value.values())
    return value.items()


def _is_known(kind: type) -> bool:
    return any(base.__name__ in table for base in kind.__mro__ for table in TABLES)


def stale_entries(runs: Sequence[TrainingRun]) -> list[str]:
    """The entries of the tables that name no attribute of any of the runs."""
    met = {
        (base.__name__, name) for run in runs for _, kind, name, _ in Objects(run).attributes() for base in kind.__mro__
    }
    return [
        f"{owner}.{name}" for table in TABLES for owner in table for name in table[owner] if (owner, name) not in met
    ]


def unknown_attributes(run: TrainingRun) -> list[str]:
    """The attributes of which the tables say nothing and that are no argument of a constructor."""
    found = Objects(run).attributes()
    return sorted({f"{kind.__name__}.{name}" for _, kind, name, fate in found if fate == "unknown"})


def changed_attributes(trained: TrainingRun, fresh: TrainingRun) -> list[str]:
    """The settled attributes and constructor arguments that are not as they are in a fresh run, and how they differ."""
    before, after = Objects(fresh), Objects(trained)
    found = []
    for place, kind, name, fate in after.attributes():
        if fate in ("settled", "argument"):
            one = before.value(place, name) if place in before.by_place else "no such object"
            if difference := first_difference(after.value(place, name), one):
                found.append(f"{kind.__name__}.{name} at {place}: {difference}")
    return found


def state_differences(one: TrainingRun, other: TrainingRun) -> list[str]:
    """The attributes of two runs that differ, but for those that are rebuilt; also of environments in processes."""
    ours, theirs = Objects(one), Objects(other)
    places = sorted(ours.by_place.keys() ^ theirs.by_place.keys())
    found = [f"{place}: only in one of them" for place in places]
    journals = [run.env.env_method("episode_state") for run in (one, other)]
    found += filter(None, [first_difference(*journals, "journal")])
    for place, kind, name, fate in ours.attributes():
        if fate == "rebuilt" or place not in theirs.by_place:
            continue
        if difference := first_difference(ours.value(place, name), theirs.value(place, name)):
            found.append(f"{kind.__name__}.{name} at {place}: {difference}")
    return found
