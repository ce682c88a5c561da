"""Contact sheets: small pictures of one episode, to be looked at by people."""

from collections.abc import Iterator, Mapping, Sequence
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
WITHOUT_EFFECT = ("image_size", "render_size", "multi_view")
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
    for name in WITHOUT_EFFECT:
        if name in env_kwargs:
            raise ValueError(f"a contact sheet shows every camera in one size; leave {name} out")
    tasks = [env_kwargs["task"]] if "task" in env_kwargs else list(row.tasks)
    strips = []
    for task in tasks:
        moments = _moments({**env_kwargs, "task": task}, env_id, seed)
        for number in range(len(row.cameras)):
            pictures = [(step, views[number]) for step, views in moments]
            strips.append((f"{env_id}  task {task}  camera {number + 1}", pictures))
    return _arrange(strips)


def _moments(env_kwargs: Mapping[str, Any], env_id: str, seed: int) -> list[tuple[int, list[np.ndarray]]]:
    """Play an episode, or its beginning, and give moments of it: the steps made before, and every camera's view."""
    kwargs = {"random_target": True, **env_kwargs}
    try:
        check_env_kwargs(env_id, kwargs)
    except ValueError:
        kwargs = dict(env_kwargs)
    env = build(env_id, **kwargs)
    actions = _actions(env, seed)
    n_steps = sum(1 for _ in _play(env, seed, actions)) - 1
    chosen = set(np.linspace(0, n_steps, N_MOMENTS).astype(int).tolist())
    moments = [(step, env.views(CELL)) for step in _play(env, seed, actions) if step in chosen]
    env.close()
    return moments


def _actions(env: RobotEnv, seed: int) -> list[Any]:
    """Draw actions, each of which is repeated for a while."""
    env.action_space.seed(seed)
    different = [env.action_space.sample() for _ in range(N_STEPS // N_STEPS_HELD)]
    return [action for action in different for _ in range(N_STEPS_HELD)]


def _play(env: RobotEnv, seed: int, actions: Sequence[Any]) -> Iterator[int]:
    """Play an episode until it ends or no action is left, and yield the number of steps made, zero first."""
    env.reset(seed=seed)
    yield 0
    for step, action in enumerate(actions, start=1):
        _, _, terminated, truncated, _ = env.step(action)
        yield step
        if terminated or truncated:
            return


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
