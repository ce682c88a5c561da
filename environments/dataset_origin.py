"""What a dataset says of where its episodes come from."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium import spaces

from environments.space_records import space_of


class DatasetError(ValueError):
    """A dataset cannot be read, or what it was to hold does not go together; the message is one line."""


@dataclass(frozen=True)
class Origin:
    """Where episodes come from: an environment, and how it was acted in.

    :param env_id: Gymnasium id of the environment
    :param env_kwargs: all its arguments, as JSON knows them
    :param observation_space: of the observations, as ``record_space`` gives it
    :param action_space: of the actions, likewise
    :param policy: how it acted: ``kind`` is ``random``, ``walker`` or ``run``; more by kind
    :param task: a label of what was done, for datasets of several tasks
    :param teacher: what the episodes' ``teacher`` holds: ``name`` (``categorical``, ``bernoulli``, ``gaussian``,
        ``squashed_gaussian``, ``deterministic`` or ``q_values``) and ``sizes``, the number of choices of each
        categorical action; None where no distribution was recorded
    :param feature_names: of each element of an observation; empty for pictures
    :param seed: that the episodes derive from; None where it is not known
    :param gym_packages: modules to import first, which register the environment
    :param env_wrapper: wrappers around it, in the form of ``--env-wrapper``
    """

    env_id: str
    env_kwargs: Mapping[str, Any]
    observation_space: Mapping[str, Any]
    action_space: Mapping[str, Any]
    policy: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    teacher: Mapping[str, Any] | None = None
    feature_names: tuple[str, ...] = ()
    seed: int | None = None
    gym_packages: tuple[str, ...] = ()
    env_wrapper: tuple[str, ...] = ()

    @property
    def spaces(self) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """The observation space and the action space."""
        return space_of(self.observation_space), space_of(self.action_space)

    def to_record(self) -> dict[str, Any]:
        """Give all of it as JSON knows it."""
        record: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Origin":
        """Take what `to_record` gave.

        :raises DatasetError: for anything else
        """
        lists = ("feature_names", "gym_packages", "env_wrapper")
        try:
            values: dict[str, Any] = {name: tuple(value) if name in lists else value for name, value in record.items()}
            origin = cls(**values)
            origin.spaces  # noqa: B018  raises for what is no space
        except (AttributeError, TypeError, ValueError) as error:
            known = ", ".join(item.name for item in dataclasses.fields(cls))
            raise DatasetError(f"an origin must be made of {known}: {error}") from None
        return origin
