"""Checked probabilities, and their entropy. Axes: N pool points, K MC samples, C classes."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

#: Probabilities are raised to this before a logarithm: 0 log 0 becomes 7e-29 instead of NaN.
TINY = 1e-30


def check_probabilities(log_probs: Tensor, *, first_index: int = 0) -> Tensor:
    """exp(log_probs), checked to be distributions, finite and off one by less than 1e-3 in sum, and normalised.

    Args:
        log_probs: [N, K, C]; minus infinity stands for an impossible class. Half precision is raised to float32.
        first_index: pool index of the first point, for messages.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: not three axes, K or C of 0, NaN, plus infinity, or rows that do not sum to one after exp
            (probabilities or logits handed over for log-probabilities); names the first offending pool index.
    """
    check_shape(log_probs)
    if log_probs.dtype not in (torch.float32, torch.float64):
        log_probs = log_probs.float()
    probs = log_probs.exp()
    return probs.div_(checked_sums(log_probs, probs, first_index)[..., None])


def checked_sums(
    log_probs: Float[Tensor, "N K C"], probs: Float[Tensor, "N K C"], first_index: int
) -> Float[Tensor, "N K"]:
    """Sums of the probabilities over classes, checked to be near one.

    Args:
        log_probs: for messages.
        probs: their exponentials.
        first_index: pool index of the first point, for messages.

    Raises:
        ValueError: as of `check_probabilities`.
    """
    sums = probs.sum(-1)
    off = (sums - 1).abs_().amax(-1)
    if not (off < 1e-3).all():  # a NaN or an infinity makes the comparison false
        wrong = ~(off < 1e-3)
        n = int(wrong.int().argmax())
        if log_probs[n].isnan().any():
            what = "is NaN"
        elif (log_probs[n] == math.inf).any():
            what = "is +inf"
        else:
            furthest = sums[n][(sums[n] - 1).abs().argmax()].item()
            what = f"sums to {furthest:.4g} instead of 1 after exp; natural-log probabilities are needed"
        raise ValueError(f"log_probs of pool index {first_index + n} {what}")
    return sums


def check_shape(log_probs: Tensor) -> None:
    """Raises TypeError unless log_probs are floating point, ValueError unless they are [N, K, C] with K, C >= 1."""
    if not log_probs.is_floating_point():
        raise TypeError(f"log_probs must be floating point, got {log_probs.dtype}")
    if log_probs.dim() != 3 or 0 in log_probs.shape[1:]:
        raise ValueError(
            f"log_probs must have axes [N, K, C] with K and C at least 1, got shape {list(log_probs.shape)}"
        )


def entropy(probs: Float[Tensor, "... C"]) -> Float[Tensor, "..."]:
    """H[p] = -sum_y p(y) log p(y) over the last axis, with 0 log 0 = 0."""
    return -(probs * probs.clamp_min(TINY).log()).sum(-1)
