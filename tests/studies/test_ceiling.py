import math

import brute_force
import pandas as pd
import pytest
from conftest import SMALL, make_figures, make_settings, random_log_probs, run_script

from alkbald import loop
from alkbald.acquisition import batchbald
from alkbald.studies.ceiling import worth


def test_batches_are_judged_by_the_samples_that_chose_them_and_by_others():
    choosing, judging = random_log_probs(12, 8, 3), random_log_probs(12, 8, 3, seed=1)
    table = worth(choosing, judging, [2, 8], 4, 1000)
    for k in (2, 8):
        part = table[table["num_samples"] == k]
        assert part["position"].tolist() == [1, 2, 3, 4]
        assert part["joint"].max() <= math.log(k)
        indices = batchbald(choosing[:, :k], 4).indices
        for row in part.itertuples():
            batch = indices[: row.position]
            assert row.joint == pytest.approx(brute_force.joint_mutual_information(choosing[batch, :k]), abs=1e-6)
            assert row.held_out == pytest.approx(brute_force.joint_mutual_information(judging[batch]), abs=1e-6)


def test_from_runs_to_the_studys_figure_and_table(tmp_path):
    results = tmp_path / "ceiling"
    for acq_size in (10, 20):
        for samples in (4, 100):
            settings = [*SMALL, "method=batchbald", f"acq_size={acq_size}", f"num_samples={samples}", "pool_sample=50"]
            run = loop.run(make_settings(results, *settings, "max_labels=100"))
    sizes = ["--labels", 20, 40, "--samples", 4, 100, "--largest", 6, "--pool", 30, "--outcomes", 500]
    assert run_script("ceiling", run.folder, *sizes, "--output", results).returncode == 0
    table = pd.read_csv(results / "worth.csv")
    assert table.groupby(["labelled", "num_samples"])["position"].max().tolist() == [6] * 4
    assert make_figures("--results", tmp_path, "--only", "ceiling").returncode == 0
    assert (tmp_path / "figures" / "ceiling.png").stat().st_size > 10_000
    differences = pd.read_csv(tmp_path / "figures" / "ceiling_differences.csv")
    assert set(differences["curve"]) == {"batchbald-10, K = 4", "batchbald-20, K = 4"}
    assert set(differences["less"]) == {"batchbald-10, K = 100", "batchbald-20, K = 100"}
    assert set(differences["at"]) == {"40", "60", "100", "area 20-100"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--largest", "0"], "largest must be from 1 to the"),
        (["--largest", "20", "--pool", "10"], "largest must be from 1 to the 10 points of the pool, got 20"),
        (["--samples", "0"], "samples must be at least 1"),
        (["--outcomes", "1"], "samples must be at least 1, outcomes at least 2"),
    ],
)
def test_sizes_that_cannot_be_are_refused(small_runs, arguments, message):
    folder = next(small_runs.rglob("rounds.csv")).parent
    done = run_script("ceiling", folder, "--labels", 20, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
