import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT, make_figures


def test_table_1_of_a_small_pool(tmp_path):
    small = ["data=digits", "acq_size=4", "num_samples=10", "training.max_epochs=2", "progress=false"]
    command = [sys.executable, "scripts/table1.py", "experiment=table1", *small, f"out={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    times = pd.read_csv(tmp_path / "table1" / "times.csv").set_index(["what", "B"])
    for method in ("2-BALD", "BatchBALD"):  # few points: both enumerate, and choose alike
        for size in (2, 4):
            ours, peer = (times.loc[f"{method}, {whose}", size] for whose in ("ours", "batchbald_redux"))
            assert ours["N"] == peer["N"] == 1347  # without validation all images are pool
            assert ours["joint MI"] == pytest.approx(peer["joint MI"])
            assert ours["score"] == pytest.approx(peer["score"], abs=1e-5)
    assert make_figures("--results", tmp_path, "--only", "table1").returncode == 0
    table = pd.read_csv(tmp_path / "figures" / "table1.csv").set_index(["method", "acq_size"])
    assert table.index.tolist() == [(method, size) for method in ("BatchBALD", "2-BALD", "3-BALD") for size in (2, 4)]
    row = table.loc["BatchBALD", 4]
    assert row["ours, min"] == pytest.approx(times.loc["BatchBALD, ours", 4]["seconds"] / 60, rel=1e-5)
    assert row["ratio"] == pytest.approx(row["batchbald_redux, min"] / row["ours, min"], rel=1e-4)
    assert (
        table.loc[("3-BALD", 4)].filter(like="min").isna().sum() == 3
    )  # neither the paper, nor its source, nor the peer has one
    assert (tmp_path / "figures" / "table1.md").read_text().count("| 10,000 |") == 2


def test_table_1_refuses_a_batch_larger_than_the_pool(tmp_path):
    command = [sys.executable, "scripts/table1.py", "experiment=table1", "data=digits", "acq_size=2000"]
    done = subprocess.run([*command, f"out={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: acq_size must be at most the 1347 points of the pool")
