r"""A posterior: what acquisition, evaluation and the loop ask of a model, whichever it is.

Axes: N inputs, V inputs of validation, K MC samples (posterior samples), C classes.

A posterior is made with fresh weights, fitted by `alkbald.training.fit`, and asked for log-probabilities under K
samples :math:`\omega_1, \ldots, \omega_K` of its weights. The samples are *consistent*: sample k is one function of
all inputs. Only then do joint predictions of several inputs mean something, and with them the joint mutual information
that BatchBALD needs. [Kirsch2019]

References:
    [Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from alkbald.devices import float32_products, retry_smaller, side_by_side

#: Arithmetic of the layers: float32; tf32 (NVIDIA GPUs: float32 with products of 10-bit mantissas); bfloat16 where a
#: posterior says so. Log-probabilities come out as float32 whichever it is, of float64 inputs as float64.
PRECISIONS = ("fp32", "tf32", "bf16")

#: The log-probabilities [n, C] of some inputs of an epoch in training, given their places in the epoch.
TrainingPass = Callable[[Tensor, slice], Tensor]


class Sampled(NamedTuple):
    """K samples of the weights, drawn once, as functions of the inputs.

    Attributes:
        write_logits: writes the logits of some inputs, [n, K, C], into a tensor.
        inputs_at_a_time: n, of which the memory budget allows so many.
        threads: of a CPU that each take inputs of their own; 1 where operations use the threads themselves.
    """

    write_logits: Callable[[Float[Tensor, "n ..."], Float[Tensor, "n K C"]], None]
    inputs_at_a_time: int
    threads: int = 1


class Posterior(nn.Module, ABC):
    """A distribution over networks, given data.

    A subclass says how samples are drawn (`sampled`). The defaults of the rest are those of one network that is trained
    by its forward pass.

    Attributes:
        num_members: how many samples there are; None: any number can be drawn.
        validates_without_sampling: whether early stopping looks at its networks as they are. If so,
            `validation_samples` must be 0.
    """

    num_members: int | None = None
    validates_without_sampling: bool = False

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """C."""

    @abstractmethod
    def sampled(
        self, num_samples: int, *, generator: Generator, precision: str, example: Tensor, memory_budget: int | None
    ) -> Sampled:
        """Draws K samples of the weights.

        Args:
            num_samples: K, at least 1.
            generator: a CPU generator; it alone decides what is drawn.
            precision: one of `PRECISIONS`, which the device can do.
            example: an input, [1, ...], whose shape and device all have.
            memory_budget: bytes of activations held at once; None: the posterior's default.
        """

    @property
    def networks(self) -> Sequence["Posterior"]:
        """What is trained, one after another; each has a `training_pass`, and is validated by itself."""
        return [self]

    def training_pass(self, num_inputs: int, generator: Generator, device: torch.device) -> TrainingPass:
        """The forward pass of one epoch of training.

        Args:
            num_inputs: of the epoch.
            generator: a CPU generator, for what is random in the pass.
            device: of the inputs.
        """
        return lambda inputs, places: self(inputs)

    def after_epoch(self, epoch: int) -> None:
        """Called of a network after each of its epochs, before its validation: to look at its weights, say.

        Args:
            epoch: its number, from 1; counted on over the networks of a posterior.
        """

    def after_training(
        self,
        inputs: Float[Tensor, "N ..."],
        labels: Int[Tensor, " N"],
        validation_inputs: Float[Tensor, "V ..."],
        validation_labels: Int[Tensor, " V"],
        generator: Generator,
    ) -> None:
        """What is left to do once the networks are trained. V may be 0.

        Args:
            inputs, labels: the labelled set.
            validation_inputs, validation_labels: of early stopping.
            generator: a CPU generator, for what is drawn.

        Raises:
            TrainingDiverged: the networks' numbers are such that it cannot be done.
        """

    def network_log_probs(self, inputs: Float[Tensor, "N ..."]) -> Float[Tensor, "N C"]:
        """Of the network without sampling: log-probabilities, natural log.

        Raises:
            ValueError: there is no such network.
        """
        raise ValueError(f"{type(self).__name__} is always sampled: num_samples must be at least 1, got 0")

    @torch.inference_mode()
    def log_probs(
        self,
        inputs: Float[Tensor, "N ..."],
        num_samples: int,
        *,
        generator: Generator,
        precision: str = "fp32",
        memory_budget: int | None = None,
        progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
    ) -> Float[Tensor, "N K C"]:
        r"""Log-probabilities of every input under K samples of the weights: :math:`\log p(y \mid x_n, \omega_k)`.

        The samples are drawn once for all inputs; how inputs are chunked changes results by rounding at most. On a GPU
        that runs out of memory, chunks are halved until they fit, and a warning is logged.

        Args:
            inputs: [N, ...], on the posterior's device.
            num_samples: K, at least 1.
            generator: a CPU generator; it alone decides the samples.
            precision: one of `PRECISIONS`.
            memory_budget: bytes of activations held at once (by each of a CPU's threads, where these take inputs of
                their own); None: the posterior's default.
            progress: wraps the iteration over chunks, a progress bar say.

        Returns:
            [N, K, C], natural log, on the inputs' device; float32, or float64 for float64 inputs.

        Raises:
            ValueError: a K that cannot be had, an unknown precision, or tf32 without an NVIDIA GPU.
        """
        device = inputs.device
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision}")
        if precision == "tf32" and device.type != "cuda":
            raise ValueError(f"precision tf32 needs an NVIDIA GPU, the device is {device}")
        check_num_samples(self, num_samples)
        dtype = torch.promote_types(inputs.dtype, torch.float32)  # in half precision, rows would not sum to 1
        log_probs = inputs.new_empty(len(inputs), num_samples, self.num_classes, dtype=dtype)
        if not len(inputs):
            return log_probs
        with float32_products(device, tf32=precision == "tf32"):
            samples = self.sampled(
                num_samples,
                generator=generator,
                precision=precision,
                example=inputs[:1],
                memory_budget=memory_budget,
            )
            _in_chunks(samples, inputs, log_probs, progress)
        return log_probs


def check_num_samples(posterior: Posterior, num_samples: int, name: str = "num_samples") -> None:
    """Raises ValueError unless the posterior has so many samples; the message calls their number by its name."""
    members = posterior.num_members
    if members is not None and num_samples != members:
        raise ValueError(
            f"{name} must be {members}, as many as {type(posterior).__name__} has members, got {num_samples}"
        )
    if num_samples < 1:
        raise ValueError(f"{name} must be at least 1, got {num_samples}")


def check_validation_samples(posterior: Posterior, num_samples: int, name: str = "validation_samples") -> None:
    """Raises ValueError unless early stopping can use so many samples; the message calls their number by its name."""
    if posterior.validates_without_sampling and num_samples:
        raise ValueError(
            f"{name} must be 0 for {type(posterior).__name__}, whose networks are validated without sampling, "
            f"got {num_samples}"
        )


def inputs_within(
    memory_budget: int | None, network: nn.Module, example: Float[Tensor, "1 ..."], *arguments: object
) -> int:
    """How many inputs the layers of a network can take at once; at least 1.

    Each input takes itself and the output of every layer.

    Args:
        memory_budget: bytes; None: 16 MiB on a CPU, which stay in cache, 2 GiB on a GPU.
        network: is run once.
        example: an input.
        arguments: further ones of the network.
    """
    if memory_budget is None:
        memory_budget = 2**24 if example.device.type == "cpu" else 2**31
    elements = example.numel()

    def count(_module, _inputs, output) -> None:
        nonlocal elements
        elements += output.numel() if isinstance(output, Tensor) else 0

    hooks = [module.register_forward_hook(count) for module in network.modules() if not [*module.children()]]
    try:
        network(example, *arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, memory_budget // (elements * example.element_size()))


def _in_chunks(
    samples: Sampled, inputs: Tensor, log_probs: Tensor, progress: Callable[[Iterable[Tensor]], Iterable[Tensor]]
) -> None:
    """Writes the log-probabilities of all inputs, as many at a time as memory allows."""
    chunks = inputs.split(min(samples.inputs_at_a_time, -(-len(inputs) // samples.threads)))
    fits = len(chunks[0])

    @torch.inference_mode()
    def predict_chunk(chunk: Tensor, out: Tensor) -> None:
        nonlocal fits
        size = min(fits, len(chunk))
        fitted = _in_parts(samples.write_logits, chunk, out, size)
        if fitted < size:  # memory said so, not the end of the inputs
            fits = fitted
        out[:] = out.log_softmax(-1)

    with side_by_side(min(samples.threads, len(chunks))) as mapped:
        done = mapped(predict_chunk, chunks, log_probs.split(len(chunks[0])))
        for _ in progress(chunks):
            next(done)


def _in_parts(predict: Callable[[Tensor, Tensor], None], inputs: Tensor, out: Tensor, size: int) -> int:
    """Predicts `size` inputs at a time, or as many as memory allows; returns how many those were."""
    start = 0
    while start < len(inputs):

        def predict_part(size: int, start: int = start) -> None:
            predict(inputs[start : start + size], out[start : start + size])

        _, size = retry_smaller(predict_part, size, "inputs at a time")
        start += size
    return size
