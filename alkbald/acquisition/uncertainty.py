"""Top-k by the uncertainty of the mean predictive alone: the classical baselines, blind to where it comes from.

[Settles2009] Settles. Active learning literature survey.
[Freeman1965] Freeman. Elementary applied statistics (variation ratios).
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions


def entropy(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    generator: Generator | None = None,
    device: torch.device | None = None,
) -> Batch:
    """The B points of highest :math:`H[Y_n]`, the entropy of the mean predictive. [Settles2009]

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        generator: not used, as nothing is drawn; all methods can be called with one.
        device: where to compute; None: where log_probs are.

    Returns:
        The batch; its score is the sum of its points' entropies, in nats.

    Raises:
        ValueError: B out of range, or log_probs that are none.
    """
    predictions = pool_predictions(log_probs, batch_size)
    pool = Pool(predictions, memory_budget=0, device=device)
    return pool.top_k(pool.marginal_entropy, batch_size)


def variation_ratios(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    generator: Generator | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""The B points of highest :math:`1 - \max_y p(y \mid x_n)`, of the mean predictive. [Freeman1965]

    Arguments and errors as of `entropy`; the score is the sum of the points' variation ratios, without a unit.
    """
    predictions = pool_predictions(log_probs, batch_size)
    ratios = torch.empty(len(predictions), dtype=torch.float64, device=device or predictions.device)

    def keep(first: int, _: Tensor, probs: Float[Tensor, "n K C"], sums: Float[Tensor, "n K"]) -> None:
        mean = (probs / sums[..., None]).mean(1, dtype=torch.float64)
        ratios[first : first + len(mean)] = 1 - mean.amax(-1)

    pool = Pool(predictions, memory_budget=0, device=device, visit=keep)
    return pool.top_k(ratios[pool.index], batch_size)
