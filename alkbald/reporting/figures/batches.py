"""Figures of single batches: what methods believe of them, what they are worth, and what they count more than once."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alkbald.reporting.figures.drawing import (
    COLOURS,
    LINE_STYLES,
    curve_label,
    curves_in_order,
    draw_trials,
    line_style,
    pools,
    trials_label,
)
from alkbald.reporting.rounds import by_trial, interpolated


def score_progression(scores: pd.DataFrame) -> Figure:
    """Scores of pool points within one round, in the order of their initial BALD scores.

    Args:
        scores: columns rank, and one a curve: the scores, empty for points already taken. The first falls with the
            rank and is drawn as a line, the others as dots with medians of a hundredth of the ranks each.
    """
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    width = (scores["rank"].max() + 1) / 100
    for number, name in enumerate(column for column in scores if column != "rank"):
        style: dict[str, Any] = {"color": COLOURS[number], "zorder": 10 - number}
        line = points = scores[["rank", name]].dropna()
        if number:
            axes.scatter(points["rank"], points[name], s=1, alpha=0.25, linewidths=0, rasterized=True, **style)
            line = points.groupby(points["rank"] // width).median()
        axes.plot(line["rank"], line[name], linestyle=LINE_STYLES[number % len(LINE_STYLES)], label=name, **style)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="pool points, by initial BALD score", ylabel="score (nats)")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", title="dots: points; lines: medians")
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
            style = line_style(number) | {"label": method}
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


def total_correlation(rounds: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Total correlation of acquired batches over the labelled-set size, whole and as a share of the sum of their BALD
    scores: what 1-BALD counts more than once. Means over trials, as far as all of a curve's trials have come.

    Where batches use up 95% of log K, circles: K samples cannot tell more of them, and what is left of the sum counts
    as total correlation, whether or not the labels depend on each other.

    Args:
        rounds: of `reporting.rounds.load_runs`.
        order: names of the curves to draw, in the order of the legend.
    """
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    whole = rounds["total_correlation"] + rounds["joint_mutual_information"]  # the sum of the BALD scores
    curves = curves_in_order(rounds.assign(share=rounds["total_correlation"] / whole), order)
    for number, curve in enumerate(curve for curve in curves if curve["total_correlation"].notna().any()):
        batches = curve.dropna(subset=["total_correlation"])
        of_log_k, *means = (
            interpolated(by_trial(batches, column)).dropna().mean(axis=1)
            for column in ("share_of_log_k", "total_correlation", "share")
        )
        label = f"{curve_label(curve)} {trials_label(curve)}"
        for axes, mean in zip(grid, means, strict=True):
            axes.plot(mean.index, mean, label=label, **line_style(number))
            used_up = mean[of_log_k.reindex(mean.index) > 0.95]
            axes.scatter(used_up.index, used_up, s=16, facecolors="none", edgecolors=line_style(number)["color"])
    grid[0].set(xlabel="labelled training images", ylabel="total correlation of the batch (nats)")
    grid[1].set(xlabel="labelled training images", ylabel="its share of the sum of BALD scores")
    for axes in grid:
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    handles = grid[0].get_legend_handles_labels()
    figure.legend(
        *handles, loc="outside right center", title=f"{pools(rounds)};\ncircles: log K used up", fontsize="small"
    )
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
        style = line_style(number) | {"label": method, "marker": "o", "markersize": 4}
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


def ceiling(worth: pd.DataFrame, rounds: pd.DataFrame | None = None) -> Figure:
    """What BatchBALD's batches are worth with K samples, by labelled set, and what K does to accuracy, by batch size.

    Args:
        worth: columns labelled, num_samples, position, joint, held_out (nats).
        rounds: of `reporting.rounds.load_runs`, with a further column num_samples. The runs differ in nothing but
            num_samples, acq_size and seed. None: there are none.
    """
    sizes = list(worth["labelled"].unique())
    runs = pd.DataFrame(columns=["acq_size", "num_samples"]) if rounds is None else rounds
    acq_sizes = sorted(runs["acq_size"].unique())
    samples = sorted({*worth["num_samples"], *runs["num_samples"]})
    shape = 2 if acq_sizes else 1, max(len(sizes), len(acq_sizes))
    figure, grid = plt.subplots(*shape, figsize=(4 * shape[1], 3.4 * shape[0]), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, size in zip(grid[0], sizes, strict=False):
        for number, k in enumerate(samples):
            curve = worth[(worth["labelled"] == size) & (worth["num_samples"] == k)]
            colour = line_style(number)["color"]
            axes.plot(curve["position"], curve["joint"], color=colour, label=f"K = {k:,}")
            axes.plot(curve["position"], curve["held_out"], color=colour, linestyle="--")
            axes.axhline(np.log(k), color=colour, linestyle=":", linewidth=0.8)
        axes.set(xlabel="points in the batch", ylabel="joint mutual information (nats)", ylim=(0, None))
        axes.set_title(f"{size} labels; dashed: by other samples; dotted: log K", fontsize="small")
    for axes, acq_size in zip(grid[-1], acq_sizes, strict=False):
        for number, k in enumerate(samples):
            curve = runs[(runs["acq_size"] == acq_size) & (runs["num_samples"] == k)]
            if not curve.empty:
                draw_trials(axes, interpolated(by_trial(curve, "accuracy")), number, f"K = {k:,} {trials_label(curve)}")
        axes.set(xlabel="labelled training images", ylabel="test accuracy")
        axes.set_title(f"BatchBALD {acq_size}, {pools(runs)}", fontsize="small")
    for axes in (axes for axes in grid.flat if axes.lines):
        axes.axis("on")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize="small")
    return figure
