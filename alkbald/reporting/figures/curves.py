"""Figures of whole runs: what they reach over labels and over rounds."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from alkbald.reporting.figures.drawing import curve_label, curves_in_order, draw_trials, trials_label
from alkbald.reporting.names import data_set_name
from alkbald.reporting.rounds import CURVE, by_trial, interpolated


def learning_curves(
    rounds: pd.DataFrame, *, bottom: float | None = None, missing: Sequence[str] = (), order: Sequence[str] = ()
) -> Figure:
    """Test accuracy over labelled-set size: mean, and 95% interval of the mean where there are three trials or more.

    Args:
        rounds: of `reporting.rounds.load_runs`.
        bottom: of the accuracy axis, which then ends at 1.
        missing: curves that should be there and are not; the figure says so.
        order: curves (METHOD-ACQSIZE) in the order of the legend; others follow.
    """
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    places = {name: place for place, name in enumerate(order)}
    groups = sorted(rounds.groupby(CURVE), key=lambda item: places.get(f"{item[0][1]}-{item[0][2]}", len(places)))
    one_data_set = rounds["data"].nunique() == 1
    for number, ((data, _, _, variant), curve) in enumerate(groups):
        further = ["" if one_data_set else data_set_name(data), variant]
        label = ", ".join([curve_label(curve), *filter(None, further)])
        draw_trials(axes, interpolated(by_trial(curve, "accuracy")), number, f"{label} {trials_label(curve)}")
    axes.set(xlabel="labelled training images", ylabel="test accuracy")
    if bottom is not None:
        axes.set_ylim(bottom, 1)
    if one_data_set:
        axes.set_title(data_set_name(rounds["data"].iloc[0]), loc="left", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title=f"not there: {', '.join(missing)}" if missing else None)
    return figure


def dynamic_batch_sizes(rounds: pd.DataFrame, order: Sequence[str] = ()) -> Figure:
    """Accuracy over labels and over rounds, and batch sizes: means over trials as far as all of a curve's trials have
    come, with 95% intervals from three trials on; of two, the trials.

    Args:
        rounds: of `reporting.rounds.load_runs`.
        order: curves (METHOD-ACQSIZE) to draw, in the order of the legend.
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
    by_labels.legend(loc="lower right", fontsize="small")
    return figure
