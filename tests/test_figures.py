import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SMALL, make_settings

from alkbald import loop
from alkbald.figures import acquired_images, learning_curves, score_progression
from alkbald.tables import load_runs


def test_a_curve_a_method_with_its_mean(small_runs):
    rounds = load_runs([small_runs])
    axes = learning_curves(rounds, order=["kbald-10"]).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["kbald 10 (1 trial)", "BALD 10 (2 trials)"]
    expected = rounds[rounds["method"] == "bald"].groupby("labelled")["accuracy"].mean()
    assert list(lines["BALD 10 (2 trials)"].get_ydata()) == pytest.approx(expected.tolist())


def test_curves_that_are_missing_are_named(small_runs):
    legend = learning_curves(load_runs([small_runs]), missing=["2bald-40"]).axes[0].get_legend()
    assert legend.get_title().get_text() == "not there: 2bald-40"


def test_the_script_prints_tables_and_writes_a_picture(small_runs, tmp_path):
    picture = tmp_path / "curves.png"
    script = [sys.executable, "scripts/learning_curves.py"]
    done = subprocess.run(
        [*script, str(small_runs), "--output", str(picture)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "bald, acq_size 10, digits, seed 1" in done.stdout
    assert picture.stat().st_size > 10_000
    failed = subprocess.run([*script, str(tmp_path / "none")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no run")


def test_runs_of_different_settings_are_different_curves(tmp_path):
    for override in ("pool_sample=null", "pool_sample=500"):
        loop.run(make_settings(tmp_path, *SMALL, override, "max_labels=20"))
    labels = [line.get_label() for line in learning_curves(load_runs([tmp_path])).axes[0].lines]
    assert labels == ["2-BALD 10, pool_sample=500 (1 trial)", "2-BALD 10, pool_sample=None (1 trial)"]


def test_score_progression_leaves_out_what_was_taken():
    scores = pd.DataFrame({"rank": [0, 1, 2], "BALD": [0.9, 0.5, 0.1], "2-BALD after 1 picks": [np.nan, -0.2, 0.1]})
    axes = score_progression(scores).axes[0]
    shown = {line.get_label(): len(line.get_xdata()) for line in axes.lines}
    assert shown["BALD"] == 3
    assert shown["2-BALD after 1 picks"] == 2


def test_acquired_images_are_in_order_with_label_and_gain():
    images = {5: np.zeros((28, 28)), 7: np.ones((28, 28))}
    batch = pd.DataFrame({"index": [7, 5], "label": [3, 8], "score": [1.0, 0.75]})
    axes = acquired_images({"2-BALD": batch}, images).axes
    assert [a.get_title() for a in axes] == ["3\n+1.00", "8\n-0.25"]
    assert axes[0].images[0].get_array().max() == 1
