"""k-BALD against enumeration and against exact BatchBALD."""

import brute_force
import pytest
import torch
from conftest import random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.acquisition import bald, batchbald, kbald

small_pools = st.tuples(st.integers(4, 8), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))


@given(small_pools, st.integers(0, 4), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_kbald_equals_greedy_enumeration_of_equation_6(pool, batch_size, order):
    log_probs = random_log_probs(*pool)
    indices, scores = brute_force.greedy(log_probs, batch_size, lambda points: brute_force.kbald_score(points, order))
    batch = kbald(log_probs, batch_size, order=order)
    assert batch.indices == indices
    assert batch.scores == pytest.approx(scores, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [5, 6, 9])
def test_kbald_of_order_at_least_the_batch_size_is_batchbald(order, dtype):
    log_probs = random_log_probs(30, 8, 3, dtype=dtype)
    exact, approximate = batchbald(log_probs, 5), kbald(log_probs, 5, order=order)
    assert approximate.indices == exact.indices
    assert approximate.scores == pytest.approx(exact.scores, abs=1e-5)


def test_orders_one_and_two_are_bald_and_exact_at_two_points():
    log_probs = random_log_probs(30, 8, 3)
    assert kbald(log_probs, 6, order=1).indices == bald(log_probs, 6).indices
    assert kbald(log_probs, 6, order=1).scores == pytest.approx(bald(log_probs, 6).scores)
    assert kbald(log_probs, 2, order=2).scores == pytest.approx(batchbald(log_probs, 2).scores)


def test_2bald_scores_turn_negative_where_it_subtracts_too_much():
    # Points that all say the same without noise: the second adds nothing, and the third is subtracted twice.
    log_probs = random_log_probs(1, 10, 3, scale=50).repeat(40, 1, 1)
    scores = kbald(log_probs, 5, order=2).scores
    assert scores == pytest.approx([scores[0] * share for share in (1, 1, 0, -2, -5)], abs=1e-3)


def test_orders_out_of_range_are_refused():
    log_probs = random_log_probs(20, 4, 10)
    for order in (0, -1):
        with pytest.raises(ValueError, match=f"order must be an integer of at least 1, got {order}"):
            kbald(log_probs, 2, order=order)
    with pytest.raises(ValueError, match=r"order 9 at batch_size 10 needs outcome tables of .* MiB; order 5 fits"):
        kbald(log_probs, 10, order=9)
    with pytest.raises(ValueError, match=r"over the memory_budget of 0\.0 MiB; order 1 fits"):
        kbald(log_probs, 3, order=3, memory_budget=100)
