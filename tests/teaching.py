"""Datasets with made-up teachers, for the tests of distillation."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import toy_envs  # noqa: F401 - registers environments
from cli import TINY

from environments.dataset import Dataset, Episode, Origin
from environments.dataset_folder import write_dataset
from environments.space_records import record_space

Teacher = Callable[[np.ndarray], Mapping[str, np.ndarray]]

TOYS = ("--gym-packages", "toy_envs")
WALK_HOME = ("--env", "Walk-v0", *TOYS, *TINY, "--seed", 3)


def homing(observation: np.ndarray) -> dict[str, np.ndarray]:
    """What a teacher of the walk does: a step towards the origin, the surer the farther it is; values are -|x|."""
    position = float(observation[0])
    logits = np.array([position, 0.5, -position], np.float32)
    return {"logits": logits, "values": np.float32(-abs(position))}


def fleeing(observation: np.ndarray) -> dict[str, np.ndarray]:
    """The opposite of `homing`, without values."""
    return {"logits": homing(observation)["logits"][::-1].copy()}


def steering(observation: np.ndarray) -> dict[str, np.ndarray]:
    """A Gaussian teacher of one continuous action, for the pendulum."""
    mean = np.array([-observation[1] - 0.2 * observation[2]], np.float32)
    return {"mean": mean, "log_std": np.array([-1.0], np.float32), "values": np.float32(observation[0])}


def record(
    path: Path,
    teacher: Teacher,
    env_id: str = "Walk-v0",
    n_episodes: int = 10,
    n_steps: int = 10,
    drawn: bool = False,
    **origin: Any,
) -> Dataset:
    """Write a dataset of one origin: random actions, and what the teacher would have done.

    :param n_steps: at most, of an episode
    :param drawn: draw actions from the teacher's choices instead
    :param origin: fields of the origin that differ
    """
    env = gym.make(env_id)
    outputs = teacher(env.observation_space.sample())
    name = "gaussian" if "mean" in outputs else "categorical"
    sizes = [len(outputs["logits"])] if name == "categorical" else []
    fields: dict[str, Any] = {
        **{"env_id": env_id, "env_kwargs": {}, "task": None, "teacher": {"name": name, "sizes": sizes}},
        "observation_space": record_space(env.observation_space),
        "action_space": record_space(env.action_space),
        "policy": {"kind": "run", "run": f"{env_id}/native/ppo/26-01-01_00h00_00"},
        **origin,
    }
    env.action_space.seed(n_episodes)
    episodes = [play(env, teacher, seed, n_steps, drawn) for seed in range(n_episodes)]
    env.close()
    return write_dataset(path, [Origin(**fields)], episodes)


def play(env: gym.Env[Any, Any], teacher: Teacher, seed: int, n_steps: int, drawn: bool) -> Episode:
    observation, _ = env.reset(seed=seed)
    generator = np.random.default_rng(seed)
    observations, actions, rewards, told = [observation], [], [], []
    for _ in range(n_steps):
        told.append(teacher(observation))
        action = env.action_space.sample()
        if drawn:
            weights = np.exp(told[-1]["logits"].astype(np.float64) - told[-1]["logits"].max())
            action = generator.choice(len(weights), p=weights / weights.sum())
        actions.append(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        rewards.append(float(reward))
        if terminated or truncated:
            break
    nothing = np.zeros((len(observations), 0), np.float32)
    return Episode(
        observations=np.stack(observations),
        actions=np.stack(actions),
        rewards=np.array(rewards),
        terminated=bool(terminated),
        truncated=not terminated,
        ground_truth=nothing,
        target=nothing,
        start_seed=seed,
        teacher={name: np.stack([one[name] for one in told]) for name in told[0]},
    )


def change_index(dataset: Dataset, **origin: Any) -> None:
    """Change what the index of a dataset says of its first origin."""
    index = dataset.path / "dataset.json"
    content = json.loads(index.read_text())
    content["origins"][0] |= origin
    index.write_text(json.dumps(content))
