"""What the page says at its top, of made-up runs: which curve is better, by how much and how sure."""

from unittest.mock import Mock

import pandas as pd
import pytest

from alkbald.reporting.page import tables
from alkbald.reporting.page.comparison import PARTS, compare
from alkbald.reporting.page.runs import Group, PageRun
from alkbald.reporting.page.texts import answer, time_of_a_round

SIZES = (20, 30, 40)


def group(**curves: list[list[float]]) -> Group:
    """Of each curve a list of trials, each the accuracies at SIZES from the first on."""
    rows = [
        {"curve": curve, "seed": seed, "labelled": size, "accuracy": accuracy, "batch": 10.0 if size < 40 else None}
        | {f"seconds_{part}": number + 1.0 for number, part in enumerate(PARTS)}
        for curve, trials in curves.items()
        for seed, trial in enumerate(trials)
        for size, accuracy in zip(SIZES, trial, strict=False)
    ]
    run = Mock(spec=PageRun, devices=["a processor"], commits=["0123456"])
    return Group("made up", (), (run,), (), pd.DataFrame(rows))


def trials(level: float, count: int = 3, noise: float = 0.0) -> list[list[float]]:
    return [[level + noise * (-1) ** seed + step for step in (0.0, 0.01, 0.02)] for seed in range(count)]


def said(made_up: Group) -> list[str]:
    return answer(made_up, compare(made_up))


def test_better_and_not_told_apart():
    good, bad = trials(0.8), [[a - 0.1 - 0.001 * seed for a in trial] for seed, trial in enumerate(trials(0.8))]
    near = [[a + shift for a in trial] for shift, trial in zip((0.02, -0.03, 0.0), good, strict=True)]
    assert said(group(A=good, B=bad, C=near)) == [
        "A has the highest mean accuracy from 20 to 40 labels: 0.810 (3 seeds).",
        "It is better than B by 0.101 [0.099, 0.103].",
        "It is not told apart from C (+0.003 [-0.059, +0.066]).",
        "Brackets hold 95% intervals, each for one comparison by itself, and 2 were made.",
    ]


def test_a_higher_curve_of_few_seeds_is_named():
    first, *others = said(group(A=trials(0.7), B=trials(0.8, count=2)))
    assert (
        first
        == "Of the curves with at least 3 seeds, A is ahead in mean accuracy from 20 to 40 labels: 0.710 (3 seeds)."
    )
    assert others == ["There are too few common seeds to rank methods: at least 3 are needed.", *others[1:]]
    assert "B -0.100 (2 seeds)" in others[-1]


def test_trials_that_did_not_come_so_far_are_not_counted():
    made_up = group(A=[*trials(0.8, count=2), [0.8]], B=trials(0.7))
    (a, b) = compare(made_up).standings
    assert (a.curve, a.trials, b.trials) == ("A", 2, 3)


def test_a_curve_alone_has_nothing_beside_it():
    assert "nothing to compare it with" in said(group(A=trials(0.8)))[1]


def test_intervals_of_two_seeds_are_not_shown():
    made_up = group(A=trials(0.8), B=trials(0.7, count=2, noise=0.01))
    (row,) = tables.differences(compare(made_up)).rows
    assert row[:2] == ["B", "too few seeds"]
    assert row[2].startswith("+0.1")
    assert row[3:5] == row[9:] == ["", ""]


def test_the_time_of_a_round_by_part():
    made_up = group(A=trials(0.8), B=trials(0.7))
    text = time_of_a_round(made_up, compare(made_up))
    titles = list(PARTS.values())
    seconds = [f"{number + 1:.2g} s" for number in range(len(PARTS))]
    assert f"{titles[2]} {seconds[2]}, {titles[3]} {seconds[3]}, {titles[4]} {seconds[4]}" in text
    assert f"Medians over rounds, which took from {sum(range(1, len(PARTS) + 1)) - 1} s to " in text
    assert text.endswith("each, on a processor.")


def test_seconds_are_medians_and_their_range_is_told():
    """A round in which the machine was busy moves neither."""
    made_up = group(A=trials(0.8))
    made_up.rounds.loc[0, "seconds_inference"] = 1000.0
    made_up.rounds.loc[1, "seconds_inference"] = 0.5
    made_up.runs[0].commits = ["0123456", "789abcd"]
    text = time_of_a_round(made_up, compare(made_up))
    usual = list(PARTS).index("inference") + 1.0
    whole = sum(range(2, len(PARTS) + 1))
    assert text.startswith(f"A round of A takes {whole} s: ")
    assert f"{PARTS['inference']} {usual:.2g} s" in text
    low, high = whole - usual + 0.5, (whole - usual + 1000) / 60
    assert f"took from {low:.0f} s to {high:.1f} minutes each, on a processor, from 2 commits." in text
    (row,) = tables.seconds_by_curve(made_up).rows
    assert row[-1] == f"{whole}"


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        ("divergence", "2-BALD and 3-BALD differed too much"),
        ("min_size (divergence)", "the least size was reached, after: 2-BALD and 3-BALD differed too much"),
        ("order=3", "order=3"),
    ],
)
def test_decisions_are_told_in_words(decision, words):
    rows = [{"decision": decision}, {"decision": ""}, {"decision": decision}]
    run = Mock(spec=PageRun, record=Mock(rounds=rows))
    assert tables.decisions(run) == [(words, 2)]
