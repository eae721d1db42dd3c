"""What masks keep, and the sizes of the layers that they cut. Axes: J masks, U units, M of them that a mask keeps."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from alkbald.posteriors.mc_dropout.masked.windows import field, padding
from alkbald.posteriors.mc_dropout.stages import Stage


class Kept(NamedTuple):
    """The units that each of J masks keeps, padded to one number M."""

    units: Int[Tensor, "J M"]
    there: Float[Tensor, "J M"]  # 1; 0 for padding
    counts: list[int]  # how many each mask keeps

    @classmethod
    def of(cls, masks: Bool[Tensor, "J U"], multiple: int = 1) -> "Kept":
        """M is at least 1, since nothing can be multiplied by nothing, and a multiple of `multiple`."""
        counts = masks.sum(1)
        width = -(-max(1, int(counts.max())) // multiple) * multiple
        units = masks.int().argsort(dim=1, descending=True, stable=True)  # what is kept comes first
        units = nn.functional.pad(units, (0, max(0, width - masks.shape[1])))[:, :width]
        return cls(units, (torch.arange(width) < counts[:, None]).float(), counts.tolist())

    @property
    def is_padded(self) -> bool:
        return min(self.counts) < self.units.shape[1]

    def single(self, k: int) -> "Kept":
        """Those of mask k, without padding unless it keeps none."""
        width = max(1, self.counts[k])
        return Kept(self.units[k : k + 1, :width], self.there[k : k + 1, :width], self.counts[k : k + 1])

    def to(self, device: torch.device) -> "Kept":
        return Kept(self.units.to(device), self.there.to(device), self.counts)


class Sizes(NamedTuple):
    """Of a stage, for one input.

    Attributes:
        channels: C that it reads; features of a linear layer that are one channel behind a convolution count once.
        kernel: inputs of each channel that a unit reads.
        field: the same for a whole window of its max-pool.
        window: places of that window; 1 without a max-pool.
        height, width: H and W of what it makes.
    """

    channels: int
    kernel: int
    field: int
    window: int
    height: int
    width: int

    @property
    def places(self) -> int:
        return self.height * self.width


def sizes_of(stages: list[Stage], channels: int, height: int, width: int) -> list[Sizes]:
    """Of stages in sequence, of which the first reads [channels, height, width]."""
    sizes = []
    for stage in stages:
        layer = stage.layer
        if isinstance(layer, nn.Linear):
            size = Sizes(channels, height * width, height * width, 1, 1, 1)
        else:
            (left, right, top, bottom), (high, wide) = padding(layer), field(layer, stage.pool)
            down, across = (stage.pool * step for step in layer.stride)
            places = (height + top + bottom - high) // down + 1, (width + left + right - wide) // across + 1
            size = Sizes(channels, layer.weight[0, 0].numel(), high * wide, stage.pool**2, *places)
        sizes.append(size)
        channels, height, width = stage.units, size.height, size.width
    return sizes
