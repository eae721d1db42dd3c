"""Random acquisition: the baseline that any score must beat."""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, check_batch_size


def random(log_probs: Float[Tensor, "N K C"], batch_size: int, *, generator: Generator) -> Batch:
    """Points drawn uniformly without replacement. The predictions are not looked at.

    Args:
        log_probs: only N matters.
        batch_size: B, at most N.
        generator: a CPU generator. Every call draws anew from it.

    Returns:
        The batch; its scores are NaN.
    """
    check_batch_size(batch_size, len(log_probs))
    indices = torch.randperm(len(log_probs), generator=generator)[:batch_size]
    return Batch(indices.tolist(), [math.nan] * batch_size, log_probs[indices.to(log_probs.device)])
