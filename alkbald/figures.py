"""From tables to pictures: the paper's figures, and those of what it proposes and leaves open."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alkbald.tables import CURVE, by_trial, curve_names, interpolated, interval_of_mean, unfinished

#: How methods are written.
NAMES = {
    "2bald": "2-BALD",
    "3bald": "3-BALD",
    "bald": "BALD",
    "batchbald": "BatchBALD",
    "conservative_bald": "conservative, up to",
    "dynamic_bald": "dynamic, up to",
    "positive_bald": "positive gains, up to",
    "random": "random",
}

# Okabe and Ito's colours, told apart by colour-blind readers too; line styles keep them apart in print.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_STYLES = ["-", "--", "-.", ":"]


def _style(number: int) -> dict[str, str]:
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _STYLES[number % len(_STYLES)]}


def _curve(axes: Axes, table: pd.DataFrame, number: int, label: str) -> None:
    """Mean over the trials, the columns, that got there, and its 95% interval. Of two trials, whose interval is 13
    times as wide as they are apart, the trials themselves, thin."""
    mean, half = table.mean(axis=1), table.apply(lambda at: interval_of_mean(at.dropna()), axis=1)
    style = _style(number)
    axes.plot(mean.index, mean, label=label, **style)
    if table.shape[1] == 2:
        axes.plot(table.index, table, linewidth=0.5, color=style["color"])
    else:
        half = half.where(table.count(axis=1) > 2)
        axes.fill_between(mean.index, mean - half, mean + half, color=style["color"], alpha=0.2, linewidth=0)


def _name(curve: pd.DataFrame) -> str:
    method = curve["method"].iloc[0]
    return f"{NAMES.get(method, method)} {curve['acq_size'].iloc[0]}"


def _number_of_trials(curve: pd.DataFrame) -> str:
    seeds = curve["seed"].nunique()
    return f"{seeds} {'trial' if seeds == 1 else 'trials'}"


def _trials(curve: pd.DataFrame) -> str:
    cut_short = unfinished(curve)
    return f"({_number_of_trials(curve)}{f', {cut_short} unfinished' if cut_short else ''})"


def learning_curves(
    rounds: pd.DataFrame, *, bottom: float | None = None, missing: Sequence[str] = (), order: Sequence[str] = ()
) -> Figure:
    """Test accuracy over labelled-set size: mean, and 95% interval of the mean where there are three trials or more.

    Args:
        rounds: of `tables.load_runs`.
        bottom: of the accuracy axis, which then ends at 1.
        missing: curves that should be there and are not; the figure says so.
        order: curves (METHOD-ACQSIZE) in the order of the legend; others follow.
    """
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    places = {name: place for place, name in enumerate(order)}
    groups = sorted(rounds.groupby(CURVE), key=lambda item: places.get(f"{item[0][1]}-{item[0][2]}", len(places)))
    one_data_set = rounds["data"].nunique() == 1
    for number, ((data, _, _, variant), curve) in enumerate(groups):
        label = f"{_name(curve)}{'' if one_data_set else ', ' + data}{', ' + variant if variant else ''}"
        _curve(axes, interpolated(by_trial(curve, "accuracy")), number, f"{label} {_trials(curve)}")
    axes.set(xlabel="labelled training images", ylabel="test accuracy")
    if bottom is not None:
        axes.set_ylim(bottom, 1)
    if one_data_set:
        axes.set_title(rounds["data"].iloc[0].replace("mnist", "MNIST"), loc="left", fontsize="medium")
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
    axes.legend(loc="upper right", title="dots: points; lines: medians")
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


def approximation_quality(quality: pd.DataFrame) -> Figure:
    """What batches are worth over their size, and by how much their method's score is off; a column a labelled set.

    Args:
        quality: columns labelled, num_samples, method, position, score, joint.
    """
    sizes = quality["labelled"].unique()
    figure, grid = plt.subplots(
        2, len(sizes), figsize=(3.6 * len(sizes), 5.2), layout="constrained", sharex=True, sharey="row", squeeze=False
    )
    for column, size in enumerate(sizes):
        part = quality[quality["labelled"] == size]
        for number, (method, curve) in enumerate(part.groupby("method", sort=False)):
            style = _style(number) | {"label": method}
            grid[0, column].plot(curve["position"], curve["joint"], **style)
            grid[1, column].plot(curve["position"], curve["score"] - curve["joint"], **style)
        grid[0, column].set_title(f"{size} labels")
        log_k = np.log(part["num_samples"].iloc[0])  # no batch is worth more, whatever is chosen
        grid[0, column].axhline(log_k, color="black", linewidth=0.8, label="log K")
        grid[1, column].axhline(0, color="black", linewidth=0.8)
        grid[1, column].set_yscale("symlog", linthresh=0.1)
        grid[1, column].set_xlabel("points in the batch")
        for axes in grid[:, column]:
            axes.grid(alpha=0.3)
    grid[0, 0].set_ylabel("joint mutual information (nats)")
    grid[1, 0].set_ylabel("score - joint mutual information (nats)")
    grid[0, 0].legend(loc="lower right", fontsize="small")
    return figure


def total_correlation(rounds: pd.DataFrame, order: Sequence[str] = ()) -> Figure:
    """Total correlation of acquired batches over the labelled-set size, whole and as a share of the sum of their BALD
    scores: what 1-BALD counts more than once. Means over trials.

    Where batches use up 95% of log K, circles: K samples cannot tell more of them, and what is left of the sum counts
    as total correlation, whether or not the labels depend on each other.

    Args:
        rounds: of `tables.load_runs`.
        order: curves (METHOD-ACQSIZE) to draw, in the order of the legend.
    """
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    rounds = rounds.dropna(subset=["total_correlation"])
    whole = rounds["total_correlation"] + rounds["joint_mutual_information"]  # the sum of the BALD scores
    rounds = rounds.assign(share=rounds["total_correlation"] / whole)
    for number, curve in enumerate(_curves(rounds, order)):
        used_up = interpolated(by_trial(curve, "share_of_log_k")).mean(axis=1) > 0.95
        for axes, column in zip(grid, ("total_correlation", "share"), strict=True):
            mean = interpolated(by_trial(curve, column)).mean(axis=1)
            label = f"{_name(curve)} ({_number_of_trials(curve)})"
            axes.plot(mean.index, mean, label=label, **_style(number))
            axes.scatter(
                mean.index[used_up], mean[used_up], s=16, facecolors="none", edgecolors=_style(number)["color"]
            )
    grid[0].set(xlabel="labelled training images", ylabel="total correlation of the batch (nats)")
    grid[1].set(xlabel="labelled training images", ylabel="its share of the sum of BALD scores")
    for axes in grid:
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", title="circles:\nlog K used up", fontsize="small")
    return figure


def bald_beside_batchbald(batches: pd.DataFrame) -> Figure:
    """What 1-BALD's and BatchBALD's batches of one size are worth as labels grow, and how much of the sum of their BALD
    scores is total correlation: the paper conjectures that it vanishes, and 1-BALD becomes BatchBALD.

    Args:
        batches: columns labelled, num_samples, method, position, joint, total_correlation; of one run, so that every
            point is one model.
    """
    size, num_samples = batches[["position", "num_samples"]].iloc[0]
    figure, (worth, share) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for number, (method, curve) in enumerate(batches.groupby("method")):
        style = _style(number) | {"label": method, "marker": "o", "markersize": 4}
        worth.plot(curve["labelled"], curve["joint"], **style)
        whole = curve["total_correlation"] + curve["joint"]  # the sum of the BALD scores
        share.plot(curve["labelled"], curve["total_correlation"] / whole, **style)
    worth.set(xlabel="labelled training images", ylabel="joint mutual information (nats)")
    share.set(xlabel="labelled training images", ylabel="total correlation / sum of BALD scores", ylim=(0, None))
    for axes in (worth, share):
        axes.grid(alpha=0.3)
    worth.axhline(np.log(num_samples), color="black", linewidth=0.8, label="log K")
    title = f"batches of {size}, K = {num_samples}, one run"
    worth.legend(title=title, fontsize="small", title_fontsize="small")
    return figure


def _curves(rounds: pd.DataFrame, order: Sequence[str]) -> list[pd.DataFrame]:
    """The rounds of each of these curves (METHOD-ACQSIZE) that is there."""
    names = curve_names(rounds)
    return [rounds[names == name] for name in order if (names == name).any()]


def ceiling(worth: pd.DataFrame, rounds: pd.DataFrame | None = None) -> Figure:
    """What BatchBALD's batches are worth with K samples, by labelled set, and what K does to accuracy, by batch size.

    Args:
        worth: columns labelled, num_samples, position, joint, held_out (nats).
        rounds: of `tables.load_runs`, and a column num_samples, in which and in acq_size and seed alone runs differ;
            None: there are none.
    """
    sizes = list(worth["labelled"].unique())
    acq_sizes = [] if rounds is None else sorted(rounds["acq_size"].unique())
    samples = sorted({*worth["num_samples"], *([] if rounds is None else rounds["num_samples"])})
    shape = 2 if acq_sizes else 1, max(len(sizes), len(acq_sizes))
    figure, grid = plt.subplots(*shape, figsize=(4 * shape[1], 3.4 * shape[0]), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, size in zip(grid[0], sizes, strict=False):
        for number, k in enumerate(samples):
            curve = worth[(worth["labelled"] == size) & (worth["num_samples"] == k)]
            colour = _style(number)["color"]
            axes.plot(curve["position"], curve["joint"], color=colour, label=f"K = {k:,}")
            axes.plot(curve["position"], curve["held_out"], color=colour, linestyle="--")
            axes.axhline(np.log(k), color=colour, linestyle=":", linewidth=0.8)
        axes.set(xlabel="points in the batch", ylabel="joint mutual information (nats)", ylim=(0, None))
        axes.set_title(f"{size} labels; dashed: by other samples; dotted: log K", fontsize="small")
    for axes, acq_size in zip(grid[-1], acq_sizes, strict=False):
        for number, k in enumerate(samples):
            curve = rounds[(rounds["acq_size"] == acq_size) & (rounds["num_samples"] == k)]
            if not curve.empty:
                _curve(axes, interpolated(by_trial(curve, "accuracy")), number, f"K = {k:,} {_trials(curve)}")
        axes.set(xlabel="labelled training images", ylabel="test accuracy")
        axes.set_title(f"BatchBALD {acq_size}", fontsize="small")
    for axes in (axes for axes in grid.flat if axes.lines):
        axes.axis("on")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize="small")
    return figure


def dynamic_batch_sizes(rounds: pd.DataFrame, order: Sequence[str] = ()) -> Figure:
    """Accuracy over labels and over rounds, and batch sizes: means over trials as far as all of a curve's trials have
    come, with 95% intervals from three trials on; of two, the trials.

    Args:
        rounds: of `tables.load_runs`.
        order: curves (METHOD-ACQSIZE) to draw, in the order of the legend.
    """
    figure, (by_labels, by_rounds, sizes) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for number, curve in enumerate(_curves(rounds, order)):
        label = f"{_name(curve)} {_trials(curve)}"
        _curve(by_labels, interpolated(by_trial(curve, "accuracy")).dropna(), number, label)
        _curve(by_rounds, curve.pivot(index="round", columns="seed", values="accuracy").dropna(), number, label)
        batches = curve.dropna(subset=["batch"]).pivot(index="round", columns="seed", values="batch").dropna()
        _curve(sizes, batches, number, label)
    by_labels.set(xlabel="labelled training images", ylabel="test accuracy")
    by_rounds.set(xlabel="round (labels were asked for so many times)", ylabel="test accuracy")
    sizes.set(xlabel="round", ylabel="batch size", ylim=(0, None))
    for axes in (by_labels, by_rounds, sizes):
        axes.grid(alpha=0.3)
    by_labels.legend(loc="lower right", fontsize="small")
    return figure
