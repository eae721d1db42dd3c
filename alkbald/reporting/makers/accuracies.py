"""Tables of curves: what they reach, how they differ, and the published curves beside them."""

import pandas as pd

from alkbald.reporting.makers.compared import (
    DIFFERENCES,
    DYNAMIC,
    FIXED,
    GRID,
    PAPER,
    REFERENCE,
    SIZES,
    THRESHOLDS,
)
from alkbald.reporting.makers.files import Folders
from alkbald.reporting.published import DATA, compared_with_published, published_sizes, read_published
from alkbald.reporting.rounds import accuracy_curves, pool_suffix
from alkbald.reporting.tables import paired_differences, summary


def comparison(folders: Folders) -> None:
    """What the curves reach, and how those on one pool differ from 2-BALD 10 there."""
    rounds, _ = folders.curves([*PAPER, *DYNAMIC, *FIXED])
    differences = []
    for noise, pool in rounds.groupby("noise"):
        reference, curves = REFERENCE + pool_suffix(float(str(noise))), accuracy_curves(pool)
        if reference in curves:
            differences.append(paired_differences(curves, reference, SIZES, GRID))
        else:
            print(f"differences: {reference}, with which {', '.join(curves)} would be compared, is not there")
    if not differences:
        raise FileNotFoundError(
            f"{REFERENCE}, with which curves are compared, is not in {folders.results}/learning_curves"
        )
    accuracies = {f"{what}{size}": ".4f" for size in SIZES for what in ("accuracy at ", "± at ")}
    needed = {f"{what} to {share:.0%}": ".0f" for share in THRESHOLDS for what in ("labels", "trials")}
    folders.save_table(
        summary(accuracy_curves(rounds), SIZES, THRESHOLDS, GRID),
        "summary",
        {"curve": "", "trials": "", **accuracies, "area": ".4f", "± area": ".4f", **needed},
    )
    folders.save_table(pd.concat(differences), "differences", DIFFERENCES)


def published(folders: Folders) -> None:
    """Our curves beside the published ones of the same method, batch size and pool."""
    rounds, _ = folders.curves(PAPER)
    rounds = rounds[rounds["data"] == DATA]
    if rounds.empty:
        raise FileNotFoundError(f"none of the paper's curves on {DATA} is in {folders.results}/learning_curves")
    curves, theirs = accuracy_curves(rounds), read_published(folders.published / "curves.csv")
    formats = {"curve": "", "trials": "", "published trials": "", "sizes": ".0f"}
    formats |= {f"within {limit} standard errors": ".0%" for limit in (2, 3)}
    formats |= {"difference": "+.4f", "low": "+.4f", "high": "+.4f", "largest gap": "+.4f", "at": ".0f"}
    for threshold in THRESHOLDS:
        formats |= {f"labels to {threshold:.0%}, {whose}": ".0f" for whose in ("ours", "published")}
    folders.save_table(compared_with_published(curves, theirs, THRESHOLDS), "published", formats)
    folders.save_csv(published_sizes(curves, theirs), "published_sizes")


def noise(folders: Folders) -> None:
    """What noise on the pool is worth: a method with it less the same method without it, paired by seed."""
    rounds, _ = folders.curves(PAPER)
    curves = accuracy_curves(rounds)
    differences = [
        paired_differences({name: curves[name], clean: curves[clean]}, clean, SIZES, GRID)
        for name in curves
        if (clean := name + pool_suffix(0.0)) in curves
    ]
    if not differences:
        raise FileNotFoundError("no curve is on record both with noise and without it")
    folders.save_table(pd.concat(differences), "noise", DIFFERENCES)
