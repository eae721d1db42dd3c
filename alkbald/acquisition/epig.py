"""EPIG: what a label would tell about other labels, in place of what it would tell about the network.

[BickfordSmith2023] Bickford Smith, Kirsch, Farquhar, Gal, Foster and Rainforth. Prediction-oriented Bayesian active
learning.
"""

import torch
from torch import Generator

from alkbald.acquisition.batch import Batch
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import AnyPredictions, pool_predictions
from alkbald.information.particles import OutcomeParticles

#: Points scored at a time.
_BLOCK = 1024


def epig(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    num_targets: int = 100,
    generator: Generator,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""The B points of highest :math:`E_{x^*} I[Y_n; Y^*]`, expected predictive information gain. [BickfordSmith2023]

    The targets :math:`x^*` are points of the pool, drawn at random: the pool stands for the inputs that will have to be
    predicted. Of one target,

    .. math::

        I[Y_n; Y^*] = H[Y_n] - H[Y_n \mid Y^*],
        \qquad p(y, y^*) = \frac{1}{K} \sum_k p(y \mid x_n, \omega_k) \, p(y^* \mid x^*, \omega_k)

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        num_targets: how many, at least 1; all of the pool if it is smaller.
        generator: a CPU generator. Every call draws its targets anew from it.
        memory_budget, device: see `kbald`; but no targets are refused for their outcomes, only fewer probabilities are
            kept.

    Returns:
        The batch; its score is the sum of its points' gains, which counts twice what they share.

    Raises:
        ValueError: B or num_targets out of range, or log_probs that are none.
    """
    predictions = pool_predictions(log_probs, batch_size)
    if type(num_targets) is not int or num_targets < 1:
        raise ValueError(f"num_targets must be an integer of at least 1, got {num_targets!r}")
    num_outcomes = min(num_targets, len(predictions)) * predictions.shape[2]
    pool = Pool(predictions, memory_budget=memory_budget, num_outcomes=num_outcomes, device=device)
    drawn = torch.randperm(len(pool), generator=generator)[:num_targets].to(pool.index.device)
    targets = pool.index.argsort()[drawn]  # the ranks of pool indices, so that their order does not matter
    # E_{x*} H[Y_n | Y*] is a mean over the targets' outcomes, each with its posterior over the samples.
    joint = pool.probs(targets).flatten(1).T  # [T C, K], p(y* | x*, omega_k)
    likelihood = joint.sum(-1)
    weights = likelihood / (predictions.shape[1] * max(1, len(targets)))
    outcomes = OutcomeParticles(weights, joint / likelihood[:, None])
    parts = torch.arange(len(pool), device=pool.bald.device).split(_BLOCK)
    gains = torch.cat([pool.marginal_entropy[part] - outcomes.predictive_entropy(pool.probs(part)) for part in parts])
    return pool.top_k(gains, batch_size)
