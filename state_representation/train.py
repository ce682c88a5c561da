"""``python -m state_representation.train``: learn a representation of states, see docs/representations.md."""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    from rl_baselines.command_line import run_command
    from rl_baselines.representation_training import command

    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
