"""From records of runs to tables: rounds, what curves reach, how they differ.

A *curve* is what the trials of one method, batch size and data set have in common; its trials differ in their seed.
Curves are named METHOD-ACQSIZE, as in configs/curve. Accuracies are shares, not percents.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy.stats import t

from alkbald.errors import RecordError
from alkbald.records.files import read_record
from alkbald.records.schema import ROUNDS
from alkbald.records.versions import defining, recorded_settings

#: What tells curves apart; the trials of one curve differ in nothing but their seed.
CURVE = ["data", "method", "acq_size", "variant"]

#: Standard deviation over trials of the published curves: they show 0.005 to 0.015.
PUBLISHED_DEVIATION = 0.010
PUBLISHED_TRIALS = 5

Table = TypeVar("Table", pd.DataFrame, pd.Series)


def load_runs(folders: Iterable[str | Path]) -> pd.DataFrame:
    """All rounds of all runs below the folders, with columns data, method, acq_size, variant and seed in front.

    `variant` names the further settings in which these runs differ from each other ("num_samples=8"), so that runs of
    different settings are never taken for trials of one curve; empty where they differ in none.

    Raises:
        FileNotFoundError: no run is there.
    """
    paths = sorted({path.resolve() for folder in folders for path in Path(folder).rglob("rounds.csv")})
    if not paths:
        raise FileNotFoundError(f"no run (rounds.csv) below {', '.join(map(str, folders))}")
    settings = [defining(recorded_settings(path.parent)) for path in paths]
    named = [[run.pop(key) for key in ("data.name", "method.name", "acq_size")] + [run["seed"]] for run in settings]
    if all(run["data.split_seed"] == run["seed"] for run in settings):  # a split a trial
        settings = [{key: value for key, value in run.items() if key != "data.split_seed"} for run in settings]
    values: dict[str, set[str]] = {}
    for key, value in (item for run in settings for item in run.items()):
        values.setdefault(key, set()).add(str(value))
    differing = [key for key, several in values.items() if len(several) > 1 and key != "seed"]
    tables = []
    for path, run, (*curve, seed) in zip(paths, settings, named, strict=True):
        rounds = pd.DataFrame(read_record(path.parent).rounds, columns=ROUNDS.names).replace("", None)
        rounds[ROUNDS.numbers] = rounds[ROUNDS.numbers].apply(pd.to_numeric)
        variant = ", ".join(f"{key}={run[key]}" for key in differing if key in run)
        for place, (key, value) in enumerate(zip([*CURVE, "seed"], [*curve, variant, seed], strict=True)):
            rounds.insert(place, key, value)
        tables.append(rounds)
    return pd.concat(tables, ignore_index=True)


def curve_names(rounds: pd.DataFrame) -> pd.Series:
    """METHOD-ACQSIZE of every round."""
    return rounds["method"] + "-" + rounds["acq_size"].astype(str)


def last_size(curve: pd.DataFrame) -> int:
    """The labelled-set size that all trials of a curve have come to."""
    return int(curve.groupby("seed")["labelled"].max().min())


def interval_of_mean(values: pd.Series) -> float:
    """Half the width of the 95% confidence interval of the mean, by Student's t; NaN of a single value."""
    return values.sem() * t.ppf(0.975, len(values) - 1) if len(values) > 1 else float("nan")


def by_trial(curve: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of a curve's rounds: a row for each labelled-set size that a trial came by, a column for each seed."""
    return curve.pivot(index="labelled", columns="seed", values=column)


def interpolated(table: Table, sizes: Iterable[int] = ()) -> Table:
    """At its own labelled-set sizes and these: a trial's value there, or linear between its rounds; NaN beyond them."""
    return table.reindex(table.index.union(list(sizes))).interpolate(method="index", limit_area="inside")


def unfinished(curve: pd.DataFrame) -> int:
    """How many of a curve's trials have not come to an end: their last round on record acquired a batch."""
    return int(curve.sort_values("round").groupby("seed").tail(1)["batch"].notna().sum())


def check_comparable(rounds: pd.DataFrame) -> None:
    """Raises RecordError for rounds of several data sets, of runs that differ in more than curve and seed, or of two
    runs of one curve and seed."""
    for key in ("data", "variant"):
        if rounds[key].nunique() > 1:
            raise RecordError(f"runs that differ in {key} are not compared: {', '.join(sorted(rounds[key].unique()))}")
    if rounds.duplicated(["method", "acq_size", "seed", "labelled"]).any():
        raise RecordError("two runs of one curve and seed are not compared; move one of them away")


def trials(rounds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By a curve's name, its accuracies as of `by_trial`.

    Raises:
        RecordError: the rounds cannot be compared (`check_comparable`).
    """
    check_comparable(rounds)
    return {
        f"{method}-{acq_size}": by_trial(curve, "accuracy")
        for (method, acq_size), curve in rounds.groupby(["method", "acq_size"])
    }


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
    first = reached.groupby([rounds["method"], rounds["acq_size"], rounds["seed"]]).min()
    return {
        f"{method}-{acq_size}": of_curve.droplevel([0, 1])
        for (method, acq_size), of_curve in first.groupby(level=[0, 1])
    }


def rounds_beside(rounds: pd.DataFrame, reference: str, order: list[str], thresholds: list[float]) -> pd.DataFrame:
    """How often curves ask for labels until they are so accurate, and how much oftener than the reference does.

    A row a threshold and curve: the labelled-set size that all its trials have come to, how many trials there are and
    reach the threshold, their mean rounds, and over the pairs of trials that both reach it, the mean difference and its
    95% interval (not of a curve that ended before the reference did, and with it some trials before the threshold).
    """
    last = {name: last_size(curve) for name, curve in rounds.groupby(curve_names(rounds))}
    rows = []
    for threshold in thresholds:
        needed = rounds_needed(rounds, threshold)
        for name in (name for name in order if name in needed):
            row = {"curve": name, "labels up to": last[name], "accuracy": threshold, "of": len(needed[name])}
            row |= {"reach it": needed[name].count(), "rounds": needed[name].mean()}
            cut_short = last[name] < last.get(reference, 0) and needed[name].isna().any()
            if name != reference and not cut_short:  # those that got there before the end are the quick ones
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


def beside_published(curves: dict[str, pd.DataFrame], published: pd.DataFrame) -> pd.DataFrame:
    """Our means beside published ones, and the difference in units of its standard error.

    `published` has columns curve, labelled and accuracy.
    The error's square is s^2 / n + `PUBLISHED_DEVIATION`^2 / `PUBLISHED_TRIALS` with our own deviation s over n trials.
    Of fewer than 5 trials, which may be alike by chance, s is taken to be no less than the published deviation.
    """
    rows = []
    for row in published.itertuples():
        table = curves.get(row.curve, pd.DataFrame(dtype=float))
        at = interpolated(table, [row.labelled]).loc[row.labelled].dropna()
        deviation = at.std() if len(at) > 1 else PUBLISHED_DEVIATION
        if len(at) < 5:
            deviation = max(deviation, PUBLISHED_DEVIATION)
        error = (deviation**2 / max(len(at), 1) + PUBLISHED_DEVIATION**2 / PUBLISHED_TRIALS) ** 0.5
        rows.append(
            {
                "curve": row.curve,
                "labelled": row.labelled,
                "trials": len(at),
                "ours": at.mean(),
                "published": row.accuracy,
                "difference": at.mean() - row.accuracy,
                "in standard errors": (at.mean() - row.accuracy) / error,
            }
        )
    return pd.DataFrame(rows)
