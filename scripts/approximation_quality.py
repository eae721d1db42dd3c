"""What k-BALD believes of its batches, and what they are worth, early and late in a run:

    python scripts/approximation_quality.py runs/mnist/2bald/acq_size=20/seed=0-* --labels 20 300
    python scripts/approximation_quality.py RUN --labels 20 100 300 --methods BALD BatchBALD --largest 5

Takes the labelled sets of a run on record, trains the models of its rounds again, scores the whole pool, and lets 1- to
4-BALD and BatchBALD choose batches. Writes OUTPUT/quality.csv: labelled, num_samples, method, position, and of the
batch up to there the method's score, its joint mutual information evaluated apart, the standard error, and its total
correlation, in nats. Unless only some methods are asked for, OUTPUT/choices.csv: what methods that choose a size or an
order choose there, why, and what that and BatchBALD's batch of the same size are worth. And settings.yaml and
provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from alkbald.acquisition import Batch, adaptive_kbald, bald, batchbald, conservative_bald, dynamic_bald, kbald
from alkbald.data import Data, load
from alkbald.errors import UserError, errors_in_one_line
from alkbald.information import (
    joint_mutual_information,
    joint_mutual_information_of_prefixes,
    total_correlation,
)
from alkbald.loop import predictions, prepared_device, progress_bar, recorded_positions, trained, unlabelled
from alkbald.records.provenance import write_provenance
from alkbald.randomness import derived_generator
from alkbald.records.files import read_record
from alkbald.settings import Settings, from_record

#: By method, its function and the batch size: costs of higher orders grow with it as C^order.
METHODS: dict[str, tuple[Callable[..., Batch], int]] = {
    "BALD": (bald, 30),
    "2-BALD": (partial(kbald, order=2), 30),
    "3-BALD": (partial(kbald, order=3), 20),
    "4-BALD": (partial(kbald, order=4), 10),
    "BatchBALD": (batchbald, 30),
}

#: By what they are asked for, methods that choose a size or an order, and the largest size; one criterion at a time.
_ALONE = partial(dynamic_bald, divergence=None, non_positive=False, share_of_log_k=None)
CHOOSING: dict[str, tuple[Callable[..., Batch], int]] = {
    "dynamic, divergence 0.1": (partial(_ALONE, divergence=0.1), 40),
    "dynamic, divergence 0.3": (partial(_ALONE, divergence=0.3), 40),
    "dynamic, 0.95 log K": (partial(_ALONE, share_of_log_k=0.95), 40),
    "dynamic, positive gains": (partial(_ALONE, non_positive=True), 40),
    "conservative, 0.1 nats a pair": (partial(conservative_bald, threshold=0.1), 40),
    "conservative, 0.02 nats a pair": (partial(conservative_bald, threshold=0.02), 40),
    "conservative, the paper's budget": (partial(conservative_bald, threshold=None), 40),
    "adaptive order, 5 points": (adaptive_kbald, 5),
    "adaptive order, 10 points": (adaptive_kbald, 10),
}


def quality(
    log_probs: Float[Tensor, "N K C"],
    *,
    methods: Iterable[str] = tuple(METHODS),
    outcomes: int = 100_000,
    largest: int = 30,
) -> pd.DataFrame:
    """A row a method and position: of the batch up to there the score, joint mutual information, its standard error,
    and total correlation."""
    rows = []
    for name in methods:
        method, size = METHODS[name]
        batch = method(log_probs, min(size, largest, len(log_probs)))
        joints, errors = joint_mutual_information_of_prefixes(batch.log_probs, num_outcomes=outcomes)
        prefixes = zip(batch.scores, joints.tolist(), errors.tolist(), strict=True)
        for position, (score, joint, error) in enumerate(prefixes, 1):
            row = {"method": name, "position": position, "score": score, "joint": joint, "error": error}
            rows.append(row | {"total_correlation": total_correlation(batch.log_probs[:position], joint)})
        print(f"  {name}: a batch of {len(batch)} believed to be worth {batch.scores[-1]:.3f}, worth {joint:.3f}")
    return pd.DataFrame(rows)


def choices(log_probs: Float[Tensor, "N K C"], *, outcomes: int = 100_000, largest: int = 40) -> pd.DataFrame:
    """A row a method that chooses a size or an order: what it chose and why, and what that is worth."""
    rows = []
    for name, (method, size) in CHOOSING.items():
        batch = method(log_probs, min(size, largest, len(log_probs)))
        joint, error = joint_mutual_information(batch.log_probs, num_outcomes=outcomes)
        chosen = {"method": name, "size": len(batch), "decision": batch.decision, "score": batch.scores[-1]}
        rows.append(chosen | {"joint": joint, "error": error})
        print(f"  {name}: {len(batch)} points ({batch.decision}), worth {joint:.3f}", flush=True)
    table = pd.DataFrame(rows)
    best = batchbald(log_probs, int(table["size"].max())).log_probs
    worth, _ = joint_mutual_information_of_prefixes(best, num_outcomes=outcomes)
    return table.assign(batchbald=[worth[size - 1].item() for size in table["size"]])


def run_on_record(folder: Path, data_root: str) -> tuple[Settings, Data]:
    """The settings of a run and its data, on this machine's device and, as numbers depend on them, the run's threads.

    Raises:
        UserError: the folder is no run.
    """
    if not (folder / "rounds.csv").exists():
        raise UserError(f"{folder} is no run: it has no rounds.csv")
    settings = from_record(folder)
    settings = replace(settings, data=replace(settings.data, root=data_root))
    return settings, load(**vars(settings.data), device=prepared_device(settings))


def labelled_at(folder: Path, data: Data, number_of_labels: int) -> tuple[int, list[int]]:
    """The round of a run that had so many labels, and their pool positions.

    Raises:
        UserError: no round had, or the data are not those of the run.
    """
    rounds, acquired, _ = read_record(folder)
    sizes = [int(row["labelled"]) for row in rounds]
    if number_of_labels not in sizes:
        raise UserError(f"{folder} has no round with {number_of_labels} labels, but {', '.join(map(str, sizes))}")
    positions = recorded_positions(folder, rounds, acquired, data)
    return sizes.index(number_of_labels), data.initial + positions[: number_of_labels - len(data.initial)]


def log_probs_of_round(
    settings: Settings, data: Data, number: int, labelled: list[int], points: int | None = None
) -> Tensor:
    """What the round's model, trained again, predicts for the pool, or so many points of it, drawn at random."""
    bar = progress_bar(settings, f"{len(labelled)} labels")
    model, _ = trained(settings, data, labelled, number, partial(bar, unit="epoch"))
    candidates = unlabelled(len(data.pool_labels), labelled)
    if points is not None:
        drawn = torch.randperm(len(candidates), generator=derived_generator(settings.seed, number, "pool sample"))
        candidates = candidates[drawn[:points].sort().values]
    return predictions(
        settings, model, data.pool_inputs[candidates], number=number, progress=partial(bar, unit="chunk")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run (with rounds.csv)")
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 100], help="labelled-set sizes of its rounds")
    parser.add_argument("--data", default="data", help="folder of downloads")
    parser.add_argument("--output", type=Path, default=Path("runs/approximation_quality"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="all if not said, and those that choose")
    parser.add_argument("--largest", type=int, default=40, help="largest batch; 30, and less of higher orders, anyway")
    arguments = parser.parse_args()
    if arguments.largest < 1:
        raise UserError(f"--largest must be at least 1, got {arguments.largest}")
    settings, data = run_on_record(arguments.run, arguments.data)
    rounds = [labelled_at(arguments.run, data, size) for size in dict.fromkeys(arguments.labels)]
    arguments.output.mkdir(parents=True, exist_ok=True)
    settings = replace(settings, pool_sample=None)  # the whole pool, whatever the run scored
    OmegaConf.save(OmegaConf.structured(settings), arguments.output / "settings.yaml")
    write_provenance(arguments.output, data.pool_inputs.device)
    tables: dict[str, pd.DataFrame] = {}

    def record(name: str, table: pd.DataFrame, labels: int) -> None:
        table.insert(0, "labelled", labels)
        table.insert(1, "num_samples", settings.num_samples)
        tables[name] = pd.concat([tables[name], table]) if name in tables else table
        tables[name].to_csv(arguments.output / f"{name}.csv", index=False, float_format="%.5f", lineterminator="\n")

    for number, labelled in rounds:
        print(f"{len(labelled)} labels", flush=True)
        log_probs = log_probs_of_round(settings, data, number, labelled)
        methods = dict.fromkeys(arguments.methods or METHODS)
        record("quality", quality(log_probs, methods=methods, largest=arguments.largest), len(labelled))
        if arguments.methods is None:
            record("choices", choices(log_probs, largest=arguments.largest), len(labelled))
    print(f"recorded in {arguments.output}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
