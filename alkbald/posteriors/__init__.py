"""Posteriors: distributions over networks that can be fitted, and asked for predictions.

base         the interface
networks     architectures
mc_dropout   dropout masks as samples
ensemble     the members of a deep ensemble as samples
last_layer   samples of the last layer's weights, by a Laplace approximation

To add one, write a file here with a function like `ensemble`, its line in `POSTERIORS`, and a YAML in configs/model/.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from alkbald.posteriors.base import PRECISIONS, Posterior, Sampled, check_num_samples, check_validation_samples
from alkbald.posteriors.ensemble import Ensemble, ensemble
from alkbald.posteriors.last_layer import LastLayer, last_layer
from alkbald.posteriors.mc_dropout import MCDropoutModel, MCDropoutNet
from alkbald.posteriors.networks import NETWORKS, cnn, mnist_cnn

#: By name, functions of how a network is made (from the seed of its weights), of the seeds of weights (by key), and of
#: the posterior's own options, which are keywords.
POSTERIORS: dict[str, Callable[..., Posterior]] = {
    "mc_dropout": lambda network, weights_seed: network(weights_seed()),
    "ensemble": ensemble,
    "last_layer": last_layer,
}


def make_posterior(
    options: Mapping[str, Any], image_shape: Sequence[int], num_classes: int, weights_seed: Callable[..., int]
) -> Posterior:
    """An untrained posterior, as configs/model/ describes it.

    Args:
        options: `posterior` and `network`, names in `POSTERIORS` and `NETWORKS`, and the options of both.
        image_shape: channels, height and width of an image.
        num_classes: C.
        weights_seed: the seed of some initial weights, by their key.

    Raises:
        ValueError: an unknown name or option, or an option out of range.
        TypeError: an option that is lacking.
        ImportError: an optional dependency is not there.
    """
    own = dict(options)
    for key, known in (("posterior", POSTERIORS), ("network", NETWORKS)):
        if not isinstance(own.get(key), str) or own[key] not in known:
            raise ValueError(f"{key} must be one of {', '.join(known)}, got {own.get(key)}")
    posterior, architecture = POSTERIORS[own.pop("posterior")], NETWORKS[own.pop("network")]
    of_posterior = {key: own.pop(key) for key in own.keys() & _options(posterior)}
    if unknown := sorted(own.keys() - _options(architecture)):
        raise ValueError(f"{unknown[0]} is no option of posterior={options['posterior']}, network={options['network']}")
    network = partial(architecture, image_shape, num_classes, **own)
    return posterior(lambda seed: network(seed=seed), weights_seed, **of_posterior)


def _options(function: Callable[..., Any]) -> set[str]:
    """Its keywords, but for the seed, which follows from the run's."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY} - {"seed"}


__all__ = [
    "NETWORKS",
    "POSTERIORS",
    "PRECISIONS",
    "Ensemble",
    "LastLayer",
    "MCDropoutModel",
    "MCDropoutNet",
    "Posterior",
    "Sampled",
    "check_num_samples",
    "check_validation_samples",
    "cnn",
    "make_posterior",
    "mnist_cnn",
]
