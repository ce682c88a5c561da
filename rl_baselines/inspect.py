"""``python -m rl_baselines.inspect SOURCE``: all that is known of a saved model, and what can be done with it."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rl_baselines.algorithms import ALGORITHMS
from rl_baselines.command_line import parse, run_command
from rl_baselines.config import setting

DESCRIPTION = "Show all that is known of a saved model, without running any of its code, and what can be done with it."


@dataclass(frozen=True)
class InspectOptions:
    """Inspect"""

    source: str = setting(
        "latest",
        "A run folder (its best model), RUN@last, RUN@step:N, a checkpoint folder, a model zip, an rl-zoo folder, or "
        "latest.",
        positional=True,
    )
    json: bool = setting(False, "Print one JSON object on standard output.")
    log_dir: str = setting("logs", "Where latest is looked for.", metavar="FOLDER")


def fact_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is known but for the networks.

    :param facts: as `model_facts.gather` gives them
    """
    yield "model", facts["source"] + (f" ({facts['selection']})" if facts["selection"] else "")
    yield "kind", facts["kind"]
    if facts["run"] is not None:
        yield "run", facts["run"]
    yield "algorithm", facts["algorithm"] or "unknown"
    yield "environment", facts["environment"] or "unknown"
    yield "timesteps trained", f"{facts['timesteps']:,}"
    yield "policy", facts["policy"]
    yield "observations", facts["observation_space"]
    yield "actions", facts["action_space"]
    row = ALGORITHMS.get(facts["algorithm"])
    if row is None or row.learning_rate:
        yield from _rate_rows(facts["learning_rate"])
    else:
        yield "learning rate", f"{row.name} has none"
    yield from _state_rows(facts)
    yield "parent", _parent(facts["parent"]) if facts["is_parent_known"] else "unknown"
    yield "versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) or "unknown"
    passed_over = ", ".join(facts["passed_over"])
    yield "safe to read", "yes: no code of it runs" + (f"; pickled, passed over: {passed_over}" if passed_over else "")


def _rate_rows(rate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    def shown(value: float | None) -> str:
        return "unknown" if value is None else f"{value:g}"

    decay = f", {rate['decay']}" if rate["decay"] else ""
    yield "learning rate", f"{shown(rate['initial'])} at first{decay}; oldest ancestor: {shown(rate['root'])} at first"
    left = [f"{name} {', '.join(map(shown, rates))}" for name, rates in rate["left"].items()]
    yield "  left at this point", "; ".join(left) or "unknown: no optimiser is there"


def _state_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what there is besides the networks."""
    optimizers = [
        f"{name}: {one['kind']}, {one['n_moments']} moments"
        + (f" ({', '.join(one['moments'])})" if one["moments"] else "")
        for name, one in facts["optimizers"].items()
    ]
    yield "optimiser", "; ".join(optimizers) or "none"
    if facts["variables"]:
        yield "variables", ", ".join(f"{name} {_number(value)}" for name, value in facts["variables"].items())
    statistics, replay = facts["statistics"], facts["replay_buffer"]
    n_observations = statistics["n_observations"]
    count = "" if n_observations is None else f" of {n_observations:,.0f} observations"
    yield "statistics", f"{statistics['form']}{count}: {statistics['detail']}"
    held = "" if replay["n_transitions"] is None else f", {replay['n_transitions']:,} transitions"
    detail = f" ({replay['detail']})" if replay["detail"] else ""
    yield "replay buffer", ("yes" if replay["present"] else "none") + held + detail
    yield "state memory", "yes" if facts["state_memory"] else "none"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _parent(parent: Any) -> str:
    if not isinstance(parent, dict):
        return "none: trained from scratch" if parent is None else "unreadable"
    return f"{parent.get('run') or parent.get('path')}, after {parent.get('timesteps', 0):,} steps"


def network_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the parts of the networks with their tensors and number of parameters, and the total."""
    for network in facts["networks"]:
        shapes = [f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in network["tensors"].items()]
        shared = network["shared_with"]
        count = f"{network['n_parameters']:,}" if shared is None else f"those of {shared}"
        yield network["part"], ", ".join(shapes), count
    yield "total", "", f"{facts['n_parameters']:,}"


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    options = InspectOptions(**parse((InspectOptions,), argv, "python -m rl_baselines.inspect", DESCRIPTION))

    from rich.markup import escape

    from rl_baselines.model_facts import gather
    from rl_baselines.model_uses import judge_uses
    from rl_baselines.screen import make_console, show_table
    from rl_baselines.sources import resolve

    source = resolve(options.source, Path(options.log_dir))
    facts = gather(source)
    uses = judge_uses(source)
    if options.json:
        print(json.dumps({**facts, "uses": {name: asdict(use) for name, use in uses.items()}}))
        return 0
    console = make_console()
    show_table(console, "Model", [(name, escape(value)) for name, value in fact_rows(facts)])
    show_table(console, "Networks", network_rows(facts), ("part", "tensors", "parameters"))
    for name, use in uses.items():
        console.print(f"can be {name}: {use}", soft_wrap=True, markup=False, highlight=False)
        if use.command:
            console.print(f"  {use.command}", soft_wrap=True, markup=False, highlight=False)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
