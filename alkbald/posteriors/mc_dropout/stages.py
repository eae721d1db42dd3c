"""A layer with dropout, and masks that say what it keeps. Axes: N inputs, K MC samples, U units of a layer.

A *mask* says which units of a layer are kept: channels of a convolution, features of a linear layer.
"""

from typing import cast

from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional as F

#: One mask a dropout layer: rows are MC samples (or training inputs, each with a mask of its own), True where the unit
#: is kept.
Masks = list[Bool[Tensor, "_ _"]]


class Stage(nn.Module):
    """layer - dropout of whole output units - max-pool - relu.

    Dropout comes straight after the layer; what follows it commutes with a non-negative scale and maps 0 to 0.
    `masked` relies on that to leave the dropped units out.

    Args:
        layer: an ungrouped `nn.Conv2d` or an `nn.Linear` (which flattens its input).
        dropout: probability of dropping a unit, in [0, 1).
        pool: side and stride of the max-pool window; 1 is none.
        activation: whether a relu ends the stage.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, *, dropout: float = 0.0, pool: int = 1, activation: bool = True):
        super().__init__()
        if layer.bias is None:
            raise ValueError("the layer of a stage needs a bias")
        if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros"):
            raise ValueError("the convolution of a stage must be ungrouped and padded with zeros, if at all")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.layer = layer
        self.dropout = dropout
        self.pool = pool
        self.activation = activation

    @property
    def units(self) -> int:
        """Number of output units U (channels of a convolution, features of a linear layer)."""
        return self.layer.weight.shape[0]

    @property
    def bias(self) -> Tensor:
        """The layer's, [U]."""
        return cast(Tensor, self.layer.bias)  # the constructor refuses a layer without

    @property
    def scale(self) -> float:
        """What a kept unit is multiplied by, so that its expectation over masks is the unit without dropout."""
        return 1.0 / (1.0 - self.dropout)

    def forward(self, x: Tensor, mask: Bool[Tensor, "K U"] | None) -> Tensor:
        x = self.layer(x.flatten(1) if isinstance(self.layer, nn.Linear) else x)
        x = F.max_pool2d(x, self.pool) if self.pool > 1 else x
        if mask is not None:  # behind the pooling, which it commutes with: a quarter of the multiplications
            x = x * (mask * self.scale).view(*mask.shape, *[1] * (x.dim() - 2))
        return F.relu(x) if self.activation else x
