"""Normalised scores, forgetting and transfer against numbers reckoned by hand."""

import math

import numpy as np
import pytest

from rl_baselines.intervals import student_interval
from rl_baselines.transfer_matrix import (
    average_accuracy,
    backward_transfer,
    best_levels,
    estimate,
    forgetting,
    forward_transfer,
    normalised,
    sequence_summary,
)

SCORES = np.array(
    [
        [[10.0, 8.0], [2.0, 4.0], [1.0, 1.0]],
        [[6.0, 10.0], [9.0, 7.0], [3.0, 5.0]],
        [[4.0, 4.0], [8.0, 6.0], [12.0, 10.0]],
    ]
)
"""R[i, j] after the tasks 0, 1, 2 on these tasks, two samples each."""
UNTRAINED = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])


def test_average_accuracy_is_the_mean_of_the_last_row() -> None:
    assert average_accuracy(SCORES).tolist() == [(4 + 8 + 12) / 3, (4 + 6 + 10) / 3]


def test_forgetting_is_from_the_best_of_the_earlier_states() -> None:
    """Of task 0 the mean is 9 after task 0 and 8 after task 1, of task 1 it is 3 and 8: the states 0 and 1 are best."""
    assert forgetting(SCORES).tolist() == [((10 - 4) + (9 - 8)) / 2, ((8 - 4) + (7 - 6)) / 2]


def test_forgetting_of_trainings_has_a_best_state_in_each() -> None:
    """In the second sample task 0 is done best after task 1."""
    assert forgetting(SCORES, best_of="samples").tolist() == [3.5, ((10 - 4) + (7 - 6)) / 2]


def test_forgetting_counts_what_was_known_before_the_task_was_learnt() -> None:
    scores = np.zeros((3, 3, 1))
    scores[0, 1], scores[1, 1], scores[2, 1] = 5.0, 3.0, 1.0
    assert forgetting(scores).tolist() == [(0 + 4) / 2]


def test_backward_transfer_is_from_the_diagonal() -> None:
    assert backward_transfer(SCORES).tolist() == [((4 - 10) + (8 - 9)) / 2, ((4 - 8) + (6 - 7)) / 2]


def test_forward_transfer_is_from_what_has_learnt_nothing() -> None:
    assert forward_transfer(SCORES, UNTRAINED).tolist() == [((2 - 1) + (3 - 2)) / 2, ((4 - 1) + (5 - 0)) / 2]


def test_intervals_are_of_the_paired_samples() -> None:
    """Forgetting is 3.5 and 2.5: mean 3, deviation 0.7071, t(1) = 12.706."""
    found = sequence_summary(SCORES, UNTRAINED)["forgetting"]
    half_width = 12.7062047 * math.sqrt(0.5) / math.sqrt(2)
    assert (found.mean, found.low, found.high) == pytest.approx((3.0, 3 - half_width, 3 + half_width))
    single = sequence_summary(SCORES[:, :, :1], UNTRAINED[:, :1])["backward_transfer"]
    assert (single.mean, single.low, single.high) == (-3.5, None, None)


def test_samples_that_vary_alike_leave_no_doubt() -> None:
    """A start that is harder on every task changes no difference between tasks' scores before and after."""
    hard = np.array([0.0, -100.0, 50.0])
    scores = np.array([[[1.0], [0.0]], [[0.5], [2.0]]]) + hard
    assert backward_transfer(scores).tolist() == [-0.5] * 3
    found = estimate(backward_transfer(scores))
    assert (found.mean, found.low, found.high) == (-0.5, -0.5, -0.5)


def test_a_missing_cell_makes_undefined_only_what_needs_it() -> None:
    scores = SCORES.copy()
    scores[0, 2] = np.nan  # after task 0, on task 2: no figure needs it
    assert np.isfinite([one.mean for one in sequence_summary(scores, UNTRAINED).values()]).all()
    scores[1, 2] = np.nan
    found = sequence_summary(scores, UNTRAINED)
    assert math.isnan(found["forward_transfer"].mean) and found["forward_transfer"].low is None
    assert found["forgetting"].mean == 3.0
    scores[0, 1] = np.nan
    assert math.isnan(sequence_summary(scores, UNTRAINED)["forgetting"].mean)


@pytest.mark.parametrize(("shape", "words"), [((2, 3, 1), "2 policies and 3 tasks"), ((1, 1, 4), "1 policies and 1")])
def test_a_sequence_has_a_policy_after_each_task(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sequence_summary(np.zeros(shape), np.zeros(shape[1:]))


def test_levels_and_normalised_scores() -> None:
    """Task 0 from 2 to 10, task 1 has no policy above random actions, task 2 one that equals them."""
    scores = np.array([[[10.0, 10.0], [0.0, 2.0], [5.0, 5.0]], [[6.0, 2.0], [-4.0, 0.0], [np.nan, np.nan]]])
    one = best_levels(scores)
    assert one.tolist() == [10.0, 1.0, 5.0]
    found = normalised(scores, np.array([2.0, 3.0, 5.0]), one)
    assert found[:, 0].tolist() == [[1.0, 1.0], [0.5, 0.0]]
    assert np.isnan(found[:, 1:]).all()
    assert normalised(np.array([[2.0, 4.0]]), np.array([2.0]), np.array([10.0])).tolist() == [[0.0, 0.25]]


def test_no_policy_no_level() -> None:
    assert np.isnan(best_levels(np.full((2, 1, 3), np.nan))).all()


def test_student_interval_of_three() -> None:
    """Mean 2, deviation 1, t(2) = 4.30265273."""
    assert student_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx(
        (2 - 4.30265273 / 3**0.5, 2 + 4.30265273 / 3**0.5)
    )
    assert student_interval(np.array([1.0])) is None
