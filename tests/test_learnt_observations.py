"""Policies that observe learnt states: what they see, what travels with them, and what does not belong together."""

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from cli import Run, call, call_train, differences, read_csv, run_train
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from worlds import record_world, square_picture

from environments.dataset import Dataset
from environments.dataset_generator import main as generate
from rl_baselines import cross_eval, enjoy
from rl_baselines import train as rl_train
from rl_baselines.representations import EncodedVecEnv
from state_representation import train
from state_representation.model import StateModel

MOBILE = ("--env", "MobileRobotGymEnv-v0", "-r", "--env-kwargs", "max_steps:20")
SHORT = ("--n-envs", 2, "--hyperparam", "n_steps:16", "n_epochs:1", "--torch-threads", 1, "--no-vis")


class World(gym.Env[np.ndarray, int]):
    """Pictures 16 x 16 of a point that moves to the right; over after three steps."""

    observation_space = spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.n_steps = self.np_random.uniform(0, 0.5, 2), 0
        return square_picture(self.place), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place, self.n_steps = self.place + (0, 0.1), self.n_steps + 1
        return square_picture(self.place), 1.0, self.n_steps == 3, False, {}


def make_model(folder: Path, *args: object, data: Path | None = None) -> Path:
    """A representation that is made in an instant; of the world, or of recorded pictures."""
    if data is None:
        data = folder.with_name(f"{folder.name}_data")
        record_world(data, n_episodes=2, n_steps=3)
    done = call(
        train.main, "--data-folder", data, "--log-folder", folder, "--losses", "random", "--state-dim", 4, *args
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A representation of the mobile robot's pictures, 16 x 16."""
    folder = tmp_path_factory.mktemp("mobile")
    done = call(
        generate,
        *MOBILE[:3],
        "--env-kwargs",
        "image_size:16",
        "max_steps:6",
        "--num-episode",
        2,
        "--save-path",
        folder,
        "--name",
        "data",
    )
    assert done.code == 0, done.err
    return make_model(folder / "model", "--encoder", "mlp", data=folder / "data")


@pytest.fixture(scope="module")
def trained(mobile: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A policy that observes by it. Tests must not change it."""
    args = (*MOBILE, "--srl-model-path", mobile, *SHORT, "--num-timesteps", 64, "--eval-freq", 0, "--seed", 1)
    return call_train(*args, log_dir=tmp_path_factory.mktemp("trained"))[0]


def test_pictures_and_the_last_ones_are_encoded_in_one_batch(tmp_path: Path) -> None:
    model = StateModel.load(make_model(tmp_path / "model"))
    plain, encoded = DummyVecEnv([World, World]), EncodedVecEnv(DummyVecEnv([World, World]), model)
    for env in (plain, encoded):
        env.seed(3)
    assert encoded.observation_space.shape == (4,)
    assert np.allclose(encoded.reset(), model.encode(np.asarray(plain.reset())), atol=1e-6)
    batches = []
    encode = model.encode
    model.encode = lambda images: batches.append(len(images)) or encode(images)  # type: ignore[method-assign, func-returns-value]
    for _ in range(3):
        pictures, _, _, told = plain.step(np.zeros(2, int))
        states, _, dones, infos = encoded.step(np.zeros(2, int))
        assert states.dtype == np.float32 and np.allclose(states, encode(np.asarray(pictures)), atol=1e-6)
    assert dones.all() and batches == [2, 2, 4]
    for info, own in zip(told, infos, strict=True):
        assert own["terminal_observation"].shape == (4,)
        assert np.allclose(own["terminal_observation"], encode(info["terminal_observation"][None])[0], atol=1e-6)


def test_a_run_keeps_its_encoder_in_every_checkpoint(trained: Run, mobile: Path) -> None:
    assert trained.id.startswith("MobileRobotGymEnv-v0/random/ppo/") and trained.settings["srl_model"] == "random"
    assert trained.settings["srl_model_path"] == str(trained.path / "representation")
    kwargs = trained.settings["env_kwargs"]
    assert (kwargs["observation"], kwargs["image_size"], kwargs["max_steps"]) == ("raw_pixels", 16, 20)
    weights = (mobile / "encoder.safetensors").read_bytes()
    for step in trained.steps:
        assert (trained.checkpoint(step) / "representation" / "encoder.safetensors").read_bytes() == weights
        assert "representation/encoder.safetensors" in trained.manifest(step)["files"]
    assert trained.tensors()["policy/mlp_extractor.policy_net.0.weight"].shape == (64, 4)


def test_off_policy_replay_stores_states(mobile: Path, tmp_path: Path) -> None:
    args = ("--algo", "dqn", "--n-envs", 1, "--hyperparam", "learning_starts:5", "buffer_size:100", "batch_size:4")
    run, _ = call_train(
        *MOBILE,
        "--srl-model-path",
        mobile,
        *args,
        "--num-timesteps",
        30,
        "--no-vis",
        "--eval-freq",
        0,
        log_dir=tmp_path,
    )
    (chunk, *_) = (run.checkpoint("last") / "state" / "replay").glob("*.npz")
    with np.load(chunk) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    shapes = {name: array.shape for name, array in stored.items() if "observations" in name}
    assert shapes and all(shape[-1] == 4 for shape in shapes.values())


@pytest.mark.slow
def test_a_run_that_was_broken_off_goes_on_exactly(mobile: Path, tmp_path: Path) -> None:
    """By real processes: its own encoder is read, for the original one is gone."""
    model = shutil.copytree(mobile, tmp_path / "model")
    args = (*MOBILE, "--srl-model-path", model, *SHORT, "--num-stack", 2, "--eval-freq", 32, "--seed", 2)
    whole, _ = run_train(*args, "--num-timesteps", 192, "--save-interval", 32, log_dir=tmp_path / "whole")
    cut, _ = run_train(
        *args, "--num-timesteps", 192, "--save-interval", 32, "--keep-checkpoints", 0, log_dir=tmp_path / "cut"
    )
    shutil.rmtree(model)
    moved = Run(shutil.move(cut.path, tmp_path / "moved"))
    done = call(rl_train.main, "--resume", f"{moved.path}@step:96", "--no-vis")
    assert (done.code, done.err) == (0, "") and "exact" in done.out, done.out + done.err
    assert differences(whole.tensors(), moved.tensors()) == []
    assert whole.rewards == moved.rewards
    assert [row["mean_reward"] for row in whole.evaluations] == [
        row["mean_reward"] for row in read_csv(moved.path / "evaluations.csv")
    ]


@pytest.mark.slow
def test_the_encoder_travels_with_a_fine_tune(trained: Run, tmp_path: Path) -> None:
    """A checkpoint that was copied away alone, and a fine-tune of it in another task."""
    alone = shutil.copytree(trained.checkpoint("last"), tmp_path / "alone")
    child, done = call_train(
        *("--load-rl-model-path", alone, "--new-lr", 1e-3, "--num-timesteps", 32, "--env-kwargs", "max_steps:15"),
        *("--eval-freq", 0, "--no-vis", "--compare-episodes", 1, "--n-envs", 2),
        log_dir=tmp_path / "child",
    )
    assert child.settings["srl_model_path"] == str(child.path / "representation")
    own, parents = (path / "representation" / "encoder.safetensors" for path in (child.path, trained.path))
    assert own.read_bytes() == parents.read_bytes()
    shown = call(enjoy.main, child.path, "-n", 1, "--json")
    assert shown.code == 0 and json.loads(shown.out.splitlines()[-1])["n_episodes"] == 1, shown.err


def test_policy_and_encoder_must_belong_together(trained: Run, mobile: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", "--encoder", "mlp", "--seed", 5, data=mobile.with_name("data"))
    tune = ("--load-rl-model-path", trained.path, "--srl-model-path", other, "--new-lr", 1e-3, "--no-vis")
    for done in (
        call(rl_train.main, *tune, "--log-dir", tmp_path / "logs"),
        call(enjoy.main, trained.path, "--srl-model-path", other, "-n", 1),
    ):
        assert done.code == 2 and done.err.count("\n") == 1, done.err
        assert "does not belong to the encoder of --srl-model-path" in done.err
    assert not (tmp_path / "logs").exists()
    same = shutil.copytree(mobile, tmp_path / "same")
    assert call(enjoy.main, trained.path, "--srl-model-path", same, "-n", 1).code == 0


def test_such_a_policy_is_evaluated_and_recorded(trained: Run, tmp_path: Path) -> None:
    compared = call(
        cross_eval.main,
        "--policies",
        trained.path,
        "--tasks",
        "reach,random_target:true",
        "-n",
        1,
        "--output",
        tmp_path / "ce",
        "--jobs",
        1,
    )
    assert compared.code == 0, compared.err
    recorded = call(
        generate,
        "--run-policy",
        "custom",
        "--log-custom-policy",
        trained.path,
        "--num-episode",
        1,
        "--save-path",
        tmp_path,
        "--name",
        "acted",
    )
    assert recorded.code == 0, recorded.err
    episode = Dataset.open(tmp_path / "acted").episode(0)
    assert episode.observations.shape[1:] == (16, 16, 3) and episode.teacher["logits"].shape == (episode.n_steps, 4)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--srl-model-path", "nowhere"), "--srl-model-path: nowhere is no representation: it has no model.json"),
        (("--srl-model", "ground_truth"), "--srl-model ground_truth is not learnt, and --srl-model-path names what is"),
        (("--latest",), "--latest and --srl-model-path both say where a representation lies; give one of them"),
        (
            ("--env-kwargs", "image_size:32"),
            "encodes pictures of (16, 16, 3), uint8; MobileRobotGymEnv-v0 gives Box(0, 255",
        ),
        (("--env", "CartPole-v1"), "encodes pictures of (16, 16, 3), uint8; CartPole-v1 gives Box("),
    ],
)
def test_what_cannot_be_observed_is_refused(mobile: Path, tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    path = () if "--srl-model-path" in args else ("--srl-model-path", mobile)
    env = ("--env", "MobileRobotGymEnv-v0") if "--env" not in args else ()
    done = call(rl_train.main, *env, *path, *args, "--no-vis", "--log-dir", tmp_path / "logs")
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "logs").exists()


def test_a_key_in_a_file_names_a_representation(mobile: Path, tmp_path: Path) -> None:
    """The folder is found from the file's place; the key is the level of the run folder."""
    shutil.copytree(mobile, tmp_path / "mine")
    file = tmp_path / "models.yaml"
    file.write_text("MobileRobotGymEnv-v0: {tiny: mine}")
    args = (*MOBILE, "--srl-config-file", file, "--num-timesteps", 32, "--eval-freq", 0, *SHORT)
    run, _ = call_train(*args, "--srl-model", "tiny", log_dir=tmp_path / "logs")
    assert run.id.startswith("MobileRobotGymEnv-v0/tiny/ppo/") and (run.path / "representation" / "model.json").exists()
    for flags, message in (
        ((), f"--srl-config-file {file} needs --srl-model: tiny"),
        (("--srl-model", "tyni"), "unknown --srl-model 'tyni'; known: tiny"),
        (("--srl-model", "raw_pixels"), "--srl-model raw_pixels is not learnt: leave --srl-config-file out"),
        (
            ("--srl-model", "tiny", "--env", "OmnirobotEnv-v0"),
            "must say of OmnirobotEnv-v0 which folder each key stands for",
        ),
    ):
        done = call(rl_train.main, *args, *flags, "--log-dir", tmp_path / "none")
        assert done.code == 2 and message in done.err and done.err.count("\n") == 1, done.err
    lost = call(rl_train.main, *MOBILE, "--srl-model", "tiny", "--no-vis")
    assert lost.code == 2 and "--srl-model-path tells the folder of a learnt one" in lost.err


@pytest.mark.slow
def test_the_newest_representation_of_an_environment(
    mobile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    none = call(rl_train.main, *MOBILE, "--latest", "--no-vis")
    assert (
        none.code == 2
        and "--latest: there is no representation in logs/representations/MobileRobotGymEnv-v0" in none.err
    )
    for seed in (1, 2):
        words = ("--losses", "random", "--state-dim", 3 + seed, "--encoder", "mlp", "--seed", seed)
        assert call(train.main, "--data-folder", mobile.with_name("data"), *words).code == 0
    run, _ = call_train(*MOBILE, "--latest", "--num-timesteps", 32, "--eval-freq", 0, *SHORT, log_dir=tmp_path / "runs")
    assert run.tensors()["policy/mlp_extractor.policy_net.0.weight"].shape == (64, 5)


def test_the_same_command_finds_its_run_again(mobile: Path, tmp_path: Path) -> None:
    """A run names its own copy of the encoder; what counts is that it is the same encoder."""
    args = (*MOBILE, "--num-timesteps", 32, "--eval-freq", 0, *SHORT, "--auto-resume", "--log-dir", tmp_path / "logs")
    first = call(rl_train.main, *args, "--srl-model-path", mobile)
    again = call(rl_train.main, *args, "--srl-model-path", mobile)
    assert (first.code, again.code) == (0, 0) and len(list((tmp_path / "logs").glob("*/*/*/*/run.json"))) == 1
    other = make_model(tmp_path / "other", "--encoder", "mlp", "--seed", 5, data=mobile.with_name("data"))
    assert call(rl_train.main, *args, "--srl-model-path", other).code == 0
    assert len(list((tmp_path / "logs").glob("*/*/*/*/run.json"))) == 2


def test_a_damaged_encoder_is_one_line(mobile: Path, trained: Run, tmp_path: Path) -> None:
    """Whether its weights are missing or torn, nothing is left behind; a zip that was copied away alone takes one."""
    for name, content in (("missing", None), ("torn", b"x")):
        model = shutil.copytree(mobile, tmp_path / name)
        (model / "encoder.safetensors").unlink()
        if content is not None:
            (model / "encoder.safetensors").write_bytes(content)
        for source in ((), ("--load-rl-model-path", trained.path, "--new-lr", 1e-3)):
            done = call(
                rl_train.main, *MOBILE, *source, "--srl-model-path", model, *SHORT, "--log-dir", tmp_path / "logs"
            )
            assert done.code == 2 and done.err.count("\n") == 1 and not (tmp_path / "logs").exists(), done.err
    alone = tmp_path / "policy.zip"
    shutil.copyfile(trained.checkpoint("last") / "model.zip", alone)
    shutil.copyfile(trained.checkpoint("last") / "vecnormalize.json", tmp_path / "vecnormalize.json")
    kept = shutil.move(trained.path / "representation", tmp_path / "aside")
    try:
        assert call(enjoy.main, alone, "--srl-model-path", mobile, "-n", 1).code == 0
    finally:
        shutil.move(kept, trained.path / "representation")
