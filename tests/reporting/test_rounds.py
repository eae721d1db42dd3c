import pandas as pd
import pytest
from conftest import ROOT, SMALL, make_settings

from alkbald import loop
from alkbald.errors import RecordError
from alkbald.reporting.rounds import (
    accuracy_curves,
    by_trial,
    check_comparable,
    curve_names,
    load_runs,
    method_and_size,
)


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


def test_pools_are_curves_of_their_own_and_no_variant(two_pools):
    rounds = load_runs([two_pools])
    assert set(rounds["noise"]) == {0.0, 0.1}
    assert rounds["variant"].eq("").all()
    curves = accuracy_curves(rounds)
    assert set(curves) == {"2bald-10", "2bald-10 without noise"}
    for name, noise in (("2bald-10", 0.1), ("2bald-10 without noise", 0.0)):
        assert curves[name].columns.tolist() == [0, 1]
        of_one = rounds[(rounds["noise"] == noise) & (rounds["seed"] == 1)]
        assert curves[name][1].tolist() == of_one["accuracy"].tolist()
    with pytest.raises(RecordError, match=r"differ in noise are not compared: 0\.0, 0\.1"):
        check_comparable(rounds)


def test_names_of_curves():
    table = pd.DataFrame({"method": "bald", "acq_size": 5, "noise": [0.1, 0.0, 0.25]})
    names = curve_names(table).tolist()
    assert names == ["bald-5", "bald-5 without noise", "bald-5 with noise 0.25"]
    assert {method_and_size(name) for name in names} == {"bald-5"}


def test_a_copy_of_a_run_is_not_a_trial(small_runs):
    rounds = load_runs([small_runs])
    copied = pd.concat([rounds, rounds[rounds["seed"] == 1]])
    for refuses in (accuracy_curves, check_comparable):
        with pytest.raises(RecordError, match=r"two runs of one curve and seed .*: bald-10, seed 1$"):
            refuses(copied)
    with pytest.raises(RecordError, match=r"two runs of one curve and seed .*: bald-10, seed 1$"):
        by_trial(copied[copied["method"] == "bald"], "accuracy")


@pytest.mark.parametrize("samples", [(8,), (8, 5)])
def test_settings_apart_are_columns_and_no_variant(tmp_path, samples):
    for num_samples in samples:
        loop.run(make_settings(tmp_path, *SMALL, f"num_samples={num_samples}", "max_labels=20"))
    rounds = load_runs([tmp_path], settings_apart=["num_samples"])
    assert rounds["variant"].eq("").all()
    assert sorted(rounds["num_samples"]) == sorted(samples)


def test_the_committed_runs_load():
    """Records outlive the version that wrote them."""
    rounds = load_runs([ROOT / "results"])
    assert set(rounds["method"]) >= {"2bald", "batchbald", "random"}
    assert rounds["accuracy"].between(0, 1).all()
