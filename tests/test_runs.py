import csv
import json

import pytest
import torch
from conftest import make_settings

from alkbald import runs
from alkbald.errors import RecordError
from alkbald.runs import Run, run_folder


def row(number, batch=10):
    return {"round": number, "labelled": 20 + 10 * number, "accuracy": 0.1 + 0.2, "batch": batch}


def points(number):
    return [{"round": number, "position": i, "index": 7 * i, "pool_position": i, "label": 3} for i in range(10)]


def started(settings):
    run = Run(settings)
    run.start(torch.device("cpu"))
    return run


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_is_a_function_of_the_defining_settings(tmp_path):
    folder = run_folder(make_settings(tmp_path))
    assert folder == run_folder(make_settings(tmp_path))
    assert folder.is_relative_to(tmp_path / "digits" / "2bald" / "acq_size=10")
    assert folder.name.startswith("seed=0-")
    for override in ("seed=1", "acq_size=5", "method=bald", "training.patience=3", "data.noise=0", "num_samples=7"):
        assert run_folder(make_settings(tmp_path, override)) != folder
    for override in ("max_labels=200", "progress=true", "device=auto", "target_accuracy=0.9", "data.root=elsewhere"):
        assert run_folder(make_settings(tmp_path, override)) == folder


def test_rounds_and_points_are_recorded_in_full_precision(tmp_path):
    run = started(make_settings(tmp_path))
    run.append(row(0), points(0))
    recorded = read(run.folder / "rounds.csv")
    assert list(recorded[0]) == runs.ROUND_COLUMNS
    assert float(recorded[0]["accuracy"]) == 0.1 + 0.2
    assert recorded[0]["nll"] == ""
    acquired = read(run.folder / "acquired.csv")
    assert list(acquired[0]) == runs.ACQUIRED_COLUMNS
    assert [int(point["index"]) for point in acquired] == [7 * i for i in range(10)]
    with pytest.raises(KeyError, match="no such columns"):
        run.append({"accurcy": 1}, [])


def test_a_run_goes_on_after_its_last_complete_round(tmp_path):
    settings = make_settings(tmp_path)
    run = started(settings)
    run.append(row(0), points(0))
    # Interrupted between the two files: points of round 1 without its row.
    run.acquired += [{**point, "round": "1"} for point in run.acquired]
    runs._write(run.folder / "acquired.csv", runs.ACQUIRED_COLUMNS, run.acquired)
    again = Run(settings)
    assert len(again.rounds) == 1
    assert len(again.acquired) == 10
    again.append(row(1), points(1))
    assert [int(point["round"]) for point in read(run.folder / "acquired.csv")] == [0] * 10 + [1] * 10


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    run = started(make_settings(tmp_path))
    run.append(row(0), points(0))
    before = (run.folder / "rounds.csv").read_text()

    def crash(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(runs.os, "fsync", crash)
    with pytest.raises(RecordError, match=r"rounds\.csv|acquired\.csv: no space left on device; what it held"):
        run.append(row(1), points(1))
    assert (run.folder / "rounds.csv").read_text() == before


def test_a_complete_run_is_known_and_can_be_extended(tmp_path):
    run = started(make_settings(tmp_path, "max_labels=30"))
    run.append(row(0), points(0))
    assert not run.is_complete
    run.append(row(1, batch=None), [])
    assert run.is_complete
    assert Run(make_settings(tmp_path, "max_labels=30")).is_complete
    longer = Run(make_settings(tmp_path, "max_labels=40"))
    assert not longer.is_complete
    assert len(longer.rounds) == 1  # the last round is done again, now with a batch
    assert len(longer.acquired) == 10


def test_accuracy_can_end_a_run(tmp_path):
    run = started(make_settings(tmp_path, "target_accuracy=0.25"))
    run.append(row(0, batch=None), [])
    assert run.is_complete


def test_rows_of_different_settings_are_never_mixed(tmp_path):
    settings = make_settings(tmp_path)
    run = started(settings)
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("patience: 20", "patience: 7"))
    with pytest.raises(RecordError, match=r"holds .*training\.patience=7, not 20"):
        Run(settings)


def test_provenance_has_an_entry_a_start(tmp_path):
    run = started(make_settings(tmp_path))
    run.append(row(0), points(0))
    started(make_settings(tmp_path))
    entries = json.loads((run.folder / "provenance.json").read_text())
    assert [entry["round"] for entry in entries] == [0, 1]
    assert entries[0]["packages"]["torch"] == torch.__version__.partition("+")[0]
    for key in ("commit", "dirty", "device", "threads", "started", "python"):
        assert key in entries[0]


def test_files_that_do_not_fit_are_refused(tmp_path):
    settings = make_settings(tmp_path)
    run = started(settings)
    run.append(row(0), points(0))
    files = {name: (run.folder / name).read_text() for name in ("rounds.csv", "acquired.csv", "config.yaml")}
    for name, content, message in [
        ("acquired.csv", None, r"acquired\.csv does not fit"),
        ("acquired.csv", files["acquired.csv"][:-20], r"acquired\.csv"),
        ("rounds.csv", files["rounds.csv"][:-5], r"rounds\.csv is damaged|does not fit"),
        ("config.yaml", None, r"config\.yaml is missing or damaged"),
        ("config.yaml", "a: [", r"config\.yaml is missing or damaged"),
    ]:
        (run.folder / name).unlink() if content is None else (run.folder / name).write_text(content)
        with pytest.raises(RecordError, match=message):
            Run(settings)
        (run.folder / name).write_text(files[name])
    Run(settings)
    (run.folder / "provenance.json").write_text("")
    with pytest.raises(RecordError, match=r"provenance\.json is damaged"):
        started(settings)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"out=.*file: cannot make"):
        started(make_settings(tmp_path / "file"))
