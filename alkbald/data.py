"""Data sets as tensors on the device, with the split, noise and initial set of the paper's runs.

Axes: images [N, 1, 28, 28], normalised. A *pool position* counts the points of the pool; an *index* is the place of an
image in the original training set. Runs record indices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor
from torch.nn import functional as F
from torchvision import datasets

from alkbald.downloads import torchvision_sets
from alkbald.errors import DataError
from alkbald.randomness import derived_generator


class Source(NamedTuple):
    """A data set as it was published. Images in [0, 1], [N, 1, 28, 28]."""

    train_images: Float[Tensor, "T 1 28 28"]
    train_labels: Int[Tensor, " T"]
    test_images: Float[Tensor, "E 1 28 28"]
    test_labels: Int[Tensor, " E"]
    num_classes: int
    mean: float
    std: float


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        pool_inputs, pool_labels: everything that is labelled or may be.
        pool_index: of each pool position, the index in the original training set.
        initial: pool positions of the initial labelled set.
        validation_inputs, validation_labels, test_inputs, test_labels: free of noise.
        num_classes: C.
    """

    pool_inputs: Float[Tensor, "P 1 28 28"]
    pool_labels: Int[Tensor, " P"]
    pool_index: Int[Tensor, " P"]
    initial: list[int]
    validation_inputs: Float[Tensor, "V 1 28 28"]
    validation_labels: Int[Tensor, " V"]
    test_inputs: Float[Tensor, "E 1 28 28"]
    test_labels: Int[Tensor, " E"]
    num_classes: int


def load(
    name: str,
    *,
    root: str | Path,
    split_seed: int = 0,
    validation_size: int = 4096,
    initial_per_class: int = 2,
    noise: float = 0.1,
    repeats: int = 1,
    device: torch.device | str = "cpu",
) -> Data:
    """A data set, split and normalised, on the device. The pool's noise is a function of the split seed.

    Args:
        name: a key of `SOURCES`.
        root: folder of downloads.
        split_seed: draws the split, the initial set and the noise.
        validation_size: training images set apart, stratified by class; 0: none, the pool is the whole training set.
        initial_per_class: initially labelled images of each class.
        noise: standard deviation of the noise on pool images, after normalisation.
        repeats: copies of the pool; pool position p is a copy of position p modulo the pool's own size.

    Raises:
        DataError: files that are missing and cannot be downloaded, or damaged; too few images for the split.
    """
    source = SOURCES[name](Path(root))
    pool_index, validation_index = split(source.train_labels, validation_size, split_seed)
    pool_labels = source.train_labels[pool_index]
    initial = balanced_initial_set(pool_labels, source.num_classes, initial_per_class, split_seed)

    def normalised(images: Tensor) -> Tensor:
        return (images - source.mean) / source.std

    pool_inputs = normalised(source.train_images[pool_index]).repeat(repeats, 1, 1, 1)
    pool_inputs += noise * torch.randn(pool_inputs.shape, generator=derived_generator(split_seed, "noise"))
    return Data(
        pool_inputs=pool_inputs.to(device),
        pool_labels=pool_labels.repeat(repeats).to(device),
        pool_index=pool_index.repeat(repeats),
        initial=initial,
        validation_inputs=normalised(source.train_images[validation_index]).to(device),
        validation_labels=source.train_labels[validation_index].to(device),
        test_inputs=normalised(source.test_images).to(device),
        test_labels=source.test_labels.to(device),
        num_classes=source.num_classes,
    )


def split(labels: Int[Tensor, " T"], validation_size: int, seed: int) -> tuple[Int[Tensor, " P"], Int[Tensor, " V"]]:
    """Indices of pool and validation, stratified by class, in the order of the paper's runs."""
    if not validation_size:
        return torch.arange(len(labels)), torch.arange(0)
    shuffle = StratifiedShuffleSplit(n_splits=1, test_size=validation_size, random_state=seed)
    try:
        pool, validation = next(shuffle.split(np.zeros(len(labels)), labels.numpy()))
    except ValueError as error:
        raise DataError(
            f"data.validation_size={validation_size} cannot be split off {len(labels)} training images: {error}"
        ) from error
    return torch.from_numpy(pool), torch.from_numpy(validation)


def balanced_initial_set(labels: Int[Tensor, " P"], num_classes: int, per_class: int, seed: int) -> list[int]:
    """Pool positions: of a permutation of the pool, the first `per_class` of each class, class by class."""
    permutation = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    positions = []
    for label in range(num_classes):
        of_class = permutation[labels[permutation] == label]
        if len(of_class) < per_class:
            raise DataError(
                f"data.initial_per_class={per_class} needs {per_class} pool images of class {label}, "
                f"there are {len(of_class)}"
            )
        positions += of_class[:per_class].tolist()
    return positions


def _digits(root: Path) -> Source:
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    images = F.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(digits.target).long()
    # The last quarter is the test set: the file is ordered by writer, so these are other people's digits.
    train = 1347
    std, mean = torch.std_mean(images[:train])
    return Source(images[:train], labels[:train], images[train:], labels[train:], 10, mean.item(), std.item())


def _mnist(root: Path) -> Source:
    return _source(*torchvision_sets(datasets.MNIST, root), 10, (0.1307, 0.3081))


def _fashion_mnist(root: Path) -> Source:
    return _source(*torchvision_sets(datasets.FashionMNIST, root), 10)


def _emnist(root: Path) -> Source:
    train, test = torchvision_sets(datasets.EMNIST, root, split="balanced")
    for part in (train, test):
        part.data = part.data.transpose(1, 2)  # EMNIST's files hold images column by column
    return _source(train, test, 47)


def _source(train, test, num_classes: int, normalisation: tuple[float, float] | None = None) -> Source:
    train_images, test_images = (part.data.unsqueeze(1).float() / 255 for part in (train, test))
    if normalisation is None:
        std, mean = torch.std_mean(train_images)
        normalisation = mean.item(), std.item()
    return Source(train_images, train.targets, test_images, test.targets, num_classes, *normalisation)


#: Data sets by name.
SOURCES: dict[str, Callable[[Path], Source]] = {
    "mnist": _mnist,
    "repeated_mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "emnist": _emnist,
    "digits": _digits,
}
