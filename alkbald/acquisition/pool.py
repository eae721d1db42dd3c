"""A pool's predictions as greedy selection wants them: sorted by BALD score, samples first, made when they are needed.

Axes: N pool points, K MC samples, C classes. A *rank* is a point's place in descending order of BALD score.

BALD bounds every gain that a point can have in exact BatchBALD, so greedy selection reads a prefix of the ranks and
mostly never comes to the rest.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.duplicates import Duplicates
from alkbald.acquisition.predictions import Predictions
from alkbald.devices import free_memory, retry_smaller
from alkbald.information.probabilities import TINY, checked_sums, entropy

#: Elements of log_probs that a pass reads at a time: what stays in a core's cache between the operations of the pass.
_CHUNK = 2**19
#: Logarithms are raised to this: a product with the probability, which is then below any that is normal, is 0.
LEAST_LOG = -100.0

#: Of the pass over a pool, the index of the first point, and of it and those behind it log p (at least LEAST_LOG), p,
#: and the sums of p over the classes (not quite one): what it gives to look at, and not to change.
Visit = Callable[[int, Float[Tensor, "n K C"], Float[Tensor, "n K C"], Float[Tensor, "n K"]], None]


class Pool:
    """Checked predictions, and what of them every method needs.

    Attributes:
        bald: I[Y_n; Omega] by rank, descending; equal scores in order of their pool index. In float64, as sums over
            many terms are.
        index: pool index by rank.
        marginal_entropy: [N], H[Y_n] by rank, in float64.
        shape: N, K, C.
        dtype: what probabilities and products are in (see `compute_dtype`).
    """

    def __init__(
        self,
        predictions: Predictions,
        *,
        memory_budget: int | None = None,
        num_outcomes: int = 0,
        device: torch.device | None = None,
        visit: Visit | None = None,
    ):
        """One pass over the pool.

        Args:
            predictions: natural log-probabilities, wherever they are.
            memory_budget: bytes for the method's outcomes and for cached probabilities, together (see
                `checked_budget`). Probabilities that do not fit are read again each time they are asked for.
            num_outcomes: how many outcomes the method will hold (`particles.OutcomeParticles`). They come first;
                probabilities get what is left.
            device: where to compute; None: where the predictions are.
            visit: is called during the pass, for each part of the pool.

        Raises:
            TypeError, ValueError: log_probs that are none (see `probabilities.check_probabilities`).
            ValueError: memory_budget is no integer of at least 0.
        """
        self._predictions = predictions
        self._device = device or predictions.device
        self.dtype = compute_dtype(predictions.dtype)
        budget = checked_budget(memory_budget, self._device)
        n, num_samples, num_classes = self.shape = predictions.shape
        bald = torch.empty(n, dtype=torch.float64, device=self._device)
        marginal_entropy = torch.empty_like(bald)
        points = min(max(1, n), max(1, _CHUNK // (num_samples * num_classes)))
        # Used again for every part: fresh memory would cost as much as the arithmetic.
        buffers = torch.empty(2, points, num_samples, num_classes, dtype=self.dtype, device=self._device)
        for first in range(0, n, predictions.points_at_a_time):
            read = predictions.rows(first, min(n, first + predictions.points_at_a_time))
            for start, part in zip(range(first, n, points), read.split(points), strict=False):
                rows = slice(start, start + len(part))
                chunk, probs = buffers[:, : len(part)]
                bald[rows], marginal_entropy[rows] = self._scores(part, start, chunk, probs, visit)
        self.bald, self.index = bald.sort(descending=True, stable=True)
        self.marginal_entropy = marginal_entropy[self.index]

        # Memory that is not written to is not there: only the ranks that are asked for cost anything on a CPU.
        bytes_a_point = num_samples * (num_classes + 1) * self.dtype.itemsize
        (self._probs, self._sample_entropy), self._num_cached = retry_smaller(
            lambda points: (
                torch.empty(num_samples, points, num_classes, dtype=self.dtype, device=self._device),
                torch.empty(points, num_samples, dtype=self.dtype, device=self._device),
            ),
            min(n, max(0, budget - outcome_bytes(num_outcomes, num_samples, self.dtype)) // bytes_a_point),
            "points kept",
            least=0,
        )
        self._num_probs = self._num_entropies = 0  # ranks whose values have been written

    def _scores(
        self,
        log_probs: Float[Tensor, "n K C"],
        first_index: int,
        chunk: Float[Tensor, "n K C"],
        probs: Float[Tensor, "n K C"],
        visit: Visit | None,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """I[Y_n; Omega] and H[Y_n] of some points, in float64, of checked predictions.

        Args:
            log_probs: as they are read.
            first_index: pool index of the first point, for messages.
            chunk, probs: are written to.
            visit: as of the class.
        """
        torch.exp(chunk.copy_(log_probs), out=probs)
        sums = checked_sums(log_probs, probs, first_index)
        # 0 * log 0 is 0: the logarithm is bounded before the product. Dividing p by its sum z: H = log z - ... / z.
        chunk.clamp_min_(LEAST_LOG)
        if visit:
            visit(first_index, chunk, probs, sums)
        plogp = chunk.mul_(probs)
        conditional_entropy = (sums.log() - plogp.sum(-1) / sums).mean(1, dtype=torch.float64)
        # A sum over an axis gives equal points equal results, which a matrix product need not: it looks at where in
        # memory they are, and ties would no longer go to the lowest index.
        mean = probs.mul_((1 / sums)[..., None]).sum(1) / self.shape[1]
        marginal_entropy = entropy(mean.double())
        return marginal_entropy - conditional_entropy, marginal_entropy

    def __len__(self) -> int:
        return len(self.bald)

    def batch(self, ranks: list[int], scores: list[float], decision: str = "") -> Batch:
        """The batch of some ranks, with a method's scores."""
        indices = self.index[ranks].tolist()
        return Batch(indices, scores, self._predictions.at(torch.tensor(indices, dtype=torch.long)), decision)

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

    def probs(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, "K n C"]:
        """p(y | x_n, omega_k) of some ranks, samples first; at least TINY, so that logarithms are finite."""
        if not len(ranks):
            return self._probs[:, :0]
        low, high = int(ranks.min()), int(ranks.max()) + 1
        if high > self._num_cached:
            return self._read(ranks)
        for new in self._parts(self._num_probs, high):
            self._probs[:, new] = self._read(torch.arange(new.start, new.stop, device=self._device))
            self._num_probs = new.stop
        if high - low == len(ranks) and bool((ranks.diff() == 1).all()):
            return self._probs[:, low:high]
        return self._probs.index_select(1, ranks)

    def sample_entropy(self, ranks: Int[Tensor, " n"], probs: Float[Tensor, "K n C"]) -> Float[Tensor, "n K"]:
        """H[Y_n | omega_k] of some ranks.

        Args:
            probs: of these ranks, as `probs` gave them.
        """
        high = int(ranks.max()) + 1 if len(ranks) else 0
        if high > self._num_cached:
            return entropy(probs).T
        for new in self._parts(self._num_entropies, high):
            self._sample_entropy[new] = entropy(self._probs[:, new]).T
            self._num_entropies = new.stop
        return self._sample_entropy[ranks]

    def _parts(self, start: int, stop: int) -> Iterator[slice]:
        """From `start` to beyond `stop`, within what is cached, as much at a time as stays in a core's cache."""
        points = max(1, _CHUNK // (self.shape[1] * self.shape[2]))
        for first in range(start, stop, points):
            yield slice(first, min(self._num_cached, first + points))

    def _read(self, ranks: Int[Tensor, " n"]) -> Float[Tensor, "K n C"]:
        """As `probs`, from the predictions."""
        probs = self._predictions.at(self.index[ranks]).to(self._device, self.dtype).exp_()
        return probs.div_(probs.sum(-1, keepdim=True)).clamp_min_(TINY).transpose(0, 1)

    @cached_property
    def _duplicates(self) -> Duplicates:
        return Duplicates(self._predictions, self.index)

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
