"""What two forward passes of an example tell about a module: its dropout calls and classes, or why it is refused.

One pass is in evaluation mode with one input, the other in training mode with two. Both must call the same dropout
layers, and nothing but these may draw random numbers: such draws would differ between inputs and chunks.
"""

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from alkbald.posteriors.mc_dropout.dropout_layers import DropoutCall, dropout_call, dropout_layers, dropout_replaced

LAYERS = "nn.Dropout, nn.Dropout1d, nn.Dropout2d or nn.Dropout3d"


def examine(module: nn.Module, example: Tensor) -> tuple[list[DropoutCall], int]:
    """The dropout calls of one forward pass, in order, and the number of classes C.

    Args:
        module: buffers, flags and the global random stream are afterwards as they were.
        example: [N, ...], N at least 1; its first input is used.

    Raises:
        ValueError: consistent masks cannot be given to this module, and why.
    """
    _check_before(module, example)
    calls, outputs = _watched_pass(module, example[:1], training=False)
    training_calls, training_outputs = _watched_pass(module, example[:1].expand(2, *example.shape[1:]), training=True)
    logits = checked_outputs(outputs, 1)
    checked_outputs(training_outputs, 2)
    sums_to_one = (logits.sum(-1) - 1).abs().max() < 1e-3
    if sums_to_one and logits.min() >= 0:
        raise ValueError("the module returns probabilities: leave out its softmax, so that it returns logits")
    _check_calls(module, calls, training_calls)
    return calls, logits.shape[1]


def checked_outputs(outputs: object, num_inputs: int) -> Tensor:
    """The outputs, if they are a tensor [N, C].

    Raises:
        ValueError: they are not, or C is 1.
    """
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the module must return a tensor of logits [N, C], got {type(outputs).__name__}")
    if outputs.dim() != 2 or len(outputs) != num_inputs:
        raise ValueError(f"the module must return logits [N, C], got {list(outputs.shape)} for {num_inputs} input(s)")
    if outputs.shape[1] < 2:
        raise ValueError(f"the module must return logits of at least 2 classes, got {list(outputs.shape)}")
    return outputs


def _check_before(module: nn.Module, example: Tensor) -> None:
    if not example.dim() or not len(example):
        raise ValueError(f"example must be at least one input, [N, ...], got {list(example.shape)}")
    if not example.is_floating_point():
        raise ValueError(f"example must be floating-point, as training and inference need it, got {example.dtype}")
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule) or hasattr(part, "_orig_mod") or part._compiled_call_impl:
            raise ValueError(f"{_name(module, name)} is compiled, which hides its dropout: pass it uncompiled")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):  # a pass would give it a shape, and be refused its random values
            raise ValueError(f"{name} has no shape yet (a lazy layer): call the module once on an example first")
    for name, layer in dropout_layers(module).items():
        if layer.p == 1:
            raise ValueError(f"{_name(module, name)} has p = 1 and drops everything: p must be below 1")


def _check_calls(module: nn.Module, calls: list[DropoutCall], training_calls: list[DropoutCall]) -> None:
    layers = dropout_layers(module)
    if not layers:
        raise ValueError(f"{type(module).__name__} has no dropout layer with p above 0: add {LAYERS}")
    if calls != training_calls:
        raise ValueError(
            f"dropout layers are called differently in evaluation mode ({_listed(calls)}) and in training mode "
            f"({_listed(training_calls)}): both must call the same layers on the same shapes"
        )
    unreached = layers.keys() - {call.layer for call in calls}
    if unreached:
        raise ValueError(
            f"the forward pass of the example never calls the dropout layers {', '.join(sorted(unreached))}: remove "
            "what is not used, or give it p = 0"
        )


def _listed(calls: list[DropoutCall]) -> str:
    return ", ".join(f"{call.layer} on {[*call.shape]}" for call in calls) or "none"


def _name(module: nn.Module, name: str) -> str:
    """The part's full name and its class."""
    path = ".".join(filter(None, (type(module).__name__, name)))
    return f"{path} ({type(module.get_submodule(name)).__name__})" if name else path


def _watched_pass(module: nn.Module, inputs: Tensor, training: bool) -> tuple[list[DropoutCall], object]:
    calls: list[DropoutCall] = []

    def record(name: str, layer: nn.Module, x: Tensor) -> Tensor:
        if _in_checkpoint():
            raise ValueError(
                f"{_name(module, name)} is called within torch.utils.checkpoint, which calls it once more in the "
                "backward pass, where its masks are not at hand: leave it out of what is checkpointed"
            )
        calls.append(dropout_call(name, layer, x, len(inputs)))
        return x

    # On copies, because a pass in training mode updates the statistics of batch norm.
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with dropout_replaced(module, training, record), _draws_refused(module), torch.set_grad_enabled(training):
        outputs = functional_call(module, buffers, (inputs.clone(),))
    return calls, outputs


def _in_checkpoint() -> bool:
    return any(frame.f_code.co_filename == torch.utils.checkpoint.__file__ for frame, _ in traceback.walk_stack(None))


@contextmanager
def _draws_refused(module: nn.Module) -> Iterator[None]:
    """Within it, an operation that draws random numbers raises a ValueError that names it and the module it is in."""
    running: list[str] = []

    def enter(name: str, *_) -> None:
        running.append(name)

    def leave(*_) -> None:
        running.pop()

    with ExitStack() as stack:
        for name, part in module.named_modules():
            stack.callback(part.register_forward_pre_hook(partial(enter, name)).remove)
            stack.callback(part.register_forward_hook(leave).remove)
        functions = stack.enter_context(_Functions())
        stack.enter_context(_DrawsRefused(module, running, functions))
        yield


class _Functions(TorchFunctionMode):
    """Knows which function of PyTorch's Python interface is running."""

    def __init__(self):
        super().__init__()
        self.running = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.running = func
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.running = None


class _DrawsRefused(TorchDispatchMode):
    def __init__(self, module: nn.Module, running: list[str], functions: _Functions):
        super().__init__()
        self.module, self.parts, self.functions = module, running, functions

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and not _drops_nothing(func, args, kwargs):
            function = self.functions.running
            function = resolve_name(function) or getattr(function, "__name__", str(func))
            part = self.parts[-1] if self.parts else ""  # none in a hook that runs before the module itself
            raise ValueError(
                f"{_name(self.module, part)} draws random numbers in {function}. Only layers can be given "
                f"masks: use {LAYERS} in its place, or switch it off (dropout = 0)"
            )
        return func(*args, **kwargs)


def _drops_nothing(func: torch._ops.OpOverload, args: tuple, kwargs: dict) -> bool:
    """Whether it is an attention or recurrent layer whose probability of dropout is 0."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name in ("dropout", "dropout_p"):
            given = args[position] if position < len(args) else kwargs.get(argument.name, argument.default_value)
            return given == 0
    return False
