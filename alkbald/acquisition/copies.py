"""Points whose predictions are exactly those of a picked point.

Axes: N pool points, K MC samples, C classes. A *rank* is a point's place in the order of a `Pool`.

Each copy is found once, however many picks there are: B picks among N equal points take N comparisons of predictions,
not N times B.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

#: Candidates looked at together: the first is mostly no copy.
_PART = 64


class Copies:
    """Which points of a pool predict what a pick does: equal in every element of log_probs.

    A hash of each prediction says which picks it may be a copy of; these it is compared with, element by element. A
    point that is found to be a copy is remembered.
    """

    def __init__(self, log_probs: Float[Tensor, "N K C"], index: Int[Tensor, " N"]):
        """
        Args:
            log_probs: by pool index, on any device.
            index: pool index by rank.
        """
        self._log_probs = log_probs
        self._index = index.to(log_probs.device)
        self._multipliers = torch.randint(-(2**63), 2**63 - 1, log_probs.shape[1:], generator=torch.Generator())
        self._multipliers = self._multipliers.to(log_probs.device)
        self._forget()

    def _forget(self) -> None:
        self._picks: list[int] = []
        self._is_copy = torch.zeros(len(self._index), dtype=torch.bool, device=self._index.device)  # by rank
        self._distinct = self._index[:0]  # ranks of the picks that are no copies of an earlier one
        self._hashes = self._index[:0]  # of these

    def first_new(self, candidates: Int[Tensor, " n"], picks: list[int]) -> int | None:
        """The first of some ranks whose predictions are not those of a pick; None if there is none.

        Args:
            candidates: ranks, in the order to be looked at.
            picks: ranks. What was found before is used again while this list only grows.
        """
        if picks[: len(self._picks)] != self._picks:
            self._forget()
        for pick in picks[len(self._picks) :]:
            self._add(pick)
        candidates = candidates.to(self._index.device)
        for part in candidates[~self._is_copy[candidates]].split(_PART):
            self._mark(part, self._hashed(part))
            new = part[~self._is_copy[part]]
            if len(new):
                return int(new[0])
        return None

    def _add(self, pick: int) -> None:
        self._picks.append(pick)
        rank = torch.tensor([pick], device=self._index.device)
        hashes = self._hashed(rank)
        self._mark(rank, hashes)
        if not self._is_copy[pick]:
            self._distinct = torch.cat([self._distinct, rank])
            self._hashes = torch.cat([self._hashes, hashes])

    def _mark(self, ranks: Int[Tensor, " n"], hashes: Int[Tensor, " n"]) -> None:
        """Marks the copies among some ranks."""
        candidate, pick = (hashes[:, None] == self._hashes).nonzero().unbind(1)
        same = self._rows(ranks[candidate]) == self._rows(self._distinct[pick])
        self._is_copy[ranks[candidate[same.flatten(1).all(1)]]] = True

    def _hashed(self, ranks: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """A sum of bits times random numbers, modulo 2^64: the same for equal predictions, in whatever order it is
        added up."""
        rows = self._rows(ranks)
        rows = (rows if rows.dtype == torch.float64 else rows.float()) + 0.0  # -0 has other bits than 0
        bits = rows.view(torch.int64 if rows.dtype == torch.float64 else torch.int32).long()
        return (bits * self._multipliers).flatten(1).sum(1)

    def _rows(self, ranks: Int[Tensor, " n"]) -> Shaped[Tensor, "n K C"]:
        return self._log_probs[self._index[ranks]]
