"""The files of a run's folder: how they are read, and replaced.

    FOLDER/config.yaml       the resolved settings
    FOLDER/provenance.json   one entry a start: commit, versions, machine, time
    FOLDER/rounds.csv        one row a round
    FOLDER/acquired.csv      one row an acquired point
    FOLDER/epochs.csv        one row an epoch of training; not of rounds that earlier versions recorded
    FOLDER/failure.txt       why the run failed, if it did
    FOLDER/lock              held by the process that writes

A round is complete once its row is in rounds.csv; its points and epochs are written before. Files are replaced whole
(write aside, flush to disk, rename), so a reader or a crash sees the old file or the new one, never half of it. Should
a last line be torn all the same (a copy that was cut short), its round is done again.
"""

import csv
import io
import math
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from alkbald.errors import RecordError
from alkbald.records.schema import ACQUIRED, EPOCHS, ROUNDS, SHARE, Table

#: Values as text, by the names of columns.
Row = dict[str, str]


class Record(NamedTuple):
    """Complete rounds of a run, and what belongs to them.

    Attributes:
        rounds: one row a round (the columns of `schema.ROUNDS`).
        acquired: one row a point acquired in them (`schema.ACQUIRED`).
        epochs: one row an epoch of their trainings (`schema.EPOCHS`); none of rounds that earlier versions recorded.
    """

    rounds: list[Row]
    acquired: list[Row]
    epochs: list[Row]

    def first(self, rounds: int) -> "Record":
        """The first so many rounds, and what belongs to them."""
        of_rounds = [[row for row in rows if int(row["round"]) < rounds] for rows in (self.acquired, self.epochs)]
        return Record(self.rounds[:rounds], *of_rounds)


def read_record(folder: Path) -> Record:
    """The complete rounds in a run's folder.

    Points and epochs without their round are left out, and so is a last round without its points or epochs: it is to be
    done again.

    Raises:
        RecordError: the files are damaged, or do not fit together.
    """
    record = Record(*(read_table(folder / table.file, table) for table in (ROUNDS, ACQUIRED, EPOCHS)))
    rounds = list(record.rounds)
    points = Counter(int(point["round"]) for point in record.acquired)
    epochs: dict[int, list[int]] = {}
    for epoch in record.epochs:
        epochs.setdefault(int(epoch["round"]), []).append(int(epoch["epoch"]))

    def has_epochs(number: int) -> bool:
        row = rounds[number]  # one without ece is of a version that recorded no epochs
        return not row["ece"] or epochs.get(number) == [*range(1, int(row["epochs"]) + 1)]

    if rounds and not rounds[-1]["batch"] and points[len(rounds) - 1]:
        rounds.pop()  # of a run that had ended; it was being done again, with a batch, for a larger max_labels
    with_batch = [number for number, row in enumerate(rounds) if row["batch"]]
    if with_batch and points[with_batch[-1]] < int(rounds[with_batch[-1]]["batch"]):
        del rounds[with_batch[-1] :]
    if rounds and not has_epochs(len(rounds) - 1):
        rounds.pop()
    labelled = int(rounds[0]["labelled"]) if rounds else 0
    for number, row in enumerate(rounds):
        fits = int(row["round"]) == number and int(row["labelled"]) == labelled
        if not fits or points[number] != int(row["batch"] or 0):
            raise RecordError(f"{folder}: acquired.csv does not fit rounds.csv in round {number}; move the folder away")
        if not has_epochs(number):
            raise RecordError(f"{folder}: epochs.csv does not fit rounds.csv in round {number}; move the folder away")
        labelled += points[number]
    return record.first(len(rounds))


def should_stop(labelled: int, accuracy: float, max_labels: int, target_accuracy: float | None) -> bool:
    """Whether a run ends with a round of so many labels and such test accuracy."""
    return labelled >= max_labels or (target_accuracy is not None and accuracy >= target_accuracy)


def is_complete(rounds: list[Row], max_labels: int, target_accuracy: float | None) -> bool:
    """Whether the last of these rounds met a condition to stop."""
    return bool(rounds) and should_stop(
        int(rounds[-1]["labelled"]), float(rounds[-1]["accuracy"]), max_labels, target_accuracy
    )


def as_text(row: dict[str, Any], table: Table) -> Row:
    """Values as text in full precision; None and NaN become empty."""
    if unknown := row.keys() - set(table.names):
        raise KeyError(f"no such columns: {sorted(unknown)}")
    return {key: "" if row.get(key) is None or row[key] != row[key] else str(row[key]) for key in table.names}


def read_table(path: Path, table: Table) -> list[Row]:
    """Rows with all columns of the table, those of later versions empty; a last line without its end is left out.

    Raises:
        RecordError: anything else is wrong with the file.
    """
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode()
        lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1]), strict=True))
        if not lines:
            return []
        present = set(lines[0])
        if not table.required <= present <= set(table.names) or len(present) < len(lines[0]):
            raise ValueError("its columns are not a run's")
        rows = [dict.fromkeys(table.names, "") | dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        for row in rows:
            _check(row, table)
        return rows
    except (OSError, ValueError, csv.Error) as error:
        raise RecordError(f"{path} is damaged ({error}); move its folder away") from error


def _check(row: Row, table: Table) -> None:
    """Raises ValueError for a value that its column cannot have."""
    for column in table.columns:
        text = row[column.name]
        if column.type is str or (not text and column.name not in table.never_empty):
            continue
        value = column.type(text)
        if not math.isfinite(value) or (column.unit == SHARE and not 0 <= value <= 1):
            raise ValueError(f"{column.name} is {text}")


def write_table(path: Path, table: Table, rows: list[Row]) -> None:
    """Replaces the file.

    Raises:
        RecordError: it cannot be written; it is as it was before.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, table.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue())


def replace_file(path: Path, text: str) -> None:
    """Atomic: the old content or the new one, also after a crash.

    Raises:
        RecordError: it cannot be written; it is as it was before.
    """
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
