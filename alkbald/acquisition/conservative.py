"""Conservative acquisition: points of high BALD that have little to do with each other.

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations, section 4 (proposed there).
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, check_batch_size, tie_margin
from alkbald.acquisition.pool import Pool
from alkbald.particles import OutcomeParticles

#: Ranks looked at together.
_BLOCK = 1024


def conservative_bald(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    *,
    threshold: float | None = 0.1,
    min_bald: float = 0.1,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    """Highest BALD first, leaving out whatever depends too much on what was picked. [Kirsch2023, section 4]

    In descending order of I[Y_n; Omega], a point is taken if I[Y_n; Y_i] <= threshold for every pick i, until the batch
    is full or no point is left.

    Without a threshold, a budget, as the paper has it: the largest I[Y_i; Y_j] of two points of the batch (read here as
    the B points of highest BALD) is what the whole batch may depend on itself (read here as the sum over its pairs): a
    point is taken if sum_{i<j} I[Y_i; Y_j] over the batch with it does not exceed the budget. (The sum is what 2-BALD
    takes off; the first two points of highest BALD always fit.)

    Labels depend on each other through Omega alone, so I[Y_n; Y_i] <= I[Y_n; Omega]: a point of BALD below the
    threshold is never left out, and a batch would go on with what teaches nothing. `min_bald` ends it there. The point
    of highest BALD is always taken.

    Args:
        log_probs: natural log-probabilities.
        batch_size: the largest size, at most N.
        threshold: nats, at least 0; None: the budget.
        min_bald: nats; points of lower BALD are not taken. 0: any point is, as in the paper.
        generator: not used; every method takes one.
        memory_budget, device: see `kbald`; but no batch is refused for its tables, only fewer probabilities are kept.

    Returns:
        The batch; its score is the sum of its points' mutual informations less that of all pairs (2-BALD's). Its
        decision is "batch_size", "min_bald" where no point of that much was left that may be taken, or "exhausted"
        where no point of the pool was.

    Raises:
        ValueError: B, threshold or min_bald out of range, or log_probs that are none.
    """
    check_batch_size(batch_size, len(log_probs))
    if threshold is not None and not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, got {threshold!r}")
    if not min_bald >= 0:
        raise ValueError(f"min_bald must be at least 0, got {min_bald!r}")
    outcomes = batch_size * log_probs.shape[-1]  # one table a pick
    pool = Pool(log_probs, memory_budget=memory_budget, outcomes=outcomes, device=device)
    prior = OutcomeParticles.prior(log_probs.shape[1], pool.sample_entropy)
    ranks = torch.arange(len(pool), device=pool.bald.device)

    def outcomes(rank: int) -> OutcomeParticles:
        return prior.extended(pool.probs_of(rank))

    def information(block: Tensor, probs: Float[Tensor, "K n C"], of: OutcomeParticles) -> Float[Tensor, " n"]:
        """I[Y_n; Y_i] of a block of ranks with one pick."""
        return (pool.marginal_entropy[block] - of.predictive_entropy(probs)).clamp_min_(0)

    margin = tie_margin(pool.dtype)
    limit = None if threshold is None else threshold + margin
    budget = None
    if threshold is None:
        top = ranks[:batch_size]
        rests = (top[i + 1 :] for i in range(len(top) - 1))
        pairs = [information(rest, pool.probs(rest), outcomes(i)).max().item() for i, rest in enumerate(rests)]
        budget = max(pairs, default=0.0) + margin
    picks: list[int] = []
    tables: list[OutcomeParticles] = []
    spent, scores = 0.0, []
    worth_it = (pool.bald >= min_bald - margin) | (ranks == 0)
    for block in ranks[worth_it].split(_BLOCK):
        if len(picks) == batch_size:
            break
        probs = pool.probs(block)
        largest = pool.bald.new_zeros(len(block))  # of the informations with a pick
        total = pool.bald.new_zeros(len(block))
        seen, position = 0, 0  # both sums only grow: what is out once is out for good
        while len(picks) < batch_size:
            for table in tables[seen:]:
                pairwise = information(block, probs, table)
                largest, total = torch.maximum(largest, pairwise), total + pairwise
            seen = len(tables)
            free = largest[position:] <= limit if budget is None else spent + total[position:] <= budget
            if not free.any():
                break
            position += int(free.int().argmax())
            rank = int(block[position])
            spent += total[position].item()
            scores.append((scores[-1] if scores else 0.0) + pool.bald[rank].item() - total[position].item())
            picks.append(rank)
            tables.append(outcomes(rank))
            position += 1
    ended_by = "exhausted" if worth_it.all() else "min_bald"
    return pool.batch(picks, scores, decision="batch_size" if len(picks) == batch_size else ended_by)
