"""One process at a time writes a folder."""

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alkbald.errors import RecordError


def is_locked(folder: Path) -> bool:
    """Whether a process is writing this run."""
    try:
        file = (folder / "lock").open()
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time. The operating system drops the lock of a process that dies.

    Raises:
        RecordError: naming the process that has the lock.
    """
    path = folder / "lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error
    try:
        _lock(file, path)
        with suppress(OSError):  # the name is a courtesy; a full disk does not keep a run from being locked
            os.truncate(file, 0)
            os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
        try:
            yield
        finally:
            with suppress(OSError):
                os.truncate(file, 0)
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    """Raises RecordError if another process has the lock for a second."""
    for attempt in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if attempt == 9:  # so long, it is not `is_locked`, asking
                holder = path.read_text() or "another process"
                raise RecordError(f"{path.parent} is being written by {holder}; wait for it, or stop it") from error
            time.sleep(0.1)
        except OSError as error:
            raise RecordError(f"cannot lock {path}: {error.strerror}") from error
