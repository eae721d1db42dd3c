"""Stochastic batches: points drawn by their score, so that a batch of similar points is unlikely.

Draws of B points without replacement with probability proportional to exp(s) are the B largest of s + Gumbel noise.

[Kirsch2021] Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron and Gal. Stochastic batch acquisition.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions
from alkbald.information.probabilities import TINY


def power_bald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator,
    device: torch.device | None = None,
) -> Batch:
    r"""B points without replacement, with probability proportional to :math:`I[Y_n; \Omega]^\beta`.
    [Kirsch2021, PowerBALD]

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        beta: at least 0, finite; 0 is uniform, the larger the nearer to top-k.
        generator: a CPU generator. Every call draws anew from it.
        device: where to compute; None: where log_probs are.

    Returns:
        The batch; its score is the sum of its points' mutual informations.

    Raises:
        ValueError: B or beta out of range, or log_probs that are none.
    """
    return _draw_batch(log_probs, batch_size, lambda bald: bald.clamp_min(TINY).log(), beta, generator, device)


def softmax_bald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator,
    device: torch.device | None = None,
) -> Batch:
    r"""B points without replacement, with probability proportional to :math:`e^{\beta I[Y_n; \Omega]}`.
    [Kirsch2021, SoftmaxBALD]

    BALD is hardly above one nat with ten classes, so beta = 1 prefers no point to another by much more than e.

    Arguments, result and errors as of `power_bald`.
    """
    return _draw_batch(log_probs, batch_size, lambda bald: bald, beta, generator, device)


def softrank_bald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator,
    device: torch.device | None = None,
) -> Batch:
    r"""B points without replacement, with probability proportional to :math:`\text{rank}^{-\beta}`, with ranks
    from 1 in descending order of BALD. [Kirsch2021, SoftrankBALD]

    Arguments, result and errors as of `power_bald`.
    """
    return _draw_batch(
        log_probs,
        batch_size,
        lambda bald: -torch.arange(1, len(bald) + 1, dtype=bald.dtype, device=bald.device).log(),
        beta,
        generator,
        device,
    )


def _draw_batch(
    log_probs: AnyPredictions,
    batch_size: int,
    log_weight: Callable[[Tensor], Tensor],
    beta: float,
    generator: Generator,
    device: torch.device | None,
) -> Batch:
    """B points drawn without replacement, with probability proportional to exp(beta log_weight).

    Args:
        log_weight: from BALD scores in descending order to the logarithms of their weights.
    """
    predictions = pool_predictions(log_probs, batch_size)
    check_beta(beta)
    pool = Pool(predictions, memory_budget=0, device=device)
    noisy = beta * log_weight(pool.bald) + gumbel_noise(pool, generator)
    ranks = noisy.sort(descending=True, stable=True).indices[:batch_size]
    return pool.batch(ranks.tolist(), pool.bald[ranks].cumsum(0).tolist())


def gumbel_noise(pool: Pool, generator: Generator) -> Float[Tensor, " N"]:
    """Standard Gumbel noise by rank. A point's own, and made on the CPU: every device and precision draws the same."""
    uniform = torch.rand(len(pool), generator=generator, dtype=torch.float64).clamp_min(TINY)
    return -(-uniform.log()).log().to(pool.bald.device)[pool.index]


def check_beta(beta: float) -> None:
    """Raises ValueError unless 0 <= beta < infinity."""
    if isinstance(beta, bool) or not 0 <= beta < math.inf:
        raise ValueError(f"beta must be at least 0 and finite, got {beta!r}")
