"""BatchBALD: greedy maximisation of the joint mutual information, over outcome particles.

[Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD.
[Minoux1978] Minoux. Accelerated greedy algorithms for maximizing submodular set functions (lazy evaluation).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, check_batch_size, first_best, tie_margin
from alkbald.information import MEMORY_BUDGET, OutcomeParticles, entropy, probabilities

#: Candidates evaluated at a time: enough for a matrix product, few enough that the bound can stop early.
_BLOCK = 256


def batchbald(
    log_probs: Float[Tensor, "N K C"],
    batch_size: int,
    *,
    max_particles: int = 10_000,
    generator: Generator | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> Batch:
    """Greedily maximises I[Y_1, .., Y_B; Omega]. [Kirsch2019, algorithm 1; Kirsch2023, equation 2]

    The gain of n given the picks S is the conditional mutual information

        I[Y_n; Omega | Y_S] = sum_y P(Y_S = y) ( H[Y_n | y] - H[Y_n | Omega, y] )

    over the outcomes y of the batch (`information.OutcomeParticles`): exact while the outcomes number at most
    `max_particles` (C^(B-1) always suffices), a resampling without bias beyond. Both entropies are taken under the same
    particles, so a gain is a proper mutual information, at most what the particles leave unknown of Omega. The score
    adds that share of what was left to know: it never falls and never passes log K, and where the particles are exact
    the shares are the gains.

    Gains never grow with S (given Omega, labels are independent), so a point's last gain bounds its next: points are
    evaluated in descending order of that bound until none left can win [Minoux1978]. That is exact while the particles
    are.

    Args:
        log_probs: natural log-probabilities.
        batch_size: B, at most N.
        max_particles: outcomes kept, at least 1.
        generator: a CPU generator for the resampling; None: one seeded with 0.
        memory_budget: bytes of intermediate products held at once.

    Returns:
        The batch; its score is the (estimated) joint mutual information.

    Raises:
        ValueError: B or max_particles out of range, or log_probs that are none (see `information.probabilities`).
    """
    check_batch_size(batch_size, len(log_probs))
    if not isinstance(max_particles, int) or max_particles < 1:
        raise ValueError(f"max_particles must be an integer of at least 1, got {max_particles!r}")
    generator = generator or torch.Generator().manual_seed(0)
    probs = probabilities(log_probs).transpose(0, 1).contiguous()  # [K, N, C]
    sample_entropy = entropy(probs)  # [K, N], H[Y_n | omega_k]
    particles = OutcomeParticles.prior(len(probs), probs)

    def gains_of(points: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        predictive = particles.predictive_entropy(probs[:, points], memory_budget=memory_budget)
        return predictive - particles.weights @ particles.posterior @ sample_entropy[:, points]

    gains = particles.predictive_entropy(probs, memory_budget=memory_budget) - sample_entropy.mean(0)
    log_k = math.log(len(probs))
    indices, scores, score = [], [], 0.0
    for s in range(batch_size):
        pick = first_best(gains) if s == 0 else _lazy_pick(gains, gains_of)
        gain_of_pick, unknown = gains[pick].item(), log_k - particles.information()
        if gain_of_pick > tie_margin(gains.dtype):  # less is rounding, which a share of nearly nothing would blow up
            score += min(1.0, gain_of_pick / unknown) * (log_k - score)
        indices.append(pick)
        scores.append(score)
        gains[pick] = -float("inf")
        if s + 1 < batch_size:
            particles = particles.extended(probs[:, pick]).reduced(max_particles, generator)
    return Batch(indices, scores)


def _lazy_pick(gains: Float[Tensor, " N"], gains_of: Callable[[Int[Tensor, " n"]], Float[Tensor, " n"]]) -> int:
    """The point of greatest gain; `gains` holds upper bounds, and fresh gains afterwards where one was needed."""
    order = gains.sort(descending=True, stable=True).indices
    fresh = torch.full_like(gains, -float("inf"))
    for block in order.split(_BLOCK):
        if gains[block[0]] < fresh.max() - tie_margin(gains.dtype):
            break
        block = block[gains[block] > -float("inf")]  # what was picked is out
        if len(block):
            fresh[block] = gains[block] = gains_of(block)
    return first_best(fresh)
