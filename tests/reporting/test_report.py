"""The report page's numbers are those of the records, whatever state and version these are in."""

import csv
import html
import io
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, make_settings, random_log_probs
from hypothesis import given
from hypothesis import strategies as st

from alkbald import loop
from alkbald.errors import DataError, RecordError
from alkbald.evaluation import expected_calibration_error
from alkbald.records.files import read_record
from alkbald.reporting.page import build
from alkbald.reporting.page.build import write_page
from alkbald.reporting.page.comparison import compare, difference
from alkbald.reporting.page.images import Images, png, strip, training_images
from alkbald.reporting.page.reliability import reliability
from alkbald.reporting.page.runs import groups, read_runs

RECORDS = ROOT / "tests" / "records"
RESULTS = ROOT / "results"


def page_of(folder: Path, tmp_path: Path, data: str | Path = "nothing") -> str:
    write_page([folder], tmp_path / "report.html", data)
    return (tmp_path / "report.html").read_text()


def table(page: str, name: str) -> list[dict[str, str]]:
    """The table of that id: a row's cells by the columns' names in charts."""
    inside = re.search(rf'<table id="{name}">(.*?)</table>', page, re.DOTALL)[1]
    keys = re.findall(r'data-key="([^"]+)"', inside)
    rows = [line.split("<td>")[1:] for line in inside.split("<tr>")[2:]]
    return [{key: html.unescape(cell.strip()) for key, cell in zip(keys, row, strict=True)} for row in rows]


def run_of(page: str, seed: int = 0, place: int = 0) -> str:
    """The id of a run's part of the page."""
    return re.findall(rf'<details class="run" id="(run\d+)"[^>]*><summary>seed {seed} ', page)[place]


@pytest.fixture(scope="module")
def page(small_runs, tmp_path_factory) -> str:
    return page_of(small_runs, tmp_path_factory.mktemp("page"))


def test_the_numbers_of_a_run_are_those_of_its_rounds(small_runs, page):
    (path,) = small_runs.rglob("kbald/*/seed=0*/rounds.csv")
    number = [run.folder for run in read_runs([small_runs])].index(path.parent)
    recorded = list(csv.DictReader(io.StringIO(path.read_text())))
    shown = table(page, f"run{number}-t1")
    assert len(shown) == len(recorded) > 1
    pairs = {"labels": "labelled", "accuracy": "accuracy", "ece": "ece", "nll": "nll", "batch": "batch",
             "information": "joint_mutual_information", "correlation": "total_correlation",
             "validation": "seconds_validation", "inference": "seconds_inference"}  # fmt: skip
    for ours, theirs in zip(shown, recorded, strict=True):
        for key, column in pairs.items():
            wanted = pytest.approx(float(theirs[column]), rel=1e-3, abs=6e-5) if theirs[column] else None
            assert (float(ours[key]) if ours[key] else None) == wanted, key
        without = float(theirs["seconds_training"]) - float(theirs["seconds_validation"])
        assert float(ours["training"]) == pytest.approx(without, rel=1e-3, abs=1e-6)
        assert float(ours["log_k"]) == pytest.approx(np.log(8), abs=1e-4)


def test_points_come_in_their_order_with_label_and_gain(small_runs, page):
    (path,) = small_runs.rglob("kbald/*/seed=0*/acquired.csv")
    points = list(csv.DictReader(io.StringIO(path.read_text())))
    number = [run.folder for run in read_runs([small_runs])].index(path.parent)
    part = page.partition(f'id="run{number}"')[2].partition('<details class="curve"')[0]
    shown = re.findall(r"<li><b>(\d+)</b>([+-][\d.]+)", part)
    assert [label for label, _ in shown] == [point["label"] for point in points]
    scores = [float(point["score"]) for point in points]
    gains = np.diff(scores, prepend=0)
    gains[[point["position"] == "0" for point in points]] = [scores[i] for i in range(0, len(points), 10)]
    assert [float(gain) for _, gain in shown] == pytest.approx(list(gains), abs=0.006)
    assert sum(int(row["points"]) for row in table(page, f"run{number}-t2")) == len(points)
    assert "data:image/png" in part  # the digits need no download


def test_reliability_gives_the_recorded_ece(small_runs):
    for folder in {path.parent for path in small_runs.rglob("rounds.csv")}:
        for row in read_record(folder).rounds:
            bins = reliability(row)
            inputs = sum(b.inputs for b in bins)
            assert inputs == 450  # the digits' test set
            ece = sum(b.inputs * abs(b.accuracy - b.confidence) for b in bins) / inputs
            assert ece == pytest.approx(float(row["ece"]), abs=1e-9)
            assert sum(b.inputs * b.accuracy for b in bins) / inputs == pytest.approx(float(row["accuracy"]), abs=1e-6)
            assert all(b.low <= b.confidence <= b.high + 1e-9 for b in bins)


def test_damaged_reliability_is_refused(small_runs):
    row = read_record(next(small_runs.rglob("rounds.csv")).parent).rounds[0]
    for change in ({"bin_correct": "x"}, {"bin_inputs": "1 2"}, {"bin_correct": row["bin_inputs"] + "9"}):
        with pytest.raises(RecordError, match="of round 0 are damaged"):
            reliability(row | change)


def test_a_run_with_damaged_bins_is_shown_as_damaged(small_runs, tmp_path):
    shutil.copytree(small_runs, tmp_path / "runs")
    path = next((tmp_path / "runs").rglob("rounds.csv"))
    inputs = read_record(path.parent).rounds[0]["bin_inputs"]
    path.write_text(path.read_text().replace(inputs, "many"))
    assert "damaged: bin_inputs, bin_correct, bin_confidence of round 0 are damaged" in page_of(
        tmp_path / "runs", tmp_path
    )


def test_records_of_all_versions_are_shown(tmp_path):
    page = page_of(RECORDS, tmp_path)
    assert len(re.findall(r'<details class="run"', page)) == 7
    assert page.count("No calibration: this record is of a version before 6") == 5
    assert page.count("No reliability curve: this record is of a version before 8") == 2
    assert "Why its batches ended: " in page


def test_unfinished_failed_and_damaged_runs_are_shown(small_runs, tmp_path):
    shutil.copytree(small_runs, tmp_path / "runs")
    folders = sorted(path.parent for path in (tmp_path / "runs").rglob("rounds.csv"))
    (folders[0] / "rounds.csv").write_text("round\nx\n")
    config = folders[1] / "config.yaml"
    config.write_text(config.read_text().replace("max_labels: 30", "max_labels: 90"))
    (folders[1] / "failure.txt").write_text("the disk is full & <gone>")
    (folders[2] / "rounds.csv").unlink()
    page = page_of(tmp_path / "runs", tmp_path)
    assert "1 damaged, 1 failed, 1 partial" in page
    assert "the disk is full &amp; &lt;gone&gt;" in page
    for folder in folders:
        assert folder.name in page


def test_without_the_data_set_indices_and_labels_are_shown(tmp_path):
    folder = RESULTS / "mnist_100_labels"
    page = page_of(folder, tmp_path)
    assert "No images of MNIST in the data folder" in page
    points = read_record(next(folder.rglob("2bald/*/*/rounds.csv")).parent).acquired
    for point in points:
        assert re.search(rf"<li><i>{point['index']}</i><b>{point['label']}</b>", page)
    assert "data:image/png" not in page


def test_methods_are_compared_on_one_protocol_and_pool_only():
    found = groups(read_runs([RESULTS]))
    assert len(found) > 3
    for group in found:
        assert group.rounds["noise"].nunique() == group.rounds["data"].nunique() == 1
        for key in ("num_samples", "pool_sample", "training.validation_samples"):
            assert len({str(run.settings[key]) for run in group.runs}) == 1
        seeds = [(group.label(run), run.seed) for run in group.runs]
        assert len(set(seeds)) == len(seeds)
    assert sum(len(group.runs) + len(group.twice) for group in found) == len(list(RESULTS.rglob("rounds.csv")))
    comparison = compare(found[0])
    assert comparison.leader.curve == "2-BALD 10"
    by_curve = {each.less: each for each in comparison.differences}
    assert by_curve["random 10"].verdict == "better"
    assert by_curve["BatchBALD 10"].verdict == "too few seeds"


def test_a_difference_is_that_of_the_means_over_the_common_sizes():
    import pandas as pd

    fine = pd.DataFrame({0: [0.5, 0.6, 0.7, 0.8, 0.9], 1: [0.4, 0.6, 0.6, 0.8, 0.8]}, index=[20, 25, 30, 35, 40])
    coarse = pd.DataFrame({0: [0.5, 0.6, 0.7, 0.75], 1: [0.4, 0.5, 0.6, np.nan]}, index=[20, 30, 40, 50])
    found = difference("a", "b", {"a": fine, "b": coarse})
    assert (found.start, found.end, found.trials) == (20, 40, 2)
    each = [
        (0.5 / 2 + 0.7 + 0.9 / 2 - 0.5 / 2 - 0.6 - 0.7 / 2) / 2,
        (0.4 / 2 + 0.6 + 0.8 / 2 - 0.4 / 2 - 0.5 - 0.3) / 2,
    ]
    assert found.mean == pytest.approx(np.mean(each))
    assert found.last == pytest.approx(0.2)
    assert found.verdict == "too few seeds"
    other = coarse.rename(columns={0: 7, 1: 8})
    assert difference("a", "b", {"a": fine, "b": other}) is None


def test_a_page_that_would_be_too_large_leaves_out_and_says_so(small_runs, tmp_path, monkeypatch):
    whole = len(page_of(small_runs, tmp_path).encode())
    assert whole < 5_000_000
    notes, limit = [], whole - 1
    while True:
        monkeypatch.setattr(build, "LIMIT", limit)
        if not any(
            len(build.Page(read_runs([small_runs]), Path("none")).html(d).encode()) <= limit for d in build.DETAILS
        ):
            break
        size, (note, *_) = write_page([small_runs], tmp_path / "report.html")
        assert size == (tmp_path / "report.html").stat().st_size <= limit
        assert note in (tmp_path / "report.html").read_text()
        notes.append(note)
        limit = size - 1
    assert len(set(notes)) >= 3
    with pytest.raises(RecordError, match="name a folder with fewer"):
        write_page([small_runs], tmp_path / "report.html")


def test_the_page_of_all_committed_runs_is_small(mnist_archives, tmp_path):
    page = page_of(RESULTS, tmp_path, mnist_archives.parents[1])
    assert len(page.encode()) < 5_000_000
    assert page.count("<img ") > 1000
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page.partition("<script>")[0])


@given(st.integers(1, 5), st.integers(1, 9), st.sampled_from([1, 2, 4, 8]), st.integers(0, 9))
def test_a_picture_is_read_back(height, width, bits, seed):
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(png(pixels, bits))).convert("L"), dtype=float)
    assert np.abs(read - pixels).max() <= 255 / ((1 << bits) - 1) / 2 + 0.5


def test_images_of_another_data_set_are_refused(tmp_path):
    images = Images(np.zeros((2, 3, 3), np.uint8), np.array([4, 5]))
    assert strip(images, [0, 1], [4, 5], 4).startswith("data:image/png;base64,")
    for index, label in ((0, 5), (2, 4)):
        with pytest.raises(DataError, match="is not in the data set"):
            strip(images, [index], [label], 4)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (raw / name).write_bytes(b"\0\0\x08\x03" + zlib.compress(b"cut short"))
    with pytest.raises(DataError, match="is damaged"):
        training_images("mnist", tmp_path)


def command(*arguments: str | Path) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "alkbald.report", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("missing", ["no run", "no folder to write in"])
def test_errors_are_told_in_one_line(missing, tmp_path):
    folder = tmp_path if missing == "no run" else RECORDS / "7"
    done = command(folder, "--output", tmp_path / "there" / "is" / "none.html")
    assert done.returncode == 2
    assert re.fullmatch(r"error: (no run|cannot write) .*\n", done.stderr)


def test_missing_packages_are_told_in_one_line(tmp_path):
    code = "import importlib.util as u, runpy, sys; find = u.find_spec; "
    code += "u.find_spec = lambda name, *a: None if name == 'vl_convert' else find(name, *a); sys.argv = ['report']; "
    code += "runpy.run_module('alkbald.report', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == "error: the report page needs vl_convert: pip install 'alkbald[report]'\n"
    assert done.returncode == 2


def test_bins_sum_to_the_ece_for_any_number_of_them():
    labels = torch.randint(4, (40,), generator=torch.Generator().manual_seed(1))
    for bins in (1, 7, 15):
        assert 0 <= expected_calibration_error(random_log_probs(40, 1, 4)[:, 0], labels, bins) <= 1


def test_a_new_run_has_a_reliability_curve(tmp_path):
    loop.run(make_settings(tmp_path / "runs", *SMALL, "method=random", "max_labels=30"))
    page = page_of(tmp_path / "runs", tmp_path)
    rows = table(page, f"{run_of(page)}-t3")
    assert sum(int(row["inputs"]) for row in rows) == 450
    assert "nothing to compare it with" in page
