"""Datasets to and from Minari's, without loss: https://minari.farama.org.

What Minari has no place for goes along: ground truth, target and the teacher's outputs as ``infos`` of an episode, its
success and the index of its origin as its metadata, and the origins as metadata of the dataset.
"""

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from environments.dataset import Dataset, DatasetError, Episode, Origin
from environments.dataset_folder import build_at_once, check_destination, write_episode
from environments.registry import find_spec
from environments.space_records import record_space

ORIGINS = "origins"
UNKNOWN_SEED = -1
PLACES = ("ground_truth", "target")
Progress = Callable[[int], AbstractContextManager[Callable[[object], None]]]
"""Takes the number of episodes; what it opens is called after each one."""


@contextlib.contextmanager
def _no_progress(total: int) -> Iterator[Callable[[object], None]]:
    yield lambda _: None


def export_dataset(dataset: Dataset, dataset_id: str, progress: Progress = _no_progress) -> Path:
    """Write a dataset into Minari's local store, and give the folder there.

    Pictures are stored without loss. Whoever loads it can build the environment again if all episodes come from one.

    :param dataset_id: its name there, such as ``kuka/random-v0``
    :param progress: shows the episodes that are done, such as ``rl_baselines.screen.episode_progress``
    :raises DatasetError: when Minari is not installed, the name is none or is taken, or episodes differ in spaces
    """
    minari, episode_buffer = _import_minari()
    folder = _free_place(dataset_id)
    spaces = dataset.origins[0].spaces
    env = _environment_of(dataset)
    try:
        with warnings.catch_warnings(), progress(dataset.n_episodes) as on_episode:
            warnings.simplefilter("ignore")  # about authors and links to code, which are not known
            created = minari.create_dataset_from_buffers(
                dataset_id,
                _buffers(dataset, episode_buffer, on_episode),
                env=env,
                observation_space=spaces[0],
                action_space=spaces[1],
                algorithm_name=str(dataset.origins[0].policy.get("kind", "")),
                jpeg_encoding=False,
            )
            created.storage.update_episode_metadata(_metadata(dataset))
            created.storage.update_metadata({ORIGINS: json.dumps([origin.to_record() for origin in dataset.origins])})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        if env is not None:
            env.close()
    return folder


def import_dataset(dataset_id: str, path: Path, replaces: bool = False, progress: Progress = _no_progress) -> Dataset:
    """Write a dataset of Minari's local store as one of ours, and give it.

    One that was exported comes back as it was. Of another one no ground truth is known, and the start seed is -1 where
    it is not told.

    :param dataset_id: its name there
    :param path: where ours is to be
    :param replaces: whether a dataset that is there already is replaced
    :param progress: shows the episodes that are done, such as ``rl_baselines.screen.episode_progress``
    :raises DatasetError: when there is none, something is in the way, or its observations are no arrays
    """
    minari, _ = _import_minari()
    check_destination(path, replaces)
    _check_name(dataset_id)
    try:
        found = minari.load_dataset(dataset_id)
    except FileNotFoundError:
        store = _place_of(dataset_id).parent
        raise DatasetError(f"there is no Minari dataset {dataset_id} in {store}; minari list local shows all") from None
    except (KeyError, ValueError, AssertionError) as error:
        raise DatasetError(f"the Minari dataset {dataset_id} cannot be read: {error}") from None
    metadata = found.storage.metadata
    if ORIGINS in metadata:
        origins = [Origin.from_record(record) for record in json.loads(metadata[ORIGINS])]
    else:
        origins = [_foreign_origin(found)]

    def write_all(folder: Path) -> list[int]:
        indices = []
        with progress(len(found)) as on_episode:
            for index, episode in enumerate(_episodes(found)):
                indices.append(write_episode(folder, index, episode).origin)
                on_episode(index)
        return indices

    return build_at_once(path, origins, write_all, replaces)


def _import_minari() -> tuple[Any, Any]:
    try:
        import h5py  # noqa: F401  the store's format
        import minari
        from minari.data_collector.episode_buffer import EpisodeBuffer
    except ImportError as error:
        raise DatasetError(f"Minari is not installed ({error.name}): pip install 'minari[hdf5]'") from None
    return minari, EpisodeBuffer


def _check_name(dataset_id: str) -> None:
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError):
        raise DatasetError(f"Minari's names are like kuka/random-v0, with a version, not {dataset_id!r}") from None


def _place_of(dataset_id: str) -> Path:
    """Give the folder of a dataset in Minari's local store."""
    from minari.storage.datasets_root_dir import get_dataset_path

    return Path(get_dataset_path(dataset_id))


def _free_place(dataset_id: str) -> Path:
    _check_name(dataset_id)
    folder = _place_of(dataset_id)
    if not folder.is_absolute():  # Minari 0.5 itself fails to write there
        raise DatasetError(f"MINARI_DATASETS_PATH must be an absolute path, and leads to {folder}")
    if folder.exists():
        raise DatasetError(f"Minari has a dataset {dataset_id} already; take another version, or delete that one")
    return folder


def _environment_of(dataset: Dataset) -> gymnasium.Env[Any, Any] | None:
    """Build the environment that all episodes come from; None where there are several, or it cannot be built here."""
    first = dataset.origins[0]
    if len(dataset.origins) > 1 or first.env_wrapper:
        return None
    with contextlib.suppress(gymnasium.error.Error, ImportError, TypeError, ValueError):
        find_spec(first.env_id, first.gym_packages)
        return gymnasium.make(first.env_id, **first.env_kwargs)
    return None


def _buffers(dataset: Dataset, episode_buffer: Any, on_episode: Callable[[object], None]) -> Iterator[Any]:
    """Yield the episodes in Minari's form."""
    for episode in dataset:
        n_steps = episode.n_steps
        ends = np.zeros((2, n_steps), bool)
        ends[:, -1] = episode.terminated, episode.truncated
        infos = {name: getattr(episode, name) for name in PLACES if getattr(episode, name).size}
        yield episode_buffer(
            seed=None if episode.start_seed == UNKNOWN_SEED else episode.start_seed,
            observations=episode.observations,
            actions=episode.actions,
            rewards=episode.rewards,
            terminations=ends[0],
            truncations=ends[1],
            infos={**infos, **({"teacher": dict(episode.teacher)} if episode.teacher else {})},
        )
        on_episode(episode)


def _metadata(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Yield what Minari keeps of each episode besides its steps."""
    for index, entry in enumerate(dataset.entries):
        yield {"origin": entry.origin, "success": int(dataset.array(index, "success"))}


def _episodes(found: Any) -> Iterator[Episode]:
    """Yield the episodes of a dataset of Minari's in our form."""
    indices = found.episode_indices
    metadata = found.storage.get_episode_metadata(indices)
    for data, known in zip(found.storage.get_episodes(indices), metadata, strict=True):
        infos: Mapping[str, Any] = data["infos"] or {}
        if not isinstance(data["observations"], np.ndarray) or not isinstance(data["actions"], np.ndarray):
            raise DatasetError(f"the Minari dataset {found.spec.dataset_id} holds observations that are no arrays")
        nowhere = np.zeros((len(data["observations"]), 0), np.float32)
        is_ours = "origin" in known
        places = {name: infos[name] if is_ours and name in infos else nowhere for name in PLACES}
        yield Episode(
            observations=data["observations"],
            actions=data["actions"],
            rewards=np.asarray(data["rewards"], np.float64),
            terminated=bool(data["terminations"][-1]),
            truncated=bool(data["truncations"][-1]),
            start_seed=int(known.get("seed", UNKNOWN_SEED)),
            origin=int(known.get("origin", 0)),
            teacher=infos.get("teacher", {}) if is_ours else {},
            success={0: False, 1: True}.get(int(known.get("success", -1))),
            **places,
        )


def _foreign_origin(found: Any) -> Origin:
    """Say where the episodes of a dataset come from that is not ours."""
    spec = found.env_spec
    try:
        return Origin(
            env_id="" if spec is None else spec.id,
            env_kwargs={} if spec is None else json.loads(json.dumps(spec.kwargs)),
            observation_space=record_space(found.observation_space),
            action_space=record_space(found.action_space),
            policy={"kind": "minari", "dataset": found.spec.dataset_id},
        )
    except (TypeError, ValueError) as error:
        raise DatasetError(f"the Minari dataset {found.spec.dataset_id} cannot be imported: {error}") from None
