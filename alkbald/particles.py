"""Outcome particles: what a half-built batch's labels may turn out to be, and what each outcome would leave unknown.

Axes: N pool points, K MC samples omega_1..omega_K (equally likely: the empirical posterior), C classes, M particles.

References:
    [FearnheadClifford2003] Fearnhead and Clifford. On-line inference for hidden Markov models via particle filters.
"""

import math
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from alkbald.devices import float32_products, retry_smaller
from alkbald.probabilities import TINY, entropy

#: Elements of a matrix product that a CPU handles at a time, so that they stay in cache.
TILE = 2**18
#: The same by device: what has fitted.
_tiles: dict[torch.device, int] = {}


@dataclass(frozen=True)
class OutcomeParticles:
    """Weighted outcomes of a batch Y_S: the state of a half-built batch.

    Particle m stands for an outcome y of the batch, with its probability and with the posterior over the K samples once
    y has been seen: posterior[m, k] = P(omega_k | Y_S = y), proportional to prod_{i in S} p(y_i | x_i, omega_k).

    What matters of a particle is how much it leaves unknown: no gain that a further point can have exceeds
    `unknown` = sum_m weights_m H[posterior_m]. Particles that leave nothing unknown are dropped; the weights of what is
    left need not sum to one, and sums over particles are sums over the outcomes that still matter.

    Attributes:
        weights: [M], probabilities of the outcomes, positive.
        posterior: [M, K], rows sum to one.
        is_resampled: whether these are a sample of the outcomes and not all that matter.
    """

    weights: Float[Tensor, " M"]
    posterior: Float[Tensor, "M K"]
    is_resampled: bool = False

    @classmethod
    def prior(cls, num_samples: int, like: Tensor) -> "OutcomeParticles":
        """The empty batch: one outcome, under which every sample is equally likely; dtype and device as of `like`."""
        return cls(like.new_ones(1), like.new_full((1, num_samples), 1 / num_samples))

    def __len__(self) -> int:
        return len(self.weights)

    def extended(self, probs: Float[Tensor, "K C"]) -> "OutcomeParticles":
        """The batch with one more point: every particle has a child for each class that is possible.

        Args:
            probs: p(y | x, omega_k) of the point.
        """
        joint = self.posterior[:, None, :] * probs.T[None]  # [M, C, K], p(y, omega_k | particle)
        joint = joint.flatten(0, 1)
        likelihood = joint.sum(-1)
        weights = self.weights.repeat_interleave(probs.shape[1]) * likelihood
        possible = weights > 10 * TINY  # what is at most TINY may stand for 0
        if not possible.all():
            joint, likelihood, weights = joint[possible], likelihood[possible], weights[possible]
        return OutcomeParticles(weights, joint / likelihood[:, None], self.is_resampled)

    @cached_property
    def unknowns(self) -> Float[Tensor, " M"]:
        """weights_m H[posterior_m], in float64: what each particle leaves unknown of Omega, in nats."""
        return self.weights.double() * entropy(self.posterior).double()

    def information(self) -> float:
        """I[Y_S; Omega] = log K - sum_m weights_m H[posterior_m]: what the batch's labels would tell about the samples.

        At most log K, whatever the particles; exact if they were never resampled. Otherwise without bias for points
        that were chosen apart from the particles; greedy picks are those that the particles flatter, so the score of
        their own batch is a little high (`joint_mutual_information` judges it).
        """
        return math.log(self.posterior.shape[1]) - self.unknowns.sum().item()

    def reduced(
        self, max_particles: int, generator: Generator, *, unless: int = 0, negligible: float = 0.0
    ) -> "OutcomeParticles":
        """At most `max_particles` particles (or `unless`), with the same expectations on average and the same unknown.

        See `_survivors`.
        """
        strata = _wavering(self.posterior)
        chosen, weights, is_resampled = _survivors(
            self.weights, self.unknowns, strata, max_particles, generator, unless, negligible
        )
        return OutcomeParticles(weights, self.posterior.index_select(0, chosen), self.is_resampled or is_resampled)

    def merged(self, num_kept: int) -> "OutcomeParticles":
        """A coarser state of at most num_kept + K particles whose gains bound this one's from above.

        The particles that leave most unknown are kept; the others are merged by the sample that their posterior
        favours: weights added, posteriors averaged. Not knowing which of several outcomes happened, H[Y_n | outcome]
        can only be larger (entropy is concave), while sum_m weights_m posterior_m stays as it is.
        """
        order = self.unknowns.argsort(descending=True)
        kept, others = order[:num_kept], order[num_kept:]
        favourite = self.posterior[others].argmax(-1)
        num_samples = self.posterior.shape[1]
        mass = self.posterior.new_zeros(num_samples, num_samples)
        mass.index_add_(0, favourite, self.posterior[others] * self.weights[others, None])
        weights = mass.sum(-1)
        mass, weights = mass[weights > 0], weights[weights > 0]
        return OutcomeParticles(
            torch.cat([self.weights[kept], weights]), torch.cat([self.posterior[kept], mass / weights[:, None]])
        )

    def predictive_entropy(self, probs: Float[Tensor, "K N C"]) -> Float[Tensor, " N"]:
        """sum_m weights_m H[sum_k posterior_mk p(. | x_n, omega_k)] for every point n: H[Y_n | Y_S] of what matters.

        Args:
            probs: p(y | x_n, omega_k), samples first: the product with the particles is one matrix product. At least
                TINY.
        """
        # The product goes through cache tile by tile: on a CPU, whole products in fresh memory take five times as long.
        tile = _tiles.setdefault(probs.device, TILE if probs.device.type == "cpu" else 2**27)
        work = partial(self._predictive_entropy, probs)
        with float32_products():
            result, _tiles[probs.device] = retry_smaller(work, tile, "matrix elements at a time", least=2**16)
        return result

    def _predictive_entropy(self, probs: Float[Tensor, "K N C"], tile: int) -> Float[Tensor, " N"]:
        num_samples, n, c = probs.shape
        result = probs.new_zeros(n, dtype=torch.float64)
        rows = max(1, min(len(self), max(256, tile // (n * c) if n else 1)))
        points = max(1, min(n, tile // (rows * c)))
        product, logarithm = probs.new_empty(2, rows * points * c)  # used again for every tile
        for start in range(0, n, points):
            block = probs[:, start : start + points].reshape(num_samples, -1)
            for m in range(0, len(self), rows):
                posterior = self.posterior[m : m + rows]
                shape = len(posterior), block.shape[1]
                p, log_p = (buffer[: shape[0] * shape[1]].view(shape) for buffer in (product, logarithm))
                torch.mm(posterior, block, out=p)
                torch.log(p, out=log_p).mul_(p)
                result[start : start + points] -= (
                    (self.weights[m : m + rows] @ log_p).view(-1, c).sum(-1, dtype=torch.float64)
                )
        return result


class Children:
    """The children of particles, one for each particle and class of a further point, of which only numbers are kept.

    Posteriors [M C, K] would be the largest thing that BatchBALD makes (4 GB for M = 10,000, K = 100 and C = 1,000);
    most children do not survive `reduced`, and those that do get theirs then.

    Attributes:
        weights: [M C], probabilities of the outcomes.
        unknowns: [M C], weights_m H[posterior_m], in float64.
    """

    def __init__(self, parents: OutcomeParticles, probs: Float[Tensor, "K C"]):
        self._parents, self._probs = parents, probs
        weights, unknowns, strata = [], [], []
        rows = max(1, 2**19 // probs.numel())  # what stays in cache: half the time of all at once
        for weight, posterior in zip(parents.weights.split(rows), parents.posterior.split(rows), strict=True):
            joint = (posterior[:, None] * probs.T).flatten(0, 1)  # p(y, omega_k | particle)
            likelihood = joint.sum(-1)
            strata.append(_wavering(joint))
            joint.div_(likelihood.clamp_min(TINY)[:, None])
            weights.append((weight[:, None] * likelihood.view(len(weight), probs.shape[1])).flatten())
            unknowns.append(weights[-1].double() * entropy(joint).double())
        self.weights, self.unknowns, self._strata = torch.cat(weights), torch.cat(unknowns), torch.cat(strata)

    def information(self) -> float:
        """As `OutcomeParticles.information`."""
        return math.log(len(self._probs)) - self.unknowns.sum().item()

    def reduced(
        self, max_particles: int, generator: Generator, *, unless: int = 0, negligible: float = 0.0
    ) -> OutcomeParticles:
        """As `OutcomeParticles.reduced` of all children at once."""
        chosen, weights, is_resampled = _survivors(
            self.weights, self.unknowns, self._strata, max_particles, generator, unless, negligible
        )
        classes = self._probs.shape[1]
        joint = self._parents.posterior.index_select(0, chosen // classes)
        joint.mul_(self._probs.T.index_select(0, chosen % classes))
        likelihood = joint.sum(-1)
        possible = likelihood > 10 * TINY  # what is at most TINY may stand for 0
        if not possible.all():
            joint, likelihood, weights = joint[possible], likelihood[possible], weights[possible]
        posterior = joint.div_(likelihood[:, None])
        return OutcomeParticles(weights, posterior, self._parents.is_resampled or is_resampled)


def _wavering(posterior: Float[Tensor, "M K"]) -> Int[Tensor, " M"]:
    """A number for the two samples that each posterior favours, in their order."""
    first, *second = posterior.topk(min(2, posterior.shape[1])).indices.unbind(1)
    return first * posterior.shape[1] + (second[0] if second else 0)


def _survivors(
    weights: Float[Tensor, " M"],
    unknowns: Float[Tensor, " M"],
    strata: Int[Tensor, " M"],
    max_particles: int,
    generator: Generator,
    unless: int,
    negligible: float,
) -> tuple[Int[Tensor, " S"], Float[Tensor, " S"], bool]:
    """Which particles survive a reduction, with what weights, and whether they are a sample of them.

    Optimal stratified resampling [FearnheadClifford2003, section 3], by what the particles leave unknown instead of by
    their weights: a_m = weights_m H[posterior_m] bounds a particle's share of any further gain. Particles with a_m
    above c stay as they are; of the others a stratified sample, with probabilities a_m / c, has its weights raised by
    c / a_m. c solves sum_m min(a_m / c, 1) = max_particles. Expectations over particles are kept on average, and
    sum_m a_m exactly: so a score that is log K less what is unknown neither falls nor passes log K. The strata hold
    particles between whose same two samples the posterior mostly wavers: they gain alike, which halves the error of a
    gain (as four times the particles would).

    Args:
        weights, unknowns: of the particles; a_m is their unknown.
        strata: `_wavering`.
        max_particles: at least 1.
        generator: a CPU generator; one number is drawn, and only if there is something to resample.
        unless: so many particles are not resampled, if that is more than `max_particles`.
        negligible: particles that together leave at most so many nats unknown are dropped first.
    """
    unknowns, order = unknowns.sort(descending=True)
    rest = unknowns.flip(0).cumsum(0).flip(0)  # unknown of the particles from position j on
    matter = max(1, int((rest > negligible).sum()))
    if matter <= max(max_particles, unless):
        return order[:matter], weights[order[:matter]], False
    unknowns, order, rest = unknowns[:matter], order[:matter], rest[:matter]
    # With the j greatest kept, the others share max_particles - j places: c_j = (their unknown) / (their places).
    # The right j is the first whose next particle is no greater than c_j.
    threshold = rest[:max_particles] / torch.arange(max_particles, 0, -1, device=rest.device)
    num_kept = int((unknowns[:max_particles] <= threshold).int().argmax())
    c = threshold[num_kept]
    kept, others, unknowns = order[:num_kept], order[num_kept:], unknowns[num_kept:]
    by_stratum = strata[others].argsort(stable=True)
    others, unknowns = others[by_stratum], unknowns[by_stratum]
    offset = torch.rand((), generator=generator, dtype=torch.float64).item()
    positions = (unknowns.cumsum(0) / c - offset).ceil()  # one survivor for each integer passed
    positions = positions.clamp(0, max_particles - num_kept)
    survives = positions.diff(prepend=positions.new_zeros(1)) > 0
    survivors = others[survives]
    raised = weights[survivors] * (c / unknowns[survives]).to(weights)
    return torch.cat([kept, survivors]), torch.cat([weights[kept], raised]), True
