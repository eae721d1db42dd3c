"""From tables to pictures: learning curves, scores within a round, acquired images."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alkbald.tables import CURVE, interval_of_mean

#: How methods are written.
NAMES = {"2bald": "2-BALD", "3bald": "3-BALD", "bald": "BALD", "batchbald": "BatchBALD"}

# Okabe and Ito's colours, told apart by colour-blind readers too; line styles keep them apart in print.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_STYLES = ["-", "--", "-.", ":"]


def learning_curves(
    rounds: pd.DataFrame, *, bottom: float | None = None, missing: Sequence[str] = (), order: Sequence[str] = ()
) -> Figure:
    """Test accuracy over labelled-set size: mean, and 95% interval of the mean where there are several trials.

    Args:
        rounds: of `tables.load_runs`.
        bottom: of the accuracy axis.
        missing: curves that should be there and are not; the figure says so.
        order: curves (METHOD-ACQSIZE) in the order of the legend; others follow.
    """
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    places = {name: place for place, name in enumerate(order)}
    groups = sorted(rounds.groupby(CURVE), key=lambda item: places.get(f"{item[0][1]}-{item[0][2]}", len(places)))
    one_data_set = rounds["data"].nunique() == 1
    for number, ((data, method, acq_size, variant), curve) in enumerate(groups):
        trials = curve.groupby("labelled")["accuracy"]
        mean, half = trials.mean(), trials.apply(interval_of_mean)
        style = {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _STYLES[number % len(_STYLES)]}
        ends = curve.groupby("seed")["labelled"].max()
        seeds, unfinished = len(ends), int((ends < ends.max()).sum())
        label = f"{NAMES.get(method, method)} {acq_size}{'' if one_data_set else ', ' + data}"
        label += f"{', ' + variant if variant else ''} ({seeds} {'trial' if seeds == 1 else 'trials'}"
        label += f", {unfinished} unfinished)" if unfinished else ")"
        axes.plot(mean.index, mean, label=label, **style)
        axes.fill_between(mean.index, mean - half, mean + half, color=style["color"], alpha=0.2, linewidth=0)
    axes.set(xlabel="labelled training images", ylabel="test accuracy")
    if bottom is not None:
        axes.set_ylim(bottom=bottom)
    if one_data_set:
        axes.set_title(rounds["data"].iloc[0], loc="left", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title=f"not there: {', '.join(missing)}" if missing else None)
    return figure


def score_progression(scores: pd.DataFrame) -> Figure:
    """Scores of pool points within one round, in the order of their initial BALD scores.

    Args:
        scores: columns rank, and one a curve: the scores, empty for points already taken. The first falls with the
            rank and is drawn as a line, the others as dots with medians of a hundredth of the ranks each.
    """
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    width = (scores["rank"].max() + 1) / 100
    for number, name in enumerate(column for column in scores if column != "rank"):
        style = {"color": _COLOURS[number], "zorder": 10 - number}
        line = points = scores[["rank", name]].dropna()
        if number:
            axes.scatter(points["rank"], points[name], s=1, alpha=0.25, linewidths=0, rasterized=True, **style)
            line = points.groupby(points["rank"] // width).median()
        axes.plot(line["rank"], line[name], linestyle=_STYLES[number % len(_STYLES)], label=name, **style)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="pool points, by initial BALD score", ylabel="score (nats)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title="dots: points; lines: medians")
    return figure


def acquired_images(batches: dict[str, pd.DataFrame], images: dict[int, np.ndarray]) -> Figure:
    """The images of batches, a row each.

    Args:
        batches: by title, rows of acquired.csv in the order of acquisition.
        images: by index in the training set.
    """
    columns = max(len(batch) for batch in batches.values())
    figure, grid = plt.subplots(
        len(batches), columns, figsize=(0.75 * columns, 1.2 * len(batches)), layout="constrained", squeeze=False
    )
    for row, (title, batch) in zip(grid, batches.items(), strict=True):
        for axes in row:
            axes.axis("off")
        gains = batch["score"].astype(float).diff().fillna(batch["score"].astype(float))
        points = zip(row, batch["index"], batch["label"], gains, strict=False)  # a shorter batch leaves places empty
        for axes, index, label, gain in points:
            axes.imshow(images[index], cmap="gray_r", interpolation="nearest")
            axes.set_title(f"{label}\n{gain:+.2f}", fontsize=7)
        row[0].text(-0.15, 0.5, title, rotation=90, ha="right", va="center", transform=row[0].transAxes, fontsize=8)
    return figure
