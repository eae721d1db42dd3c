"""The curves behind the paper's Figures 1 and 2, and ours beside them.

Of the published trials, the mean and the sample standard deviation at every labelled-set size are known, not the trials
themselves. Curves and their names are those of `alkbald.reporting.rounds`: a curve of ours is compared with the
published one of the same method, batch size and pool. Accuracies are shares, not percents.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import t

from alkbald.reporting.rounds import curve_names, method_and_size
from alkbald.reporting.tables import interval_of_mean, labels_needed

#: The data set of the published curves.
DATA = "mnist"
#: With fewer trials of ours, their standard deviation is taken to be the published one.
ENOUGH_TRIALS = 3


def read_published(path: Path) -> pd.DataFrame:
    """A row for each published curve and labelled-set size: columns method, acq_size, noise, labelled, trials, mean and
    sd (of the file), curve (its name) and half (half the width of the mean's 95% interval, by Student's t)."""
    table = pd.read_csv(path)
    half = table["sd"] / table["trials"] ** 0.5 * t.ppf(0.975, table["trials"] - 1)
    return table.assign(curve=curve_names(table), half=half)


def published_sizes(curves: dict[str, pd.DataFrame], published: pd.DataFrame) -> pd.DataFrame:
    """Our mean less the published one, at every labelled-set size that both have: a row a curve and size.

    The standard error of the difference is (s^2 / n + sd^2 / m)^(1/2): s is the standard deviation of our n trials at
    that size, sd that of the m published ones. If n < `ENOUGH_TRIALS`, s is taken to be sd, because one trial has no
    deviation and two are often alike by chance.

    Args:
        curves: of `rounds.accuracy_curves`.
        published: of `read_published`.
    """
    rows = []
    for name, theirs in published.groupby("curve", sort=False):
        if name not in curves:
            continue
        ours = curves[str(name)]
        table = theirs.set_index("labelled")[["trials", "mean", "sd"]].add_prefix("published ")
        table.insert(0, "curve", name)
        table.insert(1, "trials", ours.count(axis=1))
        table.insert(2, "ours", ours.mean(axis=1))
        table.insert(3, "sd", ours.std(axis=1))
        rows.append(table[table["trials"] > 0].reset_index())
    if not rows:
        return pd.DataFrame(columns=["labelled", "curve", "difference", "standard error", "in standard errors"])
    table = pd.concat(rows, ignore_index=True)
    deviation = table["sd"].where(table["trials"] >= ENOUGH_TRIALS, table["published sd"])
    error = (deviation**2 / table["trials"] + table["published sd"] ** 2 / table["published trials"]) ** 0.5
    table["difference"] = table["ours"] - table["published mean"]
    return table.assign(**{"standard error": error, "in standard errors": table["difference"] / error})


def compared_with_published(
    curves: dict[str, pd.DataFrame], published: pd.DataFrame, thresholds: Sequence[float]
) -> pd.DataFrame:
    """A row for each published curve, and for each of ours whose method and batch size were published on another pool.

    At the sizes that both have (`published_sizes`): how many, the share of them at which the means are within 2 and 3
    standard errors, the mean difference with its 95% interval, and the largest gap (with its sign) and where it is.
    Labels to a threshold: the first size of a curve at which its mean over trials is at least that, among the sizes
    that all of its trials came by.

    The interval is over our trials alone, by Student's t: the difference of a trial is the mean, over the sizes that it
    came by, of its accuracy less the published mean. That mean is taken as known, because the published trials' own
    means over sizes are not known. So the interval is narrower than one of the difference of two methods would be.

    Args:
        curves: of `rounds.accuracy_curves`.
        published: of `read_published`.
        thresholds: accuracies.
    """
    sizes = published_sizes(curves, published)
    rows = []
    for name, theirs in published.groupby("curve", sort=False):
        mean = theirs.set_index("labelled")["mean"]
        row: dict[str, Any] = {"curve": name, "trials": 0, "published trials": int(theirs["trials"].iloc[0])}
        if name in curves:
            row |= {"trials": curves[str(name)].shape[1]} | _over_sizes(sizes[sizes["curve"] == name])
            row |= _mean_difference(curves[str(name)], mean)
        rows.append(row | _labels(curves.get(str(name)), mean, thresholds))
    methods = {method_and_size(name) for name in published["curve"]}
    for name, ours in curves.items():
        if method_and_size(name) in methods and name not in set(published["curve"]):
            row = {"curve": name, "trials": ours.shape[1], "published trials": "none on this pool"}
            rows.append(row | _labels(ours, None, thresholds))
    return pd.DataFrame(rows)


def _over_sizes(sizes: pd.DataFrame) -> dict[str, Any]:
    """Of one curve's rows of `published_sizes`."""
    distance = sizes["in standard errors"].abs()
    row: dict[str, Any] = {"sizes": len(sizes)}
    row |= {f"within {limit} standard errors": (distance <= limit).mean() for limit in (2, 3)}
    if not sizes.empty:
        largest = sizes.loc[sizes["difference"].abs().idxmax()]
        row |= {"largest gap": largest["difference"], "at": largest["labelled"]}
    return row


def _mean_difference(ours: pd.DataFrame, published: pd.Series) -> dict[str, float]:
    """Over sizes, then over trials, with its 95% interval."""
    by_trial = ours.sub(published, axis="index").mean().dropna()
    mean, half = by_trial.mean(), interval_of_mean(by_trial)
    return {"difference": mean, "low": mean - half, "high": mean + half}


def _labels(ours: pd.DataFrame | None, published: pd.Series | None, thresholds: Sequence[float]) -> dict[str, float]:
    row = {}
    for threshold in thresholds:
        for whose, mean in (("ours", None if ours is None else ours.dropna().mean(axis=1)), ("published", published)):
            needed = float("nan") if mean is None else labels_needed(mean, threshold)
            row[f"labels to {threshold:.0%}, {whose}"] = needed
    return row
