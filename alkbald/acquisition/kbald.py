"""k-BALD: BatchBALD's joint mutual information by inclusion-exclusion up to k-wise terms. k is called `order`.

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

import math

import torch
from torch import Generator

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.merged_classes import coarse_levels, has_coarse_levels
from alkbald.acquisition.pairs import PairGains
from alkbald.acquisition.pool import Pool, checked_budget, outcome_bytes
from alkbald.acquisition.predictions import AnyPredictions, Predictions, as_predictions, pool_predictions
from alkbald.errors import TablesTooLarge
from alkbald.information.particles import OutcomeParticles

#: Points evaluated at a time: enough for a matrix product, few enough that lazy evaluation can stop early.
_BLOCK = 1024


def kbald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    order: int,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""Greedily maximises inclusion-exclusion's terms up to those of `order` points. [Kirsch2023, equation 6]

    .. math:: \sum_i I[Y_i; \Omega] - \sum_{i<j} I[Y_i; Y_j] + \sum_{i<j<l} I[Y_i; Y_j; Y_l] - \ldots

    The gain of n given the picks S, from equation (6), is a sum of interaction informations; k is the order:

    .. math:: I[Y_n; \Omega] + \sum_{T \subseteq S,\ 1 \le |T| < k} (-1)^{|T|} I[Y_T; Y_n]

    An interaction information is itself an alternating sum of :math:`I[Y_U; Y_n]` over the non-empty subsets U of T,
    with :math:`Y_U` taken jointly. Collecting the subsets of one size u leaves, with :math:`s = |S|` and the
    alternating sums in closed form,

    .. math::

        I[Y_n; \Omega] - \sum_u (-1)^{k-1-u} \binom{s-u-1}{k-1-u} \sum_{U \subseteq S,\ |U| = u} I[Y_U; Y_n]

    (coefficient 1 at u = s): one vector [N] a subset size is all that is kept; a pick adds only the subsets with it.
    `order` 1 is top-k BALD; `order` >= B is exact BatchBALD. Scores may fall and become negative: that is the method.

    At order 2, and where `order` >= B, gains never grow with S: blocks of points are brought up to date in descending
    order of their last gains, until none left can win. That is exact.

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        order: k, at least 1.
        generator: not used, as nothing is drawn; all methods can be called with one.
        memory_budget: bytes of outcome tables and of the pool's probabilities, together. Tables come first;
            probabilities that do not fit beside them are made anew when they are needed. None: see `checked_budget`.
        device: where to compute; None: where log_probs are. A pool on the CPU is streamed to a GPU.

    Returns:
        The batch; its score is the approximation's value, not the joint mutual information.

    Raises:
        TablesTooLarge: the order needs outcome tables beyond the budget (`check_tables`).
        ValueError: order below 1; B out of range; log_probs that are none.
    """
    predictions = pool_predictions(log_probs, batch_size)
    order = _checked_order(order, batch_size)
    if order == 2 and has_coarse_levels(predictions.shape[2]):
        return _2bald_of_many_classes(predictions, batch_size, memory_budget, device)
    pool = pool_within_budget(predictions, batch_size, order, memory_budget=memory_budget, device=device)
    gains = KBaldGains(pool, order)
    gains_only_fall = order in (1, 2, batch_size)
    scores: list[float] = []
    for s in range(batch_size):
        blocks = list(range(0, len(pool), _BLOCK))
        if gains_only_fall:
            blocks.sort(key=lambda start: -gains.values[start : start + _BLOCK].max().item())
        best = -math.inf
        for start in blocks:
            if gains_only_fall and gains.values[start : start + _BLOCK].max() < best - tie_margin(pool.dtype):
                break
            best = max(best, gains.update_block(start))
        pick = pool.best_rank(gains.values, gains.picks)
        scores.append((scores[-1] if s else 0.0) + gains.values[pick].item())
        gains.add(pick, is_last=s == batch_size - 1)
    return pool.batch(gains.picks, scores)


def _2bald_of_many_classes(
    predictions: Predictions, batch_size: int, memory_budget: int | None, device: torch.device | None
) -> Batch:
    """As `kbald` of order 2. Few points are looked at in all their classes: probabilities of merged ones are kept."""
    budget = checked_budget(memory_budget, device or predictions.device)
    check_tables(predictions.shape, batch_size, budget, order=2, dtype=predictions.dtype)
    pool = Pool(predictions, memory_budget=0, device=device)
    outcomes = outcome_bytes(table_rows(batch_size, 2, predictions.shape[2]), predictions.shape[1], predictions.dtype)
    gains = PairGains(pool, coarse_levels(pool, budget - outcomes))
    scores: list[float] = []
    for s in range(batch_size):
        pick, gain = gains.next_pick()
        scores.append((scores[-1] if s else 0.0) + gain)
        gains.add(pick, is_last=s == batch_size - 1)
    return pool.batch(gains.picks, scores)


def kbald_scores(
    log_probs: AnyPredictions,
    *,
    order: int,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> list[float]:
    """What k-BALD says of a given batch: its score after each point, in their order. [Kirsch2023, equation 6]

    Args:
        log_probs: [B, K, C], of the batch's points.
        order: k, at least 1.
        memory_budget, device: see `kbald`.

    Raises:
        TablesTooLarge, ValueError: as of `kbald`.
    """
    predictions = as_predictions(log_probs)
    size = len(predictions)
    order = _checked_order(order, size)
    pool = pool_within_budget(predictions, size, order, memory_budget=memory_budget, device=device)
    gains = KBaldGains(pool, order)
    scores: list[float] = []
    for s, rank in enumerate(pool.index.argsort().tolist()):
        gains.update_all()
        scores.append((scores[-1] if s else 0.0) + gains.values[rank].item())
        gains.add(rank, is_last=s == size - 1)
    return scores


def pool_within_budget(
    predictions: Predictions,
    batch_size: int,
    order: int,
    *,
    memory_budget: int | None,
    device: torch.device | None,
) -> Pool:
    """The pool, with probabilities cached in the part of the budget that the outcome tables of the order leave.

    Raises:
        TablesTooLarge, ValueError: as of `kbald`.
    """
    budget = checked_budget(memory_budget, device or predictions.device)
    check_tables(predictions.shape, batch_size, budget, order=order, dtype=predictions.dtype)
    num_outcomes = table_rows(batch_size, order, predictions.shape[2])
    return Pool(predictions, memory_budget=budget, num_outcomes=num_outcomes, device=device)


class KBaldGains:
    """The marginal gains of k-BALD, of all ranks of a pool: brought up to date a block of ranks at a time.

    Attributes:
        values: [N], current where the block is up to date and else of an earlier batch; -inf for what was picked.
        picks: ranks, in the order of acquisition.
    """

    def __init__(self, pool: Pool, order: int):
        self._pool = pool
        self._order = order
        # In float64: at higher orders, large coefficients weigh sums over many subsets against each other.
        self.values = pool.bald.clone()
        self._first_gains = pool.bald.clone()  # gains before there are picks; -inf for what was picked
        self.picks: list[int] = []
        # By subset size u: the outcomes of every subset of the picks, in a list a pick for those whose last pick it is.
        self._tables: dict[int, list[list[OutcomeParticles]]] = {u: [] for u in range(1, order)}
        # By subset size u and rank: sum of I[Y_U; Y_n] over the subsets of the picks that the rank's block has seen.
        self._information = self.values.new_zeros(order, len(pool))
        self._picks_seen = dict.fromkeys(range(0, len(pool), _BLOCK), 0)  # by the first rank of the block

    def update_block(self, start: int) -> float:
        """Brings the block of ranks from `start` on up to date; returns its greatest gain."""
        block, s = slice(start, start + _BLOCK), len(self.picks)
        if self._picks_seen[start] < s:
            probs = self._pool.probs(torch.arange(len(self._pool), device=self.values.device)[block])
            for u, by_pick in self._tables.items():
                for subset in (subset for subsets in by_pick[self._picks_seen[start] :] for subset in subsets):
                    self._information[u, block] += self._pool.marginal_entropy[block] - subset.predictive_entropy(probs)
            self._picks_seen[start] = s
            values = self._first_gains[block].clone()
            for u in range(1, min(s, self._order - 1) + 1):
                values -= _coefficient(s, u, self._order) * self._information[u, block]
            self.values[block] = values
        return self.values[block].max().item()

    def update_all(self) -> None:
        """Brings all ranks up to date."""
        for start in self._picks_seen:
            self.update_block(start)

    def add(self, pick: int, *, is_last: bool) -> None:
        """Adds a pick and, unless it is the last of the batch, the outcomes of the subsets that it completes."""
        self.picks.append(pick)
        self.values[pick] = self._first_gains[pick] = -math.inf
        if is_last:
            return
        probs = self._pool.probs_of(pick)
        prior = OutcomeParticles.prior(len(probs), probs)
        for u in range(self._order - 1, 0, -1):  # largest first: smaller tables are still without this pick
            smaller = [subset for subsets in self._tables[u - 1] for subset in subsets] if u > 1 else [prior]
            self._tables[u].append([subset.extended(probs) for subset in smaller])


def _coefficient(s: int, u: int, order: int) -> int:
    """Of sum_{|U| = u} I[Y_U; Y_n] in what a gain takes off, with s picks (the formula in `kbald`)."""
    return 1 if s == u else (-1) ** (order - 1 - u) * math.comb(s - u - 1, order - 1 - u)


def _checked_order(order: int, batch_size: int) -> int:
    """The order, at most the batch size: larger subsets than the batch do not exist."""
    if type(order) is not int or order < 1:  # True is an int too
        raise ValueError(f"order must be an integer of at least 1, got {order!r}")
    return min(order, max(1, batch_size))


def table_rows(batch_size: int, order: int, num_classes: int) -> int:
    """Number of outcomes of all subsets of the picks but the last, of each size below the order.

    Time and memory are proportional to it.
    """
    return sum(math.comb(max(0, batch_size - 1), u) * num_classes**u for u in range(1, order))


def check_tables(
    shape: tuple[int, ...],
    batch_size: int,
    memory_budget: int,
    *,
    order: int,
    dtype: torch.dtype = torch.float32,
    **_other_options: object,
) -> None:
    """Refuses an order whose outcome tables do not fit: from sizes alone, before there are predictions.

    Args:
        shape: N, K, C.
        batch_size: B.
        memory_budget: bytes.
        order: of `kbald`; its other options do not matter here.
        dtype: of log_probs.

    Raises:
        TablesTooLarge: they do not; the message says what would.
    """
    order = _checked_order(order, batch_size)
    _, num_samples, num_classes = shape
    for fitting in range(1, order):  # upwards, and no further than needed: numbers of a high order are astronomical
        needed = outcome_bytes(table_rows(batch_size, fitting + 1, num_classes), num_samples, dtype)
        if needed > memory_budget:
            raise TablesTooLarge(
                f"order {order} at batch_size {batch_size} needs outcome tables of "
                f"{'more than ' if fitting + 1 < order else ''}{needed / 2**20:,.1f} MiB, over the memory_budget of "
                f"{memory_budget / 2**20:,.1f} MiB; order {fitting} fits"
            )
