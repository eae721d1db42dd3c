"""Modules as users write them, and inputs for them."""

import torch
from conftest import generator
from torch import nn


def small(p: float = 0.5, inplace: bool = False) -> nn.Sequential:
    """Whole channels dropped, then features."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Dropout2d(p, inplace),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.Dropout(p, inplace),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def images(n: int = 11, side: int = 4) -> torch.Tensor:
    return torch.randn(n, 1, side, side, generator=generator(9))


class Net(nn.Module):
    """Features [N, 6] -> logits [N, 3], through what a test wants to have between its layers."""

    def __init__(self, between, **layers: nn.Module):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.between = between
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.last(self.between(self, self.first(x)))


FEATURES = torch.randn(5, 6, generator=generator(8))
