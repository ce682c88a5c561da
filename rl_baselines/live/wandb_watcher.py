"""Hands what a run tells on to Weights & Biases, an extra: ``pip install "rl-baselines[wandb]"``."""

import hashlib
import importlib.util
import logging
import queue
import re
import threading
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path as FilePath
from typing import Any

from rl_baselines.errors import UsageError
from rl_baselines.live.events import Event, Matrix, Path, Picture, Scalars, Text

PROJECT = "rl-baselines"
STEP = "timesteps"
"""The name of the x axis of all curves. The service's own count of rows never goes back and drops what would."""
CAPACITY = 50_000
"""Events held at most until they are handed on."""
INIT_TIMEOUT_S = 15.0
FINISH_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 10.0

_LOGGER = logging.getLogger(__name__)


class WandbWatcher:
    """A page of Weights & Biases for a run, written by a thread of its own.

    The settings of the package hold: ``wandb login``, ``WANDB_MODE=offline`` and so on. Where the service cannot be
    reached or nobody is logged in, all is kept in files, as in offline mode.

    :param run_id: the page is found again by it
    :param config: what decides the run, shown beside its curves
    :param folder: of the run; the package's files come into ``wandb`` in it
    :param resumed: whether the run goes on, so that its page does
    :param announce: is told of a failure, once, from another thread
    :raises UsageError: when the package is not installed
    """

    def __init__(
        self,
        run_id: str,
        config: Mapping[str, Any],
        folder: FilePath,
        resumed: bool = False,
        project: str = PROJECT,
        announce: Callable[[str], None] = _LOGGER.warning,
    ) -> None:
        self._wandb = _package()
        self._folder = folder
        self._options = {
            "project": project,
            "id": page_id(run_id),
            "name": run_id,
            "dir": str(folder),
            "config": dict(config),
        }
        self._resume = "allow" if resumed else "never"
        self._announce, self._has_announced = announce, False
        self._texts: dict[str, str] = {}
        self._events: queue.Queue[Event] = queue.Queue(CAPACITY)
        self._is_open, self._is_closing = True, threading.Event()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take an event, to be handed on later."""
        if not self._is_open:
            return
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._fail("takes events too slowly: some are left out")

    def close(self) -> None:
        """Hand on what is still held, within CLOSE_TIMEOUT_S."""
        self._is_open = False
        self._is_closing.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            self._fail("did not take everything in time: the page lacks the end of the run")

    def _work(self) -> None:
        """Hand events on until there are no more."""
        try:
            run = self._start()
            while (event := self._next()) is not None:
                self._hand_on(run, event)
            run.finish()
        except Exception as error:  # noqa: BLE001  a package that serves the view must not end a training
            self._is_open = False
            self._fail(f"failed and shows nothing further: {_one_line(error)}")

    def _next(self) -> Event | None:
        """Wait for an event; None when all were handed on and no more will come."""
        while True:
            try:
                return self._events.get(timeout=0.2)
            except queue.Empty:
                if self._is_closing.is_set() and self._events.empty():
                    return None

    def _start(self) -> Any:
        """Open the page, or the files that stand for it."""
        self._be_silent()
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            reinit="create_new",
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
        )
        try:
            run = self._wandb.init(**self._options, resume=self._resume, settings=settings)
        except self._wandb.Error as error:
            self._fail(f"cannot be used, all is kept in {self._folder / 'wandb'}: {_one_line(error)}")
            # Else the package takes the page for being open already.
            self._wandb.teardown()
            self._be_silent()
            run = self._wandb.init(**self._options, mode="offline", settings=settings)
        run.define_metric(STEP, hidden=True)
        run.define_metric("*", step_metric=STEP)
        return run

    def _be_silent(self) -> None:
        """Let the package neither print nor ask for a key on the terminal."""
        self._wandb.setup(self._wandb.Settings(silent=True))

    def _hand_on(self, run: Any, event: Event) -> None:
        match event:
            case Scalars():
                run.log({**event.values, STEP: event.timesteps})
            case Text():
                self._texts[event.name] = event.text
                run.config.update({"texts": dict(self._texts)}, allow_val_change=True)
            case Picture():
                run.log({"picture": self._wandb.Image(event.pixels), STEP: event.timesteps})
            case Path():
                run.log({"path": self._drawing(event), STEP: event.timesteps})
            case Matrix():
                run.log({f"matrix/{re.sub(r'[^A-Za-z0-9 _.-]', '_', event.name)}": self._drawing(event)})

    def _drawing(self, event: Path | Matrix) -> Any:
        from PIL import Image

        from rl_baselines.live.drawing import draw_matrix, draw_path, png

        figure = draw_path(event) if isinstance(event, Path) else draw_matrix(event)
        return self._wandb.Image(Image.open(BytesIO(png(figure))))

    def _fail(self, what: str) -> None:
        """Tell of the first failure."""
        if not self._has_announced:
            self._has_announced = True
            self._announce(f"Weights & Biases {what}")


def page_id(run_id: str) -> str:
    """Give the id of the page of a run: the same for the same run, of letters that the service allows."""
    letters = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[-100:]
    return f"{letters}-{hashlib.sha256(run_id.encode('utf-8', 'replace')).hexdigest()[:8]}"


def check_package() -> None:
    """Refuse to go on without the package.

    :raises UsageError: when it is not installed
    """
    found = importlib.util.find_spec("wandb")
    # A folder of that name, as the package itself makes, passes for a package without a file.
    if found is None or found.origin is None:
        raise UsageError('Weights & Biases is not installed: pip install "rl-baselines[wandb]", or pip install wandb')


def _package() -> Any:
    """Import the package.

    :raises UsageError: when it is not installed
    """
    check_package()
    import wandb

    return wandb


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].strip() or type(error).__name__
