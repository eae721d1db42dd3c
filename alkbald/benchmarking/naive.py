"""The straightforward forms that ours is measured beside: inference in batchbald_redux's modules, the usual training.

batchbald_redux is a development dependency: this module is imported by what compares with it alone.
"""

import copy
from collections.abc import Callable

import torch
from batchbald_redux.consistent_mc_dropout import BayesianModule, ConsistentMCDropout, ConsistentMCDropout2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from alkbald.devices import float32_products
from alkbald.model import Masks, MCDropoutNet
from alkbald.randomness import derived_generator


class ReduxCNN(BayesianModule):
    """The paper's CNN in the peer's modules, with given weights and masks."""

    def __init__(self, model: MCDropoutNet, masks: Masks):
        super().__init__()
        plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
        conv1, conv2, hidden, last = (stage.layer for stage in plain.stage_list)
        self.net = nn.Sequential(
            *(conv1, ConsistentMCDropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(conv2, ConsistentMCDropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), hidden, ConsistentMCDropout(), nn.ReLU()),
            *(last, nn.LogSoftmax(-1)),
        )
        self.eval()
        for module, mask, trailing in zip((self.net[1], self.net[5], self.net[10]), masks, (2, 2, 0), strict=True):
            module.mask = ~mask.view(1, *mask.shape, *[1] * trailing)

    def mc_forward_impl(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)


def naive_inference(model: MCDropoutNet, num_samples: int, chunk: int) -> Callable[[Tensor], Tensor]:
    """Inputs -> [N, K, C]: every mask through every layer, inputs repeated K times, `chunk` inputs at a time."""
    net = ReduxCNN(model, model.draw_masks(num_samples, derived_generator("bench")))

    @torch.inference_mode()
    def predict(inputs: Tensor) -> Tensor:
        with float32_products():  # on a GPU, PyTorch's own convolutions would be in tf32
            return torch.cat([net(part, num_samples) for part in inputs.split(chunk)])

    return predict


class PlainCNN(nn.Sequential):
    """The same network as one writes it without masks."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 32, 5), nn.Dropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(32, 64, 5), nn.Dropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(1024, 128), nn.Dropout(), nn.ReLU()),
            *(nn.Linear(128, 10), nn.LogSoftmax(-1)),
        )


def naive_training(inputs: Tensor, labels: Tensor, *, epochs: int, steps: int) -> None:
    """The usual training loop, without validation: so many epochs of so many steps of 64."""
    model = PlainCNN().to(inputs.device)
    data = TensorDataset(inputs.cpu(), labels.cpu())
    sampler = RandomSampler(data, replacement=True, num_samples=64 * steps)
    loader = DataLoader(data, batch_size=64, sampler=sampler)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=5e-4)
    for _ in range(epochs):
        losses = []
        for x, y in loader:
            loss = F.nll_loss(model(x.to(inputs.device)), y.to(inputs.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
