"""Entropies and mutual informations of predictions: pure tensor mathematics.

probabilities   checks of log-probabilities, entropy
particles       weighted outcomes of a batch, and the posterior after each
measures        of points, pairs and batches, in nats
"""

from alkbald.information.measures import (
    conditional_entropy,
    interaction_information,
    joint_mutual_information,
    joint_mutual_information_of_prefixes,
    marginal_entropy,
    mean_log_probs,
    mutual_information,
    pairwise_mutual_information,
    total_correlation,
)

__all__ = [
    "conditional_entropy",
    "interaction_information",
    "joint_mutual_information",
    "joint_mutual_information_of_prefixes",
    "marginal_entropy",
    "mean_log_probs",
    "mutual_information",
    "pairwise_mutual_information",
    "total_correlation",
]
