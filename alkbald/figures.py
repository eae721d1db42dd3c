"""From records of runs to tables and figures.

A *curve* is what the trials of one method, batch size and data set have in common; its trials differ in their seed.
"""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t

from alkbald.runs import ROUND_COLUMNS, read_rounds, recorded_settings

#: What tells curves apart; the trials of one curve differ in nothing but their seed.
CURVE = ["data", "method", "acq_size", "variant"]

# Okabe and Ito's colours, told apart by colour-blind readers too; line styles keep them apart in print.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_STYLES = ["-", "--", "-.", ":"]


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
    settings = [recorded_settings(path.with_name("config.yaml")) for path in paths]
    named = [[run.pop(key) for key in ("data.name", "method.name", "acq_size")] + [run["seed"]] for run in settings]
    if all(run["data.split_seed"] == run["seed"] for run in settings):  # a split a trial
        settings = [{key: value for key, value in run.items() if key != "data.split_seed"} for run in settings]
    values: dict[str, set[str]] = {}
    for key, value in (item for run in settings for item in run.items()):
        values.setdefault(key, set()).add(str(value))
    differing = [key for key, several in values.items() if len(several) > 1 and key != "seed"]
    tables = []
    for path, run, (*curve, seed) in zip(paths, settings, named, strict=True):
        rounds = pd.DataFrame(read_rounds(path.parent)[0], columns=ROUND_COLUMNS).replace("", None).apply(pd.to_numeric)
        variant = ", ".join(f"{key}={run[key]}" for key in differing if key in run)
        for place, (key, value) in enumerate(zip([*CURVE, "seed"], [*curve, variant, seed], strict=True)):
            rounds.insert(place, key, value)
        tables.append(rounds)
    return pd.concat(tables, ignore_index=True)


def interval_of_mean(values: pd.Series) -> float:
    """Half the width of the 95% confidence interval of the mean, by Student's t; NaN of a single value."""
    return values.sem() * t.ppf(0.975, len(values) - 1) if len(values) > 1 else float("nan")


def learning_curves(rounds: pd.DataFrame) -> Figure:
    """Test accuracy over labelled-set size: mean, and 95% interval of the mean where there are several trials."""
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for number, ((data, method, acq_size, variant), curve) in enumerate(rounds.groupby(CURVE)):
        trials = curve.groupby("labelled")["accuracy"]
        mean, half = trials.mean(), trials.apply(interval_of_mean)
        style = {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _STYLES[number % len(_STYLES)]}
        seeds = curve["seed"].nunique()
        label = f"{method} {acq_size}, {data}{', ' + variant if variant else ''}"
        label += f" ({seeds} {'trial' if seeds == 1 else 'trials'})"
        axes.plot(mean.index, mean, label=label, **style)
        axes.fill_between(mean.index, mean - half, mean + half, color=style["color"], alpha=0.2, linewidth=0)
    axes.set(xlabel="labelled training images", ylabel="test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure
