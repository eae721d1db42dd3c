"""2-BALD where classes are many: few pairs of points are worth the sum over all pairs of classes.

A gain is I[Y_n; Omega] - sum over the picks i of I[Y_n; Y_i], and a pair costs C^2 K. With merged classes (see
`merged_classes`) it costs a small part of that, and I[Y'_n; Y'_i] <= I[Y_n; Y_i] bounds the gain from above. So does
leaving a pick out, as no mutual information is negative. The point of greatest bound is looked at more closely, level
by level, until a gain that is exact is the greatest: the others could only lose by a closer look.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alkbald.acquisition.batch import tie_margin
from alkbald.acquisition.merged_classes import CoarsePool
from alkbald.acquisition.pool import Pool
from alkbald.information.particles import OutcomeParticles
from alkbald.information.probabilities import entropy

#: Pairs of classes evaluated at a time: a few of the points that are next, so that none is looked at in vain.
_PAIRS = 2**20


class PairGains:
    """Bounds of 2-BALD's gains, of all ranks of a pool, and the gains of those that may be greatest.

    Attributes:
        bounds: [N], at least the gains; -inf for what was picked.
        picks: ranks, in the order of acquisition.
    """

    def __init__(self, pool: Pool, coarse: list[CoarsePool]):
        """
        Args:
            pool: predictions.
            coarse: the same with classes merged, the coarsest first.
        """
        self._pool = pool
        self._levels: list[CoarsePool | Pool] = [*coarse, pool]
        self._num_classes = [level.shape[2] for level in self._levels]
        self._first_gains = pool.bald.clone()  # before there are picks
        self.bounds = pool.bald.clone()
        self.picks: list[int] = []
        self._outcomes: list[list[OutcomeParticles]] = [[] for _ in self._levels]  # of each pick, by level
        # By level and rank: how many picks have been looked at so closely at least, and the sum of I[Y'_n; Y'_i] over
        # those that have not been looked at more closely.
        self._num_seen = torch.zeros(len(self._levels), len(pool), dtype=torch.long, device=pool.bald.device)
        self._information = self.bounds.new_zeros(self._num_seen.shape)

    def next_pick(self) -> tuple[int, float]:
        """The rank of greatest gain, and the gain."""
        margin, size = tie_margin(self._pool.dtype), min(len(self._pool), _PAIRS // min(self._num_classes) ** 2)
        while True:
            next_level = (self._num_seen == len(self.picks)).sum(0)
            is_exact = next_level == len(self._levels)
            gains = self.bounds.where(is_exact, -math.inf)
            bounds, ranks = self.bounds.masked_fill(is_exact, -math.inf).topk(max(1, size))
            ranks = ranks[(bounds >= gains.max() - margin) & (bounds > -math.inf)]
            if not len(ranks):
                pick = self._pool.best_rank(gains, self.picks)
                return pick, gains[pick].item()
            level = int(next_level[ranks[0]])
            ranks = ranks[next_level[ranks] == level]
            self._refine(level, ranks[: max(1, _PAIRS // self._num_classes[level] ** 2)])

    def _refine(self, level: int, ranks: Int[Tensor, " n"]) -> None:
        """Looks at some ranks and all picks as closely as a level does."""
        probs = self._levels[level].probs(ranks)
        seen = self._num_seen[level, ranks]
        for i in range(int(seen.min()), len(self.picks)):
            new = seen <= i
            shared = _mutual_information(self._outcomes[level][i], probs[:, new])
            self._information[level, ranks[new]] += shared.to(self._information)
        self._information[:level, ranks] = 0
        self._num_seen[: level + 1, ranks] = len(self.picks)
        self.bounds[ranks] = self._first_gains[ranks] - self._information[:, ranks].sum(0)

    def add(self, pick: int, *, is_last: bool) -> None:
        """Adds a pick and, unless it is the last of the batch, its outcomes at every level."""
        self.picks.append(pick)
        self.bounds[pick] = self._first_gains[pick] = -math.inf
        if is_last:
            return
        for level, outcomes in zip(self._levels, self._outcomes, strict=True):
            probs = level.probs_of(pick)
            outcomes.append(OutcomeParticles.prior(len(probs), probs).extended(probs))


def _mutual_information(outcomes: OutcomeParticles, probs: Float[Tensor, "K n C"]) -> Float[Tensor, " n"]:
    """I[Y_n; Y_i] = H[Y_n] - H[Y_n | Y_i] of some points with one, whose outcomes are given; nats."""
    return entropy(probs.mean(0).double()) - outcomes.predictive_entropy(probs)
