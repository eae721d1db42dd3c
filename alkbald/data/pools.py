"""Data sets as tensors on the device, with the split, noise and initial set of the paper's runs.

Axes: images [N, channels, S, S], normalised. A *pool position* counts the points of the pool; an *index* is the place
of an image in the original training set. Runs record indices.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor
from torch.nn import functional as F

from alkbald.data.sources import SOURCES
from alkbald.errors import DataError
from alkbald.randomness import derived_generator


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

    pool_inputs: Float[Tensor, "P channels S S"]
    pool_labels: Int[Tensor, " P"]
    pool_index: Int[Tensor, " P"]
    initial: list[int]
    validation_inputs: Float[Tensor, "V channels S S"]
    validation_labels: Int[Tensor, " V"]
    test_inputs: Float[Tensor, "E channels S S"]
    test_labels: Int[Tensor, " E"]
    num_classes: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return tuple(self.pool_inputs.shape[1:])


def load(
    name: str,
    *,
    root: str | Path,
    split_seed: int = 0,
    validation_size: int = 4096,
    initial_per_class: int = 2,
    noise: float = 0.1,
    repeats: int = 1,
    image_size: int = 28,
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
        image_size: side S of the images; those of another size are resized (bilinear).
        device: where the tensors are.

    Raises:
        DataError: files that are missing and cannot be downloaded, or damaged; too few images for the split.
    """
    source = SOURCES[name](Path(root))
    pool_index, validation_index = split(source.train_labels, validation_size, split_seed)
    pool_labels = source.train_labels[pool_index]
    initial = balanced_initial_set(pool_labels, source.num_classes, initial_per_class, split_seed)

    train_images = resized(source.train_images, image_size)
    mean, std = source.normalisation or [value.item() for value in reversed(torch.std_mean(train_images))]

    def normalised(images: Tensor) -> Tensor:
        return (images - mean) / std

    pool_inputs = normalised(train_images[pool_index]).repeat(repeats, 1, 1, 1)
    pool_inputs += noise * torch.randn(pool_inputs.shape, generator=derived_generator(split_seed, "noise"))
    return Data(
        pool_inputs=pool_inputs.to(device),
        pool_labels=pool_labels.repeat(repeats).to(device),
        pool_index=pool_index.repeat(repeats),
        initial=initial,
        validation_inputs=normalised(train_images[validation_index]).to(device),
        validation_labels=source.train_labels[validation_index].to(device),
        test_inputs=normalised(resized(source.test_images, image_size)).to(device),
        test_labels=source.test_labels.to(device),
        num_classes=source.num_classes,
    )


def resized(images: Float[Tensor, "N channels H W"], size: int) -> Float[Tensor, "N channels S S"]:
    """Square images of a side, by bilinear interpolation (smoothed if they shrink); as they are if they have it."""
    if images.shape[-2:] == (size, size):
        return images
    shrinks = size < min(images.shape[-2:])
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=shrinks)


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
