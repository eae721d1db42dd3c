"""The functions of batchbald_redux by alkbald, beside the real ones."""

import inspect
from dataclasses import fields

import pytest
import torch
from conftest import random_log_probs

from alkbald.compatibility import batchbald_redux as door

peer = pytest.importorskip("batchbald_redux.batchbald", reason="needs batchbald_redux: make setup")


@pytest.mark.parametrize("name", ["get_batchbald_batch", "get_bald_batch"])
def test_signatures_are_the_peers(name):
    ours, theirs = (inspect.signature(getattr(module, name)).parameters.values() for module in (door, peer))
    assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs]
    assert [field.name for field in fields(door.CandidateBatch)] == [
        field.name for field in fields(peer.CandidateBatch)
    ]


@pytest.mark.parametrize(  # few: the peer collects garbage before every part of its work
    ("n", "k", "c", "batch_size"), [(12, 6, 4, 5), (10, 2, 3, 3), (3, 4, 2, 5), (4, 3, 2, 0)]
)
def test_batches_and_scores_are_the_peers(n, k, c, batch_size):
    log_probs = random_log_probs(n, k, c)
    for name, samples in (("get_batchbald_batch", [10_000]), ("get_bald_batch", [])):  # C^4 = 256 outcomes: exact
        arguments = log_probs, batch_size, *samples
        ours, theirs = (getattr(module, name)(*arguments, dtype=torch.double, device="cpu") for module in (door, peer))
        assert ours.indices == theirs.indices
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-9)


@pytest.mark.usefixtures("no_shape_checks")
def test_a_number_of_samples_may_be_written_as_a_float():
    log_probs = random_log_probs(30, 10, 4)
    assert door.get_batchbald_batch(log_probs, 5, 1e2) == door.get_batchbald_batch(log_probs, 5, 100)
    for wrong in (10.5, float("inf"), float("nan"), None, True):
        with pytest.raises(ValueError, match=f"must be an integer of at least 1, got {wrong}"):
            door.get_batchbald_batch(log_probs, 5, wrong)


def test_dtype_is_what_is_computed_in():
    log_probs = random_log_probs(20, 5, 3, dtype=torch.float32)
    double = door.get_batchbald_batch(log_probs, 3, 100, dtype=torch.double)
    assert double == door.get_batchbald_batch(log_probs.double(), 3, 100)
    assert double.scores != door.get_batchbald_batch(log_probs, 3, 100).scores


def test_num_samples_bounds_the_outcomes():
    log_probs = random_log_probs(30, 10, 4)
    few, many = (door.get_batchbald_batch(log_probs, 5, samples) for samples in (5, 10_000))
    assert few.scores != many.scores
    assert few.scores[:2] == many.scores[:2]  # 4 outcomes of one point
