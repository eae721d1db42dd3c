"""What k-BALD believes of its batches, and what they are worth, early and late in a run.

Takes the labelled sets of a run on record, trains the models of its rounds again, scores the whole pool, and lets 1- to
4-BALD and BatchBALD choose batches. Axes: N points, K samples, C classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from alkbald.acquisition import Batch, adaptive_kbald, bald, batchbald, conservative_bald, dynamic_bald, kbald
from alkbald.errors import SettingsError
from alkbald.information import joint_mutual_information, joint_mutual_information_of_prefixes, total_correlation
from alkbald.studies.rounds import labelled_at, log_probs_of_round, recorded_run, write_source

#: By method, its function and the batch size. The cost of k-BALD grows with its order as C^order.
METHODS: dict[str, tuple[Callable[..., Batch], int]] = {
    "BALD": (bald, 30),
    "2-BALD": (partial(kbald, order=2), 30),
    "3-BALD": (partial(kbald, order=3), 20),
    "4-BALD": (partial(kbald, order=4), 10),
    "BatchBALD": (batchbald, 30),
}

#: Methods that choose a size or an order, by what they are asked for, and the largest size. One criterion at a time.
_one_criterion = partial(dynamic_bald, divergence=None, non_positive=False, share_of_log_k=None)
CHOOSING: dict[str, tuple[Callable[..., Batch], int]] = {
    "dynamic, divergence 0.1": (partial(_one_criterion, divergence=0.1), 40),
    "dynamic, divergence 0.3": (partial(_one_criterion, divergence=0.3), 40),
    "dynamic, 0.95 log K": (partial(_one_criterion, share_of_log_k=0.95), 40),
    "dynamic, positive gains": (partial(_one_criterion, non_positive=True), 40),
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


def study(
    run: Path,
    output: Path,
    *,
    labels: Sequence[int],
    methods: Sequence[str] | None = None,
    largest: int = 40,
    data_root: str = "data",
) -> None:
    """Records OUTPUT/quality.csv, OUTPUT/choices.csv unless some methods alone are asked for, and their source.

    Args:
        run: folder of a run.
        output: where the tables are written, again after every labelled set.
        labels: labelled-set sizes of the run's rounds.
        methods: keys of `METHODS`; None: all, and those that choose a size or an order.
        largest: size of the largest batch; `METHODS` and `CHOOSING` have limits of their own.
        data_root: folder of downloads.

    Raises:
        UserError: before any training, for sizes that cannot be.
    """
    if largest < 1:
        raise SettingsError(f"largest must be at least 1, got {largest}")
    settings, data = recorded_run(run, data_root)
    rounds = [labelled_at(run, data, size) for size in dict.fromkeys(labels)]
    output.mkdir(parents=True, exist_ok=True)
    settings = replace(settings, pool_sample=None)  # the whole pool, whatever the run scored
    write_source(output, settings, data)
    tables: dict[str, list[pd.DataFrame]] = {"quality": [], "choices": []}
    for number, labelled in rounds:
        print(f"{len(labelled)} labels", flush=True)
        log_probs = log_probs_of_round(settings, data, number, labelled)
        of_round = {"quality": quality(log_probs, methods=dict.fromkeys(methods or METHODS), largest=largest)}
        if methods is None:
            of_round["choices"] = choices(log_probs, largest=largest)
        for name, table in of_round.items():
            table.insert(0, "labelled", len(labelled))
            table.insert(1, "num_samples", settings.num_samples)
            tables[name].append(table)
            together = pd.concat(tables[name])
            together.to_csv(output / f"{name}.csv", index=False, float_format="%.5f", lineterminator="\n")
