"""Data sets as they were published. `SOURCES` maps names to functions of the folder of downloads.

To add one, write a function here, its line in `SOURCES`, and a YAML in configs/data/; of one that torchvision
downloads, the archives' SHA-256 go to `downloads`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision import datasets

from alkbald.data.downloads import torchvision_sets


class Source(NamedTuple):
    """A data set as it was published.

    Attributes:
        train_images, test_images: in [0, 1].
        train_labels, test_labels: classes, from 0.
        num_classes: C.
        normalisation: mean and standard deviation that images are normalised with; None: those of the training images.
    """

    train_images: Float[Tensor, "T channels H W"]
    train_labels: Int[Tensor, " T"]
    test_images: Float[Tensor, "E channels H W"]
    test_labels: Int[Tensor, " E"]
    num_classes: int
    normalisation: tuple[float, float] | None = None


def _digits(root: Path) -> Source:
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target).long()
    # The last quarter is the test set: the file is ordered by writer, so these are other people's digits.
    train = 1347
    return Source(images[:train], labels[:train], images[train:], labels[train:], 10)


def _mnist(root: Path) -> Source:
    train, test = torchvision_sets(datasets.MNIST, root)
    return _source(train, test, 10, (0.1307, 0.3081))


def _fashion_mnist(root: Path) -> Source:
    train, test = torchvision_sets(datasets.FashionMNIST, root)
    return _source(train, test, 10)


def _emnist(root: Path) -> Source:
    train, test = torchvision_sets(datasets.EMNIST, root, split="balanced")
    for part in (train, test):
        part.data = part.data.transpose(1, 2)  # EMNIST's files hold images column by column
    return _source(train, test, 47)


def _source(train, test, num_classes: int, normalisation: tuple[float, float] | None = None) -> Source:
    train_images, test_images = (part.data.unsqueeze(1).float() / 255 for part in (train, test))
    return Source(train_images, train.targets, test_images, test.targets, num_classes, normalisation)


#: Data sets by name.
SOURCES: dict[str, Callable[[Path], Source]] = {
    "mnist": _mnist,
    "repeated_mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "emnist": _emnist,
    "digits": _digits,
}
