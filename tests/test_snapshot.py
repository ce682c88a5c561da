"""Nothing of a training's state is forgotten: all of it has a place in a checkpoint and comes back from there."""

import copy
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_envs  # noqa: F401 - registers environments
from run_objects import Objects, changed_attributes, stale_entries, state_differences, unknown_attributes
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from teaching import homing, record

from rl_baselines.algorithms import ALGORITHMS, Algorithm
from rl_baselines.beginnings import begin, go_on
from rl_baselines.callbacks import StopTraining
from rl_baselines.cma_es import SEARCH_STATE
from rl_baselines.config import RunOptions
from rl_baselines.layers import Layer
from rl_baselines.resolution import RunPlan, plan_run
from rl_baselines.resuming import open_resumption, plan_resumption
from rl_baselines.snapshot import _restore_random, random_state
from rl_baselines.state_files import first_difference, read_state
from rl_baselines.train import plan_from
from rl_baselines.training import Outcome, TrainingRun

STEPS_TRAINED, SAVE_INTERVAL = 100, 40
COMMON: dict[str, Any] = {
    **{"n_envs": 2, "num_timesteps": 1000, "eval_freq": 60, "eval_episodes": 2, "min_episodes_save": 1},
    **{"device": "cpu", "seed": 5, "policy_kwargs": {"net_arch": [4]}},
}
CARTPOLE, PENDULUM = {"env": "CartPole-v1"}, {"env": "Pendulum-v1"}
ROLLOUT: dict[str, Any] = {"n_steps": 16}
REPLAY: dict[str, Any] = {"learning_starts": 20, "batch_size": 8, "buffer_size": 70}
CASES: dict[str, dict[str, Any]] = {
    "ppo": {
        **{**CARTPOLE, "hyperparam": ROLLOUT, "num_stack": 2, "norm_reward": True, "best_by": "eval"},
        **{"perform_cross_evaluation_cc": True, "eval_episode_window": 2, "cross_tasks": ("CartPole-v1",)},
    },
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
    "cma_es": {**CARTPOLE, "algo": "cma_es", "hyperparam": {"population_size": 4}},
    "cma_es_full": {
        **PENDULUM,
        **{"algo": "cma_es", "policy": "LinearPolicy", "policy_kwargs": {}},
        "hyperparam": {"population_size": 4, "full_covariance": True},
    },
    "random_agent": {**CARTPOLE, "algo": "random_agent", "hyperparam": ROLLOUT, "policy_kwargs": {}},
    "dqn": {**CARTPOLE, "algo": "dqn", "hyperparam": REPLAY, "norm_reward": True},
    "qrdqn": {**CARTPOLE, "algo": "qrdqn", "hyperparam": REPLAY, "n_envs": 1},
    "sac": {**PENDULUM, "algo": "sac", "hyperparam": {**REPLAY, "n_steps": 3}},
    "sac_fixed_entropy": {**PENDULUM, "algo": "sac", "hyperparam": {**REPLAY, "ent_coef": "0.1"}, "n_envs": 1},
    "td3": {**PENDULUM, "algo": "td3", "hyperparam": {**REPLAY, "noise_type": "ornstein-uhlenbeck"}},
    "ddpg": {**PENDULUM, "algo": "ddpg", "hyperparam": {**REPLAY, "noise_type": "normal"}, "n_envs": 1},
    "tqc": {**PENDULUM, "algo": "tqc", "hyperparam": REPLAY},
    "crossq": {**PENDULUM, "algo": "crossq", "hyperparam": REPLAY},
    "ppo_gsde": {**PENDULUM, "hyperparam": {**ROLLOUT, "use_sde": True, "sde_sample_freq": 4}},
    "sac_gsde": {**PENDULUM, "algo": "sac", "hyperparam": {**REPLAY, "use_sde": True, "train_freq": 8}},
    "sac_her": {"env": "GoalWalk-v0", "algo": "sac", "her": True, "hyperparam": {**REPLAY, "learning_starts": 60}},
    "ppo_processes": {**CARTPOLE, "hyperparam": ROLLOUT, "vec_env": "processes", "num_cpu": 1, "num_stack": 2},
    "ppo_pictures": {"env": "DictionaryWalk-v0", "hyperparam": ROLLOUT, "num_stack": 2},
    "ppo_fine_tune": {
        **{"source": "ppo", "retain": "bc", "retain_decay": "linear", "freeze": ("value_net.bias",)},
        **{"freeze_until": 70, "critic_warmup": "50", "lr_warmup": 90, "lr_scale": {"critic": 0.5}},
    },
    "distillation": {**CARTPOLE, "algo": "distillation", "hyperparam": {**ROLLOUT, "n_epochs": 1}, "taught_by": "a2c"},
    "distillation_offline": {
        **{"env": "Walk-v0", "algo": "distillation", "data": homing, "n_envs": 1, "epochs_distillation": 5},
        "hyperparam": {"batch_size": 1},
    },
    "a2c_fine_tune": {"source": "a2c", "algo": "a2c", "retain": "l2sp", "freeze": ("critic",)},
    "sac_fine_tune": {"source": "sac", "algo": "sac", "retain": "kl", "replay_mix": 0.5, "critic_warmup": "60"},
}


# The entries of a captured state, each with a case in which it matters.
ENTRIES: dict[str, tuple[str, ...]] = {
    "dqn": (
        *("model/counters/num_timesteps", "model/counters/n_episodes", "model/counters/n_rollouts"),
        *("model/counters/_episode_num", "model/counters/_n_updates", "model/counters/_n_calls"),
        *("model/counters/exploration_rate", "model/counters/exploration_fraction", "model/counters/learning_starts"),
        *("model/counters/_current_progress_remaining", "model/counters/_rollout_start_timesteps"),
        *("model/counters/acts_by_policy", "model/tensors/_last_obs", "model/tensors/_last_original_obs"),
        *("model/windows/ep_info_buffer", "model/seconds", "model/environments", "deciders/checkpointing"),
    ),
    "ppo": (
        *("model/tensors/_last_episode_starts", "model/vector/stack", "model/vector/normalization"),
        *("model/logger/values", "model/logger/counts", "model/logger/excluded"),
        *("model/random/python", "model/random/numpy", "model/random/torch", "model/random/actions"),
        *("deciders/evaluation", "deciders/task_evaluation", "deciders/best"),
    ),
    "a2c": ("deciders/by_training",),
    "ars": ("model/counters/old_count", "model/tensors/weights"),
    "cma_es": tuple(f"model/search/{name}" for name in SEARCH_STATE),
    "maskable_ppo": ("model/windows/ep_success_buffer",),
    "ppo_lstm": ("model/lstm",),
    "td3": ("model/noise",),
    "ppo_fine_tune": ("deciders/freezing", "deciders/retention"),
}


class Stir:
    """Moves at every boundary what this short training would leave as it was."""

    def __init__(self, run: TrainingRun) -> None:
        self.model: Any = run.model

    def at_boundary(self) -> None:
        random.gauss()
        np.random.normal()  # noqa: NPY002
        torch.rand(1)
        self.model.action_space.sample()
        self.model.acts_by_policy = True
        self.model.logger.record_mean("test/mean", 1.0)
        self.model.start_time = time.time_ns() - int(5500e9)
        for name, value in (("learning_starts", 21), ("exploration_fraction", 0.3), ("old_count", 3)):
            if hasattr(self.model, name):
                setattr(self.model, name, value)


class Stop:
    def __init__(self, run: TrainingRun, timesteps: int) -> None:
        self.model, self.timesteps = run.model, timesteps

    def at_boundary(self) -> None:
        if self.model.num_timesteps >= self.timesteps:
            raise StopTraining("here", can_go_on=True)


@dataclass
class Stopped:
    """A run that was stopped at a boundary and saved.

    :param random: state of the random generators there
    :param deciders: state of the callbacks there; of a resumed run as they are when its first boundary comes
    """

    run: TrainingRun
    random: dict[str, Any]
    deciders: dict[str, Any]

    def state(self) -> dict[str, Any]:
        """What its checkpoint holds besides the model zip, the statistics and the replay buffer."""
        return read_state(self.run.folder.all_checkpoints()[-1].state)


class Runs:
    """The runs of the tests; of every case one is trained, and one is stopped before the first step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[TrainingRun] = []
        self.made: dict[tuple[str, int], Stopped] = {}

    def trained(self, name: str) -> Stopped:
        return self._made(name, STEPS_TRAINED)

    def fresh(self, name: str) -> Stopped:
        return self._made(name, 0)

    def _made(self, name: str, timesteps: int) -> Stopped:
        if (name, timesteps) not in self.made:
            self.made[name, timesteps] = self.train(CASES[name], timesteps)
        return self.made[name, timesteps]

    def train(self, settings: Mapping[str, Any], timesteps: int) -> Stopped:
        plan = self._plan(settings)
        run = begin(plan, RunOptions(log_dir=str(self.folder / "runs"), save_interval=SAVE_INTERVAL), ())
        return self._stop(run, timesteps)

    def _plan(self, settings: Mapping[str, Any]) -> RunPlan:
        given = {**COMMON, **settings}
        if "taught_by" in given:
            given["teachers"] = (str(self.trained(given.pop("taught_by")).run.folder.path),)
        if "data" in given:
            folder = self.folder / f"data_{len(self.all)}"
            given["teacher_data_folder"] = (str(record(folder, given.pop("data"), n_episodes=25).path),)
            del given["num_timesteps"]
        if "source" not in given:
            return plan_run([Layer("test", given)], None)
        source = self.trained(given.pop("source")).run.folder.path
        return plan_from({**given, "load_rl_model_path": f"{source}@last"})[0]

    def restored(self, name: str, alter: Callable[[dict[str, Any]], None] = lambda state: None) -> Stopped:
        """What comes of a trained run's files, in new objects and with random generators that were elsewhere.

        :param alter: changes the state that was read
        """
        source = self.trained(name).run.folder.path
        copied = self.folder.joinpath(f"copy_{len(self.all)}", *source.parts[-4:])
        shutil.copytree(source, copied, symlinks=True)
        resumption = open_resumption(str(copied), copied)
        alter(resumption.state)
        options = RunOptions(log_dir=str(copied), save_interval=SAVE_INTERVAL)
        run = go_on(resumption, plan_resumption(resumption, None), options, ())
        random.seed(99)
        np.random.seed(99)  # noqa: NPY002
        torch.manual_seed(99)
        return self._stop(run, 0)

    def _stop(self, run: TrainingRun, timesteps: int) -> Stopped:
        self.all.append(run)
        before = {} if run.resumption is None else run.capture()["deciders"]
        run.learn([*([Stir(run)] if timesteps else []), Stop(run, timesteps)], Outcome())
        deciders = before or run.capture()["deciders"]
        return Stopped(run, copy.deepcopy(random_state(run.model)), deciders)

    def close(self) -> None:
        for run in self.all:
            run.close(Outcome())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    n_threads = torch.get_num_threads()
    made = Runs(tmp_path_factory.mktemp("snapshot"))
    yield made
    made.close()
    torch.set_num_threads(n_threads)


def draws(model: BaseAlgorithm) -> dict[str, Any]:
    """Draws from every random generator of a training."""
    return {
        "python": [random.gauss() for _ in range(3)],
        "numpy": np.random.normal(size=3),  # noqa: NPY002
        "torch": torch.randn(3),
        "actions": [model.action_space.sample() for _ in range(5)],
    }


def entries(state: Mapping[str, Any]) -> set[str]:
    """The entries of a state: model/seconds, model/counters/num_timesteps, deciders/best, ..."""
    found = {f"deciders/{name}" for name in state["deciders"]}
    for name, part in state["model"].items():
        found |= {f"model/{name}/{key}" for key in part} if isinstance(part, dict) else {f"model/{name}"}
    return found


def test_every_algorithm_has_a_case() -> None:
    assert {settings.get("algo", "ppo") for settings in CASES.values()} == set(ALGORITHMS)


@pytest.mark.parametrize("name", CASES)
def test_every_attribute_is_saved_rebuilt_or_not_changed_by_training(name: str, runs: Runs) -> None:
    trained, fresh = runs.trained(name).run, runs.fresh(name).run
    assert trained.model.num_timesteps >= STEPS_TRAINED and fresh.model.num_timesteps == 0
    assert unknown_attributes(trained) == []
    assert changed_attributes(trained, fresh) == []


def test_every_entry_of_the_tables_names_something(runs: Runs) -> None:
    assert stale_entries([runs.trained(name).run for name in CASES]) == []


@pytest.mark.parametrize("name", CASES)
def test_all_tensors_of_a_policy_are_in_its_state_dict(name: str, runs: Runs) -> None:
    policy = runs.trained(name).run.model.policy
    held = {*dict(policy.named_parameters()), *dict(policy.named_buffers())}
    assert held <= policy.state_dict().keys()


@pytest.mark.parametrize("name", ["ppo", "ppo_lstm", "maskable_ppo", "ppo_pictures"])
def test_a_rollout_buffer_that_is_emptied_is_as_new(name: str, runs: Runs) -> None:
    used, new = (copy.deepcopy(vars(one.run.model)["rollout_buffer"]) for one in (runs.trained(name), runs.fresh(name)))
    assert first_difference(vars(used)["observations"], vars(new)["observations"]) is not None
    used.reset()
    new.reset()
    kept = {"seq_start_indices", "seq_end_indices", "pad", "pad_and_flatten"}  # of the latest minibatches
    ours, theirs = ({key: part for key, part in vars(buffer).items() if key not in kept} for buffer in (used, new))
    plain = ("observation_space", "action_space", "device")
    assert [ours.pop(key) for key in plain] == [theirs.pop(key) for key in plain]
    assert first_difference(ours, theirs) is None


class LuckyA2C(A2C):
    """Has one more thing that training changes."""

    def _setup_model(self) -> None:
        super()._setup_model()
        self.luck = 0.0

    def train(self) -> None:
        super().train()
        self.luck += 0.5


class TiredA2C(A2C):
    """Changes an argument of its constructor."""

    def train(self) -> None:
        super().train()
        self.vf_coef *= 0.9


def test_an_attribute_of_which_nothing_is_known_is_named(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHMS, "a2c", Algorithm("a2c", f"{__name__}:LuckyA2C"))
    assert unknown_attributes(runs.train(CASES["a2c"], 20).run) == ["LuckyA2C.luck"]


def test_an_argument_of_the_constructor_that_training_changes_is_named(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALGORITHMS, "a2c", Algorithm("a2c", f"{__name__}:TiredA2C"))
    trained, fresh = (runs.train(CASES["a2c"], timesteps).run for timesteps in (20, 0))
    assert unknown_attributes(trained) == []
    assert changed_attributes(trained, fresh) == ["TiredA2C.vf_coef at model: 0.405 and 0.5"]


@pytest.mark.parametrize("name", ["td3", "ppo", "sac_her", "ppo_processes", "ppo_fine_tune", "sac_fine_tune"])
def test_one_more_attribute_of_any_object_is_named(name: str, runs: Runs) -> None:
    run = runs.trained(name).run
    objects = Objects(run).by_place
    kinds = {type(one).__name__ for one in objects.values()}
    expected = {
        "td3": {"TD3Policy", "Actor", "Adam", "VectorizedActionNoise", "ReplayBuffer", "ReplayChunks", "Monitor"},
        "ppo": {"ActorCriticPolicy", "RolloutBuffer", "DummyVecEnv", "VecFrameStack", "StackedObservations"}
        | {"VecNormalize", "EpisodeSeeds", "TimeLimit", "OrderEnforcing", "Logger", "BestModel", "Checkpointing"}
        | {"PeriodicEvaluation", "TaskEvaluation", "CheckpointWriter", "ProgressFile", "CategoricalDistribution"},
        "sac_her": {"HerReplayBuffer", "CombinedExtractor", "BestByTraining", "SquashedDiagGaussianDistribution"},
        "ppo_processes": {"ProcessVecEnv"},
        "ppo_fine_tune": {"Freezing", "Retention", "MemoryDistance", "ExtraLoss"},
        "sac_fine_tune": {"TeacherDistance", "MixedBatches"},
    }[name]
    assert expected <= kinds
    for one in objects.values():
        vars(one)["luck"] = 0.5
    try:
        assert unknown_attributes(run) == sorted(f"{kind}.luck" for kind in kinds)
    finally:
        for one in objects.values():
            del vars(one)["luck"]


def differences(one: Stopped, other: Stopped) -> list[str]:
    """What differs in the state of two runs: objects, callbacks, random generators."""
    pairs = [(one.deciders, other.deciders, "deciders"), (one.random, other.random, "random")]
    return state_differences(one.run, other.run) + [found for pair in pairs if (found := first_difference(*pair))]


@pytest.mark.parametrize("name", CASES)
def test_what_is_restored_equals_what_was_saved(name: str, runs: Runs) -> None:
    trained, restored = runs.trained(name), runs.restored(name)
    assert restored.run.resumption is not None and restored.run.resumption.verdict == "exact"
    assert differences(restored, trained) == []
    found, model = draws(restored.run.model), trained.run.model
    _restore_random(model, trained.random)
    assert first_difference(found, draws(model)) is None
    _restore_random(model, trained.random)


def test_every_entry_of_a_captured_state_is_dropped_in_some_case(runs: Runs) -> None:
    found = {entry for name in CASES for entry in entries(runs.trained(name).state())}
    assert found - {"model/random/cuda"} == {entry for listed in ENTRIES.values() for entry in listed}


@pytest.mark.parametrize(("name", "entry"), [(name, entry) for name, listed in ENTRIES.items() for entry in listed])
def test_no_entry_of_a_captured_state_is_idle(name: str, entry: str, runs: Runs) -> None:
    """A run that starts with one entry as it is in a fresh run differs from the one that was saved."""
    trained, fresh = runs.trained(name), runs.fresh(name).state()
    *path, last = entry.split("/")

    def drop(state: dict[str, Any]) -> None:
        target, source = state, fresh
        for part in path:
            target, source = target[part], source[part]
        assert first_difference(target[last], source[last]) is not None
        target[last] = source[last]

    assert differences(runs.restored(name, drop), trained) != []
