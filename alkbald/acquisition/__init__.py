"""Acquisition methods: log-probabilities [N, K, C] of the pool in, a `Batch` of pool indices out.

The predictions may be a tensor, a NumPy array, a mapped file, a function, or shards of these (see `predictions`).

N pool points, K MC samples, C classes; natural logarithms. `METHODS` maps the name of a method to a `Method`, which is
called as `METHODS[name](log_probs, batch_size, generator=generator, **options)`. Only methods that draw at random need
the generator.
"""

from functools import partial

from alkbald.acquisition.bald import bald
from alkbald.acquisition.batch import Batch
from alkbald.acquisition.batchbald import batchbald
from alkbald.acquisition.conservative import conservative_bald
from alkbald.acquisition.dynamic import adaptive_kbald, check_divergence_tables, dynamic_bald, positive_bald
from alkbald.acquisition.epig import epig
from alkbald.acquisition.kbald import check_tables, kbald, kbald_scores
from alkbald.acquisition.large_batchbald import large_batchbald, power_large_batchbald
from alkbald.acquisition.method import Method
from alkbald.acquisition.predictions import AnyPredictions, Chunks, Predictions
from alkbald.acquisition.random import random
from alkbald.acquisition.stochastic import power_bald, softmax_bald, softrank_bald
from alkbald.acquisition.uncertainty import entropy, variation_ratios

METHODS: dict[str, Method] = {
    "random": Method(random, needs_predictions=False),
    "bald": Method(bald),
    "2bald": Method(partial(kbald, order=2), check_size=partial(check_tables, order=2)),
    "3bald": Method(partial(kbald, order=3), check_size=partial(check_tables, order=3)),
    "kbald": Method(kbald, check_size=check_tables),
    "batchbald": Method(batchbald),
    "dynamic_bald": Method(dynamic_bald, chooses_size=True, check_size=check_divergence_tables),
    "positive_bald": Method(positive_bald, chooses_size=True, check_size=partial(check_tables, order=2)),
    "adaptive_kbald": Method(adaptive_kbald, check_size=partial(check_tables, order=2)),
    "conservative_bald": Method(conservative_bald, chooses_size=True),
    "power_bald": Method(power_bald),
    "softmax_bald": Method(softmax_bald),
    "softrank_bald": Method(softrank_bald),
    "large_batchbald": Method(large_batchbald, check_size=partial(check_tables, order=2)),
    "power_large_batchbald": Method(power_large_batchbald, check_size=partial(check_tables, order=2)),
    "entropy": Method(entropy),
    "variation_ratios": Method(variation_ratios),
    "epig": Method(epig),
}

__all__ = [
    "METHODS",
    "AnyPredictions",
    "Batch",
    "Chunks",
    "Method",
    "Predictions",
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
