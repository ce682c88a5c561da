"""``python -m rl_baselines.diff``: every setting that differs, and no other."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3 as sb3
from cli import Run, call, call_train, shared_run

from rl_baselines.config import from_flat, to_flat
from rl_baselines.diff import main


def diff(*args: object) -> dict[str, Any]:
    """The one JSON object that diff prints."""
    done = call(main, *args, "--json")
    assert (done.code, done.err) == (0, ""), done.err
    assert done.out.count("\n") == 1
    return json.loads(done.out)


@pytest.fixture
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "cartpole_ppo")


@pytest.fixture
def dqn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "cartpole_dqn")


def flat(run: Run) -> dict[str, Any]:
    """A run's settings with the entries of its mappings one by one."""
    found = {}
    for name, value in run.settings.items():
        entries = value.items() if isinstance(value, dict) else [(None, value)]
        found |= {name if key is None else f"{name}.{key}": part for key, part in entries}
    return found


def test_a_run_is_equal_to_itself_and_to_its_zip(cartpole: Run, tmp_path: Path) -> None:
    lone = shutil.copy(cartpole.checkpoint("last") / "model.zip", tmp_path / "lone.zip")
    for other in (f"{cartpole.path}@step:64", lone):
        found = diff(cartpole.path, other)
        assert (found["settings"], found["only_a"], found["only_b"]) == ({}, [], [])
        assert found["n_equal_settings"] == len(flat(cartpole))
    assert diff(cartpole.path, f"{cartpole.path}@last")["n_equal_facts"] > 10


def test_settings_that_differ_are_those_of_the_two_files(cartpole: Run, dqn: Run) -> None:
    found = diff(cartpole.path, dqn.path)
    a, b = flat(cartpole), flat(dqn)
    expected = {name: {"a": a.get(name), "b": b.get(name)} for name in a | b if a.get(name) != b.get(name)}
    assert found["settings"] == expected
    assert found["settings"]["algo"] == {"a": "ppo", "b": "dqn"}
    assert found["settings"]["hyperparam.n_steps"] == {"a": 32, "b": 1}
    assert found["settings"]["hyperparam.n_epochs"] == {"a": 2, "b": None}
    assert found["facts"]["steps_planned"] == {"a": 640, "b": dqn.record["steps_planned"]}
    assert found["n_equal_settings"] == len(a | b) - len(expected)


def test_a_fine_tune_against_its_parent(cartpole: Run, tmp_path: Path) -> None:
    flags = ("--num-timesteps", 64, "--compare-episodes", 0, "--eval-freq", 0, "--best-by", "train")
    child, _ = call_train("--load-rl-model-path", f"{cartpole.path}@last", *flags, log_dir=tmp_path)
    found = diff(cartpole.path, "latest", "--log-dir", tmp_path)["settings"]
    assert found["hyperparam.learning_rate"] == {"a": 2.5e-4, "b": 2.5e-6}
    assert found["load_rl_model_path"] == {"a": None, "b": str(cartpole.checkpoint("last"))}
    assert {"num_timesteps", "new_lr", "best_by", "eval_freq", "compare_episodes", "seed"} <= found.keys()
    assert not {"env", "algo", "hyperparam.n_steps", "policy_kwargs.net_arch", "norm_obs"} & found.keys()
    out = call(main, cartpole.path, child.path).out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert ["hyperparam.learning_rate", "0.00025", "2.5e-06"] in rows
    assert f"Settings: {len(found)} differ" in out


def test_settings_of_older_versions_have_their_defaults(cartpole: Run, tmp_path: Path) -> None:
    copy = tmp_path.joinpath(*cartpole.path.parts[-4:])
    shutil.copytree(cartpole.path, copy, symlinks=True)
    lines = (copy / "config.yaml").read_text().splitlines()
    (copy / "config.yaml").write_text("\n".join(line for line in lines if not line.startswith("num_stack")) + "\n")
    found = diff(cartpole.path, copy)
    assert (found["settings"], to_flat(from_flat({}))["num_stack"]) == ({}, 1)
    assert found["n_equal_settings"] == len(flat(cartpole))


def test_a_strangers_zip_tells_what_it_holds(cartpole: Run, tmp_path: Path) -> None:
    stock = tmp_path / "stock.zip"
    sb3.PPO("MlpPolicy", "CartPole-v1", gamma=0.9, n_steps=64, policy_kwargs={"net_arch": [16]}, device="cpu").save(
        stock
    )
    found = diff(cartpole.path, stock)
    assert found["settings"]["hyperparam.gamma"] == {"a": 0.99, "b": 0.9}
    assert found["settings"]["hyperparam.learning_rate"] == {"a": 2.5e-4, "b": 3e-4}
    assert "algo" not in found["settings"] and "policy_kwargs.net_arch" not in found["settings"]
    assert {"env", "seed", "norm_obs"} <= set(found["only_a"])
    assert "env" not in found["settings"] and found["facts"] == {}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["latest"], "error: both are latest, give two runs or models: python -m rl_baselines.diff RUN_A RUN_B\n"),
        (["stokc.zip", "stock.zip"], "did you mean {folder}/stock.zip?\n"),
        (["stock.zip", "text.zip"], "is not a complete zip file, so no Stable-Baselines3 model"),
        (["a", "b", "--jsno"], "unknown flag '--jsno'; did you mean --json?"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    sb3.A2C("MlpPolicy", "CartPole-v1", device="cpu").save("stock.zip")
    Path("text.zip").write_text("no zip")
    done = call(main, *args)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert message.format(folder=tmp_path) in done.err
