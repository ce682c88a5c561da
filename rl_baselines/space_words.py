"""Spaces in words."""

from typing import Any

from gymnasium import spaces


def describe_space(space: spaces.Space[Any]) -> str:
    """Name a space without the long lists of its bounds."""
    if isinstance(space, spaces.Dict):
        return ", ".join(f"{key} {describe_space(part)}" for key, part in space.items())
    if isinstance(space, spaces.Box):
        low, high = space.low.min(), space.high.max()
        return f"Box of shape {space.shape}, {space.dtype}, from {low:g} to {high:g}"
    return str(space)
