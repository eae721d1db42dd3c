import math
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT, SMALL, make_settings

from alkbald import loop
from alkbald.figures import interval_of_mean, learning_curves, load_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for method, seed in (("bald", 0), ("bald", 1), ("kbald", 0)):
        loop.run(make_settings(out, *SMALL, f"method={method}", f"seed={seed}", "max_labels=30"))
    return out


def test_runs_load_with_what_tells_them_apart(runs):
    rounds = load_runs([runs])
    assert len(rounds) == 6
    assert set(zip(rounds["method"], rounds["seed"], strict=True)) == {("bald", 0), ("bald", 1), ("kbald", 0)}
    assert rounds["labelled"].tolist() == [20, 30] * 3


def test_interval_is_students():
    values = pd.Series([0.1, 0.2, 0.3, 0.4, 0.5])
    assert interval_of_mean(values) == pytest.approx(2.7764 * values.std() / math.sqrt(5), rel=1e-4)
    assert math.isnan(interval_of_mean(values[:1]))


def test_a_curve_a_method_with_its_mean(runs):
    axes = learning_curves(load_runs([runs])).axes[0]
    rounds = load_runs([runs])
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"bald 10, digits (2 trials)", "kbald 10, digits (1 trial)"}
    expected = rounds[rounds["method"] == "bald"].groupby("labelled")["accuracy"].mean()
    assert list(lines["bald 10, digits (2 trials)"].get_ydata()) == pytest.approx(expected.tolist())


def test_the_script_prints_tables_and_writes_a_picture(runs, tmp_path):
    picture = tmp_path / "curves.png"
    script = [sys.executable, "scripts/learning_curves.py"]
    done = subprocess.run(
        [*script, str(runs), "--output", str(picture)], cwd=ROOT, capture_output=True, text=True, check=True
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
    assert labels == ["2bald 10, digits, pool_sample=500 (1 trial)", "2bald 10, digits, pool_sample=None (1 trial)"]


def test_the_committed_runs_load():
    """Records outlive the version that wrote them."""
    rounds = load_runs([ROOT / "results"])
    assert set(rounds["method"]) >= {"2bald", "batchbald", "random"}
    assert rounds["accuracy"].between(0, 1).all()
