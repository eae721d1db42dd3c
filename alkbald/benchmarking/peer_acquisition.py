"""The acquisition functions of batchbald_redux, the package of the paper's author, as it ships and in float64.

It is a development dependency: this module is imported by what compares with it alone.
"""

import torch
from batchbald_redux.batchbald import CandidateBatch, compute_conditional_entropy, get_batchbald_batch
from batchbald_redux.joint_entropy import ExactJointEntropy
from torch import Tensor

#: Outcomes that the peer samples where it cannot enumerate; as many particles are kept by ours beside it.
PEER_SAMPLES = 10_000


def peer_batchbald(log_probs: Tensor, batch_size: int) -> CandidateBatch:
    """The peer keeps the pool on the host, and its joint entropies on the device."""
    options = {"num_samples": PEER_SAMPLES, "dtype": torch.double, "device": log_probs.device}
    return get_batchbald_batch(log_probs.cpu(), batch_size, **options)


def peer_2bald(log_probs: Tensor, batch_size: int) -> CandidateBatch:
    """The same greedy 2-BALD with the peer's own joint entropies, in float64."""
    device, log_probs = log_probs.device, log_probs.cpu()
    conditional = compute_conditional_entropy(log_probs)
    num_samples = log_probs.shape[1]

    def joint(indices: list[int]) -> Tensor:
        state = ExactJointEntropy.empty(num_samples, dtype=torch.double, device=device)
        if indices:
            state.add_variables(log_probs[indices])
        return state.compute_batch(log_probs, torch.empty(len(log_probs), dtype=torch.double))

    marginal = joint([])
    gains = marginal - conditional
    indices: list[int] = []
    scores: list[float] = []
    for _ in range(batch_size):
        best, index = gains.max(0)
        indices.append(int(index))
        scores.append((scores[-1] if scores else 0.0) + best.item())
        if len(indices) < batch_size:
            gains = gains - (marginal + marginal[index] - joint([indices[-1]]))
            gains[indices] = -float("inf")
    return CandidateBatch(scores, indices)
