"""Architectures, freshly initialised as PyTorch does by default. `NETWORKS` maps names to functions.

Axes: images [N, channels, height, width], C classes.

References:
    [Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD (this CNN).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from alkbald.posteriors.mc_dropout import MCDropoutNet, Stage

#: The numbers of [Kirsch2019]'s CNN; configs/model/ has them too, and a test compares.
PAPER: dict[str, Any] = {"channels": (32, 64), "kernel_size": 5, "pool": 2, "hidden": (128,)}


def cnn(
    image_shape: Sequence[int],
    num_classes: int,
    *,
    channels: Sequence[int],
    kernel_size: int,
    pool: int,
    hidden: Sequence[int],
    dropout: float | int,
    seed: int,
) -> MCDropoutNet:
    """Convolutions, each with max-pool and relu, then linear layers; dropout behind every one but the last.

    Args:
        image_shape: channels, height and width of an image.
        num_classes: C.
        channels: output channels of each convolution; none: a multilayer perceptron.
        kernel_size: side of the convolutions' kernels; there is no padding.
        pool: side and stride of the max-pool behind each convolution; 1: none.
        hidden: units of each hidden linear layer.
        dropout: probability of dropping a channel or unit behind each hidden layer, from 0 to 0.999.
        seed: of the initial weights; the global random stream is left as it was.

    Raises:
        ValueError: a number out of range, something else than a list, or images too small for the convolutions.
    """
    for name, values in (("channels", channels), ("hidden", hidden)):
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ValueError(f"{name} must be a list of whole numbers, got {values}")
    for name, values in (("channels", channels), ("hidden", hidden), ("kernel_size", [kernel_size]), ("pool", [pool])):
        if not all(type(value) is int and value >= 1 for value in values):
            raise ValueError(f"{name} must be at least 1 and whole, got {values}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 0.999:
        raise ValueError(f"dropout must be between 0 and 0.999, got {dropout}")
    before, *sides = image_shape
    stages = []
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU as well
        for number in channels:
            sides = [(side - kernel_size + 1) // pool for side in sides]
            if min(sides) < 1:
                size = "x".join(map(str, image_shape[1:]))
                raise ValueError(f"channels={[*channels]}, kernel_size={kernel_size} leave nothing of {size} images")
            stages.append(Stage(nn.Conv2d(before, number, kernel_size), dropout=dropout, pool=pool))
            before = number
        before *= sides[0] * sides[1]
        for number in hidden:
            stages.append(Stage(nn.Linear(before, number), dropout=dropout))
            before = number
        stages.append(Stage(nn.Linear(before, num_classes), activation=False))
    return MCDropoutNet(stages).to(memory_format=torch.channels_last)


def mnist_cnn(num_classes: int, *, dropout: float | int = 0.5, seed: int) -> MCDropoutNet:
    """The CNN of [Kirsch2019] for 1 x 28 x 28 images. Arguments as of `cnn`."""
    return cnn((1, 28, 28), num_classes, **PAPER, dropout=dropout, seed=seed)


NETWORKS: dict[str, Callable[..., MCDropoutNet]] = {"cnn": cnn}
