"""Seconds to select a batch, ours and batchbald_redux's on the same predictions in the same run, for Table 1."""

from functools import partial
from pathlib import Path

import pandas as pd

from alkbald.acquisition import batchbald, kbald
from alkbald.benchmarking.bench import Bench
from alkbald.benchmarking.peer_acquisition import PEER_SAMPLES, peer_2bald, peer_batchbald
from alkbald.errors import SettingsError
from alkbald.settings import Settings
from alkbald.studies.rounds import load_data, pool_log_probs, trained_model, write_source

REPEATS = 5

#: By method, ours and the peer's function; the peer has no 3-BALD.
METHODS = {
    "2-BALD": (partial(kbald, order=2), peer_2bald),
    "3-BALD": (partial(kbald, order=3), None),
    "BatchBALD": (partial(batchbald, max_particles=PEER_SAMPLES), peer_batchbald),
}


def study(settings: Settings, output: Path) -> None:
    """Trains on the initial set, scores the whole pool, and times methods that choose `acq_size` points and half as
    many: ours (median of `REPEATS` after a warm-up) and the peer's (once). Records OUTPUT/times.csv, again after every
    measurement, and its source.

    Raises:
        SettingsError: before any training, for a batch larger than the pool.
    """
    data = load_data(settings)
    if settings.acq_size > len(data.pool_labels):
        pool = len(data.pool_labels)
        raise SettingsError(f"acq_size must be at most the {pool} points of the pool, got {settings.acq_size}")
    output.mkdir(parents=True, exist_ok=True)
    (output / "times.csv").unlink(missing_ok=True)  # of other settings
    write_source(output, settings, data)
    model = trained_model(settings, data, data.initial)
    pool_log_probs(settings, data, model, slice(1000))  # a device's first use takes longer
    bench = Bench(data.pool_inputs.device, REPEATS)
    bench.predictions = f"{settings.data.name}, {len(data.initial)} labels"
    log_probs, seconds = bench.timed(lambda: pool_log_probs(settings, data, model))
    row = {"what": "inference", "predictions": bench.predictions, "N": len(log_probs), "K": settings.num_samples}
    bench.rows.append(row | {"seconds": seconds})
    print(f"{len(log_probs)} points, K = {settings.num_samples}, on {bench.device}", flush=True)
    for method, (ours, peer) in METHODS.items():
        for whose, function, repeats in (("ours", ours, REPEATS), ("batchbald_redux", peer, 1)):
            if function is None:
                continue
            for size in sorted({max(1, settings.acq_size // 2), settings.acq_size}):
                select = partial(function, log_probs, size)
                _, row = bench.selection(f"{method}, {whose}", log_probs, select, repeats=repeats)
                row["particles"] = PEER_SAMPLES if method == "BatchBALD" else 0
                pd.DataFrame(bench.rows).to_csv(output / "times.csv", index=False, lineterminator="\n")
