"""What the figures share: colours, lines with intervals, and what legends call a curve."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from alkbald.reporting.names import method_name
from alkbald.reporting.rounds import curve_names, unfinished
from alkbald.reporting.tables import interval_of_mean

# Okabe and Ito's colours, told apart by colour-blind readers too; line styles keep them apart in print.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINE_STYLES = ["-", "--", "-.", ":"]


def line_style(number: int) -> dict[str, Any]:
    """Colour and line style of a figure's curve with this number, as `Axes.plot` takes them."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}


def draw_trials(axes: Axes, table: pd.DataFrame, number: int, label: str) -> None:
    """Draws the mean over trials and its 95% interval.

    Two trials are drawn themselves, as thin lines: their interval is 13 times as wide as they are apart.

    Args:
        table: a row for each place on the horizontal axis, a column for each trial; NaN where a trial has no value.
        number: of the curve in its figure, which gives its colour and line style.
    """
    mean, half = table.mean(axis=1), table.apply(lambda at: interval_of_mean(at.dropna()), axis=1)
    style = line_style(number)
    axes.plot(mean.index, mean, label=label, **style)
    if table.shape[1] == 2:
        axes.plot(table.index, table, linewidth=0.5, color=style["color"])
    else:
        half = half.where(table.count(axis=1) > 2)
        axes.fill_between(mean.index, mean - half, mean + half, color=style["color"], alpha=0.2, linewidth=0)


def curve_label(curve: pd.DataFrame) -> str:
    """Method and batch size: "2-BALD 10"."""
    return f"{method_name(curve['method'].iloc[0])} {curve['acq_size'].iloc[0]}"


def number_of_trials(curve: pd.DataFrame) -> str:
    """How many trials a curve has: "5 trials"."""
    seeds = curve["seed"].nunique()
    return f"{seeds} {'trial' if seeds == 1 else 'trials'}"


def trials_label(curve: pd.DataFrame) -> str:
    """How many trials a curve has, and how many of them are unfinished: "(5 trials, 1 unfinished)"."""
    cut_short = unfinished(curve)
    return f"({number_of_trials(curve)}{f', {cut_short} unfinished' if cut_short else ''})"


def curves_in_order(rounds: pd.DataFrame, order: Sequence[str]) -> list[pd.DataFrame]:
    """The rounds of each curve (METHOD-ACQSIZE) of the order that is there."""
    names = curve_names(rounds)
    return [rounds[names == name] for name in order if (names == name).any()]
