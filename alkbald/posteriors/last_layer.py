"""A network whose last layer alone is Bayesian, by a Laplace approximation.

Axes: N inputs, K samples of the last layer, F features that it reads, C classes.

The network is trained as usual. Then the posterior of the last layer's weights w is approximated by a Gaussian around
the trained ones, w*, whose precision is the Hessian of the loss there: N(w*, (H + prior precision I)^-1). H is the
generalised Gauss-Newton matrix, over all weights of the layer together. `laplace-torch` computes it [Daxberger2021].

References:
    [Daxberger2021] Daxberger, Kristiadi, Immer, Eschenhagen, Bauer and Hennig. Laplace redux: effortless Bayesian deep
        learning.
"""

import importlib.util
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from alkbald.devices import float32_products
from alkbald.posteriors.base import Posterior, Sampled, inputs_within
from alkbald.posteriors.mc_dropout import MCDropoutNet

#: Inputs that the Hessian is summed over at a time.
_INPUTS = 256


def last_layer(
    network: Callable[[int], MCDropoutNet], weights_seed: Callable[..., int], *, prior_precision: float | None = None
) -> "LastLayer":
    """An untrained network with a Bayesian last layer.

    Args:
        network: makes the network, given the seed of its initial weights.
        weights_seed: gives that seed.
        prior_precision: see `LastLayer`.

    Raises:
        ValueError, ImportError: see `LastLayer`.
    """
    return LastLayer(network(weights_seed()), prior_precision)


class LastLayer(Posterior):
    """K last layers are drawn once, and the features of every input go through all of them.

    Args:
        network: its last stage is a linear layer. Dropout, if it has some, serves training; predictions are without.
        prior_precision: of the Gaussian prior of each weight of the last layer, positive; None: the one that maximises
            the marginal likelihood.

    Raises:
        ValueError: a prior precision that is not positive, or a last stage that is a convolution.
        ImportError: laplace-torch is not there.
    """

    validates_without_sampling = True

    def __init__(self, network: MCDropoutNet, prior_precision: float | None = None):
        super().__init__()
        if importlib.util.find_spec("laplace") is None:
            raise ImportError("a Bayesian last layer needs laplace-torch: pip install 'alkbald[laplace]'")
        if prior_precision is not None and not (type(prior_precision) in (int, float) and prior_precision > 0):
            raise ValueError(f"prior_precision must be positive, or null, got {prior_precision}")
        if not isinstance(network.stages[-1].layer, nn.Linear):
            raise ValueError("the last stage must be a linear layer")
        self.network = network
        self._prior_precision = prior_precision
        self._mean: Tensor | None = None
        self._scale: Tensor | None = None

    @property
    def num_classes(self) -> int:
        return self.network.num_classes

    @property
    def networks(self) -> Sequence[Posterior]:
        return [self.network]

    def network_log_probs(self, inputs: Float[Tensor, "N ..."]) -> Float[Tensor, "N C"]:
        """With the trained last layer, the mean of its posterior."""
        return self.network.network_log_probs(inputs)

    def after_training(self, inputs: Float[Tensor, "N ..."], labels: Int[Tensor, " N"]) -> None:
        """Fits the Gaussian of the last layer to the data that the network was trained on."""
        from laplace import Laplace  # here, since it is an optional dependency, and takes seconds to import

        with torch.enable_grad(), float32_products():
            gaussian = Laplace(
                _Logits(self.network),
                "classification",
                subset_of_weights="last_layer",
                hessian_structure="full",
                last_layer_name="head",
                prior_precision=1.0 if self._prior_precision is None else self._prior_precision,
            )
            gaussian.fit(DataLoader(TensorDataset(inputs, labels), batch_size=_INPUTS))
            if self._prior_precision is None:
                gaussian.optimize_prior_precision(method="marglik")
            self._mean, self._scale = gaussian.mean.detach(), gaussian.posterior_scale.detach()

    def sampled(
        self, num_samples: int, *, generator: Generator, precision: str, example: Tensor, memory_budget: int | None
    ) -> Sampled:
        """K last layers. bf16 is autocast's, and not of the last layer.

        Raises:
            RuntimeError: it has not been trained.
        """
        if self._mean is None or self._scale is None:
            raise RuntimeError("the last layer has no posterior before it is trained (alkbald.training.fit)")
        noise = torch.randn(num_samples, len(self._mean), generator=generator).to(self._mean)
        drawn = self._mean + noise @ self._scale.T  # as PyTorch lists the layer's parameters: weight, then bias
        head = self.network.stages[-1].layer
        weight = drawn[:, : head.weight.numel()].view(num_samples, *head.weight.shape)
        bias = drawn[:, head.weight.numel() :]
        network = _Logits(self.network)

        def write_logits(inputs: Tensor, out: Tensor) -> None:
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
                features = network.features(inputs)
            out[:] = torch.einsum("nf,kcf->nkc", features.float(), weight) + bias

        return Sampled(write_logits, inputs_within(memory_budget, network, example))


class _Logits(nn.Module):
    """The network without dropout as features and head, which is how laplace-torch wants it."""

    def __init__(self, network: MCDropoutNet):
        super().__init__()
        self.stages = network.stages[:-1]
        self.head = network.stages[-1].layer

    def features(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n F"]:
        x = inputs
        for stage in self.stages:
            x = stage(x, None)
        return x.flatten(1)

    def forward(self, inputs: Float[Tensor, "n ..."]) -> Float[Tensor, "n C"]:
        return self.head(self.features(inputs))
