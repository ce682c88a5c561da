"""``--resume``: what it continues, what it refuses, and what it says."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import TINY, Run, call, call_train, differences, read_csv, run_command, table_row
from resuming import assert_same, content, records, resume, train_killed, train_whole
from test_resume_exact import CARTPOLE, COMMON, OFF_POLICY, ON_POLICY, PENDULUM, PPO

from environments import simulation
from rl_baselines.beginnings import begin
from rl_baselines.config import RunOptions, check_settings
from rl_baselines.layers import Layer
from rl_baselines.resolution import plan_run
from rl_baselines.train import main
from rl_baselines.training import Outcome

A2C = (*CARTPOLE, *ON_POLICY, "--algo", "a2c", "--eval-freq", 0, "--num-timesteps", 260)


def resumed(run: Run, *flags: object) -> str:
    """Resume a run in this process and give what was printed."""
    done = call(main, "--resume", run.path, *flags)
    assert (done.code, done.err) == (0, ""), done.out + done.err
    return done.out


def refused(*flags: object) -> str:
    """The one line with which a command line is refused."""
    done = call(main, *flags)
    assert (done.code, done.out) == (2, ""), done.out + done.err
    (line,) = done.err.splitlines()
    return line


@pytest.mark.slow
def test_a_resumed_run_can_be_killed_and_resumed_again(tmp_path: Path) -> None:
    whole = train_whole(PPO, tmp_path / "whole")
    killed = train_killed(PPO, tmp_path / "killed", 100)
    first = killed.resumable_steps[-1]
    done = run_command("rl_baselines.train", "--resume", killed.path, folder=tmp_path, KILL_AT_STEP="140")
    assert done.code == -signal.SIGKILL
    second = killed.resumable_steps[-1]
    assert 0 < first < second < 256
    resume(killed, folder=tmp_path)
    assert [entry["timesteps"] for entry in killed.record["resumes"]] == [first, second]
    assert_same(killed, whole)


def test_a_run_resumed_from_an_earlier_step_repeats_the_rest(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    reference, final = records(run), content(run)
    later = [step for step in run.steps if step > 128]
    out = resumed_at(run, 128)
    assert "From step 128: exact" in out
    assert records(run) == reference and differences(content(run), final) == []
    (aside,) = (run.path / "aside").iterdir()
    assert sorted(int(path.name) for path in (aside / "checkpoints").iterdir()) == later
    kept = read_csv(aside / "progress.csv")
    assert [row["time/total_timesteps"] for row in kept] == [str(32 * (i + 1)) for i in range(8)] + ["256"]
    assert not list(aside.rglob("*tfevents*")) and list((aside / "tensorboard").iterdir())
    assert f"checkpoints {', '.join(map(str, later))}; kept in" in table_row(out, "records", 2)


def resumed_at(run: Run, step: int, *flags: object) -> str:
    done = call(main, "--resume", f"{run.path}@step:{step}", *flags)
    assert (done.code, done.err) == (0, ""), done.out + done.err
    return done.out


def test_the_best_model_of_an_earlier_step_is_the_best_again(tmp_path: Path) -> None:
    """Also when it was not kept for its own sake, but for the checkpoint from which it was the best."""
    flags = ("--env", "Trend-v0", "--gym-packages", "toy_envs", *TINY, "--n-envs", 1, "--keep-checkpoints", 1)
    run, _ = call_train(
        *(*flags, "--hyperparam", "n_steps:10", "n_minibatches:1", "--num-timesteps", 200, "--eval-freq", 0),
        *("--min-episodes-save", 1, "--save-interval", 100),
        log_dir=tmp_path / "logs",
    )
    assert run.checkpoint("best").name == "000000200"
    assert run.manifest(100)["best"] == 100 and run.manifest(20)["best"] == 20
    assert run.steps == [20, 100, 200]
    done = call(main, "--resume", f"{run.path}@step:100", "--num-timesteps", 101)
    assert done.code == 0, done.err
    assert "step 100, mean reward 5.5" in table_row(done.out, "best model", 2)


def test_a_longer_horizon_with_a_constant_rate_equals_a_longer_run(tmp_path: Path) -> None:
    short_run, _ = call_train(*A2C, log_dir=tmp_path / "short")
    resumed(short_run, "--num-timesteps", 520)
    long_run, _ = call_train(*A2C, "--num-timesteps", 520, log_dir=tmp_path / "long")
    assert short_run.settings["num_timesteps"] == 520
    assert differences(short_run.tensors("last"), long_run.tensors("last")) == []
    ours, theirs = records(short_run), records(long_run)
    for name in ("progress", "evaluations", "000.monitor.csv", "001.monitor.csv", "best", "last"):
        assert ours[name] == theirs[name], name
    assert short_run.record["resumes"][0]["horizon"] == {"before": 260, "now": 520, "learning_rate": 7e-4}


def test_a_longer_horizon_continues_the_rate_and_decays_over_what_remains(tmp_path: Path) -> None:
    """From the rate r of the last update before step T, update k runs at r (P - s_k) / (P - T), s_k its first step."""
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    out = resumed_at(run, 128, "--num-timesteps", 384)
    last_rate = 2.5e-4 * (1 - 96 / 256)
    expected = [2.5e-4 * (1 - step / 256) for step in range(0, 128, 32)]
    expected += [last_rate * ((1 - step / 384) / (1 - 128 / 384)) for step in range(128, 384, 32)]
    rates = [float(row["train/learning_rate"]) for row in read_csv(run.path / "progress.csv")[1:]]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert "by the rate of the last update, over what remains: the horizon was 256" in table_row(out, "learning rate")
    assert run.record["resumes"][0]["horizon"]["learning_rate"] == pytest.approx(last_rate, rel=1e-15)
    assert (run.record["steps_planned"], run.settings["num_timesteps"]) == (384, 384)
    assert differences(run.tensors("last"), reference_with_rates(run, expected, tmp_path)) == []


def reference_with_rates(run: Run, rates: list[float], tmp_path: Path) -> dict[str, Any]:
    """The parameters of an uninterrupted run of the same length, each of whose updates is given its rate."""
    settings = {name: value for name, value in run.settings.items() if name not in ("load_rl_model_path", "new_lr")}
    plan = plan_run([Layer("run", check_settings(settings, "config.yaml"))], None)
    training = begin(plan, RunOptions(log_dir=str(tmp_path / "reference")), ())
    model: Any = training.model
    model.lr_schedule = lambda _: rates[model._rollout_start_timesteps // 32]
    outcome = Outcome()
    training.learn([], outcome)
    training.close(outcome)
    return Run(training.folder.path).tensors("last")


def test_a_finished_run_with_a_longer_horizon_goes_on(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    resumed(run, "--num-timesteps", 320)
    rows = read_csv(run.path / "progress.csv")
    assert [int(row["time/total_timesteps"]) for row in rows] == [*range(32, 321, 32), 320]
    rates = [float(row["train/learning_rate"]) for row in rows[9:]]
    assert rates == pytest.approx([2.5e-4 / 8, 2.5e-4 / 16], rel=1e-12)


def test_dqn_explores_for_as_many_steps_when_the_horizon_grows(tmp_path: Path) -> None:
    flags = (*CARTPOLE, *OFF_POLICY, "--algo", "dqn", "--num-timesteps", 400, "--save-interval", 100)
    flags = (*flags, "--hyperparam", "exploration_fraction:0.5")
    run, _ = call_train(*flags, log_dir=tmp_path / "logs")
    for _ in range(2):  # twice from the same checkpoint: the second time the horizon is longer already
        resumed_at(run, 100, "--num-timesteps", 800)
        state = json.loads((run.checkpoint(500) / "state" / "state.json").read_text())
        assert state["model"]["counters"]["exploration_fraction"] == 0.25
        middle = json.loads((run.checkpoint(200) / "state" / "state.json").read_text())
        assert middle["model"]["counters"]["exploration_rate"] == pytest.approx(1 - 0.95 * 196 / 200, abs=0.02)
        assert state["model"]["counters"]["exploration_rate"] == 0.05


def test_the_first_update_after_a_resume_is_that_of_the_uninterrupted_run(tmp_path: Path) -> None:
    """Learning rate, epsilon, entropy coefficient and the number of updates, at the next checkpoint."""
    cases = {
        "dqn": (*CARTPOLE, *OFF_POLICY, "--algo", "dqn", "--lr-decay", "linear", "--hyperparam", "buffer_size:90"),
        "sac": (*PENDULUM, *OFF_POLICY, "--algo", "sac", "--lr-decay", "linear"),
    }
    for name, flags in cases.items():
        flags = (*flags, "--num-timesteps", 104, "--save-interval", 4, "--eval-freq", 0)
        run, _ = call_train(*flags, log_dir=tmp_path / name)
        before, expected = first_update(run, 80), first_update(run, 84)
        assert expected["n_updates"] - before["n_updates"] == {"dqn": 1, "sac": 4}[name]
        assert all(before[part] != expected[part] for part in {"dqn": ("rates",), "sac": ("rates", "entropy")}[name])
        resumed_at(run, 80)
        assert first_update(run, 84) == expected


def first_update(run: Run, step: int) -> dict[str, Any]:
    counters = json.loads((run.checkpoint(step) / "state" / "state.json").read_text())["model"]["counters"]
    entropy = run.tensors(step).get("pytorch_variables/log_ent_coef")
    return {
        "n_updates": counters["_n_updates"],
        "epsilon": counters.get("exploration_rate"),
        "rates": run.learning_rates(step),
        "entropy": None if entropy is None else entropy.item(),
    }


@pytest.mark.slow
def test_a_fine_tune_is_resumed_with_its_parent_and_its_first_evaluation(tmp_path: Path) -> None:
    """After the parent was deleted: a checkpoint is complete alone."""
    parent, _ = call_train(*PPO, log_dir=tmp_path / "parents")
    best = parent.checkpoint("best")
    flags = ("--load-rl-model-path", parent.path, *COMMON, "--new-lr", 1e-3, "--compare-episodes", 3, *ON_POLICY)
    whole = train_whole(flags, tmp_path / "whole")
    killed = train_killed(flags, tmp_path / "killed", 180)
    shutil.rmtree(parent.path)
    out = resume(killed, folder=tmp_path).out
    parent_row = f"{best}, after {whole.record['parent']['timesteps']} steps"
    assert table_row(out, "parent").replace(" ", "") == parent_row.replace(" ", "")  # a long path is folded
    assert table_row(out, "before").startswith("mean reward ")
    assert "evaluating the loaded policy" not in out
    assert_same(killed, whole)
    assert killed.record["parent"] == whole.record["parent"] and len(killed.record["comparisons"]) >= 2


@pytest.mark.parametrize("flags", [("--seed", 4), ("--algo", "sac"), ("--hyperparam", "n_steps:8"), ("-c",)])
def test_other_settings_are_refused_with_the_command_that_takes_them(flags: tuple[object, ...], tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    words = " ".join(map(str, flags))
    for named in (["--resume", run.path], [f"--resume={run.path}"]):
        name = {"-c": "--continuous-actions"}.get(str(flags[0]), str(flags[0]))
        assert refused(*named, *flags) == (
            f"error: --resume goes on with the run's own settings, {name} cannot change them; a new run from its last "
            f"model can have others: python -m rl_baselines.train --load-rl-model-path {run.path}@last {words}"
        )


def test_wrong_names_and_selections_are_refused_in_one_line(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, "--keep-checkpoints", 1, log_dir=tmp_path / "logs")
    missing = run.path.with_name(run.path.name + "9")
    assert refused("--resume", missing) == f"error: there is no run at {missing}; did you mean {run.path}?"
    assert refused("--resume", tmp_path) == f"error: {tmp_path} is not a run folder: it has no run.json"
    assert f"has no checkpoint 'step:7'; complete checkpoints at steps: {', '.join(map(str, run.steps))}" in refused(
        "--resume", f"{run.path}@step:7"
    )
    assert "unknown selection @first: expected @best, @last or @step:N" in refused("--resume", f"{run.path}@first")
    assert refused("--resume", "latest", "--log-dir", tmp_path / "none") == (
        f"error: there is no run under {tmp_path / 'none'}; --log-dir names another folder"
    )
    assert "lies before step 256, from which" in refused("--resume", run.path, "--num-timesteps", 100)
    assert refused("--resume", run.path, "--auto-resume") == (
        "error: --resume names a run and --auto-resume looks for one; give one of them"
    )
    assert "--stop-after expects a time such as 90s, 30m, 5h50m or 2d, got '5'" in refused(
        "--resume", run.path, "--stop-after", 5
    )
    assert run.record["resumes"] == [] and not (run.path / "aside").exists()


def test_a_checkpoint_without_state_is_refused(tmp_path: Path) -> None:
    """As runs have them that were saved before runs could be resumed, and best models between two checkpoints."""
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    (light,) = sorted(set(run.steps) - set(run.resumable_steps))[:1]
    line = refused("--resume", f"{run.path}@step:{light}")
    assert line == (
        f"error: {run.checkpoint(light)} holds a model but not the state of its training, so it cannot be resumed; "
        f"a new run can start from it: --load-rl-model-path {run.checkpoint(light)}"
    )
    for step in run.resumable_steps:
        shutil.rmtree(run.checkpoint(step))
    assert refused("--resume", run.path) == (
        f"error: {run.path} has no checkpoint that can be resumed: start it anew, with python -m rl_baselines.train "
        f"--config {run.path / 'config.yaml'}, or a new run from its model, with --load-rl-model-path {run.path}"
    )


def test_a_configuration_that_was_lost_is_not_replaced_by_defaults(tmp_path: Path) -> None:
    """As a machine that lost power may leave it."""
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    (run.path / "config.yaml").write_text("")
    assert refused("--resume", run.path, "--num-timesteps", 400) == (
        f"error: {run.path / 'config.yaml'} is not complete: it does not tell what is trained"
    )


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    before = run.record
    for flags in ((), ("--num-timesteps", 256), ("--num-timesteps", 250)):
        out = resumed(run, *flags)
        end = "all timesteps done, step 256; --num-timesteps with a larger number lets it go on"
        assert out == f"{run.path} is finished: {end}\n"
    assert run.record == before


def test_a_run_that_ended_beyond_its_plan_is_finished_too(tmp_path: Path) -> None:
    """An update of ARS takes as many steps as its episodes last."""
    flags = (*CARTPOLE, *ON_POLICY, "--algo", "ars", "--hyperparam", "n_delta:2", "--num-timesteps", 100)
    run, _ = call_train(*flags, log_dir=tmp_path / "logs")
    done = run.record["timesteps"]
    assert done > 100
    for given in ((), ("--num-timesteps", 100)):
        assert resumed(run, *given).startswith(f"{run.path} is finished: all timesteps done, step {done}; ")
    assert f"--num-timesteps 99 lies before step {done}, from which" in refused("--resume", run.path, *given[:1], 99)
    (run.path / "run.json").write_text(json.dumps({**run.record, "status": "running"}))  # killed before its last word
    assert "Finished: all timesteps done" in resumed(run)
    assert run.record["timesteps"] == done


def test_options_stay_those_of_the_run(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, "--save-interval", 32, log_dir=tmp_path / "logs")
    resumed(run, "--num-timesteps", 320)
    assert run.resumable_steps == [*range(32, 321, 32)]
    resumed(run, "--num-timesteps", 448, "--save-interval", 128)
    assert [step for step in run.resumable_steps if step > 320] == [384, 448]


@pytest.mark.slow
def test_without_its_replay_buffer_a_run_is_not_resumed_exactly_and_says_so(tmp_path: Path) -> None:
    flags = (*PENDULUM, *OFF_POLICY, "--algo", "sac", "--save-replay-buffer", "none")
    run, _ = call_train(*flags, log_dir=tmp_path / "logs")
    assert not list(run.path.rglob("replay"))
    out = resumed_at(run, 180)
    assert "From step 180: reproducible, not exact: the replay buffer was not saved" in out
    assert table_row(out, "replay buffer") == "lost"
    (entry,) = run.record["resumes"]
    assert (entry["exact"], entry["reasons"]) == (False, ["the replay buffer was not saved"])
    counters = json.loads((run.checkpoint("last") / "state" / "state.json").read_text())["model"]["counters"]
    assert counters["learning_starts"] == 180 + 60, "the policy fills the buffer before the next update"
    assert counters["_n_updates"] == (180 - 60) + (500 - 240)
    assert counters["acts_by_policy"] is True


@pytest.mark.slow
def test_a_replay_buffer_that_was_saved_is_used_though_it_is_not_saved_again(tmp_path: Path) -> None:
    run, _ = call_train(*PENDULUM, *OFF_POLICY, "--algo", "sac", log_dir=tmp_path / "logs")
    final = run.tensors("last")
    out = resumed_at(run, 180, "--save-replay-buffer", "none")
    assert "From step 180: exact" in out and table_row(out, "replay buffer") == "restored"
    assert differences(run.tensors("last"), final) == []
    assert (run.checkpoint(180) / "state" / "replay").is_dir()
    assert not (run.checkpoint("last") / "state" / "replay").exists()


def test_another_processor_or_torch_is_named(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    folder = run.checkpoint(128)
    path, manifest = folder / "state" / "state.json", json.loads((folder / "manifest.json").read_text())
    state = json.loads(path.read_text())
    state["machine"] |= {"cpu": "Z80", "torch": "0.4.1"}
    path.write_text(json.dumps(state))
    forge(folder, manifest)
    out = resumed_at(run, 128)
    assert "From step 128: reproducible, not exact: other cpu: Z80 then," in out
    assert "other torch: 0.4.1 then," in out
    assert run.record["resumes"][0]["exact"] is False


def test_other_physics_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decides the physics is recorded with the run and compared; checkpoints from before that have nothing."""
    mobile = ("--env", "MobileRobotGymEnv-v0", *ON_POLICY, "--eval-freq", 0, "--num-timesteps", 128)
    run, _ = call_train(*mobile, log_dir=tmp_path / "logs")
    fingerprint = run.record["environment"]["fingerprint"]
    assert (fingerprint["timestep_s"], fingerprint["solver_iterations"]) == (1 / 240, 150)
    assert {"model racecar.urdf", "model target.urdf", "model walls.urdf"} < fingerprint.keys()
    monkeypatch.setattr(simulation, "SOLVER_ITERATIONS", 100)
    out = resumed(run, "--num-timesteps", 320)
    assert "reproducible, not exact: other solver iterations: 150 then, 100 now" in " ".join(out.split())
    state_file = run.checkpoint("last") / "state" / "state.json"
    state = json.loads(state_file.read_text())
    assert state["fingerprint"]["solver_iterations"] == 100


def test_a_state_of_another_format_is_refused(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    folder = run.checkpoint("last")
    path, manifest = folder / "state" / "state.json", json.loads((folder / "manifest.json").read_text())
    path.write_text(path.read_text().replace('"format": 1', '"format": 7'))
    forge(folder, manifest)
    assert refused("--resume", run.path) == (
        f"error: {folder} was saved by another version, in format 7 of the state; this one reads format 1: resume it "
        f"with that version, or start a new run from it: --load-rl-model-path {folder}"
    )


def forge(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest that agrees with files that were changed."""
    from rl_baselines.checkpoint import StoredFile, hash_of, save_checkpoint

    files = {name: StoredFile((folder / name).stat().st_size, hash_of(folder / name)) for name in manifest["files"]}
    other = folder.parent / "other"

    def write(aside: Path) -> dict[str, StoredFile]:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        (aside / "manifest.json").unlink()
        return files

    details = {name: manifest[name] for name in ("score", "best")}
    other.mkdir()
    saved = save_checkpoint(other, manifest["timesteps"], write, details)
    shutil.rmtree(folder)
    shutil.move(saved.path, folder)
    other.rmdir()


@pytest.mark.parametrize("processes", [False, True])
def test_an_environment_that_does_not_come_back_is_named_and_training_goes_on(processes: bool, tmp_path: Path) -> None:
    how = ("--vec-env", "processes", "--num-cpu", 2) if processes else ()
    flags = ("--env", "LeakingWalk-v0", *COMMON, *TINY, *ON_POLICY, "--hyperparam", "n_steps:13", "n_epochs:1", *how)
    flags = (*flags, "--hyperparam", "n_minibatches:1")
    run, _ = call_train(*flags, "--num-timesteps", 260, "--save-interval", 26, log_dir=tmp_path / "logs")
    out = resumed_at(run, 130)
    reason = "environment 0: its observation after the same seed and actions differs by up to "
    assert f"From step 130: reproducible, not exact: {reason}" in out
    assert table_row(out, "open episodes") == "lost"
    (entry,) = run.record["resumes"]
    assert entry["exact"] is False and len(entry["reasons"]) == 2 and entry["reasons"][0].startswith(reason)
    assert run.record["status"] == "finished" and run.record["timesteps"] == 260


def test_hindsight_replay_closes_the_episodes_that_did_not_come_back(tmp_path: Path) -> None:
    """As if they had reached their time limit; none of their transitions is mixed with those of the new episodes."""
    flags = ("--env", "LeakingGoalWalk-v0", *COMMON, *TINY, *OFF_POLICY, "--algo", "sac", "--her", "--n-envs", 2)
    flags = (*flags, "--hyperparam", "learning_starts:60", "--num-timesteps", 134, "--save-interval", 1)
    run, _ = call_train(*flags, log_dir=tmp_path / "logs")
    before = description(run, 126)
    assert before["pos"] == 63 and list(before["current_start"]) == [60, 60], "three steps of both episodes"
    out = resumed_at(run, 126)
    assert "environment 1: its observation after the same seed and actions differs by up to" in out
    after = description(run, 128)
    assert list(after["current_start"]) == [63, 63] and after["pos"] == 64
    lengths = np.repeat(after["values"], after["counts"]).reshape(2, -1)
    assert lengths[:, 60:64].tolist() == [[3, 3, 3, 0]] * 2
    assert run.record["status"] == "finished"


def description(run: Run, step: int) -> dict[str, Any]:
    """The position of a replay buffer and the lengths of its episodes."""
    state = json.loads((run.checkpoint(step) / "state" / "state.json").read_text())["replay"]
    with np.load(run.checkpoint(step) / "state" / "arrays.npz") as arrays:
        episodes = "replay/episodes/"
        found = {name: arrays[f"{episodes}length/{name}"] for name in ("values", "counts")}
        return {"pos": state["pos"], "current_start": arrays[f"{episodes}current_start"], **found}


@pytest.mark.slow
def test_an_environment_that_offers_its_memory_comes_back_exactly(tmp_path: Path) -> None:
    flags = ("--env", "RememberingWalk-v0", *COMMON, *TINY, *ON_POLICY, "--hyperparam", "n_steps:13", "n_epochs:1")
    flags = (*flags, "--hyperparam", "n_minibatches:1")
    whole = train_whole((*flags, "--save-interval", 26), tmp_path / "whole")
    killed = train_killed((*flags, "--save-interval", 26), tmp_path / "killed", 200)
    assert ": exact" in resume(killed, folder=tmp_path).out
    assert_same(killed, whole)


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); f.truncate(0); "
    code += "f.write('123'); f.flush(); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(["python3", "-c", code, str(run.path / ".lock")], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            line = refused("--resume", run.path)
            assert line == f"error: {run.path} is in use by process 123: wait for it, or stop it first"
            line = refused(*PPO, "--auto-resume", "--log-dir", tmp_path / "logs")
            assert line == (
                f"error: {run.path} is this very run and is being trained now: wait for it or stop it; without "
                "--auto-resume a second one begins"
            )
        finally:
            holder.kill()
