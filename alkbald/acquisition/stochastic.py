"""Stochastic batches: points drawn by their score, so that a batch of similar points is unlikely.

Draws of B points without replacement with probability proportional to exp(s) are the B largest of s + Gumbel noise.

References:
    [Kirsch2021] Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron and Gal. Stochastic batch acquisition.
    [Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
    [Rubashevskii2023] Rubashevskii, Kotova and Panov. Scalable batch acquisition for deep Bayesian active learning.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, check_batch_size, tie_margin
from alkbald.acquisition.kbald import Gains
from alkbald.acquisition.pool import Pool
from alkbald.probabilities import TINY


def power_bald(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator | None = None,
    device: torch.device | None = None,
) -> Batch:
    """B points without replacement, with probability proportional to BALD^beta. [Kirsch2021, PowerBALD]

    Args:
        log_probs: natural log-probabilities.
        batch_size: B, at most N.
        beta: at least 0, finite; 0 is uniform, the larger the nearer to top-k.
        generator: a CPU generator; None: one seeded with 0.
        device: where to compute; None: where log_probs are.

    Returns:
        The batch; its score is the sum of its points' mutual informations.

    Raises:
        ValueError: B or beta out of range, or log_probs that are none.
    """
    return _drawn(log_probs, batch_size, lambda bald: bald.clamp_min(TINY).log(), beta, generator, device)


def softmax_bald(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator | None = None,
    device: torch.device | None = None,
) -> Batch:
    """B points without replacement, with probability proportional to exp(beta BALD). [Kirsch2021, SoftmaxBALD]

    Arguments, result and errors as of `power_bald`.
    """
    return _drawn(log_probs, batch_size, lambda bald: bald, beta, generator, device)


def softrank_bald(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator | None = None,
    device: torch.device | None = None,
) -> Batch:
    """B points without replacement, with probability proportional to rank^-beta, ranks from 1 in descending order of
    BALD. [Kirsch2021, SoftrankBALD]

    Arguments, result and errors as of `power_bald`.
    """
    return _drawn(
        log_probs,
        batch_size,
        lambda bald: -torch.arange(1, len(bald) + 1, dtype=bald.dtype, device=bald.device).log(),
        beta,
        generator,
        device,
    )


def _drawn(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    log_weight: Callable[[Tensor], Tensor],
    beta: float,
    generator: Generator | None,
    device: torch.device | None,
) -> Batch:
    """`log_weight`: of BALD scores in descending order."""
    _check(batch_size, len(log_probs), beta)
    pool = Pool(log_probs, memory_budget=0, device=device)
    generator = generator or torch.Generator().manual_seed(0)
    noisy = beta * log_weight(pool.bald) + _gumbel(pool, generator)
    ranks = noisy.sort(descending=True, stable=True).indices[:batch_size]
    return pool.batch(ranks.tolist(), pool.bald[ranks].cumsum(0).tolist())


def power_large_batchbald(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    """Large BatchBALD, sum_i I[Y_i; Omega] - sum_{i<j} I[Y_i; Y_j], with points drawn. After [Rubashevskii2023]

    Large BatchBALD stops at pairs, as 2-BALD does, and was found at the same time [Kirsch2023, "Concurrent work"];
    taken greedily it is `kbald` of order 2. Its power form draws: here each next point with probability proportional
    to max(gain, 0)^beta, the gain being what 2-BALD would add, I[Y_n; Omega] - sum_{i in batch} I[Y_i; Y_n].
    Redundancy is taken off, never added. (Its authors' program scores every point once, against the whole pool, and
    draws all at once.) Once no gain is positive, the largest is taken.

    Args:
        log_probs: natural log-probabilities.
        batch_size: B, at most N.
        beta: at least 0, finite.
        generator: a CPU generator; None: one seeded with 0.
        memory_budget, device: see `kbald`.

    Returns:
        The batch; its score is that of 2-BALD.

    Raises:
        ValueError: B or beta out of range, or log_probs that are none.
    """
    _check(batch_size, len(log_probs), beta)
    generator = generator or torch.Generator().manual_seed(0)
    pool = Pool(log_probs, memory_budget=memory_budget, device=device)
    gains, scores = Gains(pool, order=2), []
    for s in range(batch_size):
        gains.update_all()
        noise = _gumbel(pool, generator)
        positive = (gains.values > tie_margin(pool.dtype)).nonzero()[:, 0]
        if len(positive):
            noisy = beta * gains.values[positive].log() + noise[positive]
            rank = int(positive[noisy.argmax()])
        else:
            rank = pool.first_best(gains.values, gains.picks)
        scores.append((scores[-1] if s else 0.0) + gains.values[rank].item())
        gains.add(rank, is_last=s == batch_size - 1)
    return pool.batch(gains.picks, scores)


def _gumbel(pool: Pool, generator: Generator) -> Float[Tensor, " N"]:
    """Standard Gumbel noise by rank. A point's own, and made on the CPU: every device and precision draws the same."""
    uniform = torch.rand(len(pool), generator=generator, dtype=torch.float64).clamp_min(TINY)
    return -(-uniform.log()).log().to(pool.bald.device)[pool.index]


def _check(batch_size: int, pool_size: int, beta: float) -> None:
    check_batch_size(batch_size, pool_size)
    if isinstance(beta, bool) or not 0 <= beta < math.inf:
        raise ValueError(f"beta must be at least 0 and finite, got {beta!r}")
