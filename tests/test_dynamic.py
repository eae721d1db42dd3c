"""Batch sizes and orders that are chosen in the round, against enumeration."""

import itertools
import math
from types import SimpleNamespace

import brute_force
import pytest
import torch
from conftest import random_log_probs

from alkbald.acquisition import adaptive_kbald, dynamic_bald, kbald, positive_bald
from alkbald.acquisition.kbald import table_rows

NO_CRITERION = {"divergence": None, "non_positive": False, "share_of_log_k": None}


def test_without_criteria_dynamic_bald_is_2bald():
    log_probs = random_log_probs(30, 6, 3)
    batch, fixed = dynamic_bald(log_probs, 8, **NO_CRITERION), kbald(log_probs, 8, order=2)
    assert (batch.indices, batch.scores, batch.decision) == (fixed.indices, fixed.scores, "batch_size")


@pytest.mark.parametrize("divergence", [0.01, 0.1, 0.5])
def test_dynamic_bald_stops_before_2_and_3_bald_diverge(divergence):
    log_probs = random_log_probs(30, 6, 3)
    batch = dynamic_bald(log_probs, 8, **NO_CRITERION | {"divergence": divergence})
    points = kbald(log_probs, 8, order=2).log_probs
    second, third = ([brute_force.kbald_score(points[:b], k) for b in range(1, 9)] for k in (2, 3))
    apart = [abs(c - b) > divergence * abs(b) for b, c in zip(second, third, strict=True)]
    assert apart[:2] == [False, False]  # of two points both are exact
    assert len(batch) == apart.index(True)
    assert batch.decision == "divergence"


def test_dynamic_bald_stops_before_a_gain_that_is_not_positive():
    log_probs = random_log_probs(30, 6, 3)
    fixed = kbald(log_probs, 20, order=2)
    batch = dynamic_bald(log_probs, 20, **NO_CRITERION | {"non_positive": True})
    alone = positive_bald(log_probs, 20)
    assert (alone.indices, alone.decision) == (batch.indices, batch.decision)
    assert len(positive_bald(log_probs, 20, min_size=len(batch) + 2)) == len(batch) + 2
    assert len(batch) == fixed.first_non_positive < 20
    assert batch.decision == "non_positive"
    assert all(after > before for before, after in itertools.pairwise([0.0, *batch.scores]))


def test_dynamic_bald_stops_once_a_share_of_log_k_is_used_up():
    log_probs = random_log_probs(30, 6, 3)
    batch = dynamic_bald(log_probs, 8, **NO_CRITERION | {"share_of_log_k": 0.8})
    worth = [brute_force.joint_mutual_information(batch.log_probs[:b]) / math.log(6) for b in range(1, len(batch) + 1)]
    assert worth[-1] >= 0.8 > max(worth[:-1])
    assert batch.decision == "share_of_log_k"


def test_the_first_criterion_ends_the_batch_and_min_size_holds():
    log_probs = random_log_probs(30, 6, 3)
    alone = {
        name: len(dynamic_bald(log_probs, 20, **NO_CRITERION | {name: value}))
        for name, value in (("divergence", 0.3), ("non_positive", True), ("share_of_log_k", 0.95))
    }
    batch = dynamic_bald(log_probs, 20)
    assert len(batch) == min(alone.values()) == alone[batch.decision]
    larger = dynamic_bald(log_probs, 20, min_size=len(batch) + 1)
    assert len(larger) == len(batch) + 1
    assert larger.decision == f"min_size ({batch.decision})"
    assert len(dynamic_bald(log_probs, 2, min_size=9)) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_nothing_can_be_learned_rounding_decides_no_size(dtype):
    same = random_log_probs(30, 1, 10).to(dtype).expand(30, 50, 10).log_softmax(-1)  # K samples of one opinion
    for method in (positive_bald, dynamic_bald):
        batch = method(same, 20)
        assert (len(batch), batch.decision) == (1, "min_size (non_positive)")
    assert dynamic_bald(same, 20, **NO_CRITERION | {"divergence": 0.3}).decision == "batch_size"


def test_dynamic_bald_says_what_it_needs_memory_for():
    with pytest.raises(ValueError, match=r"divergence from 3-BALD: order 3 .* divergence=null does without"):
        dynamic_bald(random_log_probs(30, 6, 3), 20, memory_budget=5000)
    assert len(dynamic_bald(random_log_probs(30, 6, 3), 20, memory_budget=5000, divergence=None)) > 1


def test_adaptive_kbald_takes_the_first_order_that_is_near_what_the_batch_is_worth():
    log_probs = random_log_probs(20, 6, 3)
    departures = {}
    for order in (2, 3, 4):
        batch = kbald(log_probs, 6, order=order)
        worth = brute_force.joint_mutual_information(batch.log_probs)
        departures[order] = abs(batch.scores[-1] - worth) / worth
    for tolerance in (1e-6, *(departures[order] * 1.001 for order in (2, 3, 4))):
        batch = adaptive_kbald(log_probs, 6, tolerance=tolerance, max_order=4)
        near = [order for order in (2, 3, 4) if departures[order] <= tolerance]
        if near:
            assert batch.decision == f"order={near[0]}"
        else:
            assert batch.decision == f"order={min(departures, key=departures.get)} (max_order)"
        order = int(batch.decision[6])
        assert batch.indices == kbald(log_probs, 6, order=order).indices


def test_adaptive_kbald_keeps_within_its_budgets():
    log_probs = random_log_probs(20, 6, 3)
    assert adaptive_kbald(log_probs, 6, tolerance=1e-9, seconds=0.0).decision == "order=2 (seconds)"
    assert adaptive_kbald(log_probs, 6, tolerance=1e-9, memory_budget=4000).decision == "order=2 (memory)"
    assert adaptive_kbald(log_probs, 3, tolerance=1e-9, max_order=9).decision == "order=3"


def test_adaptive_kbald_foresees_seconds_by_its_outcome_tables(monkeypatch):
    log_probs = random_log_probs(20, 6, 3)
    expected = 3 + table_rows(6, 3, 3) / table_rows(6, 2, 3)  # three ticks gone, the last order having taken one
    for seconds, reason in ((expected - 0.01, "seconds"), (expected + 0.01, "max_order")):
        clock = itertools.count()
        tick = SimpleNamespace(perf_counter=lambda ticks=clock: float(next(ticks)))
        monkeypatch.setattr("alkbald.acquisition.dynamic.time", tick)
        assert adaptive_kbald(log_probs, 6, tolerance=1e-9, seconds=seconds).decision.endswith(f"({reason})")
