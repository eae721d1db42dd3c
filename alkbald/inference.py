"""MC-dropout inference: (model, inputs, K masks) -> log-probabilities, without computing what dropout discards.

Axes: N inputs, K MC samples (posterior samples), C classes.

An `MCDropoutNet` goes through `masked`, which computes the function of the layer-by-layer forward pass with a
fraction of its work. Models that are not made of stages go through their forward pass, mask by mask.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from alkbald.calibration import Evaluation
from alkbald.devices import float32_products, halving, side_by_side
from alkbald.information import mean_log_probs
from alkbald.masked import MaskedNetwork
from alkbald.model import Masks, MCDropoutModel, MCDropoutNet

#: Arithmetic of the layers: float32; tf32 (NVIDIA GPUs: float32 with products of 10-bit mantissas); bfloat16 behind the
#: first layer. Log-probabilities come out as float32 whichever it is.
PRECISIONS = ("fp32", "tf32", "bf16")

#: Masks that inputs go through at a time: at K = 1,000 the results of one layer under all masks (2.7 MB an input) would
#: leave a CPU's cache no room, and a GPU's memory few inputs.
_MASKS = 256
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
        memory_budget: bytes of activations held at once, by each of a CPU's threads; default 64 MiB on a CPU (16 MiB
            for models without stages: what stays in cache), 2 GiB on a GPU.
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
    with float32_products(tf32=precision == "tf32"):
        threads = 1
        if isinstance(model, MCDropoutNet):
            predict, size = _masked(model, masks, num_samples, precision, inputs[:1], memory_budget)
            threads = torch.get_num_threads() if device.type == "cpu" else 1
        else:
            predict, size = _plain(model, masks, num_samples, precision, inputs[:1], memory_budget)
        chunks = inputs.split(min(size, -(-len(inputs) // threads)))
        fits = len(chunks[0])

        @torch.inference_mode()
        def predict_chunk(chunk: Tensor, out: Tensor) -> None:
            nonlocal fits
            fits = _in_parts(predict, chunk, out, min(fits, len(chunk)))
            out[:] = out.log_softmax(-1)

        with side_by_side(min(threads, len(chunks))) as mapped:
            done = mapped(predict_chunk, chunks, log_probs.split(len(chunks[0])))
            for _ in progress(chunks):
                next(done)
    return log_probs


def _masked(
    model: MCDropoutNet, masks: Masks, num_samples: int, precision: str, one: Tensor, memory_budget: int | None
) -> tuple[_Predict, int]:
    """Every mask through what it leaves of the network; and for how many inputs at a time."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    parts = [slice(k, min(k + _MASKS, num_samples)) for k in range(0, num_samples, _MASKS)]
    networks = [MaskedNetwork(model, [m[part] for m in masks], part.stop - part.start, one, dtype) for part in parts]
    if memory_budget is None:
        memory_budget = 2**26 if one.device.type == "cpu" else 2**31

    def predict(inputs: Tensor, out: Tensor) -> None:
        for part, network in zip(parts, networks, strict=True):
            network(inputs, out[:, part])

    return predict, min(network.inputs_within(memory_budget) for network in networks)


def _plain(
    model: MCDropoutModel, masks: Masks, num_samples: int, precision: str, one: Tensor, memory_budget: int | None
) -> tuple[_Predict, int]:
    """Every mask through every layer; and for how many inputs at a time."""
    masks = [mask.to(one.device) for mask in masks]
    if memory_budget is None:
        memory_budget = 2**24 if one.device.type == "cpu" else 2**31

    def predict(inputs: Tensor, out: Tensor) -> None:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
            for k in range(num_samples):
                out[:, k] = model(inputs, [mask[k : k + 1] for mask in masks])

    return predict, _inputs_within(memory_budget, model, one, masks)


def _inputs_within(memory_budget: int, model: MCDropoutModel, one: Tensor, masks: Masks) -> int:
    """How many inputs fit: each takes itself and the output of every layer, one mask at a time."""
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
    return max(1, memory_budget // (elements * one.element_size()))


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
