"""What a run tells stands on its page of Weights & Biases, and a service that fails does a training no harm."""

import importlib.util
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli import CARTPOLE_PPO, Run, call, run_command, run_train
from PIL import Image

from rl_baselines.errors import UsageError
from rl_baselines.live import wandb_watcher
from rl_baselines.live.events import Matrix, Picture, Scalars, Text
from rl_baselines.live.events import Path as PathEvent
from rl_baselines.live.wandb_watcher import WandbWatcher, page_id
from rl_baselines.train import main as train

RUN_ID = "KukaButtonGymEnv-v0/ground_truth/ppo/26-11-21_14h49_24"
BLOCK = 32768
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package in offline mode, without any settings of the user."""
    import wandb

    wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    yield wandb
    wandb.teardown()


@pytest.fixture
def told() -> list[str]:
    """What was announced."""
    return []


def read_log(path: Path) -> Iterator[bytes]:
    """Yield the records of a file in LevelDB's log format, after a header of 7 bytes."""
    content, place, parts = path.read_bytes(), 7, b""
    while place < len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        data = content[place + 7 : place + 7 + length]
        parts = data if kind in (WHOLE, FIRST) else parts + data
        if kind in (WHOLE, LAST):
            yield parts
        place += 7 + length


def read_files(folder: Path) -> list[list[Any]]:
    """Return the records of each file of the package in a folder, the oldest first, when all is written."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # ends the process that writes them
    files = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    return [[Record.FromString(data) for data in read_log(path)] for path in files]


def rows(records: list[Any]) -> list[dict[str, Any]]:
    """Return what was logged, without what the package adds."""
    found = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            found.append({key: json.loads(value) for key, value in items.items() if not key.startswith("_")})
    return found


def config(records: list[Any]) -> dict[str, Any]:
    """Return the configuration at the end."""
    found: dict[str, Any] = {}
    for record in records:
        kind = record.WhichOneof("record_type")
        updates = record.run.config.update if kind == "run" else record.config.update if kind == "config" else ()
        found |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}
    return found


def test_figures_configuration_and_id_stand_in_the_file(tmp_path: Path, package: Any, told: list[str]) -> None:
    """All that is told is written, with timesteps as the axis of every curve."""
    watcher = WandbWatcher(RUN_ID, {"algo": "ppo", "gamma": 0.99}, tmp_path, announce=told.append)
    for i in range(600):
        watcher.put(Scalars(10 * i, {"train/loss": i / 8, "time/fps": 100.0}))
    watcher.put(Scalars(-50, {"parent/eval/mean_reward": float("nan"), "eval/mean_reward": float("inf")}))
    watcher.put(Text("configuration", "old"))
    watcher.put(Text("configuration", "a\n<script>b</script>"))
    watcher.close()
    (records,) = read_files(tmp_path)
    assert rows(records)[:600] == [{"train/loss": i / 8, "time/fps": 100.0, "timesteps": 10 * i} for i in range(600)]
    last = rows(records)[600]
    assert last.pop("timesteps") == -50
    assert {key: float(value) for key, value in last.items()} == {
        "parent/eval/mean_reward": pytest.approx(np.nan, nan_ok=True),
        "eval/mean_reward": np.inf,
    }
    stored = config(records)
    assert (stored["algo"], stored["gamma"]) == ("ppo", 0.99)
    assert stored["texts"] == {"configuration": "a\n<script>b</script>"}
    (run,) = {(r.run.run_id, r.run.project, r.run.display_name) for r in records if r.HasField("run")}
    assert run == (page_id(RUN_ID), "rl-baselines", RUN_ID)
    metrics = [record.metric for record in records if record.HasField("metric")]
    assert {(metric.name, metric.glob_name, metric.step_metric) for metric in metrics} >= {("", "*", "timesteps")}
    assert told == []
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").rglob("*.wandb"))


def test_pictures_paths_and_tables_are_images(tmp_path: Path, package: Any, told: list[str]) -> None:
    """A picture keeps its pixels; a path and a table are drawn."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :, 1] = 200
    watcher = WandbWatcher(RUN_ID, {}, tmp_path, announce=told.append)
    watcher.put(Picture(100, pixels))
    watcher.put(PathEvent(200, np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0]])))
    watcher.put(Matrix("Policies: A/B", "success", ("p",), ("e",), np.array([[0.5]])))
    watcher.close()
    assert told == []
    (records,) = read_files(tmp_path)
    values = {key: value for row in rows(records) for key, value in row.items()}
    found = {key.removesuffix("/path"): value for key, value in values.items() if key.endswith("/path")}
    assert set(found) == {"picture", "path", "matrix/Policies_ A_B"}
    (files,) = (tmp_path / "wandb").glob("offline-run-*/files")
    shown = {key: np.asarray(Image.open(files / value).convert("RGB")) for key, value in found.items()}
    np.testing.assert_array_equal(shown["picture"], pixels)
    assert shown["path"].shape == shown["matrix/Policies_ A_B"].shape == (540, 840, 3)
    assert [row["timesteps"] for row in rows(records)[:2]] == [100, 200]


def test_a_resumed_run_goes_on_with_its_page_and_loses_nothing(tmp_path: Path, package: Any, told: list[str]) -> None:
    """Timesteps told a second time, after a resume from an earlier checkpoint, are written again under the same id."""
    for resumed, steps in ((False, (100, 200, 300)), (True, (200, 300, 400))):
        watcher = WandbWatcher(RUN_ID, {"algo": "ppo"}, tmp_path, resumed=resumed, announce=told.append)
        for step in steps:
            watcher.put(Scalars(step, {"loss": float(resumed)}))
        watcher.close()
        time.sleep(1.1)  # the package names its folders by the second
    first, second = read_files(tmp_path)
    assert rows(first) == [{"loss": 0.0, "timesteps": step} for step in (100, 200, 300)]
    assert rows(second) == [{"loss": 1.0, "timesteps": step} for step in (200, 300, 400)]
    ids = {record.run.run_id for record in first + second if record.HasField("run")}
    assert ids == {page_id(RUN_ID)}
    assert told == []


@pytest.mark.parametrize("has_key", [True, False])
def test_without_service_or_login_all_is_kept_in_files(
    tmp_path: Path, package: Any, told: list[str], monkeypatch: pytest.MonkeyPatch, has_key: bool
) -> None:
    """An unreachable service is told of once; nothing waits for it, and what was told stands in files."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    if has_key:
        monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    monkeypatch.setattr(wandb_watcher, "INIT_TIMEOUT_S", 2.0)
    began = time.monotonic()
    watcher = WandbWatcher(RUN_ID, {}, tmp_path, announce=told.append)
    for i in range(100):
        watcher.put(Scalars(i, {"loss": 0.5}))
    assert time.monotonic() - began < 1
    watcher.close()
    (message,) = told
    assert message.startswith(f"Weights & Biases cannot be used, all is kept in {tmp_path / 'wandb'}: ")
    assert "\n" not in message
    assert ("No API key" in message) == (not has_key)
    (records,) = read_files(tmp_path)
    assert rows(records) == [{"loss": 0.5, "timesteps": i} for i in range(100)]


def fake_package(init: Any) -> Any:
    return SimpleNamespace(Error=OSError, Settings=dict, setup=lambda _: None, teardown=lambda: None, init=init)


def test_a_package_that_breaks_is_told_of_once(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the package raises, putting and closing go on without harm."""

    def log(row: Any) -> None:
        raise RuntimeError("broken\nin many lines")

    run = SimpleNamespace(define_metric=lambda *_, **__: None, log=log, finish=lambda: None)
    monkeypatch.setattr(wandb_watcher, "_package", lambda: fake_package(lambda **_: run))
    watcher = WandbWatcher(RUN_ID, {}, tmp_path, announce=told.append)
    for i in range(10):
        watcher.put(Scalars(i, {}))
    watcher.close()
    watcher.put(Scalars(11, {}))
    watcher.close()
    assert told == ["Weights & Biases failed and shows nothing further: broken"]


def test_a_package_that_hangs_blocks_nothing(tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Events beyond the capacity are left out, closing ends in bounded time, and the user is told once."""
    release = threading.Event()
    monkeypatch.setattr(wandb_watcher, "_package", lambda: fake_package(lambda **_: release.wait()))
    monkeypatch.setattr(wandb_watcher, "CLOSE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(wandb_watcher, "CAPACITY", 5)
    watcher = WandbWatcher(RUN_ID, {}, tmp_path, announce=told.append)
    began = time.monotonic()
    for i in range(20):
        watcher.put(Scalars(i, {}))
    watcher.close()
    assert 0.2 <= time.monotonic() - began < 1
    assert told == ["Weights & Biases takes events too slowly: some are left out"]
    release.set()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called wandb, such as the package leaves behind, does not pass for the package."""
    (tmp_path / "wandb").mkdir()
    kept = [path for path in sys.path if not (Path(path) / "wandb").is_dir()]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *kept])
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    with pytest.raises(UsageError, match=r'^Weights & Biases is not installed: pip install "rl-baselines\[wandb\]"'):
        WandbWatcher(RUN_ID, {}, tmp_path)


def test_page_ids_tell_runs_apart() -> None:
    """An id is the same each time, differs between runs, and has only letters that the service allows."""
    ids = [page_id(run_id) for run_id in (RUN_ID, RUN_ID.replace("/", "-"), 300 * "x", 301 * "x", "ä/<script>")]
    assert len(set(ids)) == 5
    assert page_id(RUN_ID) == ids[0]
    assert all(len(one) <= 128 and set(one) <= set("-_" + "".join(map(chr, range(48, 123)))) for one in ids)
    assert not set("".join(ids)) & set('/\\#?%:<>"')


@pytest.mark.slow
def test_a_training_and_its_resume_have_one_page(tmp_path: Path, package: Any) -> None:
    flags = (*CARTPOLE_PPO, "--no-vis", "--track", "wandb")
    run, _ = run_train(*flags, log_dir=tmp_path / "logs")
    done = run_command("rl_baselines.train", "--resume", run.path, "--num-timesteps", 800, folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    files = read_files(run.path)
    assert {r.run.run_id for records in files for r in records if r.HasField("run")} == {page_id(run.id)}
    assert config(files[0])["env"] == "CartPole-v1"
    logged = {row["timesteps"]: row["train/loss"] for row in rows(files[0]) if "train/loss" in row}
    recorded = {int(row["time/total_timesteps"]): row["train/loss"] for row in run.progress if row["train/loss"]}
    assert logged.keys() == {step for step in recorded if step <= 640}
    assert logged[256] == pytest.approx(float(recorded[256]))
    again = [row["timesteps"] for row in rows(files[1])]
    assert min(again) > 600 and max(again) == 832  # what the page knows is not told again
    assert [row["eval/mean_reward"] for row in rows(files[1]) if "eval/mean_reward" in row] == [
        pytest.approx(float(row["mean_reward"])) for row in Run(run.path).evaluations if int(row["timesteps"]) > 640
    ]


def test_without_the_package_nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = call(train, "--env", "CartPole-v1", "--track", "wandb", "--log-dir", tmp_path)
    assert done.code == 2 and done.err.startswith("error: Weights & Biases is not installed: pip install")
    assert not list(tmp_path.rglob("run.json"))
