"""The methods beyond BALD, k-BALD and BatchBALD, against enumeration; test_dynamic.py and test_stochastic.py go on."""

import importlib
import inspect
import itertools
import math

import brute_force
import pytest
import torch
from conftest import ROOT, generator, random_log_probs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alkbald.acquisition import (
    METHODS,
    conservative_bald,
    epig,
    kbald,
    kbald_scores,
)

small_pools = st.tuples(st.integers(4, 8), st.integers(2, 6), st.integers(2, 3), st.integers(0, 10**6))


@given(small_pools, st.integers(0, 4), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_scores_of_a_given_batch_are_equation_6(pool, size, order):
    points = random_log_probs(*pool)[:size]
    expected = [brute_force.kbald_score(points[:b], order) for b in range(1, size + 1)]
    assert kbald_scores(points, order=order) == pytest.approx(expected, abs=1e-9)


def test_scores_of_a_given_batch_are_those_that_greedy_selection_gave():
    log_probs = random_log_probs(40, 8, 3)
    for order in (1, 2, 3):
        batch = kbald(log_probs, 7, order=order)
        assert kbald_scores(batch.log_probs, order=order) == pytest.approx(batch.scores, abs=1e-9)


@given(small_pools, st.floats(0, 0.5))
@settings(max_examples=30, deadline=None)
def test_conservative_bald_leaves_out_what_depends_on_a_pick(pool, threshold):
    log_probs = random_log_probs(*pool)
    order = sorted(range(len(log_probs)), key=lambda n: -brute_force.joint_mutual_information(log_probs[[n]]))
    expected = []
    for n in order:
        if all(brute_force.interaction_information(log_probs[[n, i]]) <= threshold for i in expected):
            expected.append(n)
    for size in (len(log_probs), 2):
        batch = conservative_bald(log_probs, size, threshold=threshold, min_bald=0.0)
        assert batch.indices == expected[:size]
        assert batch.decision == ("batch_size" if len(expected) >= size else "exhausted")
        scores = [brute_force.kbald_score(log_probs[expected[:b]], 2) for b in range(1, len(batch) + 1)]
        assert batch.scores == pytest.approx(scores, abs=1e-9)


@given(small_pools, st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_conservative_bald_keeps_to_the_papers_budget(pool, size):
    log_probs = random_log_probs(*pool)

    def shared(points) -> float:
        pairs = itertools.combinations(points, 2)
        return sum(brute_force.interaction_information(log_probs[list(pair)]) for pair in pairs)

    order = sorted(range(len(log_probs)), key=lambda n: -brute_force.joint_mutual_information(log_probs[[n]]))
    distances = sorted(brute_force.joint_mutual_information(log_probs[[n]]) for n in range(len(log_probs)))
    assume(all(b - a > 1e-9 for a, b in itertools.pairwise(distances)))
    budget = max((shared(pair) for pair in itertools.combinations(order[:size], 2)), default=0.0)
    expected = []
    for n in order:
        if len(expected) < size and shared([*expected, n]) <= budget + 1e-12:
            expected.append(n)
    batch = conservative_bald(log_probs, size, threshold=None, min_bald=0.0)
    assert batch.indices == expected
    assert len(batch) >= min(2, size)


def test_conservative_bald_ends_with_what_teaches_something():
    log_probs = random_log_probs(8, 6, 3)
    worth = sorted((brute_force.joint_mutual_information(log_probs[[n]]) for n in range(8)), reverse=True)
    batch = conservative_bald(log_probs, 8, threshold=9.0, min_bald=worth[4] - 1e-6)
    assert len(batch) == 5
    assert batch.decision == "min_bald"
    assert len(conservative_bald(log_probs, 8, min_bald=99.0)) == 1  # a run that acquired nothing would never end


def test_conservative_bald_looks_beyond_the_first_block():
    """Two thousand copies of one point come first; what is new comes after them."""
    copy = random_log_probs(1, 8, 3, scale=4.0)
    others = random_log_probs(50, 8, 3, seed=1, scale=0.5)
    log_probs = torch.cat([copy.expand(2000, -1, -1), others])
    batch = conservative_bald(log_probs, 3, threshold=0.1, min_bald=0.0)
    assert len(batch) == 3
    assert batch.indices[0] == 0
    assert all(index >= 2000 for index in batch.indices[1:])


def test_entropy_and_variation_ratios_rank_the_mean_predictive():
    log_probs = random_log_probs(12, 6, 3)
    mean = log_probs.exp().mean(1)
    for name, values in (
        ("entropy", -(mean * mean.log()).sum(-1)),
        ("variation_ratios", 1 - mean.max(-1).values),
    ):
        batch = METHODS[name](log_probs, 4)
        assert batch.indices == values.argsort(descending=True)[:4].tolist()
        assert batch.scores == pytest.approx(values.sort(descending=True).values[:4].cumsum(0).tolist())


@given(small_pools)
@settings(max_examples=20, deadline=None)
def test_epig_is_the_mean_information_about_the_targets(pool):
    log_probs = random_log_probs(*pool)
    n = len(log_probs)
    gains = torch.tensor(
        [
            sum(brute_force.interaction_information(log_probs[[point, target]]) for target in range(n)) / n
            for point in range(n)
        ],
        dtype=torch.float64,
    )
    batch = epig(log_probs, n, num_targets=n, generator=generator())
    assert gains[batch.indices].cumsum(0).tolist() == pytest.approx(batch.scores, abs=1e-9)
    assert batch.scores == pytest.approx(gains.sort(descending=True).values.cumsum(0).tolist(), abs=1e-9)


def test_epig_of_few_targets_is_about_the_pool_points_that_were_drawn():
    log_probs = random_log_probs(9, 5, 3)
    targets = torch.randperm(9, generator=generator(4))[:2].tolist()
    gains = [
        sum(brute_force.interaction_information(log_probs[[point, target]]) for target in targets) / 2
        for point in range(9)
    ]
    batch = epig(log_probs, 9, num_targets=2, generator=generator(4))
    assert batch.scores == pytest.approx(torch.tensor(sorted(gains, reverse=True)).cumsum(0).tolist(), abs=1e-6)


def test_epig_of_given_targets_is_about_these():
    log_probs, targets = random_log_probs(9, 6, 3), random_log_probs(4, 6, 2, seed=5)
    batch = epig(log_probs, 9, target_log_probs=[targets[:1].numpy(), targets[1:]], generator=generator())
    # Targets have other classes: a third, impossible one lets them stand beside the points.
    widened = torch.cat([targets, torch.full((4, 6, 1), -torch.inf)], -1)
    gains = [
        sum(brute_force.interaction_information(torch.stack([point, target])) for target in widened) / 4
        for point in log_probs
    ]
    assert batch.scores == pytest.approx(torch.tensor(sorted(gains, reverse=True)).cumsum(0).tolist(), abs=1e-6)
    assert gains[batch.indices[0]] == pytest.approx(max(gains), abs=1e-9)


def test_epig_takes_equal_points_in_the_order_of_the_pool():
    """1,025 points are two blocks: the last one has the same gain but for rounding."""
    log_probs = random_log_probs(1, 20, 3).expand(1025, -1, -1).contiguous()
    assert epig(log_probs, 5, generator=generator()).indices == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shape", [(0, 6, 3), (4, 5, 3)])
def test_epig_refuses_targets_that_do_not_fit(shape):
    targets = torch.full(shape, 1 / 3).log()
    with pytest.raises(ValueError, match=r"target_log_probs must be \[T, K, C\]"):
        epig(random_log_probs(9, 6, 3), 2, target_log_probs=targets, generator=generator())


def test_epig_draws_its_targets_from_the_generator():
    log_probs = random_log_probs(60, 6, 3)
    batches = {tuple(epig(log_probs, 5, num_targets=2, generator=generator(seed)).indices) for seed in (0, 0, 1, 2, 3)}
    assert 2 <= len(batches) <= 4


#: Methods with tests of their own; every other method passes those below.
ELSEWHERE = {"random", "bald", "2bald", "3bald", "kbald", "batchbald"}
NAMES = [name for name in METHODS if name not in ELSEWHERE]


def draws(name: str) -> bool:
    """Whether the method requires a generator."""
    return inspect.signature(METHODS[name].function).parameters["generator"].default is inspect.Parameter.empty


@pytest.mark.parametrize("name", NAMES)
def test_precisions_and_devices_agree(name):
    exact = random_log_probs(60, 20, 4)
    batch = METHODS[name](exact, 6, generator=generator())
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for log_probs in [exact.float(), *(exact.to(device) for device in devices)]:
        other = METHODS[name](log_probs, 6, device=log_probs.device, generator=generator())
        assert (other.indices, other.decision) == (batch.indices, batch.decision)
        assert other.scores == pytest.approx(batch.scores, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if not draws(name)])
def test_permuting_the_pool_permutes_the_batch(name):
    log_probs = random_log_probs(20, 6, 3, seed=2)
    permutation = torch.randperm(20, generator=generator(1))
    batch, permuted = METHODS[name](log_probs, 5), METHODS[name](log_probs[permutation], 5)
    assert permutation[permuted.indices].tolist() == batch.indices
    assert permuted.scores == pytest.approx(batch.scores, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_chunks_and_blocks_change_nothing(name, monkeypatch):
    log_probs = random_log_probs(100, 6, 3)
    whole = METHODS[name](log_probs, 5, generator=generator())
    for path in (ROOT / "alkbald" / "acquisition").glob("*.py"):
        module = importlib.import_module(f"alkbald.acquisition.{path.stem}")
        for constant in {"_BLOCK", "_CHUNK", "_PART"} & vars(module).keys():
            monkeypatch.setattr(module, constant, 7)
    cut = METHODS[name](log_probs, 5, generator=generator())
    assert cut.indices == whole.indices
    assert cut.scores == pytest.approx(whole.scores, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_impossible_classes_are_served_and_nan_is_refused(name):
    log_probs = random_log_probs(8, 4, 3)
    certain = torch.full_like(log_probs, -math.inf)
    certain[..., 0] = 0.0
    for predictions in (
        certain,
        torch.cat([log_probs, certain]),
        log_probs * 1e4 - (log_probs * 1e4).logsumexp(-1, True),
    ):
        batch = METHODS[name](predictions, 4, generator=generator())
        assert 1 <= len(set(batch.indices)) == len(batch.indices)
        assert all(map(math.isfinite, batch.scores))
    log_probs[3, 0, 0] = math.nan
    with pytest.raises(ValueError, match="pool index 3 is NaN"):
        METHODS[name](log_probs, 2, generator=generator())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dynamic_bald", {"min_size": 0}, "min_size must be an integer of at least 1, got 0"),
        ("adaptive_kbald", {"seconds": -1.0}, "seconds must be at least 0, got -1.0"),
        ("dynamic_bald", {"divergence": -1.0}, "divergence must be above 0, got -1.0"),
        ("dynamic_bald", {"share_of_log_k": 0.0}, "share_of_log_k must be above 0, got 0.0"),
        ("adaptive_kbald", {"tolerance": 0.0}, "tolerance must be above 0, got 0.0"),
        ("adaptive_kbald", {"max_order": 1}, "max_order must be an integer of at least 2, got 1"),
        ("adaptive_kbald", {"memory_budget": -1}, "memory_budget must be an integer of at least 0, got -1"),
        ("conservative_bald", {"threshold": -0.1}, "threshold must be at least 0, got -0.1"),
        ("conservative_bald", {"min_bald": -0.1}, "min_bald must be at least 0, got -0.1"),
        ("power_bald", {"beta": -1.0}, "beta must be at least 0 and finite, got -1.0"),
        ("softmax_bald", {"beta": math.inf}, "beta must be at least 0 and finite, got inf"),
        ("epig", {"num_targets": 0}, "num_targets must be an integer of at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        METHODS[name](random_log_probs(6, 4, 3), 2, generator=generator(), **options)
