"""Figures of whole runs: what they reach over labels and over rounds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alkbald.reporting.figures.drawing import (
    curve_label,
    curves_in_order,
    draw_published,
    draw_trials,
    pools,
    trials_label,
)
from alkbald.reporting.names import data_set_name
from alkbald.reporting.rounds import CURVE, by_trial, curve_names, interpolated, method_and_size


@dataclass(frozen=True)
class Panel:
    """Which curves a panel of a figure shows.

    Attributes:
        title: of the panel.
        curves: names, in the order of the legend.
        beside_published: whether the published curves of the same names are drawn too.
    """

    title: str
    curves: Sequence[str]
    beside_published: bool = False


def learning_curves(
    rounds: pd.DataFrame, *, bottom: float | None = None, missing: Sequence[str] = (), order: Sequence[str] = ()
) -> Figure:
    """Test accuracy over labelled-set size: mean, and 95% interval of the mean where there are three trials or more.

    Args:
        rounds: of `reporting.rounds.load_runs`.
        bottom: of the accuracy axis, which then ends at 1.
        missing: curves that should be there and are not; the figure says so.
        order: names of curves in the order of the legend; others follow.
    """
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for number, (label, curve) in enumerate(_labelled_curves(rounds, order)):
        draw_trials(axes, interpolated(by_trial(curve, "accuracy")), number, label)
    axes.set(xlabel="labelled training images", ylabel="test accuracy")
    if bottom is not None:
        axes.set_ylim(bottom, 1)
    if rounds["data"].nunique() == 1:
        axes.set_title(data_set_name(rounds["data"].iloc[0]), loc="left", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title="\n".join([pools(rounds), *_not_there(missing)]))
    return figure


def _labelled_curves(rounds: pd.DataFrame, order: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """What legends call a curve, and its rounds; first the curves of the order."""
    places = {name: place for place, name in enumerate(order)}
    groups = [(data, variant, curve) for (data, _, _, _, variant), curve in rounds.groupby(CURVE)]
    groups.sort(key=lambda group: places.get(curve_names(group[2]).iloc[0], len(places)))
    one_data_set = rounds["data"].nunique() == 1
    labelled = []
    for data, variant, curve in groups:
        further = filter(None, ["" if one_data_set else data_set_name(data), variant])
        labelled.append((f"{', '.join([curve_label(curve), *further])} {trials_label(curve)}", curve))
    return labelled


def _not_there(missing: Sequence[str]) -> list[str]:
    return [f"not there: {', '.join(missing)}"] if missing else []


def beside_published(
    rounds: pd.DataFrame, published: pd.DataFrame, panels: Sequence[Panel], *, bottom: float
) -> Figure:
    """Test accuracy over labelled-set size in several panels, ours and the published: means with 95% intervals.

    A method and batch size has one colour in all panels. Published curves are thin and dotted.

    Args:
        rounds: of `reporting.rounds.load_runs`.
        published: of `reporting.published.read_published`.
        panels: two in a row. Each names those of its curves that are not there.
        bottom: of the accuracy axis, which ends at 1.
    """
    rows = (len(panels) + 1) // 2
    figure, grid = plt.subplots(
        rows, 2, figsize=(10, 3.6 * rows), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    if rounds["data"].nunique() == 1:
        figure.suptitle(data_set_name(rounds["data"].iloc[0]))
    named = dict.fromkeys(method_and_size(name) for panel in panels for name in panel.curves)
    numbers = {name: number for number, name in enumerate(named)}
    for axes, panel in zip(grid.flat, panels, strict=False):
        ours = rounds[curve_names(rounds).isin(panel.curves)]
        theirs = published[published["curve"].isin(panel.curves if panel.beside_published else [])]
        _draw_panel(axes, panel, ours, theirs, numbers)
        axes.set_ylim(bottom, 1)
        axes.tick_params(labelbottom=True, labelleft=True)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    return figure


def _draw_panel(axes: Axes, panel: Panel, ours: pd.DataFrame, published: pd.DataFrame, numbers: dict[str, int]) -> None:
    axes.set_title(panel.title, loc="left", fontsize="medium")
    there = set(curve_names(ours))
    missing = [name for name in panel.curves if name not in there]
    if ours.empty and published.empty:
        axes.axis("off")
        axes.text(0.5, 0.5, "\n".join(["not there:", *missing]), ha="center", va="center", transform=axes.transAxes)
        return
    drawn: Counter[str] = Counter()
    for label, curve in _labelled_curves(ours, panel.curves):
        name = method_and_size(curve_names(curve).iloc[0])
        number = numbers[name] + drawn[name] * len(numbers)  # runs of other settings have colours of their own
        drawn[name] += 1
        draw_trials(axes, interpolated(by_trial(curve, "accuracy")), number, label)
    for name, curve in published.groupby("curve", sort=False):
        label = f"{curve_label(curve)}, published ({curve['trials'].iloc[0]} trials)"
        draw_published(axes, curve, numbers[method_and_size(str(name))], label)
    axes.set(xlabel="labelled training images", ylabel="test accuracy")
    axes.grid(alpha=0.3)
    title = "\n".join([pools(pd.concat([ours[["noise"]], published[["noise"]]])), *_not_there(missing)])
    axes.legend(loc="lower right", title=title, fontsize="small", title_fontsize="small")


def dynamic_batch_sizes(rounds: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Accuracy over labels and over rounds, and batch sizes: means over trials as far as all of a curve's trials have
    come, with 95% intervals from three trials on; of two, the trials.

    Args:
        rounds: of `reporting.rounds.load_runs`.
        order: names of the curves to draw, in the order of the legend.
    """
    figure, (by_labels, by_rounds, sizes) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for number, curve in enumerate(curves_in_order(rounds, order)):
        label = f"{curve_label(curve)} {trials_label(curve)}"
        draw_trials(by_labels, interpolated(by_trial(curve, "accuracy")).dropna(), number, label)
        draw_trials(by_rounds, curve.pivot(index="round", columns="seed", values="accuracy").dropna(), number, label)
        batches = curve.dropna(subset=["batch"]).pivot(index="round", columns="seed", values="batch").dropna()
        draw_trials(sizes, batches, number, label)
    by_labels.set(xlabel="labelled training images", ylabel="test accuracy")
    by_rounds.set(xlabel="round (labels were asked for so many times)", ylabel="test accuracy")
    sizes.set(xlabel="round", ylabel="batch size", ylim=(0, None))
    for axes in (by_labels, by_rounds, sizes):
        axes.grid(alpha=0.3)
    by_labels.legend(loc="lower right", title=pools(rounds), fontsize="small", title_fontsize="small")
    return figure
