"""Memory and time of one selection, and a file that is not in the system's cache."""

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """A selection: its batch, seconds of the processor and of the clock, and the most RssAnon while it ran."""

    batch: Any  # a Batch, of this version or of another
    processor: float
    clock: float
    mebibytes: float


def anonymous_mebibytes() -> float:
    """Memory of this process that no file stands behind: what is mapped does not count, since it can be dropped."""
    found = re.search(r"RssAnon:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found, "Linux tells RssAnon"
    return int(found[1]) / 1024


def measured(select: Callable[[], Any]) -> Measured:
    """Runs a selection, and watches its memory."""
    most, done = anonymous_mebibytes(), threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, anonymous_mebibytes())

    thread = threading.Thread(target=watch)
    thread.start()
    began, processor = time.perf_counter(), time.process_time()
    try:
        batch = select()
    finally:
        processor, clock = time.process_time() - processor, time.perf_counter() - began
        done.set()
        thread.join()
    return Measured(batch, processor, clock, max(most, anonymous_mebibytes()))


def drop_from_cache(path: Path) -> None:
    """Makes the next reader of the file wait for the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)
