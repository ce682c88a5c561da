"""Contact sheets: small pictures of one episode, to be looked at by people."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from environments.registry import ENVIRONMENTS, build, check_env_kwargs
from environments.robot_env import RobotEnv

CELL = 200
"""Height and width of a picture, in pixels."""
MARGIN = 8
LINE = 20
N_MOMENTS = 5
N_STEPS = 240
N_STEPS_HELD = 12
"""Steps for which a random action is repeated, so that the robot gets somewhere."""


def contact_sheet(env_id: str, env_kwargs: Mapping[str, Any], seed: int) -> Image.Image:
    """Draw what every camera sees in the course of an episode with random actions, for every task.

    A random target is taken where there is one, unless told otherwise.

    :param env_id: one of our environments
    :param env_kwargs: its arguments; with ``task``, only that task is drawn
    :param seed: of the episode
    :return: a row for each task and camera, a column for each moment
    :raises ValueError: for arguments that cannot be honoured
    """
    row = ENVIRONMENTS[env_id]
    tasks = [env_kwargs["task"]] if "task" in env_kwargs else list(row.tasks)
    strips = []
    for task in tasks:
        moments = _moments({**env_kwargs, "task": task}, env_id, seed)
        for number in range(len(row.cameras)):
            pictures = [(step, picture[:, :, 3 * number : 3 * number + 3]) for step, picture in moments]
            strips.append((f"{env_id}  task {task}  camera {number + 1}", pictures))
    return _arrange(strips)


def _moments(env_kwargs: Mapping[str, Any], env_id: str, seed: int) -> list[tuple[int, np.ndarray]]:
    """Play an episode, or its beginning, and give some of its pictures with the number of steps before each."""
    kwargs = {"random_target": True, **env_kwargs}
    seen = {"observation": "raw_pixels", "image_size": CELL, "multi_view": len(ENVIRONMENTS[env_id].cameras) > 1}
    try:
        check_env_kwargs(env_id, kwargs | seen)
    except ValueError:
        kwargs = dict(env_kwargs)
    env = build(env_id, **(kwargs | seen))
    env.action_space.seed(seed)
    pictures = _play(env, seed)
    env.close()
    chosen = np.linspace(0, len(pictures) - 1, N_MOMENTS).astype(int)
    return [(int(step), pictures[step]) for step in chosen]


def _play(env: RobotEnv, seed: int) -> list[np.ndarray]:
    pictures = [env.reset(seed=seed)[0]]
    is_over, action = False, env.action_space.sample()
    while not is_over and len(pictures) <= N_STEPS:
        if len(pictures) % N_STEPS_HELD == 0:
            action = env.action_space.sample()
        picture, _, terminated, truncated, _ = env.step(action)
        pictures.append(picture)
        is_over = terminated or truncated
    return pictures


def _arrange(strips: Sequence[tuple[str, Sequence[tuple[int, np.ndarray]]]]) -> Image.Image:
    """Put strips of pictures below each other, with a title over each and the step on each picture."""
    width = N_MOMENTS * (CELL + MARGIN) + MARGIN
    height = LINE + CELL + MARGIN
    sheet = Image.new("RGB", (width, height * len(strips) + MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for number, (title, pictures) in enumerate(strips):
        top = number * height
        draw.text((MARGIN, top + 3), title, fill="black", font=font)
        for column, (step, picture) in enumerate(pictures):
            left = MARGIN + column * (CELL + MARGIN)
            sheet.paste(Image.fromarray(picture), (left, top + LINE))
            where = (left + 4, top + LINE + 2)
            draw.text(where, f"step {step}", fill="black", font=font, stroke_width=2, stroke_fill="white")
    return sheet
