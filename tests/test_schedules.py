"""The learning-rate contract as numbers."""

import math

import pytest

from rl_baselines.schedules import LearningRateSchedule, planned_steps, preview, progress_remaining


@pytest.mark.parametrize(
    ("decay", "rates"),
    [
        ("linear", [1e-3, 9e-4, 5e-4, 0.0]),
        ("constant", [1e-3] * 4),
        ("cosine", [1e-3, 1e-3 * (1 + math.cos(0.1 * math.pi)) / 2, 5e-4, 0.0]),
    ],
)
def test_rates_at_given_progress(decay: str, rates: list[float]) -> None:
    schedule = LearningRateSchedule(1e-3, decay)
    assert [schedule(progress) for progress in (1.0, 0.9, 0.5, 0.0)] == pytest.approx(rates, abs=1e-18)


@pytest.mark.parametrize("decay", ["linear", "constant", "cosine"])
def test_rate_is_clamped_outside_the_run(decay: str) -> None:
    schedule = LearningRateSchedule(1e-3, decay)
    assert schedule(-0.28) == schedule(0.0) >= 0.0
    assert schedule(1.5) == schedule(1.0) == 1e-3


def test_progress_is_clamped() -> None:
    assert [progress_remaining(steps, 100) for steps in (0, 25, 100, 130)] == [1.0, 0.75, 0.0, 0.0]


def test_planned_steps_are_whole_rollouts() -> None:
    assert [planned_steps(steps, 1024) for steps in (1, 1024, 1025)] == [1024, 1024, 2048]
    assert planned_steps(1025, None) == 1025


def test_preview_gives_the_rate_of_the_update_at_each_share() -> None:
    """Ten rollouts: the first update runs at X, the one that ends at 10 % is the same, the last runs at X / 10."""
    rates = preview(LearningRateSchedule(1.0, "linear"), 100, 1000)
    assert rates == pytest.approx({"first": 1.0, "10 %": 1.0, "50 %": 0.6, "100 %": 0.1})


def test_preview_of_open_ended_rollouts_gives_the_limit() -> None:
    assert preview(LearningRateSchedule(1.0, "linear"), None, 1000)["100 %"] == 0.0
