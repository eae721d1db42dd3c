import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, make_settings, random_log_probs

from alkbald.acquisition import kbald
from alkbald.errors import SettingsError
from alkbald.information import interaction_information, mutual_information
from alkbald.studies.score_progression import progression, study


def test_scores_are_bald_less_the_pairs():
    log_probs = random_log_probs(12, 6, 3)
    table = progression(log_probs, [2, 4])
    bald = mutual_information(log_probs)
    order = bald.argsort(descending=True).tolist()
    picks = kbald(log_probs, 4, order=2).indices
    assert table["BALD"].tolist() == pytest.approx(bald[order].tolist())
    for number in (2, 4):
        for rank, point in enumerate(order):
            score = table.loc[rank, f"2-BALD after {number} picks"]
            if point in picks[:number]:
                assert np.isnan(score)
            else:
                pairs = sum(interaction_information(log_probs[[point, pick]]) for pick in picks[:number])
                assert score == pytest.approx(bald[point].item() - pairs, abs=1e-9)


def test_the_script_records_a_thinned_table_and_where_it_is_from(tmp_path):
    small = ["data=digits", "acq_size=6", "num_samples=10", "training.max_epochs=2", "max_labels=100", "progress=false"]
    command = [sys.executable, "scripts/score_progression.py", "experiment=figure3", *small, f"out={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    scores = pd.read_csv(tmp_path / "figure3" / "scores.csv")
    assert scores.columns.tolist() == ["rank", "BALD", *(f"2-BALD after {m} picks" for m in (1, 3, 6))]
    assert scores["rank"].tolist() == [*range(1000), *range(1000, 1347, 20)]  # without validation all images are pool
    assert scores["BALD"].is_monotonic_decreasing
    assert len(pd.read_csv(tmp_path / "figure3" / "summary.csv")) == 4
    assert json.loads((tmp_path / "figure3" / "provenance.json").read_text())["packages"]


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["max_labels=2000"], "max_labels must be at most the 1347 points"),
        (["max_labels=100", "acq_size=1347"], "acq_size must be less than the 1347 points"),
    ],
)
def test_a_pool_too_small_is_refused(tmp_path, overrides, error):
    with pytest.raises(SettingsError, match=error):
        study(make_settings(tmp_path, "experiment=figure3", *overrides), tmp_path / "figure3")
    assert not (tmp_path / "figure3").exists()
