"""What k-BALD believes of its batches, and what they are worth, early and late in a run.

Takes the labelled sets of a run on record, trains the models of its rounds again, scores the whole pool, and lets 1- to
4-BALD and BatchBALD choose batches. Axes: N points, K samples, C classes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from alkbald import acquisition
from alkbald.acquisition import Batch, batchbald
from alkbald.acquisition.pool import checked_budget
from alkbald.data import Data
from alkbald.errors import SettingsError
from alkbald.information import joint_mutual_information, joint_mutual_information_of_prefixes, total_correlation
from alkbald.settings import Settings
from alkbald.studies.rounds import labelled_at, log_probs_of_round, recorded_run, write_source


@dataclass(frozen=True)
class Judged:
    """A method that is judged.

    Attributes:
        name: of `acquisition.METHODS`.
        largest: size of the largest batch that it is asked for.
        options: of the method.
    """

    name: str
    largest: int
    options: dict[str, Any] = field(default_factory=dict)

    def batch(self, log_probs: Float[Tensor, "N K C"], largest: int) -> Batch:
        """Its batch of `largest` points; fewer where its own limit or the pool is smaller."""
        return acquisition.METHODS[self.name](log_probs, min(self.largest, largest, len(log_probs)), **self.options)

    def check_size(self, shape: tuple[int, int, int], largest: int, memory_budget: int) -> None:
        """Refuses a batch of `largest` points that is too large for the memory, before there are predictions.

        Args:
            shape: N, K, C.
            largest: see `batch`.
            memory_budget: bytes.

        Raises:
            SettingsError: the method's tables do not fit.
        """
        size = min(self.largest, largest, shape[0])
        if (check_size := acquisition.METHODS[self.name].check_size) is None:
            return
        try:
            check_size(shape, size, memory_budget, **self.options)
        except ValueError as error:
            options = [f"{key}={value}" for key, value in self.options.items()]
            named = ", ".join([self.name, *options, f"{shape[2]} classes"])
            raise SettingsError(f"{named}: {error}; --largest and --methods ask for less") from error


#: By how it is called. The cost of k-BALD grows with its order as C^order.
METHODS = {
    "BALD": Judged("bald", 30),
    "2-BALD": Judged("2bald", 30),
    "3-BALD": Judged("3bald", 20),
    "4-BALD": Judged("kbald", 10, {"order": 4}),
    "BatchBALD": Judged("batchbald", 30),
}

#: Methods that choose a size or an order, by what they are asked for. One criterion at a time.
_OFF = {"divergence": None, "non_positive": False, "share_of_log_k": None}
CHOOSING = {
    "dynamic, divergence 0.1": Judged("dynamic_bald", 40, _OFF | {"divergence": 0.1}),
    "dynamic, divergence 0.3": Judged("dynamic_bald", 40, _OFF | {"divergence": 0.3}),
    "dynamic, 0.95 log K": Judged("dynamic_bald", 40, _OFF | {"share_of_log_k": 0.95}),
    "dynamic, positive gains": Judged("dynamic_bald", 40, _OFF | {"non_positive": True}),
    "conservative, 0.1 nats a pair": Judged("conservative_bald", 40, {"threshold": 0.1}),
    "conservative, 0.02 nats a pair": Judged("conservative_bald", 40, {"threshold": 0.02}),
    "conservative, the paper's budget": Judged("conservative_bald", 40, {"threshold": None}),
    "adaptive order, 5 points": Judged("adaptive_kbald", 5),
    "adaptive order, 10 points": Judged("adaptive_kbald", 10),
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
        batch = METHODS[name].batch(log_probs, largest)
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
    for name, method in CHOOSING.items():
        batch = method.batch(log_probs, largest)
        joint, error = joint_mutual_information(batch.log_probs, num_outcomes=outcomes)
        chosen = {"method": name, "size": len(batch), "decision": batch.decision, "score": batch.scores[-1]}
        rows.append(chosen | {"joint": joint, "error": error})
        print(f"  {name}: {len(batch)} points ({batch.decision}), worth {joint:.3f}", flush=True)
    table = pd.DataFrame(rows)
    best = batchbald(log_probs, int(table["size"].max())).log_probs
    worth, _ = joint_mutual_information_of_prefixes(best, num_outcomes=outcomes)
    return table.assign(batchbald=[worth[size - 1].item() for size in table["size"]])


def _check_sizes(methods: Iterable[Judged], settings: Settings, data: Data, labels: int, largest: int) -> None:
    """Refuses methods whose batches are too large for the memory beside the predictions after so many labels."""
    shape = len(data.pool_labels) - labels, settings.num_samples, data.num_classes
    predictions = math.prod(shape) * torch.float32.itemsize
    budget = checked_budget(None, data.pool_inputs.device, reserved=predictions)
    for method in methods:
        method.check_size(shape, largest, budget)


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
        UserError: before any training, for sizes that cannot be, and for methods whose tables would not fit into the
            memory: of many classes, those of high orders.
    """
    if largest < 1:
        raise SettingsError(f"largest must be at least 1, got {largest}")
    settings, data = recorded_run(run, data_root)
    rounds = [labelled_at(run, data, size) for size in dict.fromkeys(labels)]
    settings = replace(settings, pool_sample=None)  # the whole pool, whatever the run scored
    judged = [METHODS[name] for name in methods or METHODS] + ([] if methods else [*CHOOSING.values()])
    _check_sizes(judged, settings, data, min(labels), largest)
    output.mkdir(parents=True, exist_ok=True)
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
