r"""Entropies and mutual informations of MC predictions: pure tensor mathematics, in nats.

Axes: N pool points, K MC samples :math:`\omega_1, \ldots, \omega_K` (equally likely: the empirical posterior), C
classes, B points of a batch. Input is always ``log_probs[n, k, y]``, which is :math:`\log p(y \mid x_n, \omega_k)`,
natural logarithm.

References:
    [Houlsby2011] Houlsby et al. Bayesian active learning for classification and preference learning (BALD).
    [Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD.
    [Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.information.particles import OutcomeParticles
from alkbald.information.probabilities import TINY, check_axes, check_probabilities, entropy

#: Outcomes times K that a simulation holds at once: 1 MiB, which stays in cache. A million outcomes at once took five
#: times as long.
_SIMULATED_AT_ONCE = 2**17


def mean_log_probs(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, "N C"]:
    r"""Log of the mean predictive, not the mean of logarithms.

    .. math:: \log \frac{1}{K} \sum_k p(y \mid x_n, \omega_k)
    """
    check_axes(log_probs.shape, log_probs.dtype)
    return log_probs.logsumexp(1) - math.log(log_probs.shape[1])


def marginal_entropy(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    """:math:`H[Y_n]`, the entropy of the mean predictive."""
    return entropy(check_probabilities(log_probs).mean(1))


def conditional_entropy(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    r""":math:`H[Y_n \mid \Omega] = \frac{1}{K} \sum_k H[p(\cdot \mid x_n, \omega_k)]`."""
    return entropy(check_probabilities(log_probs)).mean(1)


def mutual_information(log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    r"""The BALD score. [Houlsby2011; Kirsch2023, equation 1]

    .. math:: I[Y_n; \Omega] = H[Y_n] - H[Y_n \mid \Omega]
    """
    return marginal_entropy(log_probs) - conditional_entropy(log_probs)


def joint_mutual_information(
    log_probs: Float[Tensor, "B K C"],
    *,
    max_outcomes: int = 100_000,
    num_outcomes: int = 20_000,
    generator: Generator | None = None,
) -> tuple[float, float]:
    r""":math:`I[Y_1, \ldots, Y_B; \Omega]` of a batch, and the standard error of the estimate. [Kirsch2023, equation 2]

    Exact, by enumeration, while the :math:`C^B` outcomes number at most `max_outcomes`. Beyond, the mean of

    .. math:: \log K - H[P(\omega \mid y)]

    over simulated outcomes y (:math:`\omega_k` at random, then :math:`y_i \sim p(\cdot \mid x_i, \omega_k)`): without
    bias, never above log K.

    Args:
        log_probs: of the batch's points; B = 0 is the empty batch.
        max_outcomes: largest number of outcomes that is enumerated.
        num_outcomes: how many outcomes are simulated otherwise; at least 2.
        generator: a CPU generator for the simulation. None: a fixed seed, so that a batch has one value, and batches
            are compared by the same random numbers. Estimates that are to be independent need a generator.

    Returns:
        Mutual information in [0, log K], and its standard error (0.0 if exact), both in nats.

    Raises:
        ValueError: num_outcomes below 2, or log_probs that are none.
    """
    if not len(log_probs):
        return 0.0, 0.0
    sizes = [len(log_probs)]
    values, errors = _information_of_sizes(log_probs, sizes, max_outcomes, num_outcomes, generator)
    return values.item(), errors.item()


def joint_mutual_information_of_prefixes(
    log_probs: Float[Tensor, "B K C"],
    *,
    max_outcomes: int = 100_000,
    num_outcomes: int = 20_000,
    generator: Generator | None = None,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    r""":math:`I[Y_1, \ldots, Y_b; \Omega]` of the first b points of a batch, for b = 1, .., B, and the standard errors.

    One enumeration and one simulation serve all prefixes, so the cost grows with B and not with its square. Prefixes of
    at most `max_outcomes` outcomes are exact. The others are estimated from the same simulated outcomes of the whole
    batch: each as well as by `joint_mutual_information`, but their errors are not independent.

    Args:
        log_probs: of the batch's points, in their order; B = 0 is the empty batch.
        max_outcomes, num_outcomes, generator: see `joint_mutual_information`.

    Returns:
        Mutual informations in [0, log K], and their standard errors (0 where exact), both in nats and float64. Of the
        whole batch, the values of `joint_mutual_information`.

    Raises:
        ValueError: as of `joint_mutual_information`.
    """
    return _information_of_sizes(log_probs, list(range(1, len(log_probs) + 1)), max_outcomes, num_outcomes, generator)


def _information_of_sizes(
    log_probs: Float[Tensor, "B K C"],
    sizes: list[int],
    max_outcomes: int,
    num_outcomes: int,
    generator: Generator | None,
) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
    """Joint mutual information of the first b points for each b of `sizes` (ascending, from 1), and standard errors."""
    if num_outcomes < 2:  # of one, there is no standard error
        raise ValueError(f"num_outcomes must be at least 2, got {num_outcomes}")
    probs = check_probabilities(log_probs).double()
    _, num_samples, num_classes = probs.shape
    values, errors = probs.new_zeros(2, len(sizes))
    if num_classes == 1:
        return values, errors
    num_exact = sum(num_classes**size <= max_outcomes for size in sizes)
    if exact := sizes[:num_exact]:
        prior = OutcomeParticles.prior(num_samples, probs)
        values[:num_exact] = math.log(num_samples) - _remaining_entropy(prior, probs[: exact[-1]], exact)
    if simulated := sizes[num_exact:]:
        generator = generator or torch.Generator().manual_seed(0)
        rows = max(1, _SIMULATED_AT_ONCE // num_samples)
        parts = [
            _simulated_information(probs, simulated, min(rows, num_outcomes - start), generator)
            for start in range(0, num_outcomes, rows)
        ]
        of_outcomes = torch.cat(parts, dim=1)
        values[num_exact:] = of_outcomes.mean(1)
        errors[num_exact:] = of_outcomes.std(1) / num_outcomes**0.5
    return values.clamp_min_(0), errors


def _remaining_entropy(
    particles: OutcomeParticles, probs: Float[Tensor, "B K C"], sizes: list[int], num_known: int = 0
) -> Float[Tensor, " S"]:
    """H[Omega | Y_1, .., Y_b] for each b of `sizes` (ascending), by enumeration; nats.

    Args:
        particles: the outcomes of the first `num_known` points, or a part of them, whose part of the result it is.
        probs: of all points up to the last size.
        sizes: numbers of points, at least 1.
        num_known: how many points the particles have seen.
    """
    result = probs.new_zeros(len(sizes))
    if num_known in sizes:
        result[sizes.index(num_known)] = particles.remaining_entropy.sum()
    if num_known < len(probs):
        rows = max(1, 2**22 // probs[0].numel())  # particles at a time
        for part in zip(particles.weights.split(rows), particles.posterior.split(rows), strict=True):
            children = OutcomeParticles(*part).extended(probs[num_known])
            result += _remaining_entropy(children, probs, sizes, num_known + 1)
    return result


def _simulated_information(
    probs: Float[Tensor, "B K C"], sizes: list[int], num_outcomes: int, generator: Generator
) -> Float[Tensor, "S M"]:
    """log K - H[Omega | y_1, .., y_b] for each b of `sizes`, of outcomes y drawn from the prior predictive; nats."""
    num_samples = probs.shape[1]
    sample = torch.randint(num_samples, (num_outcomes,), generator=generator).to(probs.device)
    log_likelihood = probs.new_zeros(num_outcomes, num_samples)
    information = []
    for size, point in enumerate(probs, 1):
        # Inverse of the cumulative distribution; uniforms come from the CPU so that every device simulates the same
        # outcomes.
        uniform = torch.rand(num_outcomes, 1, generator=generator, dtype=torch.float64).to(probs.device)
        cumulative = point.cumsum(-1)
        outcome = (cumulative[sample] <= uniform * cumulative[sample, -1:]).sum(-1)
        log_likelihood += point.log().T[outcome]
        if size in sizes:
            information.append(math.log(num_samples) - entropy(log_likelihood.softmax(-1)))
    return torch.stack(information)


def pairwise_mutual_information(point: Float[Tensor, "K C"], log_probs: Float[Tensor, "N K C"]) -> Float[Tensor, " N"]:
    r"""2-BALD's pairwise terms, of one point i with every point n. [Kirsch2023]

    .. math:: I[Y_i; Y_n] = H[Y_n] - H[Y_n \mid Y_i]

    Args:
        point: log_probs of the one point.
        log_probs: of the others, as many as there are.
    """
    probs = check_probabilities(log_probs).clamp_min_(TINY).transpose(0, 1)
    particles = OutcomeParticles.prior(len(point), probs).extended(check_probabilities(point[None])[0].to(probs))
    return entropy(probs.mean(0)) - particles.predictive_entropy(probs)


def interaction_information(log_probs: Float[Tensor, "B K C"]) -> float:
    r"""By enumeration, the sum over the non-empty sets T of the B points. [Kirsch2023, equation 4]

    .. math:: I[Y_1; \ldots; Y_B] = \sum_T (-1)^{|T|+1} H[Y_T]

    One point: its entropy; two: their mutual information; of more, it can be negative.

    Args:
        log_probs: of a few points: the cost grows as :math:`(C + 1)^B`.
    """
    probs = check_probabilities(log_probs).double()
    # The tables of all subsets T, [C^|T|, K], built point by point: each either joins a subset or does not.
    tables = [(-1, probs.new_ones(1, probs.shape[1]))]
    for point in probs:
        tables += [(-sign, (table[:, None] * point.T[None]).flatten(0, 1)) for sign, table in tables]
    return sum(sign * entropy(table.mean(-1)).item() for sign, table in tables)


def total_correlation(log_probs: Float[Tensor, "B K C"], joint_information: float) -> float:
    r"""What 1-BALD counts twice. [Kirsch2023]

    .. math:: TC[Y_1; \ldots; Y_B] = \sum_i I[Y_i; \Omega] - I[Y_1, \ldots, Y_B; \Omega]

    Args:
        log_probs: of the batch's points.
        joint_information: their joint mutual information, in nats.
    """
    return mutual_information(log_probs.double()).sum().item() - joint_information if len(log_probs) else 0.0
