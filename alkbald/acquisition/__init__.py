"""Acquisition methods: log-probabilities [N, K, C] of the pool in, a `Batch` of pool indices out.

N pool points, K MC samples, C classes; natural logarithms. `METHODS` maps a method's name to its function.
"""

from collections.abc import Callable
from functools import partial

from alkbald.acquisition.bald import bald
from alkbald.acquisition.batch import Batch
from alkbald.acquisition.batchbald import batchbald
from alkbald.acquisition.kbald import kbald
from alkbald.acquisition.random import random

METHODS: dict[str, Callable[..., Batch]] = {
    "random": random,
    "bald": bald,
    "2bald": partial(kbald, order=2),
    "3bald": partial(kbald, order=3),
    "kbald": kbald,
    "batchbald": batchbald,
}

#: Methods that look at no prediction: a run need not score the pool for them.
BLIND = frozenset({"random"})

__all__ = ["BLIND", "METHODS", "Batch", "bald", "batchbald", "kbald", "random"]
