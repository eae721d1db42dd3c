"""Seconds and bytes."""

import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Stopwatch:
    """Seconds by part, the device's queue emptied before every reading.

    Args:
        device: whose queue.
        announce: called with a part's name before it begins.

    Attributes:
        seconds: by part's name.
    """

    def __init__(self, device: torch.device, announce: Callable[[str], None] = lambda part: None):
        self.device = device
        self._announce = announce
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        self._announce(part)
        start = self._now()
        yield
        self.seconds[part] = self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def reset_peak_memory(device: torch.device) -> None:
    """From here on, `peak_memory` counts anew (where the system can: a GPU's allocator, Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes, the most so far: of the GPU's allocator, or of this process where there is no GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):  # some sandboxes lack it
        return 1024 * int(peak[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, others kibibytes
