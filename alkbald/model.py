"""The MC-dropout networks: layers whose outputs are dropped unit by unit, with explicit masks.

Axes: N inputs, K MC samples (posterior samples), U units of a layer (channels of a convolution), C classes.

A *mask* says which units of a layer are kept. MC dropout is *consistent* when sample k uses one mask for all inputs:
then the samples are functions, and joint predictions over several inputs mean something. So masks are drawn apart from
the forward pass (`draw_masks`) and handed to it; nothing in a forward pass is random.

References:
    [GalGhahramani2015] Gal and Ghahramani. Dropout as a Bayesian approximation.
    [Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD (consistent MC dropout; this CNN).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
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
        """Number of output units U: channels of a convolution, features of a linear layer."""
        return self.layer.weight.shape[0]

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


class MCDropoutModel(nn.Module, ABC):
    """What training and inference ask of a model: explicit masks, log-probabilities under them."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """C."""

    @abstractmethod
    def draw_masks(self, num_samples: int, generator: Generator) -> Masks:
        """Draws independent dropout masks, K of them for every dropout layer.

        Args:
            num_samples: K, at least 1.
            generator: a CPU generator, whatever the model's device, so that CPU and GPU runs use the same masks.

        Returns:
            A list with one [K, U] bool tensor a dropout layer, on the CPU: to count what masks keep, no GPU must wait.
        """

    @abstractmethod
    def forward(self, inputs: Tensor, masks: Masks | None = None) -> Float[Tensor, "N C"]:
        """Log-probabilities under given dropout masks.

        Args:
            inputs: [N, ...].
            masks: one [N, U] (a mask an input) or [1, U] (one mask for all) a dropout layer, in order, on the inputs'
                device; None: dropout off.

        Returns:
            Log-probabilities [N, C], natural log.
        """


class MCDropoutNet(MCDropoutModel):
    """Stages in sequence, from inputs to log-probabilities. `masked` leaves out what its masks drop.

    Raises:
        ValueError: no stage, or dropout on the last one, which would drop classes.
    """

    def __init__(self, stages: Sequence[Stage]):
        super().__init__()
        if not stages or stages[-1].dropout:
            raise ValueError("there must be a last stage, and it must be without dropout")
        self.stages = nn.ModuleList(stages)

    @property
    def num_classes(self) -> int:
        return self.stages[-1].units

    def forward(self, inputs: Tensor, masks: Masks | None = None) -> Float[Tensor, "N C"]:
        remaining = iter(masks) if masks is not None else None
        x = inputs
        for stage in self.stages:
            x = stage(x, next(remaining) if remaining and stage.dropout else None)
        return F.log_softmax(x, dim=-1)

    def draw_masks(self, num_samples: int, generator: Generator) -> Masks:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        return [
            torch.rand(num_samples, stage.units, generator=generator) >= stage.dropout
            for stage in self.stages
            if stage.dropout
        ]


def mnist_cnn(num_classes: int, *, dropout: float = 0.5, seed: int) -> MCDropoutNet:
    """The CNN of [Kirsch2019] for 1 x 28 x 28 images, freshly initialised as PyTorch does by default.

    Args:
        num_classes: C.
        dropout: probability of dropping a channel or unit behind each hidden layer.
        seed: of the initial weights; the global random stream is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU as well
        net = MCDropoutNet(
            [
                Stage(nn.Conv2d(1, 32, 5), dropout=dropout, pool=2),
                Stage(nn.Conv2d(32, 64, 5), dropout=dropout, pool=2),
                Stage(nn.Linear(1024, 128), dropout=dropout),
                Stage(nn.Linear(128, num_classes), activation=False),
            ]
        )
    return net.to(memory_format=torch.channels_last)
