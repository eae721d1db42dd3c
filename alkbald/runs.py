"""The record of a run on disk: settings, provenance, rounds and acquired points; and how an interrupted run goes on.

    FOLDER/config.yaml       the resolved settings
    FOLDER/provenance.json   one entry a start: commit, versions, machine, time
    FOLDER/rounds.csv        one row a round
    FOLDER/acquired.csv      one row an acquired point

A round is complete once its row is in rounds.csv; its points are written before. Both files are replaced whole (write
aside, flush to disk, rename), so a reader or a crash sees the old file or the new one, never half of it.
"""

import csv
import hashlib
import io
import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from alkbald.errors import RecordError
from alkbald.settings import Settings

#: Settings that do not change what a round computes: where, how loudly, and how far. They do not tell runs apart.
_NOT_DEFINING = ("out", "progress", "device", "max_labels", "target_accuracy", "data.root")

ROUND_COLUMNS = [
    "round",
    "labelled",
    "accuracy",
    "nll",
    "epochs",
    "best_epoch",
    "validation_accuracy",
    "seconds_training",
    "seconds_validation",
    "seconds_evaluation",
    "seconds_inference",
    "seconds_selection",
    "peak_memory_bytes",
    "pool",
    "batch",
    "joint_mutual_information",
    "joint_mutual_information_error",
    "share_of_log_k",
    "total_correlation",
    "first_non_positive",
]
ACQUIRED_COLUMNS = ["round", "position", "index", "pool_position", "label", "score"]


def defining_settings(settings: Settings) -> dict[str, Any]:
    """The settings that tell runs apart, by dotted names."""
    return _defining(asdict(settings))


def recorded_settings(path: Path) -> dict[str, Any]:
    """The settings that tell runs apart, by dotted names, as a config.yaml has them.

    Raises:
        RecordError: the file cannot be read.
    """
    try:
        return _defining(OmegaConf.to_container(OmegaConf.load(path)))
    except Exception as error:  # YAML's, OmegaConf's and the file system's errors have no common base
        raise RecordError(f"{path} is missing or damaged: {error!s:.100}") from error


def _defining(nested: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _flat(nested).items() if key not in _NOT_DEFINING}


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def run_folder(settings: Settings) -> Path:
    """OUT/data/method/acq_size=B/seed=S-hash: a function of the defining settings alone; the hash is over them all."""
    canonical = json.dumps(defining_settings(settings), sort_keys=True)
    digest = hashlib.blake2b(canonical.encode(), digest_size=4).hexdigest()
    method = settings.method["name"]
    return Path(
        settings.out, settings.data.name, method, f"acq_size={settings.acq_size}", f"seed={settings.seed}-{digest}"
    )


class Run:
    """A run's folder, opened to go on after its last complete round.

    Attributes:
        folder: where the files are.
        rounds: complete rounds, one dict a round (keys: ROUND_COLUMNS, values as text).
        acquired: the points acquired in them (keys: ACQUIRED_COLUMNS, values as text).
    """

    def __init__(self, settings: Settings):
        """Reads what is there; writes nothing.

        Raises:
            RecordError: the folder holds a run of other settings, or files that do not fit together.
        """
        self.settings = settings
        self.folder = run_folder(settings)
        self.rounds = _read(self.folder / "rounds.csv")
        self._check_same_settings()
        # The last row of a run that ended has no batch. If the run is to go further now, that round is done again.
        if self.rounds and not self.is_complete and not self.rounds[-1]["batch"]:
            self.rounds.pop()
        self.acquired = [row for row in _read(self.folder / "acquired.csv") if int(row["round"]) < len(self.rounds)]
        if self.rounds:
            first, last = int(self.rounds[0]["labelled"]), self.rounds[-1]
            if first + len(self.acquired) != int(last["labelled"]) + int(last["batch"] or 0):
                raise RecordError(f"{self.folder}: acquired.csv does not fit rounds.csv; move the folder away")

    def _check_same_settings(self) -> None:
        path = self.folder / "config.yaml"
        if not path.exists() and not self.rounds:
            return
        recorded = recorded_settings(path)
        for key, value in defining_settings(self.settings).items():
            if recorded.get(key) != value:
                raise RecordError(
                    f"{self.folder} holds a run with {key}={recorded.get(key)}, not {value}: move it away"
                )

    @property
    def is_complete(self) -> bool:
        """Whether the last round met a condition to stop."""
        return bool(self.rounds) and should_stop(
            self.settings, int(self.rounds[-1]["labelled"]), float(self.rounds[-1]["accuracy"])
        )

    def start(self, device: torch.device) -> None:
        """Makes the folder, and records settings and provenance."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"out={self.settings.out}: cannot make {self.folder}: {error.strerror}") from error
        _replace(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(asdict(self.settings))))
        path = self.folder / "provenance.json"
        try:
            starts = json.loads(path.read_text()) if path.exists() else []
        except ValueError as error:
            raise RecordError(f"{path} is damaged: {error}") from error
        _replace(path, json.dumps([*starts, {"round": len(self.rounds), **provenance(device)}], indent=1) + "\n")

    def append(self, row: dict[str, Any], acquired: list[dict[str, Any]]) -> None:
        """Records a complete round and its acquired points; missing values are left empty."""
        self.acquired += [_text(point, ACQUIRED_COLUMNS) for point in acquired]
        _write(self.folder / "acquired.csv", ACQUIRED_COLUMNS, self.acquired)
        self.rounds.append(_text(row, ROUND_COLUMNS))
        _write(self.folder / "rounds.csv", ROUND_COLUMNS, self.rounds)


def should_stop(settings: Settings, labelled: int, accuracy: float) -> bool:
    """Whether a run ends with a round of so many labels and such test accuracy."""
    reached = settings.target_accuracy is not None and accuracy >= settings.target_accuracy
    return labelled >= settings.max_labels or reached


def provenance(device: torch.device) -> dict[str, Any]:
    """Where numbers come from: code, packages, machine and time."""
    packages = ["torch", "torchvision", "numpy", "scikit-learn", "hydra-core"]
    commit = _git("rev-parse", "HEAD")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": bool(_git("status", "--porcelain", "--", ":/alkbald", ":/configs", ":/run.py")) if commit else None,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*command: str) -> str | None:
    """What git says of the code that runs; None where it is not in a checkout."""
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(["git", "-C", folder, *command], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _text(row: dict[str, Any], columns: list[str]) -> dict[str, str]:
    """Values as text in full precision; None and NaN become empty."""
    if unknown := row.keys() - set(columns):
        raise KeyError(f"no such columns: {sorted(unknown)}")
    return {key: "" if row.get(key) is None or row[key] != row[key] else str(row[key]) for key in columns}


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if any(None in row or None in row.values() or not row["round"].isdigit() for row in rows):
        raise RecordError(f"{path} is damaged; move its folder away")
    return rows


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _replace(path, text.getvalue())


def _replace(path: Path, text: str) -> None:
    """Atomic: the old content or the new one, also after a crash."""
    aside = path.with_name(path.name + ".new")
    try:
        with aside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror or error}; what it held before is intact") from error
