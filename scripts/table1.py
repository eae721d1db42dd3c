"""Minutes to select a batch, ours and batchbald_redux's in the same run, for Table 1:

    python scripts/table1.py experiment=table1                                             half an hour on 2 CPU cores
    python scripts/table1.py experiment=table1 data=digits acq_size=4 num_samples=20       seconds, no download

Trains on the initial set, scores the whole pool, and lets BatchBALD, 2-BALD and 3-BALD choose `acq_size` points and
half as many: ours (median of 5 after a warm-up), and the peer's own BatchBALD and a 2-BALD of its joint entropies
(once). Writes OUT/table1/times.csv after every measurement (what, N, K, B, outcome particles, seconds, their spread,
peak memory, what the batch is worth), settings.yaml and provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
from functools import partial
from pathlib import Path

import hydra
import pandas as pd
from bench_acquisition import PEER_SAMPLES, Bench, ours_2bald, peer_2bald, peer_batchbald
from omegaconf import DictConfig, OmegaConf

from alkbald.acquisition import batchbald, kbald
from alkbald.data import load
from alkbald.errors import SettingsError, errors_in_one_line
from alkbald.loop import predictions, prepared_device, progress_bar, trained
from alkbald.measuring import Stopwatch
from alkbald.records.provenance import write_provenance
from alkbald.settings import from_config

REPEATS = 5

#: By method, ours and the peer's function; the peer has no 3-BALD.
METHODS = {
    "2-BALD": (ours_2bald, peer_2bald),
    "3-BALD": (partial(kbald, order=3), None),
    "BatchBALD": (partial(batchbald, max_particles=PEER_SAMPLES), peer_batchbald),
}


@hydra.main(version_base="1.3", config_path="../configs", config_name="config")
def main(config: DictConfig) -> None:
    with errors_in_one_line():
        settings = from_config(config)
        device = prepared_device(settings)
        data = load(**vars(settings.data), device=device)
        if settings.acq_size > len(data.pool_labels):
            pool = len(data.pool_labels)
            raise SettingsError(f"acq_size must be at most the {pool} points of the pool, got {settings.acq_size}")
        folder = Path(settings.out, "table1")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "times.csv").unlink(missing_ok=True)  # of other settings
        OmegaConf.save(OmegaConf.structured(settings), folder / "settings.yaml")
        write_provenance(folder, device)
        bar = progress_bar(settings, f"{len(data.initial)} labels")
        model, _ = trained(settings, data, data.initial, 0, partial(bar, unit="epoch"))
        predictions(settings, model, data.pool_inputs[:1000], number=0)  # a device's first use takes longer
        clock = Stopwatch(device)
        with clock.measure("inference"):
            log_probs = predictions(settings, model, data.pool_inputs, number=0, progress=partial(bar, unit="chunk"))
        bench = Bench(device, REPEATS)
        bench.predictions = f"{settings.data.name}, {len(data.initial)} labels"
        inference = {
            "what": "inference",
            "predictions": bench.predictions,
            "N": len(log_probs),
            "K": settings.num_samples,
        }
        bench.rows.append(inference | {"seconds": clock.seconds["inference"]})
        print(f"{len(log_probs)} points, K = {settings.num_samples}, on {device}", flush=True)
        sizes = sorted({max(1, settings.acq_size // 2), settings.acq_size})
        for method, (ours, peer) in METHODS.items():
            for whose, function, repeats in (("ours", ours, REPEATS), ("batchbald_redux", peer, 1)):
                if function is None:
                    continue
                for size in sizes:
                    call = partial(function, log_probs, size)
                    _, row = bench.measure(f"{method}, {whose}", log_probs, call, repeats=repeats)
                    row["particles"] = PEER_SAMPLES if method == "BatchBALD" else 0
                    pd.DataFrame(bench.rows).to_csv(folder / "times.csv", index=False, lineterminator="\n")
        print(f"recorded in {folder}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
