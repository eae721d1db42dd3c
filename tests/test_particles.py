"""Outcome particles: against enumeration, and what resampling and merging must keep."""

import math

import brute_force
import pytest
import torch
from conftest import generator, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.information import particles as particles_module
from alkbald.information import resampling
from alkbald.information.particles import ChildParticles, OutcomeParticles
from alkbald.information.probabilities import entropy


def test_particles_hold_every_outcome_with_its_probability_and_posterior():
    log_probs = random_log_probs(2, 5, 3)
    probs = log_probs.exp()
    particles = OutcomeParticles.prior(5, probs).extended(probs[0]).extended(probs[1])
    joint = (probs[0].T[:, None] * probs[1].T[None]).flatten(0, 1)  # [9, K]
    assert torch.allclose(particles.weights, joint.mean(-1))
    assert torch.allclose(particles.posterior, joint / joint.sum(-1, keepdim=True))


@pytest.mark.parametrize("tile", [1, 100, 2**18])
def test_predictive_entropy_is_that_of_the_joint_less_the_batch_in_any_tiles(tile, monkeypatch):
    monkeypatch.setattr(particles_module, "TILE", tile)
    monkeypatch.setattr(particles_module, "_tiles", {})
    log_probs = random_log_probs(7, 5, 3)
    probs = log_probs.exp()
    particles = OutcomeParticles.prior(5, probs)
    for point in (0, 1, 0, 1, 0, 1, 0):  # 3^7 particles: more than one tile of rows
        particles = particles.extended(probs[point])
    entropies = particles.predictive_entropy(probs.transpose(0, 1))
    particles = OutcomeParticles.prior(5, probs).extended(probs[0]).extended(probs[1])
    for n in range(7):
        expected = brute_force.joint_entropy(log_probs[[0, 1, n]]) - brute_force.joint_entropy(log_probs[:2])
        assert particles.predictive_entropy(probs.transpose(0, 1))[n].item() == pytest.approx(expected, abs=1e-10)
        points = log_probs[[0, 1, 0, 1, 0, 1, 0]]
        expected = brute_force.joint_entropy(torch.cat([points, log_probs[n : n + 1]])) - brute_force.joint_entropy(
            points
        )
        assert n > 1 or entropies[n].item() == pytest.approx(expected, abs=1e-9)


def exact_particles(seed=0):
    probs = random_log_probs(6, 8, 4, seed).exp()
    particles = OutcomeParticles.prior(8, probs)
    for point in probs:
        particles = particles.extended(point)
    return particles


def reduction(particles, max_particles, seed=0, **options):
    """Of the particles themselves: they are the children of a point whose class is known."""
    known = particles.posterior.new_ones(particles.posterior.shape[1], 1)
    return ChildParticles(particles, known).reduced(max_particles, generator(seed), **options)


def test_reduction_keeps_what_is_unknown_and_leaves_the_greatest_alone():
    particles = exact_particles()
    reduced = reduction(particles, 300)
    assert len(reduced) == 300
    assert reduced.is_resampled
    assert reduced.remaining_entropy.sum().item() == pytest.approx(particles.remaining_entropy.sum().item(), abs=1e-12)
    level = reduced.remaining_entropy.min() * (1 + 1e-9)
    greatest = particles.remaining_entropy > level
    assert 0 < greatest.sum() < 300
    assert torch.allclose(reduced.weights[: greatest.sum()].sort().values, particles.weights[greatest].sort().values)
    assert torch.allclose(reduced.remaining_entropy[greatest.sum() :], reduced.remaining_entropy.min())


@pytest.mark.parametrize("many", [2**20, 100], ids=["all in strata", "few in strata"])
def test_reduction_is_without_bias(many, monkeypatch):
    monkeypatch.setattr(resampling, "_MANY", many)
    particles = exact_particles()
    expectation = particles.weights @ particles.posterior**2
    estimates = torch.stack([(r := reduction(particles, 50, seed)).weights @ r.posterior**2 for seed in range(400)])
    error = estimates.std(0) / 400**0.5
    assert ((estimates.mean(0) - expectation).abs() < 4.5 * error).all()


def test_the_greatest_of_many_values_are_those_of_topk():
    values = torch.rand(30_001, generator=generator(0), dtype=torch.float64) ** 4
    values[-1] = 2.0  # beyond the last block
    found, places = resampling._greatest(values, 9)
    assert found.tolist() == values.topk(9).values.tolist()
    assert values[places].tolist() == found.tolist()


def test_strata_make_the_error_of_a_gain_smaller(monkeypatch):
    particles = exact_particles()
    probs = random_log_probs(20, 8, 4, seed=5).exp().transpose(0, 1).contiguous()
    sample_entropy = entropy(probs).T

    def gains(seed):
        state = reduction(particles, 60, seed)
        return state.predictive_entropy(probs) - sample_entropy @ (state.weights @ state.posterior)

    stratified = torch.stack([gains(seed) for seed in range(100)]).std(0).mean()
    monkeypatch.setattr(particles_module, "strata_of_children", lambda *given: torch.zeros_like(given[-1]))
    assert stratified < 0.75 * torch.stack([gains(seed) for seed in range(100)]).std(0).mean()


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_reduction_of_any_particles_keeps_their_number_and_what_is_unknown(size, most, seed):
    weights = torch.rand(size, generator=generator(seed), dtype=torch.float64) ** 8 + 1e-20
    posterior = (8 * torch.rand(size, 3, generator=generator(seed + 1), dtype=torch.float64)).softmax(-1)
    particles = OutcomeParticles(weights, posterior)
    reduced = reduction(particles, most, seed)
    assert 1 <= len(reduced) <= min(size, most)
    assert reduced.is_resampled == (size > most)
    assert reduced.remaining_entropy.sum().item() == pytest.approx(particles.remaining_entropy.sum().item())
    assert (reduced.weights > 0).all()
    assert len(reduction(particles, most, seed, resample_above=size)) == size


@given(st.integers(1, 40), st.integers(2, 5), st.integers(1, 5), st.integers(1, 60), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_children_are_the_extended_particles_reduced(size, num_samples, classes, most, seed):
    draws = generator(seed)
    weights = torch.rand(size, generator=draws, dtype=torch.float64) + 1e-6
    posterior = (4 * torch.rand(size, num_samples, generator=draws, dtype=torch.float64)).softmax(-1)
    point = random_log_probs(1, num_samples, classes, seed)[0].exp()
    particles = OutcomeParticles(weights / weights.sum(), posterior)
    children, extended = ChildParticles(particles, point), particles.extended(point)
    left = extended.remaining_entropy.sum().item()
    assert children.mutual_information() == pytest.approx(math.log(num_samples) - left, abs=1e-12)
    few = children.reduced(most, generator(seed), negligible_entropy=1e-9)
    expected = reduction(extended, most, seed, negligible_entropy=1e-9)
    assert torch.allclose(few.weights, expected.weights)
    assert torch.allclose(few.posterior, expected.posterior)
    assert few.is_resampled == expected.is_resampled


def test_particles_that_leave_nothing_unknown_are_dropped():
    posterior = torch.tensor([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    particles = reduction(OutcomeParticles(torch.tensor([0.3, 0.3, 0.4]), posterior), 10)
    assert particles.weights.tolist() == pytest.approx([0.3])
    assert not particles.is_resampled


def test_merged_particles_bound_gains_from_above():
    probs = random_log_probs(50, 8, 4, seed=3).exp().transpose(0, 1)
    sample_entropy = entropy(probs).T
    particles = exact_particles()

    def gains(state):
        return state.predictive_entropy(probs) - sample_entropy @ (state.weights @ state.posterior)

    assert (gains(particles) >= -1e-12).all()
    assert (gains(particles) <= particles.remaining_entropy.sum() + 1e-12).all()
    excess = []
    for num_cuts in (0, 20, 10_000):
        merged = particles.merged(num_cuts)
        assert len(merged) <= num_cuts + 8
        assert torch.allclose(merged.weights @ merged.posterior, particles.weights @ particles.posterior)
        assert (gains(merged) >= gains(particles) - 1e-12).all()
        excess.append(((gains(merged) - gains(particles)) / gains(particles)).max().item())
    assert excess[0] > 2 * excess[1] > 4 * excess[2]
    assert excess[2] < 0.01


def test_merged_particles_of_one_certain_outcome_and_of_none():
    certain = OutcomeParticles(torch.tensor([0.4, 0.6]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    merged = certain.merged(3)
    assert merged.weights.tolist() == pytest.approx([1.0])
    assert merged.posterior.tolist() == [[1.0, 0.0]]
    assert not len(OutcomeParticles(torch.empty(0), torch.empty(0, 2)).merged(3))


def test_a_device_out_of_memory_gets_smaller_tiles_and_a_line(monkeypatch, caplog):
    probs = random_log_probs(40, 8, 4, dtype=torch.float64).exp().transpose(0, 1).contiguous()
    particles = exact_particles()
    expected = particles.predictive_entropy(probs)
    sizes = []

    def compute(self, probs, tile, exact=OutcomeParticles._predictive_entropy):
        sizes.append(tile)
        if tile > 2**17:
            raise torch.OutOfMemoryError("out of memory")
        return exact(self, probs, tile)

    monkeypatch.setattr(OutcomeParticles, "_predictive_entropy", compute)
    assert torch.allclose(particles.predictive_entropy(probs), expected, atol=1e-12)
    assert sizes == [2**18, 2**17]
    assert [record.getMessage() for record in caplog.records] == [
        f"out of memory: going on with {2**17} matrix elements at a time"
    ]


def test_products_are_float32_whatever_the_program_has_set(monkeypatch):
    seen = []
    exact = OutcomeParticles._predictive_entropy
    monkeypatch.setattr(
        OutcomeParticles,
        "_predictive_entropy",
        lambda *args: seen.append(torch.backends.cuda.matmul.fp32_precision) or exact(*args),
    )
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        exact_particles().predictive_entropy(random_log_probs(5, 8, 4).exp().transpose(0, 1).contiguous())
        assert seen == ["ieee"]
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
