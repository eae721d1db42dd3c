"""Points with most of their classes merged: they bound the gains of the points at a small part of the price.

Axes: N pool points, K MC samples, C classes, J classes that are kept.

Merging classes makes of the label Y_n a function of it, Y'_n: the J classes of highest mean probability stay as they
are, and the others become one, the rest, with p(rest | x_n, omega) their sum. Functions of variables never tell more
about each other than these do (data processing), so

    I[Y_n; Y_i] >= I[Y'_n; Y'_i],

which bounds the gains of 2-BALD from above (see `pairs`).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alkbald.acquisition.pool import Pool
from alkbald.devices import retry_smaller
from alkbald.information.probabilities import TINY

#: Classes kept, by level: the coarsest comes first, for most candidates. With C = 1,000, a pair of points costs a
#: 3,500th, a 240th and a 15th of what it costs with all classes.
_KEPT = (16, 64, 256)
#: Of C, that merging must leave out to be worth it.
_TIMES_FEWER = 3
#: Elements of log_probs whose classes are merged at a time: some 16 MiB.
_ELEMENTS = 2**22


def coarse_levels(pool: Pool, memory_budget: int) -> list["CoarsePool"]:
    """The pool with classes merged, level by level, the coarsest first; none if classes are few.

    Args:
        pool: predictions.
        memory_budget: bytes of all that is kept. The coarsest level comes first; of finer ones fewer points are kept,
            and others are merged anew when they are needed.
    """
    levels = []
    for num_kept in _KEPT:
        if num_kept * _TIMES_FEWER <= pool.shape[2]:
            levels.append(CoarsePool(pool, num_kept, memory_budget))
            memory_budget -= levels[-1].bytes_kept
    return levels


def has_coarse_levels(num_classes: int) -> bool:
    """Whether classes are so many that merging them is worth it."""
    return num_classes >= _TIMES_FEWER * min(_KEPT)


class CoarsePool:
    """A pool's points with all but their J most probable classes merged, made when they are asked for.

    Attributes:
        shape: N, K, J + 1.
        bytes_kept: most memory that is held.
    """

    def __init__(self, pool: Pool, num_kept: int, memory_budget: int):
        self._pool = pool
        n, num_samples, _ = pool.shape
        self.shape = n, num_samples, num_kept + 1
        bytes_a_point = num_samples * (num_kept + 1) * pool.dtype.itemsize
        # Memory that is not written to is not there: only the points that are asked for cost anything on a CPU.
        self._probs, self._num_cached = retry_smaller(
            lambda points: pool.bald.new_empty(points, *self.shape[1:], dtype=pool.dtype),
            min(n, max(0, memory_budget) // bytes_a_point),
            "points kept",
            least=0,
        )
        self.bytes_kept = self._num_cached * bytes_a_point
        self._is_made = torch.zeros(self._num_cached, dtype=torch.bool, device=pool.bald.device)

    def probs(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, "K n merged"]:
        """p(y' | x_n, omega_k) of some ranks, samples first, the rest last; at least TINY."""
        is_kept = ranks < self._num_cached
        kept = ranks[is_kept]
        for new in self._parts(kept[~self._is_made[kept]]):
            self._probs[new] = self._merged(new)
            self._is_made[new] = True
        if len(kept) == len(ranks):
            return self._probs[ranks].transpose(0, 1)
        probs = self._probs.new_empty(len(ranks), *self._probs.shape[1:])
        probs[is_kept] = self._probs[kept]
        for places in self._parts((~is_kept).nonzero()[:, 0]):
            probs[places] = self._merged(ranks[places])
        return probs.transpose(0, 1)

    def probs_of(self, rank: int) -> Float[Tensor, "K merged"]:
        """As `probs`, of one rank."""
        return self.probs(torch.tensor([rank], device=self._pool.bald.device))[:, 0]

    def _parts(self, ranks: Int[Tensor, " n"]) -> tuple[Int[Tensor, " m"], ...]:
        """So few at a time that their probabilities of all classes take little memory."""
        return ranks.split(max(1, _ELEMENTS // (self._pool.shape[1] * self._pool.shape[2]))) if len(ranks) else ()

    def _merged(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, "n K merged"]:
        """Of some ranks, made from the pool's probabilities."""
        probs = self._pool.probs(ranks).transpose(0, 1)  # [n, K, C]
        kept = probs.mean(1).topk(self.shape[2] - 1).indices[:, None].expand(-1, probs.shape[1], -1)
        rest = probs.scatter(2, kept, 0.0).sum(-1, keepdim=True)  # 1 less the others would be rounded
        return torch.cat([probs.gather(2, kept), rest], -1).clamp_min_(TINY)
