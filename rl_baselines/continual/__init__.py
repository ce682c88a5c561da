"""The experiment of continual learning: one policy learns task after task, by several methods, and is compared."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``rl-baselines continual``; prints, and gives the exit code."""
    from rl_baselines.continual.__main__ import main as run

    return run(argv)
