"""Nothing of a training's state is forgotten: all of it has a place in a checkpoint and comes back from there."""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_envs  # noqa: F401 - registers environments
from run_objects import changed_attributes, state_differences, unknown_attributes

from rl_baselines.algorithms import ALGORITHMS
from rl_baselines.beginnings import begin, go_on
from rl_baselines.callbacks import StopTraining
from rl_baselines.config import RunOptions
from rl_baselines.resolution import Layer, plan_run
from rl_baselines.resuming import open_resumption, plan_resumption
from rl_baselines.snapshot import random_state, seconds_learning
from rl_baselines.state_files import first_difference
from rl_baselines.training import Outcome, TrainingRun

STEPS_TRAINED = 100
COMMON: dict[str, Any] = {
    **{"n_envs": 2, "num_timesteps": 1000, "eval_freq": 60, "eval_episodes": 2, "min_episodes_save": 1},
    **{"device": "cpu", "seed": 5, "policy_kwargs": {"net_arch": [4]}},
}
CARTPOLE, PENDULUM = {"env": "CartPole-v1"}, {"env": "Pendulum-v1"}
ROLLOUT: dict[str, Any] = {"n_steps": 16}
REPLAY: dict[str, Any] = {"learning_starts": 20, "batch_size": 8, "buffer_size": 70}
CASES: dict[str, dict[str, Any]] = {
    "ppo": {**CARTPOLE, "hyperparam": ROLLOUT, "num_stack": 2, "norm_reward": True, "best_by": "eval"},
    "a2c": {**CARTPOLE, "algo": "a2c"},
    "trpo": {**CARTPOLE, "algo": "trpo", "hyperparam": {**ROLLOUT, "batch_size": 16}},
    "ppo_lstm": {
        **CARTPOLE,
        "algo": "ppo_lstm",
        "hyperparam": {**ROLLOUT, "batch_size": 16},
        "policy_kwargs": {"net_arch": [4], "lstm_hidden_size": 4},
    },
    "maskable_ppo": {"env": "MaskedWalk-v0", "algo": "maskable_ppo", "hyperparam": ROLLOUT},
    "ars": {**CARTPOLE, "algo": "ars", "hyperparam": {"n_delta": 2}, "policy_kwargs": {}},
    "random_agent": {**CARTPOLE, "algo": "random_agent", "hyperparam": ROLLOUT, "policy_kwargs": {}},
    "dqn": {**CARTPOLE, "algo": "dqn", "hyperparam": REPLAY, "norm_reward": True},
    "qrdqn": {**CARTPOLE, "algo": "qrdqn", "hyperparam": REPLAY, "n_envs": 1},
    "sac": {**PENDULUM, "algo": "sac", "hyperparam": {**REPLAY, "n_steps": 3}},
    "td3": {**PENDULUM, "algo": "td3", "hyperparam": {**REPLAY, "noise_type": "ornstein-uhlenbeck"}},
    "ddpg": {**PENDULUM, "algo": "ddpg", "hyperparam": {**REPLAY, "noise_type": "normal"}, "n_envs": 1},
    "tqc": {**PENDULUM, "algo": "tqc", "hyperparam": REPLAY},
    "crossq": {**PENDULUM, "algo": "crossq", "hyperparam": REPLAY},
    "ppo_gsde": {**PENDULUM, "hyperparam": {**ROLLOUT, "use_sde": True, "sde_sample_freq": 4}},
    "sac_gsde": {**PENDULUM, "algo": "sac", "hyperparam": {**REPLAY, "use_sde": True, "train_freq": 8}},
    "sac_her": {"env": "GoalWalk-v0", "algo": "sac", "her": True, "hyperparam": {**REPLAY, "learning_starts": 60}},
    "ppo_processes": {**CARTPOLE, "hyperparam": ROLLOUT, "vec_env": "processes", "num_cpu": 1, "num_stack": 2},
    "ppo_pictures": {"env": "DictionaryWalk-v0", "hyperparam": ROLLOUT, "num_stack": 2},
}
