"""Rows of rounds that never ran, for tests of what becomes of a record."""

import csv

import torch

from alkbald.records import files
from alkbald.records.provenance import provenance
from alkbald.records.run import Run
from alkbald.records.schema import ACQUIRED, EPOCHS, ROUNDS


def row(number, batch=10):
    """Of a version that recorded no epochs."""
    always = dict.fromkeys(ROUNDS.never_empty, 1)
    return always | {"round": number, "labelled": 20 + 10 * number, "accuracy": 0.1 + 0.2, "epochs": 3, "batch": batch}


def new(number, batch=10):
    """A row of the present version, which records epochs too."""
    return row(number, batch) | {"ece": 0.05}


def points(number):
    return [{"round": number, "position": i, "index": 7 * i, "pool_position": i, "label": 3} for i in range(10)]


def epochs(number, count=3):
    return [{"round": number, "epoch": i + 1, "training_loss": 2 / (i + 1)} for i in range(count)]


def started(settings):
    run = Run(settings)
    with run.writing(provenance(torch.device("cpu"))):
        return run


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def leave(run, acquired=(), epochs=()):
    """Writes what is written before a round's row, and stops."""
    for table, rows, new in ((ACQUIRED, run.acquired, acquired), (EPOCHS, run.epochs, epochs)):
        if new:
            rows += [files.as_text(one, table) for one in new]
            files.write_table(run.folder / table.file, table, rows)
