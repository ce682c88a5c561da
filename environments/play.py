"""``python -m environments.play ENV``: move a robot by the keyboard, or draw a contact sheet of it without a window."""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments.bullet import pybullet
from environments.contact_sheet import contact_sheet
from environments.keyboard import Keyboard
from environments.names import unknown_name
from environments.registry import ENVIRONMENTS, build
from environments.robot_env import RobotEnv

DESCRIPTION = "Move a robot by the keyboard in PyBullet's window, or draw contact sheets of robots without a window."
QUIT, AGAIN = ord("q"), ord("r")


class Player:
    """Plays episodes by hand until the window is closed.

    :param env: with a window and continuous actions
    :param say: takes each line of what happens
    """

    def __init__(self, env: RobotEnv, say: Callable[[str], None]) -> None:
        self._env = env
        self._say = say
        self._keyboard = Keyboard(env.action_names)
        self._total = 0.0
        self._n_steps = 0

    def play(self, seed: int) -> None:
        """Play until the window is closed or ``q`` is pressed.

        :param seed: of the first episode; the next ones go on with its random numbers
        """
        self._say("keys (click into the window first):")
        for line in (*self._keyboard.describe(), "r: new episode", "q: quit"):
            self._say(f"  {line}")
        self._env.reset(seed=seed)
        with contextlib.suppress(pybullet.error):  # the window was closed
            while self._go_on():
                pass

    def _go_on(self) -> bool:
        """Make one step, and tell whether to make another."""
        events = self._env.key_events()
        held = {key for key, state in events.items() if state & (pybullet.KEY_IS_DOWN | pybullet.KEY_WAS_TRIGGERED)}
        pressed = {key for key, state in events.items() if state & pybullet.KEY_WAS_RELEASED}  # however short
        chosen = self._keyboard.choose(pressed)
        if chosen is not None:
            self._say(f"up / down: {chosen}")
        _, reward, terminated, truncated, info = self._env.step(self._keyboard.action(held))
        self._total += reward
        self._n_steps += 1
        if terminated or truncated or AGAIN in pressed:
            success = "" if "is_success" not in info else ", a success" if info["is_success"] else ", no success"
            self._say(f"episode: reward {self._total:.2f} in {self._n_steps} steps{success}")
            self._total, self._n_steps = 0.0, 0
            self._env.reset()
        return QUIT not in pressed


def save_sheets(env_ids: Sequence[str], env_kwargs: Mapping[str, Any], seed: int, folder: Path) -> list[Path]:
    """Draw a contact sheet of each environment into a folder, and give the files.

    :param env_ids: of our environments
    :param env_kwargs: for all of them
    :param seed: of the episode
    :param folder: made where it is missing
    :raises ValueError: for arguments that cannot be honoured
    """
    sheets = {folder / f"{env_id}.png": contact_sheet(env_id, env_kwargs, seed) for env_id in env_ids}
    folder.mkdir(parents=True, exist_ok=True)
    for path, sheet in sheets.items():
        sheet.save(path, optimize=True)
    return list(sheets)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line; prints, and gives the exit code."""
    from rl_baselines.command_line import parse, run_command
    from rl_baselines.config import setting
    from rl_baselines.errors import UsageError

    @dataclass(frozen=True)
    class PlayOptions:
        """Play"""

        env: tuple[str, ...] = setting(
            (), "Ids of our environments; for --sheet, all if none.", metavar="ENV", positional=True
        )
        env_kwargs: dict[str, Any] = setting({}, "Options of the environment.", metavar="NAME:VALUE")
        seed: int = setting(0, "Of the first episode.")
        sheet: str | None = setting(None, "Draw contact sheets into this folder instead.", metavar="FOLDER")

    def command(arguments: list[str]) -> int:
        given = parse((PlayOptions,), arguments, "python -m environments.play", DESCRIPTION)
        options = PlayOptions(**given)
        for env_id in options.env:
            if env_id not in ENVIRONMENTS:
                raise UsageError(unknown_name("robot environment", env_id, ENVIRONMENTS))
        try:
            if options.sheet is not None:
                chosen = options.env or tuple(ENVIRONMENTS)
                for path in save_sheets(chosen, options.env_kwargs, options.seed, Path(options.sheet)):
                    print(f"contact sheet: {path}")
                return 0
            if len(options.env) != 1:
                raise UsageError(f"play moves one robot at a time, but {len(options.env)} are named; give one id")
            env = build(options.env[0], **{"is_discrete": False, "render_mode": "human", **options.env_kwargs})
        except ValueError as error:
            raise UsageError(f"{error}".replace("use render_mode='rgb_array'", "draw with --sheet FOLDER")) from None
        try:
            if not env.action_names:
                raise UsageError("play moves a robot by continuous actions; leave is_discrete:true out")
            Player(env, print).play(options.seed)
        finally:
            env.close()
        return 0

    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
