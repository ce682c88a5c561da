"""The table of environments, contact sheets, and robots moved by the keyboard of a real window."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli import Finished, call, environment
from PIL import Image

from environments.contact_sheet import CELL, N_MOMENTS, contact_sheet
from environments.keyboard import DOWN, LEFT, PAGE_DOWN, RIGHT, UP, Keyboard
from environments.list import SCORES, listed
from environments.list import main as list_main
from environments.play import main as play_main
from environments.registry import ENVIRONMENTS, build


def test_the_table_holds_every_task_of_every_environment() -> None:
    done = call(list_main)
    assert (done.code, done.err) == (0, "")
    found = json.loads(call(list_main, "--json").out)
    assert [(one["env_id"], one["task"]) for one in found] == [
        (row.env_id, task) for row in ENVIRONMENTS.values() for task in row.tasks
    ]
    for one in found:
        assert one["env_id"] in done.out and one["task"] in done.out
    by_id = {one["env_id"]: one for one in found}
    assert by_id["KukaButtonGymEnv-v0"]["actions"] == ["6 discrete", "3 continuous", "7 joints"]
    assert by_id["KukaButtonGymEnv-v0"]["observations"] == ["ground_truth", "joints", "joints_position", "raw_pixels"]
    assert (by_id["MobileRobot1DGymEnv-v0"]["actions"], by_id["MobileRobot1DGymEnv-v0"]["n_steps"]) == (
        ["2 discrete", "1 continuous"],
        251,
    )


def test_the_table_tells_how_long_an_episode_really_is() -> None:
    for one in listed():
        if one.env_id.startswith(("Mobile", "Omni")):
            env = build(one.env_id, task=one.task, is_discrete=False)
            env.reset(seed=0)
            n_steps, truncated = 0, False
            while not truncated:
                truncated = env.step(np.zeros(env.action_space.shape or ()))[3]
                n_steps += 1
            assert n_steps == one.n_steps


def test_scores_are_of_environments_that_exist() -> None:
    scores = json.loads(SCORES.read_text())
    for env_id, of_tasks in scores.items():
        assert of_tasks.keys() <= ENVIRONMENTS[env_id].tasks.keys()
        for of_policies in of_tasks.values():
            for score in of_policies.values():
                assert {"mean", "half_width", "n"} <= score.keys()


def test_keys_move_up_to_three_axes() -> None:
    keyboard = Keyboard(("x", "y", "z"))
    assert keyboard.describe() == ["right / left: x + / -", "up / down: y + / -", "page up / page down: z + / -"]
    assert keyboard.action({RIGHT, DOWN}).tolist() == [1.0, -1.0, 0.0]
    assert keyboard.action({LEFT, RIGHT, PAGE_DOWN}).tolist() == [0.0, 0.0, -1.0]
    assert Keyboard(("x",)).action({UP}).tolist() == [0.0]
    assert keyboard.choose({RIGHT}) is None


def test_keys_choose_among_many_joints() -> None:
    names = [f"joint_{number}" for number in range(7)]
    keyboard = Keyboard(names)
    assert keyboard.action({UP}).tolist() == [1.0, 0, 0, 0, 0, 0, 0]
    assert [keyboard.choose({RIGHT}), keyboard.choose({RIGHT}), keyboard.choose(set())] == ["joint_1", "joint_2", None]
    assert keyboard.action({DOWN}).tolist() == [0, 0, -1.0, 0, 0, 0, 0]
    assert [keyboard.choose({LEFT}) for _ in range(3)] == ["joint_1", "joint_0", "joint_6"]


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_a_contact_sheet_shows_every_camera_and_task_and_nothing_is_black(env_id: str) -> None:
    row = ENVIRONMENTS[env_id]
    task = row.default_task
    sheet = np.asarray(contact_sheet(env_id, {"task": task}, 0))
    strips = np.split(sheet[:-8], len(row.cameras))
    for strip in strips:
        cells = [strip[20 : 20 + CELL, 8 + number * (CELL + 8) :][:, :CELL] for number in range(N_MOMENTS)]
        for cell in cells:
            assert cell.std() > 5, "something is to be seen"
            assert (cell.max(axis=2) < 8).mean() < 0.3, "and not in the dark"
    first = strips[0][20 : 20 + CELL]
    assert not np.array_equal(first[:, 8 : 8 + CELL], first[:, -CELL - 8 : -8]), "the robot has moved"


def test_sheets_are_drawn_without_a_window(tmp_path: Path) -> None:
    done = call(play_main, "OmnirobotEnv-v0", "MobileRobotGymEnv-v0", "--sheet", tmp_path / "sheets")
    files = [tmp_path / "sheets" / f"{name}.png" for name in ("OmnirobotEnv-v0", "MobileRobotGymEnv-v0")]
    assert done == Finished(0, "".join(f"contact sheet: {file}\n" for file in files), "")
    sizes = [Image.open(file).size for file in files]
    assert sizes == [(1048, 12 * 228 + 8), (1048, 2 * 228 + 8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("KukaButton",), "unknown robot environment 'KukaButton'; did you mean 'KukaButtonGymEnv-v0'?"),
        ((), "play moves one robot at a time, but 0 are named; give one id"),
        (
            ("KukaButtonGymEnv-v0", "--env-kwargs", "force_dwn:false"),
            "unknown KukaButtonGymEnv-v0 argument 'force_dwn'; did you mean 'force_down'?",
        ),
        (
            ("KukaButtonGymEnv-v0",),
            "render_mode 'human' opens a window, but no display was found (DISPLAY is not set); "
            "draw with --sheet FOLDER, or run under xvfb-run",
        ),
        (
            ("MobileRobotGymEnv-v0", "--sheet", "sheets", "--env-kwargs", "image_size:64"),
            "a contact sheet shows every camera in one size; leave image_size out",
        ),
        (
            ("MobileRobotGymEnv-v0", "--sheet", "sheets", "--env-kwargs", "max_steps:0"),
            "max_steps must be a positive integer, not 0",
        ),
    ],
)
def test_what_cannot_be_played(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert call(play_main, *arguments) == Finished(2, "", f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """A screen of its own without a monitor."""
    if not all(map(shutil.which, ("Xvfb", "xdotool"))):
        pytest.skip("Xvfb and xdotool are not installed")
    with open(tmp_path / "number", "w+") as number:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(number.fileno()), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
            pass_fds=[number.fileno()],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not (text := (tmp_path / "number").read_text()).endswith("\n"):
            assert time.monotonic() < deadline and server.poll() is None, "Xvfb does not start"
            time.sleep(0.05)
        yield f":{text.strip()}"
        server.terminate()
        server.wait(10)


def test_a_robot_is_moved_by_keys_in_a_window(display: str, tmp_path: Path) -> None:
    """Left drives the car into a wall, which costs points; keys begin a new episode and close the window."""
    command = [sys.executable, "-u", "-m", "environments.play", "MobileRobotGymEnv-v0"]
    with open(tmp_path / "output", "w") as output:
        player = subprocess.Popen(command, env=environment(DISPLAY=display), stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(tmp_path / "output", "q: quit", player)
            for key, seconds in (("Left", 5.0), ("r", 1.0)):
                subprocess.run(["xdotool", "keydown", key], env=environment(DISPLAY=display), check=True)
                time.sleep(seconds)
                subprocess.run(["xdotool", "keyup", key], env=environment(DISPLAY=display), check=True)
            wait_for(tmp_path / "output", "episode: reward", player)
            deadline = time.monotonic() + 60
            while player.poll() is None and time.monotonic() < deadline:
                subprocess.run(["xdotool", "key", "--delay", "500", "q"], env=environment(DISPLAY=display), check=True)
                time.sleep(0.5)
            assert player.poll() == 0
        finally:
            player.kill()
    text = (tmp_path / "output").read_text()
    rewards = [float(reward) for reward in re.findall(r"^episode: reward (\S+) in", text, re.MULTILINE)]
    assert rewards[0] <= -5.0
    assert "right / left: move_robot_x + / -" in text and "up / down: move_robot_y + / -" in text


def wait_for(file: Path, words: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a program has written words to a file."""
    deadline = time.monotonic() + 60
    while words not in file.read_text():
        assert time.monotonic() < deadline and process.poll() is None, file.read_text()
        time.sleep(0.1)
