"""Outcome particles: the possible labels of a half-built batch, and the posterior over the samples given each of them.

Axes: N pool points, K MC samples omega_1..omega_K (equally likely: the empirical posterior), C classes, M particles.
"""

import math
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.devices import float32_products, retry_smaller
from alkbald.information.probabilities import TINY, entropy
from alkbald.information.resampling import resampled, strata_of_children

#: Elements of a matrix product that a CPU handles at a time, so that they stay in cache.
TILE = 2**18
#: The same by device: what has fitted.
_tiles: dict[torch.device, int] = {}


@dataclass(frozen=True)
class OutcomeParticles:
    """Weighted outcomes of a batch Y_S: the state of a half-built batch.

    Particle m stands for an outcome y of the batch, with its probability and with the posterior over the K samples once
    y has been seen: posterior[m, k] = P(omega_k | Y_S = y), proportional to prod_{i in S} p(y_i | x_i, omega_k).

    What matters of a particle is its remaining entropy, weights_m H[posterior_m]: no further point can gain more than
    the sum of these. Particles without remaining entropy are dropped. So the weights of the others need not sum to one,
    and sums over particles are sums over the outcomes that still matter.

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
    def remaining_entropy(self) -> Float[Tensor, " M"]:
        """weights_m H[posterior_m], the particle's part of H[Omega | Y_S]; nats, in float64."""
        return self.weights.double() * entropy(self.posterior).double()

    @cached_property
    def mean_posterior(self) -> Float[Tensor, " K"]:
        """sum_m weights_m posterior_m, in float64: what the gains of a point and their bounds have in common.

        In float32 it is off by 3e-5 for 10,000 particles: more than by what gains are told apart.
        """
        return self.weights.double() @ self.posterior.double()

    def merged(self, num_cuts: int) -> "OutcomeParticles":
        """A coarser state of at most num_cuts + K particles whose gains bound this one's from above.

        Particles are merged that have the same most probable sample and nearly the same probability of it: sorted by
        these, they are cut after each 1 / (num_cuts + 1) of the remaining entropy. Weights are added, posteriors
        averaged. If it is not known which of several outcomes happened, H[Y_n | outcome] can only be larger (entropy is
        concave), while sum_m weights_m posterior_m stays as it is.
        """
        probability, sample = self.posterior.max(-1)
        order = (sample + probability.double().clamp_max(1 - 1e-9)).argsort()
        entropies = self.remaining_entropy[order]
        middle = (entropies.cumsum(0) - entropies / 2) / entropies.sum().clamp_min(TINY)
        steps = (middle * (num_cuts + 1)).long()
        group = (sample[order] * (num_cuts + 2) + steps).unique_consecutive(return_inverse=True)[1]
        size = int(group[-1]) + 1 if len(group) else 0
        mass = torch.zeros(size, self.posterior.shape[1], dtype=torch.float64, device=self.posterior.device)
        mass.index_add_(0, group, (self.posterior.double() * self.weights.double()[:, None])[order])
        weights = mass.sum(-1)
        return OutcomeParticles(weights.to(self.weights), (mass / weights[:, None]).to(self.posterior))

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
        # So few that a sum over them has no more rounding than tie_margin allows.
        rows = max(1, min(len(self), 1024, max(256, tile // (n * c) if n else 1)))
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


class ChildParticles:
    """The particles of a batch with one more point, before `reduced`: for each particle a child for each class.

    It holds weights and entropies alone. Posteriors [M C, K] would be the largest tensor of BatchBALD (4 GB for
    M = 10,000, K = 100 and C = 1,000). `reduced` drops most children, and makes the posteriors of the others.

    Attributes:
        weights: [M C], probabilities of the outcomes.
        remaining_entropy: [M C], weights_m H[posterior_m], in float64.
    """

    def __init__(self, parents: OutcomeParticles, probs: Float[Tensor, "K C"]):
        self._parents, self._probs = parents, probs
        num_classes = probs.shape[1]
        probs = probs.double()
        plogp_of_point = probs * probs.clamp_min(TINY).log()
        self.weights = parents.weights.new_empty(len(parents), num_classes)
        self.remaining_entropy = probs.new_empty(len(parents), num_classes)
        size = max(1, (2**16 if probs.device.type == "cpu" else 2**24) // num_classes)  # what stays in cache
        for start in range(0, len(parents), size):
            rows = slice(start, start + size)
            weight, posterior = parents.weights[rows, None], parents.posterior[rows].double()
            # With q_k the posterior and l = sum_k q_k p_k the likelihood of a class, the entropy of q_k p_k / l is
            # log l - sum_k q_k p_k (log q_k + log p_k) / l: three matrix products, and no tensor of all three axes.
            likelihood = (posterior @ probs).clamp_min_(TINY)
            plogp = (posterior * posterior.clamp_min(TINY).log()) @ probs
            plogp += posterior @ plogp_of_point
            weights = torch.mul(weight, likelihood.to(weight), out=self.weights[rows])
            remaining = (likelihood.log() - plogp.div_(likelihood)).clamp_min_(0)
            torch.mul(remaining, weights, out=self.remaining_entropy[rows])
        self.weights, self.remaining_entropy = self.weights.flatten(), self.remaining_entropy.flatten()

    def mutual_information(self) -> float:
        """I[Y_S; Omega] = log K - sum_m weights_m H[posterior_m] of the batch S with the new point, in nats.

        At most log K, whatever the particles; exact if they were never resampled. Otherwise without bias for points
        that were chosen apart from the particles; greedy picks are those that the particles flatter, so the score of
        their own batch is a little high (`joint_mutual_information` judges it).
        """
        return math.log(len(self._probs)) - self.remaining_entropy.sum().item()

    def reduced(
        self,
        max_particles: int,
        generator: Generator,
        *,
        resample_above: int = 0,
        negligible_entropy: float = 0.0,
    ) -> OutcomeParticles:
        """Fewer particles, with the same expectations on average and the same total of remaining entropy.

        Args:
            max_particles: number of particles after resampling, at least 1.
            generator: a CPU generator.
            resample_above: up to so many particles are all kept, even if that is more than max_particles.
            negligible_entropy: particles with at most so much remaining entropy together are dropped, if the others are
                so few that all are kept; nats.
        """
        chosen, weights, is_resampled = resampled(
            self.weights,
            self.remaining_entropy,
            partial(strata_of_children, self._parents.posterior, self._probs),
            max_particles,
            generator,
            resample_above,
            negligible_entropy,
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
