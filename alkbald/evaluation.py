"""How good a posterior's predictions are, and how far their confidence can be trusted.

Axes: N inputs, K MC samples, C classes.

References:
    [Brier1950] Brier. Verification of forecasts expressed in terms of probability.
    [Guo2017] Guo, Pleiss, Sun and Weinberger. On calibration of modern neural networks.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F

from alkbald.information import mean_log_probs
from alkbald.posteriors.base import Posterior

#: Bins of confidence, of equal width, as in [Guo2017].
BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """Predictions beside the labels. Each number is computed when it is asked for: training asks for two of them.

    Attributes:
        log_probs: [N, C], N at least 1, natural log.
        labels: [N], the classes that are right.
    """

    log_probs: Float[Tensor, "N C"] = field(repr=False)
    labels: Int[Tensor, " N"] = field(repr=False)

    @property
    def correct(self) -> Bool[Tensor, " N"]:
        """Whether an input's likeliest class is right."""
        return self.log_probs.argmax(-1) == self.labels

    @property
    def accuracy(self) -> float:
        """Share of inputs whose likeliest class is right."""
        return self.correct.float().mean().item()

    @property
    def nll(self) -> float:
        r"""Mean of :math:`-\log p(y_n \mid x_n)`, of the labels; nats."""
        return F.nll_loss(self.log_probs, self.labels).item()

    @property
    def ece(self) -> float:
        """See `expected_calibration_error`."""
        return expected_calibration_error(self.log_probs, self.labels)

    @property
    def bins(self) -> "CalibrationBins":
        """See `calibration_bins`."""
        return calibration_bins(self.log_probs, self.labels)

    @property
    def brier(self) -> float:
        """See `brier_score`."""
        return brier_score(self.log_probs, self.labels)


@torch.inference_mode()
def evaluate(
    posterior: Posterior,
    inputs: Float[Tensor, "N ..."],
    labels: Int[Tensor, " N"],
    num_samples: int,
    *,
    generator: Generator,
    precision: str = "fp32",
) -> Evaluation:
    r"""The mean predictive beside the labels: its accuracy, likelihood and calibration.

    .. math:: p(y \mid x) = \frac{1}{K} \sum_k p(y \mid x, \omega_k)

    Args:
        posterior: fitted.
        inputs: [N, ...], N at least 1.
        labels: the classes that are right.
        num_samples: K; 0: the network without sampling, in fp32.
        generator: a CPU generator; it alone decides what is drawn.
        precision: one of `posteriors.PRECISIONS`.
    """
    if not num_samples:
        return Evaluation(posterior.network_log_probs(inputs), labels)
    log_probs = posterior.log_probs(inputs, num_samples, generator=generator, precision=precision)
    return Evaluation(mean_log_probs(log_probs), labels)


class CalibrationBins(NamedTuple):
    """What a reliability curve is drawn of: inputs by their confidence, the probability of their likeliest class.

    Bin b, from 1, holds the inputs whose confidence is in ((b - 1) / bins, b / bins]. [Guo2017, figure 1]

    Attributes:
        inputs: [bins], inputs in each bin.
        correct: [bins], those whose likeliest class is right.
        confidence: [bins], sum of the confidences.
    """

    inputs: Int[Tensor, " bins"]
    correct: Int[Tensor, " bins"]
    confidence: Float[Tensor, " bins"]


def calibration_bins(log_probs: Float[Tensor, "N C"], labels: Int[Tensor, " N"], bins: int = BINS) -> CalibrationBins:
    """Inputs, right ones and confidence by bins of confidence.

    Args:
        log_probs: natural log, N at least 1.
        labels: the classes that are right.
        bins: how many, of equal width.
    """
    highest, likeliest = log_probs.double().max(-1)
    confidence = highest.exp().clamp(max=1)  # a sum of rounded exponentials can be above 1 by rounding
    inner = torch.arange(1, bins, dtype=torch.float64, device=log_probs.device) / bins
    bin_of = torch.bucketize(confidence, inner)
    right = (likeliest == labels).double()
    inputs, correct, total = (
        confidence.new_zeros(bins).index_add(0, bin_of, part) for part in (torch.ones_like(right), right, confidence)
    )
    return CalibrationBins(inputs.long(), correct.long(), total)


def expected_calibration_error(log_probs: Float[Tensor, "N C"], labels: Int[Tensor, " N"], bins: int = BINS) -> float:
    r"""How far confidence is from accuracy, between 0 and 1. [Guo2017, equation 3]

    .. math:: \sum_b \frac{|I_b|}{N} \, |\text{accuracy}(I_b) - \text{confidence}(I_b)|

    :math:`I_b` are the inputs of bin b of `calibration_bins`; accuracy and confidence of a bin are means over its
    inputs.

    Args:
        log_probs: natural log, N at least 1.
        labels: the classes that are right.
        bins: how many, of equal width.
    """
    _, correct, confidence = calibration_bins(log_probs, labels, bins)
    return ((correct - confidence).abs().sum() / len(labels)).item()


def brier_score(log_probs: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> float:
    r"""The squared distance from the labels, between 0 and 2. [Brier1950]

    .. math:: \frac{1}{N} \sum_n \sum_y \left( p(y \mid x_n) - [y = y_n] \right)^2

    Args:
        log_probs: natural log, N at least 1.
        labels: the classes that are right.
    """
    errors = log_probs.double().exp()
    errors[torch.arange(len(labels), device=labels.device), labels] -= 1
    return (errors.square().sum() / len(labels)).item()
