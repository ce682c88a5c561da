"""Evaluates what is trained on one task on several tasks, every so many training episodes."""

from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.config import USUAL_CROSS_TASKS, RunConfig, changed, flag_of, to_flat
from rl_baselines.errors import UsageError
from rl_baselines.evaluation import EvaluationResult, evaluate, evaluation_seeds, random_states_kept
from rl_baselines.evaluation_tasks import Spaces, environment_for, find_misfit, parse_tasks
from rl_baselines.evaluations_file import EvaluationsFile, task_figures
from rl_baselines.layers import Layer
from rl_baselines.resolution import complete


class TaskEvaluation:
    """Evaluates the deterministic policy on several tasks, from the same start seeds each time; training goes on as it
    would have.

    The environments are made for every evaluation and remember nothing from one to the next.

    :param model: what is trained
    :param make_envs: by the label of a task, make its environments, which share the training's statistics
    :param window: training episodes between evaluations
    :param n_episodes: on each task
    :param file: takes a row of every evaluation
    :ivar on_results: told of every evaluation, by the label of the task
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        make_envs: Mapping[str, Callable[[], VecEnv]],
        window: int,
        n_episodes: int,
        file: EvaluationsFile,
    ) -> None:
        self.model, self.window, self.file = model, window, file
        self._make_envs = make_envs
        self.seeds = evaluation_seeds(n_episodes)
        self.on_results: Callable[[Mapping[str, EvaluationResult]], None] | None = None
        self._last_episodes = 0
        self._last_timesteps = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The labels of the tasks."""
        return tuple(self._make_envs)

    def at_boundary(self) -> None:
        """Evaluate when enough episodes have ended."""
        episodes: int = self.model.n_episodes  # type: ignore[attr-defined]
        is_time = episodes // self.window > self._last_episodes // self.window
        self._last_episodes = episodes
        if is_time:
            self.run()

    def run(self) -> None:
        """Evaluate now, unless that was done at this timestep."""
        if self.model.num_timesteps == self._last_timesteps:
            return
        self._last_timesteps = self.model.num_timesteps
        results = {task: self._evaluate(make_env) for task, make_env in self._make_envs.items()}
        self.file.append(self.model.num_timesteps, task_figures(results))
        for task, result in results.items():
            self.model.logger.record(f"eval/{task}/mean_reward", result.mean_reward)
            if result.success_rate is not None:
                self.model.logger.record(f"eval/{task}/success_rate", result.success_rate)
        if self.on_results is not None:
            self.on_results(results)

    def state(self) -> dict[str, Any]:
        """Give what resuming needs."""
        return {"last_episodes": self._last_episodes, "last_timesteps": self._last_timesteps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._last_episodes, self._last_timesteps = state["last_episodes"], state["last_timesteps"]

    def _evaluate(self, make_env: Callable[[], VecEnv]) -> EvaluationResult:
        with random_states_kept(self.model, 0):
            env = make_env()
        try:
            return evaluate(self.model, env, self.seeds)
        finally:
            env.close()


def task_configs(config: RunConfig, own_spaces: Spaces) -> dict[str, RunConfig]:
    """Give the run's configuration with the environment of each task to evaluate on, by label; none where none is.

    :param config: complete
    :param own_spaces: of the run's own environment
    :raises UsageError: for a task that the policy cannot act in
    """
    settings = config.evaluation
    if not settings.perform_cross_evaluation_cc:
        return {}
    found = {}
    for task in parse_tasks(settings.cross_tasks or USUAL_CROSS_TASKS):
        try:
            environment = environment_for(task, config.environment)
            wanted = {name: getattr(environment, name) for name in ("env", "srl_model", "env_kwargs")}
            found[task.label], *spaces = complete([Layer(task.text, to_flat(changed(config, **wanted)))])
            misfit = find_misfit((spaces[0], spaces[1]), own_spaces)
        except UsageError as error:
            misfit = str(error)
        if misfit is not None:
            flag, tasks = flag_of("perform_cross_evaluation_cc"), flag_of("cross_tasks")
            raise UsageError(f"{flag}: the policy cannot act in the task {task}: {misfit}; name others by {tasks}")
    return found
