"""Films: as many frames as steps, of the right size, and nothing half-written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.errors import UsageError
from rl_baselines.process_vec_env import ProcessVecEnv
from rl_baselines.video import record, write_video


class Lamp(gym.Env):
    """Lasts ``seed`` steps; its image is a white square, as far to the right as the episode has lasted."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}
    observation_space = spaces.Box(0, 99, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.seed, self.age = seed or 1, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.age += 1
        return np.full(1, self.age, np.float32), 1.0, self.age == self.seed, False, {}

    def render(self) -> np.ndarray:
        return square(self.age)


class Idle:
    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        return np.zeros(len(observation), dtype=int), None


def square(place: int, height: int = 48, width: int = 64) -> np.ndarray:
    image = np.full((height, width, 3), (30, 60, 90), dtype=np.uint8)
    image[10:20, 2 * place % (width - 10) :][:, :10] = 255
    return image


def squares(n_frames: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    return (square(place, height, width) for place in range(n_frames))


def read_mp4(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The properties and the frames, (n, height, width, 3)."""
    reader = imageio_ffmpeg.read_frames(path)
    properties = next(reader)
    width, height = properties["size"]
    return properties, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def read_gif(path: Path) -> tuple[Image.Image, np.ndarray]:
    image = Image.open(path)
    frames = []
    for i in range(image.n_frames):
        image.seek(i)
        frames.append(np.asarray(image.convert("RGB")))
    return image, np.stack(frames)


def duration_ms(image: Image.Image) -> int:
    total = 0
    for i in range(image.n_frames):
        image.seek(i)
        total += image.info["duration"]
    return total


def lamps(n_envs: int) -> VecEnv:
    return DummyVecEnv([lambda: EpisodeSeeds(Lamp(), 1) for _ in range(n_envs)])


def test_mp4_has_every_frame_and_plays_in_browsers(tmp_path: Path) -> None:
    write_video(squares(20), tmp_path / "film.mp4", 10)
    properties, frames = read_mp4(tmp_path / "film.mp4")
    assert properties["pix_fmt"].startswith("yuv420p")
    assert properties["codec"] == "h264"
    assert properties["fps"] == 10
    assert frames.shape == (20, 48, 64, 3)
    np.testing.assert_allclose(frames[7].astype(float), square(7), atol=40)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_mp4_of_an_odd_size_is_padded(tmp_path: Path) -> None:
    write_video(squares(3, height=49, width=63), tmp_path / "film.mp4", 10)
    assert read_mp4(tmp_path / "film.mp4")[1].shape == (3, 50, 64, 3)


def test_gif_has_every_frame(tmp_path: Path) -> None:
    write_video(squares(20), tmp_path / "film.GIF", 10)
    image, frames = read_gif(tmp_path / "film.GIF")
    assert duration_ms(image) == 2000
    assert image.info["loop"] == 0
    np.testing.assert_array_equal(frames, list(squares(20)))


@pytest.mark.slow
def test_a_long_gif_stays_small_and_lasts_as_long(tmp_path: Path) -> None:
    write_video(squares(1300, height=480, width=640), tmp_path / "film.gif", 40)
    image, frames = read_gif(tmp_path / "film.gif")
    assert 150 <= len(frames) <= 300
    assert frames.shape[1:] == (240, 320, 3)
    assert duration_ms(image) == pytest.approx(1300 / 40 * 1000, rel=0.02)
    assert (tmp_path / "film.gif").stat().st_size < 2e6


@pytest.mark.parametrize("n_envs", [1, 2])
def test_record_films_what_env_0_plays(tmp_path: Path, n_envs: int) -> None:
    result = record(Idle(), lamps(n_envs), [5, 3, 4], [tmp_path / "film.gif", tmp_path / "new" / "film.mp4"])
    assert result.lengths.tolist() == [5, 3, 4]
    ages = [*range(5), *range(3), *range(4)] if n_envs == 1 else [*range(5), *range(4)]
    image, frames = read_gif(tmp_path / "film.gif")
    np.testing.assert_array_equal(frames, [square(age) for age in ages])
    assert duration_ms(image) == pytest.approx(125 * len(ages), abs=5)
    properties, frames = read_mp4(tmp_path / "new" / "film.mp4")
    assert properties["fps"] == 8
    assert len(frames) == len(ages)


def test_record_films_an_env_in_a_process(tmp_path: Path) -> None:
    env = ProcessVecEnv([lambda: EpisodeSeeds(Lamp(), 1)], 1)
    record(Idle(), env, [4], tmp_path / "film.gif")
    env.close()
    assert len(read_gif(tmp_path / "film.gif")[1]) == 4


def test_another_suffix_is_refused_with_those_that_go(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("a film's name ends in .mp4 or .gif; got 'film.avi'")):
        write_video(squares(2), tmp_path / "film.avi", 10)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_that_fails_leaves_the_old_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    path.write_bytes(b"old")
    for frames, message in [
        ([], "at least one frame"),
        ([square(0), square(0, 50, 50)], r"got uint8 \(50, 50, 3\), expected \(48, 64, 3\)"),
        ([square(0).astype(float)], r"got float64 \(48, 64, 3\), expected"),
        ([None], "got NoneType, expected"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_video(frames, path, 10)  # type: ignore[arg-type]
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        assert path.read_bytes() == b"old"


def test_filming_needs_images(tmp_path: Path) -> None:
    env = DummyVecEnv([lambda: EpisodeSeeds(Lamp(None), 1)])
    with pytest.raises(ValueError, match="render_mode='rgb_array'; this one has None"):
        record(Idle(), env, [4], tmp_path / "film.gif")
