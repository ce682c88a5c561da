"""What ``python -m state_representation.train`` does.

Exit codes: 0 done, 1 the loss became infinite or a file could not be written, 2 wrong usage, 75 stopped by Ctrl-C; the
same command goes on.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl_baselines.command_line import parse
from rl_baselines.config import setting
from rl_baselines.errors import UsageError
from rl_baselines.train import EXIT_STOPPED

if TYPE_CHECKING:
    from rich.console import Console

    from state_representation.frames import Frames
    from state_representation.metrics import Metrics
    from state_representation.model import StateModel
    from state_representation.training import Training, TrainingSettings

EXIT_FAILED = 1
PROG = "python -m state_representation.train"
DESCRIPTION = (
    "Learn a representation of states from a recorded dataset of pictures. A training that was broken off goes on with "
    "the same command."
)


@dataclass(frozen=True)
class RepresentationOptions:
    """Representation"""

    data_folder: tuple[str, ...] = setting((), "Datasets of pictures (environments.dataset_generator).", metavar="DIR")
    losses: tuple[str, ...] = setting(
        (),
        "autoencoder, dae, vae, inverse, forward, reward, priors, triplet, supervised; random or pca alone. Each as "
        "name, name:weight, or name:weight:dimension, with a part of the state to itself; dimension -1 shares that of "
        "the one before.",
        metavar="LOSS",
    )
    state_dim: int | None = setting(
        None, "Elements of a state. Default: the dimensions of the losses added up, the ground truth's, or 200."
    )
    encoder: Literal["custom_cnn", "resnet18", "mlp", "linear"] | None = setting(
        None, "Network. Default: custom_cnn, and linear for pca.", ("--model-type",)
    )
    epochs: int = setting(30, "Passes over the transitions; a finished training goes on when there are more.")
    batch_size: int = setting(32, "Transitions of an update.", ("-bs",))
    learning_rate: float = setting(0.005, "Of Adam.", ("-lr",))
    training_set_size: int = setting(-1, "Frames to read, in whole episodes; -1: all.")
    validation: float = setting(0.2, "Share of the episodes that is kept apart, one at least.")
    patience: int = setting(0, "Epochs without a better validation loss after which it ends; 0: never.")
    balanced_sampling: bool = setting(False, "Draw rewards of each sign equally often.")
    occlusion_percentage: float = setting(0.5, "Share of height and of width that dae covers.")
    beta: float = setting(1.0, "Weight of the divergence of vae.")
    inverse_model_type: Literal["linear", "mlp"] = setting("linear", "Model of the loss inverse.")
    seed: int = setting(0, "Every random draw derives from it.")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.", metavar="NAME")
    torch_threads: int | None = setting(None, "Threads of torch. Default: all cores.")
    log_folder: str | None = setting(
        None,
        "Folder of the model. Default: logs/representations/<env>/<losses>_<key>, the same for the same settings.",
        metavar="DIR",
    )
    json: bool = setting(False, "Print one JSON object on standard output.")

    def __post_init__(self) -> None:
        if not self.data_folder:
            raise UsageError(
                "--data-folder names a dataset of pictures; python -m environments.dataset_generator records one"
            )
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"--learning-rate must be a positive number, got {self.learning_rate}")
        for name in ("validation", "occlusion_percentage"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} lies between 0 and 1, got {getattr(self, name)}")
        if self.patience < 0 or self.seed < 0 or not 0 <= self.beta < float("inf"):
            raise UsageError("--patience, --seed and --beta must not be negative")
        frames_to_read(self.training_set_size)


def frames_to_read(size: int) -> int | None:
    """Give what ``--training-set-size`` says; None for all frames.

    :raises UsageError: for what is no number of frames
    """
    if size != -1 and size < 1:
        raise UsageError(f"--training-set-size is a number of frames, or -1, got {size}")
    return None if size == -1 else size


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    options = RepresentationOptions(**parse((RepresentationOptions,), argv, PROG, DESCRIPTION))

    from environments.dataset import DatasetError
    from rl_baselines.screen import make_console, standard_output_kept
    from state_representation.objectives import DivergenceError, RepresentationError

    try:
        with standard_output_kept(options.json):
            result, code = _learn(options, make_console())
    except (DatasetError, RepresentationError) as error:
        raise UsageError(str(error)) from None
    except DivergenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    if options.json and result is not None:
        print(json.dumps(result))
    return code


def _learn(options: RepresentationOptions, console: "Console") -> tuple[dict[str, Any] | None, int]:
    import torch

    from rl_baselines.machine import find_device
    from state_representation.folder import learning_in
    from state_representation.frames import Frames
    from state_representation.training import Training, check

    torch.set_num_threads(options.torch_threads or os.cpu_count() or 1)
    frames = Frames.read([Path(folder) for folder in options.data_folder], frames_to_read(options.training_set_size))
    settings = settle(options, frames)
    check(settings, frames)
    plan = {**json.loads(json.dumps(asdict(settings))), "dataset": frames.sha256}
    folder = Path(options.log_folder) if options.log_folder else _default_folder(settings, frames, plan)
    device = find_device(options.device)
    with learning_in(folder, plan):
        training = Training(settings, frames, folder, device)
        _show_start(console, training, folder)
        try:
            _run(console, training, folder)
        except KeyboardInterrupt:
            done = len(training.history)
            console.print(f"stopped: {done} of {settings.epochs} epochs are done; the same command goes on")
            return None, EXIT_STOPPED
        model = _model(training)
        model.save(folder)
        metrics = _write_outcome(training, model, folder)
        _show_end(console, training, metrics, folder)
    result = {"folder": str(folder), "epochs": len(training.history), "best_epoch": training.best_epoch}
    return {**result, **metrics.to_record()}, 0


def settle(options: RepresentationOptions, frames: "Frames") -> "TrainingSettings":
    """Settle what is learnt, from what was given and what there is to learn from.

    :raises RepresentationError: when it makes no sense
    """
    from state_representation.losses import DEFAULT_WEIGHTS, PCA
    from state_representation.objectives import parse_objectives
    from state_representation.training import TrainingSettings

    has_parts = any(word.count(":") > 1 for word in options.losses)
    names = [word.split(":")[0] for word in options.losses]
    usual = None if has_parts else max(1, len(frames.truth_names)) if names == ["supervised"] else 200
    state_dim = options.state_dim if options.state_dim is not None else usual
    return TrainingSettings(
        objectives=parse_objectives(options.losses, DEFAULT_WEIGHTS, state_dim),
        architecture=options.encoder or ("linear" if names == [PCA] else "custom_cnn"),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        validation=options.validation,
        patience=options.patience,
        balanced=options.balanced_sampling,
        seed=options.seed,
        occlusion=options.occlusion_percentage,
        beta=options.beta,
        inverse_model=options.inverse_model_type,
    )


def _default_folder(settings: "TrainingSettings", frames: "Frames", plan: Mapping[str, Any]) -> Path:
    from state_representation.folder import EXTENDABLE, default_folder

    decisive = {name: value for name, value in plan.items() if name != EXTENDABLE}
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]
    names = "_".join(objective.name for objective in settings.objectives)
    return default_folder(frames.env_id) / f"{names}_{key}"


def _show_start(console: "Console", training: "Training", folder: Path) -> None:
    from rl_baselines.run_folder import short
    from rl_baselines.screen import show_table
    from state_representation.pictures import picture_sizes

    settings, frames = training.settings, training.frames
    n_apart = int(training.held_out_frames.sum())
    parts = [
        f"{one.name} x {one.weight:g}" + (f" on {one.start}..{one.stop - 1}" if one.dim < settings.state_dim else "")
        for one in settings.objectives
    ]
    done = len(training.history)
    show_table(
        console,
        "Representation",
        [
            ("environment", frames.env_id),
            ("pictures", f"{len(frames.images):,} of {picture_sizes(frames.shape)}, {n_apart:,} of them kept apart"),
            ("ground truth", ", ".join(frames.truth_names) or "unknown"),
            ("states", f"{settings.state_dim} elements, encoder {settings.architecture}"),
            ("losses", ", ".join(parts)),
            *(
                []
                if settings.is_untrained
                else [("epochs", f"{settings.epochs}" + (f", {done} are done" if done else ""))]
            ),
            ("seed, device", f"{settings.seed}, {training.device}"),
            ("folder", short(folder)),
        ],
    )


def _run(console: "Console", training: "Training", folder: Path) -> None:
    """Learn to the end; a line for each epoch."""
    from rl_baselines.screen import part_progress
    from state_representation.folder import write_history

    def on_epoch(row: Mapping[str, float]) -> None:
        write_history(folder, training.history)
        best = ", the best so far" if training.best_epoch == len(training.history) else ""
        console.print(
            f"epoch {int(row['epoch'])}: loss {row['total']:.4g}, validation {row['validation_total']:.4g}{best}",
            highlight=False,
        )

    with part_progress("minibatches", *training.n_parts()) as on_batch:
        training.run(on_batch, on_epoch)


def _model(training: "Training") -> "StateModel":
    from state_representation.model import Description, StateModel

    frames, settings = training.frames, training.settings
    description = Description(
        architecture=settings.architecture,
        image_shape=frames.shape,
        n_channels=training.n_channels,
        state_dim=settings.state_dim,
        losses=tuple(f"{one.name}:{one.weight:g}:{one.dim}" for one in settings.objectives),
        env_id=frames.env_id,
        env_kwargs=frames.env_kwargs,
        dataset=frames.sha256,
        settings=json.loads(json.dumps(asdict(settings))),
    )
    return StateModel(description, training.encoder)


def _write_outcome(training: "Training", model: "StateModel", folder: Path) -> "Metrics":
    """Measure the representation on the frames kept apart, and draw it."""
    import numpy as np

    from state_representation import pictures
    from state_representation.folder import write_metrics, write_plot
    from state_representation.metrics import measure
    from state_representation.networks import to_bytes

    frames, apart = training.frames, training.held_out_frames
    states = model.encode(frames.images)
    metrics = measure(states, frames.truths, apart, frames.truth_names)
    write_metrics(folder, metrics)
    if training.history:
        write_plot(folder, "losses", pictures.draw_losses(training.history, training.best_epoch))
    write_plot(folder, "states", pictures.draw_states(states[apart], frames.truths[apart], frames.truth_names))
    thinned = np.flatnonzero(apart)[:: max(1, int(apart.sum()) // 1000)]
    sheet = pictures.draw_neighbours(frames.images[thinned], states[thinned], frames.truths[thinned])
    write_plot(folder, "neighbours", sheet)
    shown = frames.images[np.flatnonzero(apart)[pictures.sample(int(apart.sum()))]]
    restored = training.reconstruct(shown)
    if restored is not None:
        write_plot(folder, "restored", pictures.draw_restored(shown, to_bytes(restored)))
    return metrics


def _show_end(console: "Console", training: "Training", metrics: "Metrics", folder: Path) -> None:
    from rl_baselines.run_folder import short
    from rl_baselines.screen import show_table

    kept = f"epoch {training.best_epoch} of {len(training.history)}, by validation" if training.history else "as made"
    show_table(console, "Learnt", [("weights", kept), *measured_rows(metrics), ("folder", short(folder))])
    if metrics.warning is not None:
        console.print(f"warning: {metrics.warning}", soft_wrap=True)


def measured_rows(metrics: "Metrics") -> list[tuple[str, str]]:
    """Give what was measured for people: names and values."""
    if metrics.knn_mse is None:
        return [("effective rank", f"{metrics.rank:.1f} of {metrics.state_dim}; no ground truth is known")]
    by_name = zip(metrics.truth_names, metrics.correlations, metrics.explained, strict=True)
    each = ", ".join(
        f"{name} {gtc:.2f} / {r2:.2f}" if not math.isnan(gtc) else f"{name}: does not vary in them"
        for name, gtc, r2 in by_name
    )
    means = [
        "unknown" if mean is None else f"{mean:.3f}" for mean in (metrics.mean_correlation, metrics.mean_explained)
    ]
    return [
        ("KNN-MSE", f"{metrics.knn_mse:.4g} m² (less is better), {metrics.n_frames:,} held-out frames"),
        ("GTC mean", means[0]),
        ("linear probe", f"R² {means[1]}"),
        ("GTC / R² of", each),
        ("effective rank", f"{metrics.rank:.1f} of {metrics.state_dim}"),
    ]
