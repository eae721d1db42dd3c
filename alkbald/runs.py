"""The record of a run on disk: settings, provenance, rounds and acquired points; and how an interrupted run goes on.

    FOLDER/config.yaml       the resolved settings
    FOLDER/provenance.json   one entry a start: commit, versions, machine, time
    FOLDER/rounds.csv        one row a round
    FOLDER/acquired.csv      one row an acquired point
    FOLDER/failure.txt       why the run failed, if it did
    FOLDER/lock              held by the process that writes

A round is complete once its row is in rounds.csv; its points are written before. Files are replaced whole (write aside,
flush to disk, rename), so a reader or a crash sees the old file or the new one, never half of it. Should a last line be
torn all the same (a copy that was cut short), its round is done again.
"""

import csv
import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from alkbald.errors import RecordError
from alkbald.locks import locked
from alkbald.provenance import provenance
from alkbald.settings import Settings

#: Settings that do not change what a round computes: where, how loudly, and how far. They do not tell runs apart.
_NOT_DEFINING = ("out", "progress", "device", "threads", "max_labels", "target_accuracy", "data.root")

#: What of a run's provenance decides about the last bits of its numbers.
_SAME_BITS = ("commit", "device", "threads", "packages")

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
    "decision",
]
ACQUIRED_COLUMNS = ["round", "position", "index", "pool_position", "label", "score"]
TEXT_COLUMNS = {"decision"}
_WHOLE = {"round", "labelled", "epochs", "best_epoch", "pool", "batch", "position", "index", "pool_position", "label"}
_NEVER_EMPTY = {"round", "labelled", "accuracy", "position", "index", "pool_position", "label"}


def defining_settings(settings: Settings) -> dict[str, Any]:
    """The settings that tell runs apart, by dotted names."""
    return _defining(asdict(settings))


def recorded_settings(path: Path) -> dict[str, Any]:
    """The settings that tell runs apart, by dotted names, as a config.yaml has them.

    Raises:
        RecordError: the file cannot be read.
    """
    try:
        recorded = _defining(OmegaConf.to_container(OmegaConf.load(path)))
        if missing := {"data.name", "method.name", "acq_size", "seed"} - recorded.keys():
            raise ValueError(f"it has no {min(missing)}")
        return recorded
    except Exception as error:  # YAML's, OmegaConf's and the file system's errors have no common base
        raise RecordError(f"{path} is missing or damaged: {' '.join(str(error).split()):.100}") from error


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
        self._read()

    def _read(self) -> None:
        self._check_same_settings()
        self.rounds, self.acquired = read_rounds(self.folder)
        # The last row of a run that ended has no batch. If the run is to go further now, that round is done again.
        if self.rounds and not self.is_complete and not self.rounds[-1]["batch"]:
            self.rounds.pop()

    def _check_same_settings(self) -> None:
        path = self.folder / "config.yaml"
        if not path.exists() and not (self.folder / "rounds.csv").exists():
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
        return is_complete(self.rounds, self.settings.max_labels, self.settings.target_accuracy)

    @contextmanager
    def writing(self, device: torch.device) -> Iterator[None]:
        """Makes the folder, locks it, reads it again, records settings and provenance; notes why it failed, if it does.

        Raises:
            RecordError: another process has the lock, or something cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"out={self.settings.out}: cannot make {self.folder}: {error.strerror}") from error
        with locked(self.folder):
            self._read()
            path = self.folder / "provenance.json"
            try:
                starts = json.loads(path.read_text()) if path.exists() else []
                before = {key: starts[-1][key] for key in _SAME_BITS} if len(starts) else {}
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise RecordError(f"{path} is damaged: {error}") from error
            start = provenance(device)
            if self.rounds and (changed := [key for key in before if before[key] != start[key]]):
                changes = ", ".join(f"{key} {before[key]} -> {start[key]}" for key in changed)
                print(f"note: rounds from here on are not bit for bit those of a run without a change: {changes}")
            _replace(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(asdict(self.settings))))
            _replace(path, json.dumps([*starts, {"round": len(self.rounds), **start}], indent=1) + "\n")
            failure = self.folder / "failure.txt"
            failure.unlink(missing_ok=True)
            try:
                yield
            except Exception as error:
                with suppress(OSError):  # on a full disk there may be no room for the reason either
                    failure.write_text(" ".join(f"{error}".split()) or type(error).__name__)
                raise

    def append(self, row: dict[str, Any], acquired: list[dict[str, Any]]) -> None:
        """Records a complete round and its acquired points; missing values are left empty."""
        self.acquired += [_text(point, ACQUIRED_COLUMNS) for point in acquired]
        _write(self.folder / "acquired.csv", ACQUIRED_COLUMNS, self.acquired)
        self.rounds.append(_text(row, ROUND_COLUMNS))
        _write(self.folder / "rounds.csv", ROUND_COLUMNS, self.rounds)


def should_stop(labelled: int, accuracy: float, max_labels: int, target_accuracy: float | None) -> bool:
    """Whether a run ends with a round of so many labels and such test accuracy."""
    return labelled >= max_labels or (target_accuracy is not None and accuracy >= target_accuracy)


def is_complete(rounds: list[dict[str, str]], max_labels: int, target_accuracy: float | None) -> bool:
    """Whether the last of these rounds met a condition to stop."""
    return bool(rounds) and should_stop(
        int(rounds[-1]["labelled"]), float(rounds[-1]["accuracy"]), max_labels, target_accuracy
    )


def read_rounds(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Complete rounds of a run's folder, and the points acquired in them.

    Points without their round are left out, and so is a last round without its points: it is to be done again.

    Raises:
        RecordError: the files are damaged, or do not fit together.
    """
    rounds = _read_table(folder / "rounds.csv", ROUND_COLUMNS)
    acquired = _read_table(folder / "acquired.csv", ACQUIRED_COLUMNS)
    per_round = Counter(int(point["round"]) for point in acquired)
    if rounds and not rounds[-1]["batch"] and per_round[len(rounds) - 1]:
        rounds.pop()  # of a run that had ended; it was being done again, with a batch, for a larger max_labels
    with_batch = [number for number, row in enumerate(rounds) if row["batch"]]
    if with_batch and per_round[with_batch[-1]] < int(rounds[with_batch[-1]]["batch"]):
        del rounds[with_batch[-1] :]
    labelled = int(rounds[0]["labelled"]) if rounds else 0
    for number, row in enumerate(rounds):
        fits = int(row["round"]) == number and int(row["labelled"]) == labelled
        if not fits or per_round[number] != int(row["batch"] or 0):
            raise RecordError(f"{folder}: acquired.csv does not fit rounds.csv in round {number}; move the folder away")
        labelled += per_round[number]
    return rounds, [point for point in acquired if int(point["round"]) < len(rounds)]


def _text(row: dict[str, Any], columns: list[str]) -> dict[str, str]:
    """Values as text in full precision; None and NaN become empty."""
    if unknown := row.keys() - set(columns):
        raise KeyError(f"no such columns: {sorted(unknown)}")
    return {key: "" if row.get(key) is None or row[key] != row[key] else str(row[key]) for key in columns}


def _read_table(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Rows as text; a last line without its end is left out.

    Raises:
        RecordError: anything else is wrong with the file.
    """
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode()
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1]), strict=True))
        if not rows:
            return []
        present = set(rows[0])  # records of earlier versions have fewer columns
        needed = {*columns} & {*_NEVER_EMPTY, "batch"}
        if not needed <= present <= {*columns} or len(present) < len(rows[0]):
            raise ValueError("its columns are not a run's")
        table = [dict.fromkeys(columns, "") | dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
        for row in table:
            for key, value in row.items():
                if key in TEXT_COLUMNS:
                    continue
                if (value or key in _NEVER_EMPTY) and not math.isfinite((int if key in _WHOLE else float)(value)):
                    raise ValueError(f"{key} is {value}")
            if not 0 <= float(row.get("accuracy", 0)) <= 1:
                raise ValueError(f"accuracy is {row['accuracy']}")
        return table
    except (OSError, ValueError, csv.Error) as error:
        raise RecordError(f"{path} is damaged ({error}); move its folder away") from error


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
        with suppress(OSError):
            aside.unlink()
        raise RecordError(f"cannot write {path}: {error.strerror or error}; what it held before is intact") from error
