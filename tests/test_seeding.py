"""Seeds are decided by (seed, purpose, keys) alone, and an episode by (seed of the sequence, number).

An open episode comes back from its start seed and its actions.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from cli import read_csv
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from toy_envs import LeakingWalk, RememberingWalk, Walk

import environments.registry  # noqa: F401 - registers our environments
from environments.simulation import Simulation
from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.process_vec_env import ProcessVecEnv
from rl_baselines.seeding import derive_seed
from rl_baselines.state_files import first_difference, read_state, write_state


def first_observations(env: gym.Env, n_episodes: int, seed: int | None = None) -> np.ndarray:
    """The start of some episodes, the first with a seed: (n_episodes, ...)."""
    return np.stack([env.reset(seed=seed if episode == 0 else None)[0] for episode in range(n_episodes)])


def cartpole(seed: int = 0) -> EpisodeSeeds:
    return EpisodeSeeds(gym.make("CartPole-v1"), seed)


def start_at(seed: int) -> np.ndarray:
    return gym.make("CartPole-v1").reset(seed=seed)[0]


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "env") == derive_seed(np.int64(0), "env")
    assert [derive_seed(0, "a"), derive_seed(0, "a", 1), derive_seed(3, "episode", 7)] == [
        912453799,
        1155216421,
        1580854597,
    ]


def test_seeds_differ_by_seed_purpose_keys_and_their_types() -> None:
    seeds = [
        derive_seed(*parts)
        for parts in [(0, "a"), (1, "a"), (-1, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a", 1, 1), (2**70, "a")]
    ]
    assert len(set(seeds)) == len(seeds)


def test_seeds_spread_over_their_range() -> None:
    seeds = np.array([derive_seed(0, "spread", i) for i in range(4000)])
    assert seeds.min() >= 0
    assert seeds.max() < 2**31
    counts, _ = np.histogram(seeds, bins=4, range=(0, 2**31))
    assert (abs(counts - 1000) < 120).all()  # 4.4 standard deviations


def test_importing_seeding_imports_no_torch() -> None:
    code = "import sys, rl_baselines.seeding; print('torch' in sys.modules, 'stable_baselines3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"


def test_episode_k_starts_from_its_derived_seed() -> None:
    starts = first_observations(cartpole(), 3, seed=9)
    expected = [start_at(derive_seed(9, "episode", k)) for k in range(3)]
    np.testing.assert_array_equal(starts, expected)
    assert len(np.unique(starts, axis=0)) == 3


def test_the_constructor_gives_the_first_sequence() -> None:
    np.testing.assert_array_equal(first_observations(cartpole(9), 3), first_observations(cartpole(), 3, seed=9))


def test_a_sequence_goes_on_from_its_two_numbers() -> None:
    env, other = cartpole(5), cartpole()
    first_observations(env, 2)
    other.sequence_seed, other.next_episode = env.sequence_seed, env.next_episode
    np.testing.assert_array_equal(first_observations(env, 2), first_observations(other, 2))


def test_what_an_episode_does_has_no_effect_on_the_next() -> None:
    env, other = cartpole(5), cartpole(5)
    env.reset()
    other.reset()
    for _ in range(5):
        env.step(1)
        env.np_random.normal()
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


def test_chosen_seeds_come_first_and_the_sequence_goes_on_after_them() -> None:
    env = cartpole(5)
    env.reset()
    env.start_episodes_at([42, 43])
    expected = [start_at(42), start_at(43), start_at(derive_seed(5, "episode", 1))]
    np.testing.assert_array_equal(first_observations(env, 3), expected)
    env.start_episodes_at([42, 43])
    env.start_episodes_at([44])
    np.testing.assert_array_equal(
        first_observations(env, 2, seed=8), [start_at(44), start_at(derive_seed(8, "episode", 0))]
    )


def test_options_reach_the_env() -> None:
    observation, _ = cartpole().reset(seed=1, options={"low": 0.2, "high": 0.21})
    assert (observation >= 0.2).all()


@pytest.mark.parametrize("wrap", [lambda env: EpisodeSeeds(Monitor(env), 5), lambda env: Monitor(EpisodeSeeds(env, 5))])
def test_monitor_may_lie_on_either_side(wrap: type[gym.Wrapper]) -> None:
    env = DummyVecEnv([lambda: wrap(gym.make("CartPole-v1"))])
    env.env_method("start_episodes_at", [42])
    np.testing.assert_array_equal(env.reset()[0], start_at(42))
    for _ in range(500):
        observations, _, dones, infos = env.step(np.array([0]))
        if dones[0]:
            break
    assert infos[0]["episode"]["l"] > 1
    np.testing.assert_array_equal(observations[0], start_at(derive_seed(5, "episode", 0)))


JOURNALED: dict[str, tuple[str, dict[str, Any]]] = {
    "CartPole": ("CartPole-v1", {}),
    "Pendulum": ("Pendulum-v1", {}),
    "Kuka, discrete actions": ("KukaButtonGymEnv-v0", {"max_steps": 60}),
    "Kuka, continuous actions": ("KukaButtonGymEnv-v0", {"max_steps": 60, "is_discrete": False}),
    "Kuka, actions of joints": ("KukaButtonGymEnv-v0", {"is_discrete": False, "action_joints": True}),
    "Kuka, pictures": ("KukaButtonGymEnv-v0", {"observation": "raw_pixels", "image_size": 24}),
    "Kuka, random target": ("KukaButtonGymEnv-v0", {"random_target": True, "observation": "joints_position"}),
    "mobile robot": ("MobileRobotGymEnv-v0", {}),
    "mobile robot, pictures": ("MobileRobotGymEnv-v0", {"observation": "raw_pixels", "image_size": 24}),
    "dictionary": ("DictionaryWalk-v0", {}),
    "goals": ("GoalWalk-v0", {}),
    "memory": ("RememberingWalk-v0", {}),
}


class TupleWalk(Walk):
    """Observes a tuple, of which one number is none."""

    observation_space = spaces.Tuple((Walk.observation_space, spaces.Box(-np.inf, np.inf, (2,))))

    def observe(self) -> Any:
        return super().observe(), np.array([np.nan, -np.inf])


class ForgetfulWalk(LeakingWalk):
    """What it observes besides its place is nothing in its first episode and a number in the others."""

    def observe(self) -> Any:
        return np.array([self.position, np.nan if self.n_episodes == 1 else 1.0])


class TiringWalk(LeakingWalk):
    """Its first episode ends after three steps."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, self.n_episodes == 1 and self.n_steps == 3, truncated, info


class ReusingWalk(Walk):
    """Gives the same array again and again."""

    def __init__(self) -> None:
        self.array = np.zeros(2, np.float32)

    def observe(self) -> Any:
        self.array[:] = super().observe()
        return self.array


def journaled(name: str, seed: int = 7) -> EpisodeSeeds:
    env_id, kwargs = JOURNALED[name]
    return EpisodeSeeds(Monitor(gym.make(env_id, disable_env_checker=True, **kwargs)), seed)


def play(env: gym.Env, n_steps: int, seed: int = 0) -> list[Any]:
    """Random actions from a seed, with a new episode after each that ends: all that the env gives."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(n_steps):
        space = env.action_space
        is_discrete = isinstance(space, spaces.Discrete)
        action = generator.integers(space.n) if is_discrete else generator.uniform(space.low, space.high)
        observation, reward, terminated, truncated, _ = env.step(action)
        found.append([observation, float(reward), bool(terminated), bool(truncated)])
        if terminated or truncated:
            found.append([env.reset()[0]])
    return found


def open_episode(env: EpisodeSeeds, n_steps: int = 7) -> EpisodeSeeds:
    """Let an env be in the middle of its second episode at least."""
    env.reset()
    play(env, 3, seed=1)
    env.reset()
    play(env, n_steps, seed=2)
    return env


def through_files(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    write_state(folder, state)
    return read_state(folder)


@pytest.mark.parametrize("name", JOURNALED)
def test_an_open_episode_comes_back_from_its_journal(name: str, tmp_path: Path) -> None:
    """In an env that played something else before, and with all that follows."""
    env, other = open_episode(journaled(name)), journaled(name, seed=8)
    other.reset()
    play(other, 5, seed=3)
    state = through_files(env.episode_state(), tmp_path)
    assert len(state["actions"]) == 7
    assert other.restore_episode(state) is None
    assert first_difference(other.episode_state(), env.episode_state()) is None
    assert first_difference(play(other, 40, seed=4), play(env, 40, seed=4)) is None
    assert first_difference(other.reset()[0], env.reset()[0]) is None
    env.close()
    other.close()


def test_an_episode_that_has_no_step_yet_comes_back(tmp_path: Path) -> None:
    env, other = cartpole(3), cartpole()
    env.reset()
    env.reset(options={"low": 0.01, "high": 0.02})
    assert other.restore_episode(through_files(env.episode_state(), tmp_path)) is None
    assert first_difference(play(other, 30), play(env, 30)) is None


def test_an_env_that_was_never_reset_goes_on_with_its_seeds(tmp_path: Path) -> None:
    env, other = cartpole(3), cartpole()
    env.start_episodes_at([42])
    assert other.restore_episode(through_files(env.episode_state(), tmp_path)) is None
    np.testing.assert_array_equal(first_observations(other, 3), first_observations(env, 3))


@pytest.mark.parametrize(
    ("key", "make"),
    [
        *((key, partial(cartpole, 3)) for key in ("sequence_seed", "next_episode", "chosen_seeds", "start_seed")),
        *((key, partial(cartpole, 3)) for key in ("options", "actions", "observation")),
        ("lasting_state", lambda: EpisodeSeeds(RememberingWalk(), 3)),
    ],
)
def test_no_entry_of_a_journal_is_idle(key: str, make: Callable[[], EpisodeSeeds]) -> None:
    """An env that comes back without one entry tells so or plays otherwise."""

    def opened() -> EpisodeSeeds:
        env = make()
        env.reset()
        env.reset(seed=4)
        env.reset(options={"low": 0.01, "high": 0.012})
        play(env, 4)
        env.start_episodes_at([42])
        return env

    def after(state: dict[str, Any]) -> list[Any]:
        env = make()
        return [env.restore_episode(state), play(env, 60), env.reset()[0]]

    state, fresh = opened().episode_state(), make()
    fresh.reset()
    exact = after(state)
    assert exact[0] is None
    assert first_difference(after(state), exact) is None
    assert first_difference(after({**state, key: fresh.episode_state()[key]}), exact) is not None


@pytest.mark.parametrize(("n_steps", "truncated_at"), [(0, 10), (6, 4), (9, 1)])
def test_an_episode_that_came_back_ends_at_its_time_limit(n_steps: int, truncated_at: int) -> None:
    env, other = (EpisodeSeeds(gym.make("Pendulum-v1", max_episode_steps=10), 3) for _ in range(2))
    env.reset()
    play(env, n_steps)
    assert other.restore_episode(env.episode_state()) is None
    truncated = [other.step(np.zeros(1, np.float32))[3] for _ in range(truncated_at)]
    assert truncated == [False] * (truncated_at - 1) + [True]


def test_the_record_of_an_episode_that_came_back_counts_all_of_it(tmp_path: Path) -> None:
    env = EpisodeSeeds(Monitor(Walk(), str(tmp_path / "first")), 3)
    other = EpisodeSeeds(Monitor(Walk(), str(tmp_path / "second")), 4)
    env.reset()
    rewards = [env.step(action)[1] for action in (0, 1, 2, 2, 0, 0)]
    assert other.restore_episode(env.episode_state()) is None
    assert read_csv(tmp_path / "second.monitor.csv", n_comments=1) == []
    steps = [other.step(2) for _ in range(4)]
    rewards += [step[1] for step in steps]
    episode = steps[-1][4]["episode"]
    assert (episode["r"], episode["l"]) == (round(sum(rewards), 6), 10)
    (row,) = read_csv(tmp_path / "second.monitor.csv", n_comments=1)
    assert (float(row["r"]), int(row["l"])) == (episode["r"], 10)


def test_an_action_that_is_changed_afterwards_stays_in_the_journal_as_it_was() -> None:
    env, other = (EpisodeSeeds(gym.make("Pendulum-v1"), 3) for _ in range(2))
    env.reset()
    action = np.zeros(1, np.float32)
    for number in (0.5, -1.5, 2.0):
        action[:] = number
        env.step(action)
    action[:] = 9.0
    assert env.episode_state()["actions"].tolist() == [[0.5], [-1.5], [2.0]]
    assert other.restore_episode(env.episode_state()) is None


def test_a_memory_that_the_env_goes_on_changing_stays_in_the_journal_as_it_was() -> None:
    class Diary(RememberingWalk):
        """Gives its own dictionary away."""

        def __init__(self) -> None:
            self.pages: dict[str, list[int]] = {"steps": []}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.pages["steps"].append(int(action))
            return super().step(action)

        def lasting_state(self) -> dict[str, Any]:
            return self.pages

        def set_lasting_state(self, state: dict[str, Any]) -> None:
            self.pages = state

        def observe(self) -> Any:
            return np.array([self.position, len(self.pages["steps"])], np.float32)

    env, other = EpisodeSeeds(Diary(), 3), EpisodeSeeds(Diary(), 3)
    open_episode(env)
    state = env.episode_state()
    assert len(state["lasting_state"]["steps"]) == 3
    assert other.restore_episode(state) is None
    assert len(state["lasting_state"]["steps"]) == 3
    assert len(other.unwrapped.pages["steps"]) == 10  # type: ignore[attr-defined]


def test_an_observation_that_the_env_writes_over_is_compared_as_it_was() -> None:
    env, other = open_episode(EpisodeSeeds(ReusingWalk(), 3)), EpisodeSeeds(ReusingWalk(), 3)
    state = env.episode_state()
    env.reset()
    assert other.restore_episode(state) is None


@pytest.mark.parametrize("n_steps", [0, 1, 9])
@pytest.mark.parametrize("name", ["Kuka, pictures", "mobile robot, pictures"])
def test_only_the_last_picture_of_a_repeated_episode_is_drawn(
    name: str, n_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, draw = [], Simulation.camera_image

    def counted(simulation: Simulation, *arguments: Any) -> np.ndarray:
        drawn.append(simulation)
        return draw(simulation, *arguments)

    monkeypatch.setattr(Simulation, "camera_image", counted)
    env, other = open_episode(journaled(name), n_steps), journaled(name, seed=8)
    assert len(drawn) == 2 + 3 + n_steps
    drawn.clear()
    assert other.restore_episode(env.episode_state()) is None
    assert len(drawn) == 1
    picture = other.episode_state()["observation"]
    assert picture.shape == (24, 24, 3) and picture.std() > 10
    other.step(0)
    other.reset()
    assert len(drawn) == 3
    env.close()
    other.close()


def test_pictures_are_drawn_again_after_an_episode_that_ended_early() -> None:
    env, other = open_episode(journaled("Kuka, pictures")), journaled("Kuka, pictures")
    state = env.episode_state()
    other.unwrapped._max_steps = 4  # type: ignore[attr-defined]
    assert other.restore_episode(state) == "its episode ended after 5 of 7 repeated actions"
    assert other.reset()[0].std() > 10
    env.close()
    other.close()


@pytest.mark.parametrize("other_is_new", [True, False])
def test_an_env_that_does_not_forget_earlier_episodes_gives_the_reason(other_is_new: bool) -> None:
    """Its observation holds the number of its episodes, two here."""
    env, other = open_episode(EpisodeSeeds(LeakingWalk(), 3)), EpisodeSeeds(LeakingWalk(), 3)
    if not other_is_new:
        first_observations(other, 4)
    expected = "its observation after the same seed and actions differs by up to " + ("1" if other_is_new else "3")
    assert other.restore_episode(env.episode_state()) == expected


def test_an_env_that_offers_its_memory_comes_back_exactly() -> None:
    env, other = open_episode(EpisodeSeeds(RememberingWalk(), 3)), EpisodeSeeds(RememberingWalk(), 3)
    assert other.restore_episode(env.episode_state()) is None
    assert [env.reset()[0][1], other.reset()[0][1]] == [3.0, 3.0]


def test_an_episode_that_ends_early_while_it_is_repeated_gives_the_reason_and_is_not_recorded(tmp_path: Path) -> None:
    env = open_episode(EpisodeSeeds(TiringWalk(), 3), 8)
    other = EpisodeSeeds(Monitor(TiringWalk(), str(tmp_path / "log")), 3)
    assert other.restore_episode(env.episode_state()) == "its episode ended after 3 of 8 repeated actions"
    assert read_csv(tmp_path / "log.monitor.csv", n_comments=1) == []
    other.reset()
    play(other, 10)
    assert [row["l"] for row in read_csv(tmp_path / "log.monitor.csv", n_comments=1)] == ["10"]


def test_tuples_and_numbers_that_are_none_come_back(tmp_path: Path) -> None:
    env, other = open_episode(EpisodeSeeds(TupleWalk(), 3)), EpisodeSeeds(TupleWalk(), 3)
    state = through_files(env.episode_state(), tmp_path)
    assert [part.shape for part in state["observation"]] == [(2,), (2,)]
    assert other.restore_episode(state) is None
    state["observation"][0][0] += 0.5
    assert other.restore_episode(state) == "its observation after the same seed and actions differs by up to 0.5"


def test_a_number_where_there_was_none_is_a_difference() -> None:
    env, other = open_episode(EpisodeSeeds(ForgetfulWalk(), 3)), EpisodeSeeds(ForgetfulWalk(), 3)
    state = env.episode_state()
    assert other.restore_episode(state) == "its observation after the same seed and actions differs by up to inf"


def test_a_part_of_a_dictionary_that_differs_is_a_difference(tmp_path: Path) -> None:
    env = open_episode(journaled("dictionary"))
    state = through_files(env.episode_state(), tmp_path)
    state["observation"]["image"][0, 0, 0] += 25
    reason = "its observation after the same seed and actions differs by up to "
    assert journaled("dictionary").restore_episode(state) == reason + "25"


@pytest.mark.parametrize("make", [DummyVecEnv, partial(ProcessVecEnv, n_processes=2)])
def test_the_journals_of_several_envs_come_back_one_by_one(make: Callable[..., VecEnv], tmp_path: Path) -> None:
    factories = [partial(journaled, "Pendulum", seed) for seed in (1, 2, 3)]
    env, other = make(factories), make(factories)
    actions = np.random.default_rng(0).uniform(-2, 2, (12, 3, 1)).astype(np.float32)
    for one in (env, other):
        one.reset()
    for action in actions:
        env.step(action)
    for index, state in enumerate(env.env_method("episode_state")):
        (tmp_path / str(index)).mkdir()
        state = through_files(state, tmp_path / str(index))
        assert other.env_method("restore_episode", state, indices=index) == [None]
    for action in actions:
        assert first_difference(other.step(action)[:2], env.step(action)[:2]) is None
    env.close()
    other.close()
