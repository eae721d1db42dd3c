"""Calibration beside brute force and closed forms."""

import math

import pytest
import torch
from conftest import random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.evaluation import BINS, Evaluation, brier_score, expected_calibration_error

# Classes, inputs, bins, and how far predictions are from uniform.
shapes = st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 20), st.sampled_from([0.0, 0.5, 2.0, 20.0]))


def predictions(shape, seed, dtype=torch.float64):
    classes, inputs, _, scale = shape
    log_probs = random_log_probs(inputs, 1, classes, seed, dtype, scale)[:, 0]
    labels = torch.randint(classes, (inputs,), generator=torch.Generator().manual_seed(seed))
    return log_probs, labels


def brute_force_ece(log_probs, labels, bins):
    inputs = [(max(row), row.index(max(row)) == label) for row, label in zip(log_probs, labels, strict=True)]
    total = 0.0
    for b in range(1, bins + 1):
        # The lowest confidence is above 0, so that every input is in one bin.
        inside = [
            (math.exp(high), right) for high, right in inputs if (b - 1) / bins < min(math.exp(high), 1) <= b / bins
        ]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(high for high, _ in inside) / len(inside)
            total += len(inside) / len(inputs) * abs(accuracy - confidence)
    return total


@given(shapes, st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_ece_is_the_brute_force_one(shape, seed):
    log_probs, labels = predictions(shape, seed)
    ours = expected_calibration_error(log_probs, labels, shape[2])
    assert ours == pytest.approx(brute_force_ece(log_probs.tolist(), labels.tolist(), shape[2]), abs=1e-12)
    assert 0 <= ours <= 1


@given(shapes, st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_brier_is_the_brute_force_one(shape, seed):
    log_probs, labels = predictions(shape, seed)
    errors = [
        (math.exp(log_prob) - (label == y)) ** 2
        for row, label in zip(log_probs.tolist(), labels.tolist(), strict=True)
        for y, log_prob in enumerate(row)
    ]
    ours = brier_score(log_probs, labels)
    assert ours == pytest.approx(sum(errors) / len(labels), abs=1e-12)
    assert 0 <= ours <= 2 + 1e-12


def test_closed_forms():
    certain = torch.tensor([[0.0, -math.inf], [0.0, -math.inf]])
    right, wrong, half = torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([0, 1])
    for labels, ece, brier in ((right, 0, 0), (wrong, 1, 2), (half, 0.5, 1)):
        assert expected_calibration_error(certain, labels) == ece
        assert brier_score(certain, labels) == brier
    # Uniform over C classes, of which class 0 counts as the likeliest: a share of labels is right, 1 / C believed.
    uniform = torch.full((8, 4), -math.log(4))
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 3, 3])
    assert expected_calibration_error(uniform, labels) == pytest.approx(0.5 - 0.25, abs=1e-7)
    assert brier_score(uniform, labels) == pytest.approx(1 - 1 / 4, abs=1e-7)
    # Errors in opposite directions do not cancel across bins, and do within one.
    mixed = torch.tensor([[0.9, 0.1], [0.6, 0.4]], dtype=torch.float64).log()
    labels = torch.tensor([1, 0])
    assert expected_calibration_error(mixed, labels) == pytest.approx((0.9 + 0.4) / 2)
    assert expected_calibration_error(mixed, labels, bins=1) == pytest.approx((0.9 - 0.4) / 2)


def test_a_confidence_at_the_border_belongs_to_the_bin_below():
    log_probs = torch.tensor([[0.8, 0.2], [0.75, 0.25]], dtype=torch.float64).log()
    labels = torch.tensor([0, 1])  # in one bin of (0.6, 0.8] the errors, 0.2 and -0.75, are taken together
    assert expected_calibration_error(log_probs, labels, bins=5) == pytest.approx((0.75 - 0.2) / 2)


def test_confidences_above_one_by_rounding_are_in_the_last_bin():
    log_probs = torch.tensor([[1e-7, -20.0]])
    assert expected_calibration_error(log_probs, torch.tensor([1])) == 1
    assert expected_calibration_error(log_probs, torch.tensor([0])) == 0


def test_an_evaluation_has_all_four():
    log_probs, labels = predictions((5, 200, BINS, 1.0), 3, torch.float32)
    evaluation = Evaluation(log_probs, labels)
    assert evaluation.accuracy == pytest.approx((log_probs.argmax(-1) == labels).double().mean().item())
    assert evaluation.nll == pytest.approx(-log_probs.double()[torch.arange(200), labels].mean().item(), abs=1e-6)
    assert evaluation.ece == pytest.approx(
        brute_force_ece(log_probs.double().tolist(), labels.tolist(), BINS), abs=1e-12
    )
    assert evaluation.brier == brier_score(log_probs, labels)
