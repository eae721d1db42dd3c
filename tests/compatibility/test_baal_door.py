"""The heuristic for baal, in baal's own loop and beside its own heuristics."""

import numpy as np
import pytest
import torch
from conftest import random_log_probs
from torch.utils.data import TensorDataset

from alkbald.acquisition import batchbald, kbald

heuristics = pytest.importorskip("baal.active.heuristics", reason="needs baal: pip install 'alkbald[doors]'")

from baal.active import ActiveLearningDataset, ActiveLearningLoop  # noqa: E402

from alkbald.compatibility import baal as baal_door  # noqa: E402
from alkbald.compatibility.baal import BatchHeuristic  # noqa: E402

LOG_PROBS = random_log_probs(40, 8, 3)
PROBS = LOG_PROBS.exp().transpose(1, 2).numpy()  # [N, C, K]
LOGITS = (LOG_PROBS + torch.randn(40, 8, 1, generator=torch.Generator().manual_seed(0))).transpose(1, 2).numpy()


@pytest.mark.parametrize("predictions", [PROBS, LOGITS, LOG_PROBS.transpose(1, 2).numpy(), torch.from_numpy(PROBS)])
def test_bald_ranks_as_baals_own(predictions):
    ranks, scores = BatchHeuristic("bald", 40).get_ranks(predictions)
    expected, _ = heuristics.BALD().get_ranks(predictions)
    assert ranks.tolist() == expected.tolist()
    assert scores[ranks].tolist() == list(range(40, 0, -1))


def test_probabilities_in_half_precision_are_no_logits():
    half = (10 * LOG_PROBS).softmax(-1).transpose(1, 2).numpy().astype(np.float16)
    values = baal_door._log_probs(half)
    assert np.allclose(values.exp().numpy(), half.swapaxes(1, 2), atol=1e-3)


def test_epig_of_given_targets_ranks_as_baals_own():
    targets = random_log_probs(7, 8, 4, seed=1).exp().transpose(1, 2).numpy()
    expected, _ = heuristics.EPIG().get_ranks(PROBS, targets)
    assert BatchHeuristic("epig", 40)(PROBS, targets).tolist() == expected.tolist()


def test_the_batch_comes_first_and_then_the_others_by_bald():
    batch = batchbald(LOG_PROBS, 6).indices
    ranks = BatchHeuristic("batchbald", 6)(PROBS).tolist()
    assert ranks[:6] == batch
    assert ranks[6:] == [n for n in heuristics.BALD()(PROBS).tolist() if n not in batch]


def test_methods_get_their_options():
    first = BatchHeuristic("kbald", 5, order=3)([LOGITS])[:5]
    assert first.tolist() == kbald(LOG_PROBS, 5, order=3).indices


def test_predictions_are_left_as_they_are():
    for predictions in (PROBS, LOGITS):
        given = predictions.copy()
        given.flags.writeable = False
        BatchHeuristic("batchbald", 3)(given)
        assert np.array_equal(given, predictions)


def test_half_precision_and_impossible_classes():
    ranks = BatchHeuristic("batchbald", 3)(np.array([[[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]]], np.float16))
    assert ranks.tolist() == [0, 1]


def test_draws_follow_the_seed():
    ranks = [BatchHeuristic("power_bald", 10, seed=seed)(PROBS)[:10].tolist() for seed in (0, 0, 1)]
    assert ranks[0] == ranks[1] != ranks[2]


def test_baals_loop_labels_the_batch():
    dataset = ActiveLearningDataset(TensorDataset(torch.arange(60.0), torch.zeros(60)))
    dataset.label(list(range(20)))
    loop = ActiveLearningLoop(dataset, lambda pool: PROBS[: len(pool)], BatchHeuristic("batchbald", 5), query_size=5)
    assert loop.step()
    labelled = set(np.flatnonzero(dataset.labelled)) - set(range(20))
    assert labelled == {20 + n for n in batchbald(LOG_PROBS, 5).indices}
    while loop.step():  # to the end of the pool, also where fewer are left than a batch has
        pass
    assert dataset.labelled.all()


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([PROBS, PROBS], "one output"),
        (PROBS[..., None], "axes"),
        (PROBS.swapaxes(1, 2), r"pass predictions.transpose\(0, 2, 1\)"),
        (PROBS[:, :1], "C at least 2"),
        (np.full((2, 3, 4), np.nan), "index 0 is NaN"),
        ((part for part in [PROBS]), "whole pool"),
    ],
)
def test_what_is_no_pool_is_refused(predictions, message):
    with pytest.raises(ValueError, match=message):
        BatchHeuristic("batchbald", 1).get_ranks(predictions)


def test_what_the_loop_cannot_use_is_refused():
    with pytest.raises(ValueError, match="method must be one of"):
        BatchHeuristic("dynamic_bald", 5)
    with pytest.raises(ValueError, match="target_predictions"):
        BatchHeuristic("batchbald", 5).get_ranks(PROBS, PROBS)
    with pytest.raises(ValueError, match="K = 8"):
        BatchHeuristic("epig", 5).get_ranks(PROBS, PROBS[..., :4])
