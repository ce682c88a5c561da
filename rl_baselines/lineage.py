"""``python -m rl_baselines.lineage RUN``: the runs that a run descends from, and those that descend from it."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import MEASURES, setting

if TYPE_CHECKING:
    from rich.tree import Tree

    from rl_baselines.family import Member

DESCRIPTION = (
    "Show the ancestors and descendants of a run: what each changed, from where it started and what it reached."
)


@dataclass(frozen=True)
class LineageOptions:
    """Lineage"""

    run: str = setting("latest", "A run folder, or latest.", positional=True)
    json: bool = setting(False, "Print one JSON object on standard output.")
    log_dir: str = setting("logs", "Where relatives and latest are looked for.", metavar="FOLDER")


def describe(member: "Member", this: "Member", above: "Member | None" = None) -> dict[str, Any]:
    """Give a run and all below it, ready for JSON.

    :param this: the run that was asked for
    :param above: its parent in the tree
    """
    from rl_baselines.family import changes, mapping, state_of_start, verdicts

    record, told = member.record, member.parent
    env, env_kwargs = member.environment
    start = None
    if told is not None:
        names = ("run", "path", "selection", "timesteps", "sha256")
        start = {**{name: told.get(name) for name in names}, "model": None}
        if above is not None:
            start["model"] = state_of_start(member, above)
    scores = mapping(record.get("comparisons"))
    return {
        "id": member.name,
        "state": member.state,
        "is_asked_for": member is this,
        "folder": None if member.folder is None else str(member.folder.path),
        "env": env,
        "env_kwargs": dict(env_kwargs),
        "algo": member.algorithm,
        "changed": changes(member, above) if above is not None and above.state == "known" else None,
        "start": start,
        "teachers": [
            {"task": teacher.get("task"), **mapping(teacher.get("policy"))}
            for teacher in mapping(record.get("schooling")).get("teachers", [])
        ],
        **{name: record.get(name) for name in ("status", "reason", "timesteps", "steps_planned", "best")},
        "comparisons": {name: dict(mapping(score)) for name, score in scores.items()},
        "verdicts": verdicts(member),
        "children": [describe(child, this, member) for child in member.children],
    }


def lines(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said of one run.

    :param run: as `describe` gives it
    """
    note = {"gone": "  (gone: no folder of it was found)", "damaged": "  (its run.json cannot be read)"}
    note["foreign"] = "  (a model from elsewhere)"
    yield run["id"] + note.get(run["state"], "") + ("  <-- this run" if run["is_asked_for"] else "")
    if run["start"] is not None:
        yield _start(run["start"])
    if run["changed"]:
        changed = [f"{name} {_shown(old)} -> {_shown(new)}" for name, (old, new) in run["changed"].items()]
        yield "changed: " + ", ".join(changed)
    elif run["changed"] is None and run["env"] is not None:
        options = " ".join(f"{name}:{value}" for name, value in run["env_kwargs"].items())
        yield f"{run['algo'] or 'unknown algorithm'} in {run['env']} {options}".rstrip()
    yield from (f"taught {one['task']} by {one.get('run') or one.get('kind')}" for one in run["teachers"])
    if run["status"] is not None:
        yield _progress(run)
    yield from (f"{name}: {_score(score)}" for name, score in run["comparisons"].items())
    if run["verdicts"]:
        yield "judged: " + ", ".join(f"{name} environment {verdict}" for name, verdict in run["verdicts"].items())


def _start(start: Mapping[str, Any]) -> str:
    steps = f"from step {_count(start['timesteps'])}"
    selection = f" ({start['selection']})" if start["selection"] else ""
    fate = {"gone": "; that model is gone", "changed": "; that model was changed since"}
    digest = f", sha256 {str(start['sha256'])[:12]}" if start["sha256"] and start["run"] is None else ""
    return steps + selection + digest + fate.get(start["model"], "")


def _progress(run: Mapping[str, Any]) -> str:
    text = f"{run['status']}: {_count(run['timesteps'])} of {_count(run['steps_planned'])} steps"
    best = run["best"] if isinstance(run["best"], dict) else None
    if best is None:
        return text
    rule = str(best.get("by"))
    score = _number(best.get(MEASURES.get(rule, "mean_reward")))
    return f"{text}, best {score} at step {_count(best.get('timesteps'))} by {rule}"


def _score(score: Mapping[str, Any]) -> str:
    rate = score.get("success_rate")
    share = f" (success {100 * rate:.0f} %)" if isinstance(rate, int | float) else ""
    return _number(score.get("mean_reward")) + share


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "?"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"


def _shown(value: Any) -> str:
    return "default" if value is None else str(value)


def _draw(run: Mapping[str, Any], tree: "Tree | None" = None) -> "Tree":
    """Make a tree of rich's, a label of several lines for each run."""
    from rich.text import Text
    from rich.tree import Tree

    first, *rest = lines(run)
    label = Text(first, style="bold cyan" if run["is_asked_for"] else "cyan")
    for line in rest:
        label.append(f"\n{line}", style="not bold default")
    branch = Tree(label) if tree is None else tree.add(label)
    for child in run["children"]:
        _draw(child, branch)
    return branch


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    options = LineageOptions(**parse((LineageOptions,), argv, "python -m rl_baselines.lineage", DESCRIPTION))

    from rl_baselines.family import Family
    from rl_baselines.screen import make_console
    from rl_baselines.sources import resolve_run

    folder, _ = resolve_run(options.run, Path(options.log_dir))
    family = Family(Path(options.log_dir), folder)
    found = describe(family.tree(), family.this)
    if options.json:
        print(json.dumps({"run": family.this.name, "tree": found}))
    else:
        make_console().print(_draw(found), soft_wrap=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
