"""Minutes to select a batch, ours and batchbald_redux's in the same run, for Table 1:

    python scripts/table1.py experiment=table1                                             an hour on 2 CPU cores
    python scripts/table1.py experiment=table1 data=digits acq_size=4 num_samples=20       seconds, no download

Trains on the initial set, scores the whole pool, and lets BatchBALD, 2-BALD and 3-BALD choose `acq_size` points and
half as many: ours (median of 5 after a warm-up), and the peer's own BatchBALD and a 2-BALD of its joint entropies
(once). Writes OUT/table1/times.csv after every measurement (what, N, K, B, outcome particles, seconds, their spread,
peak memory, what the batch is worth), settings.yaml and provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
from pathlib import Path

import hydra
from omegaconf import DictConfig

from alkbald.cli import errors_in_one_line
from alkbald.settings import from_config
from alkbald.studies import table1


@hydra.main(version_base="1.3", config_path="../configs", config_name="config")
def main(config: DictConfig) -> None:
    with errors_in_one_line():
        settings = from_config(config)
        folder = Path(settings.out, "table1")
        table1.study(settings, folder)
        print(f"recorded in {folder}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
