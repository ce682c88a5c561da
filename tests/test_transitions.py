"""Transitions taken over from another replay buffer: their order, their cuts, what is learned from them."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_envs
from cli import TINY, Run, call, call_train, shared_run, table_row
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.her import HerReplayBuffer
from test_transfer import LOAD, QUICK, fine_tune, set_up

from rl_baselines.callbacks import StopTraining
from rl_baselines.errors import UsageError
from rl_baselines.replay_chunks import chunked_arrays
from rl_baselines.sources import resolve
from rl_baselines.train import main as train
from rl_baselines.training import Outcome
from rl_baselines.transfer.source_replay import read_replay
from rl_baselines.transfer.transitions import MixedBatches, Transitions, empty_buffer_like, fill, find_obstacle

NUMBER, TORQUE = spaces.Box(-np.inf, np.inf, (1,)), spaces.Box(-1, 1, (1,))
PICTURES = spaces.Dict({"number": NUMBER, "picture": spaces.Box(0, 255, (1, 4, 4), np.uint8)})
SHAPES = [(4, 1), (1, 4), (3, 2), (2, 3), (2, 2)]
OLD_STEPS = 23  # of each environment; the k-th step of environment e is the transition 100 e + k
TERMINATED, TRUNCATED = {4, 109, 208, 13}, {112, 203, 306, 17}
ENDS = TERMINATED | TRUNCATED
SMALL_SAC = ("--algo", "sac", "--hyperparam", "learning_starts:5", "batch_size:8", "buffer_size:300", *TINY)


def plain(n_envs: int = 1, n_slots: int = 40, cls: Any = ReplayBuffer, **settings: Any) -> ReplayBuffer:
    spaces_here = {"observation_space": NUMBER, "action_space": TORQUE}
    return cls(n_slots * n_envs, **{**spaces_here, "n_envs": n_envs, "device": "cpu", **settings})


def n_step(n_envs: int = 1, n_slots: int = 40) -> ReplayBuffer:
    return plain(n_envs, n_slots, NStepReplayBuffer, n_steps=3, gamma=0.5)


def dictionaries(n_envs: int = 1, n_slots: int = 40) -> ReplayBuffer:
    return plain(n_envs, n_slots, DictReplayBuffer, observation_space=PICTURES)


def hindsight(n_envs: int = 1, n_slots: int = 40) -> HerReplayBuffer:
    env = DummyVecEnv([toy_envs.GoalWalk] * n_envs)
    arguments = (n_slots * n_envs, env.observation_space, env.action_space, env)
    return HerReplayBuffer(*arguments, n_envs=n_envs, device="cpu")


def play(buffer: ReplayBuffer, n_steps: int = OLD_STEPS, first: int = 0) -> ReplayBuffer:
    """Add transitions from the observation k to k + 1/2, with the reward k."""
    for step in range(n_steps):
        numbers = first + 100 * np.arange(buffer.n_envs) + step
        infos = [{"TimeLimit.truncated": number in TRUNCATED} for number in numbers.tolist()]
        dones = np.array([number in ENDS for number in numbers.tolist()])
        observations = [seen(buffer, numbers), seen(buffer, numbers + 0.5)]
        buffer.add(*observations, np.zeros((buffer.n_envs, 1)), numbers, dones, infos)
    return buffer


def seen(buffer: ReplayBuffer, numbers: np.ndarray) -> Any:
    column = numbers[:, None].astype(np.float32)
    if isinstance(buffer, HerReplayBuffer):
        goals = {"achieved_goal": column, "desired_goal": np.full_like(column, -1)}
        return {"observation": np.repeat(column, 2, axis=1), **goals}
    if isinstance(buffer.observations, dict):
        return {"number": column, "picture": np.broadcast_to(column[:, None, None] % 256, (len(column), 1, 4, 4))}
    return column


def taken(buffer: ReplayBuffer) -> Transitions:
    return Transitions.from_slots(chunked_arrays(buffer), buffer.pos, buffer.full)


def columns(buffer: ReplayBuffer) -> list[list[int]]:
    """The transitions of each environment in the order of time."""
    return taken(buffer).arrays["rewards"].T.astype(int).tolist()


def marks(buffer: ReplayBuffer) -> tuple[set[int], set[int]]:
    """The transitions that are marked as the last of an episode, and those of them that are cut off there."""
    arrays = taken(buffer).arrays
    return tuple({int(n) for n in arrays["rewards"][arrays[name] > 0]} for name in ("dones", "timeouts"))  # type: ignore[return-value]


def episode(number: int) -> tuple[int, int]:
    """The environment of a transition, and how many episodes ended before it there."""
    return number // 100, sum(end // 100 == number // 100 and end < number for end in ENDS)


def test_the_same_number_of_environments_keeps_each_its_own() -> None:
    old = play(plain(3, n_slots=10))
    assert old.full and old.pos == 3  # the oldest is not in the first slot
    new = plain(3, n_slots=15)
    assert fill(new, taken(old)) == 30
    assert (new.pos, new.full) == (10, False)
    assert columns(new) == [[100 * env + step for step in range(13, 23)] for env in range(3)]
    assert new.observations[:10, 2, 0].tolist() == list(range(213, 223))
    assert new.next_observations[:10, 2, 0].tolist() == [number + 0.5 for number in range(213, 223)]
    assert marks(new) == ({13, 17, 22, 122, 222}, {17, 22, 122, 222})
    assert marks(old) == ({13, 17}, {17})  # what was taken is as it was


def test_sequences_of_three_environments_are_dealt_to_two() -> None:
    new = plain(2)
    assert fill(new, taken(play(plain(3), 5))) == 14
    assert columns(new) == [[1, 2, 3, 4, 100, 101, 102], [103, 104, 200, 201, 202, 203, 204]]
    assert marks(new) == ({4, 102, 104, 203, 204}, {102, 104, 203, 204})


def test_sequences_of_one_environment_are_dealt_to_four() -> None:
    new = plain(4)
    assert fill(new, taken(play(plain(1), 22))) == 20
    assert columns(new) == [list(range(start, start + 5)) for start in (2, 7, 12, 17)]
    assert marks(new) == ({4, 6, 11, 13, 16, 17, 21}, {6, 11, 16, 17, 21})


@pytest.mark.parametrize(("n_old", "n_new"), SHAPES)
@pytest.mark.parametrize("make", [plain, n_step, dictionaries, hindsight])
@pytest.mark.parametrize("n_slots", [9, 12, 23, 120])
def test_newest_are_kept_in_order_and_cut_where_they_do_not_go_on(
    make: Any, n_old: int, n_new: int, n_slots: int
) -> None:
    old, new = play(make(n_old, n_slots=20)), make(n_new, n_slots=n_slots)
    n_kept = fill(new, taken(old))
    assert n_kept == new.size() * n_new and n_kept > min(20 * n_old, n_slots * n_new) - n_old - n_new
    ended, truncated = marks(new)
    sequences = columns(new)
    for column in sequences:
        for number, following in zip(column, [*column[1:], None], strict=True):
            if following != number + 1:
                assert number in ended
    numbers = [number for column in sequences for number in column]
    assert len(set(numbers)) == n_kept
    for env in range(n_old):
        own = [number for number in numbers if number // 100 == env]
        assert own == list(range(100 * env + OLD_STEPS - len(own), 100 * env + OLD_STEPS))
    assert ended - truncated == TERMINATED & set(numbers)
    assert TRUNCATED & set(numbers) <= truncated


@pytest.mark.parametrize(("n_old", "n_new"), SHAPES)
@pytest.mark.parametrize("make", [plain, dictionaries])
def test_learning_target_of_every_transition_is_as_it_was(make: Any, n_old: int, n_new: int) -> None:
    old, new = play(make(n_old)), make(n_new, n_slots=120)
    fill(new, taken(old))
    assert targets(new) == {number: targets(old)[number] for number in targets(new)}
    assert len(targets(new)) > n_old * OLD_STEPS - n_new


def targets(buffer: ReplayBuffer) -> dict[int, Any]:
    """What is learned from each transition: next observation, and whether nothing comes after it."""
    np.random.seed(0)  # noqa: NPY002
    batch: Any = buffer.sample(3000)
    ended = batch.dones.flatten().tolist()
    following = batch.next_observations
    if isinstance(following, dict):
        following = following["number"] + 1000 * following["picture"][:, 0, 0, :1]
    return dict(zip(batch.rewards.flatten().int().tolist(), zip(ended, following.tolist(), strict=True), strict=True))


@pytest.mark.parametrize(("n_old", "n_new"), SHAPES)
@pytest.mark.parametrize("n_slots", [12, 40])
def test_returns_of_several_steps_never_run_across_a_cut(n_old: int, n_new: int, n_slots: int) -> None:
    old, new = play(n_step(n_old, n_slots=20)), n_step(n_new, n_slots=n_slots)
    fill(new, taken(old))
    cuts = marks(new)[0]
    np.random.seed(0)  # noqa: NPY002
    batch = new.sample(2000)
    fields = (batch.observations, batch.next_observations, batch.rewards, batch.dones, batch.discounts)
    lengths = set()
    for first, following, returned, done, discount in zip(*(one.flatten().tolist() for one in fields), strict=True):
        number = int(first)
        last = next(end for end in (number, number + 1, number + 2) if end in cuts or end == number + 2)
        assert following == last + 0.5 and episode(last) == episode(number)
        assert returned == sum(0.5**k * (number + k) for k in range(last - number + 1))
        assert discount == 0.5 ** (last - number + 1) and done == (last in TERMINATED)
        lengths.add(last - number + 1)
    assert lengths == {1, 2, 3}


@pytest.mark.parametrize(("n_old", "n_new"), [*SHAPES, (2, 3)])
@pytest.mark.parametrize("n_slots", [12, 40])
def test_goals_of_hindsight_are_of_the_same_episode(n_old: int, n_new: int, n_slots: int) -> None:
    old, new = play(hindsight(n_old, n_slots=20)), hindsight(n_new, n_slots=n_slots)
    fill(new, taken(old))
    rows = range(new.size())
    for env, column in enumerate(new.rewards[: new.size()].T.astype(int).tolist()):
        for row in rows:
            start, length = int(new.ep_start[row, env]), int(new.ep_length[row, env])
            assert start <= row < start + length <= new.size()
            assert column[start : start + length] == list(range(column[start], column[start] + length))
            assert new.dones[start : start + length, env].tolist() == [0.0] * (length - 1) + [1.0]
    assert new._current_ep_start.tolist() == n_new * [new.pos]
    np.random.seed(0)  # noqa: NPY002
    batch = new.sample(1000)
    numbers = batch.observations["achieved_goal"].flatten().int().tolist()
    virtual = 0
    for number, goal in zip(numbers, batch.observations["desired_goal"].flatten().tolist(), strict=True):
        if goal >= 0:
            assert episode(int(goal)) == episode(number) and int(goal) >= number and goal % 1 == 0.5
            virtual += 1
    assert virtual == 800


def test_hindsight_goes_on_after_what_was_taken_over() -> None:
    new = hindsight(3, n_slots=17)
    fill(new, taken(play(hindsight(2))))
    assert new.pos == 15
    play(new, 10, first=1000)
    open_ones = new.rewards[new.ep_length == 0].flatten()
    assert (open_ones[open_ones >= 1000] % 100).tolist() == 3 * list(range(8)) + [8, 8, 8, 9, 9, 9] or new.full
    batch = new.sample(500)
    assert batch.observations["achieved_goal"].max() < 1000  # of the new ones no episode is over
    goals = batch.observations["desired_goal"]
    assert goals.max() < 1000 and goals.max() > 0


def test_a_full_buffer_goes_on_with_its_oldest_slot() -> None:
    new = plain(2, n_slots=10)
    fill(new, taken(play(plain(1), 23)))
    assert (new.pos, new.full) == (0, True)
    new.add(*(np.full((2, 1), 7.0),) * 2, np.zeros((2, 1)), np.array([7, 7]), np.zeros(2, dtype=bool), [{}, {}])
    assert columns(new) == [[*range(4, 13), 7], [*range(14, 23), 7]]


@pytest.mark.parametrize(
    ("buffer", "source", "reason"),
    [
        (
            plain(optimize_memory_usage=True, handle_timeout_termination=False),
            plain(),
            "this run's buffer keeps no next",
        ),
        (plain(), plain(optimize_memory_usage=True, handle_timeout_termination=False), "it keeps no next observations"),
        (plain(observation_space=spaces.Box(-1, 1, (3,))), plain(), "next_observations are fractions (1,), here"),
        (plain(action_space=spaces.Discrete(2)), plain(), "actions are fractions (1,), here whole numbers (1,)"),
        (dictionaries(), plain(), "its next_observations are fractions (1,), here absent"),
        (plain(), hindsight(), "its next_observations are absent, here fractions (1,)"),
        (
            plain(observation_space=spaces.Box(0, 255, (1,), np.uint8)),
            plain(),
            "its next_observations are fractions (1,), here bytes (1,)",
        ),
    ],
)
def test_misfits_are_named(buffer: ReplayBuffer, source: ReplayBuffer, reason: str) -> None:
    transitions = taken(play(source, 3))
    obstacle = find_obstacle(buffer, transitions)
    assert obstacle is not None and reason in obstacle
    with pytest.raises(UsageError) as caught:
        fill(buffer, transitions)
    assert str(caught.value) == f"the replay buffer cannot be loaded: {obstacle}" and buffer.size() == 0


@pytest.mark.parametrize(("n_played", "n_old", "n_new", "n_slots"), [(0, 1, 1, 5), (1, 1, 4, 5), (5, 4, 1, 3)])
def test_too_few_transitions_are_an_obstacle(n_played: int, n_old: int, n_new: int, n_slots: int) -> None:
    transitions = taken(play(plain(n_old), n_played))
    buffer = plain(n_new, n_slots)
    assert find_obstacle(buffer, transitions) == (
        f"of its {n_played * n_old} transitions, those of {n_old} environments, none can be dealt to {n_new} here"
    )


def test_arrays_of_different_lengths_are_refused() -> None:
    arrays = chunked_arrays(play(plain()))
    with pytest.raises(UsageError, match="the arrays of the replay buffer are of different lengths"):
        Transitions.from_slots({**arrays, "rewards": arrays["rewards"][:7]}, 20, False)


def small_sac(env: Any = "Pendulum-v1", **settings: Any) -> SAC:
    policy = "MultiInputPolicy" if settings else "MlpPolicy"
    options = {"learning_starts": 0, "batch_size": 8, "buffer_size": 200, "policy_kwargs": {"net_arch": [8]}}
    return SAC(policy, env, seed=0, device="cpu", **options, **settings)


@pytest.mark.parametrize(("share", "n_second"), [(0.5, 4), (0.25, 2), (0.9, 7), (0.05, 0), (0.95, 8)])
def test_each_batch_is_of_both(share: float, n_second: int) -> None:
    model = small_sac()
    second = empty_buffer_like(model, 50)
    fill(second, marked(model, 30))
    MixedBatches(model, second, share)
    batch = model.replay_buffer.sample(8)
    assert (batch.rewards >= 1000).sum() == 8  # nothing else is there yet
    rows = [np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}]]
    model.replay_buffer.add(*rows)
    for _ in range(5):
        batch = model.replay_buffer.sample(8)
        assert (batch.rewards >= 1000).sum() == n_second
        assert {len(field) for field in batch if field is not None} == {8}
    assert second.size() == 30 and model.replay_buffer.size() == 1


def marked(model: SAC, n_rows: int) -> Transitions:
    """Transitions of one environment with rewards from 1000 on."""
    buffer = empty_buffer_like(model, n_rows)
    buffer.rewards[:, 0] = np.arange(1000, 1000 + n_rows)
    return Transitions.from_slots(chunked_arrays(buffer), 0, True)


def test_batches_of_hindsight_are_of_both_once_an_episode_is_over() -> None:
    hindsight_settings = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 2}}
    env = DummyVecEnv([toy_envs.GoalWalk] * 2)
    model = small_sac(env, **hindsight_settings)
    second = empty_buffer_like(model, 40)
    assert isinstance(second, HerReplayBuffer) and (second.n_envs, second.her_ratio) == (2, 1 - 1 / 3)
    fill(second, taken(play(hindsight(3))))
    mixed = MixedBatches(model, second, 0.5)
    own = model.replay_buffer
    play(own, 3, first=1000)
    assert own.sample(10).observations["achieved_goal"].max() < 1000
    rows = [seen(own, np.array([1003, 1103])), seen(own, np.array([1003.5, 1103.5]))]
    own.add(*rows, np.zeros((2, 1)), np.array([1003, 1103]), np.ones(2, dtype=bool), [{}, {}])
    numbers = own.sample(10).observations["achieved_goal"].flatten()
    assert (numbers < 1000).sum() == 5 == (numbers >= 1000).sum()
    model.learn(40)
    assert model._n_updates == 20 and mixed.second.size() == second.size() == 34
    assert columns(second) == columns(filled_alike(second))


def filled_alike(buffer: ReplayBuffer) -> ReplayBuffer:
    other = hindsight(buffer.n_envs)
    fill(other, taken(play(hindsight(3))))
    return other


def test_batches_of_several_steps_are_of_both() -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", n_steps=3, buffer_size=50, learning_starts=0, batch_size=8, device="cpu")
    second = empty_buffer_like(model, 50)
    assert isinstance(second, NStepReplayBuffer) and (second.n_steps, second.gamma) == (3, 0.99)
    fill(second, marked(model, 30))
    MixedBatches(model, second, 0.5)
    model.learn(6)
    batch = model.replay_buffer.sample(8)
    assert (batch.rewards >= 1000).sum() == 4 and batch.discounts.shape == (8, 1)


# Through the command line.


def replay_of(run: Run, step: int | str = "last") -> dict[str, np.ndarray]:
    """The transitions of a checkpoint's replay buffer."""
    selection = step if isinstance(step, str) else f"step:{step}"
    return dict(read_replay(resolve(f"{run.path}@{selection}", run.path)).arrays)


def second_of(run: Run) -> dict[str, np.ndarray]:
    """The arrays of the buffer that batches are mixed with, as they lie there."""
    parts = [np.load(path) for path in sorted((run.checkpoint("last") / "state" / "second_replay").glob("*.npz"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files} if parts else {}


def counters(run: Run, step: int | str = "last") -> dict[str, Any]:
    return json.loads((run.checkpoint(step) / "state" / "state.json").read_text())["model"]["counters"]


def replay_row(run: Run) -> tuple[str, str]:
    rows = json.loads((run.path / "plan.json").read_text())["components"]
    return next((row["fate"], row["reason"]) for row in rows if row["component"] == "replay buffer")


def advice(run: Run) -> str:
    return "\n".join(json.loads((run.path / "plan.json").read_text())["advice"])


@pytest.fixture(scope="module", params=["pendulum_sac", "cartpole_dqn"])
def parent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "pendulum_sac")


def test_source_s_buffer_is_appended_and_learned_from_at_once(parent: Run, tmp_path: Path) -> None:
    child, done = fine_tune(parent, "--num-timesteps", 20, "--keep-checkpoints", 0, log_dir=tmp_path)
    theirs, ours = replay_of(parent), replay_of(child)
    n = len(theirs["rewards"])
    assert len(ours["rewards"]) == n + 20 and n == parent.record["timesteps"]
    for name in set(theirs) - {"dones", "timeouts"}:
        assert np.array_equal(ours[name][:n], theirs[name]), name
    assert np.array_equal(ours["dones"][: n - 1], theirs["dones"][:-1])
    assert ours["dones"][n - 1] == 1 and ours["timeouts"][n - 1] >= 1 - theirs["dones"][-1]
    n_updates = 20 if parent.settings["algo"] == "sac" else 5  # DQN trains every fourth step
    assert counters(child)["_n_updates"] == n_updates and counters(child)["learning_starts"] == 0
    reason = f"{n} of {n} transitions, learning starts at once"
    assert replay_row(child) == ("loaded", reason) and table_row(done.out, "replay buffer", 2) == reason
    assert child.settings["norm"] == "freeze" and "dip" not in advice(child)


def test_buffer_is_left_out_where_it_is_not_among_the_parts(parent: Run, tmp_path: Path) -> None:
    sac = parent.settings["algo"] == "sac"
    parts = "policy,features,optimizer" + (",critic,entropy" if sac else "")
    child, _ = fine_tune(parent, "--load-parts", parts, "--num-timesteps", 20, log_dir=tmp_path)
    assert len(replay_of(child)["rewards"]) == 20
    assert replay_row(child) == ("left out", "not among --load-parts: the loaded policy fills it")
    assert counters(child)["learning_starts"] == parent.settings["hyperparam"]["learning_starts"]
    assert counters(child)["_n_updates"] == (15 if sac else 3)
    assert "expect the score to dip" in advice(child)


def test_mixed_buffer_stays_apart(parent: Run, tmp_path: Path) -> None:
    child, done = fine_tune(parent, "--replay-mix", 0.5, "--num-timesteps", 20, log_dir=tmp_path)
    theirs, kept = replay_of(parent), second_of(child)
    n = len(theirs["rewards"])
    assert kept.keys() == theirs.keys() and np.array_equal(kept["rewards"], theirs["rewards"])
    assert len(replay_of(child)["rewards"]) == 20 and counters(child)["learning_starts"] == 0
    assert table_row(done.out, "replay buffer", 2) == f"{n} transitions kept apart, 50 % of each batch"
    assert child.settings["replay_mix"] == 0.5


def test_retaining_by_replay_means_halves(pendulum: Run, tmp_path: Path) -> None:
    child, _ = fine_tune(pendulum, "--retain", "replay", "--num-timesteps", 10, log_dir=tmp_path)
    assert replay_row(child) == ("loaded", "60 transitions kept apart, 50 % of each batch")
    assert child.settings["replay_mix"] == 0.5 and len(second_of(child)["rewards"]) == 60
    state = json.loads((child.checkpoint("last") / "state" / "state.json").read_text())
    assert "retention" not in state["deciders"]


def test_one_environment_s_buffer_is_dealt_to_two(pendulum: Run, tmp_path: Path) -> None:
    child, _ = fine_tune(pendulum, "--n-envs", 2, "--num-timesteps", 20, log_dir=tmp_path)
    theirs, ours = replay_of(pendulum)["observations"], replay_of(child)
    assert ours["observations"].shape == (40, 2, 3)
    assert np.array_equal(ours["observations"][:30, 0], theirs[:30, 0])
    assert np.array_equal(ours["observations"][:30, 1], theirs[30:, 0])
    assert ours["dones"][:30].sum(axis=0).tolist() == ours["timeouts"][:30].sum(axis=0).tolist() == [1.0, 1.0]


def test_a_buffer_that_is_larger_than_the_run_s_gives_its_newest(pendulum: Run, tmp_path: Path) -> None:
    flags = ("--hyperparam", "buffer_size:40", "--num-timesteps", 4)
    child, done = fine_tune(pendulum, *flags, log_dir=tmp_path)
    assert table_row(done.out, "replay buffer", 2) == "40 of 60 transitions, learning starts at once"
    assert np.array_equal(replay_of(child)["rewards"][:36], replay_of(pendulum)["rewards"][-36:])


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--shape-reward",), "its rewards may be other ones (the reward is shaped here)"),
        (("--srl-model", "joints_position"), "the observations are other ones here"),
    ],
)
def test_buffer_of_another_task_is_left_out(flags: tuple[Any, ...], reason: str, kuka_sac: Run, tmp_path: Path) -> None:
    child, _ = fine_tune(kuka_sac, *flags, "--num-timesteps", 10, log_dir=tmp_path)
    assert replay_row(child) == ("left out", f"{reason}: the loaded policy fills a new one")
    assert len(replay_of(child)["rewards"]) == 10 and "expect the score to dip" in advice(child)


def test_buffer_of_other_observations_that_is_asked_for_is_refused(kuka_sac: Run) -> None:
    done = call(train, LOAD, f"{kuka_sac.path}@last", *QUICK, "--srl-model", "joints_position", "--replay-mix", 0.5)
    assert done.code == 2 and len(done.err.splitlines()) == 1
    assert "cannot be used: the spaces differ" in done.err


def test_buffer_of_another_env_is_used_where_it_is_asked_for(walk: Run, tmp_path: Path) -> None:
    flags = ("--env", "MountainCarContinuous-v0", "--num-timesteps", 10)
    child, _ = fine_tune(walk, *flags, log_dir=tmp_path / "default")
    reason = "its rewards may be other ones (the source's is of LoggedWalk-v0): the loaded policy fills a new one"
    assert replay_row(child) == ("left out", reason) and len(replay_of(child)["rewards"]) == 10
    parts = "policy,critic,features,optimizer,replay-buffer,entropy"
    child, _ = fine_tune(walk, *flags, "--load-parts", parts, log_dir=tmp_path / "asked")
    assert replay_row(child)[0] == "loaded" and len(replay_of(child)["rewards"]) == 70


@pytest.fixture(scope="module")
def kuka_sac(tmp_path_factory: pytest.TempPathFactory) -> Run:
    flags = ("--env", "KukaButtonGymEnv-v0", "-c", "--env-kwargs", "max_steps:20", "--num-timesteps", 30)
    log_dir = tmp_path_factory.mktemp("kuka_sac")
    return call_train(*flags, *SMALL_SAC, "--n-envs", 1, "--eval-freq", 0, "--memory-states", 0, log_dir=log_dir)[0]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Its best models are saved alone."""
    flags = ("--env", "LoggedWalk-v0", "--gym-packages", "toy_envs", "--num-timesteps", 60, "--min-episodes-save", 1)
    never = ("--save-interval", 10**6, "--eval-freq", 0, "--memory-states", 0, "--seed", 1)
    return call_train(*flags, *SMALL_SAC, *never, log_dir=tmp_path_factory.mktemp("walk"))[0]


def test_a_best_model_without_its_training_has_no_buffer(walk: Run, tmp_path: Path) -> None:
    step = next(step for step in walk.steps if step not in walk.resumable_steps)
    chosen = f"{walk.path}@step:{step}"
    child, done = call_train(LOAD, chosen, *QUICK, "--num-timesteps", 10, log_dir=tmp_path)
    assert replay_row(child) == ("left out", "the source has none: the loaded policy fills it")
    assert "expect the score to dip" in advice(child) and "expect the score to dip" in done.out
    refused = call(train, LOAD, chosen, *QUICK, "--replay-mix", 0.5)
    assert refused.code == 2 and "--replay-mix needs a replay buffer, and" in refused.err


class StopAtOnce:
    def at_boundary(self) -> None:
        raise StopTraining("before the first step", can_go_on=True)


def test_a_source_stopped_before_its_first_step_has_no_buffer(pendulum: Run, tmp_path: Path) -> None:
    stopped = set_up(pendulum, tmp_path / "stopped", load_parts=("policy,critic,features",))
    stopped.learn([StopAtOnce()], Outcome())
    stopped.close(Outcome())
    source = Run(stopped.folder.path)
    assert source.resumable_steps == [0]
    child, _ = fine_tune(source, "--num-timesteps", 10, log_dir=tmp_path)
    assert replay_row(child) == ("left out", "the source has none: the loaded policy fills it")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> SAC:
    return small_sac().learn(30)


@pytest.fixture
def foreign_zip(foreign: SAC, tmp_path: Path) -> Path:
    path = tmp_path / "foreign" / "model.zip"
    path.parent.mkdir()
    foreign.save(path)
    foreign.save_replay_buffer(path.parent / "replay_buffer.pkl")
    return path


FOREIGN = ("--env", "Pendulum-v1", "--n-envs", 1, *QUICK, *TINY, "--policy-kwargs", "net_arch:[8]")


def test_foreign_buffer_beside_a_zip_is_appended(foreign: SAC, foreign_zip: Path, tmp_path: Path) -> None:
    child, done = call_train(LOAD, foreign_zip, *FOREIGN, "--num-timesteps", 10, log_dir=tmp_path)
    assert table_row(done.out, "replay buffer", 2) == "30 of 30 transitions, learning starts at once"
    ours = replay_of(child)
    for name, array in chunked_arrays(foreign.replay_buffer).items():  # type: ignore[arg-type]
        if name not in ("dones", "timeouts"):
            assert np.array_equal(ours[name][:30], array[:30]), name
    assert ours["rewards"].shape == (40, 1)


class Stranger:
    """No class of Stable-Baselines3's."""


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, _: path.write_bytes(b"nonsense"), "replay_buffer.pkl"),
        (lambda path, _: path.write_bytes(path.read_bytes()[:-100]), "replay_buffer.pkl"),
        (lambda path, _: path.write_bytes(pickle.dumps({"pos": 3})), "no replay buffer: expected one of ReplayBuffer"),
        (lambda path, _: path.write_bytes(pickle.dumps(Stranger())), "Stranger, which is not loaded because it could"),
        (lambda path, buffer: setattr(buffer, "pos", 10**6), "200 slots, and its position is 1000000"),
        (lambda path, buffer: setattr(buffer, "rewards", buffer.rewards[:7]), "are of different lengths"),
        (lambda path, buffer: delattr(buffer, "actions"), "lacks actions, so it is of a version that is not read"),
        (lambda path, buffer: setattr(buffer, "dones", "none"), "dones is no array of numbers by slot"),
    ],
)
def test_broken_foreign_buffer_is_one_line(
    write: Any, message: str, foreign: SAC, foreign_zip: Path, tmp_path: Path
) -> None:
    path = foreign_zip.parent / "replay_buffer.pkl"
    buffer = pickle.loads(path.read_bytes())
    before = path.read_bytes()
    write(path, buffer)
    if path.read_bytes() == before:
        path.write_bytes(pickle.dumps(buffer))
    done = call(train, LOAD, foreign_zip, *FOREIGN, "--num-timesteps", 10, "--log-dir", tmp_path / "logs")
    assert done.code == 2 and not list(tmp_path.rglob("run.json")), done.out
    assert len(done.err.splitlines()) == 1 and done.err.startswith("error: ") and message in done.err, done.err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda buffer: setattr(buffer, "pos", 0),
            "of its 0 transitions, those of 1 environments, none can be dealt to 1 here",
        ),
        (lambda buffer: delattr(buffer, "next_observations"), "it keeps no next observations (optimize_memory_usage)"),
        (
            lambda buffer: setattr(buffer, "actions", buffer.actions.astype(int)),
            "its actions are whole numbers (1,), here fractions (1,)",
        ),
    ],
)
def test_foreign_buffer_that_does_not_fit_is_left_out_unless_asked_for(
    change: Any, reason: str, foreign_zip: Path, tmp_path: Path
) -> None:
    path = foreign_zip.parent / "replay_buffer.pkl"
    buffer = pickle.loads(path.read_bytes())
    change(buffer)
    path.write_bytes(pickle.dumps(buffer))
    child, _ = call_train(LOAD, foreign_zip, *FOREIGN, "--num-timesteps", 10, log_dir=tmp_path / "logs")
    fate, words = replay_row(child)
    assert fate == "left out" and words.startswith(reason) and words.endswith(": the loaded policy fills a new one")
    done = call(train, LOAD, foreign_zip, *FOREIGN, "--replay-mix", 0.5, "--log-dir", tmp_path / "refused")
    assert done.code == 2 and f"cannot be used: {reason}" in done.err and done.err.count("\n") == 1
