import math

import pandas as pd
import pytest

from alkbald.reporting.rounds import by_trial, interpolated, unfinished
from alkbald.reporting.tables import (
    interval_of_mean,
    labels_needed,
    mean_accuracy,
    paired_differences,
    rounds_needed,
    rounds_to_accuracy,
    summary,
)

GRID = [20, 30, 40]


@pytest.fixture(scope="module")
def curves():
    """Two curves with seeds 0 and 1, one of which stops early in the second."""
    sizes = pd.Index([20, 30, 40], name="labelled")
    return {
        "2bald-10": pd.DataFrame({0: [0.5, 0.7, 0.9], 1: [0.6, 0.8, 0.9]}, index=sizes),
        "bald-10": pd.DataFrame({0: [0.5, 0.6, 0.8], 1: [0.6, 0.6, math.nan]}, index=sizes),
    }


def test_between_its_rounds_a_trial_is_interpolated():
    rounds = pd.DataFrame(
        {
            "labelled": [20, 30, 40, 20, 24, 34],
            "seed": [0, 0, 0, 1, 1, 1],
            "round": [0, 1, 2, 0, 1, 2],
            "accuracy": [0.5, 0.6, 0.8, 0.5, 0.7, 0.9],
            "batch": [10, 10, None, 4, 10, 10],
        }
    )
    raw = by_trial(rounds, "accuracy")
    assert raw[1].dropna().to_dict() == {20: 0.5, 24: 0.7, 34: 0.9}
    table = interpolated(raw, [29])
    assert table.index.tolist() == [20, 24, 29, 30, 34, 40]
    assert table.loc[24].tolist() == pytest.approx([0.54, 0.7])
    assert table.loc[29].tolist() == pytest.approx([0.59, 0.8])
    assert table[1].last_valid_index() == 34  # nothing is made up beyond a trial's end
    assert unfinished(rounds) == 1
    one = summary({"one": raw[[1]]}, [29, 40], [0.6], [20, 29])
    assert one.loc[0, "accuracy at 29"] == pytest.approx(0.8)
    assert one.loc[0, "trials at 40"] == 0
    assert one.loc[0, "labels to 60%"] == 24  # counted in rounds, as of batches of fixed size
    assert one.loc[0, "area"] == pytest.approx((0.5 + 0.8) / 2)  # on the grid's sizes alone


def test_interval_is_students():
    values = pd.Series([0.1, 0.2, 0.3, 0.4, 0.5])
    assert interval_of_mean(values) == pytest.approx(2.7764 * values.std() / math.sqrt(5), rel=1e-4)
    assert math.isnan(interval_of_mean(values[:1]))


def test_labels_needed_is_the_first_size_that_reaches():
    accuracy = pd.Series([0.5, 0.9, 0.8, math.nan], index=[20, 30, 40, 50])
    assert labels_needed(accuracy, 0.8) == 30
    assert labels_needed(accuracy, 0.9) == 30
    assert math.isnan(labels_needed(accuracy, 0.95))


def test_rounds_needed_count_the_times_that_labels_were_asked_for():
    rounds = pd.DataFrame(
        {
            "method": ["bald"] * 3 + ["2bald"] * 4,
            "acq_size": 10,
            "noise": 0.1,
            "seed": [0, 0, 0, 0, 0, 1, 1],
            "round": [0, 1, 2, 0, 1, 0, 1],
            "accuracy": [0.5, 0.9, 0.8, 0.9, 0.9, 0.6, 0.7],
        }
    )
    needed = rounds_needed(rounds, 0.8)
    assert needed["bald-10"].to_dict() == {0: 1}
    assert needed["2bald-10"][0] == 0
    assert math.isnan(needed["2bald-10"][1])


def test_rounds_beside_a_reference_are_ours_less_its():
    rounds = pd.DataFrame(
        {
            "method": ["2bald"] * 8 + ["bald"] * 4,
            "acq_size": [10] * 8 + [40] * 4,
            "noise": 0.1,
            "seed": [0] * 4 + [1] * 4 + [0, 0, 1, 1],
            "round": [0, 1, 2, 3] * 2 + [0, 1] * 2,
            "labelled": [20, 30, 40, 50] * 2 + [20, 60] * 2,
            "accuracy": [0.5, 0.6, 0.7, 0.9, 0.5, 0.6, 0.9, 0.9] + [0.5, 0.95] * 2,
        }
    )
    table = rounds_to_accuracy(rounds, "2bald-10", ["bald-40", "2bald-10", "random-10"], [0.9, 0.93]).set_index("curve")
    first = table[table["accuracy"] == 0.9]
    assert first["rounds"].to_dict() == {"bald-40": 1.0, "2bald-10": 2.5}
    assert first["labels up to"].to_dict() == {"bald-40": 60, "2bald-10": 50}
    assert first.loc["bald-40", "difference"] == -1.5  # of -2 and -1
    half = 0.5 * 12.706  # standard error times t of one degree of freedom
    assert first.loc["bald-40", ["low", "high"]].tolist() == pytest.approx([-1.5 - half, -1.5 + half], abs=1e-3)
    second = table[table["accuracy"] == 0.93]
    assert second["reach it"].to_dict() == {"bald-40": 2, "2bald-10": 0}
    assert second.loc["bald-40", ["less", "trials", "difference"]].isna().all()  # no pair reaches it


@pytest.mark.parametrize("slow", [("bald",), ("2bald",), ("bald", "2bald")])
def test_the_quick_pairs_alone_make_no_difference(slow):
    """In the third trial, one of the curves or both do not reach 0.9 by their last round."""
    trials = [
        pd.DataFrame({"method": method, "seed": seed, "round": range(3), "accuracy": [0.5, 0.7, last]})
        for method in ("bald", "2bald")
        for seed, last in enumerate([0.9, 0.9, 0.8 if method in slow else 0.9])
    ]
    rounds = pd.concat(trials).assign(acq_size=10, noise=0.1, labelled=lambda table: 20 + 10 * table["round"])
    table = rounds_to_accuracy(rounds, "2bald-10", ["bald-10"], [0.7, 0.9]).set_index("accuracy")
    assert table.loc[0.7, ["trials", "difference"]].tolist() == [3, 0]
    assert table.loc[0.9, ["less", "trials", "difference"]].isna().all()
    assert table.loc[0.9, "reach it"] == (2 if "bald" in slow else 3)
    two = rounds[(rounds["seed"] < 2) | (rounds["method"] == "2bald")]  # a trial that was never begun is no slow one
    table = rounds_to_accuracy(two, "2bald-10", ["bald-10"], [0.9])
    assert table.loc[0, ["trials", "difference"]].tolist() == [2, 0]


def test_area_is_the_mean_of_the_curve():
    accuracy = pd.Series([0.5, 0.7, 0.8], index=[20, 30, 50])
    assert mean_accuracy(accuracy, [20, 30, 50]) == pytest.approx((0.6 * 10 + 0.75 * 20) / 30)
    assert mean_accuracy(accuracy, [20, 50]) == pytest.approx(0.65)
    assert mean_accuracy(accuracy, [20, 40]) == pytest.approx(0.625)  # 0.75 at 40, between two rounds
    assert math.isnan(mean_accuracy(accuracy, [20, 50, 60]))


def test_summary_counts_the_trials_that_got_there(curves):
    table = summary(curves, [40, 100], [0.9], GRID).set_index("curve")
    assert (table["trials"] == 2).all()
    assert table["trials at 40"].to_dict() == {"2bald-10": 2, "bald-10": 1}
    assert table.loc["2bald-10", "accuracy at 40"] == pytest.approx(0.9)
    assert table.loc["2bald-10", "area"] == pytest.approx((0.7 + 0.775) / 2)
    assert table.loc["2bald-10", "labels to 90%"] == 40
    assert table.loc["bald-10", "trials to 90%"] == 0
    assert table.loc["bald-10", "area"] == pytest.approx(0.625)  # of the trial that is complete
    assert table["accuracy at 100"].isna().all()


def test_differences_are_of_pairs(curves):
    table = paired_differences(curves, "2bald-10", [30, 40], GRID).set_index("at")
    assert table.loc["30", "difference"] == pytest.approx(-0.15)
    half = 12.7062 * math.sqrt(0.005) / math.sqrt(2)  # t of one degree of freedom; differences -0.1 and -0.2
    assert table.loc["30", "high"] - table.loc["30", "difference"] == pytest.approx(half, rel=1e-4)
    assert table.loc["40", "trials"] == 1
    assert math.isnan(table.loc["40", "low"])
    assert table.loc["area 20-40", "trials"] == 1
