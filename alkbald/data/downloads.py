"""MNIST and its relatives through torchvision: downloaded once, verified each time, with errors that say what to do."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from torchvision.datasets import EMNIST, MNIST

from alkbald.errors import DataError

#: SHA-256 of the published archives: MNIST's own, and those of TensorFlow Datasets' url_checksums for the others.
#: torchvision compares MD5 alone, for which a collision can be made, and only when it downloads.
SHA256 = {
    "MNIST": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    "EMNIST": {"gzip.zip": "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"},
}


def torchvision_sets(cls: type[MNIST], root: Path, **options: str) -> list[MNIST]:
    """Training and test set, with `data` [N, 28, 28] uint8 and `targets` [N].

    Downloaded if they are not under root, with torchvision's mirrors. torchvision trusts files that it has once
    unpacked; here archives are compared with `SHA256` each time, and the unpacked files with the archives.

    Args:
        cls: MNIST, FashionMNIST or EMNIST.
        root: folder of downloads.
        options: further arguments of the class.

    Raises:
        DataError: naming the files at fault and what to do.
    """
    folder = root / cls.__name__ / "raw"
    # Old versions of torchvision left pickles there, which it would load instead of the verified files.
    reader = type(cls.__name__, (cls,), {"_check_legacy_exist": lambda self: False})
    try:
        with _exclusive(root):
            for file in _wrongly_unpacked(cls, folder):  # a kill or a full disk came in between: unpack them again
                file.unlink()
            parts = [reader(str(root), train=train, download=True, **options) for train in (True, False)]
    except PermissionError as error:
        raise DataError(f"data.root={root} must be writable, since archives are unpacked there: {error}") from error
    except Exception as error:  # torchvision raises whatever its download, its unpacking or its parsing happens to
        lines = str(error).strip().splitlines()
        reason = lines[-1] if lines else type(error).__name__
        faults = _faults(cls, folder) or [reason]
        raise DataError(_what_to_do(cls, folder, faults)) from error
    if faults := _faults(cls, folder):
        raise DataError(_what_to_do(cls, folder, faults))
    for part in parts:
        if len(part.data) != len(part.targets) or part.data.shape[1:] != (28, 28):
            raise DataError(f"{folder}: images {list(part.data.shape)} do not fit {len(part.targets)} labels")
    return parts


def _faults(cls: type[MNIST], folder: Path) -> list[str]:
    """What is wrong with the archives."""
    faults = []
    for name, sha256 in SHA256[cls.__name__].items():
        path = folder / name
        if not path.exists():
            unpacked = [file.name for file in folder.glob(f"{path.stem}*")]
            faults.append(
                f"{name} is missing" + (f", and {unpacked[0]} cannot be verified without it" if unpacked else "")
            )
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            faults.append(f"{name} is truncated or damaged, delete it")
    return faults


def _wrongly_unpacked(cls: type[MNIST], folder: Path) -> Iterator[Path]:
    """Files that are not what a right archive holds."""
    for name, sha256 in SHA256[cls.__name__].items():
        path = folder / name
        if path.exists() and hashlib.sha256(content := path.read_bytes()).hexdigest() == sha256:
            for file, crc in _unpacked(cls, path, content):
                if file.is_file() and zlib.crc32(file.read_bytes()) != crc:
                    yield file


def _unpacked(cls: type[MNIST], path: Path, content: bytes) -> Iterator[tuple[Path, int]]:
    """Files that come out of a verified archive, and their CRC-32, in which a gzip file ends."""
    if not issubclass(cls, EMNIST):  # EMNIST comes as one archive of archives
        yield path.with_suffix(""), int.from_bytes(content[-8:-4], "little")
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.namelist():
            file = path.parent / Path(member).stem
            if member.endswith(".gz") and file.is_file():
                yield file, int.from_bytes(archive.read(member)[-8:-4], "little")


def _what_to_do(cls: type[MNIST], folder: Path, faults: list[str]) -> str:
    return (
        f"{cls.__name__} could not be loaded from {folder} nor downloaded: {'; '.join(faults)}. With no network, put "
        f"{', '.join(SHA256[cls.__name__])} there, or use data=digits, which needs no files"
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
