"""What every acquisition method returns, and what they share. Axes: N pool points, K MC samples, C classes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Points to label, in the order of acquisition.

    Attributes:
        indices: pool indices, no repeats.
        scores: the method's score of the batch after each pick, in nats; NaN for a method that has no score.
    """

    indices: list[int]
    scores: list[float]

    def __len__(self) -> int:
        return len(self.indices)


def check_batch_size(batch_size: int, pool_size: int) -> None:
    """Raises ValueError unless 0 <= batch_size <= pool_size."""
    if not 0 <= batch_size <= pool_size:
        raise ValueError(f"batch_size must be between 0 and the {pool_size} points of the pool, got {batch_size}")


def tie_margin(dtype: torch.dtype) -> float:
    """Nats by which two gains of equal points may differ through rounding (float32: observed below 1e-6)."""
    return 2e-6 if dtype == torch.float32 else 1e-12


def first_best(gains: Float[Tensor, " N"]) -> int:
    """Index of the greatest gain; of gains that rounding alone tells apart, the lowest index."""
    return int((gains >= gains.max() - tie_margin(gains.dtype)).int().argmax())
