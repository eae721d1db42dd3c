"""EPIG: what a label would tell about other labels, in place of what it would tell about the network.

[BickfordSmith2023] Bickford Smith, Kirsch, Farquhar, Gal, Foster and Rainforth. Prediction-oriented Bayesian active
learning.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, tie_margin
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import AnyPredictions, as_predictions, pool_predictions
from alkbald.information.particles import OutcomeParticles
from alkbald.information.probabilities import TINY, check_probabilities

#: Points scored at a time, and most elements of their probabilities.
_BLOCK = 1024
_ELEMENTS = 2**22


def epig(
    log_probs: AnyPredictions,
    batch_size: int,
    *,
    num_targets: int = 100,
    target_log_probs: AnyPredictions | None = None,
    generator: Generator,
    memory_budget: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    r"""The B points of highest :math:`E_{x^*} I[Y_n; Y^*]`, expected predictive information gain. [BickfordSmith2023]

    The targets :math:`x^*` are the inputs that will have to be predicted. If none are given, the pool stands for them:
    they are points of it, drawn at random. Of one target,

    .. math::

        I[Y_n; Y^*] = H[Y_n] - H[Y_n \mid Y^*],
        \qquad p(y, y^*) = \frac{1}{K} \sum_k p(y \mid x_n, \omega_k) \, p(y^* \mid x^*, \omega_k)

    Args:
        log_probs: natural log-probabilities [N, K, C], in memory or not (see `predictions`).
        batch_size: B, at most N.
        num_targets: how many are drawn, at least 1; all of the pool if it is smaller.
        target_log_probs: [T, K, C*], predictions of given targets under the same K samples: nothing is drawn then. They
            may have other classes than the pool's points.
        generator: a CPU generator. Every call draws its targets anew from it; not used if targets are given.
        memory_budget, device: see `kbald`; but no targets are refused for their outcomes, only fewer probabilities are
            kept.

    Returns:
        The batch; its score is the sum of its points' gains, which counts twice what they share.

    Raises:
        ValueError: B or num_targets out of range, or log_probs that are none; targets of another K, or no targets.
    """
    predictions = pool_predictions(log_probs, batch_size)
    if type(num_targets) is not int or num_targets < 1:
        raise ValueError(f"num_targets must be an integer of at least 1, got {num_targets!r}")
    given = None if target_log_probs is None else _checked_targets(target_log_probs, predictions.shape[1])
    count, classes = (min(num_targets, len(predictions)), predictions.shape[2]) if given is None else given.shape[1:]
    pool = Pool(predictions, memory_budget=memory_budget, num_outcomes=count * classes, device=device)
    if given is None:
        drawn = torch.randperm(len(pool), generator=generator)[:count].to(pool.index.device)
        probs = pool.probs(pool.index.argsort()[drawn])  # by pool index, so that the order of ranks does not matter
    else:
        probs = given.to(pool.index.device, pool.dtype)
    # E_{x*} H[Y_n | Y*] is a mean over the targets' outcomes, each with its posterior over the samples.
    joint = probs.flatten(1).T  # [T C, K], p(y* | x*, omega_k)
    likelihood = joint.sum(-1)
    weights = likelihood / (predictions.shape[1] * max(1, count))
    outcomes = OutcomeParticles(weights, joint / likelihood[:, None])
    gains = pool.marginal_entropy.clone()
    size = max(1, min(_BLOCK, _ELEMENTS // (pool.shape[1] * pool.shape[2])))
    for part in torch.arange(len(pool), device=pool.bald.device).split(size):
        gains[part] -= outcomes.predictive_entropy(pool.probs(part))
    # Equal points have gains that differ by rounding: it depends on where in a product they stand.
    margin = tie_margin(pool.dtype)
    return pool.top_k((gains / margin).round() * margin, batch_size)


def _checked_targets(target_log_probs: AnyPredictions, num_samples: int) -> Float[Tensor, "K T C"]:
    """Probabilities of given targets, samples first; at least TINY."""
    targets = as_predictions(target_log_probs)
    if not len(targets) or targets.shape[1] != num_samples:
        raise ValueError(
            f"target_log_probs must be [T, K, C] with T at least 1 and the pool's K = {num_samples}, got shape "
            f"{list(targets.shape)}"
        )
    return check_probabilities(targets.rows(0, len(targets))).clamp_min_(TINY).transpose(0, 1)
