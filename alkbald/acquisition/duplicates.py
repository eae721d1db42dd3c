"""Points whose predictions are exactly those of a picked point.

Axes: N pool points, K MC samples, C classes. A *rank* is a point's place in the order of a `Pool`.

Each duplicate is found once, however many picks there are: B picks among N equal points take N comparisons of
predictions, not N times B.
"""

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from alkbald.acquisition.predictions import Predictions

#: Candidates looked at together: mostly the first is no duplicate.
_PART = 64


class Duplicates:
    """The points of a pool whose predictions equal those of a pick in every element of log_probs.

    A hash of each prediction says which picks it may be equal to. With these it is compared, element by element. Points
    that are found to be duplicates are remembered.
    """

    def __init__(self, predictions: Predictions, index: Int[Tensor, " N"]):
        """
        Args:
            predictions: by pool index, on any device.
            index: pool index by rank.
        """
        self._pool_predictions = predictions
        self._index = index.to(predictions.device)
        self._multipliers = torch.randint(-(2**63), 2**63 - 1, predictions.shape[1:], generator=torch.Generator())
        self._multipliers = self._multipliers.to(predictions.device)
        self._reset()

    def _reset(self) -> None:
        self._picks: list[int] = []
        self._is_duplicate = torch.zeros(len(self._index), dtype=torch.bool, device=self._index.device)  # by rank
        self._distinct = self._index[:0]  # ranks of the picks that are no duplicates of an earlier one
        self._hashes = self._index[:0]  # of these

    def first_distinct(self, candidates: Int[Tensor, " n"], picks: list[int]) -> int | None:
        """The first of some ranks whose predictions are not those of a pick; None if there is none.

        Args:
            candidates: ranks, in the order of preference.
            picks: ranks. Duplicates that were found before are used again while this list only grows.
        """
        if picks[: len(self._picks)] != self._picks:
            self._reset()
        for pick in picks[len(self._picks) :]:
            self._add_pick(pick)
        candidates = candidates.to(self._index.device)
        for part in candidates[~self._is_duplicate[candidates]].split(_PART):
            self._mark_duplicates(part, self._hash(part))
            distinct = part[~self._is_duplicate[part]]
            if len(distinct):
                return int(distinct[0])
        return None

    def _add_pick(self, pick: int) -> None:
        self._picks.append(pick)
        rank = torch.tensor([pick], device=self._index.device)
        hashes = self._hash(rank)
        self._mark_duplicates(rank, hashes)
        if not self._is_duplicate[pick]:
            self._distinct = torch.cat([self._distinct, rank])
            self._hashes = torch.cat([self._hashes, hashes])

    def _mark_duplicates(self, ranks: Int[Tensor, " n"], hashes: Int[Tensor, " n"]) -> None:
        """Marks the duplicates among some ranks, whose hashes are given."""
        candidate, pick = (hashes[:, None] == self._hashes).nonzero().unbind(1)
        same = self._predictions(ranks[candidate]) == self._predictions(self._distinct[pick])
        self._is_duplicate[ranks[candidate[same.flatten(1).all(1)]]] = True

    def _hash(self, ranks: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """A sum of bits times random numbers, modulo 2^64: the same for equal predictions, in whatever order it is
        added up."""
        predictions = self._predictions(ranks)
        predictions = (predictions if predictions.dtype == torch.float64 else predictions.float()) + 0.0  # -0 to 0
        bits = predictions.view(torch.int64 if predictions.dtype == torch.float64 else torch.int32).long()
        return (bits * self._multipliers).flatten(1).sum(1)

    def _predictions(self, ranks: Int[Tensor, " n"]) -> Shaped[Tensor, "n K C"]:
        return self._pool_predictions.at(self._index[ranks])
