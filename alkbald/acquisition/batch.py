"""What every acquisition method returns, and what they share. Axes: N pool points, K MC samples, C classes."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from alkbald.information import joint_mutual_information, total_correlation


@dataclass(frozen=True)
class Batch:
    """Points to label, in the order of acquisition, and what they are worth.

    Attributes:
        indices: pool indices, no repeats.
        scores: the method's score of the batch after each pick, in nats; NaN for a method that has no score.
        log_probs: [B, K, C], the predictions that the batch was chosen by.
        decision: what a method that chooses its own size or order decided, and why; empty for the others.
    """

    indices: list[int]
    scores: list[float]
    log_probs: Float[Tensor, "B K C"] = field(repr=False, compare=False)
    decision: str = field(default="", compare=False)

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def _joint(self) -> tuple[float, float]:
        return joint_mutual_information(self.log_probs)

    @property
    def joint_mutual_information(self) -> float:
        r""":math:`I[Y_1, \ldots, Y_B; \Omega]`, evaluated apart from the method's own score; nats."""
        return self._joint[0]

    @property
    def standard_error(self) -> float:
        """Of `joint_mutual_information`; 0 where it is exact. Nats."""
        return self._joint[1]

    @property
    def share_of_log_k(self) -> float:
        """Share of log K, the most that K samples can be told apart by, which the batch uses up; NaN for K = 1."""
        log_k = math.log(self.log_probs.shape[1])
        return self.joint_mutual_information / log_k if log_k else math.nan

    @property
    def total_correlation(self) -> float:
        """Sum of the points' own mutual informations less the joint one, which 1-BALD counts twice. Nats."""
        return total_correlation(self.log_probs, self.joint_mutual_information)

    @property
    def first_non_positive(self) -> int | None:
        """The first position whose pick did not raise the score by more than rounding (`tie_margin`); None if all did,
        or if there is no score."""
        margin = tie_margin(self.log_probs.dtype)
        steps = zip([0.0, *self.scores], self.scores, strict=False)
        return next((i for i, (before, after) in enumerate(steps) if after <= before + margin), None)


def tie_margin(dtype: torch.dtype) -> float:
    """Nats by which two gains of equal points may differ through rounding (float32, C = 10: observed below 1e-6), of
    predictions of this type: all but float64 are computed with in float32."""
    return 1e-12 if dtype == torch.float64 else 2e-6
