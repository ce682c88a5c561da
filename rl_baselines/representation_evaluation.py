"""What ``python -m state_representation.evaluate MODEL... DATA`` does."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rl_baselines.command_line import parse
from rl_baselines.config import setting
from rl_baselines.errors import UsageError
from rl_baselines.representation_training import frames_to_read

if TYPE_CHECKING:
    from state_representation.frames import Frames
    from state_representation.metrics import Metrics
    from state_representation.model import StateModel

PROG = "python -m state_representation.evaluate"
DESCRIPTION = "Measure how much of the ground truth is in the states of one or several representations."
UNSEEN = (0.2, 0)
"""Share and seed of the episodes that the linear probe is judged on, where none was learnt from."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Evaluation"""

    paths: tuple[str, ...] = setting(
        (), "Folders of representations, and of the datasets to measure them on.", metavar="MODEL", positional=True
    )
    training_set_size: int = setting(-1, "Frames to read, in whole episodes; -1: all.")
    device: str = setting("cpu", "cpu, cuda or cuda:N.", metavar="NAME")
    json: bool = setting(False, "Print one JSON object on standard output.")


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    options = EvaluationOptions(**parse((EvaluationOptions,), argv, PROG, DESCRIPTION))

    from environments.dataset import INDEX_NAME, DatasetError
    from rl_baselines.machine import find_device
    from rl_baselines.run_folder import short
    from rl_baselines.screen import make_console, show_table
    from state_representation.frames import Frames
    from state_representation.model import StateModel
    from state_representation.objectives import RepresentationError

    most = frames_to_read(options.training_set_size)
    paths = [Path(path) for path in options.paths]
    datasets = [path for path in paths if (path / INDEX_NAME).exists()]
    models = [path for path in paths if path not in datasets]
    if not datasets or not models:
        raise UsageError(f"name the folder of a representation and that of a dataset: {PROG} MODEL... DATA")
    try:
        device = find_device(options.device)
        loaded = {path: StateModel.load(path, device) for path in models}
        frames = Frames.read(datasets, most)
        found = {path: measure_model(model, frames) for path, model in loaded.items()}
    except (DatasetError, RepresentationError) as error:
        raise UsageError(str(error)) from None
    if options.json:
        print(json.dumps({str(path): metrics.to_record() for path, metrics in found.items()}))
        return 0
    rows = [[short(path), *cells(metrics)] for path, metrics in found.items()]
    header = ("representation", "states", "KNN-MSE", "GTC mean", "probe R²", "rank", "frames")
    show_table(make_console(), f"{frames.env_id}: {', '.join(frames.truth_names)}", rows, header)
    for path, metrics in found.items():
        if metrics.warning is not None:
            print(f"warning: {short(path)}: {metrics.warning}")
    return 0


def measure_model(model: "StateModel", frames: "Frames") -> "Metrics":
    """Measure a representation on frames: those that it kept apart, where it has learnt from the others.

    :raises RepresentationError: when the frames are of another shape than those it encodes
    """
    import numpy as np

    from state_representation.metrics import measure

    learnt = model.description.settings
    has_seen = model.description.dataset == frames.sha256
    share, seed = (learnt["validation"], learnt["seed"]) if has_seen else UNSEEN
    _, apart = frames.split(share, seed)
    is_apart = np.isin(frames.episodes, frames.episodes[frames.starts[apart]])
    return measure(model.encode(frames.images), frames.truths, is_apart, frames.truth_names)


def cells(metrics: "Metrics") -> list[str]:
    """Give a row of the table: what `header` names, without the representation."""
    figures = (metrics.knn_mse, metrics.mean_correlation, metrics.mean_explained)
    known = ["" if value is None else f"{value:.3g}" for value in figures]
    return [str(metrics.state_dim), *known, f"{metrics.rank:.1f}", f"{metrics.n_frames:,}"]
