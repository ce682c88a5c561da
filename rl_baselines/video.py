"""Films of a policy: frames go to the file as they come, so that memory does not grow with the length."""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
from PIL import Image
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.errors import UsageError
from rl_baselines.evaluation import EvaluationResult, evaluate

DEFAULT_FPS = 30.0
GIF_MAX_FRAMES = 300
GIF_MAX_FPS = 20.0
GIF_MAX_SIDE = 320
GIF_COLOURS = 64
GIF_PALETTE_FRAMES = 12


def check_suffix(path: Path) -> None:
    """Accept the name of a film.

    :raises UsageError: when its suffix is not one we write
    """
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"a film's name ends in {' or '.join(WRITERS)}; got {path.name!r}")


def write_video(frames: Iterable[np.ndarray], path: Path, fps: float) -> None:
    """Write frames into a film that plays in real time; the file appears once it is complete.

    ``.mp4`` is H.264 with yuv420p, which browsers play; odd sizes are padded by a line. ``.gif`` is small: scaled to
    at most 320 pixels a side, at most 20 frames a second, at most 300 frames in all, 64 colours.

    :param frames: uint8, (height, width, 3), all of one size
    :param fps: frames per second
    :raises ValueError: for another suffix, another kind of frame, or no frame at all
    """
    with open_video(path, fps) as writer:
        for frame in frames:
            writer.append(frame)


def record(
    policy: PolicyPredictor,
    env: VecEnv,
    start_seeds: Sequence[int],
    paths: Path | Sequence[Path],
    fps: float | None = None,
    deterministic: bool = True,
) -> EvaluationResult:
    """Evaluate and film env 0 meanwhile: the scene before each action, so not that after an episode's last one.

    :param env: as ``evaluate`` takes it, with render mode rgb_array; of m envs, env 0 plays seeds 0, m, 2m, ...
    :param paths: one or several films of the same
    :param fps: frames per second; the env's ``render_fps`` if None
    :raises ValueError: when the env renders no images, and as ``write_video`` and ``evaluate``
    """
    if env.render_mode != "rgb_array":
        raise ValueError(f"filming needs an env with render_mode='rgb_array'; this one has {env.render_mode!r}")
    if fps is None:
        fps = float(env.get_attr("metadata", 0)[0].get("render_fps", DEFAULT_FPS))
    with ExitStack() as stack:
        writers = [
            stack.enter_context(open_video(path, fps)) for path in ([paths] if isinstance(paths, Path) else paths)
        ]

        def film(active: np.ndarray) -> None:
            if active[0]:
                frame = env.env_method("render", indices=0)[0]
                for writer in writers:
                    writer.append(frame)

        return evaluate(policy, env, start_seeds, deterministic, on_step=film)


@contextmanager
def open_video(path: Path, fps: float) -> Iterator["_Film"]:
    """Open a film to append frames to; when the body raises, what was there before is left as it was.

    :raises ValueError: for another suffix than .mp4 or .gif, or when no frame came
    """
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    writer = WRITERS[path.suffix.lower()](aside, fps)
    try:
        film = _Film(writer)
        yield film
        film.finish()
        os.replace(aside, path)
    finally:
        writer.close()
        aside.unlink(missing_ok=True)


class _Writer(ABC):
    """Takes the frames of one file, one by one."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps

    @abstractmethod
    def append(self, frame: np.ndarray) -> None:
        """Add a frame: uint8, (height, width, 3), all of one size."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file; a second call does nothing."""


class _Film:
    """Frames on their way into a file, checked to be of one kind."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._shape: tuple[int, ...] | None = None

    def append(self, frame: np.ndarray) -> None:
        """Add a frame.

        :param frame: uint8, (height, width, 3)
        """
        shape = self._shape or (*np.shape(frame)[:2], 3)
        if np.shape(frame) != shape or len(shape) != 3 or frame.dtype != np.uint8:
            got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise ValueError(f"a film takes images of one size, uint8 (height, width, 3); got {got}, expected {shape}")
        self._shape = shape
        self._writer.append(frame)

    def finish(self) -> None:
        """Complete the file."""
        if self._shape is None:
            raise ValueError("a film needs at least one frame")
        self._writer.close()


class _Mp4Writer(_Writer):
    """H.264 by ffmpeg, which encodes while frames come."""

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__(path, fps)
        self._ffmpeg: Generator[None, Any, None] | None = None

    def append(self, frame: np.ndarray) -> None:
        """Hand a frame to ffmpeg, which starts with the first."""
        even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        if self._ffmpeg is None:
            self._ffmpeg = self._start(even.shape[1], even.shape[0])
            next(self._ffmpeg)
        try:
            self._ffmpeg.send(np.ascontiguousarray(even))
        except OSError as error:
            raise OSError(f"ffmpeg stopped while it wrote {self._path}") from error

    def _start(self, width: int, height: int) -> Generator[None, Any, None]:
        # The index goes to the front of the file, so that a browser plays it while it loads.
        options = ["-movflags", "+faststart"]
        return imageio_ffmpeg.write_frames(
            self._path, (width, height), fps=self._fps, quality=6, macro_block_size=1, output_params=options
        )

    def close(self) -> None:
        """Wait until ffmpeg is done."""
        if self._ffmpeg is not None:
            self._ffmpeg.close()


class _GifWriter(_Writer):
    """A small looping GIF by Pillow.

    Its palette needs all frames, so they are kept, but scaled down and not more than GIF_MAX_FRAMES: when there are
    more, every other one is dropped and from then on half as many are taken.
    """

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__(path, fps)
        self._every = max(1, ceil(fps / GIF_MAX_FPS))
        self._n_seen = 0
        self._frames: list[Image.Image] = []

    def append(self, frame: np.ndarray) -> None:
        """Keep a frame if it is one of those that count."""
        if self._n_seen % self._every == 0:
            image = Image.fromarray(frame)
            image.thumbnail((GIF_MAX_SIDE, GIF_MAX_SIDE), Image.Resampling.LANCZOS)
            self._frames.append(image)
        self._n_seen += 1
        if len(self._frames) > GIF_MAX_FRAMES:
            self._frames = self._frames[::2]
            self._every *= 2

    def close(self) -> None:
        """Choose the colours and write the file."""
        if not self._frames:
            return
        palette = self._common_palette()
        first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames)
        # The format counts hundredths of a second: rounding the ends of frames, not their durations, keeps the pace.
        ends_cs = np.round(np.arange(len(self._frames) + 1) * 100 * self._every / self._fps)
        durations_ms = (10 * np.diff(ends_cs)).astype(int).tolist()
        first.save(self._path, format="GIF", save_all=True, append_images=rest, duration=durations_ms, loop=0)
        self._frames = []

    def _common_palette(self) -> Image.Image:
        """Choose the colours from a strip of frames over the whole film; one palette keeps what stands still equal."""
        sample = self._frames[:: ceil(len(self._frames) / GIF_PALETTE_FRAMES)]
        width, height = sample[0].size
        strip = Image.new("RGB", (width, height * len(sample)))
        for i, frame in enumerate(sample):
            strip.paste(frame, (0, height * i))
        return strip.quantize(GIF_COLOURS)


WRITERS: dict[str, type[_Writer]] = {".mp4": _Mp4Writer, ".gif": _GifWriter}
