"""Distillation with the interface of an algorithm: a student, which is an actor-critic policy like PPO's, learns to do
what teachers do.

From recorded lessons, a timestep is a state that it learns from, and no environment is acted in. From teachers
themselves, a timestep is a step of an environment: the student acts, and the teachers tell what they would have done in
the states that it came to (S. Ross et al., 2011; on-policy distillation of W. Czarnecki et al., 2019).

The loss of a state is that of `targets`, plus `value_coef` times the squared error of the value, divided by the
variance of the teachers' values, so that the coefficient means the same whatever the rewards are.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.distillation.lessons import Lessons, Material
from rl_baselines.distillation.targets import (
    action_gaps,
    agreement,
    losses,
    settled_temperature,
    student_outputs,
    tempered,
)
from rl_baselines.episode_records import record_episodes
from rl_baselines.errors import UsageError
from rl_baselines.retention.policy_outputs import CATEGORICAL, DETERMINISTIC, OutputKind, policy_input
from rl_baselines.seeding import derive_seed

DEFAULT_VALUE_COEF = 0.5
N_BATCHES = 64
"""Minibatches of recorded lessons between two boundaries."""
VALIDATION_BATCH = 512


class Teachers(Protocol):
    """Those who tell what to do in the states that a student comes to.

    :ivar kind: of the targets
    :ivar tasks: the labels of their tasks
    """

    kind: OutputKind
    tasks: tuple[str, ...]

    def lessons(self, observations: np.ndarray) -> Lessons:
        """Tell what to do.

        :param observations: (n_steps, n_envs, ...), raw
        :return: n_steps * n_envs states
        """


class Distillation(BaseAlgorithm):
    """Learns from `Material` or from `Teachers`, of which it is told by `learn_from`.

    :param batch_size: states of a minibatch
    :param temperature: of the teachers' distributions; None: 0.1 for discrete actions, 1 for continuous ones
    :param value_coef: weight of the error of the values; None: 0.5 where the teachers' values are known
    :param balance_tasks: whether each task weighs the same, whatever its number of states
    :param n_steps: steps of each environment between two updates, with teachers; None: there are none
    :param n_epochs: passes over what these steps gave, with teachers; None: there are none
    """

    policy_aliases = {"MlpPolicy": ActorCriticPolicy, "CnnPolicy": ActorCriticCnnPolicy}

    def __init__(
        self,
        policy: str,
        env: VecEnv,
        learning_rate: float = 1e-3,
        batch_size: int = 32,
        temperature: float | None = None,
        value_coef: float | None = None,
        balance_tasks: bool = True,
        n_steps: int | None = None,
        n_epochs: int | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "auto",
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
            supported_action_spaces=(spaces.Discrete, spaces.Box, spaces.MultiDiscrete),
        )
        if batch_size < 1:
            raise UsageError(f"hyperparameter batch_size must be at least 1, got {batch_size}")
        self.batch_size, self.temperature, self.value_coef = batch_size, temperature, value_coef
        self.balance_tasks, self.n_steps, self.n_epochs = balance_tasks, n_steps, n_epochs
        self.material: Material | None = None
        self.teachers: Teachers | None = None
        self.validation_loss: float | None = None
        self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        built = self.policy_class(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs)
        self.policy = built.to(self.device)

    def learn_from(self, source: Material | Teachers) -> None:
        """Say what to learn from, which settles what was left open.

        :raises UsageError: for a temperature or coefficient that does not go with it
        """
        has_values = not isinstance(source, Material) or source.value_variance is not None
        if self.value_coef is None:
            self.value_coef = DEFAULT_VALUE_COEF if has_values else 0.0
        if not 0 <= self.value_coef < float("inf"):
            raise UsageError(f"hyperparameter value_coef must be a number of at least 0, got {self.value_coef:g}")
        if self.value_coef and not has_values:
            raise UsageError(
                f"hyperparameter value_coef:{self.value_coef:g}: the datasets hold no values of the teachers; leave it "
                "out"
            )
        self.temperature = settled_temperature(source.kind, self.temperature)
        if isinstance(source, Material):
            self.material = source
        else:
            self.teachers = source

    @property
    def kind(self) -> OutputKind:
        """The kind of the targets."""
        source = self.material or self.teachers
        assert source is not None, "there is nothing to learn from: call learn_from"
        return source.kind

    def learn(  # type: ignore[override]
        self, total_timesteps: int, callback: Any = None, reset_num_timesteps: bool = True, **_: Any
    ) -> "Distillation":
        """Learn for `total_timesteps`."""
        total_timesteps, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps)
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps and self.collect_rollouts(callback):
            pass
        callback.on_training_end()
        return self

    def collect_rollouts(self, callback: BaseCallback) -> bool:
        """Learn for a while: from some minibatches of the material, or from one rollout.

        :return: whether to go on
        """
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        self._update_learning_rate(self.policy.optimizer)
        if self.material is not None:
            self._study(self.material)
            return True
        assert self.teachers is not None and self.n_steps and self.n_epochs, "there is nothing to learn from"
        observations = self._act(self.n_steps, callback)
        if observations is None:
            return False
        self._practise(self.teachers, observations, self.n_epochs)
        return True

    def _order(self, purpose: str, *keys: int, n_states: int) -> np.ndarray:
        """Give an order of states that follows from the seed and what it is for."""
        return np.random.default_rng(derive_seed(self.seed or 0, purpose, *keys)).permutation(n_states)

    def _study(self, material: Material) -> None:
        """Learn from the next minibatches of the epoch, and validate at its end."""
        n_states = len(material.training)
        epoch, begin = divmod(self.num_timesteps, n_states)
        order = self._order("epoch", epoch, n_states=n_states)
        end = min(n_states, begin + N_BATCHES * self.batch_size)
        weights = material.training.weights(self.balance_tasks)
        variance = material.value_variance or 0.0
        for start in range(begin, end, self.batch_size):
            rows = order[start : min(end, start + self.batch_size)]
            self._step(material.training.select(rows), weights[rows], variance)
            self.num_timesteps += len(rows)
        if end == n_states:
            self.logger.record("distillation/epoch", epoch + 1)
            self._validate(material, variance)
            self.dump_logs()

    def _act(self, n_steps: int, callback: BaseCallback) -> np.ndarray | None:
        """Take steps in every environment, and give the raw observations: (n_steps, n_envs, ...).

        Actions are drawn from the student's distribution, or the likeliest ones where no distribution is learnt.
        """
        assert self.env is not None
        callback.on_rollout_start()
        self.policy.set_training_mode(False)
        observed: list[np.ndarray] = []
        for _ in range(n_steps):
            raw: Any = self._last_obs if self._last_original_obs is None else self._last_original_obs
            observed.append(np.array(raw))
            seen: Any = self._last_obs
            actions, _ = self.policy.predict(seen, deterministic=self.kind.name == DETERMINISTIC)
            observations, _, dones, infos = self.env.step(actions)
            self._last_obs = observations  # type: ignore[assignment]
            if self._vec_normalize_env is not None:
                self._last_original_obs = self._vec_normalize_env.get_original_obs()
            self.num_timesteps += self.n_envs
            self._update_info_buffer(infos, dones)
            callback.update_locals(locals())
            if not callback.on_step():
                return None
        callback.on_rollout_end()
        return np.stack(observed)

    def _practise(self, teachers: Teachers, observations: np.ndarray, n_epochs: int) -> None:
        """Learn what the teachers would have done in the states that the student came to."""
        lessons = teachers.lessons(observations)
        variance, weights = float(lessons.values.var(dtype=np.float64)), lessons.weights(self.balance_tasks)
        self._record_agreement(lessons, teachers.tasks, self._examine(lessons, variance))
        for epoch in range(n_epochs):
            order = self._order("rollout", self.num_timesteps, epoch, n_states=len(lessons))
            for start in range(0, len(lessons), self.batch_size):
                rows = order[start : start + self.batch_size]
                self._step(lessons.select(rows), weights[rows], variance)
        self.dump_logs()

    def dump_logs(self) -> None:
        """Write what was recorded."""
        record_episodes(self)
        self.logger.dump(self.num_timesteps)

    def _step(self, lessons: Lessons, weights: np.ndarray, variance: float) -> None:
        """Make one update.

        :param weights: of the states, (n,)
        :param variance: of the teachers' values
        """
        self.policy.set_training_mode(True)
        policy_losses, value_losses, _ = self._losses(lessons, variance)
        weight = torch.as_tensor(weights, device=self.device)
        policy_loss, value_loss = (weight * policy_losses).mean(), (weight * value_losses).mean()
        loss = policy_loss + (self.value_coef or 0.0) * value_loss
        self.policy.optimizer.zero_grad()
        loss.backward()
        self.policy.optimizer.step()
        for name, value in (("loss", loss), ("policy_loss", policy_loss), ("value_loss", value_loss)):
            self.logger.record_mean(f"distillation/{name}", value.item())

    def _losses(self, lessons: Lessons, variance: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give for each state the loss of the action, that of the value, and how well the actions go together.

        :return: (n,) each; the third is 1 where the likeliest actions agree and else 0 for discrete actions, and the
            mean squared gap between the elements of the two for continuous ones
        """
        inputs = policy_input(self.policy, lessons.observations, self.get_vec_normalize_env())
        own, values = student_outputs(self.policy, inputs, self.kind, self.action_space)
        plain = {name: torch.as_tensor(part, device=self.device) for name, part in lessons.targets.items()}
        known = torch.as_tensor(lessons.values, device=self.device)
        known = torch.where(known.isnan(), values.detach(), known)
        value_losses = (values - known).square() / (variance + 1e-8)
        compared = agreement if self.kind.name == CATEGORICAL else action_gaps
        with torch.no_grad():
            together = compared(self.kind, plain, own).float()
        return losses(self.kind, tempered(self.kind, plain, self.temperature), own), value_losses, together

    def _examine(self, lessons: Lessons, variance: float) -> np.ndarray:
        """Give what `_losses` gives for each state, without learning: float64, (3, n)."""
        self.policy.set_training_mode(False)
        parts = []
        for start in range(0, len(lessons), VALIDATION_BATCH):
            rows = np.arange(start, min(len(lessons), start + VALIDATION_BATCH))
            with torch.no_grad():
                parts.append(torch.stack(self._losses(lessons.select(rows), variance)).cpu().numpy())
        return np.concatenate(parts, axis=1).astype(np.float64)

    def _validate(self, material: Material, variance: float) -> None:
        """Measure the student in the episodes kept apart."""
        lessons = material.validation
        found = self._examine(lessons, variance)
        policy_loss, value_loss = (found[:2] * lessons.weights(self.balance_tasks)).mean(axis=1)
        self.validation_loss = float(policy_loss + (self.value_coef or 0.0) * value_loss)
        self.logger.record("distillation/validation_loss", self.validation_loss)
        self._record_agreement(lessons, material.tasks, found)

    def _record_agreement(self, lessons: Lessons, tasks: tuple[str, ...], found: np.ndarray) -> None:
        """Record the share of states with equal actions, or the root of the mean squared gap, by task and on average.

        :param found: as `_examine` gives it
        """
        is_share = self.kind.name == CATEGORICAL
        name = "distillation/agreement" if is_share else "distillation/action_gap"
        by_task = {}
        for index, task in enumerate(tasks):
            of_task = found[2, lessons.tasks == index]
            if len(of_task):
                by_task[task] = float(of_task.mean() if is_share else np.sqrt(of_task.mean()))
        self.logger.record(name, float(np.mean(list(by_task.values()))))
        for task, value in by_task.items() if len(tasks) > 1 else ():
            self.logger.record(f"{name}/{task}", value)

    def _excluded_save_params(self) -> list[str]:
        """Leave out what is not of the model, and what would mean something else to PPO, which can load it."""
        return [*super()._excluded_save_params(), "material", "teachers", "validation_loss", "n_steps", "n_epochs"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


def recorded_settings(model: Distillation) -> Mapping[str, Any]:
    """Give what was settled about the losses, ready for JSON."""
    return {"target": model.kind.name, "temperature": model.temperature, "value_coef": model.value_coef}
