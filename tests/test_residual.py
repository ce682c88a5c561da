"""Residual fine-tuning: the parent stays as it is inside the child, and what is learnt is a correction to it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cli import TINY, Run, call, call_train, shared_run, table_row

from rl_baselines.enjoy import main as enjoy
from rl_baselines.train import main as train
from rl_baselines.transfer.residual import chains_of, widened_net_arch

LOAD = "--load-rl-model-path"
PENDULUM = ("--env", "Pendulum-v1", "--num-timesteps", 60, "--eval-freq", 0, *TINY)
OFF_POLICY = ("--hyperparam", "learning_starts:5", "batch_size:8", "buffer_size:300")
PARENTS: dict[str, tuple[Any, ...]] = {
    "ppo": (*PENDULUM, "--n-envs", 2, "--hyperparam", "n_steps:32", "n_epochs:2"),
    "ppo with state-dependent noise": (*PENDULUM, "--n-envs", 2, "--hyperparam", "n_steps:32", "use_sde:true"),
    "sac": (*PENDULUM, "--algo", "sac", *OFF_POLICY),
    "td3": (*PENDULUM, "--algo", "td3", *OFF_POLICY),
}


def policy(run: Run) -> dict[str, Any]:
    return {
        name.removeprefix("policy/"): tensor for name, tensor in run.tensors().items() if name.startswith("policy/")
    }


def assert_parent_inside(parent: dict[str, Any], child: dict[str, Any]) -> None:
    """The parent's units are in the child to the last bit, and read nothing but each other."""
    there, here = chains_of(parent)[0], chains_of(child)[0]  # a target network follows its actor slowly
    for index, layer in enumerate(there.hidden):
        n, weight = len(parent[f"{layer}.bias"]), child[f"{layer}.weight"]
        n_inputs = parent[f"{layer}.weight"].shape[1]
        assert len(weight) == 2 * n and torch.equal(weight[:n, :n_inputs], parent[f"{layer}.weight"])
        assert not (index and weight[:n, n_inputs:].any())
        assert torch.equal(child[f"{layer}.bias"][:n], parent[f"{layer}.bias"])
    for head in here.heads:
        weight = parent[f"{head}.weight"]
        assert torch.equal(child[f"{head}.weight"][:, : weight.shape[1]], weight)


SLOW_PARENTS = ("ppo with state-dependent noise", "td3", "sac")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_PARENTS else name for name in PARENTS]
)
def test_correction_starts_at_zero_and_the_parent_stays(name: str, tmp_path: Path) -> None:
    parent, _ = call_train(*PARENTS[name], log_dir=tmp_path / "parent")
    flags = (LOAD, f"{parent.path}@last", "--eval-freq", 0, "--compare-episodes", 3, "--new-lr", 0.01)
    plain, _ = call_train(*flags, "--num-timesteps", 64, log_dir=tmp_path / "plain")
    child, done = call_train(*flags, "--residual", "--num-timesteps", 64, log_dir=tmp_path / "child")
    before = [run.record["comparisons"]["before"]["mean_reward"] for run in (plain, child)]
    assert before[0] == pytest.approx(before[1], rel=1e-6)  # sums over wider layers are rounded otherwise
    assert "zero at first" in table_row(done.out, "residual", 2)

    start, end = policy(parent), policy(child)
    assert_parent_inside(start, end)
    heads = [head for chain in chains_of(end) for head in chain.heads]
    assert all(end[f"{head}.weight"][:, start[f"{head}.weight"].shape[1] :].any() for head in heads)  # it has learnt
    critics = [key for key in start if ("value_net" in key or "critic." in key) and key.endswith("weight")]
    assert critics and all(end[key].shape == start[key].shape for key in critics)
    assert not any(torch.equal(end[key], start[key]) for key in critics)
    assert child.settings["policy_kwargs"]["net_arch"]["pi"] == [32] and child.settings["residual"]

    assert call(enjoy, child.path, "-n", 1).code == 0
    grandchild, _ = call_train(
        LOAD, f"{child.path}@last", "--num-timesteps", 64, "--eval-freq", 0, log_dir=tmp_path / "g"
    )
    assert policy(grandchild)[f"{heads[0]}.weight"].shape == end[f"{heads[0]}.weight"].shape
    assert not grandchild.settings["residual"]


def test_correction_may_see_what_the_parent_does_not(tmp_path: Path) -> None:
    kuka = (
        "--env",
        "KukaButtonGymEnv-v0",
        "-c",
        "--env-kwargs",
        "max_steps:30",
        "--n-envs",
        2,
        "--eval-freq",
        0,
        *TINY,
    )
    parent, _ = call_train(*kuka, "--hyperparam", "n_steps:32", "--num-timesteps", 64, log_dir=tmp_path / "parent")
    flags = (LOAD, f"{parent.path}@last", "--residual", "--srl-model", "joints_position", "--new-lr", 0.01)
    child, _ = call_train(*flags, "--num-timesteps", 64, "--compare-episodes", 0, log_dir=tmp_path / "child")
    start, end = policy(parent)["mlp_extractor.policy_net.0.weight"], policy(child)["mlp_extractor.policy_net.0.weight"]
    assert start.shape == (16, 3) and end.shape == (32, 17)
    assert torch.equal(end[:16, :3], start) and not end[:16, 3:].any() and bool((end[16:] != 0).all())


def test_net_arch_is_doubled_for_the_actor_only() -> None:
    shapes = {
        "mlp_extractor.policy_net.0": (8, 3),
        "mlp_extractor.policy_net.2": (6, 8),
        "mlp_extractor.value_net.0": (5, 3),
        "action_net": (2, 6),
        "value_net": (1, 5),
    }
    parameters = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    assert widened_net_arch("ppo", parameters) == {"pi": [16, 12], "vf": [5]}


@pytest.mark.parametrize("name", ["cartpole_dqn"])
def test_policies_without_an_actor_of_their_own_are_refused(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, name)
    done = call(train, LOAD, parent.path, "--residual", "--log-dir", tmp_path)
    assert done.code == 2 and done.err.startswith("error: --residual needs an actor of linear layers with hidden units")
