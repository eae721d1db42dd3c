"""From records of runs to tables and figures.

A *curve* is what the trials of one method, batch size and data set have in common; its trials differ in their seed.
"""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf

CURVE = ["data", "method", "acq_size"]

# Okabe and Ito's colours, told apart by colour-blind readers too; line styles keep them apart in print.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_STYLES = ["-", "--", "-.", ":"]


def load_runs(folders: Iterable[str | Path]) -> pd.DataFrame:
    """All rounds of all runs below the folders, with columns data, method, acq_size and seed in front.

    Raises:
        FileNotFoundError: no run is there.
    """
    tables = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob("rounds.csv")):
        config = OmegaConf.load(path.with_name("config.yaml"))
        rounds = pd.read_csv(path)
        order = f"{config.method.order}-bald" if config.method.name == "kbald" else config.method.name
        for place, (key, value) in enumerate(
            {"data": config.data.name, "method": order, "acq_size": config.acq_size, "seed": config.seed}.items()
        ):
            rounds.insert(place, key, value)
        tables.append(rounds)
    if not tables:
        raise FileNotFoundError(f"no run (rounds.csv) below {', '.join(map(str, folders))}")
    return pd.concat(tables, ignore_index=True)


def interval_of_mean(values: pd.Series) -> float:
    """Half the width of the 95% confidence interval of the mean, by Student's t; NaN of a single value."""
    from scipy.stats import t

    return values.sem() * t.ppf(0.975, len(values) - 1) if len(values) > 1 else float("nan")


def learning_curves(rounds: pd.DataFrame) -> Figure:
    """Test accuracy over labelled-set size: mean, and 95% interval of the mean where there are several trials."""
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for number, ((data, method, acq_size), curve) in enumerate(rounds.groupby(CURVE)):
        trials = curve.groupby("labelled")["accuracy"]
        mean, half = trials.mean(), trials.apply(interval_of_mean)
        style = {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _STYLES[number % len(_STYLES)]}
        seeds = curve["seed"].nunique()
        label = f"{method} {acq_size}, {data} ({seeds} {'trial' if seeds == 1 else 'trials'})"
        axes.plot(mean.index, mean, label=label, **style)
        axes.fill_between(mean.index, mean - half, mean + half, color=style["color"], alpha=0.2, linewidth=0)
    axes.set(xlabel="labelled training images", ylabel="test accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure
