"""The user's mistakes: one clear line on standard error, exit code 2, nothing created and nothing lost."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import stable_baselines3 as sb3
from cli import Run, call, environment, run_command, shared_run

from rl_baselines.enjoy import main as enjoy
from rl_baselines.train import main as train

CARTPOLE = ("--env", "CartPole-v1")
LOAD = "--load-rl-model-path"
TOY = ("--gym-packages", "toy_envs")


def refusal(*args: object, log_dir: Path) -> str:
    """The one line with which training refuses; the log folder is afterwards as it was before."""
    before = sorted(log_dir.rglob("*")) if log_dir.exists() else None
    done = call(train, *args, "--log-dir", log_dir)
    assert (sorted(log_dir.rglob("*")) if log_dir.exists() else None) == before
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", done.err), done.err
    return done.err.removeprefix("error: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        # environments
        (["--env", "CartPole-v11"], "unknown environment 'CartPole-v11'; did you mean 'CartPole-v1'?"),
        (
            ["--env", "KukaButonGymEnv-v0"],
            "unknown environment 'KukaButonGymEnv-v0'; did you mean 'KukaButtonGymEnv-v0'?",
        ),
        (
            ["--env", "zzzzz"],
            "unknown environment 'zzzzz'; is the package that registers it among the gym packages to import?",
        ),
        (["--gym-packages", "panda_gyn"], "the package 'panda_gyn' is not installed; pip install panda-gyn"),
        (
            ["--env-kwargs", "is_discret:true"],
            "unknown KukaButtonGymEnv-v0 argument 'is_discret'; did you mean 'is_discrete'?",
        ),
        (["--env-kwargs", "max_steps:-4"], "max_steps must be a positive integer, not -4"),
        (["--env-kwargs", "max_steps:x"], "max_steps must be a positive integer, not 'x'"),
        (
            [*CARTPOLE, "--env-kwargs", "sutton_barto_rewards:true"],
            "unknown CartPole-v1 argument 'sutton_barto_rewards'; did you mean 'sutton_barto_reward'?",
        ),
        (
            ["-r", "--env-kwargs", "random_target:false"],
            "flags: --random-target asks for random_target:True and --env-kwargs for random_target:False; "
            "give one of them",
        ),
        (
            ["--srl-model", "joints", "--env-kwargs", "observation:ground_truth"],
            "flags: --srl-model joints and --env-kwargs observation:ground_truth disagree; give one of them",
        ),
        (["--srl-model", "joint"], "unknown --srl-model 'joint'; did you mean 'joints'?"),
        (
            [*CARTPOLE, "--srl-model", "joints"],
            "CartPole-v1 has only its own observation: --srl-model joints needs one of our robots",
        ),
        (
            ["--env", "FrozenLake-v1", "--norm-obs"],
            "--norm-obs needs low-dimensional continuous observations, FrozenLake-v1 gives Discrete(16)",
        ),
        # algorithms
        ([*CARTPOLE, "--algo", "pppo"], "unknown algorithm 'pppo'; did you mean 'ppo'?"),
        ([*CARTPOLE, "--hyperparam", "n_step:3"], "unknown hyperparameter of ppo 'n_step'; did you mean 'n_steps'?"),
        ([*CARTPOLE, "--hyperparam", "n_steps:x"], "hyperparameter n_steps expects a whole number, got 'x'"),
        ([*CARTPOLE, "--hyperparam", "policy:x"], "hyperparameter 'policy' is set by --policy"),
        (
            [*CARTPOLE, "--hyperparam", "n_steps"],
            "--hyperparam expects name:value, got 'n_steps'; for instance --hyperparam n_steps:1",
        ),
        (
            [*CARTPOLE, "--hyperparam", "batch_size:3", "n_minibatches:3"],
            "hyperparameters batch_size and n_minibatches exclude each other: give one of them",
        ),
        (
            [*CARTPOLE, "--hyperparam", "n_minibatches:3"],
            "a rollout of n_steps x n_envs = 128 x 8 = 1024 steps does not divide into 3 minibatches; choose "
            "n_minibatches or n_envs so that it does",
        ),
        ([*CARTPOLE, "--hyperparam", "learning_rate:-1"], "ppo refuses its settings: Invalid learning rate: -1.0"),
        ([*CARTPOLE, "--policy", "MlpPolic"], "unknown policy of ppo 'MlpPolic'; did you mean 'MlpPolicy'?"),
        (
            [*CARTPOLE, "--policy-kwargs", "net_ach:[8]"],
            "unknown option of MlpPolicy 'net_ach'; did you mean 'net_arch'?",
        ),
        ([*CARTPOLE, "--policy-kwargs", "activation:rel"], "unknown activation 'rel'; did you mean 'relu'?"),
        (
            [*CARTPOLE, "--policy-kwargs", "net_arch:5"],
            "policy option net_arch expects a list or name: value pairs or null, got 5",
        ),
        (
            [*CARTPOLE, "--algo", "sac"],
            "sac cannot act in CartPole-v1: its action space is Discrete, sac needs Box; algorithms for Discrete: ppo, "
            "a2c, dqn, trpo, qrdqn, ars, cma_es, ppo_lstm, maskable_ppo, distillation, random_agent",
        ),
        (
            ["--env", "Pendulum-v1", "--algo", "dqn"],
            "dqn cannot act in Pendulum-v1: its action space is Box, dqn needs Discrete; algorithms for Box: ppo, a2c, "
            "sac, td3, ddpg, trpo, tqc, crossq, ars, cma_es, ppo_lstm, distillation, random_agent",
        ),
        (
            ["--env", "DictionaryWalk-v0", *TOY, "--algo", "ars"],
            "ars cannot observe dictionaries; use one of ppo, a2c, dqn, sac, td3, ddpg, trpo, tqc, qrdqn, ppo_lstm, "
            "maskable_ppo, random_agent",
        ),
        (
            [*CARTPOLE, "--algo", "maskable_ppo"],
            "maskable_ppo needs an environment with action_masks(); CartPole-v1 has none: take ppo",
        ),
        ([*CARTPOLE, "--her"], "--her does not go with ppo; it goes with sac, td3, ddpg, tqc and dqn"),
        # numbers
        ([*CARTPOLE, "--num-timesteps", 0], "--num-timesteps must be at least 1, got 0"),
        ([*CARTPOLE, "--num-timesteps", -5], "--num-timesteps must be at least 1, got -5"),
        ([*CARTPOLE, "--n-envs", 0], "--n-envs must be at least 1, got 0"),
        ([*CARTPOLE, "--seed", -1], "--seed must not be negative, got -1"),
        ([*CARTPOLE, "--save-interval", 0], "--save-interval must be at least 1, got 0"),
        (
            [*CARTPOLE, "--num-cpu", 2, "--vec-env", "dummy"],
            "--num-cpu counts processes, and --vec-env dummy uses none; leave one of them out",
        ),
        (
            [*CARTPOLE, "--num-cpu", 4, "--n-envs", 2],
            "--num-cpu 4 is more than --n-envs 2: every process needs an environment",
        ),
        # flags
        ([*CARTPOLE, "--num-timestep", 5], "unknown flag '--num-timestep'; did you mean --num-timesteps?"),
        (
            [*CARTPOLE, "--num-timesteps", "five"],
            "Error parsing --num-timesteps: invalid literal for int() with base 10: 'five'",
        ),
        (
            [*CARTPOLE, "--lr-decay", "liner"],
            "invalid choice 'liner' for argument '--lr-decay'. Expected one of ('linear', 'constant', 'cosine').",
        ),
        (
            [*CARTPOLE, "stray"],
            "unexpected argument 'stray'; settings are given as --name value, --help lists them",
        ),
        # learning rates
        (
            [*CARTPOLE, "--new-lr", "1e-3"],
            "--new-lr is the rate of a fine-tune (--load-rl-model-path); a run from scratch takes "
            "--hyperparam learning_rate:0.001",
        ),
        ([*CARTPOLE, "--new-lr", 0], "--new-lr must be a positive number, got 0.0"),
        # presets and files
        ([*CARTPOLE, "--config", "kuka_buton_ppo"], "unknown preset 'kuka_buton_ppo'; did you mean 'kuka_button_ppo'?"),
        ([*CARTPOLE, "--config", "/no/such.yaml"], "cannot read --config /no/such.yaml: No such file or directory"),
        # sources
        ([LOAD, "/no/such/run"], "there is no model at /no/such/run"),
    ],
)
def test_mistakes_in_flags(args: list[object], message: str, tmp_path: Path) -> None:
    assert refusal(*args, log_dir=tmp_path / "logs") == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_timestep: 5", "unknown setting 'num_timestep'; did you mean 'num_timesteps'?"),
        ("num_timesteps: many", "num_timesteps expects a whole number, got 'many'"),
        ("num_timesteps: 5.5", "num_timesteps expects a whole number, got 5.5"),
        ("norm_reward: 1", "norm_reward expects true or false, got 1"),
        ("hyperparam: [1]", "hyperparam expects name: value pairs, got [1]"),
        ("vec_env: dumm", "vec_env expects one of dummy, processes or null, got 'dumm'"),
    ],
)
def test_mistakes_in_files(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert refusal(*CARTPOLE, "--config", file, log_dir=tmp_path / "logs") == f"{file}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2", r"{file} must hold settings as 'name: value' lines, got a list"),
        ("a: [1", r"{file} is not valid YAML: while parsing a flow sequence .*"),
        ("hyperparam: {n_step: 3}", r"unknown hyperparameter of ppo 'n_step'; did you mean 'n_steps'\?"),
    ],
)
def test_files_that_hold_no_settings(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    line = refusal(*CARTPOLE, "--config", file, log_dir=tmp_path / "logs")
    assert re.fullmatch(message.replace("{file}", re.escape(str(file))), line)


@pytest.fixture
def parent(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "cartpole_ppo")


@pytest.fixture
def broken(parent: Run, tmp_path: Path) -> Run:
    """A copy of the parent to break."""
    copy = tmp_path.joinpath("broken", *parent.path.parts[-4:])
    shutil.copytree(parent.path, copy, symlinks=True)
    return Run(copy)


def test_sources_that_are_not_there(parent: Run, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    assert refusal(LOAD, "latest", log_dir=logs) == f"there is no run under {logs}; --log-dir names another folder"
    misspelt = str(parent.path) + "x"
    assert refusal(LOAD, misspelt, log_dir=logs) == f"there is no model at {misspelt}; did you mean {parent.path}?"
    steps = ", ".join(map(str, parent.steps))
    assert refusal(LOAD, f"{parent.path}@step:5", log_dir=logs) == (
        f"{parent.path} has no checkpoint 'step:5'; complete checkpoints at steps: {steps}"
    )
    assert refusal(LOAD, f"{parent.path}@bets", log_dir=logs) == (
        "unknown selection @bets: expected @best, @last or @step:N"
    )
    folder = parent.path / "plots"
    assert refusal(LOAD, folder, log_dir=logs) == (
        f"{folder} is neither a run folder (no run.json) nor a checkpoint (no manifest.json)"
    )


def test_files_that_are_no_models(broken: Run, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    text = broken.path / "config.yaml"
    assert refusal(LOAD, text, log_dir=logs) == (
        f"{text} is not a complete zip file, so no Stable-Baselines3 model; take {broken.path}"
    )
    statistics = broken.checkpoint("last") / "vecnormalize.pkl"
    assert refusal(LOAD, statistics, log_dir=logs) == (
        f"{statistics} is not a complete zip file, so no Stable-Baselines3 model; take {statistics.parent}/model.zip"
    )
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert refusal(*CARTPOLE, LOAD, other, log_dir=logs) == (
        f"{other} is a zip file but no complete Stable-Baselines3 model: it lacks 'data' or 'policy.pth'"
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_models(broken: Run, share: float, tmp_path: Path) -> None:
    zip_file = broken.checkpoint("last") / "model.zip"
    content = zip_file.read_bytes()
    zip_file.write_bytes(content[: int(share * len(content))])
    line = refusal(LOAD, zip_file, log_dir=tmp_path / "logs")
    assert line in (
        f"{zip_file} is not a complete zip file, so no Stable-Baselines3 model; give a model zip, a checkpoint or a "
        "run folder",
        # what is left may end with the tensors of one part, which are a zip themselves
        f"{zip_file} is a zip file but no complete Stable-Baselines3 model: it lacks 'data' or 'policy.pth'",
    )
    folder = zip_file.parent
    assert refusal(LOAD, folder, log_dir=tmp_path / "logs") == (
        f"the checkpoint {folder} is not complete: a file is missing or has another size"
    )
    steps = ", ".join(map(str, broken.steps[:-1]))
    assert refusal(LOAD, f"{broken.path}@last", log_dir=tmp_path / "logs") == (
        f"{broken.path} has no checkpoint 'last'; complete checkpoints at steps: {steps}"
    )


def test_models_with_damaged_contents(broken: Run, tmp_path: Path) -> None:
    zip_file = broken.checkpoint("last") / "model.zip"
    content = bytearray(zip_file.read_bytes())
    middle = content.index(b"policy.pth") + 2000
    content[middle : middle + 50] = bytes(50)
    zip_file.write_bytes(content)
    assert refusal(LOAD, zip_file, log_dir=tmp_path / "logs").startswith(f"{zip_file} ({len(content)} bytes) is not")


@pytest.mark.parametrize("name", ["model.zip", "vecnormalize.json", "vecnormalize.pkl"])
def test_checkpoints_that_lack_a_file(broken: Run, name: str, tmp_path: Path) -> None:
    folder = broken.checkpoint("last")
    (folder / name).unlink()
    assert refusal(LOAD, folder, log_dir=tmp_path / "logs") == (
        f"the checkpoint {folder} is not complete: a file is missing or has another size"
    )


def test_a_run_without_a_checkpoint(broken: Run, tmp_path: Path) -> None:
    shutil.rmtree(broken.path / "checkpoints")
    assert refusal(LOAD, broken.path, log_dir=tmp_path / "logs") == f"{broken.path} has no complete checkpoint yet"


def test_a_copied_zip_without_its_statistics(parent: Run, tmp_path: Path) -> None:
    lone = tmp_path / "lone.zip"
    shutil.copy(parent.checkpoint("last") / "model.zip", lone)
    assert refusal(LOAD, lone, log_dir=tmp_path / "logs") == (
        f"{lone} was trained on normalized observations and vecnormalize.json is missing beside it: give its "
        "checkpoint folder, or put the file there"
    )


def test_statistics_that_are_none(broken: Run, tmp_path: Path) -> None:
    statistics = broken.checkpoint("last") / "vecnormalize.json"
    zip_file = broken.checkpoint("last") / "model.zip"
    for text, problem in (("{}", "it holds no observations and returns"), ("{", "Expecting property name .*")):
        statistics.write_text(text)
        line = refusal(LOAD, zip_file, log_dir=tmp_path / "logs")
        assert re.fullmatch(f"cannot read the normalization statistics {re.escape(str(statistics))}: {problem}", line)


def test_models_that_do_not_fit(parent: Run, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    last = f"{parent.path}@last"
    assert refusal(LOAD, last, "--algo", "a2c", log_dir=logs) == (
        f"{parent.checkpoint('last')} (last) is a model of ppo, --algo a2c cannot continue it; leave --algo out or "
        "take another source"
    )
    model = parent.checkpoint("last") / "model.zip"
    reason = "the observation space, the action space or the policy options (net_arch) differ"
    first = f"the policy of {model} does not fit: mlp_extractor.policy_net.0.weight has shape (16, 4) in the source and"
    assert (
        refusal(LOAD, last, "--env", "Acrobot-v1", log_dir=logs) == f"{first} (16, 6) in this run, and 3 more; {reason}"
    )
    assert refusal(LOAD, last, "--env", "Walk-v0", *TOY, log_dir=logs).endswith(reason)
    message = refusal(LOAD, last, "--policy-kwargs", "net_arch:[8]", log_dir=logs)
    assert message == f"{first} (8, 4) in this run, and 5 more; {reason}"
    assert refusal(LOAD, last, "--num-stack", 2, log_dir=logs).endswith(reason)
    assert refusal(LOAD, last, "--hyperparam", "learning_rate:0.1", log_dir=logs) == (
        "the learning rate of a fine-tune is set by --new-lr, not by --hyperparam learning_rate"
    )


def test_plain_zips_that_tell_too_little(tmp_path: Path) -> None:
    logs, plain = tmp_path / "logs", tmp_path / "plain.zip"
    sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, learning_rate=lambda p: 1e-3 * p, device="cpu").save(
        plain
    )
    assert refusal(LOAD, plain, log_dir=logs) == f"{plain} does not tell its environment: give --env"
    assert refusal(*CARTPOLE, LOAD, plain, log_dir=logs) == (
        f"the initial learning rate of {plain} cannot be known: give --new-lr"
    )
    assert refusal(*CARTPOLE, LOAD, plain, "--algo", "a2c", log_dir=logs) == (
        f"{plain} is a model of ppo, --algo a2c cannot continue it; leave --algo out or take another source"
    )


def test_log_folders_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("precious")
    done = call(train, *CARTPOLE, "--log-dir", blocked)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: cannot write under --log-dir {blocked}: Not a directory\n"
    assert blocked.read_text() == "precious" and list(tmp_path.iterdir()) == [blocked]


def test_an_empty_log_folder_stays(tmp_path: Path) -> None:
    """What is refused only once the folder of the run was made takes away what it brought, and no more."""
    (tmp_path / "logs").mkdir()
    refusal(*CARTPOLE, "--algo", "maskable_ppo", log_dir=tmp_path / "logs")
    assert (tmp_path / "logs").is_dir()
    refusal(*CARTPOLE, "--algo", "maskable_ppo", log_dir=tmp_path / "new" / "logs")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("flags", [("--best-by", "eval"), ("--stop-value", 3)])
def test_rules_that_need_evaluations(flags: tuple[object, ...], tmp_path: Path) -> None:
    assert refusal(*CARTPOLE, *flags, "--eval-freq", 0, log_dir=tmp_path / "logs") == (
        "--best-by eval and --stop-value need evaluations: leave out --eval-freq 0"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["/no/such/run"], "there is no model at /no/such/run"),
        (["latest", "-n", 0], "--n-episodes and --video-episodes must be at least 1"),
        (["latest", "--video", "film.avi"], r".*film\.avi.*"),
        (["latest", "--jsn"], r"unknown flag '--jsn'; did you mean --json\?"),
    ],
)
def test_mistakes_in_enjoy(args: list[object], message: str, tmp_path: Path) -> None:
    done = call(enjoy, *args, "--log-dir", tmp_path)
    assert (done.code, done.out) == (2, "") and re.fullmatch(f"error: {message}\n", done.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["--num-timestep", 5], 2, "error: unknown flag '--num-timestep'; did you mean --num-timesteps?"),
        (["--seed", "x"], 2, "error: Error parsing --seed: invalid literal for int() with base 10: 'x'"),
        (["--algo", "pppo"], 2, "error: unknown algorithm 'pppo'; did you mean 'ppo'?"),
        ([LOAD, "/no/such/run"], 2, "error: there is no model at /no/such/run"),
    ],
)
def test_processes_end_with_one_line_too(args: list[object], code: int, line: str, tmp_path: Path) -> None:
    """In a process of its own, on a terminal that knows only ASCII."""
    done = run_command("rl_baselines.train", *args, folder=tmp_path, PYTHONIOENCODING="ascii")
    assert (done.code, done.out, done.err) == (code, "", line + "\n")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text("import sys\nsys.modules['mujoco'] = None\n")
    variables = environment()
    variables["PYTHONPATH"] = f"{tmp_path / 'path'}:{variables['PYTHONPATH']}"
    command = [sys.executable, "-m", "rl_baselines.train", "--env", "Ant-v5", "--log-dir", str(tmp_path / "logs")]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: Ant-v5 needs the extra mujoco: pip install 'gymnasium[mujoco]'\n"
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("module", ["rl_baselines.train", "rl_baselines.enjoy", "rl_baselines"])
def test_help_is_quick_because_nothing_heavy_is_imported(module: str, tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{module}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{module}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'stable_baselines3', 'gymnasium', 'pybullet', 'matplotlib', 'pandas', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "usage: " in done.stdout and list(tmp_path.iterdir()) == []
