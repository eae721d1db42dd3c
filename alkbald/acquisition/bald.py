"""Top-k BALD, which is 1-BALD: the points of highest individual score.

[Houlsby2011] Houlsby et al. Bayesian active learning for classification and preference learning.
[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

import torch
from torch import Generator

from alkbald.acquisition.batch import Batch
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions


def bald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    generator: Generator | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""The B points of highest mutual information. [Kirsch2023, equation 1 and 1-BALD]

    .. math:: I[Y_n; \Omega] = H[Y_n] - H[Y_n \mid \Omega]

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        generator: not used, as nothing is drawn; all methods can be called with one.
        device: where to compute; None: where log_probs are. A pool on the CPU is streamed to a GPU.

    Returns:
        The batch; its score is the sum of its points' mutual informations, which counts twice what they share.

    Raises:
        ValueError: B out of range, or log_probs that are none (see `probabilities.check_probabilities`).
    """
    predictions = pool_predictions(log_probs, batch_size)
    pool = Pool(predictions, memory_budget=0, device=device)
    return pool.top_k(pool.bald, batch_size)
