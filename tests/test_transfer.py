"""What a fine-tune loads, lays out anew, resets, holds still and trains more slowly, value by value."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
import toy_envs  # noqa: F401 - registers them
from cli import TINY, Finished, Run, call, call_train, differences, shared_run, table_row
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from rl_baselines.beginnings import begin
from rl_baselines.config import options_from_flat
from rl_baselines.errors import UsageError
from rl_baselines.train import main as train
from rl_baselines.train import plan_from
from rl_baselines.training import Outcome, TrainingRun
from rl_baselines.transfer.alignment import Alignment, element_names, identity_map, layout_of, match_elements
from rl_baselines.transfer.parts import matching_names, parse_parts, part_of
from rl_baselines.transfer.rate_scaling import scale_rates

LOAD = "--load-rl-model-path"
QUICK = ("--compare-episodes", 0, "--eval-freq", 0, "--best-by", "train", "--memory-states", 0)
KUKA = ("--env", "KukaButtonGymEnv-v0", "-c", "--env-kwargs", "max_steps:30", "--eval-freq", 0, *TINY)


def fine_tune(parent: Run, *flags: object, log_dir: Path, selection: str = "last") -> tuple[Run, Finished]:
    return call_train(LOAD, f"{parent.path}@{selection}", *QUICK, *flags, log_dir=log_dir)


def set_up(parent: Run, log_dir: Path, **given: Any) -> TrainingRun:
    """A fine-tune that is set up but not trained."""
    source = given.pop("selection", "last")
    settings = {"load_rl_model_path": f"{parent.path}@{source}", "log_dir": str(log_dir), "compare_episodes": 0}
    plan, merged = plan_from({**settings, "eval_freq": 0, "best_by": "train", **given})
    return begin(plan, options_from_flat(merged), [])


def fates(run: TrainingRun) -> dict[str, str]:
    assert run.transfer is not None
    return {component: fate for component, fate, _ in run.transfer.rows}


def policy(run: Run, name: str | int = "last") -> dict[str, Any]:
    tensors = run.tensors(name)
    return {key.removeprefix("policy/"): value for key, value in tensors.items() if key.startswith("policy/")}


def changed_names(one: Run, other: Run) -> set[str]:
    return {name.removeprefix("policy/") for name in differences(policy(one), policy(other))}


@pytest.fixture(scope="module")
def kuka_sac(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the arm's position relative to the button."""
    flags = ("--algo", "sac", "--hyperparam", "learning_starts:20", "batch_size:8", "--num-timesteps", 60)
    return call_train(*KUKA, *flags, "--n-envs", 1, log_dir=tmp_path_factory.mktemp("kuka_sac"))[0]


@pytest.fixture(scope="module")
def kuka_ppo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    flags = ("--n-envs", 2, "--hyperparam", "n_steps:32", "n_epochs:2", "--num-timesteps", 128)
    return call_train(*KUKA, *flags, log_dir=tmp_path_factory.mktemp("kuka_ppo"))[0]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("mlp_extractor.policy_net.0.weight", "policy"),
        ("mlp_extractor.value_net.0.weight", "critic"),
        ("value_net.bias", "critic"),
        ("log_std", "policy"),
        ("pi_features_extractor.cnn.0.weight", "features"),
        ("critic.features_extractor.cnn.0.weight", "features"),
        ("critic_target.qf0.0.weight", "critic"),
        ("actor.mu.weight", "policy"),
        ("lstm_critic.weight_ih_l0", "critic"),
        ("q_net.q_net.0.weight", "policy"),
    ],
)
def test_every_parameter_belongs_to_a_part(name: str, part: str) -> None:
    assert part_of(name) == part


def test_parts_are_read_with_commas_and_spaces() -> None:
    assert parse_parts(["critic,policy", "entropy"]) == ("policy", "critic", "entropy")
    assert parse_parts([]) == ("policy", "critic", "features", "optimizer", "normalizer", "replay-buffer", "entropy")
    with pytest.raises(UsageError, match="unknown part of a model 'critics'; did you mean 'critic'"):
        parse_parts(["critics"])


def test_patterns_name_parts_prefixes_and_shells() -> None:
    names = ["actor.mu.weight", "actor.mu.bias", "critic.qf0.0.weight"]
    assert matching_names(names, ["critic"]) == ["critic.qf0.0.weight"]
    assert matching_names(names, ["actor.mu"]) == names[:2]
    assert matching_names(names, ["*.weight"]) == [names[0], names[2]]
    with pytest.raises(UsageError, match="--freeze: unknown parameter or part 'actor.mu.weigth'; did you mean"):
        matching_names(names, ["actor.mu.weigth"])


def test_only_the_parts_asked_for_are_loaded(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    run = set_up(parent, tmp_path, load_parts=("policy",))
    own = run.model.policy.state_dict()
    same = {name for name, tensor in policy(parent).items() if torch.equal(own[name], tensor)}
    assert same == {name for name in own if part_of(name) == "policy"} and len(same) == 4
    assert run.model.policy.optimizer.state_dict()["state"] == {}
    found = fates(run)
    assert (found["policy"], found["critic"], found["optimizer"]) == ("loaded", "reset", "reset")
    assert run.config.fine_tuning.critic_warmup == "auto"
    run.close(Outcome())


def test_moments_come_with_the_parameters_that_they_belong_to(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    run = set_up(parent, tmp_path, load_parts=("policy,optimizer",))
    optimizer = run.model.policy.optimizer
    tensors = parent.tensors()
    names = [name for name, _ in run.model.policy.named_parameters()]
    for index, (name, parameter) in enumerate(run.model.policy.named_parameters()):
        moments = optimizer.state.get(parameter)
        assert (moments is not None) == (part_of(name) == "policy")
        if moments is not None:
            assert torch.equal(moments["exp_avg"], tensors[f"policy.optimizer/state/{index}/exp_avg"])
    assert len(names) == 8 and len(optimizer.state) == 4
    run.close(Outcome())


def test_reset_optimizer_forgets_the_moments(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "pendulum_sac")
    run = set_up(parent, tmp_path, reset_optimizer=True)
    assert not run.model.actor.optimizer.state and not run.model.critic.optimizer.state
    assert torch.equal(run.model.actor.mu.weight, policy(parent)["actor.mu.weight"])
    run.close(Outcome())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--load-parts", "normalizer"), "loads no parameters: name policy, critic or features too"),
        (("--load-parts", "policy,replay-buffer"), "needs an off-policy algorithm, ppo has no replay buffer"),
        (("--load-parts", "policy,entropy"), "--load-parts entropy: .* has none; leave it out"),
        (("--load-parts", "polcy"), "unknown part of a model 'polcy'; did you mean 'policy'"),
        (("--load-parts", "policy,optimizer", "--reset-optimizer"), "contradict each other"),
        (("--replay-mix", 0.5), "--replay-mix needs an off-policy algorithm"),
        (("--replay-mix", 1.5), "a share between 0 and 1, got 1.5"),
        (("--freeze-until", 5), "give --freeze too"),
        (("--freeze", "polic"), "unknown parameter or part 'polic'; did you mean 'policy'"),
        (("--critic-warmup", "long"), "--critic-warmup expects auto, off or a number of steps, got long"),
        (("--reset-std",), "--reset-std needs a policy with a standard deviation of its own"),
        (("--lr-scale", "actor:.1"), "--lr-scale actor: no optimiser of this model trains such a part; there are "),
        (("--lr-scale", "policy:fast"), "--lr-scale policy expects a number, got 'fast'"),
        (("--lr-scale", "policy:-1"), "--lr-scale policy must be a number of at least 0, got -1"),
        (("--lr-scale", "policy:.inf"), "--lr-scale policy must be a number of at least 0, got inf"),
        (("--load-parts", ","), "--load-parts names no part; there are policy, critic, features"),
        (("--lr-warmup", 10_000), "--lr-warmup 10000 is longer than the run of"),
        (("--policy-kwargs", "net_arch:[24]"), r"has shape \(16, 4\) in the source and \(24, 4\) in this run"),
        (("--policy-kwargs", "net_arch:[16,16]"), "is in this run but not in the source"),
        (("--no-norm-obs", "--norm", "keep"), "this run normalizes nothing"),
        (("--retain", "bcc"), "invalid choice 'bcc' for argument '--retain'"),
        (("--retain-coef", 0.5), "--retain-coef and --retain-decay are of a retention: give --retain too"),
        (("--retain", "ewc", "--retain-coef", -1), "--retain-coef must not be negative"),
        (("--algo", "trpo"), "is a model of ppo, --algo trpo cannot continue it"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    flags: tuple[object, ...], message: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    done = call(train, LOAD, parent.path, *QUICK, "--num-timesteps", 64, *flags, "--log-dir", tmp_path)
    assert done.code == 2 and not list(tmp_path.rglob("run.json"))
    lines = done.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    with pytest.raises(UsageError, match=message):
        raise UsageError(lines[0])


def test_networks_with_batch_statistics_cannot_stand_still(tmp_path: Path) -> None:
    flags = ("--env", "Pendulum-v1", "--algo", "crossq", "--hyperparam", "learning_starts:5", "batch_size:8", *TINY)
    parent, _ = call_train(*flags, "--num-timesteps", 20, "--eval-freq", 0, log_dir=tmp_path / "parent")
    for flags, message in (
        (("--freeze", "policy"), "--freeze does not go with crossq: the batch statistics of its networks would go on"),
        (("--critic-warmup", 10), "--critic-warmup does not go with crossq: the batch statistics of its networks"),
    ):
        done = call(train, LOAD, f"{parent.path}@last", *flags, "--log-dir", tmp_path / "child")
        assert done.code == 2 and message in done.err and len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    "flags",
    [
        *(("--freeze", "policy"), ("--retain", "kl"), ("--reset-std",), ("--norm", "keep"), ("--compare-episodes", 9)),
    ],
)
def test_settings_of_a_fine_tune_are_refused_from_scratch(flags: tuple[object, ...], tmp_path: Path) -> None:
    done = call(train, "--env", "CartPole-v1", *flags, "--log-dir", tmp_path)
    assert done.code == 2 and done.err == (
        f"error: {flags[0]} is of a fine-tune: name what it starts from with --load-rl-model-path\n"
    )


def test_frozen_parameters_stay_the_same_to_the_last_bit(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--new-lr", 0.01, "--num-timesteps", 128, "--save-interval", 64, "--keep-checkpoints", 0)
    child, done = fine_tune(parent, *flags, "--freeze", "mlp_extractor.policy_net", "value_net.*", log_dir=tmp_path)
    frozen = {"mlp_extractor.policy_net.0.weight", "mlp_extractor.policy_net.0.bias", "value_net.weight"}
    frozen |= {"value_net.bias"}
    assert changed_names(parent, child) == set(policy(parent)) - frozen
    assert "to the end: mlp_extractor.policy_net.0.weight" in table_row(done.out, "frozen", 2)


def test_frozen_parameters_are_trained_after_the_step_named(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--new-lr", 0.01, "--num-timesteps", 192, "--save-interval", 64, "--keep-checkpoints", 0)
    child, _ = fine_tune(parent, *flags, "--freeze", "policy", "--freeze-until", 128, log_dir=tmp_path)
    names = {name for name in policy(parent) if part_of(name) == "policy"}
    before, after = policy(child, 128), policy(child, 192)
    assert all(torch.equal(before[name], policy(parent)[name]) for name in names)
    assert not any(torch.equal(after[name], before[name]) for name in names)


@pytest.mark.parametrize("name", ["cartpole_ppo", "pendulum_sac"])
def test_actor_stands_still_while_the_critic_warms_up(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, name)
    n = 128 if name == "cartpole_ppo" else 20
    flags = ("--new-lr", 0.01, "--num-timesteps", 2 * n, "--save-interval", n // 2, "--keep-checkpoints", 0)
    child, done = fine_tune(parent, *flags, "--critic-warmup", n, log_dir=tmp_path)
    start, middle, end = policy(parent), policy(child, n), policy(child, 2 * n)
    acting = {key for key in start if part_of(key) == "policy"}
    assert all(torch.equal(start[key], middle[key]) for key in acting)
    assert not any(torch.equal(middle[key], end[key]) for key in acting)
    learning = {key for key in start if part_of(key) == "critic" and "target" not in key}
    assert not any(torch.equal(start[key], middle[key]) for key in learning)
    if name == "pendulum_sac":
        entropies = [run.tensors(at)["pytorch_variables/log_ent_coef"] for run, at in ((parent, "last"), (child, n))]
        assert torch.equal(*entropies)
        assert not torch.equal(entropies[1], child.tensors(2 * n)["pytorch_variables/log_ent_coef"])
    assert table_row(done.out, "critic warm-up", 2) == f"only the critic is trained until step {n}"


def test_critic_of_other_returns_begins_anew_and_warms_up(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    run = set_up(parent, tmp_path, hyperparam={"gamma": 0.9})
    assert run.transfer is not None and run.freezing is not None and run.freezing.is_warming_up
    row = next(row for row in run.transfer.rows if row[0] == "critic")
    assert row == ("critic", "reset", "it would foretell other returns: gamma was 0.99, here 0.9")
    run.close(Outcome())


def test_std_is_reset_to_its_start(tmp_path: Path, kuka_ppo: Run) -> None:
    run = set_up(kuka_ppo, tmp_path, reset_std=True)
    parameter = run.model.policy.log_std
    assert parameter.tolist() == [0.0, 0.0, 0.0] and policy(kuka_ppo)["log_std"].tolist() != [0.0, 0.0, 0.0]
    assert parameter not in run.model.policy.optimizer.state
    assert run.model.policy.action_net.weight in run.model.policy.optimizer.state
    run.close(Outcome())


@pytest.mark.parametrize(("given", "value"), [("0.5", 0.5), ("auto_0.3", 0.3)])
def test_entropy_coefficient_asked_for_is_the_one_used(
    given: str, value: float, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "pendulum_sac")
    run = set_up(parent, tmp_path, ent_coef=given)
    if given == "0.5":
        assert run.model.ent_coef_optimizer is None and float(run.model.ent_coef_tensor) == value
    else:
        assert float(run.model.log_ent_coef.detach().exp()) == pytest.approx(value, rel=1e-6)
    assert fates(run)["entropy"] == "reset"
    run.close(Outcome())


@pytest.mark.parametrize("norm", ["keep", "freeze", "adapt", "fresh"])
def test_statistics_are_kept_frozen_adapted_or_fresh(
    norm: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    path = parent.checkpoint("last") / "vecnormalize.json"
    saved = json.loads(path.read_text())["observations"]
    child, _ = fine_tune(parent, "--norm", norm, "--num-timesteps", 128, log_dir=tmp_path)
    now = json.loads((child.checkpoint("last") / "vecnormalize.json").read_text())["observations"]
    n_seen = 128 + 2  # the first observations of two environments count too
    if norm == "freeze":
        assert now == saved
    elif norm == "fresh":
        assert now["count"] == pytest.approx(n_seen + 1e-4)
    else:
        assert now["count"] == pytest.approx(saved["count"] + n_seen)


def test_statistics_that_adapt_count_for_little(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from rl_baselines.transfer import loading

    capped = loading._with_count_capped({"observations": {"mean": [1.0], "count": 5e6}, "returns": {"count": 30.0}})
    assert capped == {"observations": {"mean": [1.0], "count": 10_000}, "returns": {"count": 30.0}}


def test_elements_are_matched_by_name() -> None:
    mapped = match_elements("observation", ["a", "b", "c"], ["c", "x", "a", "y"])
    assert mapped.sources == (2, None, 0, None) and mapped.added == ("x", "y") and mapped.dropped == ("b",)
    assert match_elements("observation", ["a", "b"], ["a", "b"]).is_identity
    renamed = match_elements("observation", ["arm_from_ball_x", "joint"], ["arm_from_button_x", "joint"])
    assert renamed.is_identity and renamed.renamed == [("arm_from_ball_x", "arm_from_button_x")]
    assert match_elements("observation", ["a", "b"], ["b", "a"]).sources == (1, 0)
    with pytest.raises(UsageError, match="no observation of the source is one of this run: it has a, b, here there"):
        match_elements("observation", ["a", "b"], ["x", "y", "z"])


def test_names_of_stacked_elements_tell_their_age() -> None:
    class Named(gym.Env[Any, Any]):
        observation_space, action_space = spaces.Box(-1, 1, (4,)), spaces.Discrete(2)
        feature_names, action_names = ("x", "v"), ()

    env = DummyVecEnv([Named])
    assert element_names(env, "observation") == ("x 1 back", "v 1 back", "x", "v")
    assert element_names(env, "action") is None


@pytest.mark.parametrize("is_permuted", [False, True])
@pytest.mark.parametrize("cls", [sb3.PPO, sb3.A2C, sb3.SAC, sb3.TD3])
def test_padded_policy_starts_as_the_same_function(cls: Any, is_permuted: bool) -> None:
    """New observations and a new action change nothing, exactly; in another order sums are rounded otherwise."""
    names = (
        (["n", "c", "a", "m", "b"], ["v", "w", "u"]) if is_permuted else (["a", "b", "c", "m", "n"], ["u", "v", "w"])
    )
    box = lambda n: spaces.Box(-1, 1, (n,), np.float32)  # noqa: E731

    class Box(gym.Env[Any, Any]):
        def __init__(self, n_observations: int, n_actions: int) -> None:
            self.observation_space, self.action_space = box(n_observations), box(n_actions)

    old = cls("MlpPolicy", DummyVecEnv([lambda: Box(3, 2)]), policy_kwargs={"net_arch": [16]}, device="cpu", seed=1)
    new = cls("MlpPolicy", DummyVecEnv([lambda: Box(5, 3)]), policy_kwargs={"net_arch": [16]}, device="cpu", seed=2)
    observation = match_elements("observation", ["a", "b", "c"], names[0])
    action = match_elements("action", ["u", "v"], names[1])
    alignment = Alignment(layout_of(new.policy), observation, action)
    tensors = {}
    for name, tensor in new.policy.state_dict().items():
        source = old.policy.state_dict()[name]
        tensors[name] = alignment.lay_out(name, source, tensor) if alignment.follows(name) else source
    new.policy.load_state_dict(tensors)

    generator = torch.Generator().manual_seed(0)
    batch = torch.rand((50, 5), generator=generator) * 2 - 1
    old_batch = batch[:, [names[0].index(name) for name in "abc"]].contiguous()
    kept, added = [names[1].index(name) for name in "uv"], names[1].index("w")
    tolerance = 1e-6 if is_permuted else 0.0
    with torch.no_grad():
        actions, old_actions = new.policy._predict(batch, True), old.policy._predict(old_batch, True)
        assert (actions[:, kept] - old_actions).abs().max() <= tolerance and not actions[:, added].any()
        if cls in (sb3.SAC, sb3.TD3):
            pairs = zip(new.critic(batch, actions), old.critic(old_batch, old_actions), strict=True)
        else:
            pairs = [(new.policy.predict_values(batch), old.policy.predict_values(old_batch))]
        assert all((value - other).abs().max() <= tolerance for value, other in pairs)


def test_identity_maps_move_nothing() -> None:
    space = spaces.Box(-1, 1, (3,), np.float32)
    assert identity_map("observation", space).is_identity and identity_map("action", spaces.Discrete(4)).is_identity


@pytest.mark.parametrize("fixture", ["kuka_ppo", pytest.param("kuka_sac", marks=pytest.mark.slow)])
def test_new_sensors_change_nothing_at_first(fixture: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Through the command: joints are added to the position; scores before are those of the parent, exactly."""
    parent: Run = request.getfixturevalue(fixture)
    flags = ("--srl-model", "joints_position", "--num-timesteps", 64, "--compare-episodes", 2, "--eval-freq", 0)
    child, done = call_train(LOAD, f"{parent.path}@last", *flags, log_dir=tmp_path)
    reference, _ = call_train(LOAD, f"{parent.path}@last", *flags[2:], log_dir=tmp_path / "same")
    scores = [run.record["comparisons"]["before"]["mean_reward"] for run in (child, reference)]
    assert done.code == 0 and scores[0] == scores[1]
    mapping = table_row(done.out, "observation space", 2)
    assert mapping.startswith("3 of 17 elements by name; new, without effect at first: lbr_iiwa_joint_1, ")
    plan = json.loads((child.path / "plan.json").read_text())
    padded = {row["component"] for row in plan["components"] if row["fate"] == "padded"}
    assert padded == {"observation space", "policy", "critic"}
    # the same task with other sensors is no other environment
    assert json.loads((child.path / "comparison.json").read_text())["old"] is None


def test_learning_rate_of_a_part_is_a_multiple() -> None:
    """One step of Adam moves a parameter at .1 of the rate a tenth as far; the zip's optimiser is an ordinary one."""
    moved = {}
    for factor in (1.0, 0.1, 0.0):
        model = sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=64, n_epochs=1, batch_size=64, seed=0, device="cpu")
        start = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
        scale_rates(model, {"critic": factor})
        model.learn(64)
        end = model.policy.state_dict()
        moved[factor] = {name: end[name] - start[name] for name in start}
        assert len(model.policy.optimizer.state_dict()["param_groups"]) == 1
    for name in moved[1.0]:
        if part_of(name) == "critic":
            assert torch.allclose(moved[0.1][name], 0.1 * moved[1.0][name], atol=1e-7)
            assert not moved[0.0][name].any() and moved[1.0][name].any()
        else:
            assert torch.equal(moved[0.1][name], moved[1.0][name])


@pytest.mark.parametrize("algo", ["trpo", "ars"])
def test_rates_of_parts_need_an_optimiser_from_scratch_too(algo: str, tmp_path: Path) -> None:
    done = call(train, "--env", "CartPole-v1", "--algo", algo, "--lr-scale", "policy:.5", "--log-dir", tmp_path)
    assert done.code == 2 and not list(tmp_path.rglob("run.json"))
    assert done.err == (
        f"error: --lr-scale does not go with {algo}, which moves its policy otherwise than by an optimiser\n"
    )


def test_learning_rate_rises_over_its_warm_up(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--new-lr", 0.008, "--lr-decay", "constant", "--lr-warmup", 256, "--num-timesteps", 384)
    child, done = fine_tune(parent, *flags, log_dir=tmp_path)
    rates = [float(row["train/learning_rate"]) for row in child.progress if row.get("train/learning_rate")]
    expected = [0.008 * min(1.0, k / 4) for k in range(1, 7)]
    assert rates == pytest.approx(expected[: len(rates)]) and len(rates) >= 5
    assert "rising over 256 timesteps" in table_row(done.out, "learning rate")
