"""Entropies, mutual informations and outcome particles of MC predictions: pure tensor mathematics, in nats.

Axes: N pool points, K MC samples omega_1..omega_K (equally likely: the empirical posterior), C classes, B points of a
batch, M outcome particles. Input is always `log_probs[n, k, y] = log p(y | x_n, omega_k)`, natural logarithm.

References:
    [Houlsby2011] Houlsby et al. Bayesian active learning for classification and preference learning (BALD).
    [Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD.
    [Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
    [FearnheadClifford2003] Fearnhead and Clifford. On-line inference for hidden Markov models via particle filters.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

# Probabilities are raised to this before a logarithm: 0 log 0 becomes 7e-29 instead of NaN.
_TINY = 1e-30

#: Default for how many bytes of intermediate products a computation holds at once.
MEMORY_BUDGET = 2**27


def probabilities(log_probs: Tensor) -> Float[Tensor, "N K C"]:
    """exp(log_probs), checked to be distributions: finite, at most rounding away from summing to one.

    Args:
        log_probs: [N, K, C]; minus infinity stands for an impossible class. Half precision is raised to float32.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: not three axes, K or C of 0, NaN, plus infinity, or rows that do not sum to one after exp
            (probabilities or logits handed over for log-probabilities); names the first offending pool index.
    """
    if not log_probs.is_floating_point():
        raise TypeError(f"log_probs must be floating point, got {log_probs.dtype}")
    if log_probs.dim() != 3 or 0 in log_probs.shape[1:]:
        raise ValueError(
            f"log_probs must have axes [N, K, C] with K and C at least 1, got shape {list(log_probs.shape)}"
        )
    if log_probs.dtype not in (torch.float32, torch.float64):
        log_probs = log_probs.float()
    probs = log_probs.exp()
    wrong = ~((probs.sum(-1) - 1).abs() < 1e-3).all(-1)  # a NaN or an infinity makes the comparison false
    if wrong.any():
        n = int(wrong.int().argmax())
        if log_probs[n].isnan().any():
            what = "is NaN"
        elif (log_probs[n] == math.inf).any():
            what = "is +inf"
        else:
            sums = probs[n].sum(-1)
            furthest = sums[(sums - 1).abs().argmax()].item()
            what = f"sums to {furthest:.4g} instead of 1 after exp; natural-log probabilities are needed"
        raise ValueError(f"log_probs of pool index {n} {what}")
    return probs


def entropy(probs: Float[Tensor, "... C"]) -> Float[Tensor, "..."]:
    """H[p] = -sum_y p(y) log p(y) over the last axis, with 0 log 0 = 0."""
    return -(probs * probs.clamp_min(_TINY).log()).sum(-1)


def mean_log_probs(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, "N C"]:
    """Log of the mean predictive, log 1/K sum_k p(y | x_n, omega_k) (not the mean of logarithms)."""
    return log_probs.logsumexp(1) - math.log(log_probs.shape[1])


def marginal_entropy(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """H[Y_n], the entropy of the mean predictive."""
    return entropy(probabilities(log_probs).mean(1))


def conditional_entropy(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """H[Y_n | Omega] = 1/K sum_k H[p(. | x_n, omega_k)]."""
    return entropy(probabilities(log_probs)).mean(1)


def mutual_information(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """I[Y_n; Omega] = H[Y_n] - H[Y_n | Omega], the BALD score. [Houlsby2011; Kirsch2023, equation 1]"""
    return marginal_entropy(log_probs) - conditional_entropy(log_probs)


@dataclass(frozen=True)
class OutcomeParticles:
    """Weighted outcomes of a batch Y_S: the state of a half-built batch.

    Particle m stands for an outcome y of the batch, with its probability and with the posterior over the K samples once
    y has been seen: posterior[m, k] = P(omega_k | Y_S = y), proportional to prod_{i in S} p(y_i | x_i, omega_k).

    Attributes:
        weights: [M], probabilities of the outcomes; they sum to one.
        posterior: [M, K], rows sum to one.
    """

    weights: Float[Tensor, " M"]
    posterior: Float[Tensor, "M K"]

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
        possible = weights > 0
        if not possible.all():
            joint, likelihood, weights = joint[possible], likelihood[possible], weights[possible]
        return OutcomeParticles(weights / weights.sum(), joint / likelihood[:, None])

    def reduced(self, max_particles: int, generator: Generator) -> "OutcomeParticles":
        """At most `max_particles` particles with the same expectations, by optimal stratified resampling.

        Particles heavier than c stay as they are; of the others, a stratified sample gets weight c each, where c solves
        sum_m min(weights_m / c, 1) = max_particles. Unbiased, and of least variance among such schemes.
        [FearnheadClifford2003, section 3]

        Args:
            max_particles: at least 1.
            generator: a CPU generator; one number is drawn, and only if there is something to reduce.
        """
        if len(self) <= max_particles:
            return self
        weights, order = self.weights.double().sort(descending=True)
        # With the j heaviest kept, the others share max_particles - j places: c_j = (their weight) / (their places).
        # The right j is the first whose next particle is no heavier than c_j.
        light = weights.flip(0).cumsum(0).flip(0)  # weight of the particles from position j on
        places = torch.arange(max_particles, 0, -1, device=weights.device)
        threshold = light[:max_particles] / places
        num_kept = int((weights[:max_particles] <= threshold).int().argmax())
        c = threshold[num_kept]
        offset = torch.rand((), generator=generator, dtype=torch.float64).item()
        positions = (weights[num_kept:].cumsum(0) / c - offset).ceil()  # one survivor for each integer passed
        positions = positions.clamp(0, max_particles - num_kept)
        survives = positions.diff(prepend=positions.new_zeros(1)) > 0
        chosen = torch.cat([order[:num_kept], order[num_kept:][survives]])
        new_weights = torch.cat([weights[:num_kept], c.expand(int(survives.sum()))])
        return OutcomeParticles((new_weights / new_weights.sum()).to(self.weights), self.posterior[chosen])

    def information(self) -> float:
        """I[Y_S; Omega] = log K - sum_m weights_m H[posterior_m]: what the batch's labels would tell about the samples.

        At most log K, whatever the particles; exact if they were never reduced, without bias otherwise.
        """
        posterior_entropy = entropy(self.posterior.double()) @ self.weights.double()
        return max(0.0, math.log(self.posterior.shape[1]) - posterior_entropy.item())

    def predictive_entropy(
        self, probs: Float[Tensor, "K N C"], *, memory_budget: int = MEMORY_BUDGET
    ) -> Float[Tensor, " N"]:
        """H[Y_n | Y_S] = sum_m weights_m H[sum_k posterior_mk p(. | x_n, omega_k)] for every point n.

        Args:
            probs: p(y | x_n, omega_k), samples first: the product with the particles is one matrix product.
            memory_budget: bytes of that product held at once; the pool and the particles are chunked to it.
        """
        _, n, c = probs.shape
        result = probs.new_zeros(n)
        # Logarithm and product are both held. Chunks of the pool of at least 64 keep the product a matrix product.
        elements = max(1, memory_budget // (2 * probs.element_size()))
        points = max(1, min(n, max(64, elements // (max(1, len(self)) * c))))
        rows = max(1, elements // (points * c))
        for start in range(0, n, points):
            block = probs[:, start : start + points].flatten(1)
            for m in range(0, len(self), rows):
                predictive = self.posterior[m : m + rows] @ block
                # In place where it can be: every pass over the product of this hot loop costs memory bandwidth.
                plogp = predictive.clamp_min(_TINY).log_().mul_(predictive)
                result[start : start + points] -= (self.weights[m : m + rows] @ plogp).view(-1, c).sum(-1)
        return result


def joint_mutual_information(
    log_probs: Float[Tensor, "B K C"],
    *,
    max_outcomes: int = 100_000,
    num_outcomes: int = 20_000,
    generator: Generator | None = None,
) -> tuple[float, float]:
    """I[Y_1, .., Y_B; Omega] of a batch, and the standard error of the estimate. [Kirsch2023, equation 2]

    Exact, by enumeration, while the C^B outcomes number at most `max_outcomes`. Beyond, the mean over simulated
    outcomes y (omega_k at random, then y_i ~ p(. | x_i, omega_k)) of log K - H[P(omega | y)]: without bias, never above
    log K.

    Args:
        log_probs: of the batch's points; B = 0 is the empty batch.
        max_outcomes: largest number of outcomes that is enumerated.
        num_outcomes: how many outcomes are simulated otherwise; at least 2.
        generator: a CPU generator for the simulation; None: one seeded with 0.

    Returns:
        Mutual information in [0, log K], and its standard error (0.0 if exact), both in nats.
    """
    if not len(log_probs):
        return 0.0, 0.0
    probs = probabilities(log_probs).double()
    size, num_samples, num_classes = probs.shape
    if num_classes**size <= max_outcomes:
        particles = OutcomeParticles.prior(num_samples, probs)
        for point in probs:
            particles = particles.extended(point)
        return particles.information(), 0.0
    generator = generator or torch.Generator().manual_seed(0)
    sample = torch.randint(num_samples, (num_outcomes,), generator=generator).to(probs.device)
    log_likelihood = probs.new_zeros(num_outcomes, num_samples)
    for point in probs:
        # Inverse of the cumulative distribution; uniforms come from the CPU so that every device simulates the same
        # outcomes.
        uniform = torch.rand(num_outcomes, 1, generator=generator, dtype=torch.float64).to(probs.device)
        cumulative = point.cumsum(-1)
        outcome = (cumulative[sample] <= uniform * cumulative[sample, -1:]).sum(-1)
        log_likelihood += point.log().T[outcome]
    values = math.log(num_samples) - entropy(log_likelihood.softmax(-1))
    return values.mean().clamp_min(0).item(), (values.std() / num_outcomes**0.5).item()


def total_correlation(log_probs: Float[Tensor, "B K C"], joint: float) -> float:
    """TC[Y_1; ..; Y_B] = sum_i I[Y_i; Omega] - I[Y_1, .., Y_B; Omega], what 1-BALD counts twice. [Kirsch2023]

    Args:
        log_probs: of the batch's points.
        joint: their joint mutual information.
    """
    return mutual_information(log_probs.double()).sum().item() - joint if len(log_probs) else 0.0
