"""N steps + kill -9 + resume + M steps equals N + M steps to the last bit, in real processes."""

from pathlib import Path
from typing import Any

import pytest
from cli import TINY
from resuming import assert_same, resume, train_killed, train_whole

COMMON = ("--seed", 3, "--keep-checkpoints", 0, "--eval-episodes", 2, "--gym-packages", "toy_envs", "killer")
CARTPOLE = ("--env", "CartPole-v1", *COMMON, *TINY)
PENDULUM = ("--env", "Pendulum-v1", *COMMON, *TINY)
ON_POLICY = ("--num-timesteps", 256, "--save-interval", 64, "--eval-freq", 96, "--min-episodes-save", 2, "--n-envs", 2)
OFF_POLICY = (
    *("--num-timesteps", 500, "--save-interval", 90, "--eval-freq", 120, "--min-episodes-save", 2),
    *("--hyperparam", "learning_starts:60", "batch_size:16", "buffer_size:300"),
)
ROLLOUT = ("--hyperparam", "n_steps:16")
PPO = (*CARTPOLE, *ON_POLICY, *ROLLOUT, "n_epochs:2")
RECURRENT = ("--policy-kwargs", "net_arch:[8]", "lstm_hidden_size:8")
CASES: dict[str, tuple[Any, ...]] = {
    "ppo": PPO,
    "a2c": (*CARTPOLE, *ON_POLICY, "--algo", "a2c"),
    "trpo": (*CARTPOLE, *ON_POLICY, "--algo", "trpo", *ROLLOUT, "batch_size:16"),
    "ppo_lstm": (*CARTPOLE, *RECURRENT, *ON_POLICY, "--algo", "ppo_lstm", *ROLLOUT, "batch_size:16", "n_epochs:2"),
    "maskable_ppo": ("--env", "MaskedWalk-v0", *COMMON, *TINY, *ON_POLICY, "--algo", "maskable_ppo", *ROLLOUT),
    "ars": (*CARTPOLE, *ON_POLICY, "--algo", "ars", "--hyperparam", "n_delta:2", "--num-timesteps", 700),
    "cma_es": (*CARTPOLE, *ON_POLICY, "--algo", "cma_es", "--num-timesteps", 2000, "--save-interval", 300),
    "cma_es_full": (
        *("--env", "CartPole-v1", *COMMON, *ON_POLICY, "--algo", "cma_es", "--policy", "LinearPolicy"),
        *("--hyperparam", "full_covariance:true", "deterministic:false", "n_eval_episodes:2", "population_size:5"),
        *("--num-timesteps", 1500, "--save-interval", 300),
    ),
    "random_agent": ("--env", "CartPole-v1", *COMMON, *ON_POLICY, "--algo", "random_agent", *ROLLOUT),
    "dqn": (*CARTPOLE, *OFF_POLICY, "--algo", "dqn", "--lr-decay", "linear"),
    "qrdqn": (*CARTPOLE, *OFF_POLICY, "--algo", "qrdqn", "--policy-kwargs", "n_quantiles:11"),
    "sac": (*PENDULUM, *OFF_POLICY, "--algo", "sac"),
    "td3": (*PENDULUM, *OFF_POLICY, "--algo", "td3", "--hyperparam", "noise_type:ornstein-uhlenbeck"),
    "ddpg": (*PENDULUM, *OFF_POLICY, "--algo", "ddpg", "--hyperparam", "noise_type:normal"),
    "tqc": (*PENDULUM, *OFF_POLICY, "--algo", "tqc", "--n-envs", 2, "--lr-decay", "cosine"),
    "crossq": (*PENDULUM, *OFF_POLICY, "--algo", "crossq"),
    "ppo_gsde": (*PENDULUM, *ON_POLICY, *ROLLOUT, "n_epochs:2", "use_sde:true", "sde_sample_freq:4", "--norm-reward"),
    "ppo_processes": (*PPO, "--vec-env", "processes", "--num-cpu", 2, "--n-envs", 3, "--hyperparam", "n_minibatches:1"),
    "ppo_by_eval_stacked": (*PPO, "--num-stack", 3, "--best-by", "eval", "--norm-reward"),
    "ppo_pictures": (
        *("--env", "DictionaryWalk-v0", *COMMON, *ON_POLICY, *ROLLOUT, "n_epochs:1", "--num-stack", 2),
        *("--policy-kwargs", "net_arch:[8]", "--num-timesteps", 128),
    ),
    "ppo_drawing": ("--env", "DrawingWalk-v0", *COMMON, *TINY, *ON_POLICY, *ROLLOUT),
    "sac_her": (
        *("--env", "GoalWalk-v0", *COMMON, *TINY, *OFF_POLICY, "--algo", "sac", "--her", "--n-envs", 2),
        *("--hyperparam", "learning_starts:60"),
    ),
    "sac_gsde": (*PENDULUM, *OFF_POLICY, "--algo", "sac", "--hyperparam", "use_sde:true", "train_freq:8"),
    "sac_n_step": (*PENDULUM, *OFF_POLICY, "--algo", "sac", "--hyperparam", "n_steps:3"),
    "dqn_by_episode": (*CARTPOLE, *OFF_POLICY, "--algo", "dqn", "--hyperparam", "train_freq:[1,episode]"),
}


KUKA = ("--env", "KukaButtonGymEnv-v0", "--env-kwargs", "max_steps:40", *COMMON)
WORKERS = ("--vec-env", "processes", "--num-cpu", 2)
DRAWN = ("gain_scale:[0.5,1.5]", "action_delay:[0,3]", "observation_noise:[0,0.01]")
ROBOTS: dict[str, tuple[Any, ...]] = {
    "kuka_ppo": (*KUKA, *TINY, *ON_POLICY, *ROLLOUT),
    "kuka_ppo_processes": (*KUKA, *TINY, *ON_POLICY, *ROLLOUT, *WORKERS, "-r"),
    "kuka_ppo_pictures": (*KUKA, *ON_POLICY, *ROLLOUT, "--srl-model", "raw_pixels", "--num-timesteps", 128),
    "kuka_gsde": (*KUKA, *TINY, *ON_POLICY, *ROLLOUT, "use_sde:true", "sde_sample_freq:4", "-c", "--norm-reward"),
    "kuka_ppo_lstm": (*KUKA, *RECURRENT, *ON_POLICY, "--algo", "ppo_lstm", *ROLLOUT, "batch_size:16", "-joints"),
    "kuka_sac": (*KUKA, *TINY, *OFF_POLICY, "--algo", "sac", "-c", "--shape-reward"),
    "kuka_sac_processes": (*KUKA, *TINY, *OFF_POLICY, *WORKERS, "--n-envs", 2, "--algo", "sac", "-c"),
    "mobile_ppo": ("--env", "MobileRobotGymEnv-v0", *COMMON, *TINY, *ON_POLICY, *ROLLOUT),
    **{
        f"{env_id}_ppo": ("--env", env_id, "--env-kwargs", "max_steps:40", *COMMON, *TINY, *ON_POLICY, *ROLLOUT, "-r")
        for env_id in (
            *("KukaMovingButtonGymEnv-v0", "KukaRandButtonGymEnv-v0", "Kuka2ButtonGymEnv-v0"),
            *("MobileRobot2TargetGymEnv-v0", "InmoovGymEnv-v0", "InmoovOneArmButtonGymEnv-v0"),
        )
    },
    "kuka_dynamics": (
        *("--env", "KukaButtonGymEnv-v0", "--env-kwargs", "max_steps:40", "mass_scale:[0.5,2]", *DRAWN),
        *("friction_scale:[0.5,2]", *COMMON, *TINY, *ON_POLICY, *ROLLOUT, "-c"),
    ),
    "mobile_dynamics": ("--env", "MobileRobotGymEnv-v0", "--env-kwargs", *DRAWN, *COMMON, *TINY, *ON_POLICY, *ROLLOUT),
    "omni_sac": ("--env", "OmnirobotEnv-v0", *COMMON, *TINY, *OFF_POLICY, "--algo", "sac", "-c", "-esc"),
    "omni_pictures": (
        *("--env", "OmnirobotEnv-v0", *COMMON, *ON_POLICY, *ROLLOUT, "-cc"),
        *("--srl-model", "multi_view", "--num-timesteps", 128),
    ),
    "panda_tqc_her": (
        *("--env", "PandaReach-v3", *COMMON, "panda_gym", *TINY, *OFF_POLICY, "--algo", "tqc", "--her"),
        *("--hyperparam", "learning_starts:120", "--n-envs", 2),
    ),
    "panda_tqc_her_processes": (
        *("--env", "PandaReach-v3", *COMMON, "panda_gym", *TINY, *OFF_POLICY, "--algo", "tqc", "--her"),
        *("--hyperparam", "learning_starts:120", "--n-envs", 2, *WORKERS),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROBOTS)
def test_robots_too(name: str, tmp_path: Path) -> None:
    check_exact(ROBOTS[name], tmp_path)


SLOW_CASES = (
    *("trpo", "qrdqn", "ddpg", "crossq", "random_agent", "ppo_by_eval_stacked", "sac_gsde", "sac_n_step", "sac_her"),
    *("dqn_by_episode", "a2c", "tqc", "ppo_gsde", "maskable_ppo", "td3", "ppo_drawing", "ppo_pictures", "ppo_lstm"),
    *("ars", "cma_es", "cma_es_full", "dqn", "ppo_processes"),
)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW_CASES else n for n in CASES])
def test_a_killed_and_resumed_run_equals_one_that_was_not(name: str, tmp_path: Path) -> None:
    check_exact(CASES[name], tmp_path)


def check_exact(flags: tuple[Any, ...], tmp_path: Path) -> None:
    whole = train_whole(flags, tmp_path / "whole")
    done = whole.record["timesteps"]
    n_envs = whole.settings["n_envs"]
    in_one_process = -(-n_envs // (whole.settings["num_cpu"] or 1))
    kill_at = int(done * 0.7) // n_envs * in_one_process
    killed = train_killed(flags, tmp_path / "killed", kill_at)
    before = killed.resumable_steps
    assert 0 < before[-1] < done and killed.record["status"] == "running"
    out = resume(killed, folder=tmp_path).out
    assert f"From step {before[-1]:,}: exact" in out, out
    assert [entry["exact"] for entry in killed.record["resumes"]] == [True]
    assert_same(killed, whole)
