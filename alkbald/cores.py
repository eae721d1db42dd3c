"""Sharing a machine's cores: waiting threads spin while a run is alone, and sleep while others use the cores.

PyTorch's wheels bring libgomp, GNU's OpenMP. Its threads spin for some milliseconds before they sleep. That is fastest
on a free core. On a shared core it takes the time that somebody else needs, and two runs stop each other. Environment
variables choose one of the two for a whole process. But libgomp hardly spins at all while a process has more OpenMP
threads than there are cores [libgomp]. So a run that finds the cores taken holds some idle threads until they are free
again. The threads that compute stay the same, and so do all numbers, bit for bit.

[libgomp] GNU libgomp manual, environment variables, GOMP_SPINCOUNT.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

#: Environment variables by which users choose how threads wait; such a choice is kept.
CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

_INTERVAL = 0.25  # seconds between two looks
_TAKEN = 0.1  # share of its time that the main thread waits for a core; alone it is below 0.01
_PATIENCE = 20  # looks in a row that find the cores taken, until the user is told
_SCHEDULING = Path("/proc/self/schedstat")  # nanoseconds of the main thread: on a core, waiting for one; Linux

_started = False


def share_cores(threads: int, tell: Callable[[str], object]) -> None:
    """From now on, this process's waiting threads leave the cores to others who use them. A second call does nothing.

    Args:
        threads: that compute. A single one waits for no other: nothing is done.
        tell: is given one line when the cores are taken: after five seconds of it where the system says how long
            threads wait for a core (Linux), elsewhere at once, by the load average.
    """
    global _started
    if threads == 1 or _started:
        return
    _started = True
    if _SCHEDULING.exists():
        chosen = any(name in os.environ for name in CHOICES)
        watch = Watch(None if chosen else parallel_region(), max(2, os.cpu_count() - threads + 2), tell)
        threading.Thread(target=watch.run, name="share_cores", daemon=True).start()
    elif (load := os.getloadavg()[0]) + threads > os.cpu_count() + 1:
        tell(f"note: the load average is {load:.1f}, on {os.cpu_count()} cores: threads=1 suits runs that share cores")


class Watch:
    """Looks how long the main thread waits for a core, and holds idle threads meanwhile.

    Args:
        parallel: runs an empty parallel region of so many threads; None: nothing is held.
        size: threads that are held; with those that compute, more than there are cores.
        tell: as in `share_cores`.
    """

    def __init__(self, parallel: Callable[[int], None] | None, size: int, tell: Callable[[str], object]):
        self._parallel, self._size, self._tell = parallel, size, tell
        self._release: threading.Event | None = None
        self._taken = 0  # looks in a row
        self._told = False

    @property
    def holds(self) -> bool:
        return self._release is not None

    def run(self) -> None:
        before, waited_before = time.perf_counter(), _waited()
        while True:
            time.sleep(_INTERVAL)
            now, waited = time.perf_counter(), _waited()
            self.look((waited - waited_before) / (now - before))
            before, waited_before = now, waited

    def look(self, share: float) -> None:
        """Acts on the share of its time that the main thread waited for a core since the last look."""
        self._taken = self._taken + 1 if share > _TAKEN else 0
        if self._taken and not self.holds and self._parallel is not None:
            self._release = threading.Event()
            threading.Thread(target=self._hold, args=[self._release], name="idle threads", daemon=True).start()
        elif not self._taken and self.holds:
            self._release.set()
            self._release = None
        if self._taken == _PATIENCE and not self._told:
            self._told = True
            self._tell(
                f"note: the cores are taken: this run waits {share:.0%} of the time for one; threads=1 suits runs that "
                "share cores"
            )

    def _hold(self, release: threading.Event) -> None:
        self._parallel(self._size)  # its threads stay, asleep, as long as this one
        release.wait()


def parallel_region() -> Callable[[int], None] | None:
    """A function that runs an empty parallel region of so many threads in PyTorch's OpenMP; None where that is not
    libgomp's or compatible.
    """
    try:  # by PyTorch's own library, since another package may have loaded a libgomp of its own
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        region, nothing = library.GOMP_parallel, ctypes.CDLL(None).free
    except (OSError, AttributeError):
        return None
    region.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    region.restype = None
    work = ctypes.cast(nothing, ctypes.c_void_p)  # what each thread calls: free(NULL)
    return lambda size: region(work, None, size, 0)


def _waited() -> float:
    """Seconds that the main thread was ready and waited for a core, so far."""
    return int(_SCHEDULING.read_text().split()[1]) * 1e-9
