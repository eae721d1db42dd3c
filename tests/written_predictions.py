"""Predictions that are written slowly, so that a kill finds them at work.

A module of its own: a process that is started to be killed imports little.
"""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Generator, nn

from alkbald.posteriors.mc_dropout import mc_dropout
from alkbald.predicting import write_log_probs


def written_slowly(path: Path, delay: float) -> np.ndarray:
    """`delay` seconds a forward pass; always the same predictions."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 4)).eval()
    network.register_forward_hook(lambda *_: time.sleep(delay))
    inputs = torch.randn(400, 8, generator=Generator().manual_seed(1))
    posterior, draws = mc_dropout(network, inputs[:1]), Generator().manual_seed(2)
    return write_log_probs(posterior, inputs, 6, path, generator=draws, points_at_a_time=10)
