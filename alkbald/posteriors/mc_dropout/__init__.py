"""MC dropout: a mask of the dropped units is a sample of the weights.

stages   layers with dropout, and their masks
model    networks with explicit masks, as posteriors
masked   their inference, without computing what masks drop
module   any `nn.Module` with dropout layers, made such a network (dropout_layers, example_pass: how)
"""

from alkbald.posteriors.mc_dropout.model import MCDropoutModel, MCDropoutNet
from alkbald.posteriors.mc_dropout.module import MCDropoutModule, mc_dropout
from alkbald.posteriors.mc_dropout.stages import Masks, Stage

__all__ = ["MCDropoutModel", "MCDropoutModule", "MCDropoutNet", "Masks", "Stage", "mc_dropout"]
