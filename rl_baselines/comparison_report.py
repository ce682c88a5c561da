"""A comparison of a fine-tune with its parent in words: rows of a table, and a sentence for each environment."""

from collections.abc import Iterator

from rl_baselines.comparison import Comparison, Difference, Judgement, Measure
from rl_baselines.evaluation import EvaluationResult


def comparison_header(comparison: Comparison) -> tuple[str, ...]:
    """Name the columns of `comparison_rows`."""
    return ("", "environment") if comparison.old is None else ("", "new environment", "old environment")


def comparison_rows(comparison: Comparison, child: str = "child") -> Iterator[tuple[str, ...]]:
    """Yield parent, child, their difference and the verdict, with a cell for each environment.

    :param child: how it is called, such as ``child (best)``
    """
    columns = [judgement for judgement in (comparison.new, comparison.old) if judgement is not None]
    yield "parent", *(_score(judgement.scores.parent) for judgement in columns)
    yield child, *(_score(judgement.scores.child) for judgement in columns)
    yield "difference", *(_differences(judgement) for judgement in columns)
    yield "verdict", *(judgement.verdict for judgement in columns)


def sentences(comparison: Comparison) -> Iterator[str]:
    """Yield what can be said about the new environment and, where it is another one, the old."""
    where = ("in the new environment", "in the old environment") if comparison.old is not None else ("here",)
    for place, judgement in zip(where, (comparison.new, comparison.old), strict=False):
        assert judgement is not None
        notes = "".join(f"; {note}" for note in judgement.notes)
        if judgement.measure is None:
            yield f"{place}: {judgement.verdict}{notes}"
        else:
            yield f"{place}: {_verdict(judgement, judgement.measure)}{notes}"


def _verdict(judgement: Judgement, measure: Measure) -> str:
    """Say what follows from the difference, and why no more than that."""
    change = f"{_name(measure)} changed by {_interval(measure, judgement.differences[measure])}"
    margin = "" if judgement.margin is None else _amount(measure, judgement.margin)
    high = judgement.differences[measure].high
    is_beyond = high is not None and high < -(judgement.margin or 0)
    because = {
        "improved": "all of the interval lies above 0",
        "worse": "all of the interval lies below 0",
        "retained": f"a loss of more than {margin} is excluded",
        "forgotten": f"a loss of more than {margin} is certain"
        if is_beyond
        else f"a loss is certain, and one of more than {margin} not excluded",
        "inconclusive": "neither a gain nor a loss is certain"
        + (f", and a loss of more than {margin} not excluded" if margin else ""),
    }[judgement.verdict]
    return f"{judgement.verdict}: the {change}; {because}"


def _score(result: EvaluationResult | None) -> str:
    if result is None:
        return "-"
    parts = []
    if result.success_rate is not None:
        low, high = result.success_interval() or (0.0, 1.0)
        parts.append(f"success {100 * result.success_rate:.0f} % [{100 * low:.0f}, {100 * high:.0f}]")
    interval = result.reward_interval()
    shown = "" if interval is None else f" [{interval[0]:.3g}, {interval[1]:.3g}]"
    return ", ".join([*parts, f"reward {result.mean_reward:.3g}{shown}"])


def _differences(judgement: Judgement) -> str:
    if not judgement.differences:
        return "-"
    return ", ".join(f"{name} {_interval(name, found)}" for name, found in judgement.differences.items())


def _name(measure: Measure) -> str:
    return "success rate" if measure == "success" else "reward"


def _interval(measure: Measure, found: Difference) -> str:
    scale, unit, form = (100, " points", "+.0f") if measure == "success" else (1, "", "+.3g")
    text = f"{scale * found.mean:{form}}{unit}"
    return text if found.low is None else f"{text} [{scale * found.low:{form}}, {scale * (found.high or 0):{form}}]"


def _amount(measure: Measure, amount: float) -> str:
    return f"{100 * amount:.0f} points" if measure == "success" else f"{amount:.3g}"
