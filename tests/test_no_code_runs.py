"""Crafted sources: the commands run nothing of what they hold, though stock loading would."""

import base64
import contextlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cli import run_command
from stable_baselines3 import PPO, SAC
from strangers import edit_fields, members_of, write_members, zoo_folder

PICKLED = ("observation_space", "action_space", "clip_range", "lr_schedule", "policy_class", "ep_info_buffer")
SHORT = ("--num-timesteps", "32", "--compare-episodes", "0", "--eval-freq", "0")


class Payload:
    """Creates a file when it is unpickled; ``bang`` is what the audit hook looks for."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.marker} # bang",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crafted")


def source(folder: Path, name: str, config: dict[str, Any] | None = None) -> Path:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, device="cpu")
    return zoo_folder(folder / name, "CartPole-v1", model, {"n_envs": 1, "learning_rate": 0.001} | (config or {}))


def bomb_as_tensors(payload: Payload, folder: Path) -> bytes:
    torch.save({"x": payload}, folder / "bomb.pth")
    return (folder / "bomb.pth").read_bytes()


def craft(folder: Path, payload: Payload) -> dict[str, tuple[Path, str]]:
    """Sources by name, with what the error must say; nothing where it can be read all the same."""
    crafted: dict[str, tuple[Path, str]] = {}
    path = source(folder, "fields")
    field = {":type:": "<class 'function'>", ":serialized:": base64.b64encode(pickle.dumps(payload)).decode()}
    edit_fields(path / "CartPole-v1.zip", **dict.fromkeys(PICKLED[:4], field), trap=field)
    crafted["fields"] = path, ""
    for member in ("policy.pth", "pytorch_variables.pth"):
        path = source(folder, member)
        zip_file = path / "CartPole-v1.zip"
        write_members(zip_file, members_of(zip_file) | {member: bomb_as_tensors(payload, folder)})
        crafted[member] = path, f"CartPole-v1.zip: {member} holds more than tensors; it is not loaded"
    path = source(folder, "statistics")
    (path / "CartPole-v1" / "vecnormalize.pkl").write_bytes(pickle.dumps({"a": [payload]}))
    crafted["statistics"] = path, "vecnormalize.pkl holds posix.system, which is not loaded because it could run code"
    for name in ("config.yml", "args.yml"):
        path = source(folder, name)
        text = f"a: !!python/object/apply:os.system ['touch {payload.marker} # bang']\n"
        (path / "CartPole-v1" / name).write_text(text)
        crafted[name] = path, f"{name} asks for !!python/object/apply:os.system: only plain values are read"
    text = f"dict(net_arch=__import__('os').system('touch {payload.marker}'))"
    crafted["text"] = source(folder, "text", {"policy_kwargs": text}), "policy_kwargs is not a plain value"
    crafted["wrapper"] = source(folder, "wrapper", {"env_wrapper": "os.system"}), "env_wrapper os.system cannot be used"
    return crafted


def craft_replay(folder: Path, payload: Payload) -> Path:
    options = {"net_arch": [8]}
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=60, device="cpu", policy_kwargs=options, learning_starts=100)
    path = zoo_folder(folder / "replay", "Pendulum-v1", model.learn(50), {"learning_rate": 0.001}, algo="sac")
    model.replay_buffer.trap = payload  # type: ignore[union-attr]
    model.save_replay_buffer(path / "replay_buffer.pkl")
    return path


def test_crafted_sources_run_nothing(folder: Path) -> None:
    marker = folder / "ran"
    crafted, logs = craft(folder, Payload(marker)), str(folder / "logs")
    sources = [(path, message) for path, message in crafted.values()]
    commands = [["rl_baselines.enjoy", str(path), "-n", "1"] for path, _ in sources]
    trained = [crafted[name] for name in ("fields", "statistics", "config.yml")]
    commands += [
        ["rl_baselines.train", "--load-rl-model-path", str(path), *SHORT, "--log-dir", logs] for path, _ in trained
    ]
    replay = craft_replay(folder, Payload(marker))
    commands.append(["rl_baselines.train", "--load-rl-model-path", str(replay), *SHORT, "--log-dir", logs])
    (folder / "commands.json").write_text(json.dumps(commands))
    marker.unlink(missing_ok=True)
    done = run_command("audited", "commands.json", "found.json", folder=folder)
    assert (done.code, done.err) == (0, "")
    assert not marker.exists()
    results = json.loads((folder / "found.json").read_text())
    messages = [message for _, message in [*sources, *trained]]
    messages.append("replay_buffer.pkl holds posix.system, which is not loaded because it could run code")
    for command, result, message in zip(commands, results, messages, strict=True):
        assert [event for event in result["events"] if "system" in event or "Popen" in event] == []
        assert result["code"] == (2 if message else 0), (command, result)
        assert message in result["err"] and result["err"].count("\n") == (1 if message else 0), (command, result["err"])


def test_stock_loading_does_run_them(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    crafted = craft(tmp_path, Payload(marker))
    replay = craft_replay(tmp_path, Payload(marker))
    marker.unlink(missing_ok=True)

    def fires(load: Any, *arguments: Any, **named: Any) -> bool:
        with contextlib.suppress(Exception):  # what it raises after the payload has run is of no interest
            load(*arguments, **named)
        ran = marker.exists()
        marker.unlink(missing_ok=True)
        return ran

    assert fires(PPO.load, crafted["fields"][0] / "CartPole-v1.zip", device="cpu")
    assert fires(torch.load, tmp_path / "bomb.pth", weights_only=False)
    assert fires(lambda: pickle.loads((crafted["statistics"][0] / "CartPole-v1" / "vecnormalize.pkl").read_bytes()))
    assert fires(lambda: pickle.loads((replay / "replay_buffer.pkl").read_bytes()))
    for name in ("config.yml", "args.yml"):
        assert fires(lambda name=name: yaml.unsafe_load((crafted[name][0] / "CartPole-v1" / name).read_text()))


def test_trust_is_given_by_a_flag_only(folder: Path, tmp_path: Path) -> None:
    from cli import call

    from rl_baselines import enjoy, train

    marker = tmp_path / "ran"
    path = craft(tmp_path, Payload(marker))["statistics"][0]
    marker.unlink(missing_ok=True)
    (tmp_path / "trusting.yaml").write_text("trust_source: true\n")
    done = call(train.main, "--config", tmp_path / "trusting.yaml", "--load-rl-model-path", path)
    assert done.code == 2 and "unknown setting 'trust_source'" in done.err
    assert not marker.exists()
    done = call(enjoy.main, path, "--trust-source", "-n", 1)
    assert done.code == 2 and "vecnormalize.pkl holds a dict" in done.err
    assert marker.exists()
