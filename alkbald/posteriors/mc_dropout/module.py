"""MC dropout with consistent masks for a user's own `nn.Module`.

Axes: N inputs, K MC samples (posterior samples), U units of a dropout layer, C classes.

PyTorch's dropout layers draw a new mask for every input of every pass. Under MC dropout, sample k must use one mask for
all inputs (see `mc_dropout.model`). So, while the module runs here, its dropout layers multiply by the masks that they
are given. Outside of that the module is what it was: its class, its state dict, its flags and its forward pass.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from alkbald.posteriors.mc_dropout.dropout_layers import DropoutCall, DropoutLayer, dropout_call, dropout_replaced
from alkbald.posteriors.mc_dropout.example_pass import checked_outputs, examine
from alkbald.posteriors.mc_dropout.model import MCDropoutModel
from alkbald.posteriors.mc_dropout.stages import Masks


def mc_dropout(module: nn.Module, example: Tensor) -> "MCDropoutModule":
    """A module with dropout layers, as a model with consistent MC-dropout masks.

    Every call of an `nn.Dropout`, `Dropout1d`, `Dropout2d` or `Dropout3d` with p > 0 in a forward pass has masks of its
    own: of the shape of one input at that layer for `nn.Dropout`, of whole channels for the others. That shape depends
    on the inputs, so it is found here, from an example. Errors come here too, before any training.

    Args:
        module: returns logits or log-probabilities [N, C]. It is not copied: to train the model is to train the module.
        example: some inputs [N, ...], N at least 1, on the module's device; `inputs[:1]`, say. Their values play no
            role. Later inputs may be of another size only if no `nn.Dropout` gets another shape by it.

    Raises:
        ValueError: the module has no dropout layer; it draws random numbers outside of its dropout layers (functional
            dropout, dropout in attention or recurrent layers, alpha dropout, stochastic depth, noise); it has dropout
            layers that the example never reaches, or reaches in one of training and evaluation mode alone, or within
            `torch.utils.checkpoint`; the inputs' axis is not the first at a dropout layer; it is compiled; it has lazy
            layers without a shape; it does not return logits [N, C].
    """
    return MCDropoutModule(module, *examine(module, example))


class MCDropoutModule(MCDropoutModel):
    """A user's module under explicit masks; made by `mc_dropout`.

    Only dropout is sampled: for a prediction, all other layers are in evaluation mode, whatever their flags say. A
    prediction is a forward pass without gradients or without masks. In a forward pass with both, which is a step of
    training, the other layers follow their own flags: `train()` for batch norm that learns, `eval()` for frozen batch
    norm.

    Passes may not run at the same time in several threads: they share the module.

    Attributes:
        module: the user's module.
        calls: the calls of dropout layers in a forward pass, in order; one mask each.
    """

    def __init__(self, module: nn.Module, calls: list[DropoutCall], num_classes: int):
        super().__init__()
        self.module = module
        self.training = module.training
        self.calls = calls
        self._num_classes = num_classes

    @property
    def num_classes(self) -> int:
        return self._num_classes

    def draw_masks(self, num_samples: int, generator: Generator) -> Masks:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        layers = [cast(DropoutLayer, self.module.get_submodule(call.layer)) for call in self.calls]
        return [
            torch.rand(num_samples, call.units, generator=generator) >= layer.p
            for call, layer in zip(self.calls, layers, strict=True)
        ]

    def forward(self, inputs: Tensor, masks: Masks | None = None) -> Float[Tensor, "N C"]:
        masked = None if masks is None else _MaskedCalls(self.calls, masks, len(inputs))
        learning = masks is not None and torch.is_grad_enabled()
        with dropout_replaced(self.module, None if learning else False, masked):
            outputs = self.module(
                inputs.clone()
            )  # a copy: what the module does in place must not reach the next sample
        if masked is not None:
            masked.check_complete()
        logits = checked_outputs(outputs, len(inputs))
        return F.log_softmax(logits, dim=-1)  # which leaves log-probabilities as they are


class _MaskedCalls:
    """What takes the place of dropout in one forward pass: multiplication by the masks of each call, in order."""

    def __init__(self, calls: list[DropoutCall], masks: Masks, num_inputs: int):
        needed = [call.units for call in calls]
        if [mask.shape[1] for mask in masks] != needed or any(mask.shape[0] not in (1, num_inputs) for mask in masks):
            raise ValueError(
                f"masks must be [1, U] or [{num_inputs}, U] with U = {needed} in this order, "
                f"got {[list(mask.shape) for mask in masks]}"
            )
        self.num_inputs = num_inputs
        self.remaining = list(zip(calls, masks, strict=True))

    def __call__(self, name: str, layer: DropoutLayer, x: Tensor) -> Tensor:
        call = dropout_call(name, layer, x, self.num_inputs)
        expected, mask = self.remaining.pop(0) if self.remaining else (None, None)
        if mask is None or call != expected:
            raise ValueError(
                f"this forward pass calls {call}, where the example's called {expected}: calls of dropout layers, and "
                "the shapes of their masks, may not depend on the inputs. For inputs of another size, use mc_dropout "
                "with an example of that size"
            )
        factor = mask.to(x) * (1 / (1 - layer.p))
        factor = factor.view(len(mask), *call.shape, *[1] * (x.dim() - 1 - len(call.shape)))
        return x.mul_(factor) if layer.inplace else x * factor

    def check_complete(self) -> None:
        if self.remaining:
            missing = ", ".join(call.layer for call, _ in self.remaining)
            raise ValueError(f"this forward pass left out dropout layers that the example's called: {missing}")
