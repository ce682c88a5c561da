"""The one exception that is the user's to mend."""


class UsageError(ValueError):
    """Something that was asked for cannot be done; the message is one line saying what was expected, what came and
    what to do. Commands print it and exit with code 2."""
