"""Batches that are drawn, and Large BatchBALD, against enumeration."""

import itertools
from collections import Counter

import brute_force
import pytest
import torch
from conftest import generator, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.acquisition import METHODS, bald, kbald, kbald_scores, large_batchbald

small_pools = st.tuples(st.integers(4, 8), st.integers(2, 6), st.integers(2, 3), st.integers(0, 10**6))


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("power_bald", lambda bald: bald**2),
        ("softmax_bald", lambda bald: (2 * bald).exp()),
        ("softrank_bald", lambda bald: 1 / (bald.argsort(descending=True).argsort() + 1.0) ** 2),
        ("power_large_batchbald", lambda bald: bald**2),
    ],
)
def test_stochastic_methods_draw_in_proportion(name, weight):
    scales = enumerate((0.5, 1, 2, 4, 50))  # scores from 0.07 to 0.91 nats: every other of these weights would fail
    log_probs = torch.cat([random_log_probs(1, 6, 3, seed, scale=scale) for seed, scale in scales])
    scores = torch.tensor([brute_force.joint_mutual_information(log_probs[[n]]) for n in range(5)])
    shared, draws = generator(), 4000
    counts = Counter(tuple(METHODS[name](log_probs, 2, beta=2.0, generator=shared).indices) for _ in range(draws))
    for first, second in itertools.permutations(range(5), 2):
        after = weight(scores).clone()
        if name == "power_large_batchbald":  # the second is drawn by what it adds to the first
            shares = [brute_force.interaction_information(log_probs[[n, first]]) for n in range(5)]
            after = weight((scores - torch.tensor(shares)).clamp_min(0))
        after[first] = 0
        expected = (weight(scores)[first] / weight(scores).sum() * after[second] / after.sum()).item()
        assert abs(counts[first, second] / draws - expected) < 4 * (expected / draws) ** 0.5 + 1e-3


@pytest.mark.parametrize("name", ["power_bald", "softmax_bald", "softrank_bald"])
def test_a_large_beta_is_top_k(name):
    log_probs = random_log_probs(20, 6, 3)
    assert METHODS[name](log_probs, 5, beta=1e6, generator=generator()).indices == bald(log_probs, 5).indices


def test_power_large_batchbald_of_large_beta_is_2bald_and_scores_as_it_does():
    log_probs = random_log_probs(20, 6, 3)
    batch = METHODS["power_large_batchbald"](log_probs, 4, beta=1e6, generator=generator())
    assert batch.indices == kbald(log_probs, 4, order=2).indices
    batch = METHODS["power_large_batchbald"](log_probs, 15, generator=generator(3))
    assert sorted(set(batch.indices)) == sorted(batch.indices)
    assert batch.scores == pytest.approx(kbald_scores(batch.log_probs, order=2), abs=1e-9)


def test_power_large_batchbald_goes_on_where_no_gain_is_positive():
    same = random_log_probs(1, 10, 3, scale=50).repeat(6, 1, 1)  # the second copy adds nothing, the third is taken off
    batch = METHODS["power_large_batchbald"](same, 5, generator=generator(1))
    assert sorted(set(batch.indices)) == sorted(batch.indices)
    assert batch.scores == pytest.approx([batch.scores[0] * share for share in (1, 1, 0, -2, -5)], abs=1e-3)


@given(small_pools, st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_large_batchbald_is_greedy_on_pairs(pool, size):
    log_probs = random_log_probs(*pool)

    def score(points) -> float:
        alone = sum(brute_force.joint_mutual_information(points[[i]]) for i in range(len(points)))
        pairs = itertools.combinations(range(len(points)), 2)
        return alone - sum(brute_force.interaction_information(points[list(pair)]) for pair in pairs)

    indices, scores = brute_force.greedy(log_probs, size, score)
    batch = large_batchbald(log_probs, size)
    assert batch.indices == indices
    assert batch.scores == pytest.approx(scores, abs=1e-9)
