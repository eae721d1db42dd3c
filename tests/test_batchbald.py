"""BatchBALD against enumeration and against the paper's author's package."""

import itertools
import math

import brute_force
import pytest
import torch
from batchbald_redux.batchbald import get_bald_batch, get_batchbald_batch
from conftest import generator, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.acquisition import bald, batchbald, kbald
from alkbald.information import joint_mutual_information

small_pools = st.tuples(st.integers(4, 8), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))


@given(small_pools, st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_batchbald_equals_greedy_enumeration(pool, batch_size):
    log_probs = random_log_probs(*pool)
    indices, scores = brute_force.greedy(log_probs, batch_size, brute_force.joint_mutual_information)
    batch = batchbald(log_probs, batch_size)
    assert batch.indices == indices
    assert batch.scores == pytest.approx(scores, abs=1e-9)


def test_batchbald_is_exact_while_the_outcomes_fit_however_little_is_unknown():
    """Twelve picks of two classes at K = 6 leave next to nothing unknown; 2^11 outcomes fit."""
    log_probs = random_log_probs(30, 6, 2)
    batch = batchbald(log_probs, 12, max_particles=2**11)
    for size in range(1, 13):
        exact, error = joint_mutual_information(log_probs[batch.indices[:size]])
        assert error == 0
        assert batch.scores[size - 1] == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("max_particles", [5, 50, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batchbald_scores_never_fall_and_never_pass_log_k(max_particles, dtype):
    log_probs = random_log_probs(60, 6, 5, dtype=dtype, scale=4)
    for seed in range(5):
        scores = batchbald(log_probs, 15, max_particles=max_particles, generator=generator(seed)).scores
        rounding = 1e-6 if dtype == torch.float32 else 1e-12
        assert all(before <= after + rounding for before, after in itertools.pairwise(scores))
        assert scores[-1] <= math.log(6) + 1e-9
        assert scores[-1] > 0.9 * math.log(6)


def test_batchbald_with_few_particles_is_nearly_as_good_as_exact():
    log_probs = random_log_probs(60, 20, 4, scale=1.5)
    exact = batchbald(log_probs, 6, max_particles=4**6)
    few = batchbald(log_probs, 6, max_particles=100)
    truth = brute_force.joint_mutual_information(log_probs[few.indices])
    assert truth > 0.98 * exact.scores[-1]
    assert few.scores[-1] == pytest.approx(truth, abs=0.05)


def test_batchbald_prefers_something_new_to_a_copy():
    log_probs = random_log_probs(6, 20, 3, scale=50)  # labels without noise: a copy tells nothing
    log_probs = torch.cat([log_probs, log_probs])
    for max_particles in (3**6, 30):
        assert len({i % 6 for i in batchbald(log_probs, 5, max_particles=max_particles).indices}) == 5
    assert {i % 6 for i in bald(log_probs, 2).indices} == {bald(log_probs, 1).indices[0]}


def test_the_authors_package_agrees_on_bald_and_batchbald():
    log_probs = random_log_probs(50, 10, 4)
    peer = get_bald_batch(log_probs, 5, dtype=torch.double)
    assert bald(log_probs, 5).indices == peer.indices
    peer = get_batchbald_batch(log_probs, 4, num_samples=1000, dtype=torch.double)
    batch = batchbald(log_probs, 4)
    assert batch.indices == peer.indices
    assert batch.scores == pytest.approx(peer.scores, abs=1e-6)


@given(small_pools)
@settings(max_examples=20, deadline=None)
def test_exact_marginal_gains_never_grow(pool):
    for batch in (batchbald(random_log_probs(*pool), 4), kbald(random_log_probs(*pool), 4, order=4)):
        steps = [after - before for before, after in itertools.pairwise([0.0, *batch.scores])]
        assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(steps))


def test_batchbald_is_a_function_of_its_input_unless_it_is_given_a_generator():
    log_probs = random_log_probs(60, 20, 4)
    batch = batchbald(log_probs, 6, max_particles=20)
    assert batchbald(log_probs, 6, max_particles=20).scores == batch.scores
    shared = generator(1)
    drawn = {tuple(batchbald(log_probs, 6, max_particles=20, generator=shared).scores) for _ in range(3)}
    assert len(drawn) == 3


def test_max_particles_out_of_range_is_refused():
    with pytest.raises(ValueError, match="max_particles must be an integer of at least 1, got 0"):
        batchbald(random_log_probs(20, 4, 10), 2, max_particles=0)


@pytest.mark.parametrize(
    ("classes", "samples", "spread", "seed"), [(10, 50, 2.0, 0), (10, 50, 1.0, 1), (400, 20, 3.0, 0)]
)
def test_points_without_information_are_ties_whatever_the_particles(classes, samples, spread, seed):
    """They differ by rounding alone, and come in the order of the pool once the others are chosen."""
    draws = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(40, 1, classes, generator=draws)).expand(-1, samples, -1).clone()
    logits[30:34] += spread * torch.randn(4, samples, classes, generator=draws)
    batch = batchbald(logits.log_softmax(-1), 7)
    assert sorted(batch.indices[:4]) == [30, 31, 32, 33]
    assert batch.indices[4:] == [0, 1, 2]
