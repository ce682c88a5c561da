"""What an algorithm of our own records of the training episodes, as those of Stable-Baselines3 do."""

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import safe_mean


def record_episodes(model: BaseAlgorithm) -> None:
    """Record the mean return, length and success of the last episodes, and the timesteps."""
    if model.ep_info_buffer:
        model.logger.record("rollout/ep_rew_mean", safe_mean([info["r"] for info in model.ep_info_buffer]))
        model.logger.record("rollout/ep_len_mean", safe_mean([info["l"] for info in model.ep_info_buffer]))
    if model.ep_success_buffer:
        model.logger.record("rollout/success_rate", safe_mean(list(model.ep_success_buffer)))
    model.logger.record("time/total_timesteps", model.num_timesteps)
