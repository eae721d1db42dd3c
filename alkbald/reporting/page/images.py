"""Acquired images in few bits, from files that are there: nothing is downloaded.

The files of MNIST and its relatives are read as they are published (IDX, compressed or not), where torchvision keeps
them.
The digits come with scikit-learn, which is imported for these alone.
"""

import base64
import gzip
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alkbald.errors import DataError

_FILES = {
    "mnist": "MNIST/raw/train",
    "repeated_mnist": "MNIST/raw/train",
    "fashion_mnist": "FashionMNIST/raw/train",
    "emnist": "EMNIST/raw/emnist-balanced-train",
}


class Images(NamedTuple):
    """A training set as it was published: without noise, in its own size.

    Attributes:
        pixels: bytes [T, H, W].
        labels: [T].
    """

    pixels: np.ndarray
    labels: np.ndarray


def training_images(data: str, root: Path) -> Images | None:
    """Those of a data set; None if its files are not there.

    Args:
        data: its name in the configuration.
        root: folder of downloads.

    Raises:
        DataError: the files are damaged.
    """
    if data == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Images((digits.images * (255 / 16)).astype(np.uint8), digits.target)
    if data not in _FILES:
        return None
    parts = [_idx(root / f"{_FILES[data]}-{what}-ubyte") for what in ("images-idx3", "labels-idx1")]
    if parts[0] is None or parts[1] is None:
        return None
    pixels = parts[0].transpose(0, 2, 1) if data == "emnist" else parts[0]  # whose files hold columns
    return Images(pixels, parts[1])


def _idx(path: Path) -> np.ndarray | None:
    """The array of a file, or of its compressed one; None if there is neither."""
    packed = path.with_name(f"{path.name}.gz")
    try:
        if path.exists():
            content = path.read_bytes()
        elif packed.exists():
            content = gzip.decompress(packed.read_bytes())
        else:
            return None
        shape = struct.unpack_from(f">{content[3]}I", content, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, IndexError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def strip(images: Images, indices: Sequence[int], labels: Sequence[int], bits: int) -> str:
    """Images side by side as a data URI: PNG, gray, of 1, 2, 4 or 8 bits.

    Raises:
        DataError: an index or label is not of this data set.
    """
    for index, label in zip(indices, labels, strict=True):
        if not 0 <= index < len(images.labels) or images.labels[index] != label:
            raise DataError(f"--data: image {index} with label {label} is not in the data set")
    pixels = np.concatenate([images.pixels[index] for index in indices], axis=1)
    return "data:image/png;base64," + base64.b64encode(png(pixels, bits)).decode()


def png(pixels: np.ndarray, bits: int) -> bytes:
    """Bytes [H, W] as a gray PNG of so many bits a pixel."""
    height, width = pixels.shape
    levels = np.rint(pixels.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint8)
    lines = np.packbits(np.unpackbits(levels[..., None], axis=-1)[..., -bits:].reshape(height, -1), axis=1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1)  # each line without a filter
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
