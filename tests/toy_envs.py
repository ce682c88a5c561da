"""Small environments of the tests, registered when this module is imported: ``--gym-packages toy_envs``."""

import json
import os
import signal
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

EPISODE_STEPS = 10


class Walk(gym.Env[Any, Any]):
    """A point on a line that pays minus its distance to the origin; an episode lasts ten steps."""

    observation_space: spaces.Space[Any] = spaces.Box(-20.0, 20.0, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.n_steps = float(self.np_random.uniform(-5, 5)), 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.position += self.shift(action)
        self.n_steps += 1
        over = self.n_steps >= EPISODE_STEPS
        info = {"is_success": abs(self.position) < 1} if over else {}
        return self.observe(), self.reward(), False, over, info

    def shift(self, action: Any) -> float:
        return float(action) - 1.0

    def reward(self) -> float:
        return -abs(self.position)

    def observe(self) -> Any:
        return np.array([self.position, self.n_steps], np.float32)


class MaskedWalk(Walk):
    """Standing still is forbidden."""

    def action_masks(self) -> np.ndarray:
        return np.array([True, False, True])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action != 1, "a masked action was taken"
        return super().step(action)


class DictionaryWalk(Walk):
    """The position in a dictionary, beside a picture of it."""

    observation_space = spaces.Dict(
        {"vector": spaces.Box(-20.0, 20.0, (2,), np.float32), "image": spaces.Box(0, 255, (36, 36, 3), np.uint8)}
    )

    def observe(self) -> Any:
        image = np.zeros((36, 36, 3), np.uint8)
        image[:, int(np.clip(self.position + 18, 0, 35))] = 255
        return {"vector": Walk.observe(self), "image": image}


class PictureWalk(Walk):
    """A picture of the position: a white column."""

    observation_space = spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def observe(self) -> Any:
        return DictionaryWalk.observe(self)["image"]


class GoalWalk(Walk):
    """A walk to a goal that differs from episode to episode, for hindsight experience replay."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Box(-20.0, 20.0, (2,), np.float32),
            "achieved_goal": spaces.Box(-20.0, 20.0, (1,), np.float32),
            "desired_goal": spaces.Box(-20.0, 20.0, (1,), np.float32),
        }
    )
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.goal = 0.0
        super().reset(seed=seed)
        self.goal = float(self.np_random.uniform(-5, 5))
        return self.observe(), {}

    def shift(self, action: Any) -> float:
        return float(action[0])

    def reward(self) -> float:
        return float(self.compute_reward(np.array([self.position]), np.array([self.goal]), {}))

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        return -(np.abs(achieved_goal - desired_goal)[..., 0] > 1).astype(np.float32)

    def observe(self) -> Any:
        position, goal = np.array([self.position], np.float32), np.array([self.goal], np.float32)
        return {"observation": super().observe(), "achieved_goal": position, "desired_goal": goal}


class LeakingGoalWalk(GoalWalk):
    """Its goals depend on how many episodes were played before, which no seed brings back."""

    n_episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_episodes += 1
        self.goal += 0.1 * self.n_episodes
        return self.observe(), {}


class DrawingWalk(Walk):
    """Draws from numpy's global generator when it is made."""

    def __init__(self) -> None:
        self.drawn = np.random.random()  # noqa: NPY002


class LoggedWalk(Walk):
    """Notes every start and every action with the observation before it in the file TOY_LOG."""

    def __init__(self, continuous: bool = True) -> None:
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(seed=seed)
        self.note(start=self.position)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.note(observation=self.observe().tolist(), action=np.asarray(action).tolist())
        return super().step(action)

    def shift(self, action: Any) -> float:
        return float(np.sum(action))

    def note(self, **entry: Any) -> None:
        if "TOY_LOG" in os.environ:
            with open(os.environ["TOY_LOG"], "a") as file:
                file.write(json.dumps(entry) + "\n")


class Trend(Walk):
    """The k-th episode of each environment pays k times `slope`, whatever is done."""

    def __init__(self, slope: float = 1.0) -> None:
        self.slope, self.n_episodes = slope, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.n_episodes += 1
        return super().reset(seed=seed)

    def reward(self) -> float:
        return self.slope * self.n_episodes / EPISODE_STEPS


class LeakingWalk(Walk):
    """Its observations show how many episodes were played before, which no seed brings back."""

    n_episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.n_episodes += 1
        return super().reset(seed=seed)

    def observe(self) -> Any:
        return np.array([self.position, self.n_episodes], np.float32)


class RememberingWalk(LeakingWalk):
    """It offers that number to whoever wants to bring it back."""

    def lasting_state(self) -> dict[str, Any]:
        return {"n_episodes": self.n_episodes}

    def set_lasting_state(self, state: dict[str, Any]) -> None:
        self.n_episodes = state["n_episodes"]


class FailingWalk(Walk):
    """Breaks at its 31st step."""

    n_all_steps = 0

    def reward(self) -> float:
        self.n_all_steps += 1
        if self.n_all_steps > 30:
            raise RuntimeError("the robot fell over")
        return super().reward()


class InterruptedWalk(Walk):
    """Presses Ctrl-C while it is made for the second time: the first is the look at its spaces."""

    n_made = 0

    def __init__(self) -> None:
        InterruptedWalk.n_made += 1
        if InterruptedWalk.n_made == 2:
            os.kill(os.getpid(), signal.SIGINT)


class SlowWalk(Walk):
    """Every step takes TOY_STEP_S seconds, so that a training can be interrupted at leisure."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(float(os.environ.get("TOY_STEP_S", "0")))
        return super().step(action)


for env_class in (
    Walk,
    MaskedWalk,
    DictionaryWalk,
    PictureWalk,
    GoalWalk,
    LeakingGoalWalk,
    DrawingWalk,
    LoggedWalk,
    Trend,
    LeakingWalk,
    RememberingWalk,
    FailingWalk,
    InterruptedWalk,
    SlowWalk,
):
    gym.register(f"{env_class.__name__}-v0", entry_point=env_class)
