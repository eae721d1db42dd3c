"""Active learning: train, evaluate, score the pool, select a batch, judge it, record, until enough is labelled.

Axes: N points that can be acquired, K samples of the posterior, C classes. A *pool position* counts the points of the
pool.

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations, section 3.
"""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)

# isort: split
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from tqdm import tqdm

from alkbald.acquisition import METHODS, Batch
from alkbald.data import Data, load
from alkbald.devices import prepared_device
from alkbald.errors import AxesWarning, TablesTooLarge, TrainingDiverged
from alkbald.evaluation import Evaluation, evaluate
from alkbald.measuring import Stopwatch, peak_memory, reset_peak_memory
from alkbald.posteriors import Posterior, make_posterior
from alkbald.progress import RunProgress, tell
from alkbald.randomness import derived_generator, derived_seed
from alkbald.recording import acquired_rows, judged_columns, recorded_positions, summary_line, trained_columns
from alkbald.records.files import should_stop
from alkbald.records.provenance import provenance
from alkbald.records.recorders import Follower, follow_complete
from alkbald.records.run import Run
from alkbald.settings import Settings, check_method_size, check_sizes, method_options, refused_in_one_line
from alkbald.training import Fit, fit


def run(settings: Settings, *, job: int = 0) -> Run:
    """One active-learning run, from its first round, or from where it stopped, to its last.

    Args:
        settings: checked.
        job: number of the run in its sweep; with device=auto, runs take the GPUs in turn.

    Raises:
        SettingsError, DataError, RecordError: before any training.
        TrainingDiverged, RecordError, SettingsError (see `select`): the rounds before are recorded.
    """
    record = Run(settings)
    if record.is_complete:
        tell(f"already complete: {record.folder}")
        follow_complete(record, partial(pool_images, cache(partial(load, **vars(settings.data)))))
        return record
    device = prepared_device(settings.device, precision=settings.precision, threads=settings.threads, job=job)
    data = load(**vars(settings.data), device=device)
    check_sizes(settings, len(data.initial), len(data.pool_labels))
    check_method_size(settings, len(data.pool_labels) - len(data.initial), data.num_classes, device)
    reset_peak_memory(device)
    with record.writing(provenance(device)):
        beginning = f"resuming after round {len(record.rounds) - 1}" if record.rounds else "recording"
        tell(f"{beginning} in {record.folder}")
        with _named("warm-up"):
            _warm_up(settings, data)
        labelled = data.initial + recorded_positions(record.folder, record.rounds, record.acquired, data)
        sizes = len(data.initial), settings.max_labels, settings.acq_size
        with (
            Follower(record, partial(pool_images, lambda: data)) as follower,
            RunProgress(record.rounds, *sizes, shown=settings.progress) as progress,
        ):
            while not record.is_complete:
                row, acquired, epochs = active_learning_round(settings, data, labelled, len(record.rounds), progress)
                labelled += [point["pool_position"] for point in acquired]
                record.append(row, acquired, epochs)
                tell(summary_line(row, settings.num_samples))
                follower.catch_up()
    tell(f"complete: {record.folder}")
    return record


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


def active_learning_round(
    settings: Settings, data: Data, labelled: list[int], number: int, progress: RunProgress | None = None
) -> Round:
    """Trains on what is labelled, evaluates, and acquires a batch unless that was the last round.

    Args:
        settings: of the run.
        data: what it learns from.
        labelled: pool positions, in the order of acquisition.
        number: of the round, from 0; all randomness is derived from it and the seed.
        progress: is told of the parts, and shows them; None: nothing is shown.
    """
    progress = progress or RunProgress([], len(labelled), settings.max_labels, settings.acq_size, shown=False)
    clock = Stopwatch(data.pool_inputs.device, progress.begin)
    with clock.measure("training"), _named(f"round {number}"):
        posterior, fitted = train(settings, data, labelled, number, partial(progress.bar, unit="epoch"))
    with clock.measure("evaluation"), _named(f"round {number}"):
        evaluation = evaluated(settings, posterior, data, number)
    row = trained_columns(number, data, labelled, fitted, evaluation)
    acquired: list[dict[str, Any]] = []
    if not should_stop(len(labelled), evaluation.accuracy, settings.max_labels, settings.target_accuracy):
        candidates = acquirable(settings, len(data.pool_labels), labelled, number)
        scored = partial(score, settings, posterior, number=number, progress=partial(progress.bar, unit="chunk"))
        log_probs = None
        if METHODS[settings.method["name"]].needs_predictions:
            with clock.measure("inference"), _named(f"round {number}"):
                log_probs = scored(data.pool_inputs[candidates])
        with clock.measure("selection"):
            batch = select(settings, log_probs, len(candidates), number)
        positions = candidates[batch.indices]
        with clock.measure("judging"), _named(f"round {number}"):
            if log_probs is None:
                batch = replace(batch, log_probs=scored(data.pool_inputs[positions]))
            row |= judged_columns(batch)
        acquired = acquired_rows(number, data, positions, batch)
    row |= {f"seconds_{part}": seconds for part, seconds in clock.seconds.items()}
    row |= {"seconds_validation": fitted.seconds_validation, "peak_memory_bytes": peak_memory(clock.device)}
    return Round(row, acquired, [{"round": number, **epoch._asdict()} for epoch in fitted.history])


def train(
    settings: Settings,
    data: Data,
    labelled: list[int],
    number: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[Posterior, Fit]:
    """The posterior of a round: fresh weights, fitted to what is labelled (pool positions).

    Raises:
        TrainingDiverged: the loss or the predictions are not finite.
    """
    weights_seed = partial(derived_seed, settings.seed, number, "weights")
    posterior = make_posterior(settings.model, data.image_shape, data.num_classes, weights_seed)
    posterior = posterior.to(data.pool_inputs.device)
    fitted = fit(
        posterior,
        data.pool_inputs[labelled],
        data.pool_labels[labelled],
        data.validation_inputs,
        data.validation_labels,
        **vars(settings.training),
        precision=settings.precision,
        generator=_generator(settings, number, "training"),
        validation_generator=_generator(settings, number, "validation"),
        progress=progress,
    )
    return posterior, fitted


def evaluated(settings: Settings, posterior: Posterior, data: Data, number: int) -> Evaluation:
    """The test set.

    Raises:
        TrainingDiverged: the predictions are not finite.
    """
    evaluation = evaluate(
        posterior,
        data.test_inputs,
        data.test_labels,
        settings.evaluation_samples,
        generator=_generator(settings, number, "evaluation"),
        precision=settings.precision,
    )
    if not math.isfinite(evaluation.nll):
        raise TrainingDiverged("predictions are not finite on the test set; try a lower learning rate")
    return evaluation


def acquirable(settings: Settings, pool_size: int, labelled: list[int], number: int) -> Int[Tensor, " N"]:
    """Pool positions of which the round acquires some, ascending: all that are not labelled, or a random
    `pool_sample` of them."""
    candidates = unlabelled(pool_size, labelled)
    if settings.pool_sample is None:
        return candidates
    drawn = torch.randperm(len(candidates), generator=_generator(settings, number, "pool sample"))
    return candidates[drawn[: settings.pool_sample].sort().values]


def unlabelled(pool_size: int, labelled: list[int]) -> Int[Tensor, " N"]:
    """Pool positions that are not labelled, ascending."""
    free = torch.ones(pool_size, dtype=torch.bool)
    free[labelled] = False
    return free.nonzero()[:, 0]


def score(
    settings: Settings,
    posterior: Posterior,
    inputs: Float[Tensor, "N ..."],
    *,
    number: int,
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Float[Tensor, "N K C"]:
    """What a round selects by: log-probabilities under the same samples whichever inputs are asked for.

    Raises:
        TrainingDiverged: they are not numbers.
    """
    log_probs = posterior.log_probs(
        inputs,
        settings.num_samples,
        generator=_generator(settings, number, "scoring"),
        precision=settings.precision,
        progress=progress,
    )
    if log_probs.isnan().any():
        raise TrainingDiverged("predictions are not finite on the pool")
    return log_probs


def select(settings: Settings, log_probs: Float[Tensor, "N K C"] | None, num_candidates: int, number: int) -> Batch:
    """The batch that the method chooses.

    Args:
        settings: of the run.
        log_probs: of the candidates; None for a method that looks at none.
        num_candidates: N.
        number: of the round.

    Raises:
        SettingsError: less memory is free than before the run, and the method's tables do not fit any more. A
            configured memory_budget cannot come to that.
    """
    if log_probs is None:
        log_probs = torch.zeros(num_candidates, 1, 1)  # valid predictions that say nothing
    method, size = METHODS[settings.method["name"]], min(settings.acq_size, num_candidates)
    generator = _generator(settings, number, "selection")
    with refused_in_one_line(settings, TablesTooLarge):
        return method(log_probs, size, **method_options(settings), generator=generator)


def pool_images(data: Callable[[], Data], positions: list[int]) -> np.ndarray:
    """Images [B, channels, S, S] at these pool positions, as the model sees them."""
    return data().pool_inputs[positions].cpu().numpy()


def progress_bar(settings: Settings, description: str) -> Callable[..., tqdm]:
    """A bar that goes when it is done; none where there is no terminal, or where settings say so."""
    return partial(tqdm, desc=description, leave=False, disable=None if settings.progress else True)


def _generator(settings: Settings, number: int, purpose: str) -> Generator:
    """The random stream of a round for a purpose."""
    return derived_generator(settings.seed, number, purpose)


@contextmanager
def _named(part: str) -> Iterator[None]:
    """Errors of training say in which part of a run they came."""
    try:
        yield
    except TrainingDiverged as error:
        raise TrainingDiverged(f"{part}: {error}") from error


def _warm_up(settings: Settings, data: Data) -> None:
    """A throwaway round on a few points, so that no measured part pays for what a device does on first use."""
    posterior = make_posterior(settings.model, data.image_shape, data.num_classes, lambda *key: 0)
    posterior = posterior.to(data.pool_inputs.device)
    few = slice(0, settings.training.batch_size)
    points = data.pool_inputs[few], data.pool_labels[few]
    generator = derived_generator("warm-up")
    short = {"max_epochs": 1, "epoch_size": min(2 * settings.training.batch_size, settings.training.epoch_size)}
    fit(
        posterior,
        *points,
        *points,
        **vars(settings.training) | short,
        precision=settings.precision,
        generator=generator,
        validation_generator=generator,
    )
    log_probs = posterior.log_probs(points[0], settings.num_samples, generator=generator, precision=settings.precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AxesWarning)  # a network that has learned nothing may look like that
        select(settings, log_probs, min(2, len(log_probs)), 0)
