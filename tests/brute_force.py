"""Information quantities by enumerating every outcome of a batch, in float64 and plain loops: slow and obvious."""

import itertools
import math

import torch
from torch import Tensor


def joint_entropy(log_probs: Tensor) -> float:
    """H[Y_1, .., Y_B] of points [B, K, C]."""
    probs = log_probs.double().exp()
    size, _, num_classes = probs.shape
    total = 0.0
    for outcome in itertools.product(range(num_classes), repeat=size):
        p = torch.stack([probs[i, :, y] for i, y in enumerate(outcome)]).prod(0).mean().item() if size else 1.0
        total -= p * math.log(p) if p > 0 else 0.0
    return total


def conditional_entropy(log_probs: Tensor) -> float:
    """Sum over points of H[Y_i | Omega]."""
    probs = log_probs.double().exp()
    return -sum(p * math.log(p) for p in probs.flatten().tolist() if p > 0) / probs.shape[1]


def joint_mutual_information(log_probs: Tensor) -> float:
    """I[Y_1, .., Y_B; Omega], equation 5 of the k-BALD paper."""
    return joint_entropy(log_probs) - conditional_entropy(log_probs)


def interaction_information(log_probs: Tensor) -> float:
    """I[Y_1; ..; Y_B] = sum over non-empty T of (-1)^(|T|+1) H[Y_T]."""
    size = len(log_probs)
    return sum(
        (-1) ** (len(chosen) + 1) * joint_entropy(log_probs[list(chosen)])
        for r in range(1, size + 1)
        for chosen in itertools.combinations(range(size), r)
    )


def kbald_score(log_probs: Tensor, order: int) -> float:
    """Equation 6 of the paper, cut off after `order`-wise terms; its first terms are I[Y_i; Omega]."""
    size = len(log_probs)
    score = sum(joint_mutual_information(log_probs[i : i + 1]) for i in range(size))
    for r in range(2, order + 1):
        for chosen in itertools.combinations(range(size), r):
            score += (-1) ** (r + 1) * interaction_information(log_probs[list(chosen)])
    return score


def greedy(log_probs: Tensor, batch_size: int, score) -> tuple[list[int], list[float]]:
    """Greedy maximisation of a set function; ties go to the lowest index."""
    indices, scores = [], []
    for _ in range(batch_size):
        rest = [n for n in range(len(log_probs)) if n not in indices]
        values = [score(log_probs[[*indices, n]]) for n in rest]
        best = max(range(len(rest)), key=lambda i: (round(values[i], 10), -rest[i]))
        indices.append(rest[best])
        scores.append(values[best])
    return indices, scores
