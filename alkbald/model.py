"""MC-dropout networks by the names that users know; they live in `alkbald.posteriors`."""

from alkbald.posteriors.mc_dropout import Masks, MCDropoutModel, MCDropoutNet, Stage, mc_dropout
from alkbald.posteriors.networks import cnn, mnist_cnn

__all__ = ["MCDropoutModel", "MCDropoutNet", "Masks", "Stage", "cnn", "mc_dropout", "mnist_cnn"]
