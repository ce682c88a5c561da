"""What a student is taught, how far it is from that, and what the settings of the loss do, against numbers by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import toy_envs
from gymnasium import spaces
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from rl_baselines.distillation.algorithm import Distillation
from rl_baselines.distillation.lessons import Lessons, Material
from rl_baselines.distillation.targets import (
    action_gaps,
    agreement,
    losses,
    scaled,
    settled_temperature,
    target_of,
    target_parameters,
    tempered,
)
from rl_baselines.errors import UsageError
from rl_baselines.retention.policy_outputs import OutputKind

CHOICE_OF_2, CHOICE_OF_3 = OutputKind("categorical", (2,)), OutputKind("categorical", (3,))
GAUSSIAN, ACTION = OutputKind("gaussian"), OutputKind("deterministic")
LN2 = math.log(2)
BOX = spaces.Box(-2.0, 2.0, (1,), np.float32)


def tensors(**parameters: Any) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(rows, dtype=torch.float32) for name, rows in parameters.items()}


def test_loss_of_choices_is_the_divergence_from_the_sharpened_teacher() -> None:
    """softmax((0, ln 2 / 2) / 0.5) = (1/3, 2/3); from there to (1/2, 1/2): ln(2/3) / 3 + 2 ln(4/3) / 3 = 0.0566330."""
    target = tempered(CHOICE_OF_2, tensors(logits=[[0, LN2 / 2]]), 0.5)
    loss = losses(CHOICE_OF_2, target, tensors(logits=[[0, 0]]))
    assert loss.tolist() == pytest.approx([0.0566330], abs=1e-6)


def test_it_is_zero_for_a_student_whose_logits_are_the_teachers_over_the_temperature() -> None:
    """Logits count but for a constant: both sides are logits, and neither is a probability taken for one."""
    target = tempered(CHOICE_OF_2, tensors(logits=[[0.3, -0.1]]), 0.1)
    assert losses(CHOICE_OF_2, target, tensors(logits=[[7.0, 3.0]])).item() == pytest.approx(0, abs=1e-6)


def test_loss_of_several_choices_is_their_sum() -> None:
    kind = OutputKind("categorical", (2, 2))
    target = tempered(kind, tensors(logits=[[0, LN2 / 2, LN2 / 2, 0]]), 0.5)
    assert losses(kind, target, tensors(logits=[[0, 0, 0, 0]])).item() == pytest.approx(2 * 0.0566330, abs=1e-6)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.4431472), (0.25, 1.0425444)])
def test_loss_of_gaussians(temperature: float, expected: float) -> None:
    """KL(N(1, 1) || N(0, 4)) = ln 2 + 2/8 - 1/2; with a quarter of the variance: ln 4 + 1.25/8 - 1/2."""
    target = tempered(GAUSSIAN, tensors(mean=[[1]], log_std=[[0]]), temperature)
    loss = losses(GAUSSIAN, target, tensors(mean=[[0]], log_std=[[LN2]]))
    assert loss.tolist() == pytest.approx([expected], abs=1e-6)


def test_loss_of_gaussians_sums_over_the_elements() -> None:
    target, own = tensors(mean=[[1, 1]], log_std=[[0, 0]]), tensors(mean=[[0, 1]], log_std=[[LN2, 0]])
    assert losses(GAUSSIAN, target, own).item() == pytest.approx(0.4431472, abs=1e-6)


def test_a_squashed_teacher_is_learnt_by_its_likeliest_action() -> None:
    """tanh(0.5493061) = 0.5, against a student's 1 in [-2, 2], which is 0.5 in [-1, 1] too; and against its -2."""
    teacher = OutputKind("squashed_gaussian")
    found = target_parameters(teacher, {"mean": np.array([[0.5493061]]), "log_std": np.array([[0.0]])})
    assert target_of(teacher, BOX) == ACTION
    assert found["action"].item() == pytest.approx(0.5, abs=1e-6)
    target = {name: torch.as_tensor(part) for name, part in found.items()}
    for action, expected in ((1.0, 0.0), (-2.0, 2.25)):
        own = {"action": scaled(torch.tensor([[action]]), BOX)}
        assert losses(ACTION, target, own).item() == pytest.approx(expected, abs=1e-6)


def test_q_values_are_logits() -> None:
    found = target_parameters(OutputKind("q_values"), {"q_values": np.array([[1.0, 2.0, 3.0]])})
    assert found["logits"].tolist() == [[1, 2, 3]]
    assert target_of(OutputKind("q_values"), spaces.Discrete(3)) == CHOICE_OF_3


@pytest.mark.parametrize(
    ("teacher", "space"),
    [
        (CHOICE_OF_2, spaces.Discrete(3)),
        (CHOICE_OF_2, BOX),
        (GAUSSIAN, spaces.Discrete(2)),
        (OutputKind("squashed_gaussian"), spaces.Discrete(2)),
        (OutputKind("bernoulli"), spaces.Discrete(2)),
        (OutputKind("q_values"), spaces.MultiDiscrete([2, 2])),
    ],
)
def test_a_teacher_of_other_actions_is_refused(teacher: OutputKind, space: spaces.Space[Any]) -> None:
    with pytest.raises(UsageError, match=f"a {teacher.name}.* teacher cannot teach a student whose actions are"):
        target_of(teacher, space)


def test_default_temperatures() -> None:
    assert settled_temperature(CHOICE_OF_2, None) == 0.1
    assert settled_temperature(GAUSSIAN, None) == 1.0
    assert settled_temperature(ACTION, None) is None
    assert settled_temperature(GAUSSIAN, 0.5) == 0.5


def test_a_temperature_that_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^hyperparameter temperature: these teachers' actions .* leave it out$"):
        settled_temperature(ACTION, 0.5)
    for value in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match=r"^hyperparameter temperature must be a positive number, got"):
            settled_temperature(CHOICE_OF_2, value)


def test_agreement_needs_every_choice_to_be_the_same() -> None:
    kind = OutputKind("categorical", (2, 2))
    target = tensors(logits=[[0, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 1]])
    own = tensors(logits=[[0, 5, 0, 0.1], [1, 0, 0, 1], [0, 1, 1, 0]])
    assert agreement(kind, target, own).tolist() == [True, False, False]


def test_gap_of_actions_is_the_mean_square_over_the_elements() -> None:
    assert action_gaps(GAUSSIAN, tensors(mean=[[1, 2]]), tensors(mean=[[0, 0]])).tolist() == [2.5]
    assert action_gaps(ACTION, tensors(action=[[1.0]]), tensors(action=[[-1.0]])).tolist() == [4.0]


class Kept(KVWriter):
    """Keeps the rows of a log."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.rows.append(dict(key_values))

    def close(self) -> None:
        pass


def material(values: list[float], tasks: list[int]) -> Material:
    """States of the walk in which the teacher's sharpened distribution at T = 0.5 is (1/3, 2/3, 0) but for a hair in
    task 0, and the student's own at first in task 1."""
    logits = np.array([[0, LN2 / 2, -50] if task == 0 else [0, 0, 0] for task in tasks], np.float32)
    observations = np.arange(2 * len(tasks), dtype=np.float32).reshape(-1, 2)
    lessons = Lessons(observations, {"logits": logits}, np.array(values, np.float32), np.array(tasks))
    return Material(CHOICE_OF_3, ("a", "b"), lessons, lessons)


def first_row(source: Material, **hyperparameters: Any) -> dict[str, Any]:
    """What an epoch of one minibatch records, of a student with equal logits and values of 0 that stands still."""
    env = DummyVecEnv([toy_envs.Walk])
    settings = {"learning_rate": 0.0, "batch_size": 8, "temperature": 0.5, "seed": 0, "device": "cpu"}
    model = Distillation("MlpPolicy", env, policy_kwargs={"net_arch": [4]}, **{**settings, **hyperparameters})
    with torch.no_grad():
        for layer in (model.policy.action_net, model.policy.value_net):
            for parameter in layer.parameters():
                parameter.zero_()
    model.learn_from(source)
    kept = Kept()
    model.set_logger(Logger(None, [kept]))
    model.learn(len(source.training))
    return kept.rows[0]


FAR = math.log(3) - (math.log(3) / 3 + math.log(1.5) * 2 / 3)  # from (1/3, 2/3, 0) to (1/3, 1/3, 1/3)


def test_tasks_weigh_the_same_unless_told_otherwise() -> None:
    """Three states of task a are far by 0.4620981 and one of task b by 0: each task by half, or each state by 1/4."""
    source = material([0, 0, 0, 0], [0, 0, 0, 1])
    assert pytest.approx(0.4620981, abs=1e-6) == FAR
    balanced, not_balanced = first_row(source), first_row(source, balance_tasks=False)
    assert balanced["distillation/policy_loss"] == pytest.approx(FAR / 2, abs=1e-5)
    assert not_balanced["distillation/policy_loss"] == pytest.approx(3 * FAR / 4, abs=1e-5)
    assert balanced["distillation/validation_loss"] == pytest.approx(FAR / 2, abs=1e-5)
    assert not_balanced["distillation/validation_loss"] == pytest.approx(3 * FAR / 4, abs=1e-5)


def test_the_temperature_acts() -> None:
    """At T = 1 the teacher of task a has (1, sqrt 2, 0) / (1 + sqrt 2): ln 3 minus its entropy 0.67836 is 0.42026."""
    root = math.sqrt(2)
    p, q = 1 / (1 + root), root / (1 + root)
    expected = math.log(3) + p * math.log(p) + q * math.log(q)
    row = first_row(material([0], [0]), temperature=1.0)
    assert row["distillation/policy_loss"] == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx(0.42026, abs=1e-5)


def test_the_error_of_the_values_is_in_units_of_their_variance() -> None:
    """Values 1 and 3 have variance 1 and mean square 5; with coefficient 0.5 they add 2.5, with 2 they add 10."""
    source = material([1, 3], [1, 1])
    for coefficient, expected in ((None, 2.5), (2.0, 10.0), (0.0, 0.0)):
        row = first_row(source, value_coef=coefficient)
        assert row["distillation/value_loss"] == pytest.approx(5, abs=1e-5)
        assert row["distillation/loss"] == pytest.approx(expected, abs=1e-5)
        assert row["distillation/validation_loss"] == pytest.approx(expected, abs=1e-5)


def test_states_without_a_value_teach_none() -> None:
    """Of values 1, 3 and none the variance is 1, and the mean over three states is (1 + 9 + 0) / 3."""
    row = first_row(material([1, 3, math.nan], [1, 1, 1]))
    assert row["distillation/value_loss"] == pytest.approx(10 / 3, abs=1e-5)


def test_without_any_values_only_actions_are_learnt() -> None:
    source = material([math.nan, math.nan], [0, 0])
    row = first_row(source)
    assert row["distillation/loss"] == row["distillation/policy_loss"] == pytest.approx(FAR, abs=1e-5)
    with pytest.raises(UsageError, match=r"^hyperparameter value_coef:0.5: the datasets hold no values"):
        first_row(source, value_coef=0.5)


def test_a_negative_coefficient_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^hyperparameter value_coef must be a number of at least 0, got -1$"):
        first_row(material([1, 2], [0, 0]), value_coef=-1.0)


def test_agreement_is_recorded_for_every_task_and_on_average() -> None:
    """With equal logits the first action counts as the student's: it is the teacher's in task b alone."""
    row = first_row(material([0, 0, 0, 0], [0, 0, 0, 1]))
    names = ("", "/a", "/b")
    assert [row[f"distillation/agreement{name}"] for name in names] == [0.5, 0.0, 1.0]
