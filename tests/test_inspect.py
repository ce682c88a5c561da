"""``python -m rl_baselines.inspect``: what is told of a saved model, and whether it is so."""

import importlib
import json
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3 as sb3
import torch
from cli import Run, call, call_train, run_command, shared_run, table_row

from rl_baselines.inspect import main
from rl_baselines.model_facts import describe_networks


def inspected(*args: object) -> dict[str, Any]:
    """The one JSON object that inspect prints."""
    done = call(main, *args, "--json")
    assert (done.code, done.err) == (0, ""), done.err
    assert done.out.count("\n") == 1
    return json.loads(done.out)


@pytest.fixture
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "cartpole_ppo")


@pytest.fixture
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "pendulum_sac")


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    sb3.SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu").save(tmp_path / "stock.zip")
    return tmp_path / "stock.zip"


def test_networks_are_those_that_stable_baselines3_loads(cartpole: Run) -> None:
    facts = inspected(f"{cartpole.path}@last")
    policy = sb3.PPO.load(cartpole.checkpoint("last") / "model.zip", device="cpu").policy
    assert facts["n_parameters"] == sum(tensor.numel() for tensor in policy.parameters()) == 211
    shapes = {
        f"{network['part']}.{name}": tuple(shape)
        for network in facts["networks"]
        for name, shape in network["tensors"].items()
    }
    assert shapes == {name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
    parts = ["mlp_extractor.policy_net", "mlp_extractor.value_net", "action_net", "value_net"]
    assert [network["part"] for network in facts["networks"]] == parts
    assert [network["n_parameters"] for network in facts["networks"]] == [80, 80, 34, 17]


def test_parts_that_share_their_tensors_are_counted_once(tmp_path: Path) -> None:
    """As the features extractors of actor and critic do in the zips of on-policy algorithms."""
    weight, own = torch.zeros(4, 3), torch.zeros(4, 3)
    names = ("features_extractor.cnn.0.weight", "pi_features_extractor.cnn.0.weight", "critic.qf0.0.weight")
    torch.save(dict(zip(names, (weight, weight, own), strict=True)), tmp_path / "policy.pth")
    found = describe_networks({"policy": torch.load(tmp_path / "policy.pth", weights_only=True)})
    assert [(network["part"], network["shared_with"]) for network in found] == [
        ("features_extractor.cnn", None),
        ("pi_features_extractor.cnn", "features_extractor.cnn"),
        ("critic.qf0", None),
    ]


def test_facts_of_a_checkpoint(pendulum: Run) -> None:
    facts = inspected(f"{pendulum.path}@step:60")
    assert (facts["source"], facts["selection"]) == (str(pendulum.checkpoint(60)), "step:60")
    assert (facts["kind"], facts["run"], facts["algorithm"]) == ("checkpoint of a run", pendulum.id, "sac")
    assert (facts["environment"], facts["timesteps"], facts["parent"]) == ("Pendulum-v1", 60, None)
    assert facts["observation_space"] == pendulum.record["environment"]["observation_space"]
    assert facts["policy"] == "MlpPolicy: SACPolicy of stable_baselines3.sac.policies"
    rate = facts["learning_rate"]
    assert (rate["initial"], rate["root"], rate["decay"]) == (3e-4, 3e-4, "linear")
    assert {value for values in rate["left"].values() for value in values} == pendulum.learning_rates(60)
    assert 0 < rate["left"]["actor.optimizer"][0] < 1e-4
    adam = facts["optimizers"]["critic.optimizer"]
    moments = [name for name in pendulum.tensors(60) if name.startswith("critic.optimizer") and "/exp_avg" in name]
    assert (adam["kind"], adam["n_moments"], adam["moments"]) == ("Adam", len(moments), ["exp_avg", "exp_avg_sq"])
    assert facts["variables"]["log_ent_coef"] == pendulum.tensors(60)["pytorch_variables/log_ent_coef"].item()
    saved = json.loads((pendulum.checkpoint(60) / "vecnormalize.json").read_text())
    assert facts["statistics"]["form"] == "json"
    assert facts["statistics"]["n_observations"] == saved["observations"]["count"]
    assert facts["replay_buffer"] == {"present": True, "n_transitions": 60, "detail": ""}
    assert facts["versions"]["torch"] == torch.__version__ and facts["versions"]["python"].startswith("3.")
    assert "policy_class" in facts["passed_over"] and "gamma" not in facts["passed_over"]


def test_commands_it_names_do_what_it_says(cartpole: Run, tmp_path: Path) -> None:
    copy = tmp_path.joinpath("logs", *cartpole.path.parts[-4:])
    shutil.copytree(cartpole.path, copy, symlinks=True)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    uses = inspected(f"{copy}@step:192")["uses"]
    assert sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    assert [use["possible"] for use in uses.values()] == [True, True, True]
    assert uses["resumed"]["reason"] == "later checkpoints and records are set aside"
    short = ("--num-timesteps", 64, "--compare-episodes", 0, "--eval-freq", 0, "--best-by", "train")
    extra = {"enjoyed": ("-n", 1, "--json"), "fine-tuned": (*short, "--log-dir", tmp_path / "children"), "resumed": ()}
    for name in ("enjoyed", "fine-tuned", "resumed"):
        python, minus_m, module, *words = shlex.split(uses[name]["command"])
        done = call(importlib.import_module(module).main, *words, *extra[name])
        assert (python, minus_m, done.code) == ("python", "-m", 0), done.out + done.err
    assert Run(copy).record["resumes"][0]["timesteps"] == 192
    assert next((tmp_path / "children").glob("*/*/*/*/run.json")).is_file()


def test_a_finished_run_is_resumed_with_more_timesteps(cartpole: Run) -> None:
    use = inspected(f"{cartpole.path}@last")["uses"]["resumed"]
    planned = cartpole.record["steps_planned"]
    assert use["reason"] == "all its timesteps are done, --num-timesteps sets a larger number"
    assert use["command"].endswith(f"@step:{planned} --num-timesteps {2 * planned}")


def test_what_is_missing_is_said(cartpole: Run, tmp_path: Path) -> None:
    copy = tmp_path.joinpath("logs", *cartpole.path.parts[-4:])
    shutil.copytree(cartpole.path, copy, symlinks=True)
    damaged = copy / "checkpoints" / "000000128"
    arrays = damaged / "state" / "arrays.npz"
    content = bytearray(arrays.read_bytes())
    content[40] ^= 1
    arrays.write_bytes(content)
    assert inspected(damaged)["uses"]["resumed"] == {
        "possible": False,
        "reason": "the checkpoint is damaged: state/arrays.npz was changed",
        "command": "",
    }
    lone = tmp_path / "lone.zip"
    shutil.copy(copy / "last" / "model.zip", lone)
    facts = inspected(lone)
    assert (facts["kind"], facts["run"]) == ("zip of a run, outside of its folder", cartpole.id)
    assert facts["statistics"]["form"] == "missing"
    assert {name: use["possible"] for name, use in facts["uses"].items()} == dict.fromkeys(facts["uses"], False)
    assert facts["uses"]["enjoyed"]["reason"] == facts["statistics"]["detail"]
    assert "vecnormalize.json is missing" in facts["statistics"]["detail"]


def test_a_strangers_zip_needs_its_environment(stock: Path) -> None:
    facts = inspected(stock)
    assert (facts["kind"], facts["run"], facts["algorithm"]) == ("zip of Stable-Baselines3", None, "sac")
    assert facts["observation_space"] == "Box, shape [3], dtype float32, low [-1. -1. -8.], high [1. 1. 8.]"
    assert facts["learning_rate"] == {
        "initial": 3e-4,
        "root": 3e-4,
        "decay": None,
        "left": {"actor.optimizer": [3e-4], "critic.optimizer": [3e-4], "ent_coef_optimizer": [3e-4]},
    }
    assert facts["optimizers"]["actor.optimizer"]["n_moments"] == 0
    assert facts["versions"]["stable-baselines3"] == sb3.__version__
    assert facts["uses"]["fine-tuned"]["reason"] == "with --env"
    assert facts["uses"]["fine-tuned"]["command"].endswith("stock.zip --env ID")
    assert (facts["uses"]["resumed"]["possible"], facts["uses"]["resumed"]["command"]) == (False, "")


def test_people_can_read_it(pendulum: Run, stock: Path) -> None:
    done = call(main, pendulum.path)
    assert (done.code, done.err) == (0, "")
    assert table_row(done.out, "replay buffer") == "yes, 60 transitions"
    assert table_row(done.out, "parent") == "none: trained from scratch"
    assert table_row(done.out, "actor.mu", 2) == "17"
    assert "can be enjoyed: yes\n  python -m rl_baselines.enjoy " in done.out
    assert table_row(call(main, stock).out, "parent") == "unknown"


def test_a_fine_tune_names_its_parent_and_the_oldest_rate(cartpole: Run, tmp_path: Path) -> None:
    flags = ("--num-timesteps", 64, "--compare-episodes", 0, "--eval-freq", 0, "--best-by", "train")
    child, _ = call_train("--load-rl-model-path", f"{cartpole.path}@step:192", *flags, log_dir=tmp_path)
    facts = inspected("latest", "--log-dir", tmp_path)
    assert facts["run"] == child.id and facts["selection"] == "last, no best yet"
    assert (facts["parent"]["run"], facts["parent"]["timesteps"]) == (cartpole.id, 192)
    assert (facts["learning_rate"]["initial"], facts["learning_rate"]["root"]) == (2.5e-6, 2.5e-4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("modle.zip", None, "did you mean"), ("torn.zip", b"PK\x03\x04", "is not a complete zip file")],
)
def test_mistakes_are_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    (tmp_path / "model.zip").write_bytes(b"")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = call(main, tmp_path / name)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("error: ") and message in done.err


@pytest.mark.parametrize("verb", ["inspect", "lineage", "diff"])
def test_help_answers_at_once(verb: str, tmp_path: Path) -> None:
    run_command(f"rl_baselines.{verb}", "--help", folder=tmp_path)
    began = time.monotonic()
    done = run_command(f"rl_baselines.{verb}", "--help", folder=tmp_path)
    assert (done.code, done.err) == (0, "") and "--json" in done.out
    assert time.monotonic() - began < 1.5  # half a second, on a machine that does nothing else
