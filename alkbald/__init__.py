"""Batch active learning by joint mutual information: BatchBALD and the k-BALD family."""

__version__ = "0.2.0.dev0"
