from dataclasses import replace

import brute_force
import pandas as pd
import pytest
from conftest import SMALL, make_settings, random_log_probs, run_script

from alkbald import loop
from alkbald.errors import SettingsError
from alkbald.reporting.figures.batches import approximation_quality
from alkbald.studies import approximation_quality as of_quality
from alkbald.studies.approximation_quality import CHOOSING, METHODS, quality, study


def test_scores_and_worth_of_prefixes_are_those_of_enumeration():
    log_probs = random_log_probs(10, 6, 3)
    table = quality(log_probs, largest=4)
    assert table["method"].unique().tolist() == list(METHODS)
    for order, name in enumerate(["BALD", "2-BALD", "3-BALD", "4-BALD"], 1):
        batch = METHODS[name].batch(log_probs, 4)
        part = table[table["method"] == name]
        for b in range(1, 5):
            row = part[part["position"] == b].iloc[0]
            assert row["score"] == pytest.approx(brute_force.kbald_score(batch.log_probs[:b], order), abs=1e-9)
            joint = brute_force.joint_mutual_information(batch.log_probs[:b])
            assert row["joint"] == pytest.approx(joint, abs=1e-9)
            alone = sum(brute_force.joint_mutual_information(point) for point in batch.log_probs[:b].split(1))
            assert row["total_correlation"] == pytest.approx(alone - joint, abs=1e-9)
    assert len(approximation_quality(table.assign(labelled=20, num_samples=6)).axes) == 2


def test_the_script_trains_the_rounds_of_a_run_again(tmp_path):
    run = loop.run(make_settings(tmp_path, *SMALL, "max_labels=40"))
    sizes = ["--labels", 20, 30, "--largest", 5, "--output", tmp_path / "quality"]
    assert run_script("approximation_quality", run.folder, *sizes).returncode == 0
    table = pd.read_csv(tmp_path / "quality" / "quality.csv")
    assert table["labelled"].unique().tolist() == [20, 30]
    choices = pd.read_csv(tmp_path / "quality" / "choices.csv")
    assert choices["labelled"].value_counts().to_dict() == {20: len(CHOOSING), 30: len(CHOOSING)}
    assert (choices["size"] <= 5).all()
    assert (choices["joint"] <= choices["batchbald"] + 0.05).all()  # greedy is not optimal, but hardly beaten
    assert set(choices[choices["method"] == "adaptive order, 5 points"]["decision"].str[:6]) == {"order="}
    acquired = pd.read_csv(run.folder / "acquired.csv")
    for number, labelled in enumerate([20, 30]):  # the run's own batches begin as these do: the model is the same
        ours = table[(table["labelled"] == labelled) & (table["method"] == "2-BALD")]["score"].tolist()
        assert ours == pytest.approx(acquired[acquired["round"] == number]["score"].tolist()[:5], abs=1e-4)


def test_some_methods_alone(tmp_path, small_runs):
    folder = next(small_runs.rglob("rounds.csv")).parent
    sizes = ["--labels", 20, "--largest", 3, "--methods", "BALD", "BatchBALD", "--output", tmp_path]
    assert run_script("approximation_quality", folder, *sizes).returncode == 0
    table = pd.read_csv(tmp_path / "quality.csv")
    assert table[["labelled", "method", "position"]].values.tolist() == [
        [20, method, position] for method in ("BALD", "BatchBALD") for position in (1, 2, 3)
    ]


def test_many_classes_are_refused_before_any_training(small_runs, tmp_path, monkeypatch):
    """EMNIST's 47 with K = 100 and a memory budget of 512 MiB: 4-BALD of 10 and 3-BALD of 40 points do not fit."""
    folder = next(small_runs.rglob("rounds.csv")).parent
    settings, data = of_quality.recorded_run(folder, "data")
    emnist = replace(settings, num_samples=100), replace(data, num_classes=47)
    monkeypatch.setattr(of_quality, "recorded_run", lambda *_: emnist)
    monkeypatch.setattr(of_quality, "checked_budget", lambda *_, **__: 2**29)
    monkeypatch.setattr(of_quality, "log_probs_of_round", lambda *_: pytest.fail("trained"))
    with pytest.raises(SettingsError, match=r"kbald, order=4, 47 classes: order 4 at batch_size 10 needs .* --methods"):
        study(folder, tmp_path / "quality", labels=[20])
    monkeypatch.setattr(of_quality, "METHODS", {"BALD": METHODS["BALD"]})
    with pytest.raises(SettingsError, match=r"dynamic_bald, .*47 classes: .* order 3 at batch_size 40 needs"):
        study(folder, tmp_path / "quality", labels=[20])
    assert not (tmp_path / "quality").exists()


def test_a_size_that_no_round_had_is_refused(small_runs):
    folder = next(small_runs.rglob("rounds.csv")).parent
    done = run_script("approximation_quality", folder, "--labels", 25)
    assert done.returncode == 2
    assert "has no round with 25 labels, but 20, 30" in done.stderr
