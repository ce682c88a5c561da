"""What algorithms have in common that learn, if at all, without gradients: no learning rate, and rollouts in a loop."""

from typing import Any, Self

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rl_baselines.episode_records import record_episodes


class GradientFree(BaseAlgorithm):
    """Base of algorithms whose rollouts need nothing else around them than the records of their episodes."""

    def learn(  # type: ignore[override]
        self, total_timesteps: int, callback: Any = None, reset_num_timesteps: bool = True, **_: Any
    ) -> Self:
        """Go on for `total_timesteps`, or for as many more; a rollout that has begun is finished."""
        total_timesteps, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps)
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps and self.collect_rollouts(callback):
            self.dump_logs()
        callback.on_training_end()
        return self

    def collect_rollouts(self, callback: BaseCallback) -> bool:
        """Collect one rollout, and learn from it.

        :return: whether to go on
        """
        raise NotImplementedError

    def dump_logs(self) -> None:
        """Record the mean return and length of the last episodes."""
        record_episodes(self)
        self.logger.dump(self.num_timesteps)
