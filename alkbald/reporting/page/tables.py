"""The tables of the page. Every chart draws the table below it, so that each number is on the page once."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from alkbald.records.files import Row
from alkbald.reporting.page.comparison import (
    ENOUGH_TRIALS,
    PARTS,
    THRESHOLDS,
    Comparison,
    accuracies,
    seconds_a_round,
    seconds_of_rounds,
)
from alkbald.reporting.page.reliability import reliability
from alkbald.reporting.page.runs import Group, PageRun
from alkbald.reporting.rounds import interpolated
from alkbald.reporting.tables import interval_of_mean


class Head(NamedTuple):
    """A column: its name in charts, its title, and whether it holds numbers."""

    key: str
    title: str
    number: bool = True


class HtmlTable(NamedTuple):
    """Cells are text; empty where there is no value."""

    heads: list[Head]
    rows: list[list[str]]


def number(value: Any, form: str = ".4g") -> str:
    """As text; empty of None and NaN."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{float(value):{form}}"


def learning(group: Group) -> HtmlTable:
    """Accuracy by curve and labelled-set size: the mean as far as all trials came, with its 95% interval from three
    trials on; the trials themselves where there are two, or where they did not come equally far."""
    heads = [Head("curve", "curve", False), Head("trial", "trial", False), Head("labels", "labels")]
    heads += [Head("accuracy", "accuracy"), Head("low", "low"), Head("high", "high"), Head("trials", "trials")]
    rows = []
    for curve, table in accuracies(group).items():
        at = interpolated(table)
        seeds = table.shape[1]
        for labels, values in at.dropna().iterrows():
            mean, half = values.mean(), interval_of_mean(values) if seeds > 2 else float("nan")
            bounds = [number(bound, ".4f") for bound in (mean - half, mean + half)]
            rows.append([curve, "mean", f"{labels}", number(mean, ".4f"), *bounds, f"{seeds}"])
        if seeds == 2 or at.isna().any(axis=None):
            for seed in table:
                trial = table[seed].dropna()
                rows += [[curve, f"seed {seed}", f"{n}", number(v, ".4f"), "", "", "1"] for n, v in trial.items()]
    return HtmlTable(heads, rows)


def standings(comparison: Comparison, group: Group) -> HtmlTable:
    """What each curve reached, the best first."""
    heads = [Head("curve", "curve", False), Head("seeds", "seeds"), Head("end", "labels up to")]
    heads += [Head("mean", f"mean accuracy, {comparison.start} to {comparison.end} labels"), Head("half", "±")]
    heads += [Head(f"to{t}", f"labels to {t:.0%}", False) for t in THRESHOLDS] + [Head("seconds", "seconds a round")]
    spent = seconds_of_rounds(group).groupby(level=0).median()
    rows = []
    for each in comparison.standings:
        needed = [
            f"{mean:.0f}" + ("" if n == each.trials else f" ({n} of {each.trials})") if n else "not reached"
            for mean, n in each.needed.values()
        ]
        row = [each.curve, f"{each.trials}", f"{each.end}", number(each.mean, ".4f"), number(each.half, ".4f")]
        rows.append([*row, *needed, number(spent.get(each.curve), ".3g")])
    return HtmlTable(heads, rows)


def differences(comparison: Comparison) -> HtmlTable:
    """The leader less each other curve."""
    heads = [Head("curve", f"{comparison.leader.curve} less", False), Head("verdict", "it is", False)]
    heads += [Head("mean", "difference in mean accuracy"), Head("low", "low"), Head("high", "high")]
    heads += [Head("from", "from labels"), Head("to", "to labels"), Head("seeds", "common seeds")]
    heads += [Head("last", "difference at the last"), Head("last_low", "low"), Head("last_high", "high")]
    rows = []
    for each in comparison.differences:
        values = [each.mean, each.low, each.high, each.last, each.last_low, each.last_high]
        mean, low, high, *last = (number(value, "+.4f") for value in values)
        if each.trials < ENOUGH_TRIALS:  # an interval of two is wider than anything that it could tell
            low = high = ""
            last = [last[0], "", ""]
        sizes = [f"{each.start}", f"{each.end}", f"{each.trials}"]
        rows.append([each.less, each.verdict, mean, low, high, *sizes, *last])
    return HtmlTable(heads, rows)


def seconds_by_curve(group: Group) -> HtmlTable:
    """Median seconds of each part of a round, and of the whole round."""
    whole = seconds_of_rounds(group).groupby(level=0).median()
    table = seconds_a_round(group)
    heads = [
        Head("curve", "curve", False),
        *(Head(part, title) for part, title in PARTS.items()),
        Head("sum", "whole round"),
    ]
    rows = [
        [str(curve), *(number(row[part], ".3g") for part in PARTS), number(whole[curve], ".3g")]
        for curve, row in table.iterrows()
    ]
    return HtmlTable(heads, rows)


#: Columns of a run's table of rounds: name in charts, title, and how a value of which column of rounds.csv is written.
_ROUNDS = [
    ("round", "round", "round", ".0f"),
    ("labels", "labels", "labelled", ".0f"),
    ("accuracy", "accuracy", "accuracy", ".4f"),
    ("nll", "NLL", "nll", ".4f"),
    ("ece", "ECE", "ece", ".4f"),
    ("brier", "Brier", "brier", ".4f"),
    ("epochs", "epochs", "epochs", ".0f"),
    ("batch", "batch", "batch", ".0f"),
    ("information", "joint MI", "joint_mutual_information", ".4f"),
    ("error", "± (standard error)", "joint_mutual_information_error", ".2g"),
    ("correlation", "total correlation", "total_correlation", ".4f"),
]


def rounds(run: PageRun) -> HtmlTable:
    """A row for each round of a run. `training` is without validation."""
    heads = [Head(key, title) for key, title, _, _ in _ROUNDS]
    heads += [Head("log_k", "log K"), *(Head(part, f"{title}, s") for part, title in PARTS.items())]
    decides = any(row["decision"] for row in run.record.rounds)
    heads += [Head("decision", "why the batch ended", False)] * decides
    log_k = number(math.log(int(run.settings["num_samples"])), ".4f")
    rows = []
    for row in run.record.rounds:
        spent = {part: row[f"seconds_{part}"] for part in PARTS}
        if spent["training"] and spent["validation"]:
            spent["training"] = str(max(float(spent["training"]) - float(spent["validation"]), 0.0))
        cells = [number(row[column], form) for _, _, column, form in _ROUNDS]
        rows.append([*cells, log_k, *(number(value) for value in spent.values()), *[row["decision"]] * decides])
    used = [place for place, _ in enumerate(heads) if any(row[place] for row in rows)]  # older records lack some
    return HtmlTable([heads[place] for place in used], [[row[place] for place in used] for row in rows])


def classes(runs: Iterable[PageRun]) -> HtmlTable:
    """How many points of each class were acquired."""
    counts = Counter(int(point["label"]) for run in runs for point in run.record.acquired)
    present = range(max(counts) + 1) if counts else []
    return HtmlTable(
        [Head("class", "class", False), Head("points", "points")], [[f"{c}", f"{counts[c]}"] for c in present]
    )


def bins(row: Row) -> HtmlTable:
    """The reliability of a round's predictions."""
    heads = [Head("low", "confidence above"), Head("high", "up to"), Head("inputs", "test inputs")]
    heads += [Head("confidence", "mean confidence"), Head("accuracy", "accuracy")]
    found = reliability(row)
    return HtmlTable(
        heads,
        [[f"{b.low:.3f}", f"{b.high:.3f}", f"{b.inputs}", f"{b.confidence:.4f}", f"{b.accuracy:.4f}"] for b in found],
    )


def decisions(run: PageRun) -> list[tuple[str, int]]:
    """Why a run's batches ended, and how many did so; none of a method that does not choose."""
    return Counter(_in_words(row["decision"]) for row in run.record.rounds if row["decision"]).most_common()


#: Decisions of the methods that choose the size of their batch, in words (`acquisition.dynamic`, `conservative`).
_WHY = {
    "batch_size": "the batch had the size that was asked for",
    "non_positive": "the next pick would not have raised 2-BALD's score",
    "share_of_log_k": "the batch had reached the share of log K that was asked for",
    "divergence": "2-BALD and 3-BALD differed too much",
    "min_bald": "no point with enough BALD was left that may be taken",
    "exhausted": "no point was left that may be taken",
}


def _in_words(decision: str) -> str:
    """As `_WHY`; what is not there, as it is."""
    least = re.fullmatch(r"min_size \((\w+)\)", decision)
    if least:
        return f"the least size was reached, after: {_in_words(least[1])}"
    return _WHY.get(decision, decision)


def gains(points: list[Row]) -> list[str]:
    """What each point of a batch added to its score, as text; empty of a method without scores."""
    scores = pd.to_numeric(pd.Series([point["score"] for point in points], dtype=str), errors="coerce")
    return [number(value, "+.2f") for value in scores.diff().fillna(scores)]
