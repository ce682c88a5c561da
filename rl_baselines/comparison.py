"""What a fine-tune changed: parent and child, each in the old and in the new environment, on common start seeds.

Of each environment there are two questions. In the new one: is the child better than its parent? In the old one: has it
kept what the parent could do? The measure that answers is settled beforehand, so that none is picked for its result:
the success rate where the environment tells it, else the reward. So are the margins of what counts as kept.

Every answer rests on the differences between episodes with the same start, which vary less than the episodes do.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from rl_baselines.evaluation import EvaluationResult

Measure = Literal["success", "reward"]
MIN_EPISODES = 6  # fewer equal signs than six are no evidence at the level of 5 %: 2 * 0.5**6 = 0.03 by the sign test
FEW_EPISODES = 20
SUCCESS_MARGIN = 0.1  # of all episodes; 50 episodes that all succeed before and after exclude a loss beyond 0.07
REWARD_MARGIN = 0.1  # of the distance between the parent's score and the reference


@dataclass(frozen=True)
class Difference:
    """The mean of child minus parent over episodes with the same start.

    :param low: of the 95 % interval; it and `high` are None for a single episode
    """

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Scores:
    """Parent and child in one environment.

    :param parent: None where it was not or cannot be measured
    :param child: likewise
    :param reason: why one of them is missing, in words
    """

    parent: EvaluationResult | None
    child: EvaluationResult | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the scores in one environment say.

    :param scores: of which it speaks
    :param differences: by measure; none where a score is missing
    :param measure: the one that decides
    :param margin: the loss up to which the old ability counts as kept, in units of the measure; None in the new env
    :param verdict: new env: ``improved``, ``worse``; old env: ``improved``, ``retained``, ``forgotten``; either:
        ``inconclusive``, ``not applicable``
    :param notes: what weakens or qualifies it, in words
    """

    scores: Scores
    differences: dict[Measure, Difference]
    measure: Measure | None
    margin: float | None
    verdict: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give all of it ready for JSON."""
        parent, child = self.scores.parent, self.scores.child
        return {
            "parent": None if parent is None else parent.summary(),
            "child": None if child is None else child.summary(),
            "reason": self.scores.reason,
            "differences": {name: vars(difference) for name, difference in self.differences.items()},
            "measure": self.measure,
            "margin": self.margin,
            "verdict": self.verdict,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Comparison:
    """Both judgements on a fine-tune.

    :param new: in the environment of the child's training
    :param old: in that of the parent's; None where it is the same
    """

    new: Judgement
    old: Judgement | None

    def to_dict(self) -> dict[str, Any]:
        """Give all of it ready for JSON."""
        return {"new": self.new.to_dict(), "old": None if self.old is None else self.old.to_dict()}


def compare(new: Scores, old: Scores | None = None, reference_reward: float = 0.0) -> Comparison:
    """Judge a fine-tune by its scores.

    :param new: in the environment of the child's training
    :param old: in that of the parent's; None where it is the same
    :param reference_reward: of no skill in the old environment, such as that of a random policy
    :raises ValueError: when two evaluations that are compared differ in their start seeds
    """
    return Comparison(judge_new(new), None if old is None else judge_old(old, reference_reward))


def judge_new(scores: Scores) -> Judgement:
    """Tell whether the child is better: the interval of the difference lies above 0, or worse: it lies below."""
    differences, measure, notes = _evidence(scores)
    if measure is None or scores.parent is None:
        return Judgement(scores, differences, None, None, "not applicable", notes)
    if scores.parent.success_rate == 1:
        notes += ("the parent succeeded in every episode: there was nothing to improve",)
    n_episodes = scores.parent.n_episodes
    verdict = {1: "improved", -1: "worse", 0: "inconclusive"}[_sign(differences[measure], n_episodes)]
    return Judgement(scores, differences, measure, None, verdict, notes + _dissent(differences, measure, n_episodes))


def judge_old(scores: Scores, reference_reward: float = 0.0) -> Judgement:
    """Tell whether the child has kept what its parent could do.

    ``retained`` needs evidence: the interval of the difference does not reach below minus the margin. That is 0.1 for a
    success rate, else a tenth of the distance between the parent's mean reward and the reference. ``forgotten``: the
    interval lies below 0 and reaches beyond the margin. Where the parent hardly succeeded nothing can be retained.

    :param reference_reward: of no skill, such as that of a random policy
    """
    differences, measure, notes = _evidence(scores)
    if measure is None or scores.parent is None:
        return Judgement(scores, differences, None, None, "not applicable", notes)
    margin = SUCCESS_MARGIN
    if measure == "reward":
        margin = REWARD_MARGIN * abs(scores.parent.mean_reward - reference_reward)
    difference, n_episodes = differences[measure], scores.parent.n_episodes
    keeps = n_episodes >= MIN_EPISODES and difference.low is not None and difference.low >= -margin
    if measure == "success" and (scores.parent.success_rate or 0) <= SUCCESS_MARGIN:
        keeps = False
        notes += ("the parent hardly succeeded itself: there was nothing to forget",)
    sign = _sign(difference, n_episodes)
    verdict = "improved" if sign > 0 else "retained" if keeps else "forgotten" if sign < 0 else "inconclusive"
    return Judgement(scores, differences, measure, margin, verdict, notes + _dissent(differences, measure, n_episodes))


def paired_differences(parent: EvaluationResult, child: EvaluationResult) -> dict[Measure, Difference]:
    """Give child minus parent: the reward, and the success rate where both tell it.

    :raises ValueError: when their start seeds differ
    """
    if parent.start_seeds != child.start_seeds:
        raise ValueError("the two evaluations differ in their start seeds, so their episodes make no pairs")
    found: dict[Measure, Difference] = {}
    if parent.successes is not None and child.successes is not None:
        found["success"] = _success_difference(parent, child)
    difference = replace(child, rewards=child.rewards - parent.rewards)
    found["reward"] = Difference(difference.mean_reward, *(difference.reward_interval() or (None, None)))
    return found


def _success_difference(parent: EvaluationResult, child: EvaluationResult) -> Difference:
    """Give the difference of two success rates on pairs of episodes with its score interval.

    Method 10 of R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650: Wilson's intervals of both rates, combined
    with the correlation of the pairs. It keeps a width where every pair agrees, where Student's t interval has none.
    """
    child_rate, child_low, child_high = _rate(child)
    parent_rate, parent_low, parent_high = _rate(parent)
    correlation = _correlation(np.asarray(parent.successes), np.asarray(child.successes))

    def distance(one: float, other: float) -> float:
        return max(0.0, one**2 - 2 * correlation * one * other + other**2) ** 0.5

    mean = child_rate - parent_rate
    low = mean - distance(child_rate - child_low, parent_high - parent_rate)
    return Difference(mean, low, mean + distance(child_high - child_rate, parent_rate - parent_low))


def _rate(result: EvaluationResult) -> tuple[float, float, float]:
    """Give a success rate that is told and Wilson's interval."""
    rate, interval = result.success_rate, result.success_interval()
    assert rate is not None and interval is not None
    return rate, *interval


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Give the correlation of pairs, reduced by Newcombe's correction for continuity where it is positive.

    :param one: bool, (n,)
    :param other: bool, (n,)
    """
    n_pairs, n_one, n_other, both = len(one), int(one.sum()), int(other.sum()), int((one & other).sum())
    product = both * (n_pairs - n_one - n_other + both) - (n_one - both) * (n_other - both)
    scale = float(n_one * (n_pairs - n_one) * n_other * (n_pairs - n_other)) ** 0.5
    return 0.0 if not scale else min(product, max(0.0, product - n_pairs / 2)) / scale


def _evidence(scores: Scores) -> tuple[dict[Measure, Difference], Measure | None, tuple[str, ...]]:
    """Give the differences, the measure that decides, and what is to be said about the number of episodes."""
    if scores.parent is None or scores.child is None:
        return {}, None, (scores.reason or "not measured",)
    differences, n_episodes = paired_differences(scores.parent, scores.child), scores.parent.n_episodes
    measure: Measure = "success" if "success" in differences else "reward"
    if n_episodes < MIN_EPISODES:
        return differences, measure, (f"{n_episodes} episodes are too few for a verdict, {MIN_EPISODES} the least",)
    few = (f"{n_episodes} episodes are few: the interval is wide",) if n_episodes < FEW_EPISODES else ()
    return differences, measure, few


def _sign(difference: Difference, n_episodes: int) -> int:
    """Give 1 or -1 where the interval lies on that side of 0, else 0."""
    if n_episodes < MIN_EPISODES or difference.low is None or difference.high is None:
        return 0
    return (difference.low > 0) - (difference.high < 0)


def _dissent(differences: dict[Measure, Difference], measure: Measure, n_episodes: int) -> tuple[str, ...]:
    """Say that the reward changed where the success rate, which decides, did not, or did the other way."""
    reward, sign = differences["reward"], _sign(differences[measure], n_episodes)
    if measure == "reward" or _sign(reward, n_episodes) in (0, sign):
        return ()
    return (f"the reward alone says otherwise: {reward.mean:+.3g} [{reward.low:.3g}, {reward.high:.3g}]",)
