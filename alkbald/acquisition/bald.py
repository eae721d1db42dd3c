"""Top-k BALD, which is 1-BALD: the points of highest individual score.

[Houlsby2011] Houlsby et al. Bayesian active learning for classification and preference learning.
[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

from jaxtyping import Float
from torch import Generator, Tensor

from alkbald.acquisition.batch import Batch, check_batch_size
from alkbald.information import entropy, probabilities


def bald(log_probs: Float[Tensor, "N K C"], batch_size: int, *, generator: Generator | None = None) -> Batch:
    """The B points of highest I[Y_n; Omega] = H[Y_n] - H[Y_n | Omega]. [Kirsch2023, equation 1 and 1-BALD]

    Args:
        log_probs: natural log-probabilities.
        batch_size: B, at most N.
        generator: not used; every method takes one.

    Returns:
        The batch; its score is the sum of its points' mutual informations, which counts twice what they share.

    Raises:
        ValueError: B out of range, or log_probs that are none (see `information.probabilities`).
    """
    check_batch_size(batch_size, len(log_probs))
    probs = probabilities(log_probs)
    scores = entropy(probs.mean(1)) - entropy(probs).mean(1)
    best, indices = scores.sort(descending=True, stable=True)
    return Batch(indices[:batch_size].tolist(), best[:batch_size].double().cumsum(0).tolist())
