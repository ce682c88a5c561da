"""``python -m environments.dataset_merger --merge A B NEW``: the episodes of several datasets in one; all stay."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from environments.dataset import Dataset, DatasetError, Origin, episode_name
from environments.dataset_folder import build_at_once
from environments.durable import link_or_copy
from environments.space_records import describe_space

DESCRIPTION = "Put the episodes of several datasets into one, in order. The sources stay as they are."


def merge(sources: Sequence[Path], destination: Path, labels: Sequence[str] = (), replaces: bool = False) -> Dataset:
    """Put the episodes of several datasets into one, and give it.

    Files are shared by hard links where that is possible.

    :param sources: folders of datasets
    :param destination: where the new one is to be
    :param labels: what the episodes of each source are labelled with from now on; none leaves the labels they have
    :param replaces: whether a dataset that is there already is replaced
    :raises DatasetError: when they do not go together, or something is in the way
    """
    if not sources:
        raise DatasetError("there is nothing to merge: name at least one dataset and the destination")
    if labels and len(labels) != len(sources):
        raise DatasetError(f"{len(sources)} datasets need {len(sources)} labels, got {len(labels)}")
    datasets = [Dataset.open(source) for source in sources]
    if destination.resolve() in [source.resolve() for source in sources]:
        raise DatasetError(f"{destination} is one of the datasets to merge; choose another destination")
    _check_spaces(datasets)
    relabelled = [
        [replace(origin, task=label or origin.task) for origin in dataset.origins]
        for dataset, label in zip(datasets, labels or [""] * len(datasets), strict=True)
    ]
    origins: list[Origin] = []
    for origin in (origin for group in relabelled for origin in group):
        if origin not in origins:
            origins.append(origin)

    def write_all(folder: Path) -> list[int]:
        found: list[int] = []
        for dataset, group in zip(datasets, relabelled, strict=True):
            for index, entry in enumerate(dataset.entries):
                _take_over(dataset, index, folder / episode_name(len(found)))
                found.append(origins.index(group[entry.origin]))
        return found

    return build_at_once(destination, origins, write_all, replaces)


def _take_over(dataset: Dataset, index: int, target: Path) -> None:
    """Link an episode's file to another place, or copy it where links are not possible; it must be as it was written.

    Files of episodes are never changed, only replaced, so that a link stays what it is.
    """
    dataset.content(index)
    link_or_copy(dataset.path / episode_name(index), target)


def _check_spaces(datasets: Sequence[Dataset]) -> None:
    """Refuse datasets whose observations or actions cannot lie side by side."""
    first = datasets[0]
    for dataset in datasets:
        for origin in dataset.origins:
            for what in ("observation", "action"):
                ours, theirs = (getattr(one, f"{what}_space") for one in (first.origins[0], origin))
                if ours != theirs:
                    raise DatasetError(
                        f"{first.path} and {dataset.path} differ in {what}s: {_difference(ours, theirs)}"
                    )


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if describe_space(one) != describe_space(other):
        return f"{describe_space(one)} and {describe_space(other)}"
    name = next(name for name in one if one[name] != other[name])
    return f"{name} {one[name]} and {other[name]}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    from rl_baselines.command_line import parse, run_command
    from rl_baselines.config import setting
    from rl_baselines.errors import UsageError

    @dataclass(frozen=True)
    class MergeOptions:
        """Merge"""

        merge: tuple[str, ...] = setting((), "Two or more datasets, and the folder of the new one.", metavar="FOLDER")
        continual_learning_labels: tuple[str, ...] = setting(
            (),
            "What the episodes of each dataset are labelled with. Default: the labels that they have.",
            metavar="LABEL",
        )
        force: bool = setting(False, "Replace a dataset in the new one's place, once that is complete.", ("-f",))

    def command(arguments: list[str]) -> int:
        options = MergeOptions(
            **parse((MergeOptions,), arguments, "python -m environments.dataset_merger", DESCRIPTION)
        )
        if len(options.merge) < 3:
            raise UsageError("give two or more datasets and the folder of the new one: --merge A B NEW")
        *sources, destination = map(Path, options.merge)
        try:
            merged = merge(sources, destination, options.continual_learning_labels, options.force)
        except DatasetError as error:
            raise UsageError(str(error)) from None
        print(f"dataset:  {merged.path}")
        print(f"episodes: {merged.n_episodes}, {merged.n_timesteps:,} steps, of {len(merged.origins)} origins")
        return 0

    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
