"""Random acquisition: the baseline that any score must beat."""

import math

import torch
from torch import Generator

from alkbald.acquisition.batch import Batch
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions


def random(log_probs: AnyPredictions, batch_size: int, *, generator: Generator) -> Batch:
    """Points drawn uniformly without replacement. The predictions are not looked at.

    Args:
        log_probs: [N, K, C], in memory or not (see `predictions`). Only N matters.
        batch_size: B, at most N.
        generator: a CPU generator. Every call draws anew from it.

    Returns:
        The batch; its scores are NaN.
    """
    predictions = pool_predictions(log_probs, batch_size)
    indices = torch.randperm(len(predictions), generator=generator)[:batch_size]
    return Batch(indices.tolist(), [math.nan] * batch_size, predictions.at(indices))
