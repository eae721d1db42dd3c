"""Entropies and mutual informations of MC predictions: pure tensor mathematics, in nats.

Axes: N pool points, K MC samples omega_1..omega_K (equally likely: the empirical posterior), C classes, B points of a
batch. Input is always `log_probs[n, k, y] = log p(y | x_n, omega_k)`, natural logarithm.

References:
    [Houlsby2011] Houlsby et al. Bayesian active learning for classification and preference learning (BALD).
    [Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD.
    [Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.particles import OutcomeParticles
from alkbald.probabilities import TINY, check_probabilities, entropy

#: Outcomes times K that a simulation holds at once: 1 MiB, which stays in cache. A million outcomes at once took five
#: times as long.
_SIMULATED_AT_ONCE = 2**17


def mean_log_probs(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, "N C"]:
    """Log of the mean predictive, log 1/K sum_k p(y | x_n, omega_k) (not the mean of logarithms)."""
    return log_probs.logsumexp(1) - math.log(log_probs.shape[1])


def marginal_entropy(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """H[Y_n], the entropy of the mean predictive."""
    return entropy(check_probabilities(log_probs).mean(1))


def conditional_entropy(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """H[Y_n | Omega] = 1/K sum_k H[p(. | x_n, omega_k)]."""
    return entropy(check_probabilities(log_probs)).mean(1)


def mutual_information(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """I[Y_n; Omega] = H[Y_n] - H[Y_n | Omega], the BALD score. [Houlsby2011; Kirsch2023, equation 1]"""
    return marginal_entropy(log_probs) - conditional_entropy(log_probs)


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
    probs = check_probabilities(log_probs).double()
    size, num_samples, num_classes = probs.shape
    if num_classes == 1:
        return 0.0, 0.0
    if num_classes**size <= max_outcomes:
        unknown = _unknown(OutcomeParticles.prior(num_samples, probs), probs)
        return max(0.0, math.log(num_samples) - unknown), 0.0
    generator = generator or torch.Generator().manual_seed(0)
    rows = max(1, _SIMULATED_AT_ONCE // num_samples)
    values = torch.cat(
        [
            _simulated_information(probs, min(rows, num_outcomes - start), generator)
            for start in range(0, num_outcomes, rows)
        ]
    )
    return values.mean().clamp_min(0).item(), (values.std() / num_outcomes**0.5).item()


def _simulated_information(
    probs: Float[Tensor, "B K C"], num_outcomes: int, generator: Generator
) -> Float[Tensor, " M"]:
    """log K - H[Omega | y] of outcomes y drawn from the prior predictive."""
    num_samples = probs.shape[1]
    sample = torch.randint(num_samples, (num_outcomes,), generator=generator).to(probs.device)
    log_likelihood = probs.new_zeros(num_outcomes, num_samples)
    for point in probs:
        # Inverse of the cumulative distribution; uniforms come from the CPU so that every device simulates the same
        # outcomes.
        uniform = torch.rand(num_outcomes, 1, generator=generator, dtype=torch.float64).to(probs.device)
        cumulative = point.cumsum(-1)
        outcome = (cumulative[sample] <= uniform * cumulative[sample, -1:]).sum(-1)
        log_likelihood += point.log().T[outcome]
    return math.log(num_samples) - entropy(log_likelihood.softmax(-1))


def _unknown(particles: OutcomeParticles, probs: Float[Tensor, "B K C"]) -> float:
    """What particles leave unknown once further points are known too, a part of the particles at a time."""
    if not len(probs):
        return particles.unknowns.sum().item()
    rows = max(1, 2**22 // probs[0].numel())
    parts = zip(particles.weights.split(rows), particles.posterior.split(rows), strict=True)
    return sum(_unknown(OutcomeParticles(*part).extended(probs[0]), probs[1:]) for part in parts)


def pairwise_mutual_information(point: Float[Tensor, "K C"], log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """I[Y_point; Y_n] = H[Y_n] - H[Y_n | Y_point] of one point with every point: 2-BALD's pairwise terms. [Kirsch2023]

    Args:
        point: log_probs of the one point.
        log_probs: of the others, as many as there are.
    """
    probs = check_probabilities(log_probs).clamp_min_(TINY).transpose(0, 1)
    particles = OutcomeParticles.prior(len(point), probs).extended(check_probabilities(point[None])[0].to(probs))
    return entropy(probs.mean(0)) - particles.predictive_entropy(probs)


def interaction_information(log_probs: Float[Tensor, "B K C"]) -> float:
    """I[Y_1; ..; Y_B] = sum over non-empty T of (-1)^(|T|+1) H[Y_T], by enumeration. [Kirsch2023, equation 4]

    One point: its entropy; two: their mutual information; of more, it can be negative.

    Args:
        log_probs: of a few points: the cost grows as (C + 1)^B.
    """
    probs = check_probabilities(log_probs).double()
    # The tables of all subsets T, [C^|T|, K], built point by point: each either joins a subset or does not.
    tables = [(-1, probs.new_ones(1, probs.shape[1]))]
    for point in probs:
        tables += [(-sign, (table[:, None] * point.T[None]).flatten(0, 1)) for sign, table in tables]
    return sum(sign * entropy(table.mean(-1)).item() for sign, table in tables)


def total_correlation(log_probs: Float[Tensor, "B K C"], joint: float) -> float:
    """TC[Y_1; ..; Y_B] = sum_i I[Y_i; Omega] - I[Y_1, .., Y_B; Omega], what 1-BALD counts twice. [Kirsch2023]

    Args:
        log_probs: of the batch's points.
        joint: their joint mutual information.
    """
    return mutual_information(log_probs.double()).sum().item() - joint if len(log_probs) else 0.0
