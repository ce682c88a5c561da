"""The settings and circumstances of two runs or models, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_baselines.config import from_flat, to_flat
from rl_baselines.config_files import read_settings
from rl_baselines.errors import UsageError
from rl_baselines.run_folder import RunFolder
from rl_baselines.sources import Source, resolve, resolve_run
from rl_baselines.transfer.inheritance import inherited_layer

Pairs = dict[str, tuple[Any, Any]]
UNCHANGED = ("learning_rate", "exploration_initial_eps")  # of a model from elsewhere; a fine-tune has others


@dataclass(frozen=True)
class Side:
    """What is known of one run or model.

    :param name: where it is
    :param settings: by name; an entry of a mapping as ``hyperparam.gamma``
    :param facts: versions, machine, revision of the code, planned timesteps
    :param is_complete: whether an entry that is not there has no value, rather than an unknown one
    """

    name: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    is_complete: bool


@dataclass(frozen=True)
class Differences:
    """What two sides have in common and what not.

    :param settings: a's and b's value of those that differ; None for an entry that one has not
    :param facts: likewise
    :param only_a: settings of which the other side tells nothing
    :param only_b: likewise
    """

    settings: Pairs
    facts: Pairs
    n_equal_settings: int
    n_equal_facts: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give all of it ready for JSON."""
        return {
            "settings": _pairs_to_dict(self.settings),
            "facts": _pairs_to_dict(self.facts),
            "n_equal_settings": self.n_equal_settings,
            "n_equal_facts": self.n_equal_facts,
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
        }


def _pairs_to_dict(pairs: Pairs) -> dict[str, dict[str, Any]]:
    return {name: {"a": one, "b": other} for name, (one, other) in pairs.items()}


def read_side(text: str, log_dir: Path, algo: str | None = None) -> Side:
    """Read the settings of what a text names; a run needs no model for that.

    :param text: a run, or a source as `sources.resolve` takes it
    :param algo: of a lone zip that does not tell it
    :raises UsageError: when there is no such thing, or when nothing of its settings can be read
    """
    try:
        run, _ = resolve_run(text, log_dir)
    except UsageError:
        source = resolve(text, log_dir)  # whose error says more
    else:
        return _of_run(run)
    if source.run is not None:
        return _of_run(source.run)
    facts = {"stable-baselines3": source.content.version} if source.content.version else {}
    if source.content.origin and source.settings is not None:
        return Side(source.path, _complete(source.settings, source.path), facts, True)
    return Side(source.path, _of_stranger(source, algo), facts, False)


def _of_run(run: RunFolder) -> Side:
    record = run.read_record()
    if not isinstance(record, dict):
        raise UsageError(f"{run.path} is no intact run folder: its {run.record.name} holds no record")
    facts: dict[str, Any] = {}
    for name in ("machine", "versions"):  # the packages stand in both
        known = record.get(name)
        facts |= known if isinstance(known, dict) else {}
    facts |= record.get("environment", {}).get("fingerprint", {})
    facts |= {name: record[name] for name in ("git", "steps_planned") if name in record}
    return Side(str(run.path), _complete(read_settings(str(run.config)), str(run.config)), facts, True)


def _complete(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Flatten the settings of a run; those that its version did not know have their defaults."""
    if not {"env", "algo"} <= settings.keys():
        raise UsageError(f"{where} is not complete: it does not tell what is trained")
    return _flat(to_flat(from_flat(settings)))


def _of_stranger(source: Source, algo: str | None) -> dict[str, Any]:
    """Give the settings that a model from elsewhere tells as plain values."""
    try:
        layer, _ = inherited_layer(source, {"algo": algo})
    except UsageError:  # it does not tell its environment, or another error that comes again
        layer, _ = inherited_layer(source, {"algo": algo, "env": "any"})
    values = dict(layer.values)
    for name in ("norm_obs", "norm_reward"):  # without statistics that is assumed, not read
        if source.statistics is None and not values.get(name):
            values.pop(name, None)
    fields = {name: source.fields[name] for name in UNCHANGED if isinstance(source.fields.get(name), int | float)}
    values["hyperparam"] = {**values.get("hyperparam", {}), **fields}
    found = _flat(values)
    if not found:
        raise UsageError(f"{source} holds none of its settings as plain values: there is nothing to compare")
    return found


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Name every entry of a mapping after the setting, and write tuples as lists."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": part for key, part in _flat(value).items()}
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def compare(a: Side, b: Side) -> Differences:
    """Put two sides beside each other."""
    settings, n_equal_settings, only_a, only_b = _compare(a.settings, b.settings, a.is_complete, b.is_complete)
    facts, n_equal_facts, _, _ = _compare(a.facts, b.facts, a.is_complete, b.is_complete)
    return Differences(settings, facts, n_equal_settings, n_equal_facts, only_a, only_b)


def _compare(
    a: Mapping[str, Any], b: Mapping[str, Any], is_a_complete: bool, is_b_complete: bool
) -> tuple[Pairs, int, tuple[str, ...], tuple[str, ...]]:
    """Give what differs, the number of equal entries, and what only one side tells."""
    groups = list(dict.fromkeys(name.partition(".")[0] for name in (*a, *b)))
    names = sorted(dict.fromkeys((*a, *b)), key=lambda name: groups.index(name.partition(".")[0]))
    only_a = tuple(name for name in names if name not in b and not is_b_complete)
    only_b = tuple(name for name in names if name not in a and not is_a_complete)
    told = [name for name in names if name not in (*only_a, *only_b)]
    differing = {name: (a.get(name), b.get(name)) for name in told if a.get(name) != b.get(name)}
    return differing, len(told) - len(differing), only_a, only_b
