"""Figures and tables of the studies: what the paper proposes and leaves open."""

import pandas as pd

from alkbald.errors import RecordError
from alkbald.reporting.figures import batches
from alkbald.reporting.figures.curves import dynamic_batch_sizes
from alkbald.reporting.makers.compared import (
    CONTROL,
    DIFFERENCES,
    DYNAMIC,
    FIXED,
    GRID,
    REFERENCE,
    SIZES,
    THRESHOLDS,
    TOTAL_CORRELATION,
)
from alkbald.reporting.makers.files import Folders
from alkbald.reporting.rounds import accuracy_curves, check_comparable, last_size, load_runs
from alkbald.reporting.tables import paired_differences, rounds_to_accuracy

REFERENCE_SAMPLES = 100


def correlation(folders: Folders) -> None:
    """What top-k BALD counts more than once, over a run."""
    rounds, _ = folders.curves(TOTAL_CORRELATION)
    if rounds.empty:
        raise FileNotFoundError(f"none of its curves is in {folders.results}/learning_curves")
    check_comparable(rounds)
    folders.save(batches.total_correlation(rounds, TOTAL_CORRELATION), "total_correlation")


def conjecture(folders: Folders) -> None:
    """Whether 1-BALD's batches become BatchBALD's as labels grow: of whole pools, the largest batches on record; in the
    table smaller ones too, of which K samples can tell more."""
    table = pd.read_csv(folders.results / "conjecture" / "quality.csv")
    if lacking := {"BALD", "BatchBALD"} - set(table["method"]):
        raise RecordError(f"{' and '.join(lacking)} is not in {folders.results}/conjecture")
    largest = table["position"].max()
    folders.save(batches.bald_beside_batchbald(table[table["position"] == largest]), "conjecture")
    chosen = table[table["position"].isin([2, 3, largest])].assign(points=table["position"])
    joint, repeated = (
        chosen.pivot(index=["points", "labelled"], columns="method", values=values)
        for values in ("joint", "total_correlation")
    )
    shares = repeated / (repeated + joint)
    rows = {f"{method}, nats": joint[method] for method in joint}
    rows |= {"BALD / BatchBALD": joint["BALD"] / joint["BatchBALD"]}
    rows |= {f"total correlation, {method}": shares[method] for method in shares}
    formats = {name: ".1%" if "/" in name or "total" in name else ".3f" for name in rows}
    folders.save_table(pd.DataFrame(rows).reset_index(), "conjecture", {"points": "", "labelled": "", **formats})


def quality(folders: Folders) -> None:
    """What k-BALD believes of its batches, and what they are worth."""
    folders.save(batches.approximation_quality(pd.read_csv(folders.results / "quality" / "quality.csv")), "quality")


def choices(folders: Folders) -> None:
    """What methods choose that choose a size or an order."""
    table = pd.read_csv(folders.results / "quality" / "choices.csv")
    formats = {"labelled": "", "method": "", "size": "", "decision": "", "score": ".3f", "joint": ".3f", "error": ".4f"}
    folders.save_table(table, "choices", formats | {"batchbald": ".3f"})


def ceiling(folders: Folders) -> None:
    """What few and many MC samples can tell of a batch, and what they do to accuracy."""
    worth = pd.read_csv(folders.results / "ceiling" / "worth.csv")
    try:
        rounds = load_runs([folders.results / "ceiling"], settings_apart=["num_samples"])
    except FileNotFoundError:
        print("ceiling: no runs of experiment=ceiling are there")
        folders.save(batches.ceiling(worth), "ceiling")
        return
    if rounds["variant"].any() or set(rounds["method"]) != {"batchbald"}:
        raise RecordError(f"the runs in {folders.results}/ceiling are not BatchBALD's that differ in num_samples alone")
    folders.save(batches.ceiling(worth, rounds), "ceiling")
    if tables := [table for _, of_size in rounds.groupby("acq_size") if not (table := _differences(of_size)).empty]:
        folders.save_table(pd.concat(tables), "ceiling_differences", DIFFERENCES)


def _differences(rounds: pd.DataFrame) -> pd.DataFrame:
    """BatchBALD's accuracies by K, of one batch size, less those with `REFERENCE_SAMPLES`; empty without these."""
    by_samples = rounds.groupby("num_samples")
    curves = {f"{name}, K = {k}": curve for k, runs in by_samples for name, curve in accuracy_curves(runs).items()}
    acq_size = int(rounds["acq_size"].iloc[0])
    reference = f"batchbald-{acq_size}, K = {REFERENCE_SAMPLES}"
    if reference not in curves:
        print(f"ceiling: {reference} is not there")
        return pd.DataFrame()
    last = min(last_size(runs) for _, runs in by_samples)
    grid = list(range(int(rounds["labelled"].min()), last + 1, acq_size))  # the rounds that all of them have
    if len(grid) < 2:
        return pd.DataFrame()
    return paired_differences(curves, reference, [size for size in (40, 60, 100, 180, 300) if size in grid], grid)


def dynamic(folders: Folders) -> None:
    """Batch sizes chosen in the round beside fixed ones: accuracy, how often labels were asked for, and why batches
    ended."""
    rounds, missing = folders.curves([*DYNAMIC, *FIXED])
    if REFERENCE in missing or set(DYNAMIC) <= set(missing):
        raise FileNotFoundError(f"{', '.join(missing)} is not in {folders.results}/learning_curves")
    for curve in missing:
        print(f"dynamic: {curve} is not there")
    check_comparable(rounds)
    folders.save(dynamic_batch_sizes(rounds, [*DYNAMIC, *FIXED]), "dynamic")
    table = rounds_to_accuracy(rounds, REFERENCE, [*DYNAMIC, *FIXED], THRESHOLDS)
    formats = dict.fromkeys(table, "") | {"accuracy": ".0%", "rounds": ".1f", "trials": ".0f"}
    formats |= dict.fromkeys(["difference", "low", "high"], "+.1f")
    folders.save_table(table, "dynamic_rounds", formats)
    if CONTROL not in missing:
        curves = {name: curve for name, curve in accuracy_curves(rounds).items() if name in [*DYNAMIC, CONTROL]}
        folders.save_table(paired_differences(curves, CONTROL, SIZES, GRID), "dynamic_differences", DIFFERENCES)
    sizes = rounds.dropna(subset=["decision"]).groupby(["method", "acq_size", "decision"])["batch"]
    decisions = sizes.agg(["count", "mean", "min", "max"]).reset_index()
    formats = {"method": "", "acq_size": "", "decision": "", "count": "", "mean": ".1f", "min": ".0f", "max": ".0f"}
    folders.save_table(decisions, "dynamic_decisions", formats)
