"""The acquisition functions of the package batchbald_redux, by alkbald: change the import, and nothing else.

    from batchbald_redux.batchbald import get_bald_batch, get_batchbald_batch           # before
    from alkbald.compatibility.batchbald_redux import get_bald_batch, get_batchbald_batch  # after

Axes: N pool points, K samples, C classes; natural logarithms. batchbald_redux itself is not needed.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from alkbald.acquisition import bald, batchbald
from alkbald.information import mutual_information


@dataclass
class CandidateBatch:
    """A batch in the order of acquisition.

    Attributes:
        scores: in nats; what they mean, the functions say.
        indices: pool indices.
    """

    scores: list[float]
    indices: list[int]


def get_batchbald_batch(
    log_probs_N_K_C: Float[Tensor, "N K C"],
    batch_size: int,
    num_samples: int | float,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> CandidateBatch:
    r"""Greedily maximises :math:`I[Y_1, \ldots, Y_B; \Omega]` (`acquisition.batchbald`).

    Args:
        log_probs_N_K_C: natural log-probabilities.
        batch_size: B; the whole pool, if that is smaller.
        num_samples: outcomes of the batch that are kept, also 1e5. While there are no more of them, scores are exact.
        dtype: to compute in, float32 or float64; None: that of the predictions. Another type than theirs takes a copy
            of them.
        device: where to compute; None: where the predictions are.

    Returns:
        The batch; scores[i] is the joint mutual information of the first i + 1 points.

    Raises:
        ValueError: as of `acquisition.batchbald`.
    """
    whole = isinstance(num_samples, float) and num_samples.is_integer()
    batch = batchbald(
        log_probs_N_K_C.to(dtype=dtype),
        min(batch_size, len(log_probs_N_K_C)),
        max_particles=cast(int, int(num_samples) if whole else num_samples),  # it refuses what is no integer
        device=_device(device),
    )
    return CandidateBatch(batch.scores, batch.indices)


def get_bald_batch(
    log_probs_N_K_C: Float[Tensor, "N K C"],
    batch_size: int,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> CandidateBatch:
    r"""The B points of highest :math:`I[Y_n; \Omega]` (`acquisition.bald`).

    Args:
        log_probs_N_K_C, batch_size, dtype, device: as of `get_batchbald_batch`.

    Returns:
        The batch; scores[i] is the mutual information of point i alone.

    Raises:
        ValueError: as of `acquisition.bald`.
    """
    log_probs = log_probs_N_K_C.to(dtype=dtype)
    batch = bald(log_probs, min(batch_size, len(log_probs)), device=_device(device))
    return CandidateBatch(mutual_information(batch.log_probs).tolist(), batch.indices)


def _device(device: torch.device | str | None) -> torch.device | None:
    return None if device is None else torch.device(device)
