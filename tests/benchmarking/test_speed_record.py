"""Speed on record: its rows are those of the committed reports, its table is made from it, `make bench` prints it.

All benchmarks one after the other are slow by nature, even at tiny sizes: the reference code computes too.
"""

import importlib
import re
import shlex
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import bench_acquisition
import bench_inference
import bench_sharing
import pytest
import speed_record
import torch
from conftest import ROOT, generator

from alkbald.benchmarking import bench as bench_module
from alkbald.benchmarking.headlines import HEADLINES
from alkbald.benchmarking.record import (
    Row,
    added,
    beside,
    page_table,
    read_record,
    rows_below,
    rows_of,
    write_record,
)
from alkbald.errors import DataError, UserError
from alkbald.model import mnist_cnn

RECORD = read_record(ROOT / "results" / "speed.csv")
PAGE = (ROOT / "docs" / "performance.md").read_text()
METHODS = (ROOT / "results" / "bench_methods" / "report.md").read_text()
ROW = Row(
    "2026-01-01", "0123456", "AMD EPYC (AVX2), 2 threads on 2 cores", "bench_x", "a batch", "2.00", "a peer", "3.00"
)


def test_committed_reports_are_on_record():
    present = rows_below(ROOT / "results")
    assert {row.benchmark for row in present} == HEADLINES.keys()
    assert sorted(present) == sorted(row for row in RECORD if not row.report)


def test_rows_of_earlier_reports_are_those_of_history():
    earlier = {(row.report, row.benchmark) for row in RECORD if row.report}
    assert len(earlier) >= 6
    for commit, benchmark in earlier:
        place = f"{commit}:results/{benchmark}/report.md"
        shown = subprocess.run(["git", "show", place], cwd=ROOT, capture_output=True, text=True, check=False)
        if shown.returncode:
            pytest.skip("the history is not here")
        rows = rows_of(benchmark, shown.stdout, commit)
        assert rows == [row for row in RECORD if (row.report, row.benchmark) == (commit, benchmark)]


def test_the_page_has_the_record():
    assert f"\n\n{page_table(RECORD)}\n\n" in PAGE
    assert page_table(RECORD).count("\n") == len(RECORD) + 1


def test_a_report_becomes_rows():
    (row,) = rows_of("bench_methods", METHODS)
    seconds = sum(float(cell) for cell in re.findall(r"^\| \w+ \| ([\d.]+) ", METHODS, re.MULTILINE))
    assert row[:4] == ("2026-11-23", "60fa10a", "AMD EPYC, 2 threads", "bench_methods")
    assert row.what == "10 of 60,000 points by each of 18 methods"
    assert float(row.seconds) == pytest.approx(seconds, rel=5e-3)
    assert row.processor == ROW.processor == "AMD EPYC"


@pytest.mark.parametrize("benchmark", HEADLINES)
def test_a_report_that_is_not_complete_is_refused(benchmark):
    head = "\n".join(METHODS.splitlines()[:4])
    with pytest.raises(UserError, match=f"the report of {benchmark} is not complete"):
        rows_of(benchmark, head)
    with pytest.raises(UserError, match="no report of a benchmark"):
        rows_of(benchmark, "# Something else\n")


def test_a_renewed_report_leaves_the_earlier_rows_with_their_commit():
    newer, other = ROW._replace(commit="7654321", seconds="1.00"), ROW._replace(benchmark="bench_y")
    assert added([ROW, other], [newer], "abcdef0") == [ROW._replace(report="abcdef0"), other, newer]
    assert added([ROW, other], [other, ROW], "abcdef0") == [ROW, other]


@pytest.mark.parametrize("commit", ["0123456+", "unknown"])
def test_only_committed_code_goes_on_record(commit):
    with pytest.raises(UserError, match="commit the code first"):
        added([], [ROW._replace(commit=commit)], "abcdef0")


def test_measurements_stand_beside_the_last_of_the_same_work_and_processor():
    record = [
        ROW,
        ROW._replace(date="2026-01-02", seconds="1.50", machine="AMD EPYC, 4 threads"),
        ROW._replace(date="2026-01-03", seconds="9.00", machine="Intel Xeon (AVX512), 2 threads on 2 cores"),
        ROW._replace(date="2026-01-04", seconds="8.00", benchmark="bench_y"),
    ]
    now = ROW._replace(seconds="1.00")
    *_, known, unknown = beside([now, now._replace(what="a round")], record).splitlines()
    assert known.startswith("| a batch | 1.00 | 3.00 | a peer | 1.50 | 3.00 | a peer | 2026-01-02, 0123456: AMD EPYC,")
    assert unknown.split(" | ")[1] == "1.00"
    assert unknown.endswith("none of this processor |")


def call(module, *arguments) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"scripts/{module.__name__}.py", *map(str, arguments)])
        module.main()


@pytest.fixture
def tiny(monkeypatch):
    """Benchmarks that take seconds: made-up predictions, few images, no processes of their own."""

    def missing(*_):
        raise DataError("no MNIST")

    images, labels = torch.randn(16, 1, 28, 28, generator=generator(1)), torch.arange(16) % 10
    data = SimpleNamespace(pool_inputs=images, pool_labels=labels, initial=list(range(16)), validation_inputs=images)
    monkeypatch.setattr("alkbald.benchmarking.models.trained_on_mnist", missing)
    monkeypatch.setattr(bench_acquisition, "FINE_OUTCOMES", 1000)
    monkeypatch.setattr(bench_module, "OUTCOMES", 1000)
    monkeypatch.setattr(bench_inference, "trained_on_mnist", lambda *_: (mnist_cnn(10, seed=3), data))
    monkeypatch.setattr(bench_inference, "STEPS_AN_EPOCH", 1)
    monkeypatch.setattr(bench_sharing.RunsAtOnce, "measure", measured_at_once)
    monkeypatch.setattr(bench_sharing, "Process", lambda *_: nullcontext())


def measured_at_once(self, reference, setting, most, repeats):
    self.rows += [
        {"setting": setting, "at once": runs, "seconds": 2.0 * runs, "times": 1.0, "limit": 9.0}
        for runs in range(1, most + 1)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_bench_measures_everything_and_records_nothing(tmp_path, capsys):
    """What `make bench` would call, at tiny sizes and in this process."""
    line = ["make", "--dry-run", "bench", "VENV=none", "POINTS=30", f"BENCH={tmp_path}"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    before = (ROOT / "results" / "speed.csv").read_bytes(), PAGE
    calls = re.findall(r"^none/bin/python scripts/(\w+)\.py (.*)", done.stdout, re.MULTILINE)
    assert [name for name, _ in calls][-1] == "speed_record"
    for name, arguments in calls:
        capsys.readouterr()
        call(importlib.import_module(name), *shlex.split(arguments))
    printed = capsys.readouterr().out
    rows = rows_below(tmp_path)
    assert {row.benchmark for row in rows} == HEADLINES.keys() - {"bench_beside", "bench_classes"}  # need OLDER
    for row in rows:
        assert f"| {row.what} | {row.seconds} |" in printed
    assert ((ROOT / "results" / "speed.csv").read_bytes(), (ROOT / "docs" / "performance.md").read_text()) == before


def test_bench_measures_beside_an_older_commit_if_told_which():
    line = ["make", "--dry-run", "bench", "VENV=none", "OLDER=../older"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    for benchmark in ("bench_beside", "bench_classes"):
        assert f"scripts/{benchmark}.py ../older --quick" in done.stdout


def test_a_report_is_put_on_record_once_and_into_the_page(tmp_path, capsys):
    record, page = tmp_path / "speed.csv", tmp_path / "page.md"
    write_record(record, [ROW])
    page.write_text("# Page\n\n| what | date |\n| --- | --- |\n\nText.\n")
    (tmp_path / "bench_methods").mkdir()
    (tmp_path / "bench_methods" / "report.md").write_text(METHODS)
    for _ in range(2):
        call(speed_record, tmp_path, "--record", "--csv", record, "--page", page)
        assert read_record(record) == [ROW, *rows_of("bench_methods", METHODS)]
        assert page.read_text() == f"# Page\n\n{page_table(read_record(record))}\n\nText.\n"
    with pytest.raises(UserError, match="no report of a benchmark below"):
        call(speed_record, tmp_path / "bench_methods")
