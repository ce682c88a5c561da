"""``python -m environments.dataset_exchange``: ``export DATASET ID`` to Minari and ``import ID DATASET`` from there."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from environments.dataset import Dataset, DatasetError
from environments.minari_exchange import export_dataset, import_dataset

DESCRIPTION = (
    "Write a dataset into Minari's local store, or one of that store as a dataset; nothing is lost on the way."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    from rl_baselines.command_line import parse, run_command
    from rl_baselines.config import setting
    from rl_baselines.errors import UsageError
    from rl_baselines.screen import episode_progress

    @dataclass(frozen=True)
    class ExchangeOptions:
        """Exchange"""

        words: tuple[str, ...] = setting(
            (), "export DATASET ID, or import ID DATASET.", metavar="WORD", positional=True
        )
        force: bool = setting(False, "Replace a dataset in the place of an imported one.", ("-f",))

    def command(arguments: list[str]) -> int:
        given = parse((ExchangeOptions,), arguments, "python -m environments.dataset_exchange", DESCRIPTION)
        options = ExchangeOptions(**given)
        try:
            match options.words:
                case ("export", path, dataset_id) if not options.force:
                    print(f"exported: {export_dataset(Dataset.open(path), dataset_id, episode_progress)}")
                case ("import", dataset_id, path):
                    found = import_dataset(dataset_id, Path(path), options.force, episode_progress)
                    print(f"dataset:  {found.path}, {found.n_episodes} episodes, {found.n_timesteps:,} steps")
                case ("export", _, _):
                    raise UsageError("Minari's datasets are not replaced: leave -f out and take another version")
                case _:
                    raise UsageError("give export DATASET ID, or import ID DATASET; an ID is like kuka/random-v0")
        except DatasetError as error:
            raise UsageError(str(error)) from None
        return 0

    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
