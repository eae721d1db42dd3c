"""BatchBALD: greedy maximisation of the joint mutual information, over outcome particles.

[Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD.
[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
[Minoux1978] Minoux. Accelerated greedy algorithms for maximizing submodular set functions (lazy evaluation).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.leading_classes import LeadingClasses
from alkbald.acquisition.pool import Pool, checked_budget, outcome_bytes
from alkbald.acquisition.predictions import AnyPredictions, Predictions, pool_predictions
from alkbald.information.particles import ChildParticles, OutcomeParticles

#: Candidates evaluated at a time: enough for a matrix product, few enough that the bounds can stop early.
_BLOCK = 64
#: Cuts of the merged states that bound gains (see `merged`). The coarsest comes first, for most candidates. On MNIST
#: after 20 labels (N = 60,000, K = 100), of the 58,585 points at the eighth pick 4,511, 1,324, 217 and in the end 93
#: came to the finer states and to the full one of 10,000.
_CUTS = (0, 100, 400, 1600)
#: Nats of remaining entropy below which fewer particles are enough. The error of a gain is proportional to the
#: remaining entropy and to 1 / sqrt(particles): with particles in proportion to the entropy's square it stays as it is.
#: On MNIST after 20 labels (N = 60,000, K = 100) 10 picks take 2.2 s instead of 3.3 s and 50 take 9 s instead of 73 s,
#: for the same batch of 10.
_ALL_PARTICLES_ABOVE = 0.2
#: However little entropy remains, so many particles cost no more than reading the pool.
_MIN_PARTICLES = 100
#: Points whose probabilities are gathered at a time, and most elements of these.
_PART = 2048
_ELEMENTS = 2**22
#: Elements of a product of particles with candidates that is evaluated at a time, where one does not have more: four
#: times as many evaluate more candidates than are needed (15% of the time at C = 1,000, K = 20).
_PRODUCT = 2**21


def batchbald(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    max_particles: int = 10_000,
    generator: Generator | None = None,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""Greedily maximises :math:`I[Y_1, \ldots, Y_B; \Omega]`. [Kirsch2019, algorithm 1; Kirsch2023, equation 2]

    The gain of n given the picks S is the conditional mutual information

    .. math:: I[Y_n; \Omega \mid Y_S] = \sum_y P(Y_S = y) \left( H[Y_n \mid y] - H[Y_n \mid \Omega, y] \right)

    over the outcomes y of the batch (`particles.OutcomeParticles`): exact while the outcomes that matter number at
    most `max_particles` (:math:`C^{B-1}` always suffices), a resampling without bias beyond (to fewer particles once
    the remaining entropy is below 0.2 nats, where that keeps the error of a gain as small). Both entropies are taken
    under the same particles, so a gain is a proper mutual information, at most their remaining entropy; and resampling
    keeps the remaining entropy. So, but for rounding, scores never fall and never pass log K.

    The greedy step is exact with respect to the particles. Gains never grow with S (given :math:`\Omega`, labels are
    independent), so a point's last gain bounds its next [Minoux1978]; and a state of merged particles bounds the gains
    of the full one. Most points are ruled out by a bound, and few need the full state.

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        max_particles: outcomes kept, at least 1.
        generator: a CPU generator for the resampling. None: a fixed seed, so that the same input gives the same batch:
            resampling is part of the approximation, and the batch is not meant to be random.
        memory_budget: bytes of particles and of the pool's probabilities, together. Particles come first; probabilities
            that do not fit beside them are made anew when they are needed. None: see `checked_budget`. Not counted are
            the children of the particles, some 20 bytes for each particle and class while a pick is added.
        device: where to compute; None: where log_probs are. A pool on the CPU is streamed to a GPU.

    Returns:
        The batch; its score is the (estimated) joint mutual information.

    Raises:
        ValueError: B or max_particles out of range, or log_probs that are none (see
            `probabilities.check_probabilities`).
    """
    predictions = pool_predictions(log_probs, batch_size)
    if type(max_particles) is not int or max_particles < 1:
        raise ValueError(f"max_particles must be an integer of at least 1, got {max_particles!r}")
    generator = generator or torch.Generator().manual_seed(0)
    num_outcomes = min(max_particles, predictions.shape[2] ** max(0, batch_size - 1))  # the last pick's are not kept
    pool, leading = _pool_and_leading_classes(predictions, num_outcomes, memory_budget, device)
    particles = OutcomeParticles.prior(predictions.shape[1], torch.empty(0, dtype=pool.dtype, device=pool.index.device))
    # What is dropped counts as known: over all picks, no more than rounding.
    negligible_entropy = tie_margin(pool.dtype) / max(1, batch_size)
    bounds = pool.bald.clone()
    picks: list[int] = []
    scores: list[float] = []
    for s in range(batch_size):
        pick = _lazy_greedy_pick(pool, leading, particles, bounds, picks)
        picks.append(pick)
        children = ChildParticles(particles, pool.probs_of(pick))
        scores.append(children.mutual_information())
        if s == batch_size - 1:
            break
        share = min(1.0, children.remaining_entropy.sum().item() / _ALL_PARTICLES_ABOVE) ** 2
        enough = max(math.ceil(share * max_particles), min(_MIN_PARTICLES, max_particles))
        particles = children.reduced(
            enough,
            generator,
            resample_above=enough if particles.is_resampled else max_particles,
            negligible_entropy=negligible_entropy,
        )
        if particles.is_resampled:  # a sample of the outcomes may value a point more than the outcomes did
            bounds = _mass_ratio(particles) * (pool.bald + tie_margin(pool.dtype))
        bounds[picks] = -math.inf
    return pool.batch(picks, scores)


def _pool_and_leading_classes(
    predictions: Predictions, num_outcomes: int, memory_budget: int | None, device: torch.device | None
) -> tuple[Pool, LeadingClasses | None]:
    """The pool and, if classes are many, their bounds: then these are kept, and few probabilities are ever read."""
    _, num_samples, num_classes = predictions.shape
    if not LeadingClasses.are_worth_it(num_samples, num_classes):
        return Pool(predictions, memory_budget=memory_budget, num_outcomes=num_outcomes, device=device), None
    device = device or predictions.device
    budget = checked_budget(memory_budget, device) - outcome_bytes(num_outcomes, num_samples, predictions.dtype)
    leading = LeadingClasses(predictions, budget, device)
    return Pool(predictions, memory_budget=0, device=device, visit=leading.keep), leading


def _lazy_greedy_pick(
    pool: Pool,
    leading: LeadingClasses | None,
    particles: OutcomeParticles,
    bounds: Float[Tensor, " N"],
    picks: list[int],
) -> int:
    """The rank of greatest gain, found by evaluating only the ranks that no bound rules out.

    Args:
        pool: the candidates.
        leading: their bounds by leading classes, if classes are many.
        particles: the outcomes of the picks.
        bounds: by rank, what its gain cannot exceed; -inf for what was picked. Lowered in place.
        picks: ranks, in the order of acquisition.
    """
    margin = tie_margin(pool.dtype)
    gains = torch.full_like(bounds, -math.inf)  # of the ranks that have been evaluated
    block = min(_BLOCK, max(1, _PRODUCT // max(1, len(particles) * pool.shape[2])))

    def candidates() -> Int[Tensor, " n"]:
        """Ranks that no bound rules out and that have not been evaluated, in descending order of their bounds."""
        ranks = ((bounds > -math.inf) & (bounds >= gains.max() - margin) & (gains == -math.inf)).nonzero()[:, 0]
        return ranks[bounds[ranks].argsort(descending=True, stable=True)]

    def evaluate(ranks: Int[Tensor, " n"]) -> None:
        gains[ranks] = bounds[ranks] = _gains(pool, particles, ranks)

    evaluate(candidates()[:block])
    # A state that is nearly as large costs nearly what the gain does.
    states = [particles.merged(cuts) for cuts in _CUTS if 3 * (cuts + pool.shape[1]) < len(particles)]
    if leading:
        states.append(particles)
    for state in states:
        ranks = candidates().sort().values
        upper_bounds = leading.upper_bounds(pool, state, ranks) if leading else _gains(pool, state, ranks)
        bounds[ranks] = torch.minimum(bounds[ranks], upper_bounds)
        evaluate(candidates()[:block])
    while len(ranks := candidates()):
        evaluate(ranks[:block])
        block += max(1, block // 4)  # where bounds tell points apart badly, evaluate many at a time
    return pool.best_rank(gains, picks)


def _mass_ratio(particles: OutcomeParticles) -> float:
    """The least r such that the particles together have at most r / K at each of the K samples."""
    return particles.posterior.shape[1] * particles.mean_posterior.max().item()


def _gains(pool: Pool, particles: OutcomeParticles, ranks: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """I[Y_n; Omega | Y_S] of some ranks, with the outcomes of the picks S given as particles; nats."""
    # Written in place: small results that outlive their part pin the memory that it has freed behind them (4 GB at
    # N = 1,000,000 from a mapped file).
    gains = torch.empty(len(ranks), dtype=torch.float64, device=ranks.device)
    size = max(1, min(_PART, _ELEMENTS // (pool.shape[1] * pool.shape[2])))
    for start in range(0, len(ranks), size):
        part = ranks[start : start + size]
        probs = pool.probs(part)
        # sum_m weights_m H[Y_n | Omega, m] is linear in the posteriors.
        conditional = pool.sample_entropy(part, probs).double() @ particles.mean_posterior
        gains[start : start + size] = particles.predictive_entropy(probs) - conditional
    return gains
