"""What a record tells of calibration."""

from typing import NamedTuple

from alkbald.errors import RecordError
from alkbald.records.files import Row

_COLUMNS = ("bin_inputs", "bin_correct", "bin_confidence")


class Bin(NamedTuple):
    """Test inputs whose confidence is above `low` and at most `high`.

    Attributes:
        inputs: how many, at least 1.
        confidence, accuracy: means over them.
    """

    low: float
    high: float
    inputs: int
    confidence: float
    accuracy: float


def reliability(row: Row) -> list[Bin]:
    """The bins of a round that hold inputs; none of a record from before version 8.

    Raises:
        RecordError: the columns do not fit together.
    """
    if not row["bin_inputs"]:
        return []
    try:
        columns = [[float(value) for value in row[name].split(" ")] for name in _COLUMNS]
        number = len(columns[0])
        bins = []
        for place, (inputs, correct, confidence) in enumerate(zip(*columns, strict=True)):
            if not (0 <= correct <= inputs and -1e-6 <= confidence <= inputs + 1e-6 and inputs == int(inputs)):
                raise ValueError(f"bin {place} has {inputs:g} inputs, {correct:g} right, confidence {confidence:g}")
            if inputs:
                mean = confidence / inputs
                bins.append(Bin(place / number, (place + 1) / number, int(inputs), mean, correct / inputs))
        return bins
    except ValueError as error:
        raise RecordError(f"{', '.join(_COLUMNS)} of round {row['round']} are damaged: {error}") from error
