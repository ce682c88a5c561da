"""``python -m rl_baselines.lineage``: the tree of a run, whatever became of its relatives."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli import Run, call, call_train, shared_run

from rl_baselines.lineage import main

SCORE = {"mean_reward": 1.25, "success_rate": 0.5}


def lineage(*args: object) -> dict[str, Any]:
    """The tree in the one JSON object that lineage prints."""
    done = call(main, *args, "--json")
    assert (done.code, done.err) == (0, ""), done.err
    assert done.out.count("\n") == 1
    return json.loads(done.out)["tree"]


def ids(tree: dict[str, Any]) -> list[Any]:
    """The names of a tree's runs, without those of their time."""
    return [tree["id"].rpartition("/")[2], *(ids(child) for child in tree["children"])]


def make_run(log_dir: Path, name: str, parent: Path | None = None, env: str = "A-v0", **entries: Any) -> Path:
    """A run folder with only what lineage reads; its parent is another one's checkpoint of step 100."""
    folder = log_dir / env / "native" / "ppo" / f"26-01-01_00h00_{name}"
    folder.mkdir(parents=True)
    record = {"id": "/".join(folder.parts[-4:]), "status": "finished", "started": name, "parent": None}
    if parent is not None:
        path = str(parent / "checkpoints" / "000000100")
        told = {"run": "/".join(parent.parts[-4:]), "path": path, "selection": "best", "timesteps": 100}
        record["parent"] = {**told, "sha256": "0" * 64}
    record |= {"environment": {"id": env, "kwargs": {}}, "timesteps": 200, "steps_planned": 200, "comparisons": {}}
    (folder / "run.json").write_text(json.dumps({**record, **entries}))
    (folder / "config.yaml").write_text(f"env: {env}\nalgo: ppo\n")
    return folder


def test_a_real_fine_tune(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared = shared_run(tmp_path_factory, "cartpole_ppo")
    copy = tmp_path.joinpath("logs", *shared.path.parts[-4:])
    shutil.copytree(shared.path, copy, symlinks=True, ignore=shutil.ignore_patterns("children.txt"))
    flags = ("--num-timesteps", 64, "--compare-episodes", 2, "--eval-freq", 0, "--best-by", "train")
    source = ("--load-rl-model-path", f"{copy}@step:192", "--env-kwargs", "sutton_barto_reward:true")
    child, _ = call_train(*source, *flags, log_dir=tmp_path / "logs")
    for asked in (copy, child.path):
        tree = lineage(asked, "--log-dir", tmp_path / "logs")
        (below,) = tree["children"]
        assert (tree["id"], below["id"], below["children"]) == (shared.id, child.id, [])
        assert (tree["is_asked_for"], below["is_asked_for"]) == (asked == copy, asked != copy)
    assert (tree["start"], tree["changed"], tree["best"]) == (None, None, shared.record["best"])
    assert below["changed"] == {"sutton_barto_reward": [None, True]}
    assert below["start"] == {**child.record["parent"], "model": "there"}
    assert below["start"]["timesteps"] == 192 and below["timesteps"] == 64
    assert below["comparisons"] == child.record["comparisons"] and "before" in below["comparisons"]
    out = call(main, child.path, "--log-dir", tmp_path / "logs").out.splitlines()
    assert out[0] == shared.id
    assert f"└── {child.id}  <-- this run" in out
    assert "    changed: sutton_barto_reward default -> True" in out

    checkpoint = copy / "checkpoints" / "000000192"
    (checkpoint / "model.zip").write_bytes(b"other")
    assert lineage(child.path, "--log-dir", tmp_path / "logs")["children"][0]["start"]["model"] == "changed"
    shutil.rmtree(checkpoint)
    assert lineage(child.path, "--log-dir", tmp_path / "logs")["children"][0]["start"]["model"] == "gone"


def test_three_generations_without_siblings(tmp_path: Path) -> None:
    first = make_run(tmp_path, "01")
    second, aunt = make_run(tmp_path, "03", first), make_run(tmp_path, "02", first)
    third = make_run(tmp_path, "04", second, env="B-v0")
    make_run(tmp_path, "05", aunt)
    names = [path.name for path in (first, second, third, aunt)]
    assert ids(lineage(second, "--log-dir", tmp_path)) == [names[0], [names[1], [names[2]]]]
    assert ids(lineage(first, "--log-dir", tmp_path)) == [
        names[0], [names[3], ["26-01-01_00h00_05"]], [names[1], [names[2]]]
    ]  # fmt: skip
    assert lineage(third, "--log-dir", tmp_path)["children"][0]["children"][0]["changed"] == {"env": ["A-v0", "B-v0"]}


def test_a_parent_that_was_moved_is_found_by_its_id(tmp_path: Path) -> None:
    parent = make_run(tmp_path / "elsewhere", "01")
    child = make_run(tmp_path / "logs", "02", parent)
    moved = tmp_path / "logs" / "A-v0" / "native" / "ppo" / "26-01-01_00h00_09"
    shutil.move(parent, moved)
    tree = lineage(child, "--log-dir", tmp_path / "logs")
    assert (tree["state"], tree["folder"]) == ("known", str(moved))
    assert tree["id"].endswith("26-01-01_00h00_01") and tree["children"][0]["start"]["model"] == "gone"


def test_a_parent_that_is_gone_leaves_what_was_recorded(tmp_path: Path) -> None:
    parent = make_run(tmp_path, "01")
    child = make_run(tmp_path, "02", parent, comparisons={"before": SCORE, "after (last)": SCORE})
    shutil.rmtree(parent)
    tree = lineage(child, "--log-dir", tmp_path)
    assert (tree["state"], tree["folder"], tree["id"].rpartition("/")[2]) == ("gone", None, parent.name)
    assert tree["children"][0]["start"]["timesteps"] == 100
    out = call(main, child, "--log-dir", tmp_path).out
    assert "(gone: no folder of it was found)" in out
    assert "from step 100 (best); that model is gone" in out
    assert "    before: 1.25 (success 50 %)" in out and "    after (last): 1.25 (success 50 %)" in out


def test_a_parent_whose_place_another_run_took_is_not_confused_with_it(tmp_path: Path) -> None:
    parent = make_run(tmp_path, "01")
    child = make_run(tmp_path, "02", parent)
    shutil.rmtree(parent)
    make_run(tmp_path, "01", id="A-v0/native/ppo/another")
    assert lineage(child, "--log-dir", tmp_path)["state"] == "gone"


def test_a_child_that_is_gone_is_known_by_its_mark(tmp_path: Path) -> None:
    parent = make_run(tmp_path, "01")
    child = make_run(tmp_path, "02", parent)
    marks = parent / "checkpoints" / "000000100" / "children.txt"
    marks.parent.mkdir(parents=True)
    marks.write_text(f"{'/'.join(child.parts[-4:])}\nA-v0/native/ppo/deleted\n")
    below = lineage(parent, "--log-dir", tmp_path)["children"]
    assert [(one["id"].rpartition("/")[2], one["state"]) for one in below] == [
        (child.name, "known"),
        ("deleted", "gone"),
    ]


def test_a_model_from_elsewhere_is_a_leaf(tmp_path: Path) -> None:
    told = {"run": None, "path": "/models/stock.zip", "selection": "", "timesteps": 512, "sha256": "ab" * 32}
    child = make_run(tmp_path, "01", parent=None)
    record = json.loads((child / "run.json").read_text())
    (child / "run.json").write_text(json.dumps({**record, "parent": told}))
    tree = lineage(child, "--log-dir", tmp_path)
    assert (tree["id"], tree["state"], tree["children"][0]["start"]["sha256"]) == (
        "/models/stock.zip",
        "foreign",
        "ab" * 32,
    )
    assert tree["children"][0]["changed"] is None
    out = call(main, child, "--log-dir", tmp_path).out
    assert "from step 512, sha256 abababababab; that model is gone\n    ppo in A-v0\n" in out


def test_circles_end(tmp_path: Path) -> None:
    log_dir = tmp_path.resolve()
    paths = [log_dir / "A-v0" / "native" / "ppo" / f"26-01-01_00h00_0{i}" for i in (1, 2, 3)]
    for i in range(3):
        make_run(log_dir, f"0{i + 1}", paths[i - 1])
    own = make_run(log_dir, "04", log_dir / "A-v0" / "native" / "ppo" / "26-01-01_00h00_04")
    names = [path.name for path in paths]
    assert ids(lineage(paths[0], "--log-dir", log_dir)) == [names[0], [names[1], [names[2]]]]
    assert ids(lineage(own, "--log-dir", log_dir)) == [own.name]


@pytest.mark.parametrize(
    "content",
    [
        '{"id": "A',
        "[1, 2]",
        "{}",
        '{"id": 3, "parent": "x", "environment": [], "best": 4, "comparisons": {"before": 1}}',
        '{"parent": {"run": 3, "path": null, "timesteps": "x", "sha256": 1}, "status": "finished", "timesteps": "n"}',
        '{"id": "A-v0/native/ppo/26-01-01_00h00_02", "environment": {"id": 1, "kwargs": {"a": 1}}, "best": {}}',
    ],
)
def test_damaged_records_do_not_stop_it(tmp_path: Path, content: str) -> None:
    parent = make_run(tmp_path, "01")
    damaged = make_run(tmp_path, "02", parent)
    child = make_run(tmp_path, "03", damaged)
    (damaged / "run.json").write_text(content)
    for asked in (parent, damaged, child):
        done = call(main, asked, "--log-dir", tmp_path)
        assert (done.code, done.err) == (0, "") and asked.name in done.out
    assert damaged.name in call(main, child, "--log-dir", tmp_path).out


def test_stored_verdicts_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, "01")
    (run / "comparison.json").write_text(json.dumps({"new": {"verdict": "improved"}, "old": {"verdict": "retained"}}))
    assert lineage(run, "--log-dir", tmp_path)["verdicts"] == {"new": "improved", "old": "retained"}
    assert "judged: new environment improved, old environment retained" in call(main, run, "--log-dir", tmp_path).out
    (run / "comparison.json").write_text("[")
    assert lineage(run, "--log-dir", tmp_path)["verdicts"] == {}


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path, "01")
    done = call(main, run.with_name("26-01-01_00h00_0"), "--log-dir", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: there is no run at ") and done.err.endswith(f"did you mean {run}?\n")
    assert Run(run).record["status"] == "finished"
