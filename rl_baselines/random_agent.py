"""The baseline that learns nothing: uniformly random actions, with the interface of an algorithm."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.episode_records import record_episodes


class RandomPolicy(BasePolicy):
    """Draws actions uniformly from the action space, from the space's own generator."""

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], *_: Any, **__: Any
    ) -> None:
        super().__init__(observation_space, action_space)

    def forward(self, observation: Any) -> torch.Tensor:
        """Give one action for each observation."""
        return self._predict(observation)

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        batch = next(iter(observation.values())) if isinstance(observation, dict) else observation
        return torch.as_tensor(np.stack([self.action_space.sample() for _ in range(len(batch))]))


class RandomAgent(BaseAlgorithm):
    """Acts at random for the timesteps asked for, recording its episodes like any other algorithm.

    :param n_steps: steps of each environment between two records
    """

    policy_aliases = dict.fromkeys(("MlpPolicy", "CnnPolicy", "MultiInputPolicy"), RandomPolicy)

    def __init__(
        self,
        policy: str,
        env: VecEnv,
        n_steps: int = 128,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "cpu",
        learning_rate: float = 0.0,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            device=device,
            seed=seed,
            support_multi_env=True,
        )
        self.n_steps = n_steps
        self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = self.policy_class(self.observation_space, self.action_space)

    def learn(  # type: ignore[override]
        self, total_timesteps: int, callback: Any = None, reset_num_timesteps: bool = True, **_: Any
    ) -> "RandomAgent":
        """Act for `total_timesteps`, or for as many more."""
        total_timesteps, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps)
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps and self.collect_rollouts(callback):
            self.dump_logs()
        callback.on_training_end()
        return self

    def collect_rollouts(self, callback: BaseCallback) -> bool:
        """Take `n_steps` random steps in every environment.

        :return: whether to go on
        """
        assert self.env is not None
        callback.on_rollout_start()
        for _ in range(self.n_steps):
            actions = np.stack([self.action_space.sample() for _ in range(self.n_envs)])
            observations, _, dones, infos = self.env.step(actions)
            self._last_obs = observations  # type: ignore[assignment]
            self.num_timesteps += self.n_envs
            self._update_info_buffer(infos, dones)
            callback.update_locals(locals())
            if not callback.on_step():
                return False
        callback.on_rollout_end()
        return True

    def dump_logs(self) -> None:
        """Record the mean return and length of the last episodes."""
        record_episodes(self)
        self.logger.dump(self.num_timesteps)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Draw a random action for each observation; `deterministic` changes nothing."""
        return self.policy.predict(observation, state, episode_start, deterministic)
