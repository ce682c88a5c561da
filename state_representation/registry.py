"""The one table of `--srl-model` keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StateRepresentation:
    """What a policy observes.

    :param key: its name on the command line and in run folders
    :param env_kwargs: the environment options that give it
    :param needs_images: whether every observation is a camera image
    :param help: one line for people
    """

    key: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    needs_images: bool = False
    help: str = ""


NATIVE = "native"

STATE_REPRESENTATIONS: dict[str, StateRepresentation] = {
    row.key: row
    for row in (
        StateRepresentation("ground_truth", {"observation": "ground_truth"}, help="position relative to the target"),
        StateRepresentation("joints", {"observation": "joints"}, help="joint angles"),
        StateRepresentation("joints_position", {"observation": "joints_position"}, help="joint angles and position"),
        StateRepresentation("raw_pixels", {"observation": "raw_pixels"}, True, "camera image"),
        StateRepresentation(
            "multi_view", {"observation": "raw_pixels", "multi_view": True}, True, "images of two cameras, stacked"
        ),
        StateRepresentation(NATIVE, help="the observation of a third-party environment, as it is"),
    )
}
