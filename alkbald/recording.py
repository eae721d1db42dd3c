"""What a round records, and what a record tells of the points that were acquired. Columns: `records.schema`."""

import math
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from alkbald.acquisition import Batch
from alkbald.data import Data
from alkbald.errors import RecordError
from alkbald.evaluation import Evaluation
from alkbald.records.files import Row
from alkbald.training import Fit


def recorded_positions(folder: Path, rounds: list[Row], acquired: list[Row], data: Data) -> list[int]:
    """Pool positions of the points that a run has acquired, of its record as `records.files.read_record` gives it.

    Raises:
        RecordError: they are not points of these data, or not apart from each other and from the initial set.
    """
    if rounds and int(rounds[0]["labelled"]) != len(data.initial):
        raise RecordError(f"{folder}/rounds.csv does not begin with the initial set's {len(data.initial)} labels")
    positions = [int(point["pool_position"]) for point in acquired]
    seen = set(data.initial)
    for position, point in zip(positions, acquired, strict=True):
        fits = 0 <= position < len(data.pool_labels) and position not in seen
        if not fits or [int(point[key]) for key in ("index", "label")] != [
            data.pool_index[position].item(),
            data.pool_labels[position].item(),
        ]:
            raise RecordError(f"{folder}/acquired.csv: pool position {position} does not fit the data")
        seen.add(position)
    return positions


def judged_columns(batch: Batch) -> dict[str, Any]:
    """What a round records of its batch: what it is worth, whatever method chose it."""
    return {
        "batch": len(batch),
        "joint_mutual_information": batch.joint_mutual_information,
        "joint_mutual_information_error": batch.standard_error,
        "share_of_log_k": batch.share_of_log_k,
        "total_correlation": batch.total_correlation,
        "first_non_positive": batch.first_non_positive,
        "decision": batch.decision or None,
    }


def trained_columns(
    number: int, data: Data, labelled: list[int], fitted: Fit, evaluation: Evaluation
) -> dict[str, Any]:
    """What a round records of its training and evaluation."""
    bins = evaluation.bins
    return {
        "round": number,
        "labelled": len(labelled),
        "accuracy": evaluation.accuracy,
        "nll": evaluation.nll,
        "ece": evaluation.ece,
        "brier": evaluation.brier,
        "bin_inputs": _spaced(bins.inputs),
        "bin_correct": _spaced(bins.correct),
        "bin_confidence": _spaced(bins.confidence),
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "validation_accuracy": fitted.validation_accuracy,
        "pool": len(data.pool_labels) - len(labelled),
    }


def _spaced(values: Tensor) -> str:
    """Numbers with a space between them."""
    return " ".join(map(str, values.tolist()))


def acquired_rows(number: int, data: Data, positions: Int[Tensor, " B"], batch: Batch) -> list[dict[str, Any]]:
    """What a round records of the points of its batch, which are at these pool positions."""
    return [
        {
            "round": number,
            "position": i,
            "index": data.pool_index[position].item(),
            "pool_position": position,
            "label": data.pool_labels[position].item(),
            "score": batch.scores[i],
        }
        for i, position in enumerate(positions.tolist())
    ]


def summary_line(row: dict[str, Any], num_samples: int) -> str:
    """A round in a line; in two where its batch is at the ceiling."""
    line = (
        f"round {row['round']}: {row['labelled']} labels, accuracy {row['accuracy']:.4f}, nll {row['nll']:.3f}, "
        f"{row['epochs']} epochs in {row['seconds_training']:.1f} s"
    )
    if "batch" in row:
        line += (
            f"; scored in {row.get('seconds_inference', 0):.1f} s, selected {row['batch']} in "
            f"{row['seconds_selection']:.1f} s, worth {row['joint_mutual_information']:.2f} of at most "
            f"{math.log(num_samples):.2f} nats"
        )
    if row.get("share_of_log_k", 0) > 0.95:
        line += (
            f"\n  the batch uses {row['share_of_log_k']:.1%} of log K: num_samples={num_samples} bounds what a batch "
            "can be worth, and its last picks are hardly told apart"
        )
    return line
