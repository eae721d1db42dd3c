"""Seconds and bytes of calls, on one device."""

import ctypes
import gc
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from alkbald.information import joint_mutual_information
from alkbald.measuring import Stopwatch

OUTCOMES = 200_000  # simulated to judge a batch whose outcomes are too many to enumerate

Result = TypeVar("Result")


@runtime_checkable
class Selection(Protocol):
    """What every acquisition function returns, ours and batchbald_redux's: indices of points, and the score of the
    batch up to each."""

    @property
    def indices(self) -> Sequence[int]: ...

    @property
    def scores(self) -> Sequence[float]: ...


Selected = TypeVar("Selected", bound=Selection)


class Peak:
    """Most memory above that at the start: of the GPU's allocator, or resident on a CPU (read every millisecond)."""

    def __init__(self, device: torch.device):
        self._device, self._gpu = device, device.type == "cuda"
        self.bytes = 0

    def _now(self) -> int:
        return (
            torch.cuda.max_memory_allocated(self._device)
            if self._gpu
            else int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        )

    def __enter__(self):
        if self._gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:  # memory that was freed and not given back would hide what is allocated next
            ctypes.CDLL(None).malloc_trim(0)
        self._start, self._stop = self._now(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self.bytes = max(self.bytes, self._now() - self._start)

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.bytes = max(self.bytes, self._now() - self._start)


class Bench:
    """Times calls on one device, and keeps a row for each measurement.

    Attributes:
        device: where the calls compute; its queue is emptied before the clock is read.
        repeats: how often a call is timed, after a warm-up.
        predictions: what the predictions are of that batches are selected from.
        rows: the measurements.
    """

    def __init__(self, device: torch.device, repeats: int):
        self.device, self.repeats = device, repeats
        self.predictions = ""
        self.rows: list[dict[str, Any]] = []

    def timed(self, call: Callable[[], Result]) -> tuple[Result, float]:
        """What one call returns, and its seconds."""
        clock = Stopwatch(self.device)
        with clock.measure("call"):
            result = call()
        return result, clock.seconds["call"]

    def medians(self, calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Median seconds of each call. Calls are timed in turn, so that a machine's moods hit all of them alike.

        A call that returns a float has timed itself.
        """
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            call()
        for _ in range(self.repeats):
            for name, call in calls.items():
                result, seconds = self.timed(call)
                taken[name].append(result if isinstance(result, float) else seconds)
                self.rows.append({"what": name, "seconds": taken[name][-1]})
        return {name: statistics.median(seconds) for name, seconds in taken.items()}

    def selection(
        self, what: str, log_probs: Tensor, select: Callable[[], Selected], *, repeats: int | None = None
    ) -> tuple[Selected, dict[str, Any]]:
        """Times a selection, and judges its batch by one measure, whatever method chose it.

        Args:
            what: is selected with, for the row.
            log_probs: [N, K, C], what is selected from.
            select: the call.
            repeats: instead of the bench's own; a single call has no warm-up.

        Returns:
            The batch, and the row: median seconds and their spread, peak memory, joint mutual information of the batch.
        """
        repeats = repeats or self.repeats
        # batchbald_redux runs the garbage collector for every chunk of points, which looks at all objects. Those that
        # this benchmark has imported are hidden from it: its 2-BALD of 5 of 1,000 points takes 0.13 s so, 5.8 s before.
        gc.collect()
        gc.freeze()
        if repeats > 1:
            select()
        seconds, peak = [], 0
        for _ in range(repeats):
            with Peak(self.device) as memory:
                batch, taken = self.timed(select)
            seconds.append(taken)
            peak = max(peak, memory.bytes)
        joint, error = joint_mutual_information(log_probs[batch.indices], num_outcomes=OUTCOMES)
        row = {
            "what": what,
            "predictions": self.predictions,
            "N": log_probs.shape[0],
            "K": log_probs.shape[1],
            "B": len(batch.indices),
            "seconds": statistics.median(seconds),
            "spread": max(seconds) - min(seconds),
            "peak MiB": peak / 2**20,
            "joint MI": joint,
            "standard error": error,
            "score": batch.scores[-1],
        }
        self.rows.append(row)
        where = f"N {row['N']}, K {row['K']}, B {row['B']}"
        print(f"  {what}: {where}: {row['seconds']:.3f} s, joint MI {joint:.4f}", flush=True)
        return batch, row
