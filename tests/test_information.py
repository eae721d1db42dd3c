import math
import subprocess
import sys

import brute_force
import pytest
import torch
from conftest import ROOT, generator, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.information import (
    conditional_entropy,
    interaction_information,
    joint_mutual_information,
    joint_mutual_information_of_prefixes,
    marginal_entropy,
    mean_log_probs,
    mutual_information,
    pairwise_mutual_information,
    total_correlation,
)
from alkbald.information.particles import OutcomeParticles
from alkbald.information.probabilities import check_probabilities

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_entropies_of_single_points_equal_enumeration(dtype):
    log_probs = random_log_probs(6, 5, 4, dtype=dtype)
    for n in range(6):
        point = log_probs[n : n + 1]
        assert marginal_entropy(log_probs)[n].item() == pytest.approx(brute_force.joint_entropy(point), abs=1e-5)
        assert conditional_entropy(log_probs)[n].item() == pytest.approx(
            brute_force.conditional_entropy(point), abs=1e-5
        )
        assert mutual_information(log_probs)[n].item() == pytest.approx(
            brute_force.joint_mutual_information(point), abs=1e-5
        )


def test_mean_predictive_averages_probabilities_not_logarithms():
    log_probs = torch.tensor([[[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]]]).log()
    assert mean_log_probs(log_probs).exp()[0].tolist() == pytest.approx([0.4, 0.6])
    assert mean_log_probs(torch.tensor([[[0.0, -math.inf], [0.0, -math.inf]]])).tolist() == [[0.0, -math.inf]]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_joint_mutual_information_equals_enumeration(b, k, c, seed):
    log_probs = random_log_probs(b, k, c, seed)
    joint, error = joint_mutual_information(log_probs)
    assert error == 0.0
    assert joint == pytest.approx(brute_force.joint_mutual_information(log_probs), abs=1e-9)
    tc = sum(brute_force.joint_entropy(log_probs[i : i + 1]) for i in range(b)) - brute_force.joint_entropy(log_probs)
    assert total_correlation(log_probs, joint) == pytest.approx(tc, abs=1e-9)


def test_simulated_joint_mutual_information_agrees_with_exact_within_its_standard_error():
    log_probs = random_log_probs(5, 8, 4)
    exact, _ = joint_mutual_information(log_probs)
    estimates = [
        joint_mutual_information(log_probs, max_outcomes=10, num_outcomes=2000, generator=generator(seed))
        for seed in range(30)
    ]
    deviations = torch.tensor([(estimate - exact) / error for estimate, error in estimates])
    assert deviations.abs().max() < 4
    assert 0.6 < deviations.std() < 1.5
    assert abs(deviations.mean()) < 4 / 30**0.5


@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6), st.integers(0, 250))
@settings(max_examples=60, deadline=None)
def test_prefixes_are_worth_what_each_is_alone(b, k, c, seed, max_outcomes):
    """Exact ones equal enumeration. The others equal a simulation of each: with few outcomes it draws the same ones."""
    log_probs = random_log_probs(b, k, c, seed)
    options = {"max_outcomes": max_outcomes, "num_outcomes": 200}
    values, errors = joint_mutual_information_of_prefixes(log_probs, **options, generator=generator(seed))
    assert values.shape == errors.shape == (b,)
    for size in range(1, b + 1):
        value, error = values[size - 1].item(), errors[size - 1].item()
        expected = joint_mutual_information(log_probs[:size], **options, generator=generator(seed))
        assert (value, error) == pytest.approx(expected, abs=1e-12)
        if c**size <= max_outcomes:
            assert value == pytest.approx(brute_force.joint_mutual_information(log_probs[:size]), abs=1e-9)
            assert error == 0


def test_all_prefixes_cost_one_simulation():
    log_probs = random_log_probs(12, 300, 3)  # simulated in several parts
    alone, together = generator(1), generator(1)
    options = {"max_outcomes": 3**4, "num_outcomes": 1000}
    value, error = joint_mutual_information(log_probs, **options, generator=alone)
    values, errors = joint_mutual_information_of_prefixes(log_probs, **options, generator=together)
    assert (values[-1].item(), errors[-1].item()) == pytest.approx((value, error), abs=1e-12)
    assert torch.equal(together.get_state(), alone.get_state())  # so many random numbers, and no more
    exact, _ = joint_mutual_information_of_prefixes(log_probs[:7])
    assert torch.equal(values[:4], exact[:4])
    assert (errors[4:7] > 0).all()
    assert ((values[4:7] - exact[4:7]).abs() < 4 * errors[4:7]).all()


def test_a_simulation_without_a_generator_gives_a_batch_one_value():
    log_probs = random_log_probs(9, 8, 4)
    assert joint_mutual_information(log_probs) == joint_mutual_information(log_probs)
    shared = generator()
    assert len({joint_mutual_information(log_probs, generator=shared) for _ in range(3)}) == 3


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_interaction_information_equals_enumeration(b, k, c, seed):
    log_probs = random_log_probs(b, k, c, seed)
    assert interaction_information(log_probs) == pytest.approx(brute_force.interaction_information(log_probs), abs=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pairwise_mutual_information_equals_enumeration(dtype):
    log_probs = random_log_probs(7, 5, 3, dtype=dtype)
    pairwise = pairwise_mutual_information(log_probs[2], log_probs)
    for n in range(7):
        expected = brute_force.interaction_information(log_probs[[2, n]])
        assert pairwise[n].item() == pytest.approx(expected, abs=1e-6)


def test_joint_mutual_information_of_the_empty_batch_is_zero():
    assert joint_mutual_information(torch.zeros(0, 5, 3)) == (0.0, 0.0)
    assert total_correlation(torch.zeros(0, 5, 3), 0.0) == 0.0


def test_simulated_joint_mutual_information_is_finite_for_impossible_outcomes():
    certain = torch.full((30, 4, 3), -math.inf)
    for k in range(4):
        certain[:, k, k % 3] = 0.0
    joint, _ = joint_mutual_information(certain)
    assert math.isfinite(joint)
    assert joint <= math.log(4)
    # samples 0 and 3 agree everywhere: what can be learned is which of three groups is right
    assert joint == pytest.approx(-(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)), abs=0.02)


def test_what_is_no_log_probability_is_refused_by_its_pool_index():
    good = random_log_probs(5, 3, 4)
    for value, message in [(math.nan, "index 2 is NaN"), (math.inf, r"index 2 is \+inf")]:
        bad = good.clone()
        bad[2, 1, 0] = value
        with pytest.raises(ValueError, match=message):
            check_probabilities(bad)
    with pytest.raises(ValueError, match="index 0 sums to"):
        check_probabilities(good.exp())
    with pytest.raises(ValueError, match=r"\[N, K, C\]"):
        check_probabilities(good[0])
    with pytest.raises(TypeError, match="floating point"):
        check_probabilities(torch.zeros(1, 1, 1, dtype=torch.long))
    assert check_probabilities(good.bfloat16().float().log_softmax(-1).half()).dtype == torch.float32


@pytest.mark.parametrize("num_outcomes", [1, 0, -1])
@pytest.mark.parametrize("measure", [joint_mutual_information, joint_mutual_information_of_prefixes])
def test_fewer_than_two_simulated_outcomes_are_refused(measure, num_outcomes):
    with pytest.raises(ValueError, match=f"num_outcomes must be at least 2, got {num_outcomes}"):
        measure(random_log_probs(3, 4, 5), max_outcomes=10, num_outcomes=num_outcomes)


def test_many_outcomes_are_enumerated_in_parts_to_the_same_value(monkeypatch):
    log_probs = random_log_probs(8, 30, 4)
    particles = OutcomeParticles.prior(30, log_probs)
    for point in log_probs.exp():
        particles = particles.extended(point)
    value, error = joint_mutual_information(log_probs)
    assert value == pytest.approx(math.log(30) - particles.remaining_entropy.sum().item(), abs=1e-10)
    assert error == 0


def test_an_array_is_refused_with_what_to_do():
    """In a process of its own: the tests' type checker would be first."""
    code = """
import numpy, alkbald.information as information
for name in ("mean_log_probs", "mutual_information", "marginal_entropy", "joint_mutual_information"):
    try:
        getattr(information, name)(numpy.zeros((3, 4, 1)))
    except TypeError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("pass torch.from_numpy(array)\n") == 4
