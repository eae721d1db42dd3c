"""MC dropout as a posterior: networks with explicit dropout masks, asked for predictions under K of them.

Axes: N inputs, K MC samples (posterior samples), U units of a layer (channels of a convolution), C classes.

MC dropout is *consistent* when sample k uses one mask for all inputs. So masks are drawn apart from the forward pass
(`draw_masks`) and handed to it; nothing in a forward pass is random. [GalGhahramani2015, Kirsch2019]

References:
    [GalGhahramani2015] Gal and Ghahramani. Dropout as a Bayesian approximation.
    [Kirsch2019] Kirsch, van Amersfoort and Gal. BatchBALD (consistent MC dropout).
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from alkbald.devices import float32_products
from alkbald.posteriors.base import Posterior, Sampled, TrainingPass, inputs_within
from alkbald.posteriors.mc_dropout.masked import MaskedNetwork
from alkbald.posteriors.mc_dropout.stages import Masks, Stage

#: Masks that inputs go through at a time: at K = 1,000 the results of one layer under all masks (2.7 MB an input) would
#: leave a CPU's cache no room, and a GPU's memory few inputs.
_MASKS = 256
#: Inputs that the network without dropout takes at a time.
_INPUTS = 1024


class MCDropoutModel(Posterior):
    """A network with explicit dropout masks. A subclass draws them and predicts under them, layer by layer.

    Its inference takes every mask through every layer; `MCDropoutNet` leaves out what masks drop.
    """

    @abstractmethod
    def draw_masks(self, num_samples: int, generator: Generator) -> Masks:
        """Draws independent dropout masks, K of them for every dropout layer.

        Args:
            num_samples: K, at least 1.
            generator: a CPU generator, whatever the model's device, so that CPU and GPU runs use the same masks.

        Returns:
            A list with one [K, U] bool tensor a dropout layer, on the CPU: to count what masks keep, no GPU must wait.
        """

    @abstractmethod
    def forward(self, inputs: Tensor, masks: Masks | None = None) -> Float[Tensor, "N C"]:
        """Log-probabilities under given dropout masks.

        Args:
            inputs: [N, ...].
            masks: one [N, U] (a mask an input) or [1, U] (one mask for all) a dropout layer, in order, on the inputs'
                device; None: dropout off.

        Returns:
            Log-probabilities [N, C], natural log.
        """

    def training_pass(self, num_inputs: int, generator: Generator, device: torch.device) -> TrainingPass:
        """Every input of the epoch has masks of its own."""
        masks = [mask.to(device) for mask in self.draw_masks(num_inputs, generator)]
        return lambda inputs, places: self(inputs, [mask[places] for mask in masks])

    def network_log_probs(self, inputs: Float[Tensor, "N ..."]) -> Float[Tensor, "N C"]:
        """With dropout off."""
        with float32_products(inputs.device):
            return torch.cat([self(chunk) for chunk in inputs.split(_INPUTS)])

    def sampled(
        self, num_samples: int, *, generator: Generator, precision: str, example: Tensor, memory_budget: int | None
    ) -> Sampled:
        """Masks; every layer is computed under each of them. bf16 is autocast's."""
        masks = [mask.to(example.device) for mask in self.draw_masks(num_samples, generator)]

        def write_logits(inputs: Tensor, out: Tensor) -> None:
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
                for k in range(num_samples):
                    out[:, k] = self(inputs, [mask[k : k + 1] for mask in masks])

        return Sampled(write_logits, inputs_within(memory_budget, self, example, [mask[:1] for mask in masks]))


class MCDropoutNet(MCDropoutModel):
    """Stages in sequence, from inputs to log-probabilities. Inference leaves out what masks drop (`masked`).

    Raises:
        ValueError: no stage, or dropout on the last one, which would drop classes.
    """

    def __init__(self, stages: Sequence[Stage]):
        super().__init__()
        if not stages or stages[-1].dropout:
            raise ValueError("there must be a last stage, and it must be without dropout")
        self.stages = nn.ModuleList(stages)

    @property
    def stage_list(self) -> list[Stage]:
        """The stages by their own type, which `nn.ModuleList` does not know."""
        return [*self.stages]

    @property
    def num_classes(self) -> int:
        return self.stage_list[-1].units

    def forward(self, inputs: Tensor, masks: Masks | None = None) -> Float[Tensor, "N C"]:
        remaining = iter(masks) if masks is not None else None
        x = inputs
        for stage in self.stage_list:
            x = stage(x, next(remaining) if remaining and stage.dropout else None)
        return F.log_softmax(x, dim=-1)

    def draw_masks(self, num_samples: int, generator: Generator) -> Masks:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        return [
            torch.rand(num_samples, stage.units, generator=generator) >= stage.dropout
            for stage in self.stage_list
            if stage.dropout
        ]

    def sampled(
        self, num_samples: int, *, generator: Generator, precision: str, example: Tensor, memory_budget: int | None
    ) -> Sampled:
        """Masks, each for what it leaves of the network. bf16 holds behind the first dropout; on the MNIST CNN it moves
        log-probabilities by 0.02 on average, and probabilities by 0.02 at most. By default 64 MiB of activations on a
        CPU, for each of its threads, and 2 GiB on a GPU."""
        on_cpu = example.device.type == "cpu"
        masks = self.draw_masks(num_samples, generator)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        parts = [slice(k, min(k + _MASKS, num_samples)) for k in range(0, num_samples, _MASKS)]
        networks = [
            MaskedNetwork(self.stage_list, [mask[part] for mask in masks], part.stop - part.start, example, dtype)
            for part in parts
        ]
        if memory_budget is None:
            memory_budget = 2**26 if on_cpu else 2**31

        def write_logits(inputs: Tensor, out: Tensor) -> None:
            for part, network in zip(parts, networks, strict=True):
                network(inputs, out[:, part])

        fit = min(network.inputs_within(memory_budget) for network in networks)
        return Sampled(write_logits, fit, torch.get_num_threads() if on_cpu else 1)
