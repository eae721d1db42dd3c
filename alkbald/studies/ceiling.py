"""What batches can be worth with few and many MC-dropout samples, K: the log K ceiling.

BatchBALD chooses a batch by the first K samples. What the batch is worth is evaluated twice: with the samples that
chose it, which is at most log K, and with samples that did not, as many as the largest K. Axes: N points, K samples
that choose, J samples that judge, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from alkbald.acquisition import batchbald
from alkbald.errors import SettingsError
from alkbald.information import joint_mutual_information_of_prefixes
from alkbald.studies.rounds import labelled_at, log_probs_of_round, recorded_run, write_source

POSITIONS = [1, 2, 3, 4, 5, 7, 10, 14, 20, 30, 40, 60, 80, 100]  # and the last


def worth(
    choosing: Float[Tensor, "N K C"],
    judging: Float[Tensor, "N J C"],
    samples: Sequence[int],
    largest: int,
    outcomes: int,
) -> pd.DataFrame:
    """A row for each number of samples and position in its batch: what the batch up to there is worth, twice."""
    rows = []
    for num_samples in samples:
        indices = batchbald(choosing[:, :num_samples], largest).indices
        chosen_by, held_out_from = choosing[indices, :num_samples], judging[indices]
        joints, errors = joint_mutual_information_of_prefixes(chosen_by, num_outcomes=outcomes)
        held_outs, held_out_errors = joint_mutual_information_of_prefixes(held_out_from, num_outcomes=outcomes)
        columns = {"joint": joints, "error": errors, "held_out": held_outs, "held_out_error": held_out_errors}
        for position in [*(p for p in POSITIONS if p < largest), largest]:
            row = {name: values[position - 1].item() for name, values in columns.items()}
            rows.append({"num_samples": num_samples, "position": position} | row)
        joint, held_out = joints[-1].item(), held_outs[-1].item()
        print(f"  K = {num_samples}: {position} points worth {joint:.3f}, held out {held_out:.3f}", flush=True)
    return pd.DataFrame(rows)


def study(
    run: Path,
    output: Path,
    *,
    labels: Sequence[int],
    samples: Sequence[int] = (20, 100, 500, 1000),
    pool: int = 5000,
    largest: int = 40,
    outcomes: int = 20_000,
    data_root: str = "data",
) -> None:
    """Records OUTPUT/worth.csv and its source.

    Args:
        run: folder of a run.
        output: where the table is written, again after every labelled set.
        labels: labelled-set sizes of the run's rounds.
        samples: the Ks.
        pool: how many points the batches are chosen from.
        largest: size of the batches.
        outcomes: how many are simulated where there are too many to enumerate.
        data_root: folder of downloads.

    Raises:
        UserError: before any training, for sizes that cannot be.
    """
    if min(samples) < 1 or outcomes < 2:
        raise SettingsError("samples must be at least 1, outcomes at least 2")
    settings, data = recorded_run(run, data_root)
    rounds = [labelled_at(run, data, size) for size in dict.fromkeys(labels)]
    points = min(pool, len(data.pool_labels) - max(labels))
    if not 1 <= largest <= points:
        raise SettingsError(f"largest must be from 1 to the {points} points of the pool, got {largest}")
    output.mkdir(parents=True, exist_ok=True)
    most = max(samples)
    settings = replace(settings, num_samples=2 * most, pool_sample=points)
    write_source(output, settings, data)
    tables = []
    for number, labelled in rounds:
        print(f"{len(labelled)} labels", flush=True)
        log_probs = log_probs_of_round(settings, data, number, labelled, points)
        table = worth(log_probs[:, :most], log_probs[:, most:], samples, largest, outcomes)
        table.insert(0, "labelled", len(labelled))
        tables.append(table)
        pd.concat(tables).to_csv(output / "worth.csv", index=False, float_format="%.5f", lineterminator="\n")
