"""The settings of a run: their types and their bounds.

Defaults and comments are in configs/config.yaml; nothing here has a default, so a setting is said in one place only.
"""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)

# isort: split
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from alkbald.acquisition import METHODS
from alkbald.acquisition.pool import checked_budget
from alkbald.data import SOURCES
from alkbald.errors import RecordError, SettingsError
from alkbald.posteriors import PRECISIONS, check_num_samples, check_validation_samples, make_posterior
from alkbald.records.recorders import check_recorder
from alkbald.records.versions import nested, recorded_settings, unknown
from alkbald.training import OPTIMIZERS


@dataclass
class DataSettings:
    name: str
    root: str
    split_seed: int
    validation_size: int
    initial_per_class: int
    noise: float
    repeats: int
    image_size: int


@dataclass
class TrainingSettings:
    optimizer: str
    learning_rate: float
    weight_decay: float
    batch_size: int
    epoch_size: int
    max_epochs: int
    patience: int
    validation_samples: int


@dataclass
class Settings:
    method: dict[str, Any]  # its name, and the keyword arguments of its function
    acq_size: int
    seed: int
    data: DataSettings
    max_labels: int
    target_accuracy: float | None
    num_samples: int
    pool_sample: int | None
    evaluation_samples: int
    model: dict[str, Any]  # of `posteriors.make_posterior`: what predicts, and its options
    training: TrainingSettings
    precision: str
    device: str
    threads: int | None
    out: str
    progress: bool
    recorder: dict[str, Any]  # of `records.recorders`: what shows the run elsewhere, and its options


# (lowest, highest) allowed values; None: no bound of its own.
_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "acq_size": (1, None),
    "seed": (0, None),
    "max_labels": (1, None),
    "target_accuracy": (0, 1),
    "num_samples": (1, None),
    "pool_sample": (1, None),
    "evaluation_samples": (1, None),
    "data.split_seed": (0, 2**32 - 1),  # what numpy accepts
    "data.validation_size": (0, None),
    "data.initial_per_class": (1, None),
    "data.noise": (0, 1e6),
    "data.repeats": (1, None),
    "data.image_size": (1, 4096),
    "threads": (1, 1024),
    "training.learning_rate": (0, 1e6),
    "training.weight_decay": (0, 1e6),
    "training.batch_size": (1, None),
    "training.epoch_size": (1, None),
    "training.max_epochs": (1, None),
    "training.patience": (1, None),
    "training.validation_samples": (0, None),
}
_LARGEST = 10**9  # of what else is counted: beyond, tensors cannot be indexed


def from_config(config: DictConfig) -> Settings:
    """The checked settings of a composed configuration.

    Raises:
        SettingsError: a value out of bounds or unknown; the message names the key and what is allowed.
        OmegaConfBaseException: an unknown key or a wrong type.
    """
    settings = cast(Settings, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), config)))
    check(settings)
    return settings


def from_record(folder: Path) -> Settings:
    """The checked settings of a recorded run, of any version; those that it lacks have their legacy values.

    The device is auto, and there is no tracker: the record may come from another machine.

    Raises:
        RecordError: they cannot be read, or are not known any more.
        SettingsError: as `from_config`.
    """
    recorded = recorded_settings(folder)
    for key in unknown(recorded, flat_keys()):
        raise RecordError(f"{folder} has {key}={recorded[key]}, and {key} is no setting of this version")
    here = {key: value for key, value in recorded.items() if not key.startswith("recorder.")}
    return from_config(OmegaConf.create(nested(here | {"device": "auto", "recorder.name": "none"})))


def check(settings: Settings) -> None:
    """Raises SettingsError for whatever can be known to be wrong before data are read."""
    for key, (low, high) in _BOUNDS.items():
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        if value is None:
            continue
        if not value >= low or (high is not None and value > high):
            allowed = f"at least {low}" if high is None else f"between {low} and {high}"
            raise SettingsError(f"{key} must be {allowed}, got {value}")
        if high is None and value > _LARGEST:
            raise SettingsError(f"{key} must be at most {_LARGEST}, got {value}")
    for key, value, known in (
        ("method.name", settings.method.get("name"), METHODS),
        ("data.name", settings.data.name, SOURCES),
        ("training.optimizer", settings.training.optimizer, OPTIMIZERS),
        ("precision", settings.precision, PRECISIONS),
    ):
        if not isinstance(value, str) or value not in known:
            raise SettingsError(f"{key} must be one of {', '.join(known)}, got {value}")
    if settings.pool_sample is not None and settings.pool_sample < settings.acq_size:
        raise SettingsError(
            f"acq_size must be at most the {settings.pool_sample} points of pool_sample, got {settings.acq_size}"
        )
    if not settings.out:
        raise SettingsError("out must name a folder, got nothing")
    try:
        check_recorder(settings.recorder)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    check_device(settings.device)
    check_model(settings)
    check_method(settings)


def method_options(settings: Settings) -> dict[str, Any]:
    """The method's keyword arguments."""
    return {key: value for key, value in settings.method.items() if key != "name"}


def check_model(settings: Settings) -> None:
    """Makes the posterior for two classes and throws it away: bad options fail before any work.

    Raises:
        SettingsError: an option that it refuses, or numbers of samples that it has not.
    """
    size = settings.data.image_size
    try:
        with torch.device("meta"):  # weights without memory
            posterior = make_posterior(settings.model, (1, size, size), 2, lambda *key: 0)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:  # RuntimeError: too large for PyTorch to count
        raise SettingsError(f"model.{error}" if isinstance(error, ValueError) else f"model: {error}") from error
    try:
        check_num_samples(posterior, settings.num_samples)
        check_num_samples(posterior, settings.evaluation_samples, "evaluation_samples")
        check_validation_samples(posterior, settings.training.validation_samples, "training.validation_samples")
    except ValueError as error:
        raise SettingsError(str(error)) from error


def check_method(settings: Settings) -> None:
    """Tries the method on at most three certain points: bad options fail before any work.

    Raises:
        SettingsError: the method refuses its options.
    """
    if reserved := {"log_probs", "batch_size", "generator", "device"} & settings.method.keys():
        raise SettingsError(f"unknown setting method.{min(reserved)}: the method's own options only")
    log_probs = torch.full((min(settings.acq_size, 3), 2, 2), -torch.inf)
    log_probs[..., 0] = 0.0
    with refused_in_one_line(settings, ValueError, TypeError):
        method, options = METHODS[settings.method["name"]], method_options(settings)
        method(log_probs, len(log_probs), **options, generator=torch.Generator())


def check_method_size(settings: Settings, pool: int, num_classes: int, device: torch.device) -> None:
    """Counts what the method's tables would take at the run's own size, on its own device.

    Args:
        settings: whose method has been checked.
        pool: points that a batch is chosen from.
        num_classes: C.
        device: of the run.

    Raises:
        SettingsError: more than the method's memory_budget.
    """
    check_size, options = METHODS[settings.method["name"]].check_size, method_options(settings)
    if check_size is None:
        return
    shape = min(pool, settings.pool_sample or pool), settings.num_samples, num_classes
    predictions = math.prod(shape) * torch.float32.itemsize  # which are on the same device by the time
    budget = checked_budget(options.pop("memory_budget", None), device, reserved=predictions)
    with refused_in_one_line(settings, ValueError, TypeError):
        check_size(shape, min(settings.acq_size, pool), budget, **options)


@contextmanager
def refused_in_one_line(settings: Settings, *refusals: type[Exception]) -> Iterator[None]:
    """What a method refuses by one of these errors, as a SettingsError that names its options."""
    try:
        yield
    except refusals as error:
        options = [f"method.{key}={value}" for key, value in method_options(settings).items()]
        raise SettingsError(f"{', '.join(['method=' + settings.method['name'], *options])}: {error}") from error


def check_sizes(settings: Settings, initial: int, pool: int) -> None:
    """Raises SettingsError for sizes that the data cannot serve."""
    if settings.max_labels < initial:
        raise SettingsError(f"max_labels must be at least the {initial} of the initial set, got {settings.max_labels}")
    rounds = -(-(settings.max_labels - initial) // settings.acq_size)
    if initial + rounds * settings.acq_size > pool:
        raise SettingsError(
            f"acq_size={settings.acq_size} up to max_labels={settings.max_labels} takes {rounds} rounds from {initial} "
            f"labels and needs a pool of {initial + rounds * settings.acq_size} points, there are {pool}"
        )


def check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise SettingsError(f"device must be auto, cpu, cuda or cuda:N, got {device}")
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        number = int(device.partition(":")[2] or 0)
        if number >= count:
            raise SettingsError(f"device must be auto, cpu or one of {count} CUDA devices here, got {device}")


def flat_keys(cls: type = Settings, prefix: str = "") -> list[str]:
    """All settings by their dotted names."""
    keys = []
    for field in fields(cls):
        if isinstance(field.type, type) and is_dataclass(field.type):
            keys += flat_keys(field.type, f"{prefix}{field.name}.")
        else:
            keys.append(prefix + field.name)
    return keys
