"""Many classes: bounds hold, and batches are those of the methods that look at all classes of all points."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.acquisition import Chunks, batchbald, kbald
from alkbald.acquisition.leading_classes import LeadingClasses
from alkbald.acquisition.merged_classes import coarse_levels
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import as_predictions
from alkbald.benchmarking.many_classes import ManyClasses
from alkbald.information import mutual_information, pairwise_mutual_information
from alkbald.information.particles import OutcomeParticles

BATCHBALD, KBALD = (sys.modules[f"alkbald.acquisition.{name}"] for name in ("batchbald", "kbald"))
SAMPLES, CLASSES = 5, 130


def predictions(n: int, sharpness: float, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Points whose samples agree more or less; one in three has classes that are impossible."""
    g = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 1, CLASSES, generator=g, dtype=dtype)
    logits = sharpness * (shared + torch.randn(n, SAMPLES, CLASSES, generator=g, dtype=dtype))
    impossible = torch.rand(n, SAMPLES, CLASSES, generator=g) < 0.3
    impossible[::3] = False
    impossible[..., 0] = False
    return logits.masked_fill(impossible, -torch.inf).log_softmax(-1)


def with_leading_classes(log_probs: torch.Tensor, memory_budget: int) -> tuple[Pool, LeadingClasses]:
    leading = LeadingClasses(as_predictions(log_probs), memory_budget, log_probs.device)
    return Pool(as_predictions(log_probs), memory_budget=0, visit=leading.keep), leading


def particles_of(pool: Pool, ranks: list[int]) -> OutcomeParticles:
    particles = OutcomeParticles.prior(SAMPLES, torch.empty(0, dtype=pool.dtype))
    for rank in ranks:
        particles = particles.extended(pool.probs_of(rank)).merged(40)
    return particles


@settings(max_examples=30, deadline=None)
@given(
    sharpness=st.sampled_from([0.01, 0.3, 1.0, 3.0, 10.0, 40.0]),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    picks=st.integers(0, 3),
    budget=st.sampled_from([0, 20_000, 10**8]),
)
def test_bounds_by_leading_classes_are_at_least_the_gains(sharpness, seed, dtype, picks, budget):
    log_probs = predictions(12, sharpness, seed, dtype)
    pool, leading = with_leading_classes(log_probs, budget)
    particles = particles_of(pool, list(range(picks)))
    ranks = torch.tensor([7, 0, 11, 3, 4])
    bounds = leading.upper_bounds(pool, particles, ranks)
    # The gain by its definition, with all classes, in float64.
    probs = log_probs[pool.index[ranks]].double().exp()
    posterior, weights = particles.posterior.double(), particles.weights.double()
    mixed = torch.einsum("mk,nkc->mnc", posterior, probs)
    entropies = [-(p * p.clamp_min(1e-300).log()).sum(-1) for p in (mixed, probs)]
    gains = weights @ entropies[0] - entropies[1] @ (weights @ posterior)
    assert (bounds >= gains - 1e-6).all()
    # Nor do bounds pass what is left unknown, but for what is added for rounding.
    assert (bounds <= particles.remaining_entropy.sum() + 1e-3).all()


def test_bounds_by_leading_classes_are_near_the_gains_of_a_network():
    pool, leading = with_leading_classes(ManyClasses(400, 10).points_log_probs(60), 10**8)
    particles = OutcomeParticles.prior(10, torch.empty(0)).extended(pool.probs_of(0))
    ranks = torch.arange(1, 60)
    gains = BATCHBALD._gains(pool, particles, ranks)
    bounds = leading.upper_bounds(pool, particles, ranks)
    assert 1 < (bounds / gains).median() < 1.15


def test_merged_classes_tell_less_of_each_other():
    log_probs = predictions(8, 2.0, 5)
    pool = Pool(as_predictions(log_probs), memory_budget=0)
    levels = coarse_levels(pool, 10**8)
    assert [level.shape[2] for level in levels] == [17]
    (level,) = levels
    everyone = torch.arange(len(pool))
    merged = level.probs(everyone).transpose(0, 1)
    assert torch.allclose(merged.sum(-1), torch.ones(8, SAMPLES))
    whole, coarse = log_probs[pool.index], merged.log().log_softmax(-1)
    assert (mutual_information(coarse) <= mutual_information(whole) + 1e-6).all()
    shared = pairwise_mutual_information(coarse[0], coarse[1:])
    assert (shared <= pairwise_mutual_information(whole[0], whole[1:]) + 1e-6).all()
    assert (shared > 0).any()


def test_what_is_not_kept_is_read_in_few_calls():
    log_probs = predictions(600, 2.0, 3)
    calls = []

    def read(start, stop):
        calls.append(stop - start)
        return log_probs[start:stop]

    batch = batchbald(Chunks(read, 600, points_at_a_time=100), 3, memory_budget=0)
    assert batch.indices == batchbald(log_probs, 3).indices
    assert len(calls) < 200


@pytest.fixture
def without_bounds(monkeypatch):
    def of(method, *args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(BATCHBALD.LeadingClasses, "are_worth_it", staticmethod(lambda *_: False))
            patch.setattr(KBALD, "has_coarse_levels", lambda _: False)
            return method(*args, **kwargs)

    return of


@pytest.mark.parametrize("budget", [None, 400_000], ids=["kept", "made anew"])
@pytest.mark.parametrize("sharpness", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("method", ["2bald", "batchbald"])
def test_batches_are_those_without_bounds(method, sharpness, budget, without_bounds, monkeypatch):
    options = {"batch_size": 6, "memory_budget": budget}
    options |= {"order": 2} if method == "2bald" else {"max_particles": 300}
    select = kbald if method == "2bald" else batchbald
    log_probs = predictions(80, sharpness, 1)
    log_probs[70:] = log_probs[:10]  # copies
    used = []
    bounded, made = LeadingClasses.upper_bounds, KBALD.PairGains.next_pick
    monkeypatch.setattr(LeadingClasses, "upper_bounds", lambda *args: used.append(1) or bounded(*args))
    monkeypatch.setattr(KBALD.PairGains, "next_pick", lambda *args: used.append(1) or made(*args))
    batch = select(log_probs, **options)
    assert used
    plain = without_bounds(select, log_probs, **options)
    assert batch.indices == plain.indices
    assert batch.scores == pytest.approx(plain.scores, abs=1e-5)


def test_few_gains_look_at_all_classes(monkeypatch):
    """Of 200 points of a network with 400 classes, most are ruled out by bounds at every pick."""
    log_probs = ManyClasses(400, 10).points_log_probs(200)
    evaluated = []
    gains = BATCHBALD._gains
    monkeypatch.setattr(BATCHBALD, "_BLOCK", 4)
    monkeypatch.setattr(
        BATCHBALD,
        "_gains",
        lambda pool, particles, ranks: evaluated.append(len(ranks)) or gains(pool, particles, ranks),
    )
    batch = batchbald(log_probs, 5, max_particles=1000)
    assert sum(evaluated) < 0.3 * 5 * 200
    assert len(set(batch.indices)) == 5
