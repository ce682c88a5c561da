"""The table of algorithms: names, classes, defaults, and what they can act on.

Only the standard library is imported until an algorithm's class is asked for.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rl_baselines.errors import UsageError, unknown

if TYPE_CHECKING:
    from gymnasium import spaces
    from stable_baselines3.common.base_class import BaseAlgorithm

DISCRETE = ("Discrete",)
CONTINUOUS = ("Box",)
EVERY_ACTION = ("Discrete", "Box", "MultiDiscrete", "MultiBinary")


@dataclass(frozen=True)
class Algorithm:
    """One row of the table.

    :param name: on the command line and in run folders
    :param import_path: ``module:class``
    :param actions: names of Gymnasium's action spaces it can act in
    :param on_policy: whether it learns from whole rollouts of its own; decides the default number of environments
    :param defaults: where ours differ from the constructor's
    :param lr_decay: the decay of the learning rate unless given
    :param aliases: old names
    :param policy_names: policy classes by kind of observation: vector, image, dict
    :param her: whether hindsight experience replay can feed it
    :param learning_rate: whether it has one
    :param continued_by: the algorithm that fine-tunes its models unless another one is asked for; empty: itself
    """

    name: str
    import_path: str
    actions: tuple[str, ...] = EVERY_ACTION
    on_policy: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict)
    lr_decay: str = "constant"
    aliases: tuple[str, ...] = ()
    policy_names: tuple[str, ...] = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
    her: bool = False
    learning_rate: bool = True
    continued_by: str = ""

    @property
    def default_n_envs(self) -> int:
        """Number of environments unless given: the defaults of off-policy algorithms are made for one."""
        return 8 if self.on_policy else 1

    def load_class(self) -> "type[BaseAlgorithm]":
        """Import the algorithm's class."""
        module, name = self.import_path.split(":")
        loaded: type[BaseAlgorithm] = getattr(importlib.import_module(module), name)
        return loaded

    def policy_for(self, observation_space: "spaces.Space[Any]") -> str:
        """Name the policy class that fits an observation space.

        :raises UsageError: when there is none
        """
        from gymnasium import spaces
        from stable_baselines3.common.preprocessing import is_image_space

        kind = 2 if isinstance(observation_space, spaces.Dict) else int(is_image_space(observation_space))
        if kind >= len(self.policy_names):
            what = ("vectors", "images", "dictionaries")
            raise UsageError(
                f"{self.name} cannot observe {what[kind]}; use one of "
                + ", ".join(row.name for row in ALGORITHMS.values() if kind < len(row.policy_names))
            )
        return self.policy_names[kind]


PPO_DEFAULTS = {  # the S-RL Toolbox's PPO2
    "learning_rate": 2.5e-4,
    "n_steps": 128,
    "n_minibatches": 4,
    "n_epochs": 4,
    "ent_coef": 0.01,
}
LSTM_POLICIES = ("MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy")

ALGORITHMS: dict[str, Algorithm] = {
    row.name: row
    for row in (
        Algorithm("ppo", "stable_baselines3:PPO", defaults=PPO_DEFAULTS, lr_decay="linear", aliases=("ppo2", "ppo1")),
        Algorithm("a2c", "stable_baselines3:A2C"),
        Algorithm("dqn", "stable_baselines3:DQN", DISCRETE, on_policy=False, aliases=("deepq",), her=True),
        Algorithm("sac", "stable_baselines3:SAC", CONTINUOUS, on_policy=False, her=True),
        Algorithm("td3", "stable_baselines3:TD3", CONTINUOUS, on_policy=False, her=True),
        Algorithm("ddpg", "stable_baselines3:DDPG", CONTINUOUS, on_policy=False, her=True),
        Algorithm("trpo", "sb3_contrib:TRPO"),
        Algorithm("tqc", "sb3_contrib:TQC", CONTINUOUS, on_policy=False, her=True),
        Algorithm("qrdqn", "sb3_contrib:QRDQN", DISCRETE, on_policy=False),
        Algorithm("crossq", "sb3_contrib:CrossQ", CONTINUOUS, on_policy=False, policy_names=("MlpPolicy",)),
        Algorithm("ars", "sb3_contrib:ARS", ("Discrete", "Box"), policy_names=("MlpPolicy",)),
        Algorithm(
            "cma_es",
            "rl_baselines.cma_es:CMAES",
            ("Discrete", "Box"),
            aliases=("cma-es",),
            policy_names=("MlpPolicy",),
            learning_rate=False,
        ),
        Algorithm("ppo_lstm", "sb3_contrib:RecurrentPPO", policy_names=LSTM_POLICIES),
        Algorithm("maskable_ppo", "sb3_contrib:MaskablePPO", ("Discrete", "MultiDiscrete", "MultiBinary")),
        Algorithm(
            "distillation",
            "rl_baselines.distillation.algorithm:Distillation",
            ("Discrete", "Box", "MultiDiscrete"),
            on_policy=False,
            policy_names=("MlpPolicy", "CnnPolicy"),
            continued_by="ppo",
        ),
        Algorithm("random_agent", "rl_baselines.random_agent:RandomAgent", learning_rate=False),
    )
}


def find_algorithm(name: str) -> Algorithm:
    """Give the row of a name or alias.

    :raises UsageError: for an unknown name, with the nearest match
    """
    by_name = {alias: row for row in ALGORITHMS.values() for alias in (row.name, *row.aliases)}
    if name not in by_name:
        raise unknown("algorithm", name, by_name)
    return by_name[name]


def check_action_space(algorithm: Algorithm, env_id: str, action_space: "spaces.Space[Any]") -> None:
    """Check that an algorithm can act in an environment.

    :raises UsageError: naming the algorithms that can
    """
    kind = type(action_space).__name__
    if kind not in algorithm.actions:
        able = ", ".join(row.name for row in ALGORITHMS.values() if kind in row.actions)
        raise UsageError(
            f"{algorithm.name} cannot act in {env_id}: its action space is {kind}, {algorithm.name} needs "
            f"{' or '.join(algorithm.actions)}; algorithms for {kind}: {able or 'none'}"
        )
