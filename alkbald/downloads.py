"""MNIST and its relatives through torchvision: downloaded once, verified each time, with errors that say what to do."""

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from torchvision.datasets import EMNIST, MNIST

from alkbald.errors import DataError


def torchvision_sets(cls: type[MNIST], root: Path, **options: str) -> list[MNIST]:
    """Training and test set, with `data` [N, 28, 28] uint8 and `targets` [N].

    Downloaded if they are not under root, with torchvision's mirrors and checksums. torchvision trusts files that it
    has once unpacked; here they are compared with their archives each time, where the archives are still there (of
    EMNIST's files only the shape is checked: they lie two archives deep).

    Args:
        cls: MNIST, FashionMNIST or EMNIST.
        root: folder of downloads.
        options: further arguments of the class.

    Raises:
        DataError: naming the files at fault and what to do.
    """
    folder = root / cls.__name__ / "raw"
    # EMNIST comes as one archive of archives.
    archives = {"gzip.zip": cls.md5} if issubclass(cls, EMNIST) else dict(cls.resources)
    try:
        with _exclusive(root):
            parts = [cls(str(root), train=train, download=True, **options) for train in (True, False)]
    except PermissionError as error:
        raise DataError(f"data.root={root} must be writable, since archives are unpacked there: {error}") from error
    except Exception as error:  # torchvision raises whatever its download, its unpacking or its parsing happens to
        lines = str(error).strip().splitlines()
        reason = lines[-1] if lines else type(error).__name__
        faults = _faults(folder, archives) or [reason]
        raise DataError(_what_to_do(cls, folder, archives, faults)) from error
    present = {name: md5 for name, md5 in archives.items() if (folder / name).exists() and not issubclass(cls, EMNIST)}
    if faults := _faults(folder, present):
        raise DataError(_what_to_do(cls, folder, archives, faults))
    for part in parts:
        if len(part.data) != len(part.targets) or part.data.shape[1:] != (28, 28):
            raise DataError(f"{folder}: images {list(part.data.shape)} do not fit {len(part.targets)} labels")
    return parts


def _faults(folder: Path, archives: dict[str, str]) -> list[str]:
    """What is wrong with archives of given MD5, and with the files unpacked from them."""
    faults = []
    for name, md5 in archives.items():
        path, unpacked = folder / name, (folder / name).with_suffix("")
        if not path.exists():
            faults.append(f"{name} is missing")
            continue
        content = path.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            faults.append(f"{name} is truncated or damaged, delete it")
        # A gzip file ends in the CRC-32 of what it holds.
        elif unpacked.is_file() and zlib.crc32(unpacked.read_bytes()) != int.from_bytes(content[-8:-4], "little"):
            faults.append(f"{unpacked.name}, unpacked from {name}, is truncated or damaged, delete it")
    return faults


def _what_to_do(cls: type[MNIST], folder: Path, archives: dict[str, str], faults: list[str]) -> str:
    return (
        f"{cls.__name__} could not be loaded from {folder} nor downloaded: {'; '.join(faults)}. With no network, put "
        f"{', '.join(archives)} there, or use data=digits, which needs no files"
    )


@contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    """One process at a time downloads and unpacks: a sweep starts several at once."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock").acquire()
    except OSError:  # a read-only folder: nothing can be unpacked, so nothing can collide
        yield
        return
    with lock:
        yield
