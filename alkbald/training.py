"""Training: one labelled set in, one fitted model out. Axes: N inputs, C classes.

The epoch, the optimiser and early stopping are those of the paper's runs; the labelled set is wholly on the device.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F

from alkbald.errors import TrainingDiverged
from alkbald.inference import evaluate
from alkbald.model import MCDropoutModel

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Epoch(NamedTuple):
    """How an epoch went.

    Attributes:
        epoch: its number, from 1.
        training_loss: mean over its steps of the mini-batch's mean cross-entropy, before each step; nats.
        validation_accuracy: after it; NaN without validation.
    """

    epoch: int
    training_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        epochs: epochs trained.
        best_epoch: the one whose weights the model has, counted from 1.
        validation_accuracy: at that epoch; NaN without validation.
        seconds_validation: spent on validation accuracies, of all the training took.
        history: every epoch.
    """

    epochs: int
    best_epoch: int
    validation_accuracy: float
    seconds_validation: float
    history: list[Epoch]


def epoch_order(num_labelled: int, epoch_size: int, generator: Generator) -> Int[Tensor, " E"]:
    """A shuffled epoch of max(num_labelled, epoch_size) samples: each labelled point equally often, up to one.

    Who comes once more than the others is drawn anew each epoch.
    """
    length = max(num_labelled, epoch_size)
    once = torch.randperm(num_labelled, generator=generator)
    return once.repeat(-(-length // num_labelled))[:length][torch.randperm(length, generator=generator)]


def fit(
    model: MCDropoutModel,
    inputs: Float[Tensor, "N ..."],
    labels: Int[Tensor, " N"],
    validation_inputs: Float[Tensor, "V ..."],
    validation_labels: Int[Tensor, " V"],
    *,
    generator: Generator,
    validation_generator: Generator,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    weight_decay: float = 5e-4,
    batch_size: int = 64,
    epoch_size: int = 1024,
    max_epochs: int = 300,
    patience: int = 20,
    validation_samples: int = 20,
    precision: str = "fp32",
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Fit:
    """Trains the model in place, and leaves it with the weights of its best epoch on validation.

    A step minimises the cross-entropy of one dropout sample, with a mask of its own for every input of the mini-batch.
    Training ends when `patience` epochs have brought no better validation accuracy (of the mean of `validation_samples`
    consistent MC-dropout predictions); of equally good epochs the first counts.

    Args:
        model: trained in place.
        inputs, labels: the labelled set, on the model's device.
        validation_inputs, validation_labels: for early stopping; V = 0: none, the model has the last epoch's weights.
        generator: a CPU generator for the order and the dropout masks of the steps.
        validation_generator: a CPU generator for the masks of validation.
        optimizer: a name in `OPTIMIZERS`.
        epoch_size: samples an epoch if the labelled set is smaller; the incomplete last mini-batch is dropped.
        validation_samples: K of the validation; 0: dropout off.
        precision: of the validation's inference, one of `inference.PRECISIONS`; training is in float32
            (of convolutions on a GPU, with PyTorch's default products: tf32).
        progress: wraps the iteration over epochs, a progress bar say.

    Raises:
        TrainingDiverged: the loss, or a prediction in validation, became NaN or infinite.
    """
    optimise = OPTIMIZERS[optimizer](model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    best_epoch, best_accuracy, seconds_validation = 0, -1.0, 0.0
    history: list[Epoch] = []
    best_weights: dict[str, Tensor] = {}
    for epoch in progress(range(1, max_epochs + 1)):
        order = epoch_order(len(inputs), epoch_size, generator).to(inputs.device)
        masks = [mask.to(inputs.device) for mask in model.draw_masks(len(order), generator)]
        steps = max(1, len(order) // batch_size)
        loss_sum = inputs.new_zeros(())
        for step in range(steps):
            rows = slice(step * batch_size, (step + 1) * batch_size)
            chosen = order[rows]
            log_probs = model(inputs[chosen], [mask[rows] for mask in masks])
            loss = F.nll_loss(log_probs, labels[chosen])
            optimise.zero_grad(set_to_none=True)
            loss.backward()
            optimise.step()
            loss_sum += loss.detach()
        training_loss = loss_sum.item() / steps
        if not math.isfinite(training_loss):
            raise TrainingDiverged(f"the training loss is {training_loss} in epoch {epoch}; try a lower learning rate")
        if not len(validation_inputs):
            best_epoch, best_accuracy = epoch, math.nan
            history.append(Epoch(epoch, training_loss, math.nan))
            continue
        start = time.perf_counter()  # reading the loss has waited for the device, as reading the accuracy will
        evaluation = evaluate(
            model,
            validation_inputs,
            validation_labels,
            validation_samples,
            generator=validation_generator,
            precision=precision,
        )
        accuracy, nll = evaluation.accuracy, evaluation.nll
        seconds_validation += time.perf_counter() - start
        history.append(Epoch(epoch, training_loss, accuracy))
        if not math.isfinite(nll):
            raise TrainingDiverged(f"predictions are not finite in epoch {epoch}; try a lower learning rate")
        if accuracy > best_accuracy:
            best_epoch, best_accuracy = epoch, accuracy
            # Cloned: the state dict holds references to tensors that training goes on changing.
            best_weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        elif epoch - best_epoch >= patience:
            break
    if best_weights:
        model.load_state_dict(best_weights)
    return Fit(epoch, best_epoch, best_accuracy, seconds_validation, history)
