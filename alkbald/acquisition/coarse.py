"""Points with most of their classes merged: they bound the gains of the points at a small part of the price.

Axes: N pool points, K MC samples, C classes, J classes that are kept.

Merging classes makes of the label Y_n a function of it, Y'_n: the J classes of highest mean probability stay as they
are, and the others become one, the rest, with p(rest | x_n, omega) their sum. What it loses is known exactly,

    lost_n = I[Y_n; Omega] - I[Y'_n; Omega] = I[Y_n; Omega | Y'_n] >= 0,

and two bounds follow for labels that depend on each other through Omega alone:

1. With another point i (2-BALD), whose classes may be merged too: I[Y_n; Y_i] >= I[Y'_n; Y'_i], as functions of
   variables never tell more about each other than these do (data processing).
2. With a batch S (BatchBALD): I[Y_n; Omega | Y_S] <= I[Y'_n; Omega | Y_S] + lost_n. The difference is
   I[Y_n; Omega | Y'_n, Y_S] = I[Y_n; Omega | Y'_n] - I[Y_n; Y_S | Y'_n], as Y_S adds nothing once Omega is known.

The second holds for particles too. Let f(u) = H[sum_k u_k p_k] - sum_k u_k H[p_k], with masses u_k in place of
probabilities and entropies of masses normalised and weighted by their total: it is concave, and f(c u) = c f(u). So it
is superadditive, f(u + v) >= f(u) + f(v), and never falls with a mass. The difference above is a sum of such f over the
particles, of the classes in the rest, and is at most that of the particles' sum. If that has at most r / K of mass at
each sample, the difference is at most r lost_n. (r is 1 for all outcomes, and near it after resampling.)
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alkbald.acquisition.pool import Pool
from alkbald.information.probabilities import TINY, entropy

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
        bytes_a_point = num_samples * (num_kept + 2) * pool.dtype.itemsize
        self._num_cached = min(n, max(0, memory_budget) // bytes_a_point)
        self.bytes_kept = self._num_cached * bytes_a_point
        # Memory that is not written to is not there: only the points that are asked for cost anything on a CPU.
        like = {"dtype": pool.dtype, "device": pool.bald.device}
        self._probs = torch.empty(self._num_cached, *self.shape[1:], **like)
        self._sample_entropy = torch.empty(self._num_cached, num_samples, **like)
        self._is_made = torch.zeros(self._num_cached, dtype=torch.bool, device=pool.bald.device)

    def probs(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, "K n J+1"]:
        """p(y' | x_n, omega_k) of some ranks, samples first, the rest last; at least TINY."""
        return self._of(ranks)[0].transpose(0, 1)

    def probs_of(self, rank: int) -> Float[Tensor, "K J+1"]:
        """As `probs`, of one rank."""
        return self.probs(torch.tensor([rank], device=self._pool.bald.device))[:, 0]

    def sample_entropy(self, ranks: Int[Tensor, " n"], probs: Float[Tensor, "K n J+1"]) -> Float[Tensor, "n K"]:
        """H[Y'_n | omega_k] of some ranks."""
        return self._of(ranks)[1]

    def lost(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """I[Y_n; Omega] - I[Y'_n; Omega] of some ranks; nats, in float64."""
        probs, sample_entropy = self._of(ranks)
        coarse = entropy(probs.mean(1).double()) - sample_entropy.mean(1, dtype=torch.float64)
        return (self._pool.bald[ranks] - coarse).clamp_min(0)

    def _of(self, ranks: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n K J+1"], Float[Tensor, "n K"]]:
        """Probabilities and entropies of some ranks, those that are kept from what is kept."""
        is_kept = ranks < self._num_cached
        kept = ranks[is_kept]
        for new in self._parts(kept[~self._is_made[kept]]):
            self._probs[new], self._sample_entropy[new] = self._merged(new)
            self._is_made[new] = True
        if len(kept) == len(ranks):
            return self._probs[ranks], self._sample_entropy[ranks]
        probs = self._probs.new_empty(len(ranks), *self._probs.shape[1:])
        sample_entropy = probs.new_empty(probs.shape[:2])
        probs[is_kept], sample_entropy[is_kept] = self._probs[kept], self._sample_entropy[kept]
        for places in self._parts((~is_kept).nonzero()[:, 0]):
            probs[places], sample_entropy[places] = self._merged(ranks[places])
        return probs, sample_entropy

    def _parts(self, ranks: Int[Tensor, " n"]) -> tuple[Int[Tensor, " m"], ...]:
        """So few at a time that their probabilities of all classes take little memory."""
        return ranks.split(max(1, _ELEMENTS // (self._pool.shape[1] * self._pool.shape[2]))) if len(ranks) else ()

    def _merged(self, ranks: Int[Tensor, " n"]) -> tuple[Float[Tensor, "n K J+1"], Float[Tensor, "n K"]]:
        """Of some ranks, made from the pool's probabilities."""
        probs = self._pool.probs(ranks).transpose(0, 1)  # [n, K, C]
        kept = probs.mean(1).topk(self.shape[2] - 1).indices[:, None].expand(-1, probs.shape[1], -1)
        rest = probs.scatter(2, kept, 0.0).sum(-1, keepdim=True)  # 1 less the others would be rounded
        merged = torch.cat([probs.gather(2, kept), rest], -1).clamp_min_(TINY)
        return merged, entropy(merged)
