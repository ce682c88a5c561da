"""What ``python -m environments.dataset_generator`` does."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rl_baselines.command_line import parse
from rl_baselines.dataset_generation import GROUPS, DatasetOptions, RecordingPlan, options_of, plan_recording
from rl_baselines.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from environments.dataset import Dataset

DESCRIPTION = (
    "Record episodes of a robot into a dataset: by chance, by a script that leads it to its target, or by a trained "
    "run, with its action distribution at every step. A recording that was broken off goes on with the same command."
)
MAX_REWARDS_LISTED = 12
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    given = parse(GROUPS, argv, "python -m environments.dataset_generator", DESCRIPTION)
    options = options_of(DatasetOptions, given)

    from environments.dataset import DatasetError
    from environments.dataset_folder import check_destination
    from rl_baselines.dataset_recording import RecordingError

    try:
        if options.name is not None:
            check_destination(Path(options.save_path) / options.name, options.force)
        plan = plan_recording(given)
        dataset = generate(plan, options)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    except RecordingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(_summary(dataset)))
    if options.reward_dist:
        print("\n".join(_reward_distribution(dataset)))
    return 0


def generate(plan: RecordingPlan, options: DatasetOptions) -> "Dataset":
    """Record what is planned, or what is missing of it, and give the finished dataset.

    :raises DatasetError: when something is in the way
    :raises RecordingError: when an episode fails
    """
    from environments.dataset_folder import building
    from rl_baselines.dataset_recording import record_missing, service_maker
    from rl_baselines.screen import episode_progress

    path = Path(options.save_path) / (options.name or default_name(plan))
    number = options.num_episode
    with building(path, {"n_episodes": number, "origin": plan.origin.to_record()}, options.force) as build:
        missing = build.missing(number)
        if 0 < len(missing) < number:
            print(f"going on: {number - len(missing)} of {number} episodes are there", flush=True)
        if missing:
            service = service_maker(plan.make_env, plan.make_policy, options.seed)
            with episode_progress(len(missing)) as on_episode:
                record_missing(build, missing, service, min(options.num_cpu, len(missing)), on_episode)
        return build.finish([plan.origin], [0] * number)


def default_name(plan: RecordingPlan) -> str:
    """Give the name of a dataset that was given none."""
    parts = (plan.origin.env_id.rpartition(":")[2].replace("/", "-"), plan.origin.task)
    return "_".join(part for part in parts if part)


def _summary(dataset: "Dataset") -> Iterator[str]:
    returns = [dataset.array(index, "rewards").sum() for index in range(dataset.n_episodes)]
    size = sum(path.stat().st_size for path in dataset.path.rglob("*.npz"))
    yield f"dataset:  {dataset.path}"
    yield f"episodes: {dataset.n_episodes}, {dataset.n_timesteps:,} steps, {size / 1e6:.1f} MB"
    yield f"return:   {sum(returns) / len(returns):.3g} on average, {min(returns):.3g} to {max(returns):.3g}"


def _reward_distribution(dataset: "Dataset") -> Iterator[str]:
    """Yield the share of each reward, or quantiles where there are many different ones."""
    import numpy as np

    rewards = np.concatenate([dataset.array(index, "rewards") for index in range(dataset.n_episodes)])
    values, counts = np.unique(rewards, return_counts=True)
    yield "reward distribution:"
    if len(values) <= MAX_REWARDS_LISTED:
        yield from (f"  {value:g}: {share:.2%}" for value, share in zip(values, counts / len(rewards), strict=True))
    else:
        yield from _quantiles(rewards)


def _quantiles(rewards: "np.ndarray") -> Iterator[str]:
    import numpy as np

    for level, value in zip(QUANTILES, np.percentile(rewards, QUANTILES), strict=True):
        yield f"  {level:3d} % are at most {value:.4g}"
