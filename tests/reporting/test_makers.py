"""What is in results/figures is what `make figures` makes of the records in results/."""

import filecmp
import re
import shutil
import subprocess
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SMALL, make_figures, make_settings

from alkbald import loop
from alkbald.records.versions import recorded_settings
from alkbald.reporting.rounds import accuracy_curves, load_runs

COMMITTED = ROOT / "results" / "figures"


def test_committed_figures_are_made_of_committed_records(tmp_path):
    # A process of its own: no other test has changed how Matplotlib draws.
    command = [sys.executable, "scripts/make_figures.py", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {path.name for path in COMMITTED.iterdir()}
    for name in made:
        if name.endswith(".png"):
            ours, theirs = (matplotlib.image.imread(folder / name) for folder in (tmp_path, COMMITTED))
            assert np.array_equal(ours, theirs), name
        elif not name.endswith(".pdf"):  # compressed by whichever zlib there is
            assert filecmp.cmp(tmp_path / name, COMMITTED / name, shallow=False), name


def test_the_documentation_shows_the_committed_tables():
    shown = set()
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text()
        for name in re.findall(r"<!-- results/figures/(\w+)\.md -->", text):
            table = (COMMITTED / f"{name}.md").read_text().strip()
            assert f"<!-- results/figures/{name}.md -->\n{table}\n" in text, (page.name, name)
            shown.add(name)
    assert shown == {"published", "table1", "dynamic_rounds"}


def test_of_few_runs_what_can_be_is_made_and_the_rest_is_named(tmp_path):
    for method, seed in (("bald", 0), ("2bald", 0), ("2bald", 1)):
        out = tmp_path / "learning_curves"
        loop.run(make_settings(out, *SMALL, f"method={method}", f"seed={seed}", "max_labels=30"))
    done = make_figures("--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "figure1: batchbald-5 is not there" in done.stdout
    for name in ("figure3", "table1", "acquired"):
        assert f"{name} is not made" in done.stdout
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"figure1.png", "figure1.pdf", "figure2.png", "summary.csv", "differences.md"} <= made
    assert "published is not made: none of the paper's curves on mnist" in done.stdout
    assert "figure3.png" not in made
    again = tmp_path / "again"
    make_figures("--results", tmp_path, "--only", "figure1", "--output", again)
    assert filecmp.cmp(again / "figure1.pdf", tmp_path / "figures" / "figure1.pdf", shallow=False)


def test_what_noise_is_worth_and_differences_within_a_pool(two_pools, tmp_path):
    done = make_figures("--results", two_pools, "--output", tmp_path, "--only", "comparison", "noise", "figure1")
    assert done.returncode == 0, done.stderr
    assert "differences: 2bald-10" not in done.stdout
    curves = accuracy_curves(load_runs([two_pools]))
    difference = curves["2bald-10"] - curves["2bald-10 without noise"]
    table = pd.read_csv(tmp_path / "noise.csv", dtype={"at": str}).set_index("at")
    assert set(zip(table["curve"], table["less"], strict=True)) == {("2bald-10", "2bald-10 without noise")}
    assert table.loc["100", "trials"] == 2
    assert table.loc["100", "difference"] == pytest.approx(difference.loc[100].mean(), abs=1e-6)
    assert set(pd.read_csv(tmp_path / "summary.csv")["curve"]) == {"2bald-10", "2bald-10 without noise"}
    assert pd.read_csv(tmp_path / "differences.csv").empty  # each pool has the reference alone


def test_a_pool_without_the_reference_is_told(two_pools, tmp_path):
    shutil.copytree(two_pools, tmp_path, dirs_exist_ok=True)
    for config in tmp_path.rglob("config.yaml"):
        text = config.read_text()
        if re.search(r"noise: 0(\.0)?\n", text):
            config.write_text(text.replace("name: 2bald", "name: batchbald"))
    done = make_figures("--results", tmp_path, "--only", "comparison", "noise")
    assert done.returncode == 0, done.stderr
    assert "differences: 2bald-10 without noise, with which batchbald-10 without noise would be compared" in done.stdout
    assert "noise is not made: no curve is on record both with noise and without it" in done.stdout
    assert not (tmp_path / "figures" / "noise.csv").exists()


def test_chosen_batch_sizes_beside_fixed_ones(tmp_path):
    out = tmp_path / "learning_curves"
    for seed in (0, 1):
        for overrides in (["curve=2bald-10"], ["curve=bald-40"], ["curve=dynamic_bald-40", "method.divergence=0.001"]):
            small = [*SMALL, "pool_sample=300", "max_labels=100"]
            run = loop.run(make_settings(out, *small, *overrides, f"seed={seed}"))
    done = make_figures("--results", tmp_path, "--only", "dynamic")
    assert done.returncode == 0, done.stderr
    assert "dynamic: conservative_bald-40 is not there" in done.stdout
    assert (tmp_path / "figures" / "dynamic.png").stat().st_size > 10_000
    table = pd.read_csv(tmp_path / "figures" / "dynamic_rounds.csv")
    assert table[["curve", "accuracy"]].values.tolist() == [
        [curve, accuracy] for accuracy in (0.9, 0.95) for curve in ("dynamic_bald-40", "2bald-10", "bald-40")
    ]
    assert (table["of"] == 2).all()
    assert (table["reach it"] == 0).all()  # so little training reaches neither
    beside = pd.read_csv(tmp_path / "figures" / "dynamic_differences.csv")
    assert set(beside["curve"]) == {"dynamic_bald-40"}
    assert set(beside["less"]) == {"bald-40"}
    decisions = pd.read_csv(tmp_path / "figures" / "dynamic_decisions.csv")
    assert "divergence" in set(decisions["decision"])
    ended = decisions[decisions["decision"] == "divergence"]  # all others are full
    assert ended["max"].max() < 40
    assert set(decisions["decision"]) <= {"divergence", "batch_size"}
    assert decisions["count"].sum() >= len(run.rounds) - 1


def test_bald_beside_batchbald_at_the_largest_size(tmp_path):
    (tmp_path / "conjecture").mkdir()
    rows = [  # labelled, method, position, score, joint, error, total correlation
        (20, "BALD", 1, 0.9, 0.9, 0.0, 0.0),
        (20, "BALD", 2, 1.8, 1.2, 0.0, 0.6),
        (20, "BatchBALD", 1, 0.9, 0.9, 0.0, 0.0),
        (20, "BatchBALD", 2, 1.5, 1.5, 0.0, 0.3),
    ]
    columns = ["labelled", "method", "position", "score", "joint", "error", "total_correlation"]
    table = pd.DataFrame(rows, columns=columns).assign(num_samples=8)
    table.to_csv(tmp_path / "conjecture" / "quality.csv", index=False)
    done = make_figures("--results", tmp_path, "--only", "conjecture")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figures" / "conjecture.png").stat().st_size > 10_000
    assert (tmp_path / "figures" / "conjecture.md").read_text().splitlines()[-1] == (
        "| 2 | 20 | 1.200 | 1.500 | 80.0% | 33.3% | 16.7% |"
    )
    table[table["method"] == "BALD"].to_csv(tmp_path / "conjecture" / "quality.csv", index=False)
    done = make_figures("--results", tmp_path, "--only", "conjecture")
    assert done.returncode == 2
    assert "conjecture is not made: BatchBALD is not in" in done.stdout


def test_runs_that_cannot_be_compared_leave_the_rest_to_be_made(tmp_path):
    out = tmp_path / "learning_curves"
    for override in ("pool_sample=null", "pool_sample=500"):
        for curve in ("2bald-10", "dynamic_bald-40"):
            loop.run(make_settings(out, *SMALL, f"curve={curve}", override, "max_labels=30"))
    done = make_figures("--results", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("comparison", "correlation", "dynamic"):
        assert f"{name} is not made: runs that differ in variant are not compared" in done.stdout
    assert (tmp_path / "figures" / "figure2.png").exists()


def test_a_copy_of_a_run_leaves_the_rest_to_be_made(two_pools, tmp_path):
    curves = tmp_path / "learning_curves"
    shutil.copytree(two_pools / "learning_curves", curves)
    run = next(curves.rglob("seed=1-*"))
    shutil.copytree(run, run.with_name(f"{run.name}-copy"))
    shutil.copytree(ROOT / "results" / "figure3", tmp_path / "figure3")
    done = make_figures("--results", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("figure1", "figure2", "comparison"):
        assert f"{name} is not made: two runs of one curve and seed" in done.stdout
    assert (tmp_path / "figures" / "figure3.png").exists()


def test_of_a_table_1_half_measured_what_can_be_is_made(tmp_path):
    shutil.copytree(ROOT / "results" / "learning_curves", tmp_path / "learning_curves")
    shutil.copytree(ROOT / "results" / "table1", tmp_path / "table1")
    times = tmp_path / "table1" / "times.csv"
    times.write_text("".join(times.read_text().splitlines(keepends=True)[:3]))  # inference, and 2-BALD 5 by ours
    done = make_figures("--results", tmp_path, "--only", "overview", "table1")
    assert done.returncode == 0, done.stderr
    assert "overview is not made: no batch size was timed with both" in done.stdout
    (row,) = pd.read_csv(tmp_path / "figures" / "table1.csv").to_dict("records")
    assert (row["method"], row["acq_size"]) == ("2-BALD", 5)


@pytest.mark.parametrize("samples", [(20,), (20, 100)])
def test_the_ceiling_of_the_numbers_of_samples_on_record(tmp_path, samples):
    """Of one number of samples too: it is read from the records, whether or not runs differ in it."""
    committed = ROOT / "results" / "ceiling"
    (tmp_path / "ceiling").mkdir()
    shutil.copy(committed / "worth.csv", tmp_path / "ceiling")
    for config in committed.rglob("acq_size=20/*/config.yaml"):
        if recorded_settings(config.parent)["num_samples"] in samples:
            shutil.copytree(config.parent, tmp_path / config.parent.relative_to(ROOT / "results"))
    done = make_figures("--results", tmp_path, "--only", "ceiling")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figures" / "ceiling.png").exists()
    assert ("batchbald-20, K = 100 is not there" in done.stdout) == (100 not in samples)
    assert (tmp_path / "figures" / "ceiling_differences.csv").exists() == (100 in samples)


def test_the_ceiling_of_runs_that_differ_in_more_is_refused(tmp_path):
    shutil.copytree(ROOT / "results" / "ceiling", tmp_path / "ceiling")
    config = next((tmp_path / "ceiling").rglob("config.yaml"))
    config.write_text(config.read_text().replace("pool_sample: 5000", "pool_sample: 4000"))
    done = make_figures("--results", tmp_path, "--only", "ceiling")
    assert "are not BatchBALD's that differ in num_samples alone" in done.stdout


def test_of_nothing_nothing_is_made(tmp_path):
    done = make_figures("--results", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nothing to make figures of")


def test_a_folder_that_is_not_there_is_refused_and_not_made(tmp_path):
    done = make_figures("--results", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr == f"error: --results {tmp_path / 'none'}: there is no such folder\n"
    assert not (tmp_path / "none").exists()
