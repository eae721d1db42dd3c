"""The settings of a run: their types, their bounds, and errors of one line that name the setting at fault.

Defaults and comments are in configs/config.yaml; nothing here has a default, so a setting is said in one place only.
"""

import difflib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alkbald.acquisition import METHODS
from alkbald.data import SOURCES, DataError
from alkbald.training import OPTIMIZERS, TrainingDiverged


class SettingsError(ValueError):
    """A setting has a value that no run can have."""


@dataclass
class DataSettings:
    name: str
    root: str
    split_seed: int
    validation_size: int
    initial_per_class: int
    noise: float
    repeats: int


@dataclass
class ModelSettings:
    dropout: float


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
    model: ModelSettings
    training: TrainingSettings
    device: str
    out: str
    progress: bool


# (lowest, highest) allowed values; None: no bound.
_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "acq_size": (1, None),
    "seed": (0, None),
    "max_labels": (1, None),
    "target_accuracy": (0, 1),
    "num_samples": (1, None),
    "pool_sample": (1, None),
    "evaluation_samples": (1, None),
    "data.split_seed": (0, 2**32 - 1),  # what numpy accepts
    "data.validation_size": (1, None),
    "data.initial_per_class": (1, None),
    "data.noise": (0, 1e6),
    "data.repeats": (1, None),
    "model.dropout": (0, 0.999),
    "training.learning_rate": (0, 1e6),
    "training.weight_decay": (0, 1e6),
    "training.batch_size": (1, None),
    "training.epoch_size": (1, None),
    "training.max_epochs": (1, None),
    "training.patience": (1, None),
    "training.validation_samples": (0, None),
}


def from_config(config: DictConfig) -> Settings:
    """The checked settings of a composed configuration.

    Raises:
        SettingsError: a value out of bounds or unknown; the message names the key and what is allowed.
        OmegaConfBaseException: an unknown key or a wrong type.
    """
    settings: Settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), config))
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Raises SettingsError for whatever can be known to be wrong before data are read."""
    for key, (low, high) in _BOUNDS.items():
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        if value is not None and not (value >= low and (high is None or value <= high)):
            allowed = f"at least {low}" if high is None else f"between {low} and {high}"
            raise SettingsError(f"{key} must be {allowed}, got {value}")
    for key, value, known in (
        ("method.name", settings.method.get("name"), METHODS),
        ("data.name", settings.data.name, SOURCES),
        ("training.optimizer", settings.training.optimizer, OPTIMIZERS),
    ):
        if value not in known:
            raise SettingsError(f"{key} must be one of {', '.join(known)}, got {value}")
    if settings.pool_sample is not None and settings.pool_sample < settings.acq_size:
        raise SettingsError(
            f"acq_size must be at most the {settings.pool_sample} points of pool_sample, got {settings.acq_size}"
        )
    check_device(settings.device)
    check_method(settings)


def method_options(settings: Settings) -> dict[str, Any]:
    """The method's keyword arguments."""
    return {key: value for key, value in settings.method.items() if key != "name"}


def check_method(settings: Settings) -> None:
    """Tries the method on a pool of as many points as it will pick, so that bad options fail before any work.

    The points say nothing (two samples that agree on two classes); what depends on K or C is checked when it is known.
    """
    pool = torch.full((min(settings.acq_size, 3), 2, 2), 0.5).log()
    name = settings.method["name"]
    try:
        METHODS[name](pool, len(pool), **method_options(settings))
    except (ValueError, TypeError) as error:
        raise SettingsError(f"method={name}: {error}") from error


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
        nested = is_dataclass(field.type)
        keys += flat_keys(field.type, f"{prefix}{field.name}.") if nested else [prefix + field.name]
    return keys


def one_line(error: Exception) -> str:
    """What a user has to know of an error of the configuration, in one line."""
    text = str(error)
    if missing := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", text):
        key = missing[1] or getattr(error, "full_key", None) or missing[2]
        known = flat_keys()
        if key.startswith("method."):
            return f"unknown setting {key}: the chosen method has no such option (see configs/method/)"
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        return f"unknown setting {key}; {hint}"
    if choice := re.search(r"Could not find '([^'/]+)/([^']+)'", text):
        options = re.findall(r"^\t(.+)$", text.partition("Config search path")[0], re.MULTILINE)
        return f"{choice[1]} must be one of {', '.join(options)}, got {choice[2]}"
    cause = error.__cause__ if isinstance(error, HydraException) and error.__cause__ else error
    first, _, _ = str(cause).partition("\n")
    key = getattr(cause, "full_key", None)
    return f"{key}: {first}" if key else " ".join(text.split())


_WANTS_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turns errors that a user can mend into one line on stderr and exit code 2. HYDRA_FULL_ERROR=1 shows tracebacks.

    Meant for both sides of `hydra.main`: outside it for errors of composition, inside it for the rest, since Hydra adds
    lines of its own to an error that passes through.
    """
    if _WANTS_TRACEBACKS:
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a composition error itself, over many lines
    try:
        yield
    except (SettingsError, DataError, TrainingDiverged, HydraException, OmegaConfBaseException, ValueError) as error:
        if type(error) is ValueError and not str(error).startswith("Config group override"):  # Hydra's for data=null
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command goes on after the last complete round", file=sys.stderr)
        raise SystemExit(130) from None
