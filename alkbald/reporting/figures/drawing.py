"""What the figures share: colours, lines with intervals, and what legends call a curve."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from alkbald.reporting.names import method_name
from alkbald.reporting.rounds import curve_names, pool_suffix, unfinished
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


def draw_published(axes: Axes, curve: pd.DataFrame, number: int, label: str) -> None:
    """Draws a published mean as a thin dotted line, and its 95% interval as a band with dotted edges.

    Args:
        curve: rows of `reporting.published.read_published`.
        number: of the curve in its figure, which gives its colour.
    """
    colour, sizes, mean, half = line_style(number)["color"], curve["labelled"], curve["mean"], curve["half"]
    axes.plot(sizes, mean, color=colour, linestyle=":", linewidth=1.3, label=label)
    axes.fill_between(sizes, mean - half, mean + half, color=colour, alpha=0.1, linewidth=0)
    for edge in (mean - half, mean + half):
        axes.plot(sizes, edge, color=colour, linestyle=":", linewidth=0.5)


def curve_label(curve: pd.DataFrame) -> str:
    """Method, batch size and pool, as in the curve's name: "2-BALD 10", "BatchBALD 5 without noise"."""
    method, acq_size, noise = curve[["method", "acq_size", "noise"]].iloc[0]
    return f"{method_name(method)} {acq_size}{pool_suffix(noise)}"


def pools(rounds: pd.DataFrame) -> str:
    """Which pools the curves of a legend have: labels name those that are not the one with the paper's noise."""
    with_noise, without = (rounds["noise"] > 0).any(), (rounds["noise"] == 0).any()
    if with_noise and without:
        return "pools with noise, unless named"
    return "pool with noise" if with_noise else "pool without noise"


def number_of_trials(curve: pd.DataFrame) -> str:
    """How many trials a curve has: "5 trials"."""
    seeds = curve["seed"].nunique()
    return f"{seeds} {'trial' if seeds == 1 else 'trials'}"


def trials_label(curve: pd.DataFrame) -> str:
    """How many trials a curve has, and how many of them are unfinished: "(5 trials, 1 unfinished)"."""
    cut_short = unfinished(curve)
    return f"({number_of_trials(curve)}{f', {cut_short} unfinished' if cut_short else ''})"


def curves_in_order(rounds: pd.DataFrame, order: Sequence[str]) -> list[pd.DataFrame]:
    """The rounds of each curve (by its name) of the order that is there."""
    names = curve_names(rounds)
    return [rounds[names == name] for name in order if (names == name).any()]
