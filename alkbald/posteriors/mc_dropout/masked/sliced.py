"""A layer under J masks as slices of its weights: the rows and columns that each mask keeps.

Axes: G tiles of n inputs, J masks, C channels that they keep of what the layer reads, M units that they keep of it. At
dropout 0.5 a slice is a quarter of the weights.
"""

from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from alkbald.posteriors.mc_dropout.masked.kept import Kept, Sizes
from alkbald.posteriors.mc_dropout.stages import Stage


class SlicedLayer(NamedTuple):
    """What J masks leave of a stage."""

    stage: Stage
    weight: Float[Tensor, "J M C ..."]
    bias: Float[Tensor, "J M"]

    @classmethod
    def of(cls, stage: Stage, size: Sizes, reads: Kept, scale: float, keeps: Kept, dtype: torch.dtype) -> "SlicedLayer":
        """From the units that masks keep of the stage before, `scale` times as large, to those that they keep of it."""
        weight = stage.layer.weight
        if isinstance(stage.layer, nn.Linear):  # behind a convolution, several features belong to one channel
            weight = weight.unflatten(1, (size.channels, -1))
        if len(keeps.units) == 1:  # in half the time
            weight = weight.index_select(0, keeps.units[0]).index_select(1, reads.units[0])[None]
        else:
            weight = weight[keeps.units[:, :, None], reads.units[:, None]]
        weight, bias = weight.mul_(scale), stage.bias[keeps.units]
        if keeps.is_padded or reads.is_padded:
            there = keeps.there[:, :, None] * reads.there[:, None]
            weight, bias = weight.mul_(there.view(*there.shape, *[1] * (weight.dim() - 3))), bias * keeps.there
        if isinstance(stage.layer, nn.Linear):
            weight = weight.flatten(2)
        return cls(stage, weight.to(dtype), bias.to(dtype))

    def elements(self, size: Sizes) -> int:
        """Of what it makes and reads, for one input under each of the masks."""
        return self.bias.numel() * size.places * (size.window + 2)

    def __call__(self, x: Float[Tensor, "GJ C H W n"]) -> Float[Tensor, "GJ M H2 W2 n"]:
        """Several tiles, or several masks; not both."""
        layer = self.stage.layer
        y = self._multiplied(x) if isinstance(layer, nn.Linear) else self._convolved(layer, x)
        return F.relu_(y) if self.stage.activation else y

    def _multiplied(self, x: Float[Tensor, "GJ C H W n"]) -> Float[Tensor, "GJ M 1 1 n"]:
        y = torch.baddbmm(self.bias[..., None], self.weight.expand(len(x), -1, -1), x.flatten(1, 3))
        return y[:, :, None, None]

    def _convolved(self, layer: nn.Conv2d, x: Float[Tensor, "GJ C H W n"]) -> Float[Tensor, "GJ M H2 W2 n"]:
        """One convolution, whose groups are the masks."""
        count, size = len(self.weight), x.shape[-1]
        x = x.unflatten(0, (-1, count)).permute(0, 5, 1, 2, 3, 4).flatten(2, 3).flatten(0, 1)  # Gn JC H W
        x = x.contiguous(memory_format=torch.channels_last)
        weight = self.weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        y = F.conv2d(x, weight, self.bias.flatten(), layer.stride, layer.padding, layer.dilation, groups=count)
        y = _max_pool(y, self.stage.pool)
        y = y.unflatten(1, (count, -1)).unflatten(0, (-1, size))  # G n J M H2 W2
        return y.permute(0, 2, 3, 4, 5, 1).flatten(0, 1)


def _max_pool(x: Float[Tensor, "n C H W"], side: int) -> Float[Tensor, "n C H2 W2"]:
    """`F.max_pool2d` without the indices that only a backward pass needs: a third of its time in bfloat16 on a CPU."""
    for axis in (2, 3) if side > 1 else ():
        windows = x.narrow(axis, 0, x.shape[axis] // side * side).unflatten(axis, (-1, side))
        x = reduce(torch.maximum, windows.unbind(axis + 1))
    return x
