"""What the cameras show, and that nothing is drawn which nobody looks at."""

import dataclasses

import gymnasium
import numpy as np
import pytest

import environments  # noqa: F401  (registers the ids)
from environments.registry import ENVIRONMENTS
from environments.simulation import Simulation

every_id = pytest.mark.parametrize("env_id", ENVIRONMENTS)


def make(env_id, **env_kwargs):
    return gymnasium.make(env_id, **env_kwargs).unwrapped


def pixels_of(picture, colour):
    """Rows and columns of the pixels in which one channel by far exceeds the two others."""
    channel = {"red": 0, "green": 1}[colour]
    others = np.delete(picture.astype(int), channel, axis=2).max(axis=2)
    return np.argwhere((picture[:, :, channel] > 60) & (picture[:, :, channel] > 3 * others))


def seen_at(camera, point, size):
    """Row and column, from the top left, at which a pinhole camera shows a point of the world."""
    yaw, pitch = np.radians(camera.yaw), np.radians(camera.pitch)
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    up = np.cross(right, forward)
    from_eye = np.array(point) - (np.array(camera.target) - camera.distance * forward)
    scale = size / 2 / np.tan(np.radians(camera.fov / 2)) / (from_eye @ forward)
    return np.array([size / 2 - scale * (from_eye @ up), size / 2 + scale * (from_eye @ right)])


@pytest.fixture
def camera_calls(monkeypatch):
    """The sizes of all the pictures drawn during a test."""
    sizes = []
    draw = Simulation.camera_image

    def counted(self, camera, size, robot_position):
        sizes.append(size)
        return draw(self, camera, size, robot_position)

    monkeypatch.setattr(Simulation, "camera_image", counted)
    return sizes


@every_id
@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_nothing_is_drawn_for_ground_truth_until_render_is_called(env_id, render_mode, camera_calls):
    env = make(env_id, render_mode=render_mode, render_size=40)
    env.reset(seed=0)
    for _ in range(5):
        env.step(0)
    assert camera_calls == []
    picture = env.render()
    assert camera_calls == ([] if render_mode is None else [40])
    assert (picture is None) == (render_mode is None)


@every_id
def test_one_picture_is_drawn_for_each_observation_and_camera(env_id, camera_calls):
    env = make(env_id, observation="raw_pixels", multi_view=True, image_size=36)
    env.reset(seed=0)
    env.step(0)
    assert camera_calls == [36] * 4


def test_the_mobile_robot_needs_a_world_only_for_pictures():
    env = make("MobileRobotGymEnv-v0", render_mode="rgb_array")
    env.reset(seed=0)
    env.step(0)
    assert env._simulation is None
    env.render()
    assert env._simulation is not None


@every_id
@pytest.mark.parametrize("size", [36, 64, 101])
def test_pictures_have_the_size_asked_for_and_are_neither_black_nor_blank(env_id, size):
    env = make(env_id, observation="raw_pixels", image_size=size)
    picture, _ = env.reset(seed=0)
    assert picture.shape == env.observation_space.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert 60 < picture.mean() < 230
    assert (picture.std(axis=(0, 1)) > 20).all()


@every_id
def test_the_second_view_is_another_picture_in_the_last_three_channels(env_id):
    one = make(env_id, observation="raw_pixels").reset(seed=0)[0]
    both = make(env_id, observation="raw_pixels", multi_view=True).reset(seed=0)[0]
    assert both.shape == (64, 64, 6)
    np.testing.assert_array_equal(both[:, :, :3], one)
    assert np.abs(both[:, :, :3].astype(int) - both[:, :, 3:]).mean() > 20


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3, 4, 5, 6, 7])
def test_both_cameras_show_the_cap_of_the_button_where_it_is(view, seed):
    env = make(
        "KukaButtonGymEnv-v0", observation="raw_pixels", multi_view=True, random_target=seed is not None, image_size=128
    )
    picture = env.reset(seed=seed)[0][:, :, 3 * view : 3 * view + 3]
    x, y, _ = env.target_position
    expected = seen_at(ENVIRONMENTS["KukaButtonGymEnv-v0"].cameras[view], (x, y, -0.2 + 0.035), 128)
    red = pixels_of(picture, "red")
    assert len(red) > 100
    if ((expected > 20) & (expected < 108)).all():
        np.testing.assert_allclose(red.mean(axis=0), expected, atol=3)


def test_the_background_is_above():
    """The second camera looks over the table: sky on top, wood below."""
    env = make("KukaButtonGymEnv-v0", observation="raw_pixels", multi_view=True)
    second = env.reset(seed=0)[0][:, :, 3:]
    assert second[:3].min(axis=2).max() > 240
    assert second[-3:].min(axis=2).max() < 220


@pytest.mark.parametrize("target", [(3.6, 3.0), (1.0, 0.5), (2.0, 3.5)])
def test_the_overhead_camera_shows_the_target_where_it_is(target):
    """4.4 m above the floor, 60 degrees show 4.4 * 2 tan(30) = 5.08 m; +x points down and +y to the right."""
    env = make("MobileRobotGymEnv-v0", observation="raw_pixels", image_size=128)
    env.reset(seed=0)
    env._task.target = (*target, 0.0)
    env._robot._x, env._robot._y = 3.0, 1.5
    green = pixels_of(env.step(2)[0], "green")
    expected = 64 + (np.array(target) - 2) * 128 / (4.4 * 2 * np.tan(np.pi / 6))
    assert len(green) > 40
    np.testing.assert_allclose(green.mean(axis=0), expected, atol=1.5)


def test_the_first_person_view_moves_with_the_robot():
    env = make("MobileRobotGymEnv-v0", observation="raw_pixels", multi_view=True)
    first = env.reset(seed=0)[0][:, :, 3:]
    for _ in range(5):
        second = env.step(2)[0][:, :, 3:]
    assert np.abs(first.astype(int) - second).mean() > 3


@every_id
def test_pictures_do_not_depend_on_the_episodes_before(env_id):
    fresh, used = (make(env_id, observation="raw_pixels", random_target=True, image_size=48) for _ in range(2))
    used.reset(seed=9)
    for _ in range(10):
        used.step(1)
    np.testing.assert_array_equal(fresh.reset(seed=2)[0], used.reset(seed=2)[0])
    np.testing.assert_array_equal(fresh.step(0)[0], used.step(0)[0])


def test_a_window_without_a_display_is_refused_before_pybullet_would_end_the_process(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    for env_id in ENVIRONMENTS:
        with pytest.raises(ValueError, match="^render_mode 'human' opens a window, but no display was found"):
            make(env_id, render_mode="human")


@pytest.mark.parametrize("env_id", ["KukaButtonGymEnv-v0", "InmoovGymEnv-v0", "OmnirobotEnv-v0"])
def test_the_first_camera_can_be_moved_and_the_second_stays(env_id):
    seen = {"observation": "raw_pixels", "multi_view": True, "image_size": 96}
    if env_id.startswith("Omni"):
        seen["picture_noise"] = 0
    usual = make(env_id, **seen).reset(seed=0)[0]
    for moved in ({"camera_yaw": 20}, {"camera_pitch": 10.5}, {"camera_distance": 1.3}, {"camera_fov": -15}):
        picture = make(env_id, **seen, **moved).reset(seed=0)[0]
        assert (picture[:, :, :3] != usual[:, :, :3]).any(axis=2).mean() > 0.02
        np.testing.assert_array_equal(picture[:, :, 3:], usual[:, :, 3:])


def test_a_moved_camera_shows_the_button_where_geometry_says():
    env = make("KukaButtonGymEnv-v0", observation="raw_pixels", image_size=128, camera_yaw=-30, camera_distance=1.4)
    red = pixels_of(env.reset(seed=0)[0], "red").mean(axis=0)
    usual = ENVIRONMENTS["KukaButtonGymEnv-v0"].cameras[0]
    camera = dataclasses.replace(usual, yaw=usual.yaw - 30, distance=usual.distance * 1.4)
    np.testing.assert_allclose(red, seen_at(camera, (0.5, 0.0, -0.16), 128), atol=2.0)


@pytest.mark.parametrize(
    ("env_kwargs", "message"),
    [
        ({"camera_pitch": -70}, "camera_pitch leads from -36 to -106 degrees; it must end within 90"),
        ({"camera_fov": 130}, "camera_fov leads from 60 to 190 degrees; it must end between 0 and 180"),
    ],
)
def test_cameras_that_cannot_be(env_kwargs, message):
    with pytest.raises(ValueError, match=f"^KukaButtonGymEnv-v0: {message}$"):
        make("KukaButtonGymEnv-v0", **env_kwargs)
