"""Data: what a run learns from.

sources     data sets as they were published
downloads   their archives: downloaded, verified, unpacked
pools       pool, initial labelled set, validation and test set, as tensors
"""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)
from alkbald.data.pools import Data, balanced_initial_set, load, split
from alkbald.data.sources import SOURCES, Source
from alkbald.errors import DataError

__all__ = ["SOURCES", "Data", "DataError", "Source", "balanced_initial_set", "load", "split"]
