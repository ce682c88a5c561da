"""CMA-ES: a Gaussian over the parameters of a policy that moves to where the returns of episodes are high.

Each generation draws a population of parameters, lets each act for whole episodes, and moves by the ranks of returns.
N. Hansen, The CMA evolution strategy: a tutorial, 2016; for the diagonal covariance R. Ros and N. Hansen, A simple
modification in CMA-ES achieving linear time and space complexity, 2008. The arithmetic is that of the library cmaes.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar

import numpy as np
import torch
from cmaes import CMA, SepCMA
from gymnasium import spaces
from sb3_contrib.ars.policies import LinearPolicy, MlpPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.gradient_free import GradientFree
from rl_baselines.seeding import SEED_LIMIT, derive_seed

SEARCH_STATE = ("mean", "sigma", "C", "p_sigma", "pc", "g", "funhist_values")
"""What an update changes in a search: mean, step size, covariance, evolution paths, generation, range of fitnesses."""
MIN_POPULATION = 4
MAX_FULL_COVARIANCE = 1000
"""Parameters of a policy whose covariance is searched in full: drawing a candidate takes time cubic in them."""


class Population:
    """The policies of a generation, all of one architecture, that act at once.

    :param policy: of the architecture
    :param candidates: their parameters, (n, n_parameters)
    """

    def __init__(self, policy: Any, candidates: np.ndarray) -> None:
        vectors = torch.as_tensor(candidates, dtype=torch.float32, device=policy.device)
        sizes = [parameter.numel() for parameter in policy.parameters()]
        parts = zip(policy.named_parameters(), vectors.split(sizes, dim=1), strict=True)
        self._policy = policy
        self._parameters = {name: part.reshape(-1, *own.shape) for (name, own), part in parts}

    def outputs(self, observations: Any, members: np.ndarray) -> torch.Tensor:
        """Give what each observation makes its policy put out.

        Written out for linear layers, since `torch.vmap` takes seven times as long over networks of this size.

        :param observations: as a vector environment gives them, n of them
        :param members: which policy sees which: int64, (n,)
        :return: (n, n_outputs)
        """
        tensor, _ = self._policy.obs_to_tensor(observations)
        values = self._policy.extract_features(tensor, self._policy.features_extractor).unsqueeze(1)
        for index, module in self._policy.action_net.named_children():
            if not isinstance(module, torch.nn.Linear):
                values = module(values)
                continue
            values = values @ self._parameters[f"action_net.{index}.weight"][members].transpose(1, 2)
            if module.bias is not None:
                values = values + self._parameters[f"action_net.{index}.bias"][members].unsqueeze(1)
        return values.squeeze(1)


class Episodes:
    """Hands out the episodes of a generation to environments as they become free, and adds up their returns.

    Environments that are left over when no episode is to begin any more go on with one that does not count.

    :param n_candidates: each of which begins `n_each` episodes, the first of all of them before the second of any
    :param n_each: episodes of a candidate
    :param n_envs: environments that run at the same time
    """

    def __init__(self, n_candidates: int, n_each: int, n_envs: int) -> None:
        self._returns = np.zeros((n_each, n_candidates))
        self._episodes, self._n_begun = np.arange(n_envs), n_envs
        self._sums = np.zeros(n_envs)
        self.n_open = n_each * n_candidates

    @property
    def candidates(self) -> np.ndarray:
        """Who acts in which environment: int64, (n_envs,)."""
        return self._episodes % self._returns.shape[1]

    @property
    def fitness(self) -> np.ndarray:
        """The mean return of each candidate, once no episode is open: (n_candidates,)."""
        return self._returns.mean(axis=0)

    def add(self, rewards: np.ndarray, dones: np.ndarray) -> None:
        """Add one step of every environment; where an episode has ended, the next one begins."""
        self._sums += rewards
        for env in np.flatnonzero(dones):
            if self._episodes[env] < self._returns.size:
                self._returns.flat[self._episodes[env]] = self._sums[env]
                self.n_open -= 1
            self._episodes[env], self._sums[env] = self._n_begun, 0.0
            self._n_begun += 1


class CMAES(GradientFree):
    """Searches the parameters of a policy by covariance matrix adaptation; the model is the mean of the Gaussian.

    A policy whose parameters were loaded, or changed in any other way, is searched around anew; so is the mean when the
    Gaussian has collapsed or diverged by the criteria of the library. What the search knows besides the mean is not in
    the zip that `save` writes: `search_state` gives it.

    :param policy: ``MlpPolicy`` or ``LinearPolicy``, those of sb3-contrib's ARS
    :param env: candidates act in all of its environments at once
    :param population_size: candidates of a generation; None: 4 + 3 ln(number of parameters)
    :param initial_sigma: standard deviation of every parameter at first
    :param full_covariance: whether parameters may vary together, for small policies; else each has a variance
    :param n_eval_episodes: whose mean return is the fitness of a candidate
    :param deterministic: whether candidates take the action of the largest output, or draw one by the softmax of all
    :raises ValueError: for a setting that makes no sense, or a policy too large for a full covariance
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": MlpPolicy, "LinearPolicy": LinearPolicy}
    policy: Any

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: VecEnv | None,
        population_size: int | None = None,
        initial_sigma: float = 0.1,
        full_covariance: bool = False,
        n_eval_episodes: int = 1,
        deterministic: bool = True,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=0.0,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            device=device,
            seed=seed,
            support_multi_env=True,
            supported_action_spaces=(spaces.Box, spaces.Discrete),
        )
        self.population_size, self.initial_sigma, self.full_covariance = population_size, initial_sigma, full_covariance
        self.n_eval_episodes, self.deterministic = n_eval_episodes, deterministic
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._check_settings()
        self._setup_lr_schedule()
        if self.seed is None:
            self.seed = int(np.random.default_rng().integers(SEED_LIMIT))
        self.set_random_seed(self.seed)
        self.policy = self.policy_class(self.observation_space, self.action_space, **self.policy_kwargs)
        self.policy = self.policy.to(self.device)
        n_parameters = len(self._parameters())
        if self.full_covariance and n_parameters > MAX_FULL_COVARIANCE:
            raise ValueError(
                f"full_covariance:true is for at most {MAX_FULL_COVARIANCE:,} parameters and this policy has "
                f"{n_parameters:,}; leave it out, or take a smaller net_arch or LinearPolicy"
            )
        self.search = self._new_search()

    def _check_settings(self) -> None:
        if self.population_size is not None and self.population_size < MIN_POPULATION:
            raise ValueError(f"population_size must be at least {MIN_POPULATION}, got {self.population_size}")
        if not 0 < self.initial_sigma < float("inf"):
            raise ValueError(f"initial_sigma must be a positive number, got {self.initial_sigma:g}")
        if self.n_eval_episodes < 1:
            raise ValueError(f"n_eval_episodes must be at least 1, got {self.n_eval_episodes}")
        if not self.deterministic and not isinstance(self.action_space, spaces.Discrete):
            raise ValueError("deterministic:false draws from discrete actions and these are continuous; leave it out")

    def _parameters(self) -> np.ndarray:
        vector: np.ndarray = self.policy.parameters_to_vector()
        return vector

    def _new_search(self) -> CMA | SepCMA:
        """Give a search around the policy that has seen nothing yet."""
        kind = CMA if self.full_covariance else SepCMA
        mean = self._parameters().astype(np.float64)
        search = kind(mean=mean, sigma=self.initial_sigma, population_size=self.population_size)
        search._funhist_values[:] = 0.0  # the library leaves it uninitialised until it is full, and it is saved
        return search

    def search_state(self) -> dict[str, Any]:
        """Give what, besides the policy and the counters, an exact continuation needs: numbers and arrays.

        Candidates are drawn by generators that follow from the seed and the number of the update.
        """
        return {name: copy(getattr(self.search, f"_{name}")) for name in SEARCH_STATE}

    def restore_search(self, state: Mapping[str, Any]) -> None:
        """Go on from what `search_state` gave."""
        self.search = self._new_search()
        for name in SEARCH_STATE:
            setattr(self.search, f"_{name}", copy(state[name]))

    def collect_rollouts(self, callback: BaseCallback) -> bool:
        """Evaluate one generation and move the Gaussian, and with it the policy.

        :return: whether to go on
        """
        callback.on_rollout_start()
        candidates = self._draw_candidates()
        fitness = self._evaluate(candidates, callback)
        if fitness is None:
            return False
        self._move(candidates, fitness)
        callback.on_rollout_end()
        return True

    def _draw_candidates(self) -> np.ndarray:
        """Give the parameters of the generation: float64, (population_size, n_parameters)."""
        is_of_policy = np.array_equal(self.search.mean.astype(np.float32), self._parameters())
        if not is_of_policy or self.search.should_stop():
            self.search = self._new_search()
        assert self.seed is not None
        self.search.reseed_rng(derive_seed(self.seed, "candidates", self._n_updates))
        return np.stack([self.search.ask() for _ in range(self.search.population_size)])

    def _evaluate(self, candidates: np.ndarray, callback: BaseCallback) -> np.ndarray | None:
        """Give the mean return of each candidate; None when the callback ends the training."""
        assert self.env is not None
        population = Population(self.policy, candidates)
        episodes = Episodes(len(candidates), self.n_eval_episodes, self.n_envs)
        observations: Any = self.env.reset()
        while episodes.n_open:
            with torch.no_grad():
                outputs = population.outputs(observations, episodes.candidates)
            observations, rewards, dones, infos = self.env.step(self._actions(outputs, self.deterministic))
            self._last_obs = observations
            self.num_timesteps += self.n_envs
            self._update_info_buffer(infos, dones)
            episodes.add(rewards, dones)
            callback.update_locals(locals())
            if not callback.on_step():
                return None
        return episodes.fitness

    def _actions(self, outputs: torch.Tensor, deterministic: bool) -> np.ndarray:
        """Turn a policy's outputs into actions of the environment, (n, n_outputs) to (n, ...)."""
        space = self.action_space
        if isinstance(space, spaces.Box):
            actions = outputs.cpu().numpy().reshape(-1, *space.shape)
            return self.policy.unscale_action(actions) if self.policy.squash_output else _clipped(actions, space)
        chosen = outputs.argmax(dim=1) if deterministic else torch.distributions.Categorical(logits=outputs).sample()
        return chosen.cpu().numpy()

    def _move(self, candidates: np.ndarray, fitness: np.ndarray) -> None:
        self.search.tell([(one, -value) for one, value in zip(candidates, fitness.tolist(), strict=True)])
        self.policy.load_from_vector(self.search.mean)
        self._n_updates += 1
        self.logger.record("rollout/fitness_mean", float(fitness.mean()))
        self.logger.record("rollout/fitness_best", float(fitness.max()))
        self.logger.record("train/sigma", float(self.search._sigma))
        self.logger.record("train/generation", self.search.generation)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Give the actions of the mean; where `deterministic` is not set, discrete ones are drawn by their outputs."""
        if deterministic or isinstance(self.action_space, spaces.Box):
            return self.policy.predict(observation, state, episode_start)
        tensor, is_batch = self.policy.obs_to_tensor(observation)
        with torch.no_grad():
            outputs = self.policy.action_net(self.policy.extract_features(tensor, self.policy.features_extractor))
        actions = self._actions(outputs, deterministic=False)
        return (actions if is_batch else actions[0]), state

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "search"]


def _clipped(actions: np.ndarray, space: spaces.Box) -> np.ndarray:
    return np.clip(actions, space.low, space.high)
