"""Ties between points of equal predictions: the same choice as a comparison of each with each, at a price that grows
with the pool alone."""

import importlib
import math

import pytest
import torch
from conftest import generator, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from alkbald.acquisition import METHODS, duplicates
from alkbald.acquisition.batch import tie_margin
from alkbald.acquisition.duplicates import Duplicates
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import as_predictions


def best_rank(pool: Pool, gains: torch.Tensor, picks: list[int]) -> int:
    """`Pool.best_rank` by comparing each candidate with each pick."""
    tied = (gains >= gains.max() - tie_margin(pool.dtype)).nonzero()[:, 0].tolist()
    tied.sort(key=lambda rank: int(pool.index[rank]))
    rows = pool._predictions.at(pool.index)
    return next((rank for rank in tied if not any((rows[rank] == rows[pick]).all() for pick in picks)), tied[0])


@st.composite
def pools_with_duplicates(draw) -> torch.Tensor:
    """Few different predictions [N, K, C], some of them certain, each as often as may be; zeros with either sign."""
    kinds, num_samples, num_classes = (draw(st.integers(1, most)) for most in (4, 3, 3))
    different = random_log_probs(kinds, num_samples, num_classes, draw(st.integers(0, 10**6)))
    different[: draw(st.integers(0, kinds))] = torch.tensor([0.0] + [-math.inf] * (num_classes - 1))
    log_probs = different[draw(st.lists(st.integers(0, kinds - 1), min_size=1, max_size=12))]
    for n in draw(st.sets(st.integers(0, len(log_probs) - 1))):
        log_probs[n][log_probs[n] == 0] = -0.0
    return log_probs.to(draw(st.sampled_from([torch.float64, torch.float32, torch.float16])))


@pytest.mark.parametrize("hashed", [Duplicates._hash, lambda self, ranks: ranks * 0], ids=["hashes", "equal hashes"])
@given(log_probs=pools_with_duplicates(), part=st.integers(1, 4), data=st.data())
@settings(max_examples=100, deadline=None)
def test_best_rank_is_that_of_comparing_all_pairs(hashed, log_probs, part, data):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(duplicates, "_PART", part)
        monkeypatch.setattr(Duplicates, "_hash", hashed)
        pool = Pool(as_predictions(log_probs))
        ranks = st.permutations(range(len(pool)))
        for picks in (data.draw(ranks), data.draw(ranks)):  # each list grows; what the first has left is forgotten
            for size in range(len(pool)):
                gains = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=12)))[: len(pool)]
                gains[picks[:size]] = -math.inf
                assert pool.best_rank(gains, picks[:size]) == best_rank(pool, gains, picks[:size])


TYING = {  # methods that ask for the first of equal gains
    "2bald": {},
    "3bald": {},
    "adaptive_kbald": {},
    "batchbald": {"max_particles": 5},
    "dynamic_bald": {"divergence": None},
    "large_batchbald": {},
    "positive_bald": {},
    "power_large_batchbald": {},
}


@pytest.mark.parametrize("name", TYING)
@given(pools_with_duplicates(), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_batches_are_those_of_comparing_all_pairs(name, log_probs, batch_size):
    size = min(batch_size, len(log_probs))
    batch = METHODS[name](log_probs, size, generator=generator(), **TYING[name])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Pool, "best_rank", best_rank)
        assert METHODS[name](log_probs, size, generator=generator(), **TYING[name]) == batch


class ElementsCompared(TorchDispatchMode):
    """Counts elements that are compared with each other or go into a hash."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        hashing = func is torch.ops.aten.mul.Tensor and out.dtype == torch.int64
        if hashing or func is torch.ops.aten.eq.Tensor:
            self.count += out.numel()
        return out


def told_apart() -> torch.Tensor:
    """20,000 copies of a point that tells two samples apart."""
    return random_log_probs(1, 2, 3, dtype=torch.float32).repeat(20_000, 1, 1)


def certain() -> torch.Tensor:
    """20,000 points of 50 kinds that one sample is certain about, so that all gains are 0, without rounding."""
    return torch.eye(50).log()[:, None].repeat(400, 1, 1)


@pytest.mark.parametrize(
    ("name", "log_probs"),
    [(name, certain()) for name in ("2bald", "batchbald", "power_large_batchbald")]
    + [(name, told_apart()) for name in ("2bald", "batchbald")],
)
def test_many_equal_points_are_compared_once_each(name, log_probs, monkeypatch):
    compared = ElementsCompared()

    def counted(*args, uncounted=Pool.best_rank):
        with compared:
            return uncounted(*args)

    monkeypatch.setattr(Pool, "best_rank", counted)
    for module in ("kbald", "batchbald"):  # all tie, so all are evaluated: at once, to save time
        monkeypatch.setattr(importlib.import_module(f"alkbald.acquisition.{module}"), "_BLOCK", 20_000)
    batch = METHODS[name](log_probs, 200, generator=generator(), **TYING[name])
    assert batch.indices == list(range(200))  # each kind, and then copies from the lowest index on
    assert 0 < compared.count < 4 * log_probs.numel()  # all pairs: 100 times as many and more
