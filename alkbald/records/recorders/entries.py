"""The record of a run as a tracker shows it: a sequence of entries. It only ever grows at its end.

A round makes an entry for each epoch of its training, one for its row, and one for its batch. The last round of a run
has no batch; if the run is extended, the entry of the batch comes behind those that are there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from alkbald.records.files import Record, Row
from alkbald.records.schema import EPOCHS, ROUNDS, SECONDS, Column

#: Places that a round takes in a run's sequence of entries: its epochs from 1 on, and at the end its row and its batch.
PLACES = 1_000_000
_ROW, _BATCH = PLACES - 2, PLACES - 1

#: What the steps of entries count: epochs trained in all rounds so far, or labels.
EPOCH_AXIS, LABEL_AXIS = "total_epochs", "labelled"

#: Images side by side in a grid.
GRID_COLUMNS = 10


@dataclass(frozen=True)
class Entry:
    """What a tracker is told at once.

    Attributes:
        place: in the run; later entries have higher ones, and an entry has the same whenever the record is read.
        axis: `EPOCH_AXIS` or `LABEL_AXIS`.
        step: how far the run was, on that axis.
        values: numbers and texts by their tags, GROUP/COLUMN. What is empty in the record is left out.
        points: of a batch, its rows of acquired.csv, in the order of acquisition.
    """

    place: int
    axis: str
    step: int
    values: dict[str, int | float | str]
    points: list[Row] = field(default_factory=list)


def tag(column: Column) -> str:
    """The name of a column of rounds.csv in a tracker: GROUP/COLUMN. Groups are seconds, batch and rounds."""
    group = "seconds" if column.unit == SECONDS else "batch" if column.of_batch else "rounds"
    return f"{group}/{column.name}"


def entries(record: Record) -> Iterator[Entry]:
    """All that the record holds, in the order in which it happened."""
    total_epochs = 0
    for row in record.rounds:
        number, labelled = int(row["round"]), int(row["labelled"])
        for epoch in record.epochs:
            if epoch["round"] == row["round"]:
                total_epochs += 1
                values = _values({f"epochs/{column.name}": column for column in EPOCHS.columns}, epoch)
                yield Entry(number * PLACES + int(epoch["epoch"]), EPOCH_AXIS, total_epochs, values)
        of_batch, of_round = ({tag(c): c for c in ROUNDS.columns if c.of_batch == batch} for batch in (True, False))
        yield Entry(number * PLACES + _ROW, LABEL_AXIS, labelled, _values(of_round, row))
        if row["batch"]:
            points = [point for point in record.acquired if point["round"] == row["round"]]
            yield Entry(number * PLACES + _BATCH, LABEL_AXIS, labelled, _values(of_batch, row), points)


def _values(columns: dict[str, Column], row: Row) -> dict[str, int | float | str]:
    """By tag, what the row holds."""
    return {tag: column.type(row[column.name]) for tag, column in columns.items() if row[column.name]}


def caption(points: list[Row]) -> str:
    """What the grid of a batch shows."""
    labels = " ".join(point["label"] for point in points)
    return f"acquired in round {points[0]['round']}; labels in the order of acquisition, row by row: {labels}"


def grid(images: np.ndarray) -> np.ndarray:
    """Images side by side, row by row, the darkest value black and the brightest white.

    Args:
        images: [B, channels, height, width], B at least 1.

    Returns:
        bytes [rows * (height + 1), columns * (width + 1), channels].
    """
    low, high = images.min(), images.max()
    scaled = ((images - low) / (high - low if high > low else 1) * 255).round().astype(np.uint8)
    rows = -(-len(scaled) // GRID_COLUMNS)
    columns = min(len(scaled), GRID_COLUMNS)
    framed = np.pad(scaled, ((0, rows * columns - len(scaled)), (0, 0), (0, 1), (0, 1)), constant_values=128)
    _, channels, height, width = framed.shape
    tiled = framed.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return tiled.reshape(rows * height, columns * width, channels)
