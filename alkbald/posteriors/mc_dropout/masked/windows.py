"""A convolution and its max-pool as one matrix product, inputs last.

Axes: n inputs, C channels, U units, H and W of the result, p places in a window of the max-pool (1 without), f inputs
of a channel that such a window sees. The product is [U p, C f] @ [C f, H W n]: its rows are the places of a window, so
that the max-pool is a maximum over rows; its columns are what windows see, a copy with long runs in memory. A kernel of
side k that is moved over a window of side s has f = (k + s - 1)^2: on the MNIST CNN 36 for 25, 1.4 times the
multiplications for a third of the copy. A linear layer has one window, which sees everything.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from alkbald.posteriors.mc_dropout.stages import Stage

#: Channels below which a convolution is faster as a product on a CPU: the MNIST CNN's first layer, which reads one
#: channel, takes 29 us an input as a product and 46 to 100 us as a convolution.
_FEW_CHANNELS = 8


def field(layer: nn.Conv2d, pool: int) -> tuple[int, int]:
    """Height and width of what a window of the max-pool sees of the convolution's padded input."""
    sides = zip(layer.kernel_size, layer.dilation, layer.stride, strict=True)
    high, wide = (dilation * (kernel - 1) + 1 + (pool - 1) * stride for kernel, dilation, stride in sides)
    return high, wide


def padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    """Left, right, top and bottom."""
    if isinstance(layer.padding, tuple):
        high, wide = layer.padding
        return wide, wide, high, high
    if layer.padding == "same":
        sides = zip(layer.kernel_size, layer.dilation, strict=True)
        high, wide = (dilation * (kernel - 1) for kernel, dilation in sides)
        return wide // 2, wide - wide // 2, high // 2, high - high // 2
    return 0, 0, 0, 0  # valid


def kernel(stage: Stage, channels: int) -> Float[Tensor, "U C p f"]:
    """Weights from what a window sees to each of its places: the convolution's kernel, moved along."""
    layer, side = stage.layer, stage.pool
    weight = layer.weight
    if isinstance(layer, nn.Linear):  # behind a convolution, several features belong to one channel
        return weight.view(len(weight), channels, 1, -1)
    (down, across), (high, wide) = layer.stride, field(layer, side)
    moved = weight.new_zeros(*weight.shape[:2], side, side, high, wide)
    for y in range(side):
        for x in range(side):
            seen = moved[:, :, y, x, y * down :: layer.dilation[0], x * across :: layer.dilation[1]]
            seen[..., : weight.shape[2], : weight.shape[3]] = weight
    return moved.flatten(2, 3).flatten(3)


def patches(stage: Stage, x: Float[Tensor, "C H1 W1 n"]) -> Float[Tensor, "C f HWn"]:
    """What the windows see."""
    layer = stage.layer
    if isinstance(layer, nn.Linear):
        return x.flatten(1, 2)
    if any(sides := padding(layer)):
        x = F.pad(x, (0, 0, *sides))
    (high, wide), (down, across) = field(layer, stage.pool), layer.stride
    windows = x.unfold(1, high, stage.pool * down).unfold(2, wide, stage.pool * across)  # C H W n high wide
    return windows.permute(0, 4, 5, 1, 2, 3).flatten(1, 2).flatten(2)


def finished(stage: Stage, y: Float[Tensor, "... p HWn"], bias: Float[Tensor, "... 1"]) -> Float[Tensor, "... HWn"]:
    """The maximum of each window, bias, and relu where the stage has one; written over y where it can be."""
    y = (y.amax(-2) if y.shape[-2] > 1 else y.squeeze(-2)).add_(bias)
    return y.relu_() if stage.activation else y


class WholeLayer:
    """A stage without dropout, inputs last.

    Args:
        channels: C that it reads.
        places: H and W of what it makes.
        on_cpu: whether it runs there, where few channels are faster as a product.
    """

    def __init__(self, stage: Stage, channels: int, places: tuple[int, int], on_cpu: bool):
        self._stage, self._places = stage, places
        self._as_product = isinstance(stage.layer, nn.Linear) or (on_cpu and channels < _FEW_CHANNELS)
        if self._as_product:
            self._weight = kernel(stage, channels).transpose(1, 2).flatten(2).flatten(0, 1)  # Up Cf

    def __call__(self, x: Float[Tensor, "C H1 W1 n"]) -> Float[Tensor, "U H W n"]:
        if not self._as_product:
            return self._stage(x.permute(3, 0, 1, 2), None).permute(1, 2, 3, 0)
        y = self._weight @ patches(self._stage, x).flatten(0, 1)
        y = finished(self._stage, y.unflatten(0, (self._stage.units, -1)), self._stage.bias[:, None])
        return y.unflatten(1, (*self._places, -1))
