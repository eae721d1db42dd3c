"""Acquisition methods: log-probabilities [N, K, C] of the pool in, a `Batch` of pool indices out.

N pool points, K MC samples, C classes; natural logarithms. `METHODS` maps a method's name to its function.
"""

from collections.abc import Callable
from functools import partial

from alkbald.acquisition.bald import bald
from alkbald.acquisition.batch import Batch
from alkbald.acquisition.batchbald import batchbald
from alkbald.acquisition.conservative import conservative_bald
from alkbald.acquisition.dynamic import adaptive_kbald, check_divergence_tables, dynamic_bald, positive_bald
from alkbald.acquisition.epig import epig
from alkbald.acquisition.kbald import check_tables, kbald, kbald_scores
from alkbald.acquisition.large_batchbald import large_batchbald, power_large_batchbald
from alkbald.acquisition.random import random
from alkbald.acquisition.stochastic import power_bald, softmax_bald, softrank_bald
from alkbald.acquisition.uncertainty import entropy, variation_ratios

METHODS: dict[str, Callable[..., Batch]] = {
    "random": random,
    "bald": bald,
    "2bald": partial(kbald, order=2),
    "3bald": partial(kbald, order=3),
    "kbald": kbald,
    "batchbald": batchbald,
    "dynamic_bald": dynamic_bald,
    "positive_bald": positive_bald,
    "adaptive_kbald": adaptive_kbald,
    "conservative_bald": conservative_bald,
    "power_bald": power_bald,
    "softmax_bald": softmax_bald,
    "softrank_bald": softrank_bald,
    "large_batchbald": large_batchbald,
    "power_large_batchbald": power_large_batchbald,
    "entropy": entropy,
    "variation_ratios": variation_ratios,
    "epig": epig,
}

#: Methods that look at no prediction: a run need not score the pool for them.
BLIND = frozenset({"random"})

#: Methods whose batches may be smaller than asked for.
DYNAMIC = frozenset({"conservative_bald", "dynamic_bald", "positive_bald"})

#: What methods refuse by sizes alone, before there are predictions (they call it themselves too): functions of
#: the shape N, K, C, the batch size, the memory budget in bytes and the method's options, which are valid by then.
SIZE_CHECKS: dict[str, Callable[..., None]] = {
    "2bald": partial(check_tables, order=2),
    "3bald": partial(check_tables, order=3),
    "kbald": check_tables,
    "dynamic_bald": check_divergence_tables,
    "positive_bald": partial(check_tables, order=2),
    "adaptive_kbald": partial(check_tables, order=2),
    "large_batchbald": partial(check_tables, order=2),
    "power_large_batchbald": partial(check_tables, order=2),
}

__all__ = [
    "BLIND",
    "DYNAMIC",
    "METHODS",
    "SIZE_CHECKS",
    "Batch",
    "adaptive_kbald",
    "bald",
    "batchbald",
    "conservative_bald",
    "dynamic_bald",
    "entropy",
    "epig",
    "kbald",
    "kbald_scores",
    "large_batchbald",
    "positive_bald",
    "power_bald",
    "power_large_batchbald",
    "random",
    "softmax_bald",
    "softrank_bald",
    "variation_ratios",
]
