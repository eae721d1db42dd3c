"""Scores of pool points within one round of 2-BALD. Axes: N points, K samples, C classes.

The score of n after m picks is I[Y_n; Omega] - sum over the picks i of I[Y_i; Y_n]. [Kirsch2023, figure 3]

[Kirsch2023] Kirsch. Speeding up BatchBALD: a k-BALD family of approximations.
"""

from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from alkbald.acquisition import kbald
from alkbald.errors import SettingsError
from alkbald.information import mutual_information, pairwise_mutual_information
from alkbald.randomness import derived_generator
from alkbald.settings import Settings
from alkbald.studies.rounds import evaluation_on_test_set, load_data, pool_log_probs, trained_model, write_source

HIGHEST, EVERY = 1000, 20  # what of the points is kept: the head of the curve whole, the tail thinned


def progression(log_probs: Float[Tensor, "N K C"], after: list[int]) -> pd.DataFrame:
    """Scores of all points in descending order of BALD; of a point already taken, none.

    Args:
        log_probs: of the pool.
        after: numbers of picks, ascending.

    Returns:
        Columns rank, "BALD", and "2-BALD after m picks" for each m.
    """
    picks = kbald(log_probs, after[-1], order=2).indices
    scores = mutual_information(log_probs).double()
    order = scores.sort(descending=True, stable=True).indices.cpu()
    columns = {"BALD": scores.cpu()}
    for number, pick in enumerate(picks, 1):
        scores = scores - pairwise_mutual_information(log_probs[pick], log_probs)
        if number in after:
            columns[f"2-BALD after {number} picks"] = shown = scores.cpu().clone()
            shown[picks[:number]] = torch.nan
    table = pd.DataFrame({name: column[order].numpy() for name, column in columns.items()})
    table.insert(0, "rank", range(len(table)))
    return table


def summarised(table: pd.DataFrame) -> pd.DataFrame:
    """Of each curve, over the points not yet taken: extremes, where they are, the share below zero, and the mean of
    those that are among the highest by BALD."""
    curves = table.drop(columns="rank")
    return pd.DataFrame(
        {
            "points": curves.count(),
            "highest": curves.max(),
            "lowest": curves.min(),
            "share below zero": (curves < 0).sum() / curves.count(),
            f"mean of the {HIGHEST} highest by BALD": curves[:HIGHEST].mean(),
            "rank of the highest": curves.idxmax(),
            "rank of the lowest": curves.idxmin(),
        }
    ).rename_axis("curve")


def study(settings: Settings, output: Path) -> pd.DataFrame:
    """Trains on `max_labels` training images drawn at random, scores the whole pool, and follows 2-BALD through one
    batch of `acq_size` points. Records OUTPUT/scores.csv, OUTPUT/summary.csv and their source.

    Returns:
        The summary.

    Raises:
        SettingsError: before any training, for a batch that takes the whole pool, or more labels than the pool has.
        TrainingDiverged: the predictions are not finite.
    """
    data = load_data(settings)
    pool = len(data.pool_labels)
    if settings.acq_size >= pool:  # after the batch, scores of the others are shown
        raise SettingsError(f"acq_size must be less than the {pool} points of the pool, got {settings.acq_size}")
    if settings.max_labels > pool:
        raise SettingsError(f"max_labels must be at most the {pool} points of the pool, got {settings.max_labels}")
    output.mkdir(parents=True, exist_ok=True)
    write_source(output, settings, data)
    drawn = torch.randperm(pool, generator=derived_generator(settings.seed, "labelled"))
    labelled = drawn[: settings.max_labels].tolist()
    model = trained_model(settings, data, labelled)
    accuracy = evaluation_on_test_set(settings, data, model).accuracy
    print(f"test accuracy {accuracy:.4f} with {len(labelled)} labels")
    after = sorted({max(1, settings.acq_size // 6), max(1, settings.acq_size // 2), settings.acq_size})
    table = progression(pool_log_probs(settings, data, model), after)
    kept = (table["rank"] < HIGHEST) | (table["rank"] % EVERY == 0)
    table[kept].to_csv(output / "scores.csv", index=False, float_format="%.4f", lineterminator="\n")
    summary = summarised(table).assign(**{"test accuracy": accuracy})
    summary.to_csv(output / "summary.csv", float_format="%.4f", lineterminator="\n")
    return summary
