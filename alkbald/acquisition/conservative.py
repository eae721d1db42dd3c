"""Conservative acquisition: points of high BALD that have little to do with each other.

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations, section 4 (proposed there).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions
from alkbald.information.particles import OutcomeParticles

#: Ranks looked at together.
_BLOCK = 1024


def conservative_bald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    threshold: float | None = 0.1,
    min_bald: float = 0.1,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""Highest BALD first, leaving out whatever depends too much on what was picked. [Kirsch2023, section 4]

    In descending order of :math:`I[Y_n; \Omega]`, a point is taken if :math:`I[Y_n; Y_i] \le \text{threshold}` for
    every pick i, until the batch is full or no point is left.

    Without a threshold, a budget, as the paper has it: the largest :math:`I[Y_i; Y_j]` of two points of the batch (read
    here as the B points of highest BALD) is what the whole batch may depend on itself (read here as the sum over its
    pairs): a point is taken if :math:`\sum_{i<j} I[Y_i; Y_j]` over the batch with it does not exceed the budget. (The
    sum is what 2-BALD takes off; the first two points of highest BALD always fit.)

    Labels depend on each other through :math:`\Omega` alone, so :math:`I[Y_n; Y_i] \le I[Y_n; \Omega]`: a point of BALD
    below the threshold is never left out, and a batch would go on with what teaches nothing. `min_bald` ends it there.
    The point of highest BALD is always taken.

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: the largest size, at most N.
        threshold: nats, at least 0; None: the budget.
        min_bald: nats; points of lower BALD are not taken. 0: any point is, as in the paper.
        generator: not used, as nothing is drawn; all methods can be called with one.
        memory_budget, device: see `kbald`; but no batch is refused for its tables, only fewer probabilities are kept.

    Returns:
        The batch; its score is the sum of its points' mutual informations less that of all pairs (2-BALD's). Its
        decision is "batch_size", "min_bald" where no point of that much was left that may be taken, or "exhausted"
        where no point of the pool was.

    Raises:
        ValueError: B, threshold or min_bald out of range, or log_probs that are none.
    """
    predictions = pool_predictions(log_probs, batch_size)
    if threshold is not None and not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, got {threshold!r}")
    if not min_bald >= 0:
        raise ValueError(f"min_bald must be at least 0, got {min_bald!r}")
    num_outcomes = batch_size * predictions.shape[2]  # those of each pick alone
    pool = Pool(predictions, memory_budget=memory_budget, num_outcomes=num_outcomes, device=device)
    margin = tie_margin(pool.dtype)
    if threshold is None:
        highest_pair, highest_sum = math.inf, _largest_pairwise_information(pool, batch_size) + margin
    else:
        highest_pair, highest_sum = threshold + margin, math.inf
    is_eligible = pool.bald >= min_bald - margin
    is_eligible[:1] = True
    ranks = is_eligible.nonzero()[:, 0]
    picks, scores = _conservative_picks(pool, ranks, batch_size, highest_pair, highest_sum)
    ended_by = "exhausted" if is_eligible.all() else "min_bald"
    return pool.batch(picks, scores, decision="batch_size" if len(picks) == batch_size else ended_by)


def _conservative_picks(
    pool: Pool, ranks: Int[Tensor, " n"], batch_size: int, highest_pair: float, highest_sum: float
) -> tuple[list[int], list[float]]:
    """The first of the ranks whose pairwise mutual informations stay within both limits, and the scores.

    Args:
        pool: predictions.
        ranks: candidates, in the order in which they are looked at.
        batch_size: most picks.
        highest_pair: limit of I[Y_n; Y_i] with each pick i; nats.
        highest_sum: limit of the sum of I[Y_i; Y_j] over all pairs of the batch; nats.
    """
    picks: list[int] = []
    scores: list[float] = []
    outcomes: list[OutcomeParticles] = []
    sum_of_pairs = 0.0
    for block in ranks.split(_BLOCK):
        if len(picks) == batch_size:
            break
        probs = pool.probs(block)
        # Over the picks seen. Both only grow: a point that is over a limit once is over it for good.
        largest, total = pool.bald.new_zeros(2, len(block))
        num_seen, position = 0, 0
        while len(picks) < batch_size:
            for of_pick in outcomes[num_seen:]:
                pairwise = _pairwise_information(pool, block, probs, of_pick)
                largest, total = torch.maximum(largest, pairwise), total + pairwise
            num_seen = len(outcomes)
            fits = (largest[position:] <= highest_pair) & (sum_of_pairs + total[position:] <= highest_sum)
            if not fits.any():
                break
            position += int(fits.int().argmax())
            rank = int(block[position])
            sum_of_pairs += total[position].item()
            scores.append((scores[-1] if scores else 0.0) + pool.bald[rank].item() - total[position].item())
            picks.append(rank)
            outcomes.append(_outcomes_of(pool, rank))
            position += 1
    return picks, scores


def _largest_pairwise_information(pool: Pool, batch_size: int) -> float:
    """The largest I[Y_i; Y_j] of two of the B points of highest BALD; nats."""
    top = torch.arange(len(pool), device=pool.bald.device)[:batch_size]
    largest = 0.0
    for i in range(len(top) - 1):
        rest = top[i + 1 :]
        pairwise = _pairwise_information(pool, rest, pool.probs(rest), _outcomes_of(pool, i))
        largest = max(largest, pairwise.max().item())
    return largest


def _outcomes_of(pool: Pool, rank: int) -> OutcomeParticles:
    """The outcomes of one point."""
    probs = pool.probs_of(rank)
    return OutcomeParticles.prior(pool.shape[1], probs).extended(probs)


def _pairwise_information(
    pool: Pool, ranks: Int[Tensor, " n"], probs: Float[Tensor, "K n C"], outcomes: OutcomeParticles
) -> Float[Tensor, " n"]:
    """I[Y_n; Y_i] = H[Y_n] - H[Y_n | Y_i] of some ranks with one point, whose outcomes are given; nats."""
    return (pool.marginal_entropy[ranks] - outcomes.predictive_entropy(probs)).clamp_min_(0)
