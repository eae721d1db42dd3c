"""A network for many classes, and its predictions: those of a photograph's labels in kind, without the photographs.

Axes: N points, K samples, C classes.

Inputs are made-up embeddings: classes are Gaussian around centres, and the centres lie in groups, so that a network
confuses some classes with each other and few with the rest. The network has one hidden layer with dropout. It is
trained on few points a class, and its samples are dropout masks, each the same for all points.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

_FEATURES = 64
_HIDDEN = 256
_GROUPS = 50
#: Distances of a group's centre, of a class from it, and of a point from its class, in each feature.
_SPREADS = (1.0, 0.7, 0.8)
_STEPS = 200


class ManyClasses:
    """A trained network, and points to predict.

    Args:
        num_classes: C.
        num_samples: K masks.
        seed: of everything that is drawn.
    """

    def __init__(self, num_classes: int, num_samples: int, seed: int = 0):
        self._generator = Generator().manual_seed(seed)
        groups = _SPREADS[0] * self._normal(_GROUPS, _FEATURES)
        own = torch.randint(_GROUPS, (num_classes,), generator=self._generator)
        self._centres = groups[own] + _SPREADS[1] * self._normal(num_classes, _FEATURES)
        self._hidden, self._output = nn.Linear(_FEATURES, _HIDDEN), nn.Linear(_HIDDEN, num_classes)
        for layer in (self._hidden, self._output):
            nn.init.zeros_(layer.bias)
            layer.weight.data = self._normal(*layer.weight.shape) / math.sqrt(layer.in_features)
        self._train()
        self._masks = 2 * torch.randint(2, (num_samples, 1, _HIDDEN), generator=self._generator).float()

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def _train(self, points_per_class: int = 3) -> None:
        labels = torch.arange(len(self._centres)).repeat(points_per_class)
        inputs = self._centres[labels] + _SPREADS[2] * self._normal(len(labels), _FEATURES)
        optimizer = torch.optim.Adam([*self._hidden.parameters(), *self._output.parameters()], lr=3e-3)
        for _ in range(_STEPS):
            rows = torch.randint(len(labels), (256,), generator=self._generator)
            mask = 2 * torch.randint(2, (256, _HIDDEN), generator=self._generator).float()
            logits = self._output(self._hidden(inputs[rows]).relu() * mask)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, labels[rows]).backward()
            optimizer.step()

    def points(self, count: int) -> Float[Tensor, "N features"]:
        """New points, of classes drawn at random."""
        labels = torch.randint(len(self._centres), (count,), generator=self._generator)
        return self._centres[labels] + _SPREADS[2] * self._normal(count, _FEATURES)

    @torch.no_grad()
    def log_probs(self, points: Float[Tensor, "N features"]) -> Float[Tensor, "N K C"]:
        """Natural log-probabilities under every mask."""
        return self._output(self._hidden(points).relu() * self._masks).transpose(0, 1).log_softmax(-1)

    def points_log_probs(self, count: int) -> Float[Tensor, "N K C"]:
        """Natural log-probabilities of new points."""
        return self.log_probs(self.points(count))
