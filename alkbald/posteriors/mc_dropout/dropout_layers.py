"""The dropout layers of a module: which layers they are, and a forward pass in which given masks take their place.

Axes: N inputs, U units of a dropout layer (its mask, flattened), C channels.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

#: The layers that masks can be given to.
DropoutLayer = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d

_FORWARDS = {layer.forward for layer in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)}
#: With one axis less, these layers take the first axis for the channels of a single input.
_AXES = {nn.Dropout1d.forward: 3, nn.Dropout3d.forward: 5}


class DropoutCall(NamedTuple):
    """One call of a dropout layer in a forward pass.

    Attributes:
        layer: the layer's name in the module.
        shape: of the mask of one input. `nn.Dropout`: the layer's input without the batch axis. The others drop whole
            channels: [C].
    """

    layer: str
    shape: tuple[int, ...]

    @property
    def units(self) -> int:
        """U."""
        return math.prod(self.shape)


def dropout_layers(module: nn.Module) -> dict[str, DropoutLayer]:
    """The layers that masks can be given to, by name: `nn.Dropout`, `Dropout1d`, `Dropout2d`, `Dropout3d` with p > 0.

    A subclass with a forward pass of its own is not among them, because it may do something else.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, DropoutLayer)}
    return {name: layer for name, layer in layers.items() if type(layer).forward in _FORWARDS and layer.p > 0}


def dropout_call(name: str, layer: nn.Module, x: Tensor, num_inputs: int) -> DropoutCall:
    """The call of a dropout layer on x.

    Raises:
        ValueError: the first axis of x is not that of the N inputs, or x is a single input to the layer.
    """
    if x.dim() == 0 or x.shape[0] != num_inputs:
        raise ValueError(
            f"the dropout layer {name} gets {list(x.shape)} for {num_inputs} input(s): to use one mask for all inputs, "
            "their axis must come first, both in the inputs and at every dropout layer"
        )
    forward = type(layer).forward
    if x.dim() < _AXES.get(forward, 0):
        raise ValueError(
            f"the dropout layer {name} ({type(layer).__name__}) gets {list(x.shape)}, which PyTorch takes for one "
            "input without a batch axis: use nn.Dropout"
        )
    return DropoutCall(name, tuple(x.shape[1:] if forward is nn.Dropout.forward else x.shape[1:2]))


@contextmanager
def dropout_replaced(
    module: nn.Module, training: bool | None, replace: Callable[[str, DropoutLayer, Tensor], Tensor] | None
) -> Iterator[None]:
    """Within it, dropout layers return replace(name, layer, x); afterwards the module is as it was.

    Args:
        module: which is called within.
        training: whether the other layers are in training mode; None: each as its own flag says.
        replace: what takes the place of dropout; None: dropout is off.
    """
    layers = dropout_layers(module)
    flags = [(part, part.training) for part in module.modules()]
    with ExitStack() as stack:
        for part, flag in flags:
            stack.callback(setattr, part, "training", flag)
            part.training = flag if training is None else training  # not train(), which modules may override
        for name, layer in layers.items():
            layer.training = False  # so that it returns its input
            if replace is not None:
                hook = partial(_replace_output, replace, name)
                stack.callback(layer.register_forward_hook(hook, prepend=True).remove)  # before hooks that look
        yield


def _replace_output(replace: Callable[[str, DropoutLayer, Tensor], Tensor], name: str, layer, _args, output) -> Tensor:
    return replace(name, layer, output)
