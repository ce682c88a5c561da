"""Messages for names that nothing is known by: the nearest known name, or the choice there is."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_LISTED = 24


def nearest_match(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that is spelt most like ``name``, or None when none comes near.

    Upper and lower case count as equal. Among equally near names the last in alphabetical order wins, so that
    ``CartPole`` finds ``CartPole-v1`` rather than ``CartPole-v0``.

    :param name: what the user wrote
    :param known: the names that would have been right
    """
    by_folded = {candidate.casefold(): candidate for candidate in sorted(known)}
    matches = get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Give one line that says a name is unknown and what was probably meant.

    Without a near match the known names follow, provided that they are few.

    :param kind: what the name should have named, such as ``"environment"``
    :param name: what the user wrote
    :param known: the names that would have been right
    """
    candidates = sorted(known)
    match = nearest_match(name, candidates)
    if match is not None:
        return f"unknown {kind} '{name}'; did you mean '{match}'?"
    if 0 < len(candidates) <= MAX_LISTED:
        return f"unknown {kind} '{name}'; known: {', '.join(candidates)}"
    return f"unknown {kind} '{name}'"
