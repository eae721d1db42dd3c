"""Our curves beside the published ones, against numbers worked out by hand."""

import math

import pandas as pd
import pytest
from conftest import ROOT

from alkbald.reporting.published import compared_with_published, published_sizes, read_published

CURVES = ROOT / "results" / "published" / "curves.csv"


@pytest.fixture
def published(tmp_path):
    """2-BALD 10 with noise at three sizes, and BatchBALD 5 without."""
    (tmp_path / "curves.csv").write_text(
        "method,acq_size,noise,labelled,trials,mean,sd\n"
        "2bald,10,0.1,20,5,0.70,0.02\n"
        "2bald,10,0.1,30,5,0.80,0.01\n"
        "2bald,10,0.1,40,5,0.92,0.01\n"
        "batchbald,5,0.0,20,5,0.71,0.02\n"
        "batchbald,5,0.0,25,5,0.90,0.02\n"
    )
    return read_published(tmp_path / "curves.csv")


def trials(*accuracies, sizes=(20, 30, 40)):
    return pd.DataFrame(dict(enumerate(accuracies)), index=pd.Index(sizes, name="labelled"))


def test_published_curves_have_names_and_students_intervals(published):
    assert published["curve"].unique().tolist() == ["2bald-10", "batchbald-5 without noise"]
    assert published["half"].iloc[0] == pytest.approx(2.7764 * 0.02 / math.sqrt(5), rel=1e-4)


def test_sizes_of_three_trials_and_more(published):
    """At 20: 0.72 (deviation 0.02) less 0.70. At 30: 0.80 less 0.80. At 40: 0.90 (0.01) less 0.92."""
    ours = trials([0.70, 0.80, 0.89, 0.9], [0.72, 0.80, 0.90, 0.9], [0.74, 0.80, 0.91, 0.9], sizes=(20, 30, 40, 50))
    table = published_sizes({"2bald-10": ours}, published)
    assert table["labelled"].tolist() == [20, 30, 40]
    assert table["difference"].tolist() == pytest.approx([0.02, 0, -0.02])
    assert table["sd"].tolist() == pytest.approx([0.02, 0, 0.01])
    errors = [math.sqrt(0.0004 / 3 + 0.0004 / 5), math.sqrt(0 / 3 + 0.0001 / 5), math.sqrt(0.0001 / 3 + 0.0001 / 5)]
    assert table["standard error"].tolist() == pytest.approx(errors)
    assert table["in standard errors"].tolist() == pytest.approx([0.02 / errors[0], 0, -0.02 / errors[2]])
    row = compared_with_published({"2bald-10": ours}, published, [0.9, 0.95]).iloc[0]  # 1.4, 0 and -2.7 errors away
    assert row["sizes"] == 3
    assert row["within 2 standard errors"] == pytest.approx(2 / 3)
    assert row["within 3 standard errors"] == 1
    # By trial: (0, 0, -0.03), (0.02, 0, -0.02), (0.04, 0, -0.01): -0.01, 0, 0.01, whose deviation is 0.01.
    half = 4.30265 * 0.01 / math.sqrt(3)
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([0, -half, half], rel=1e-4, abs=1e-9)
    assert row["labels to 90%, ours"] == 40
    assert row["labels to 90%, published"] == 40
    assert math.isnan(row["labels to 95%, ours"])


@pytest.mark.parametrize("number", [1, 2])
def test_few_trials_have_the_published_deviation(published, number):
    ours = trials(*[[0.72, 0.80, 0.98]] * number)  # alike by chance
    table = published_sizes({"2bald-10": ours}, published)
    expected = [sd * math.sqrt(1 / number + 1 / 5) for sd in (0.02, 0.01, 0.01)]
    assert table["standard error"].tolist() == pytest.approx(expected)
    row = compared_with_published({"2bald-10": ours}, published, [0.9]).iloc[0]
    assert row["difference"] == pytest.approx((0.02 + 0.06) / 3)
    assert math.isnan(row["low"]) == (number == 1)
    assert (row["largest gap"], row["at"]) == (pytest.approx(0.06), 40)
    assert row["within 3 standard errors"] == pytest.approx(2 / 3)


def test_the_largest_gap_keeps_its_sign(published):
    ours = trials([0.72, 0.70, 0.92], [0.72, 0.72, 0.92], [0.72, 0.74, 0.92])
    row = compared_with_published({"2bald-10": ours}, published, [0.9]).iloc[0]
    assert (row["largest gap"], row["at"]) == (pytest.approx(-0.08), 30)


def test_an_unfinished_trial_counts_at_the_sizes_that_it_came_by(published):
    ours = trials([0.71, 0.81, 0.93], [0.73, math.nan, math.nan])
    table = published_sizes({"2bald-10": ours}, published)
    assert table["trials"].tolist() == [2, 1, 1]
    row = compared_with_published({"2bald-10": ours}, published, [0.9]).iloc[0]
    assert row["difference"] == pytest.approx((0.01 + 0.03) / 2)


def test_labels_to_an_accuracy_are_those_of_all_trials_and_not_of_the_quick_ones(published):
    """Of all three trials the mean is 0.9 at 50; of the quick one alone at 40."""
    slow = [0.6, 0.7, 0.8, 0.9]
    finished = trials([0.6, 0.8, 0.95, 0.95], slow, slow, sizes=(20, 30, 40, 50))
    assert compared_with_published({"2bald-10": finished}, published, [0.9]).iloc[0]["labels to 90%, ours"] == 50
    on_the_way = finished.mask([[False] * 3, [False] * 3, [False, True, True], [False, True, True]])
    row = compared_with_published({"2bald-10": on_the_way}, published, [0.9]).iloc[0]
    assert math.isnan(row["labels to 90%, ours"])


def test_curves_are_compared_on_their_own_pool_alone(published):
    curves = {"batchbald-5": trials([0.9, 0.9], sizes=(20, 25)), "random-10": trials([0.7, 0.8, 0.9])}
    table = compared_with_published(curves, published, [0.9]).set_index("curve")
    assert table.index.tolist() == ["2bald-10", "batchbald-5 without noise", "batchbald-5"]
    assert table["trials"].tolist() == [0, 0, 1]
    assert table["published trials"].tolist() == [5, 5, "none on this pool"]
    assert table.loc["batchbald-5", "labels to 90%, ours"] == 20
    assert table.drop(columns=["trials", "published trials", "labels to 90%, ours"]).loc["batchbald-5"].isna().all()
    assert table.loc["batchbald-5 without noise", "labels to 90%, published"] == 25
    assert published_sizes(curves, published).empty
    clean = compared_with_published({"batchbald-5 without noise": trials([0.7, 0.9], sizes=(20, 25))}, published, [0.9])
    assert clean.set_index("curve").loc["batchbald-5 without noise", "difference"] == pytest.approx(-0.005)


def test_the_committed_curves_are_those_of_the_logs():
    """Four curves of 5 trials: 2-BALD's with noise, BatchBALD's without."""
    table = read_published(CURVES)
    assert table["curve"].unique().tolist() == ["2bald-10", "2bald-20", "2bald-40", "batchbald-5 without noise"]
    assert set(table["trials"]) == {5}
    at = table.set_index(["curve", "labelled"])["mean"]
    told = {"2bald-10": (0.899, 0.942, 0.958, 0.962), "batchbald-5 without noise": (0.898, 0.944, 0.961, 0.961)}
    for curve, means in told.items():
        assert [at[curve, size] for size in (100, 200, 300, 320)] == pytest.approx(means, abs=6e-4)
