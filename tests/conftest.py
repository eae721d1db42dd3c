"""Shared fixtures. The real MNIST tests look for its archives in data/, in $ALKBALD_TEST_DATA or beside the checkout."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]


def random_log_probs(n: int, k: int, c: int, seed: int = 0, dtype=torch.float64, scale: float = 2.0) -> torch.Tensor:
    """Random predictions [n, k, c] whose samples disagree."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, k, c, generator=generator, dtype=torch.float64)
    return (scale * logits).log_softmax(-1).to(dtype)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def mnist_archives() -> Path:
    """The folder of the four published MNIST archives, read-only."""
    roots = [os.environ.get("ALKBALD_TEST_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"]
    for root in filter(None, roots):
        raw = Path(root) / "MNIST" / "raw"
        if all((raw / name).exists() for name in FILES):
            return raw
    pytest.skip("needs real MNIST: put its four archives into data/MNIST/raw")


@pytest.fixture(scope="session")
def mnist_root(mnist_archives, tmp_path_factory) -> Path:
    """A writable copy that torchvision may unpack in; tests that damage files make their own."""
    return copy_mnist(mnist_archives, tmp_path_factory.mktemp("mnist"))


def copy_mnist(archives: Path, root: Path) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(archives / name, raw / name)
    return root
