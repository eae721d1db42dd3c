"""A pool's predictions as greedy selection wants them: sorted by BALD score, samples first, made when they are needed.

Axes: N pool points, K MC samples, C classes. A *rank* is a point's place in descending order of BALD score.

BALD bounds every gain that a point can have in exact BatchBALD, so greedy selection reads a prefix of the ranks and
mostly never comes to the rest.
"""

import os
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.duplicates import Duplicates
from alkbald.devices import float32_products, retry_smaller
from alkbald.information.probabilities import TINY, check_shape, checked_sums, entropy

#: Elements of log_probs that a pass reads at a time: what stays in a core's cache between the operations of the pass.
_CHUNK = 2**19


class Pool:
    """Checked predictions, and what of them every method needs.

    Attributes:
        bald: I[Y_n; Omega] by rank, descending; equal scores in order of their pool index. In float64, as sums over
            many terms are.
        index: pool index by rank.
        sample_entropy: [N, K], H[Y_n | omega_k] by rank.
        marginal_entropy: [N], H[Y_n] by rank, in float64.
        shape: N, K, C.
        dtype: what probabilities and products are in (see `compute_dtype`).
    """

    def __init__(
        self,
        log_probs: Float[Tensor, "N K C"],
        *,
        memory_budget: int | None = None,
        num_outcomes: int = 0,
        device: torch.device | None = None,
    ):
        """One pass over the pool.

        Args:
            log_probs: natural log-probabilities, on any device.
            memory_budget: bytes for the method's outcomes and for cached probabilities, together (see
                `checked_budget`). Probabilities that do not fit are computed again each time they are asked for.
            num_outcomes: how many outcomes the method will hold (`particles.OutcomeParticles`). They come first;
                probabilities get what is left.
            device: where to compute; None: where log_probs are.

        Raises:
            TypeError, ValueError: log_probs that are none (see `probabilities.check_probabilities`).
            ValueError: memory_budget is no integer of at least 0.
        """
        self._log_probs = log_probs.detach()
        self._device = device or log_probs.device
        self.dtype = compute_dtype(log_probs.dtype)
        budget = checked_budget(memory_budget, self._device)
        check_shape(log_probs)
        n, num_samples, num_classes = self.shape = log_probs.shape
        sample_entropy = torch.empty(n, num_samples, dtype=self.dtype, device=self._device)
        marginal_entropy = torch.empty(n, dtype=torch.float64, device=self._device)
        points = max(1, _CHUNK // (num_samples * num_classes))
        for start in range(0, n, points):
            chunk = self._read(slice(start, start + points))
            probs = chunk.exp()
            sums = checked_sums(chunk, probs, start)
            with float32_products():
                mean = torch.bmm(1 / sums[:, None], probs)[:, 0] / num_samples
            marginal_entropy[start : start + points] = entropy(mean.double())
            # 0 * log 0 is 0: the logarithm is bounded before the product. Dividing p by its sum z: H = log z - ... / z.
            plogp = chunk.clamp_min_(-100).mul_(probs)
            sample_entropy[start : start + points] = sums.log() - plogp.sum(-1) / sums
        bald = marginal_entropy - sample_entropy.mean(1, dtype=torch.float64)
        self.bald, self.index = bald.sort(descending=True, stable=True)
        self.sample_entropy = sample_entropy[self.index]
        self.marginal_entropy = marginal_entropy[self.index]

        # Memory that is not written to is not there: only the ranks that are asked for cost anything on a CPU.
        bytes_a_point = num_samples * num_classes * sample_entropy.element_size()
        self._probs, self._num_cached = retry_smaller(
            lambda points: sample_entropy.new_empty(num_samples, points, num_classes),
            min(n, max(0, budget - outcome_bytes(num_outcomes, num_samples, self.dtype)) // bytes_a_point),
            "points kept",
            least=0,
        )
        self._num_computed = 0

    def __len__(self) -> int:
        return len(self.bald)

    def batch(self, ranks: list[int], scores: list[float], decision: str = "") -> Batch:
        """The batch of some ranks, with a method's scores."""
        indices = self.index[ranks].tolist()
        return Batch(indices, scores, self._log_probs[indices], decision)

    def top_k(self, values: Float[Tensor, " N"], batch_size: int) -> Batch:
        """The points of highest value, scored by the sum of their values. Of equal values, the higher BALD comes first.

        Args:
            values: by rank.
            batch_size: B.
        """
        values, ranks = values.sort(descending=True, stable=True)
        return self.batch(ranks[:batch_size].tolist(), values[:batch_size].cumsum(0).tolist())

    def probs_of(self, rank: int) -> Float[Tensor, "K C"]:
        """p(y | x, omega_k) of one rank."""
        return self.probs(torch.tensor([rank], device=self._device))[:, 0]

    def _read(self, rows: slice | Tensor) -> Float[Tensor, "n K C"]:
        """A copy of log_probs, on the device and in the precision that is computed in."""
        chunk = self._log_probs[rows if isinstance(rows, slice) else rows.to(self._log_probs.device)]
        return chunk.to(self._device, self.dtype, copy=isinstance(rows, slice))

    def probs(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, "K n C"]:
        """p(y | x_n, omega_k) of some ranks, samples first; at least TINY, so that logarithms are finite."""
        if not len(ranks):
            return self._probs[:, :0]
        low, high = int(ranks.min()), int(ranks.max()) + 1
        if high > self._num_cached:
            return self._compute(ranks)
        while self._num_computed < high:
            stop = min(self._num_cached, self._num_computed + max(1, _CHUNK // self._probs[:, 0].numel()))
            ranks_computed = torch.arange(self._num_computed, stop, device=self._device)
            self._probs[:, self._num_computed : stop] = self._compute(ranks_computed)
            self._num_computed = stop
        if high - low == len(ranks) and bool((ranks.diff() == 1).all()):
            return self._probs[:, low:high]
        return self._probs.index_select(1, ranks)

    def _compute(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, "K n C"]:
        """As `probs`, from log_probs."""
        probs = self._read(self.index[ranks]).exp_()
        return probs.div_(probs.sum(-1, keepdim=True)).clamp_min_(TINY).transpose(0, 1)

    @cached_property
    def _duplicates(self) -> Duplicates:
        return Duplicates(self._log_probs, self.index)

    def best_rank(self, gains: Float[Tensor, " N"], picks: list[int]) -> int:
        """Rank of the greatest gain.

        Gains that differ by rounding alone are a tie. It goes to the lowest pool index whose predictions differ from
        those of every pick, or to the lowest pool index if there is none.

        Args:
            gains: by rank; -inf is out of the question.
            picks: ranks that are in the batch, in the order of acquisition.
        """
        tied = (gains >= gains.max() - tie_margin(self.dtype)).nonzero()[:, 0]
        tied = tied[self.index[tied].argsort()]
        distinct = self._duplicates.first_distinct(tied, picks) if len(tied) > 1 and picks else None
        return int(tied[0]) if distinct is None else distinct


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which predictions of type `dtype` are computed with: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def outcome_bytes(num_outcomes: int, num_samples: int, dtype: torch.dtype) -> int:
    """Bytes of so many outcomes, each a weight and a posterior over the samples, for predictions of type `dtype`."""
    return num_outcomes * (num_samples + 1) * compute_dtype(dtype).itemsize


def checked_budget(memory_budget: int | None, device: torch.device, *, reserved: int = 0) -> int:
    """Bytes that a method may hold on a device: its outcomes and the pool's probabilities, together.

    Args:
        memory_budget: bytes; None: a quarter of what is free but at most 512 MiB on a CPU, half of what is free on a
            GPU.
        device: where the method computes.
        reserved: bytes that are free now and will be taken by something else before the method runs.

    Raises:
        ValueError: memory_budget is no integer of at least 0.
    """
    if memory_budget is None:
        free = max(0, free_memory(device) - reserved)
        return free // 2 if device.type == "cuda" else min(2**29, free // 4)
    if type(memory_budget) is not int or memory_budget < 0:
        raise ValueError(f"memory_budget must be an integer of at least 0, got {memory_budget!r}")
    return memory_budget


def free_memory(device: torch.device) -> int:
    """Bytes that are free; where the system does not tell, 2 GiB."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:  # what Linux says can be had: the page cache, which SC_AVPHYS_PAGES counts as taken, makes room
        with open("/proc/meminfo") as file:
            available = next(line for line in file if line.startswith("MemAvailable:"))
        return 1024 * int(available.split()[1])
    except (OSError, StopIteration):  # another system, or a sandbox
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 2**31
