"""Where the predictions of a pool lie, and how they are read: in memory, in a mapped file, or made when asked for.

Axes: N pool points, K MC samples, C classes.

Acquisition reads all points once, in order, and after that only the points that can still win (of a function, also
those that lie between them). So a pool need not fit into memory.

Every acquisition function takes, in place of a tensor,

- a NumPy array, also one that lies in a file (`numpy.load(path, mmap_mode="r")`),
- `Chunks`: a function that gives the predictions of the points from `start` up to `stop`,
- a list or tuple of any of these, the shards of a pool: their points are counted through.

All give the indices and scores that the same predictions give in memory.
"""

import warnings
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, pairwise
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alkbald.errors import AxesWarning
from alkbald.information.probabilities import check_axes

#: Points and samples that are compared to see whether their axes were mistaken for each other.
_POINTS_COMPARED = 64
#: Elements that are read at a time from what is not in memory: some 16 MiB.
_ELEMENTS_READ = 2**22


class Predictions(ABC):
    """Natural log-probabilities of a pool, which are read in parts.

    Attributes:
        shape: N, K, C.
        dtype: of what is read.
        device: where that is.
    """

    shape: tuple[int, int, int]
    dtype: torch.dtype
    device: torch.device

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def points_at_a_time(self) -> int:
        """How many points are best read at a time."""
        return max(1, _ELEMENTS_READ // (self.shape[1] * self.shape[2]))

    @abstractmethod
    def rows(self, start: int, stop: int) -> Float[Tensor, "n K C"]:
        """Of the points from `start` up to `stop`, 0 <= start <= stop <= N."""

    @abstractmethod
    def at(self, indices: Int[Tensor, " n"]) -> Float[Tensor, "n K C"]:
        """A copy, of some points, in their order; a point may occur more than once.

        Args:
            indices: pool indices, on any device.
        """


#: What acquisition functions take.
AnyPredictions: TypeAlias = Tensor | np.ndarray | Predictions | list[Any] | tuple[Any, ...]


def as_predictions(log_probs: object) -> Predictions:
    """The predictions of a tensor, an array, `Predictions`, or a list or tuple of these.

    Raises:
        TypeError: anything else, or no floating-point numbers.
        ValueError: other axes than [N, K, C], K or C of 0, or shards that do not fit together.
    """
    if isinstance(log_probs, Predictions):
        return log_probs
    if isinstance(log_probs, Tensor):
        return _InMemory(log_probs)
    if isinstance(log_probs, np.ndarray):
        return _Array(log_probs)
    if isinstance(log_probs, (list, tuple)):
        return _Shards([as_predictions(shard) for shard in log_probs])
    given = type(log_probs).__name__
    hint = "; wrap a function in Chunks(read, num_points)" if callable(log_probs) else ""
    raise TypeError(
        f"log_probs must be a tensor or a NumPy array [N, K, C], Chunks, or a list of these, got {given}{hint}"
    )


def pool_predictions(log_probs: AnyPredictions, batch_size: int) -> Predictions:
    """`as_predictions` of a pool that a batch is to be chosen from.

    A warning is given where axes seem to be [K, N, C]: fewer points than samples, and predictions that differ less from
    point to point than from sample to sample.

    Raises:
        TypeError, ValueError: as of `as_predictions`.
        TypeError: batch_size is no integer.
        ValueError: batch_size is not between 0 and N.
    """
    if not isinstance(batch_size, Integral):
        raise TypeError(f"batch_size must be an integer, got {batch_size!r}")
    predictions = as_predictions(log_probs)
    n, k, _ = predictions.shape
    if not 0 <= batch_size <= n:
        hint = f"; the axes are [N, K, C], and these are {list(predictions.shape)}" if batch_size <= k else ""
        raise ValueError(f"batch_size must be between 0 and the {n} points of the pool, got {batch_size}{hint}")
    if 1 < n < k and _varies_by_sample(predictions.rows(0, min(n, _POINTS_COMPARED))[:, :_POINTS_COMPARED]):
        warnings.warn(
            f"log_probs have {n} points and {k} samples, and points differ less than samples do; "
            "axes must be [N, K, C]: of [K, N, C], pass log_probs.transpose(0, 1)",
            AxesWarning,
            stacklevel=3,
        )
    return predictions


def _varies_by_sample(log_probs: Float[Tensor, "n k C"]) -> bool:
    """Whether probabilities vary more over the samples than over the points, clearly."""
    probs = log_probs.double().exp()
    return bool(probs.var(1).mean() > 2 * probs.var(0).mean())


class _InMemory(Predictions):
    """A tensor."""

    def __init__(self, log_probs: Tensor):
        check_axes(log_probs.shape, log_probs.dtype)
        self._log_probs = log_probs.detach()
        n, k, c = log_probs.shape
        self.shape, self.dtype, self.device = (n, k, c), log_probs.dtype, log_probs.device

    @property
    def points_at_a_time(self) -> int:
        return max(1, len(self))  # nothing is copied

    def rows(self, start: int, stop: int) -> Float[Tensor, "n K C"]:
        return self._log_probs[start:stop]

    def at(self, indices: Int[Tensor, " n"]) -> Float[Tensor, "n K C"]:
        return self._log_probs[indices.to(self.device)]


class _Array(Predictions):
    """A NumPy array, which may be mapped from a file."""

    device = torch.device("cpu")

    def __init__(self, array: np.ndarray):
        self._array = array
        try:
            self.dtype = torch.from_numpy(np.empty(0, array.dtype.newbyteorder("="))).dtype
        except TypeError as error:
            raise TypeError(f"log_probs must be floating point, got {array.dtype}") from error
        check_axes(array.shape, self.dtype)
        n, k, c = array.shape
        self.shape = (n, k, c)

    def rows(self, start: int, stop: int) -> Float[Tensor, "n K C"]:
        return self._copy(self._array[start:stop])

    def at(self, indices: Int[Tensor, " n"]) -> Float[Tensor, "n K C"]:
        in_file_order, places = indices.cpu().sort()
        rows = self._copy(self._array[in_file_order.numpy()])
        read = torch.empty_like(rows)
        read[places] = rows
        return read

    def _copy(self, part: np.ndarray) -> Tensor:
        """A tensor of its own: PyTorch does not take arrays that cannot be written to, or of another byte order."""
        return torch.from_numpy(np.array(part, dtype=part.dtype.newbyteorder("="), order="C"))


class Chunks(Predictions):
    """Predictions that a function gives when it is asked for them, such as those of a model, or of a file format.

    The function must be *consistent*: it gives the same predictions of a point each time that it is asked, and sample k
    is one function of all points. (`alkbald.predicting.lazily` makes such a function of a posterior.)

    Args:
        read: of `start` and `stop`, 0 <= start < stop <= N: the log-probabilities [stop - start, K, C] of these points,
            as a tensor or a NumPy array. It is called once here, for the first point, and then in any order.
        num_points: N, at least 1.
        points_at_a_time: how many points one call should be for; None: some 16 MiB in float32.

    Raises:
        ValueError: num_points or points_at_a_time out of range.
    """

    #: Points between two wanted ones that are read with them rather than that the function is called again.
    _GAP = 16

    def __init__(
        self, read: Callable[[int, int], Tensor | np.ndarray], num_points: int, *, points_at_a_time: int | None = None
    ):
        for name, number in (("num_points", num_points), ("points_at_a_time", points_at_a_time)):
            if number is not None and (type(number) is not int or number < 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {number!r}")
        self._read_points, self._points_at_a_time = read, points_at_a_time
        first = as_predictions(read(0, 1))
        self.shape, self.dtype, self.device = (num_points, *first.shape[1:]), first.dtype, first.device

    @property
    def points_at_a_time(self) -> int:
        return self._points_at_a_time or super().points_at_a_time

    def rows(self, start: int, stop: int) -> Float[Tensor, "n K C"]:
        size = self.points_at_a_time
        return _concatenated([self._read(at, min(at + size, stop)) for at in range(start, stop, size)], self)

    def at(self, indices: Int[Tensor, " n"]) -> Float[Tensor, "n K C"]:
        if not len(indices):
            return _concatenated([], self)
        wanted, places = indices.cpu().unique(return_inverse=True)
        last = (wanted.diff() > self._GAP).nonzero()[:, 0].tolist()
        parts = []
        for begin, end in pairwise([0, *(i + 1 for i in last), len(wanted)]):
            run = wanted[begin:end]
            for part in run.split(self.points_at_a_time):
                start = int(part[0])
                parts.append(self._read(start, int(part[-1]) + 1)[(part - start).to(self.device)])
        return _concatenated(parts, self)[places.to(self.device)]

    def _read(self, start: int, stop: int) -> Tensor:
        part = as_predictions(self._read_points(start, stop))
        if part.shape != (stop - start, *self.shape[1:]) or part.dtype != self.dtype:
            raise ValueError(
                f"read({start}, {stop}) must give {self.dtype} of shape {[stop - start, *self.shape[1:]]}, "
                f"got {part.dtype} of shape {list(part.shape)}"
            )
        return part.rows(0, len(part))


class _Shards(Predictions):
    """Parts of a pool, one after the other."""

    def __init__(self, shards: list[Predictions]):
        if not shards:
            raise ValueError("log_probs must be at least one shard, got an empty list")
        first = shards[0]
        for number, shard in enumerate(shards):
            if shard.shape[1:] != first.shape[1:] or (shard.dtype, shard.device) != (first.dtype, first.device):
                raise ValueError(
                    f"shards must be alike: number {number} has K, C = {list(shard.shape[1:])}, {shard.dtype} on "
                    f"{shard.device}; number 0 has {list(first.shape[1:])}, {first.dtype} on {first.device}"
                )
        self._shards = shards
        self._starts = [0, *accumulate(len(shard) for shard in shards)]
        self.shape, self.dtype, self.device = (self._starts[-1], *first.shape[1:]), first.dtype, first.device

    @property
    def points_at_a_time(self) -> int:
        return min(shard.points_at_a_time for shard in self._shards)

    def rows(self, start: int, stop: int) -> Float[Tensor, "n K C"]:
        parts = []
        shard = bisect_right(self._starts, start) - 1
        while start < stop:
            begin, end = self._starts[shard], min(stop, self._starts[shard + 1])
            if start < end:
                parts.append(self._shards[shard].rows(start - begin, end - begin))
            start, shard = max(start, end), shard + 1
        return _concatenated(parts, self)

    def at(self, indices: Int[Tensor, " n"]) -> Float[Tensor, "n K C"]:
        indices = indices.cpu()
        read = torch.empty(len(indices), *self.shape[1:], dtype=self.dtype, device=self.device)
        starts = torch.tensor(self._starts)
        of_shard = torch.bucketize(indices, starts, right=True) - 1
        for shard in of_shard.unique().tolist():
            places = (of_shard == shard).nonzero()[:, 0]
            read[places.to(self.device)] = self._shards[shard].at(indices[places] - self._starts[shard])
        return read


def _concatenated(parts: list[Tensor], like: Predictions) -> Float[Tensor, "n K C"]:
    if not parts:
        return torch.empty(0, *like.shape[1:], dtype=like.dtype, device=like.device)
    return parts[0] if len(parts) == 1 else torch.cat(parts)
