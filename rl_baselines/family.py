"""The ancestors and descendants of a run, from what every run notes of its parent.

Runs are found by their ids, so a folder may have been moved. What a record says is taken as it comes: records that are
torn, lack entries or form a circle give a tree all the same.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl_baselines.checkpoint import CHILDREN_NAME, hash_of
from rl_baselines.config_files import read_settings
from rl_baselines.errors import UsageError
from rl_baselines.run_folder import RunFolder, find_runs, is_run_folder


@dataclass
class Member:
    """A run of the tree, or a model from elsewhere at its root.

    :param name: the run's id; for a model from elsewhere its path
    :param state: ``known``, ``damaged`` (its run.json cannot be read), ``gone`` (its folder was not found) or
        ``foreign`` (a model that no run of ours trained)
    :param folder: where it was found
    :param record: its run.json
    :param parent: what its record says of the model it started from
    :param children: runs that started from its models
    """

    name: str
    state: str
    folder: RunFolder | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    parent: Mapping[str, Any] | None = None
    children: list["Member"] = field(default_factory=list)

    @property
    def environment(self) -> tuple[Any, Mapping[str, Any]]:
        """The id and the options of its environment; None where the record does not tell."""
        told = mapping(self.record.get("environment"))
        return told.get("id"), mapping(told.get("kwargs"))

    @property
    def algorithm(self) -> str | None:
        """The algorithm; None where it cannot be known."""
        if self.folder is None:
            return None
        try:
            known = read_settings(str(self.folder.config)).get("algo")
        except UsageError:
            return None
        return None if known is None else str(known)


def verdicts(member: Member) -> dict[str, str]:
    """Give the judgements on a fine-tune in the new and in the old environment, where they were stored."""
    if member.folder is None:
        return {}
    try:
        stored = mapping(json.loads(member.folder.comparison.read_text()))
    except (OSError, ValueError):
        return {}
    found = {name: mapping(stored.get(name)).get("verdict") for name in ("new", "old")}
    return {name: str(verdict) for name, verdict in found.items() if verdict is not None}


def mapping(value: Any) -> Mapping[str, Any]:
    """Take a dictionary as it is, and anything else for an empty one."""
    return value if isinstance(value, dict) else {}


class Family:
    """All runs that can be found, by id.

    :param log_dir: under which runs are looked for
    :param run: one that is taken in wherever it lies
    """

    def __init__(self, log_dir: Path, run: RunFolder) -> None:
        self.this = read_member(run)
        self._by_id = {self.this.name: self.this}
        for folder in find_runs(log_dir):
            if folder.path.resolve() != run.path.resolve():
                member = read_member(folder)
                self._by_id.setdefault(member.name, member)

    def tree(self) -> Member:
        """Give the oldest ancestor, with the run's line down to it and all descendants of the run below."""
        top, seen = self.this, {self.this.name}
        self._add_children(self.this, seen)
        while top.parent is not None:
            above = self._parent_of(top.parent)
            if above.name in seen:  # records that name each other
                break
            seen.add(above.name)
            above.children = [top]
            top = above
        return top

    def _parent_of(self, told: Mapping[str, Any]) -> Member:
        """Find the run that a record names as its parent: where it says, or else by its id."""
        path, run_id = Path(str(told.get("path", ""))), told.get("run")
        if run_id is None:
            return Member(str(path), "foreign")
        folder = RunFolder(path.parent.parent)
        if is_run_folder(folder.path) and (member := read_member(folder)).name == run_id:
            return member
        return self._by_id.get(str(run_id)) or Member(str(run_id), "gone")

    def _add_children(self, member: Member, seen: set[str]) -> None:
        """Hang the runs that name a run as their parent below it, and those that only its checkpoints know."""
        named = [one for one in self._by_id.values() if mapping(one.parent).get("run") == member.name]
        found = {one.name: one for one in sorted(named, key=lambda one: str(one.record.get("started", "")))}
        for run_id in _marks(member):
            found.setdefault(run_id, self._by_id.get(run_id) or Member(run_id, "gone"))
        for name, child in found.items():
            if name not in seen:
                seen.add(name)
                member.children.append(child)
                self._add_children(child, seen)


def read_member(folder: RunFolder) -> Member:
    """Take a run as its record describes it, whatever state that is in."""
    try:
        record: Any = folder.read_record()
    except UsageError:
        record = None
    if not isinstance(record, dict):
        return Member(folder.run_id, "damaged", folder)
    parent = record.get("parent")
    name = record.get("id")
    known = parent if isinstance(parent, dict) else None
    return Member(name if isinstance(name, str) else folder.run_id, "known", folder, record, known)


def _marks(member: Member) -> Iterator[str]:
    """Yield the ids of the runs that a run's checkpoints note as their children."""
    if member.folder is None:
        return
    for checkpoint in member.folder.checkpoint_folders():
        try:
            yield from (checkpoint.path / CHILDREN_NAME).read_text().split()
        except (OSError, UnicodeDecodeError):
            continue


def state_of_start(child: Member, parent: Member) -> str:
    """Tell what became of the model that a run started from.

    :return: ``there``, ``changed`` (another file has its place) or ``gone``
    """
    told = mapping(child.parent)
    timesteps, places = told.get("timesteps"), [Path(str(told.get("path", "")))]
    if parent.folder is not None and isinstance(timesteps, int):
        places.append(parent.folder.checkpoint_at(timesteps).path)
    models = [model for place in places for model in (place, place / "model.zip") if model.is_file()]
    if not models:
        return "gone"
    return "there" if any(hash_of(model) == told.get("sha256") for model in models) else "changed"


def changes(child: Member, parent: Member) -> dict[str, tuple[Any, Any]]:
    """Give what a run trains in another way than its parent: environment, its options one by one, algorithm.

    :return: by name, the parent's value and the child's; None where one has no such option
    """
    (old_env, old), (new_env, new) = parent.environment, child.environment
    pairs = {"env": (old_env, new_env), "algo": (parent.algorithm, child.algorithm)}
    pairs = {name: pair for name, pair in pairs.items() if None not in pair}
    if old_env is not None:
        pairs |= {name: (old.get(name), new.get(name)) for name in (*old, *(name for name in new if name not in old))}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
