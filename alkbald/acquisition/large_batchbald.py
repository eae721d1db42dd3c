"""Large BatchBALD: pairs of points in place of all of them, and its stochastic form.

Its idea and 2-BALD's are the same, and were had at the same time [Kirsch2023, "Concurrent work"], whose account is
followed here: each pair counts once, and what a point shares with the batch is taken off, the sign that inclusion and
exclusion give: I[Y_i, Y_j; Omega] = I[Y_i; Omega] + I[Y_j; Omega] - I[Y_i; Y_j]. Their own paper could not be read for
this. Their repository (stat-ml/large_batch_bald) departs from that in several ways: an early formula sums over ordered
pairs, so that what two points share would be taken off twice; the program scores every point once, by the other points
of its chunk of the pool, and takes or draws the whole batch at once; its pair term has log(1 + p) in place of log p,
which makes it no mutual information; and it negates that term before taking it off, which adds it.

References:
    [Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
    [Rubashevskii2023] Rubashevskii, Kotova and Panov. Scalable batch acquisition for deep Bayesian active learning.
"""

import torch
from torch import Generator

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.kbald import KBaldGains, kbald, pool_within_budget
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions
from alkbald.acquisition.stochastic import check_beta, gumbel_noise


def large_batchbald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""Pairs of points in place of all of them: `kbald` of order 2. [Rubashevskii2023]

    .. math:: \sum_i I[Y_i; \Omega] - \sum_{i<j} I[Y_i; Y_j]

    Arguments, result (scores in nats) and errors as of `kbald`.
    """
    return kbald(log_probs, batch_size, order=2, generator=generator, memory_budget=memory_budget, device=device)


def power_large_batchbald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    beta: float = 1.0,
    generator: Generator,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""Large BatchBALD with points drawn: each next one with probability proportional to :math:`\max(g_n, 0)^\beta`.

    The gain :math:`g_n` is what Large BatchBALD would add to the picks S:

    .. math:: g_n = I[Y_n; \Omega] - \sum_{i \in S} I[Y_i; Y_n]

    Once no gain is positive, the largest is taken. [Rubashevskii2023], with the differences that the head of this
    module lists.

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        beta: at least 0, finite.
        generator: a CPU generator. Every call draws anew from it.
        memory_budget, device: see `kbald`.

    Returns:
        The batch; its score is that of 2-BALD.

    Raises:
        TablesTooLarge: the batch needs outcome tables beyond the budget.
        ValueError: B or beta out of range, or log_probs that are none.
    """
    predictions = pool_predictions(log_probs, batch_size)
    check_beta(beta)
    pool = pool_within_budget(predictions, batch_size, 2, memory_budget=memory_budget, device=device)
    gains = KBaldGains(pool, order=2)
    scores: list[float] = []
    for s in range(batch_size):
        gains.update_all()
        noise = gumbel_noise(pool, generator)
        positive = (gains.values > tie_margin(pool.dtype)).nonzero()[:, 0]
        if len(positive):
            noisy = beta * gains.values[positive].log() + noise[positive]
            rank = int(positive[noisy.argmax()])
        else:
            rank = pool.best_rank(gains.values, gains.picks)
        scores.append((scores[-1] if s else 0.0) + gains.values[rank].item())
        gains.add(rank, is_last=s == batch_size - 1)
    return pool.batch(gains.picks, scores)
