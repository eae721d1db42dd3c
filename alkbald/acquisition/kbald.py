"""k-BALD: BatchBALD's joint mutual information by inclusion-exclusion up to k-wise terms. k is called `order`.

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

from math import comb

from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, check_batch_size, first_best
from alkbald.information import MEMORY_BUDGET, OutcomeParticles, entropy, probabilities


def kbald(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    *,
    order: int,
    generator: Generator | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> Batch:
    """Greedily maximises sum_i I[Y_i; Omega] - sum_{i<j} I[Y_i; Y_j] + ..., up to terms of `order`.

    [Kirsch2023, equation 6]

    The gain of n given the picks S, from equation (6), is

        I[Y_n; Omega] + sum_{T subset S, 1 <= |T| < order} (-1)^|T| I[Y_T; Y_n]         (interaction information)

    An interaction information is itself an alternating sum of I[Y_U; Y_n] over the non-empty subsets U of T, with Y_U
    taken jointly. Collecting the subsets of one size u leaves, with s = |S| and the alternating sums in closed form,

        I[Y_n; Omega] - sum_u (-1)^(order-1-u) binom(s-u-1, order-1-u) sum_{U subset S, |U| = u} I[Y_U; Y_n]

    (coefficient 1 at u = s): one vector [N] a subset size is all that is kept; a pick adds only the subsets with it.
    `order` 1 is top-k BALD; `order` >= B is exact BatchBALD. Scores may fall and become negative: that is the method.

    Args:
        log_probs: natural log-probabilities.
        batch_size: B, at most N.
        order: k, at least 1.
        generator: not used; every method takes one.
        memory_budget: bytes, of the kept outcome tables and (apart from them) of intermediate products.

    Returns:
        The batch; its score is the approximation's value, not the joint mutual information.

    Raises:
        ValueError: order below 1 or needing outcome tables beyond the budget; B out of range; log_probs that are none.
    """
    check_batch_size(batch_size, len(log_probs))
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"order must be an integer of at least 1, got {order!r}")
    _check_tables(log_probs, batch_size, order, memory_budget)
    probs = probabilities(log_probs).transpose(0, 1).contiguous()  # [K, N, C]
    marginal = entropy(probs.mean(0))
    bald = marginal - entropy(probs).mean(0)
    # By subset size u: the joint outcomes of every subset of that size, and the sum over them of I[Y_U; Y_n].
    tables = {0: [OutcomeParticles.prior(len(probs), probs)]}
    information = {u: marginal.new_zeros(len(marginal)) for u in range(1, order)}

    indices, scores, score = [], [], 0.0
    taken = marginal.new_zeros(len(marginal))
    for s in range(batch_size):
        gains = bald.clone()
        for u in range(1, min(s, order - 1) + 1):
            gains -= _coefficient(s, u, order) * information[u]
        pick = first_best(gains + taken)
        score += gains[pick].item()
        indices.append(pick)
        scores.append(score)
        taken[pick] = -float("inf")
        if s + 1 == batch_size:
            break
        for u in range(min(s + 1, order - 1), 0, -1):  # largest first: smaller tables are still without the new pick
            new = [table.extended(probs[:, pick]) for table in tables.get(u - 1, [])]
            for table in new:
                information[u] += marginal - table.predictive_entropy(probs, memory_budget=memory_budget)
            if u < order - 1:  # the largest subsets are never extended
                tables.setdefault(u, []).extend(new)
    return Batch(indices, scores)


def _coefficient(s: int, u: int, order: int) -> int:
    return 1 if s == u else (-1) ** (order - 1 - u) * comb(s - u - 1, order - 1 - u)


def _table_bytes(log_probs: Tensor, batch_size: int, order: int) -> int:
    """Bytes of the outcome tables held at the last pick: all subsets kept, and the new ones of the largest size."""
    _, num_samples, num_classes = log_probs.shape
    rows = sum(comb(batch_size - 1, u) * num_classes**u for u in range(1, order - 1))
    if order >= 2:
        rows += comb(max(0, batch_size - 2), order - 2) * num_classes ** (order - 1)
    return rows * num_samples * max(4, log_probs.element_size())


def _check_tables(log_probs: Tensor, batch_size: int, order: int, memory_budget: int) -> None:
    order = min(order, batch_size)  # larger subsets than the batch do not exist
    needed = _table_bytes(log_probs, batch_size, order)
    if needed > memory_budget:
        fits = max(k for k in range(1, order) if k == 1 or _table_bytes(log_probs, batch_size, k) <= memory_budget)
        raise ValueError(
            f"order {order} at batch_size {batch_size} needs outcome tables of {needed / 2**20:,.0f} MiB, over the "
            f"memory_budget of {memory_budget / 2**20:,.0f} MiB; order {fits} fits"
        )
