"""The paper's CNN as benchmarks train it, and its predictions. Axes: N points, K samples, C classes."""

import time

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alkbald.benchmarking.bench import Bench
from alkbald.data import Data, load
from alkbald.errors import DataError
from alkbald.inference import sample_log_probs
from alkbald.model import MCDropoutNet, mnist_cnn
from alkbald.randomness import derived_generator
from alkbald.training import fit


def trained_on_mnist(root: str, labels_per_class: int, device: torch.device) -> tuple[MCDropoutNet, Data]:
    """The paper's CNN trained on the initial set, at the paper's settings, and the data.

    Raises:
        DataError: MNIST is not there and cannot be downloaded.
    """
    data = load("mnist", root=root, initial_per_class=labels_per_class, device=device)
    model = mnist_cnn(10, seed=0).to(device)
    fit(
        model,
        data.pool_inputs[data.initial],
        data.pool_labels[data.initial],
        data.validation_inputs,
        data.validation_labels,
        generator=derived_generator("training"),
        validation_generator=derived_generator("validation"),
    )
    return model, data


def seconds_of_training(
    inputs: Float[Tensor, "N 1 28 28"], labels: Int[Tensor, " N"], *, epochs: int, steps: int
) -> float:
    """Seconds that our training takes, its validation left out: so many epochs of so many steps of 64."""
    start = time.perf_counter()
    fitted = fit(
        mnist_cnn(10, seed=0).to(inputs.device),
        inputs,
        labels,
        inputs,
        labels,
        generator=derived_generator("a"),
        validation_generator=derived_generator("b"),
        max_epochs=epochs,
        patience=epochs,
        epoch_size=64 * steps,
        validation_samples=1,
    )
    return time.perf_counter() - start - fitted.seconds_validation


def predictions(bench: Bench, root: str, labels_per_class: int, pool: int, num_samples: int) -> Float[Tensor, "N K C"]:
    """Log-probabilities of `pool` points; synthetic ones where MNIST is not there. `bench.predictions` says which.

    The time that the CNN takes becomes a row of the bench.
    """
    try:
        model, data = trained_on_mnist(root, labels_per_class, bench.device)
    except DataError as error:
        print(f"synthetic predictions, for want of MNIST: {error}")
        generator = derived_generator("synthetic")
        point = 3 * torch.randn(pool, 1, 10, generator=generator)
        logits = point + 2 * torch.randn(pool, num_samples, 10, generator=generator)
        bench.predictions, log_probs, seconds = "synthetic", logits.log_softmax(-1).to(bench.device), None
    else:
        inputs = torch.cat([data.pool_inputs, data.validation_inputs])[:pool]  # the paper's Table 1 has 60,000 points
        bench.predictions = f"MNIST, {10 * labels_per_class} labels"
        log_probs, seconds = bench.timed(
            lambda: sample_log_probs(model, inputs, num_samples, generator=derived_generator("scoring"))
        )
    row = {"what": "inference", "predictions": bench.predictions, "N": len(log_probs), "K": num_samples}
    bench.rows.append(row | {"seconds": seconds})
    return log_probs
