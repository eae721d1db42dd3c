import pandas as pd
import pytest
from conftest import ROOT, SMALL, make_settings

from alkbald import loop
from alkbald.errors import RecordError
from alkbald.reporting.rounds import accuracy_curves, load_runs


def test_runs_load_with_what_tells_them_apart(small_runs):
    rounds = load_runs([small_runs])
    assert len(rounds) == 6
    assert set(zip(rounds["method"], rounds["seed"], strict=True)) == {("bald", 0), ("bald", 1), ("kbald", 0)}
    assert rounds["labelled"].tolist() == [20, 30] * 3


def test_trials_are_columns_of_their_curve(small_runs):
    rounds = load_runs([small_runs])
    by_name = accuracy_curves(rounds)
    assert set(by_name) == {"bald-10", "kbald-10"}
    assert by_name["bald-10"].columns.tolist() == [0, 1]
    of_one = rounds[(rounds["method"] == "bald") & (rounds["seed"] == 1)]
    assert by_name["bald-10"][1].tolist() == of_one["accuracy"].tolist()


def test_runs_of_different_settings_are_not_compared(tmp_path):
    for override in ("pool_sample=null", "pool_sample=500"):
        loop.run(make_settings(tmp_path, *SMALL, override, "max_labels=20"))
    with pytest.raises(RecordError, match="differ in variant"):
        accuracy_curves(load_runs([tmp_path]))


def test_a_copy_of_a_run_is_not_a_trial(small_runs):
    rounds = load_runs([small_runs])
    with pytest.raises(RecordError, match="two runs of one curve and seed"):
        accuracy_curves(pd.concat([rounds, rounds]))


def test_the_committed_runs_load():
    """Records outlive the version that wrote them."""
    rounds = load_runs([ROOT / "results"])
    assert set(rounds["method"]) >= {"2bald", "batchbald", "random"}
    assert rounds["accuracy"].between(0, 1).all()
