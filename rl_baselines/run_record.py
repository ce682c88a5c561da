"""``run.json``: what a run is, where it comes from and how it went."""

import datetime
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rl_baselines.checkpoint import hash_of
from rl_baselines.config import RunOptions
from rl_baselines.machine import describe_machine, package_versions
from rl_baselines.resolution import RunPlan
from rl_baselines.resuming import Resumption
from rl_baselines.run_folder import RunFolder, is_run_folder
from rl_baselines.sources import Source


def first_record(
    run_id: str,
    plan: RunPlan,
    options: RunOptions,
    device: torch.device,
    fingerprint: Mapping[str, Any],
    started: datetime.datetime,
    argv: Sequence[str],
) -> dict[str, Any]:
    """Give the record of a run that begins.

    :param options: those that stay the same when it is resumed are kept
    :param device: of the model
    :param fingerprint: of the environment's physics, as far as it tells one
    :param argv: the command's arguments
    """
    schedule = plan.learning_rate.schedule
    environment = plan.config.environment
    return {
        "id": run_id,
        "verb": "train",
        "status": "running",
        "started": _written(started),
        "command": _command(argv),
        "options": {name: value for name, value in asdict(options).items() if name not in ("log_dir", "stop_after")},
        "parent": _describe_parent(plan.source),
        "root_learning_rate": plan.learning_rate.root,
        "learning_rate": {
            "initial": schedule.initial if schedule else None,
            "decay": schedule.decay if schedule else None,
            "reason": plan.learning_rate.reason,
        },
        "steps_planned": plan.steps_planned,
        "environment": {
            "id": environment.env,
            "kwargs": environment.env_kwargs,
            "observation_space": str(plan.observation_space),
            "action_space": str(plan.action_space),
            "fingerprint": dict(fingerprint),
        },
        "machine": describe_machine(device),
        "device": str(device),
        "versions": package_versions(),
        "git": _git_revision(),
        "resumes": [],
    }


def parent_folder(record: Mapping[str, Any]) -> RunFolder | None:
    """Give the folder of the run that a fine-tune began from, if it is there.

    :param record: of the fine-tune
    """
    parent = record.get("parent")
    if not parent:
        return None
    folder = RunFolder(Path(parent["path"]).parent.parent)
    return folder if is_run_folder(folder.path) else None


def resumed_record(resumption: Resumption, plan: RunPlan, argv: Sequence[str]) -> dict[str, Any]:
    """Give the record of a run that goes on: its own, and how and from where it was resumed."""
    record = resumption.folder.read_record()
    schedule, before = plan.learning_rate.schedule, resumption.state["steps_planned"]
    resumed: dict[str, Any] = {
        "at": _written(datetime.datetime.now()),
        "timesteps": resumption.timesteps,
        "command": _command(argv),
        "exact": not resumption.reasons,
        "reasons": resumption.reasons,
        "components": [dict(zip(("component", "fate", "reason"), row, strict=True)) for row in resumption.rows],
    }
    if plan.steps_planned != before:
        rate = None if schedule is None else schedule.initial
        resumed["horizon"] = {"before": before, "now": plan.steps_planned, "learning_rate": rate}
    return {
        **record,
        "status": "running",
        "steps_planned": plan.steps_planned,
        "resumes": [*record.get("resumes", []), resumed],
    }


def end_of_record(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Give what is added to a record when a run ends.

    :param outcome: entries that are added as they are
    """
    return {**outcome, "ended": _written(datetime.datetime.now())}


def _written(moment: datetime.datetime) -> str:
    return moment.astimezone().isoformat(timespec="microseconds")


def _command(argv: Sequence[str]) -> list[str]:
    return ["python", "-m", "rl_baselines.train", *argv]


def _describe_parent(source: Source | None) -> dict[str, Any] | None:
    if source is None:
        return None
    return {
        "run": source.run_id,
        "path": source.path,
        "selection": source.selection,
        "sha256": hash_of(source.model),
        "timesteps": source.timesteps,
    }


def _git_revision() -> str | None:
    """Give the revision of the code, where it lies in a git checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
