"""From rounds to tables of results: what curves reach, and how they differ.

Rounds and curves are those of `alkbald.reporting.rounds`. Accuracies are shares, not percents.
"""

import numpy as np
import pandas as pd
from scipy.stats import t

from alkbald.reporting.rounds import CURVE, curve_names, interpolated, last_size, pool_suffix

#: What is shown of rounds, by the name of a column, and its title.
SHOWN = {
    "labelled": "labels",
    "accuracy": "accuracy",
    "nll": "NLL",
    "epochs": "epochs",
    "seconds_training": "train s",
    "seconds_evaluation": "eval s",
    "seconds_inference": "score s",
    "seconds_selection": "select s",
    "joint_mutual_information": "joint MI",
    "total_correlation": "total corr",
}


def rounds_as_text(rounds: pd.DataFrame) -> str:
    """A table of the rounds of each run, under its method, batch size, pool, data set and seed."""
    parts = []
    for (data, method, acq_size, noise, variant, seed), run in rounds.groupby([*CURVE, "seed"]):
        parts_of_title = [method, f"acq_size {acq_size}{pool_suffix(noise)}", data, variant, f"seed {seed}"]
        title = ", ".join(filter(None, parts_of_title))
        table = run[list(SHOWN)].rename(columns=SHOWN)
        parts.append(f"{title}\n{table.to_string(index=False, float_format='{:.3f}'.format, na_rep='')}")
    return "\n\n".join(parts)


def interval_of_mean(values: pd.Series) -> float:
    """Half the width of the 95% confidence interval of the mean, by Student's t; NaN of a single value."""
    return values.sem() * t.ppf(0.975, len(values) - 1) if len(values) > 1 else float("nan")


def labels_needed(accuracy: pd.Series, threshold: float) -> float:
    """The first labelled-set size of a trial at which its accuracy is at least the threshold; NaN if there is none.

    Sizes are those of the trial's rounds: larger batches are found out later, by half a batch on average.
    """
    reached = accuracy.dropna() >= threshold
    return float(reached.idxmax()) if reached.any() else float("nan")


def rounds_needed(rounds: pd.DataFrame, threshold: float) -> dict[str, pd.Series]:
    """By a curve's name, for each seed: the first round (from 0) whose accuracy is at least the threshold, which is the
    number of times that labels were asked for; NaN where there is none."""
    reached = rounds["round"].where(rounds["accuracy"] >= threshold)
    first = reached.groupby([curve_names(rounds).rename("curve"), rounds["seed"]]).min()
    return {str(name): of_curve.droplevel(0) for name, of_curve in first.groupby(level=0)}


def rounds_to_accuracy(rounds: pd.DataFrame, reference: str, order: list[str], thresholds: list[float]) -> pd.DataFrame:
    """How often curves ask for labels until they reach an accuracy, and how much more often than the reference does.

    One row for each threshold and curve: the labelled-set size that all its trials reached, how many trials there are,
    how many reach the threshold, and their mean rounds. Over the pairs of trials with the same seed: the mean
    difference and its 95% interval, unless a trial of these pairs did not reach the threshold: the pairs that did are
    the quick ones.
    """
    last = {name: last_size(curve) for name, curve in rounds.groupby(curve_names(rounds))}
    rows = []
    for threshold in thresholds:
        needed = rounds_needed(rounds, threshold)
        for name in (name for name in order if name in needed):
            row = {"curve": name, "labels up to": last[name], "accuracy": threshold, "of": len(needed[name])}
            row |= {"reach it": needed[name].count(), "rounds": needed[name].mean()}
            pairs = pd.concat([needed[name], needed[reference]], axis="columns", join="inner")
            if name != reference and pairs.notna().all(axis=None):
                row |= {"less": reference} | paired_difference(needed[name], needed[reference])
            rows.append(row)
    return pd.DataFrame(rows)


def mean_accuracy(accuracy: pd.Series, grid: list[int]) -> float:
    """Area under a trial's curve, by trapezoids over a grid of labelled-set sizes, over the grid's length.

    Curves of different batch sizes are compared on sizes that all of them have: finer steps give a larger area.
    Between its rounds a trial is interpolated; NaN if it did not get to one of the sizes.
    """
    at = interpolated(accuracy, grid)[grid]
    return float(np.trapezoid(at, grid) / (grid[-1] - grid[0]))


def summary(
    curves: dict[str, pd.DataFrame], sizes: list[int], thresholds: list[float], grid: list[int]
) -> pd.DataFrame:
    """A row a curve: mean over trials, and half the 95% interval, of what its trials reach.

    Columns: accuracies at labelled-set sizes (interpolated between rounds) and how many trials got there, area under
    the curve on a grid of sizes, labels needed for thresholds (mean over the trials that reach them, and how many do).
    """
    rows = []
    for name, table in curves.items():
        row: dict[str, object] = {"curve": name, "trials": table.shape[1]}
        for size in sizes:
            at = interpolated(table, sizes).loc[size].dropna()
            row |= {
                f"accuracy at {size}": at.mean(),
                f"± at {size}": interval_of_mean(at),
                f"trials at {size}": len(at),
            }
        area = table.apply(mean_accuracy, grid=grid).dropna()
        row |= {"area": area.mean(), "± area": interval_of_mean(area)}
        for threshold in thresholds:
            needed = table.apply(labels_needed, threshold=threshold).dropna()
            row |= {f"labels to {threshold:.0%}": needed.mean(), f"trials to {threshold:.0%}": len(needed)}
        rows.append(row)
    return pd.DataFrame(rows)


def paired_differences(
    curves: dict[str, pd.DataFrame], reference: str, sizes: list[int], grid: list[int]
) -> pd.DataFrame:
    """Every curve less the reference, trial by trial: seeds share what does not depend on the method.

    A row a curve and labelled-set size (and one for the area under the curve) that trials of both got to: how many,
    mean difference, its 95% interval by Student's t (NaN with one seed). Between rounds trials are interpolated.
    """
    base, rows = curves[reference], []
    for name, table in curves.items():
        if name == reference:
            continue
        pair = [interpolated(part, sizes) for part in (table, base)]
        measures = {str(size): [part.loc[size] for part in pair] for size in sizes}
        measures[f"area {grid[0]}-{grid[-1]}"] = [part.apply(mean_accuracy, grid=grid) for part in (table, base)]
        for what, (ours, theirs) in measures.items():
            if (ours - theirs).notna().any():
                rows.append({"curve": name, "less": reference, "at": what} | paired_difference(ours, theirs))
    return pd.DataFrame(rows, columns=["curve", "less", "at", "trials", "difference", "low", "high"])


def paired_difference(ours: pd.Series, theirs: pd.Series) -> dict[str, object]:
    """By seed: how many pairs, mean difference, and its 95% interval."""
    difference = (ours - theirs).dropna()
    mean, half = difference.mean(), interval_of_mean(difference)
    return {"trials": len(difference), "difference": mean, "low": mean - half, "high": mean + half}
