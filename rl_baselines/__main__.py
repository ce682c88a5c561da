"""``python -m rl_baselines VERB ...`` and the ``rl-baselines`` command: hand the arguments on to a verb."""

import importlib
import sys
from collections.abc import Sequence

from rl_baselines.errors import unknown

VERBS = {
    "train": "train a policy, or fine-tune one",
    "verify": "train from one checkpoint to the next once more and compare to the last bit",
    "enjoy": "watch a trained policy, film it, measure it",
    "cross_eval": "evaluate every one of several policies on every one of several tasks",
    "inspect": "show all that is known of a saved model, and what can be done with it",
    "lineage": "show the runs that a run descends from, and those that descend from it",
    "diff": "show what differs between the settings of two runs",
    "live": "start, stop and list the servers of the live view of trainings",
    "continual": "learn task after task with several methods, and measure what each forgets",
    "demonstration": "train a Kuka arm, fine-tune it and check that both worked",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb named by the first argument; prints, and gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: rl-baselines VERB ...\n")
        print("\n".join(f"  {verb:14s} {text}" for verb, text in VERBS.items()))
        print("\nrl-baselines VERB --help lists the settings of a verb.")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        print(f"error: {unknown('verb', verb, VERBS)}", file=sys.stderr)
        return 2
    code: int = importlib.import_module(f"rl_baselines.{verb}").main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
