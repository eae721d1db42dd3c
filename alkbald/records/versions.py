"""The settings of a run as its config.yaml has them, whichever version wrote it. They are plain values by dotted names.

A setting that is added later has a *legacy value*: the value that things had before it existed. A record carries no
version number. Whatever setting it lacks, it gets at the legacy value, so that runs of all versions are compared,
found and extended alike.

To add a setting:
    1. a line in configs/config.yaml and in `alkbald.settings`, or in the YAML of the method or model;
    2. a line in `LEGACY`, `METHOD_LEGACY` or `MODEL_LEGACY` (a test fails without it). The legacy value is what old
       runs did, which need not be the default of new ones.
A setting at its legacy value does not change the names of folders. Do not remove a setting or change what a value
means: its records could not be read.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from alkbald.errors import RecordError

#: Legacy values of the settings that records of the first version do not have.
LEGACY: dict[str, Any] = {
    "precision": "fp32",
    "threads": None,
    "data.image_size": 28,
    "model.posterior": "mc_dropout",
    "model.network": "cnn",
    "recorder.name": "none",
}

#: The same of methods' own settings, by method: those that the method did not begin with.
METHOD_LEGACY: dict[str, dict[str, Any]] = {
    "adaptive_kbald": {"memory_budget": None},
    "dynamic_bald": {"memory_budget": None},
}

#: The same of models' own settings, by posterior or network.
MODEL_LEGACY: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [32, 64], "kernel_size": 5, "pool": 2, "hidden": [128]},
}

#: Settings that do not change what a round computes: where, how loudly, and how far. They do not tell runs apart, and
#: neither does any setting of `recorder`.
_NOT_DEFINING = ("out", "progress", "device", "threads", "max_labels", "target_accuracy", "data.root")

#: Came before legacy values did: it is in the names of folders, whatever its value.
_ALWAYS_IN_NAMES = ("precision",)

_NEEDED = ("data.name", "method.name", "acq_size", "seed")


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted names."""
    by_name: dict[str, Any] = {}
    for key, value in nested.items():
        by_name |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return by_name


def nested(by_name: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`."""
    tree: dict[str, Any] = {}
    for name, value in by_name.items():
        *groups, key = name.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = value
    return tree


def legacy_values(by_name: dict[str, Any]) -> dict[str, Any]:
    """Of all settings that a run of the method and model in these settings may lack."""
    model = [by_name.get(key, LEGACY[key]) for key in ("model.posterior", "model.network")]
    own = [("method", METHOD_LEGACY.get(by_name["method.name"], {}))]
    own += [("model", MODEL_LEGACY.get(name, {})) for name in model]
    return LEGACY | {f"{group}.{key}": value for group, values in own for key, value in values.items()}


def complete(by_name: dict[str, Any]) -> dict[str, Any]:
    """Settings of any version, with what they lack at its legacy value."""
    return legacy_values(by_name) | by_name


def recorded_settings(folder: Path) -> dict[str, Any]:
    """All settings of a recorded run, of any version.

    Raises:
        RecordError: the folder's config.yaml cannot be read.
    """
    path = folder / "config.yaml"
    try:
        contents: Any = OmegaConf.to_container(OmegaConf.load(path))  # a list, or a value, in a damaged file
        recorded = flat(contents)
        if missing := [key for key in _NEEDED if key not in recorded]:
            raise ValueError(f"it has no {missing[0]}")
        return complete(recorded)
    except Exception as error:  # YAML's, OmegaConf's and the file system's errors have no common base
        raise RecordError(f"{path} is missing or damaged: {' '.join(str(error).split()):.100}") from error


def defining(by_name: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings, of any version, that tell runs apart."""
    return {
        key: value
        for key, value in complete(by_name).items()
        if key not in _NOT_DEFINING and not key.startswith("recorder.")
    }


def digest(by_name: dict[str, Any]) -> str:
    """A hash of what tells runs apart, for the name of a folder."""
    legacy = legacy_values(by_name)
    named = {
        key: value
        for key, value in defining(by_name).items()
        if key in _ALWAYS_IN_NAMES or key not in legacy or value != legacy[key]
    }
    return hashlib.blake2b(json.dumps(named, sort_keys=True).encode(), digest_size=4).hexdigest()


def differing(recorded: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of the defining settings in which a recorded run is not the wanted one; empty for the same run."""
    recorded, wanted = defining(recorded), defining(wanted)
    return [key for key in wanted | recorded if key not in wanted or recorded.get(key, ...) != wanted[key]]


def unknown(recorded: dict[str, Any], known: Iterable[str]) -> list[str]:
    """Names of recorded settings that are not known: removed ones, or those of a later version. Those of a
    method, a model and a recorder are not among them: their functions refuse those that they do not have."""
    of_groups = ("method.", "model.", "recorder.")
    return sorted(key for key in recorded.keys() - set(known) if not key.startswith(of_groups))
