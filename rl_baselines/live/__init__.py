"""The live view of trainings: a local visdom server, the page that it shows and what is sent to it."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``rl-baselines live``; prints, and gives the exit code."""
    from rl_baselines.live.__main__ import main as run

    return run(argv)
