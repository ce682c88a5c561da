"""What a fine-tune changed: paired differences, verdicts that need evidence, their words and their picture."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from matplotlib.figure import Figure
from test_plots import assert_is_picture, drawn, make_run  # noqa: F401 - a fixture

from rl_baselines.comparison import Scores, compare, judge_new, judge_old, paired_differences
from rl_baselines.comparison_report import comparison_header, comparison_rows, sentences
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.fine_tune_plot import draw_fine_tune

Pair = tuple[EvaluationResult, EvaluationResult]


def result(rewards: Any, successes: Any = None, first_seed: int = 0) -> EvaluationResult:
    rewards = np.asarray(rewards, dtype=np.float64)
    told = None if successes is None else np.asarray(successes, dtype=bool)
    return EvaluationResult(
        rewards, np.full(len(rewards), 7), told, tuple(range(first_seed, first_seed + len(rewards)))
    )


def pair(both: int, only_child: int, only_parent: int, neither: int) -> Pair:
    """Parent and child by the number of episodes in which they succeed; the reward is 5 for success."""
    parent = np.array([1] * both + [0] * only_child + [1] * only_parent + [0] * neither, dtype=bool)
    child = np.array([1] * both + [1] * only_child + [0] * only_parent + [0] * neither, dtype=bool)
    return result(5.0 * parent, parent), result(5.0 * child, child)


def rewards(parent: Any, change: Any) -> Pair:
    return result(parent), result(np.asarray(parent, dtype=np.float64) + change)


def test_reward_difference_is_that_of_the_paired_t_test() -> None:
    generator = np.random.default_rng(0)
    parent, change = generator.normal(100, 50, 12), generator.normal(3, 1, 12)
    found = paired_differences(*rewards(parent, change))
    reference = scipy.stats.ttest_rel(parent + change, parent).confidence_interval()
    assert list(found) == ["reward"]
    assert (found["reward"].low, found["reward"].high) == pytest.approx((reference.low, reference.high))
    assert found["reward"].mean == pytest.approx(change.mean())
    assert judge_new(Scores(*rewards(parent, change))).verdict == "improved"  # though the scores overlap widely


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((14, 5, 0, 22), 0.0115, 0.2265), ((50, 0, 0, 0), -0.0713, 0.0713)],
)
def test_success_difference_is_newcombes(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    """The first is the example of his paper; where every pair agrees the interval keeps a width."""
    found = paired_differences(*pair(*counts))["success"]
    assert found.mean == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = paired_differences(*pair(*counts)[::-1])["success"]
    assert (mirrored.low, mirrored.high) == pytest.approx((-high, -low), abs=5e-5)


def test_success_interval_covers_what_it_should() -> None:
    """Of 400 samples of 50 correlated pairs, the interval holds the true difference in about 95 %."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        counts = generator.multinomial(50, [0.6, 0.2, 0.05, 0.15])
        found = paired_differences(*pair(*counts))["success"]
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.15 <= found.high
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.parametrize(
    ("counts", "new", "old"),
    [
        ((9, 26, 0, 15), "improved", "improved"),
        ((50, 0, 0, 0), "inconclusive", "retained"),
        ((48, 0, 0, 2), "inconclusive", "retained"),
        ((40, 3, 5, 2), "inconclusive", "inconclusive"),
        ((20, 2, 28, 0), "worse", "forgotten"),
        ((0, 0, 0, 50), "inconclusive", "inconclusive"),
        ((30, 0, 0, 0), "inconclusive", "inconclusive"),  # 30 episodes do not exclude a loss of a tenth
        ((0, 5, 0, 0), "inconclusive", "inconclusive"),
    ],
)
def test_verdicts_by_success(counts: tuple[int, int, int, int], new: str, old: str) -> None:
    comparison = compare(Scores(*pair(*counts)), Scores(*pair(*counts)))
    assert comparison.old is not None
    assert (comparison.new.verdict, comparison.old.verdict) == (new, old)
    assert (comparison.new.measure, comparison.old.margin) == ("success", 0.1)


@pytest.mark.parametrize(
    ("change", "new", "old"),
    [
        (np.zeros(20), "inconclusive", "retained"),
        (np.linspace(-12, 10, 20), "inconclusive", "retained"),
        (np.linspace(-60, 60, 20), "inconclusive", "inconclusive"),
        (np.linspace(-6, -4, 20), "worse", "retained"),  # a loss, but one of less than a tenth of 100
        (np.linspace(-40, -20, 20), "worse", "forgotten"),
        (np.linspace(1, 3, 20), "improved", "improved"),
        (np.full(5, 50.0), "inconclusive", "inconclusive"),
        (np.full(1, 50.0), "inconclusive", "inconclusive"),
    ],
)
def test_verdicts_by_reward(change: np.ndarray, new: str, old: str) -> None:
    scores = Scores(*rewards(np.full(len(change), 100.0), change))
    assert (judge_new(scores).verdict, judge_old(scores).verdict) == (new, old)
    assert judge_old(scores).margin == pytest.approx(10)


def test_margin_of_rewards_is_a_tenth_of_the_way_from_the_reference() -> None:
    scores = Scores(*rewards(np.full(20, -150.0), np.linspace(-60, -40, 20)))
    assert (judge_old(scores).verdict, judge_old(scores).margin) == ("forgotten", pytest.approx(15))
    by_random = judge_old(scores, reference_reward=-1200)
    assert (by_random.verdict, by_random.margin) == ("retained", pytest.approx(105))


def test_notes_say_what_weakens_a_verdict() -> None:
    assert judge_new(Scores(*pair(10, 0, 0, 0))).notes == (
        "10 episodes are few: the interval is wide",
        "the parent succeeded in every episode: there was nothing to improve",
    )
    assert judge_old(Scores(*pair(0, 0, 2, 48))).notes == (
        "the parent hardly succeeded itself: there was nothing to forget",
    )
    assert judge_new(Scores(*pair(3, 0, 0, 0))).notes[0] == "3 episodes are too few for a verdict, 6 the least"
    parent, child = pair(50, 0, 0, 0)
    faster = result(child.rewards + np.linspace(0.1, 0.2, 50), child.successes)
    (_, dissent) = judge_new(Scores(parent, faster)).notes
    assert dissent == "the reward alone says otherwise: +0.15 [0.142, 0.158]"


def test_a_missing_score_has_a_reason() -> None:
    parent, _ = pair(5, 5, 5, 5)
    judgement = judge_old(Scores(parent, None, "the child observes more"))
    assert (judgement.verdict, judgement.notes) == ("not applicable", ("the child observes more",))
    assert judgement.to_dict()["parent"]["success_rate"] == 0.5 and judgement.to_dict()["child"] is None
    assert judge_new(Scores(None, None)).notes == ("not measured",)


def test_other_start_seeds_make_no_pairs() -> None:
    with pytest.raises(ValueError, match="differ in their start seeds"):
        paired_differences(result([1, 2]), result([1, 2], first_seed=1))


def test_one_environment_has_one_column_and_all_of_it_is_json() -> None:
    comparison = compare(Scores(*pair(9, 26, 0, 15)))
    stored = json.loads(json.dumps(comparison.to_dict()))
    assert stored["old"] is None and stored["new"]["verdict"] == "improved"
    assert stored["new"]["differences"]["success"]["mean"] == pytest.approx(0.52)
    assert comparison_header(comparison) == ("", "environment")
    assert list(comparison_rows(comparison, "best")) == [
        ("parent", "success 18 % [10, 31], reward 0.9 [0.349, 1.45]"),
        ("best", "success 70 % [56, 81], reward 3.5 [2.84, 4.16]"),
        ("difference", "success +52 points [+36, +64], reward +2.6 [+1.88, +3.32]"),
        ("verdict", "improved"),
    ]
    assert list(sentences(comparison)) == [
        "here: improved: the success rate changed by +52 points [+36, +64]; all of the interval lies above 0"
    ]


def test_sentences_of_both_environments() -> None:
    old = Scores(*rewards(np.full(20, 100.0), np.linspace(-40, -20, 20)))
    assert list(sentences(compare(Scores(*pair(50, 0, 0, 0)), old))) == [
        "in the new environment: inconclusive: the success rate changed by +0 points [-7, +7]; neither a gain nor a "
        "loss is certain; the parent succeeded in every episode: there was nothing to improve",
        "in the old environment: forgotten: the reward changed by -30 [-32.9, -27.1]; "
        "a loss of more than 10 is certain",
    ]
    lost = Scores(old.parent, None, "other actions")
    assert list(sentences(compare(lost, lost)))[1] == "in the old environment: not applicable; other actions"


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for part in figure.axes for text in (*part.texts, part.title)]


def test_picture_shows_curves_and_scores(tmp_path: Path, drawn: list[Figure]) -> None:  # noqa: F811
    comparison = compare(Scores(*pair(9, 26, 0, 15)), Scores(*pair(48, 0, 0, 2)))
    parent = make_run(tmp_path / "parent", n_evaluations=3)
    assert comparison.new.scores.parent is not None
    child = make_run(tmp_path / "child", before=comparison.new.scores.parent.summary())
    draw_fine_tune([parent, child], comparison, tmp_path / "fine_tune.png", "A to B")
    assert drawn[0].get_suptitle() == "A to B"
    shown = texts(drawn[0])
    assert {"old environment\nretained", "new environment\nimproved"} <= set(shown)
    assert [text for text in shown if text.endswith("%")] == ["96%", "96%", "18%", "70%", "before 18%"]
    scores = {axes.get_title(): axes for axes in drawn[0].axes}["new environment\nimproved"]
    assert [tick.get_text() for tick in scores.get_xticklabels()] == ["parent", "child"]
    assert_is_picture(tmp_path / "fine_tune.png")


def test_the_child_begins_at_the_step_of_its_parent_that_it_started_from(
    tmp_path: Path,
    drawn: list[Figure],  # noqa: F811
) -> None:
    """Ten episodes of the parent end at 10, 20, ...; of its evaluations one lies before the hand-over at 60."""
    comparison = compare(Scores(*pair(9, 26, 0, 15)))
    parent, child = make_run(tmp_path / "parent", n_evaluations=3), make_run(tmp_path / "child")
    draw_fine_tune([replace(parent, until=60), child], comparison, tmp_path / "fine_tune.png")
    curves = next(axes for axes in drawn[0].axes if axes.get_ylabel() == "reward of an episode")
    episodes = [line for line in curves.lines if line.get_linestyle() == "None" and line.get_alpha()]
    assert [line.get_xdata().tolist() for line in episodes] == [list(range(10, 70, 10)), list(range(70, 170, 10))]
    assert [list(line.get_xdata()) for line in curves.lines if line.get_linestyle() == "--"] == [[60, 60]]
    assert [list(line.get_xdata()) for line in curves.lines if line.get_marker() == "o"] == [[50], [110, 160]]


def test_picture_of_a_child_alone_in_one_environment(tmp_path: Path, drawn: list[Figure]) -> None:  # noqa: F811
    comparison = compare(Scores(*rewards(np.full(20, 100.0), np.linspace(1, 3, 20))))
    draw_fine_tune([make_run(tmp_path / "child", None)], comparison, tmp_path / "fine_tune.png")
    assert len(drawn[0].axes) == 2
    assert {"before and after\nimproved", "100", "102"} <= set(texts(drawn[0]))
    assert_is_picture(tmp_path / "fine_tune.png")


def test_picture_without_scores_has_only_curves(tmp_path: Path, drawn: list[Figure]) -> None:  # noqa: F811
    draw_fine_tune([make_run(tmp_path / "child", None)], compare(Scores(None, None)), tmp_path / "fine_tune.png")
    assert len(drawn[0].axes) == 1
