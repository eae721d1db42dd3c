"""Scores of pool points within one round of 2-BALD, for Figure 3:

    python scripts/score_progression.py experiment=figure3                            the paper's: MNIST, 250 labels
    python scripts/score_progression.py experiment=figure3 data=digits acq_size=15    no download

Trains on `max_labels` training images drawn at random, scores the whole pool, and follows 2-BALD through one batch of
`acq_size`: score of n after m picks = I[Y_n; Omega] - sum over the picks i of I[Y_i; Y_n]. [Kirsch2023, figure 3]
Writes OUT/figure3/scores.csv (the highest 1,000 points by initial BALD score, and every 20th of the others),
summary.csv (of all points), settings.yaml and provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import math
from functools import partial
from pathlib import Path

import hydra
import pandas as pd
import torch
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from alkbald.acquisition import kbald
from alkbald.data import load
from alkbald.errors import SettingsError, TrainingDiverged, errors_in_one_line
from alkbald.inference import evaluate
from alkbald.information import mutual_information, pairwise_mutual_information
from alkbald.loop import predictions, prepared_device, progress_bar, trained
from alkbald.records.provenance import write_provenance
from alkbald.randomness import derived_generator
from alkbald.settings import from_config

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


@hydra.main(version_base="1.3", config_path="../configs", config_name="config")
def main(config: DictConfig) -> None:
    with errors_in_one_line():
        settings = from_config(config)
        device = prepared_device(settings)
        data = load(**vars(settings.data), device=device)
        pool = len(data.pool_labels)
        if not settings.acq_size <= pool or not settings.max_labels <= pool:
            raise SettingsError(f"acq_size and max_labels must be at most the {pool} points of the pool")
        folder = Path(settings.out, "figure3")
        folder.mkdir(parents=True, exist_ok=True)
        drawn = torch.randperm(pool, generator=derived_generator(settings.seed, "labelled"))
        labelled = drawn[: settings.max_labels].tolist()
        bar = progress_bar(settings, f"{len(labelled)} labels")
        model, _ = trained(settings, data, labelled, 0, partial(bar, unit="epoch"))
        evaluation = evaluate(
            model,
            data.test_inputs,
            data.test_labels,
            settings.evaluation_samples,
            generator=derived_generator(settings.seed, 0, "evaluation"),
            precision=settings.precision,
        )
        if not math.isfinite(evaluation.nll):
            raise TrainingDiverged("predictions are not finite on the test set; try a lower learning rate")
        print(f"test accuracy {evaluation.accuracy:.4f} with {len(labelled)} labels")
        log_probs = predictions(settings, model, data.pool_inputs, number=0, progress=partial(bar, unit="chunk"))
        after = sorted({max(1, settings.acq_size // 6), max(1, settings.acq_size // 2), settings.acq_size})
        table = progression(log_probs, after)
        kept = (table["rank"] < HIGHEST) | (table["rank"] % EVERY == 0)
        table[kept].to_csv(folder / "scores.csv", index=False, float_format="%.4f", lineterminator="\n")
        summary = summarised(table).assign(**{"test accuracy": evaluation.accuracy})
        summary.to_csv(folder / "summary.csv", float_format="%.4f", lineterminator="\n")
        OmegaConf.save(OmegaConf.structured(settings), folder / "settings.yaml")
        write_provenance(folder, device)
        print(summary.T.to_string(float_format="{:.4f}".format))
        print(f"recorded in {folder}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
