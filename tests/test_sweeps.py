"""Sweeps as they are started: side by side, on a cluster, with runs that fail.

Whole sweeps are slow by nature: each is a program, and its launcher starts more.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SMALL
from joblib import cpu_count
from omegaconf import OmegaConf

from alkbald.devices import pick_device


def sweep(out: Path, *overrides: str, unset: str = "") -> subprocess.CompletedProcess:
    line = [sys.executable, "run.py", "-m", "data=digits", f"out={out}", "device=cpu", "threads=1", *SMALL, *overrides]
    env = {key: value for key, value in os.environ.items() if key != unset}
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)


def spoil_one_run(out: Path) -> Path:
    """Damages the record of one of the runs there, so that it fails when it is started again."""
    rounds = sorted(out.rglob("rounds.csv"))[0]
    rounds.write_text("nonsense\n")
    return rounds


JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [["hydra/launcher=basic"], JOBLIB], ids=["basic", "joblib"])
def test_a_failed_run_stops_no_other_and_the_rerun_does_what_is_missing(launcher, tmp_path):
    runs = ["seed=0,1", "method=2bald,random", "acq_size=5,10", "max_labels=20", *launcher]
    first = sweep(tmp_path, "seed=0", "method=2bald", "acq_size=5", "max_labels=20")
    assert first.returncode == 0, first.stderr
    spoiled = spoil_one_run(tmp_path)

    failing = sweep(tmp_path, *runs)
    assert failing.returncode == 1
    told, *end = failing.stderr.splitlines()
    overrides = "seed=0 method=2bald acq_size=5"
    assert told.startswith("failed: ")
    assert overrides in told
    assert "rounds.csv is damaged" in told
    assert end[0] == "1 run failed:"
    assert overrides in end[1]
    assert end[2] == "the same command does only what is missing"
    assert failing.stdout.count("complete: ") == 7
    assert not list(tmp_path.glob(".sweep-*"))

    spoiled.unlink()
    again = sweep(tmp_path, *runs)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("already complete: ") == 7
    assert again.stdout.count("recording in ") == 1

    table = subprocess.run(
        [sys.executable, "-m", "alkbald.status", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert table.stdout.splitlines()[-1] == "8 complete"


@pytest.mark.slow
def test_a_sweep_on_a_cluster(tmp_path):
    """Slurm's launcher, with processes of this machine in the place of a cluster's."""
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    done = sweep(tmp_path, *launcher, "seed=0,1", "acq_size=0,10", "max_labels=20")
    assert done.returncode == 1, done.stderr
    assert "2 runs failed:" in done.stderr
    assert done.stderr.count("acq_size must be at least 1, got 0") == 4  # at once, and at the end
    assert len(list(tmp_path.rglob("rounds.csv"))) == 2


@pytest.mark.slow
def test_workers_side_by_side_share_the_cores(tmp_path):
    """joblib gives each worker its part, unless `threads` says otherwise."""
    done = sweep(tmp_path, "seed=0,1", "max_labels=20", "threads=null", *JOBLIB, unset="OMP_NUM_THREADS")
    assert done.returncode == 0, done.stderr
    threads = {json.loads(path.read_text())[0]["threads"] for path in tmp_path.rglob("provenance.json")}
    assert threads == {max(1, cpu_count() // 2)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("figure", "curves"),
    [
        ("figure1", {("2bald", 10), ("batchbald", 5), ("random", 10), ("bald", 10), ("batchbald", 10)}),
        ("figure2", {("2bald", 10), ("2bald", 20), ("2bald", 40)}),
        (
            "dynamic",
            {("positive_bald", 40), ("dynamic_bald", 40), ("conservative_bald", 40), ("bald", 40)}
            | {("2bald", 10), ("2bald", 20), ("2bald", 40)},
        ),
        ("ceiling", {("batchbald", 20), ("batchbald", 40)}),
        ("quality", {("2bald", 20)}),
    ],
)
def test_the_sweeps_of_the_figures_and_studies(figure, curves, tmp_path):
    done = sweep(tmp_path, f"experiment={figure}", "seed=0", "max_labels=20", "protocol=cpu")
    assert done.returncode == 0, done.stderr
    configs = [OmegaConf.load(path) for path in tmp_path.rglob("config.yaml")]
    assert {config.pool_sample for config in configs} == {5000}
    assert len(configs) == len(curves)
    assert {(config.method.name, config.acq_size) for config in configs} == curves


@pytest.mark.slow
def test_the_sweep_of_the_ceiling_is_over_samples(tmp_path):
    small = [override for override in SMALL if not override.startswith("num_samples")]
    line = [sys.executable, "run.py", "-m", "experiment=ceiling", "data=digits", f"out={tmp_path}", "threads=1"]
    line += [*small, "seed=0", "acq_size=20", "max_labels=20"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(OmegaConf.load(path).num_samples for path in tmp_path.rglob("config.yaml")) == [20, 100, 500, 1000]


def test_the_runs_of_a_sweep_take_the_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [str(pick_device("auto", job)) for job in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert str(pick_device("cuda:2", 1)) == "cuda:2"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert str(pick_device("auto", 4)) == "cpu"


def test_an_error_of_the_configuration_is_a_line_in_a_sweep_too(tmp_path):
    done = sweep(tmp_path, "acq_size=ten,10", "max_labels=20")
    assert done.returncode == 1
    told, *_ = done.stderr.splitlines()
    assert "acq_size=ten: acq_size: Value 'ten' of type 'str' could not be converted to Integer" in told
    assert "Traceback" not in done.stderr
    assert len(list(tmp_path.rglob("rounds.csv"))) == 1


def test_an_output_folder_that_cannot_be_made_ends_a_sweep_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = sweep(tmp_path / "file", "seed=0,1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Not a directory" in done.stderr or "File exists" in done.stderr
