"""The place between an update and the next rollout, opened in Stable-Baselines3's algorithms.

There the model is whole: records, evaluations, checkpoints and stops all happen at this boundary. The same subclass
takes the progress of schedules at the start of each rollout (see `schedules`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.schedules import progress_remaining


class RolloutBoundary:
    """Mixin for a subclass of Stable-Baselines3's `BaseAlgorithm`.

    :ivar at_boundary: called before every rollout; it may raise to end the training there
    :ivar n_episodes: training episodes finished so far
    :ivar n_rollouts: rollouts finished so far
    :ivar on_episode: told of every training episode that ends, as ``info["episode"]`` describes it
    :ivar acts_by_policy: a loaded policy acts from the first step, where an off-policy algorithm would act at random
    """

    at_boundary: Callable[[], None] | None = None
    on_episode: Callable[[Mapping[str, Any]], None] | None = None
    n_episodes: int = 0
    n_rollouts: int = 0
    acts_by_policy: bool = False
    _rollout_start_timesteps: int = 0

    num_timesteps: int
    _total_timesteps: int
    _current_progress_remaining: float

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> Any:
        """Collect one rollout, after the boundary."""
        self._pass_boundary()
        goes_on = super().collect_rollouts(*args, **kwargs)  # type: ignore[misc]
        self.n_rollouts += 1
        return goes_on

    def dump_logs(self, *iteration: int) -> None:
        """Write the log, with iterations counted from the start of the run where the algorithm counts them."""
        super().dump_logs(*((self.n_rollouts,) if iteration else ()))  # type: ignore[misc]

    def _do_one_update(self, *args: Any, **kwargs: Any) -> None:
        """Run one iteration of an algorithm, such as ARS, that has no `collect_rollouts`."""
        self._pass_boundary()
        super()._do_one_update(*args, **kwargs)  # type: ignore[misc]

    def _sample_action(self, learning_starts: int, *args: Any, **kwargs: Any) -> Any:
        return super()._sample_action(0 if self.acts_by_policy else learning_starts, *args, **kwargs)  # type: ignore[misc]

    def _update_info_buffer(self, infos: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        for info in infos:
            if "episode" in info:
                self.n_episodes += 1
                if self.on_episode is not None:
                    self.on_episode(info["episode"])
        super()._update_info_buffer(infos, *args, **kwargs)  # type: ignore[misc]

    def _pass_boundary(self) -> None:
        if self.at_boundary is not None:
            self.at_boundary()
        self._rollout_start_timesteps = self.num_timesteps
        self._current_progress_remaining = progress_remaining(self.num_timesteps, self._total_timesteps)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        self._current_progress_remaining = progress_remaining(self._rollout_start_timesteps, self._total_timesteps)


OWN_ATTRIBUTES = ("at_boundary", "on_episode", "n_episodes", "n_rollouts", "acts_by_policy", "_rollout_start_timesteps")


def with_rollout_boundary(algorithm: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """Give a subclass of an algorithm that passes the boundary before every rollout."""
    return type(algorithm.__name__, (RolloutBoundary, algorithm), {"__doc__": algorithm.__doc__})
