"""Active learning: train, evaluate, score the pool, acquire, record, until enough is labelled.

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations, section 3.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from alkbald.acquisition import METHODS, Batch
from alkbald.data import Data, load
from alkbald.devices import bfloat16_slowdown, pick_device
from alkbald.errors import RecordError, SettingsError, TrainingDiverged
from alkbald.inference import evaluate, sample_log_probs
from alkbald.measuring import Stopwatch, peak_memory, reset_peak_memory
from alkbald.model import MCDropoutModel, mnist_cnn
from alkbald.randomness import derived_generator, derived_seed
from alkbald.records.files import should_stop
from alkbald.records.run import Run
from alkbald.settings import Settings, check_method_size, check_sizes, method_options
from alkbald.training import Fit, fit


def run(settings: Settings, *, job: int = 0) -> Run:
    """One active-learning run, from its first round, or from where it stopped, to its last.

    Args:
        settings: checked.
        job: number of the run in its sweep; with device=auto, runs take the GPUs in turn.

    Raises:
        SettingsError, DataError, RecordError: before any training.
        TrainingDiverged, RecordError: the rounds before are recorded.
    """
    record = Run(settings)
    if record.is_complete:
        print(f"already complete: {record.folder}")
        return record
    device = prepared_device(settings, job)
    data = load(**vars(settings.data), device=device)
    check_sizes(settings, len(data.initial), len(data.pool_labels))
    check_method_size(settings, len(data.pool_labels) - len(data.initial), data.num_classes, device)
    reset_peak_memory(device)
    with record.writing(device):
        beginning = f"resuming after round {len(record.rounds) - 1}" if record.rounds else "recording"
        print(f"{beginning} in {record.folder}", flush=True)
        _warm_up(settings, data)
        labelled = data.initial + recorded_positions(record.folder, record.rounds, record.acquired, data)
        while not record.is_complete:
            row, acquired, epochs = active_learning_round(settings, data, labelled, len(record.rounds))
            labelled += [point["pool_position"] for point in acquired]
            record.append(row, acquired, epochs)
            tqdm.write(_summary(row, settings.num_samples))
            if row.get("share_of_log_k", 0) > 0.95:
                tqdm.write(
                    f"  the batch uses {row['share_of_log_k']:.1%} of log K: num_samples={settings.num_samples} bounds "
                    "what a batch can be worth, and its last picks are hardly told apart"
                )
    print(f"complete: {record.folder}", flush=True)
    return record


def recorded_positions(
    folder: Path, rounds: list[dict[str, str]], acquired: list[dict[str, str]], data: Data
) -> list[int]:
    """Pool positions of the points that a run has acquired, of its record as `records.files.read_record` gives it.

    Raises:
        RecordError: they are not points of these data, or not apart from each other and from the initial set.
    """
    if rounds and int(rounds[0]["labelled"]) != len(data.initial):
        raise RecordError(f"{folder}/rounds.csv does not begin with the initial set's {len(data.initial)} labels")
    positions = [int(point["pool_position"]) for point in acquired]
    seen = set(data.initial)
    for position, point in zip(positions, acquired, strict=True):
        fits = 0 <= position < len(data.pool_labels) and position not in seen
        if not fits or [int(point[key]) for key in ("index", "label")] != [
            data.pool_index[position].item(),
            data.pool_labels[position].item(),
        ]:
            raise RecordError(f"{folder}/acquired.csv: pool position {position} does not fit the data")
        seen.add(position)
    return positions


def prepared_device(settings: Settings, job: int = 0) -> torch.device:
    """The device of a run, with the number of threads set; what makes the run slow here is told in a line.

    Raises:
        SettingsError: the device cannot do the precision.
    """
    device = pick_device(settings.device, job)
    if settings.precision == "tf32" and device.type != "cuda":
        raise SettingsError(f"precision=tf32 needs an NVIDIA GPU, the device is {device}")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if device.type == "cpu" and settings.precision == "bf16" and (slowdown := bfloat16_slowdown()) > 2:
        print(f"note: bf16 products take {slowdown:.0f} times as long as fp32 here: precision=fp32 is faster")
    return device


class Round(NamedTuple):
    """What a round records.

    Attributes:
        row: of the round (the columns of `records.schema.ROUNDS`).
        acquired: a row for each acquired point (`records.schema.ACQUIRED`).
        epochs: a row for each epoch of its training (`records.schema.EPOCHS`).
    """

    row: dict[str, Any]
    acquired: list[dict[str, Any]]
    epochs: list[dict[str, Any]]


def active_learning_round(settings: Settings, data: Data, labelled: list[int], number: int) -> Round:
    """Trains on what is labelled, evaluates, and acquires a batch unless that was the last round.

    Args:
        labelled: pool positions, in the order of acquisition.
        number: of the round, from 0; all randomness is derived from it and the seed.
    """
    stream = partial(derived_generator, settings.seed, number)
    bar = progress_bar(settings, f"{len(labelled)} labels")
    device = data.pool_inputs.device
    clock = Stopwatch(device)
    with clock.measure("training"), _round_named(number):
        model, fitted = trained(settings, data, labelled, number, partial(bar, unit="epoch"))
    with clock.measure("evaluation"):
        evaluation = evaluate(
            model,
            data.test_inputs,
            data.test_labels,
            settings.evaluation_samples,
            generator=stream("evaluation"),
            precision=settings.precision,
        )
    accuracy = evaluation.accuracy
    if not math.isfinite(evaluation.nll):
        raise TrainingDiverged(f"round {number}: predictions are not finite on the test set; try a lower learning rate")
    row = {
        "round": number,
        "labelled": len(labelled),
        "accuracy": accuracy,
        "nll": evaluation.nll,
        "ece": evaluation.ece,
        "brier": evaluation.brier,
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "validation_accuracy": fitted.validation_accuracy,
        "seconds_validation": fitted.seconds_validation,
        "pool": len(data.pool_labels) - len(labelled),
    }
    acquired = []
    if not should_stop(len(labelled), accuracy, settings.max_labels, settings.target_accuracy):
        candidates = unlabelled(len(data.pool_labels), labelled)
        if settings.pool_sample is not None:
            chosen = torch.randperm(len(candidates), generator=stream("pool sample"))[: settings.pool_sample]
            candidates = candidates[chosen.sort().values]
        predict = partial(predictions, settings, model, number=number, progress=partial(bar, unit="chunk"))
        method = METHODS[settings.method["name"]]
        if not method.needs_predictions:
            log_probs = torch.zeros(len(candidates), 1, 1)  # valid predictions that say nothing
        else:
            with clock.measure("inference"):
                log_probs = predict(data.pool_inputs[candidates])
            if log_probs.isnan().any():
                raise TrainingDiverged(f"round {number}: predictions are not finite on the pool")
        with clock.measure("selection"):
            size, options = min(settings.acq_size, len(candidates)), method_options(settings)
            batch = method(log_probs, size, **options, generator=stream("selection"))
        positions = candidates[batch.indices]
        with clock.measure("judging"):
            if not method.needs_predictions:
                batch = replace(batch, log_probs=predict(data.pool_inputs[positions]))
            row |= judged(batch)
        acquired = [
            {
                "round": number,
                "position": i,
                "index": data.pool_index[position].item(),
                "pool_position": position,
                "label": data.pool_labels[position].item(),
                "score": batch.scores[i],
            }
            for i, position in enumerate(positions.tolist())
        ]
    row |= {f"seconds_{part}": seconds for part, seconds in clock.seconds.items()}
    epochs = [{"round": number, **epoch._asdict()} for epoch in fitted.history]
    return Round(row | {"peak_memory_bytes": peak_memory(device)}, acquired, epochs)


def judged(batch: Batch) -> dict[str, Any]:
    """What a round records of its batch."""
    return {
        "batch": len(batch),
        "joint_mutual_information": batch.joint_mutual_information,
        "joint_mutual_information_error": batch.standard_error,
        "share_of_log_k": batch.share_of_log_k,
        "total_correlation": batch.total_correlation,
        "first_non_positive": batch.first_non_positive,
        "decision": batch.decision or None,
    }


def trained(
    settings: Settings,
    data: Data,
    labelled: list[int],
    number: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[MCDropoutModel, Fit]:
    """The model of a round: fresh weights, trained on what is labelled (pool positions)."""
    device = data.pool_inputs.device
    seed = derived_seed(settings.seed, number, "weights")
    model = mnist_cnn(data.num_classes, dropout=settings.model.dropout, seed=seed).to(device)
    fitted = fit(
        model,
        data.pool_inputs[labelled],
        data.pool_labels[labelled],
        data.validation_inputs,
        data.validation_labels,
        **vars(settings.training),
        precision=settings.precision,
        generator=derived_generator(settings.seed, number, "training"),
        validation_generator=derived_generator(settings.seed, number, "validation"),
        progress=progress,
    )
    return model, fitted


def predictions(
    settings: Settings,
    model: MCDropoutModel,
    inputs: Tensor,
    *,
    number: int,
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Tensor:
    """What a round scores by: log-probabilities [N, K, C], under the same masks whichever inputs are asked for."""
    return sample_log_probs(
        model,
        inputs,
        settings.num_samples,
        generator=derived_generator(settings.seed, number, "scoring"),
        precision=settings.precision,
        progress=progress,
    )


def progress_bar(settings: Settings, description: str) -> Callable[..., tqdm]:
    """A bar that goes when it is done; none where there is no terminal, or where settings say so."""
    return partial(tqdm, desc=description, leave=False, disable=None if settings.progress else True)


@contextmanager
def _round_named(number: int) -> Iterator[None]:
    try:
        yield
    except TrainingDiverged as error:
        raise TrainingDiverged(f"round {number}: {error}") from error


def unlabelled(pool_size: int, labelled: list[int]) -> Tensor:
    """Pool positions that are not labelled, ascending."""
    free = torch.ones(pool_size, dtype=torch.bool)
    free[labelled] = False
    return free.nonzero()[:, 0]


def _warm_up(settings: Settings, data: Data) -> None:
    """A throwaway round on a few points, so that no measured part pays for what a device does on first use."""
    model = mnist_cnn(data.num_classes, dropout=settings.model.dropout, seed=0).to(data.pool_inputs.device)
    few = slice(0, settings.training.batch_size)
    points = data.pool_inputs[few], data.pool_labels[few]
    generator = derived_generator("warm-up")
    training = vars(settings.training) | {
        "max_epochs": 1,
        "epoch_size": min(2 * settings.training.batch_size, settings.training.epoch_size),
    }
    fit(
        model,
        *points,
        *points,
        **training,
        precision=settings.precision,
        generator=generator,
        validation_generator=generator,
    )
    log_probs = sample_log_probs(
        model, points[0], settings.num_samples, generator=generator, precision=settings.precision
    )
    method, size = METHODS[settings.method["name"]], min(2, len(log_probs))
    method(log_probs, size, **method_options(settings), generator=generator)


def _summary(row: dict[str, Any], num_samples: int) -> str:
    line = (
        f"round {row['round']}: {row['labelled']} labels, accuracy {row['accuracy']:.4f}, nll {row['nll']:.3f}, "
        f"{row['epochs']} epochs in {row['seconds_training']:.1f} s"
    )
    if "batch" in row:
        line += (
            f"; scored in {row.get('seconds_inference', 0):.1f} s, selected {row['batch']} in "
            f"{row['seconds_selection']:.1f} s, worth {row['joint_mutual_information']:.2f} of at most "
            f"{math.log(num_samples):.2f} nats"
        )
    return line
