"""README's picture: how accurate models get, and how long selection takes beside the reference code."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alkbald.errors import RecordError
from alkbald.reporting.figures.drawing import curve_label, pools, trials_label
from alkbald.reporting.rounds import CURVE, by_trial, interpolated
from alkbald.reporting.tables import interval_of_mean

#: Okabe and Ito's colours, told apart by colour-blind readers too; baselines and the reference code are grey.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#8C8C8C"
_CURVES = {"2bald": (_BLUE, "-"), "batchbald": (_ORANGE, "--")}


def overview(rounds: pd.DataFrame, times: pd.DataFrame) -> Figure:
    """Left: test accuracy over labels, mean and 95% interval over trials, as far as all of a curve's trials have come.
    Right: seconds to select a batch.

    Args:
        rounds: of `load_runs`, of one data set and pool. A curve of fewer than three trials has no interval.
        times: of `results/table1/times.csv`: columns what ("2-BALD, ours", "2-BALD, batchbald_redux", and the same of
            BatchBALD), B (points in the batch), N (points in the pool), seconds.

    Raises:
        RecordError: no batch size was timed with both.
    """
    figure, (accuracy, seconds) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    _accuracy(accuracy, rounds)
    _seconds(seconds, times)
    return figure


def _accuracy(axes: Axes, rounds: pd.DataFrame) -> None:
    for (_, method, *_), curve in rounds.groupby(CURVE):
        table = interpolated(by_trial(curve, "accuracy")).dropna()  # fewer trials have another mean
        mean, half = table.mean(axis=1), table.apply(interval_of_mean, axis=1)
        colour, style = _CURVES.get(method, (_GREY, ":"))
        label = f"{curve_label(curve)} {trials_label(curve)}"
        axes.plot(mean.index, mean, color=colour, linestyle=style, label=label)
        if table.shape[1] > 2:
            axes.fill_between(mean.index, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="labelled images", ylabel="test accuracy", ylim=(0.65, 1))
    axes.set_title("Accuracy: mean and 95% interval", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title=f"method, points a round; {pools(rounds)}")


def _seconds(axes: Axes, times: pd.DataFrame) -> None:
    timed = times.dropna(subset=["B"])
    names = timed["what"].str.extract(r"^(?P<method>2-BALD|BatchBALD), (?P<code>ours|batchbald_redux)$")
    table = timed.join(names).dropna(subset=["code"]).pivot(index=["method", "B"], columns="code", values="seconds")
    table = table.reindex(columns=["ours", "batchbald_redux"]).dropna().sort_values("batchbald_redux", ascending=False)
    if table.empty:
        raise RecordError("no batch size was timed with both this package and batchbald_redux")
    for place, (code, colour) in enumerate({"batchbald_redux": _GREY, "ours": _BLUE}.items()):
        positions = [row + 0.4 * place - 0.2 for row in range(len(table))]
        bars = axes.barh(positions, table[code], height=0.38, color=colour, label=code)
        labels = [f"{value:.2f} s" if value < 10 else f"{value:.0f} s" for value in table[code]]
        axes.bar_label(bars, labels, padding=3)
    axes.set_yticks(range(len(table)), [f"{method}\n{size:.0f} points" for method, size in table.index])
    axes.set(xscale="log", xlabel="seconds", xlim=(table.min(axis=None) / 3, table.max(axis=None) * 20))
    axes.set_ylim(len(table), -0.6)  # the slowest on top, and room for the legend below
    axes.set_title(f"Time to select from {timed['N'].iloc[0]:,} images", loc="left")
    axes.legend(loc="lower right")
