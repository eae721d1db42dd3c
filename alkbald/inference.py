"""MC-dropout inference: (model, inputs, K masks) -> log-probabilities, without computing what dropout discards.

Axes: N inputs, K MC samples (posterior samples), C classes.

Mask k is the same for all inputs, so a dropped unit can be cut out of the weights before any input is seen: about half
of a layer's outputs and half of the next layer's inputs, a quarter of the work in the hidden layers. The layer before
the first dropout is computed once for all masks. The function is the one that the layer-by-layer forward pass computes.
Models that are not made of stages go through their forward pass, mask by mask.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from alkbald.calibration import Evaluation
from alkbald.devices import float32_products, halving
from alkbald.information import mean_log_probs
from alkbald.model import Masks, MCDropoutModel, MCDropoutNet, Stage

#: Arithmetic of the layers: float32; tf32 (NVIDIA GPUs: float32 with products of 10-bit mantissas); bfloat16 behind the
#: first layer. Log-probabilities come out as float32 whichever it is.
PRECISIONS = ("fp32", "tf32", "bf16")

#: Writes the logits of some inputs, [n, K, C].
_Predict = Callable[[Tensor, Tensor], None]


@torch.inference_mode()
def sample_log_probs(
    model: MCDropoutModel,
    inputs: Tensor,
    num_samples: int,
    *,
    generator: Generator,
    precision: str = "fp32",
    memory_budget: int | None = None,
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Float[Tensor, "N K C"]:
    """Log-probabilities of every input under K consistent MC-dropout samples: log p(y | x_n, omega_k).

    The masks are drawn once for all inputs; how inputs are chunked changes results by rounding at most. On a GPU that
    runs out of memory, chunks are halved until they fit, and a warning is logged.

    Args:
        model: an `MCDropoutNet` for speed, or any other model.
        inputs: [N, ...], on the model's device.
        num_samples: K, at least 1.
        generator: a CPU generator; it alone decides the masks.
        precision: one of `PRECISIONS`. On the MNIST CNN bf16 moves log-probabilities by 0.02 on average, and
            probabilities by 0.02 at most.
        memory_budget: bytes of activations held at once; default 16 MiB on CPU (what stays in cache: eight times it was
            measured 30% slower), 2 GiB on a GPU.
        progress: wraps the iteration over chunks, a progress bar say.

    Returns:
        [N, K, C], natural log, on the inputs' device.

    Raises:
        ValueError: K below 1, an unknown precision, or tf32 without an NVIDIA GPU.
    """
    device = inputs.device
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision}")
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(f"precision tf32 needs an NVIDIA GPU, the device is {device}")
    masks = model.draw_masks(num_samples, generator)
    log_probs = inputs.new_empty(len(inputs), num_samples, model.num_classes)
    if not len(inputs):
        return log_probs
    if memory_budget is None:
        memory_budget = 2**24 if device.type == "cpu" else 2**31
    done = 0
    with float32_products(tf32=precision == "tf32"):
        size = memory_budget // _bytes_an_input(model, inputs[:1], masks)
        predict = (_sliced if isinstance(model, MCDropoutNet) else _plain)(model, masks, num_samples, precision)
        for chunk in progress(inputs.split(max(1, size))):
            out = log_probs[done : done + len(chunk)]
            size = _in_parts(predict, chunk, out, min(max(1, size), len(chunk)))
            out[:] = out.log_softmax(-1)
            done += len(chunk)
    return log_probs


class _SlicedLayer(NamedTuple):
    """What one mask leaves of a layer: rows of kept outputs, columns of kept inputs, the dropout scale folded in."""

    stage: Stage
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.stage.layer
        if isinstance(layer, nn.Linear):
            y = F.linear(x.flatten(1), self.weight, self.bias)
        else:
            y = F.conv2d(x, self.weight, self.bias, layer.stride, layer.padding, layer.dilation)
        y = _max_pool(y, self.stage.pool)
        return F.relu_(y) if self.stage.activation else y


def _max_pool(x: Tensor, side: int) -> Tensor:
    """`F.max_pool2d` without the indices that only a backward pass needs: a third of its time in bfloat16 on a CPU."""
    for axis in (2, 3) if side > 1 else ():
        windows = x.narrow(axis, 0, x.shape[axis] // side * side).unflatten(axis, (-1, side))
        x = reduce(torch.maximum, windows.unbind(axis + 1))
    return x


class _SlicedNet(NamedTuple):
    """The part of the network behind the first stage, for one mask."""

    kept: Int[Tensor, " U"]  # units of the first stage's output that it reads
    layers: list[_SlicedLayer]


def _slice(model: MCDropoutNet, masks: Masks, num_samples: int, dtype: torch.dtype) -> list[_SlicedNet]:
    first, *rest = model.stages
    device = first.layer.weight.device
    nets = []
    masks = [mask.cpu() for mask in masks]  # to count what is kept of each would make a GPU wait every time
    for k in range(num_samples):
        remaining = iter([mask[k] for mask in masks])

        def kept_units(stage: Stage, remaining=remaining) -> tuple[Tensor, Tensor]:
            """Indices of the units that stay, and the factor by which each enters the next layer."""
            if not stage.dropout:
                return torch.arange(stage.units, device=device), torch.ones(stage.units, device=device)
            mask = next(remaining)
            kept = mask.nonzero()[:, 0]
            if not len(kept):  # an empty layer has no product: keep one unit, with factor 0
                kept = torch.zeros(1, dtype=torch.long)
            return kept.to(device), (mask[kept] * stage.scale).to(device)

        inputs_kept, factor = first_kept, _ = kept_units(first)
        layers, units = [], first.units
        for stage in rest:
            outputs_kept, next_factor = kept_units(stage)
            weight = stage.layer.weight[outputs_kept]
            if isinstance(stage.layer, nn.Linear):  # behind a convolution, several features belong to one channel
                weight = weight.unflatten(1, (units, -1))
                weight = (weight[:, inputs_kept] * factor[:, None]).flatten(1)
            else:
                weight = weight[:, inputs_kept] * factor[:, None, None]
                weight = weight.contiguous(memory_format=torch.channels_last)
            layers.append(_SlicedLayer(stage, weight.to(dtype), stage.layer.bias[outputs_kept].to(dtype)))
            inputs_kept, factor, units = outputs_kept, next_factor, stage.units
        nets.append(_SlicedNet(first_kept, layers))
    return nets


def _sliced(model: MCDropoutNet, masks: Masks, num_samples: int, precision: str) -> _Predict:
    """Every mask through what it leaves of the layers."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    nets = _slice(model, masks, num_samples, dtype)
    first = model.stages[0]

    def predict(inputs: Tensor, out: Tensor) -> None:
        shared = first(inputs, None).to(dtype)
        if inputs.dim() == 4 and shared.dim() == 4:
            # Channels last: kept ones are gathered from runs in memory, 2.3 times the whole rate on 2 CPU cores.
            shared = shared.permute(0, 2, 3, 1).contiguous()
        for k, net in enumerate(nets):
            x = shared.gather(-1, net.kept.expand(*shared.shape[:-1], -1))
            x = x.permute(0, 3, 1, 2) if x.dim() == 4 else x
            for layer in net.layers:
                x = layer(x)
            out[:, k] = x

    return predict


def _plain(model: MCDropoutModel, masks: Masks, num_samples: int, precision: str) -> _Predict:
    """Every mask through every layer."""

    def predict(inputs: Tensor, out: Tensor) -> None:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
            for k in range(num_samples):
                out[:, k] = model(inputs, [mask[k : k + 1] for mask in masks])

    return predict


def _bytes_an_input(model: MCDropoutModel, one: Tensor, masks: Masks) -> int:
    """Of activations: the input and the output of every layer, one mask at a time."""
    elements = one.numel()

    def count(_module, _inputs, output) -> None:
        nonlocal elements
        elements += output.numel() if isinstance(output, Tensor) else 0

    hooks = [module.register_forward_hook(count) for module in model.modules() if not [*module.children()]]
    try:
        model(one, [mask[:1] for mask in masks])
    finally:
        for hook in hooks:
            hook.remove()
    return elements * one.element_size()


def _in_parts(predict: _Predict, inputs: Tensor, out: Tensor, size: int) -> int:
    """Predicts `size` inputs at a time, or as many as memory allows; returns how many those were."""
    start = 0
    while start < len(inputs):

        def predict_part(size: int, start: int = start) -> None:
            predict(inputs[start : start + size], out[start : start + size])

        _, size = halving(predict_part, size, "inputs at a time")
        start += size
    return size


@torch.inference_mode()
def evaluate(
    model: MCDropoutModel,
    inputs: Tensor,
    labels: Int[Tensor, " N"],
    num_samples: int,
    *,
    generator: Generator,
    precision: str = "fp32",
) -> Evaluation:
    """The mean predictive, 1/K sum_k p(y | x, omega_k), beside the labels: its accuracy, likelihood and calibration.

    Args:
        model: the network.
        inputs: [N, ...], N at least 1.
        labels: the classes that are right.
        num_samples: K; 0 turns dropout off, the deterministic network.
        generator: a CPU generator; it alone decides the masks.
        precision: one of `PRECISIONS`; the deterministic network is evaluated in fp32.
    """
    if num_samples:
        mean = mean_log_probs(sample_log_probs(model, inputs, num_samples, generator=generator, precision=precision))
    else:
        with float32_products():
            mean = torch.cat([model(chunk) for chunk in inputs.split(1024)])
    return Evaluation(mean, labels)
