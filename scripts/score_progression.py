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
from pathlib import Path

import hydra
from omegaconf import DictConfig

from alkbald.cli import errors_in_one_line
from alkbald.settings import from_config
from alkbald.studies import score_progression


@hydra.main(version_base="1.3", config_path="../configs", config_name="config")
def main(config: DictConfig) -> None:
    with errors_in_one_line():
        settings = from_config(config)
        folder = Path(settings.out, "figure3")
        summary = score_progression.study(settings, folder)
        print(summary.T.to_string(float_format="{:.4f}".format))
        print(f"recorded in {folder}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
