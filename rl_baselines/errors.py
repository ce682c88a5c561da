"""Exceptions whose message is all that the user needs: commands print it as one line."""

import errno
from collections.abc import Iterable


class UsageError(ValueError):
    """Something that was asked for cannot be done; the message is one line saying what was expected, what came and
    what to do. Commands print it and exit with code 2."""


STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)


class StorageError(Exception):
    """A file of a run cannot be written, so that training cannot go on. Commands print it and exit with code 1."""


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """Give the error for a name that nothing is known by, with the nearest match.

    :param kind: what the name should have named
    :param known: the names that would have been right
    :param where: the place it stands in, such as a file
    """
    from environments.names import unknown_name  # not above: that imports the simulator, and `--help` would wait for it

    return UsageError((f"{where}: " if where else "") + unknown_name(kind, name, known))
