"""Checked probabilities, and their entropy. Axes: N pool points, K MC samples, C classes."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

#: Probabilities are raised to this before a logarithm: 0 log 0 becomes 7e-29 instead of NaN.
TINY = 1e-30
#: How near to one a sum must be for a message to name what was probably meant.
_ROUGHLY = 0.05


def check_probabilities(log_probs: Tensor, *, first_index: int = 0) -> Tensor:
    """exp(log_probs), checked to be distributions, finite and near one in sum (see `checked_sums`), and normalised.

    Args:
        log_probs: [N, K, C]; minus infinity stands for an impossible class. Half precision is raised to float32.
        first_index: pool index of the first point, for messages.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: not three axes, K or C of 0, NaN, plus infinity, or rows that do not sum to one after exp; names the
            first offending pool index, and what was probably meant (probabilities, logits, axes [N, C, K]).
    """
    check_axes(log_probs.shape, log_probs.dtype)
    probs = (log_probs if log_probs.dtype == torch.float64 else log_probs.float()).exp()
    return probs.div_(checked_sums(log_probs, probs, first_index)[..., None])


def checked_sums(
    log_probs: Float[Tensor, "N K C"], probs: Float[Tensor, "N K C"], first_index: int
) -> Float[Tensor, "N K"]:
    """Sums of the probabilities over classes, checked to be off one by less than 1e-3, and what rounding may add.

    Args:
        log_probs: as they were handed over: their type says what rounding may add.
        probs: their exponentials.
        first_index: pool index of the first point, for messages.

    Raises:
        ValueError: as of `check_probabilities`.
    """
    sums = probs.sum(-1)
    off = (sums - 1).abs_().amax(-1)
    # Rounded log-probabilities: p (1 + eps |log p|) sums to at most 1 + eps H, and H is at most log C.
    allowed = 1e-3 + torch.finfo(log_probs.dtype).eps * math.log(log_probs.shape[2])
    if not (off < allowed).all():  # a NaN or an infinity makes the comparison false
        n = int((~(off < allowed)).int().argmax())
        raise ValueError(f"log_probs of pool index {first_index + n} {_what_is_wrong(log_probs[n])}")
    return sums


def _what_is_wrong(log_probs: Float[Tensor, "K C"]) -> str:
    """Of a point whose rows do not sum to one after exp: what is seen, and what was probably meant."""
    log_probs = log_probs.double()
    if log_probs.isnan().any():
        return "is NaN"
    if (log_probs == math.inf).any():
        return "is +inf"
    sums = log_probs.exp().sum(-1)
    seen = f"sums to {sums[(sums - 1).abs().argmax()].item():.4g} instead of 1 after exp"
    if (log_probs >= 0).all() and ((log_probs.sum(-1) - 1).abs() < _ROUGHLY).all():
        return f"{seen}: these are probabilities; pass probabilities.log()"
    if (log_probs >= 0).all() and ((log_probs.sum(0) - 1).abs() < _ROUGHLY).all():
        return f"{seen}: these are probabilities, with axes [N, C, K]; pass probabilities.transpose(1, 2).log()"
    if ((log_probs.exp().sum(0) - 1).abs() < _ROUGHLY).all():
        return f"{seen}, but does over the axis before: the axes are [N, C, K]; pass log_probs.transpose(1, 2)"
    if (log_probs > _ROUGHLY).any():
        return f"{seen}: these look like logits; pass logits.log_softmax(-1)"
    return f"{seen}; natural-log probabilities are needed"


def check_axes(shape: Sequence[int], dtype: torch.dtype) -> None:
    """Raises TypeError unless the type is floating point, ValueError unless axes are [N, K, C] with K, C >= 1."""
    if not isinstance(dtype, torch.dtype):
        raise TypeError("log_probs must be a tensor here: of a NumPy array, pass torch.from_numpy(array)")
    if not dtype.is_floating_point:
        raise TypeError(f"log_probs must be floating point, got {dtype}")
    if len(shape) != 3 or 0 in shape[1:]:
        raise ValueError(f"log_probs must have axes [N, K, C] with K and C at least 1, got shape {list(shape)}")


def entropy(probs: Float[Tensor, "... C"]) -> Float[Tensor, "..."]:
    """H[p] = -sum_y p(y) log p(y) over the last axis, with 0 log 0 = 0."""
    return -(probs * probs.clamp_min(TINY).log()).sum(-1)
