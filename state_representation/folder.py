"""The folder in which a representation is learnt: settings first, a state after each epoch, then what came out.

::

    DIR/training.json          all that decides the outcome; the same command goes on where another is refused
    DIR/training.safetensors   the state after the last epoch
    DIR/history.csv            the losses of each epoch
    DIR/model.json, encoder.safetensors, metrics.json, plots/    what came out, when it is done
"""

import csv
import fcntl
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from environments.durable import replace_file
from state_representation.metrics import Metrics
from state_representation.model import PLAN_NAME
from state_representation.objectives import RepresentationError

HISTORY_NAME, METRICS_NAME, PLOTS_NAME = "history.csv", "metrics.json", "plots"
EXTENDABLE = "epochs"
"""The one setting with which a training may be gone on with for longer."""


def default_folder(env_id: str) -> Path:
    """Give where the representations of an environment lie unless told otherwise."""
    return Path("logs") / "representations" / env_id.rpartition(":")[2].replace("/", "-")


@contextmanager
def learning_in(folder: Path, plan: Mapping[str, Any]) -> Iterator[None]:
    """Hold a folder for a training, new or to be gone on with, against a second process.

    :param plan: all that decides the outcome, as JSON knows it
    :raises RepresentationError: when something else is there, or another process learns there
    """
    found = _read_plan(folder)
    different = next((name for name in plan if name != EXTENDABLE and found.get(name) != plan[name]), None)
    if found and different is not None:
        raise RepresentationError(
            f"{folder} holds a training with other settings: its {different} is {json.dumps(found.get(different))}, "
            f"asked for is {json.dumps(plan[different])}; name another --log-folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115  held as long as the context
    except OSError as error:
        raise RepresentationError(f"cannot write into {folder}: {error.strerror or error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RepresentationError(f"another process is learning in {folder}") from None
        replace_file(folder / PLAN_NAME, json.dumps(plan, indent=1).encode())
        yield


def _read_plan(folder: Path) -> dict[str, Any]:
    """Give the plan of a training that was begun; nothing where there is none."""
    if not folder.exists() or (folder.is_dir() and not any(path.name != ".lock" for path in folder.iterdir())):
        return {}
    try:
        plan = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        plan = None
    if not isinstance(plan, dict):
        raise RepresentationError(
            f"{folder} is there and holds no training of a representation; name a new --log-folder"
        )
    return plan


def write_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write the losses of each epoch as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(history[0]))
    writer.writeheader()
    writer.writerows([{**row, "epoch": int(row["epoch"])} for row in history])
    replace_file(folder / HISTORY_NAME, text.getvalue().encode())


def write_metrics(folder: Path, metrics: Metrics) -> None:
    """Write what was measured as JSON."""
    replace_file(folder / METRICS_NAME, json.dumps(metrics.to_record(), indent=1).encode())


def write_plot(folder: Path, name: str, figure: Figure) -> Path:
    """Write a picture and give its path."""
    path = folder / PLOTS_NAME / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    replace_file(path, picture.getvalue())
    return path
