"""A run's folder: how it is named and found, how it goes on after its last complete round, who may write to it."""

import json
import os
import shutil
from dataclasses import asdict

import pytest
import torch
from conftest import make_settings
from made_up_rounds import epochs, leave, new, points, read, row, started

from alkbald.errors import RecordError
from alkbald.records import versions
from alkbald.records.locks import is_locked
from alkbald.records.provenance import provenance
from alkbald.records.run import Run, run_folder
from alkbald.records.status import status
from alkbald.records.versions import defining, flat, recorded_settings
from alkbald.settings import from_record


def test_the_folder_is_a_function_of_the_defining_settings(tmp_path):
    folder = run_folder(make_settings(tmp_path))
    assert folder == run_folder(make_settings(tmp_path))
    assert folder.is_relative_to(tmp_path / "digits" / "2bald" / "acq_size=10")
    assert folder.name.startswith("seed=0-")
    for override in ("seed=1", "acq_size=5", "method=bald", "training.patience=3", "data.noise=0", "num_samples=7"):
        assert run_folder(make_settings(tmp_path, override)) != folder
    for override in ("max_labels=200", "progress=true", "device=auto", "target_accuracy=0.9", "data.root=elsewhere"):
        assert run_folder(make_settings(tmp_path, override)) == folder


def test_a_run_goes_on_after_its_last_complete_round(tmp_path):
    settings = make_settings(tmp_path)
    run = started(settings)
    run.append(new(0), points(0), epochs(0))
    # Interrupted before the last of the files: points and epochs of round 1 without its row.
    leave(run, acquired=points(1), epochs=epochs(1))
    again = Run(settings)
    assert len(again.rounds) == 1
    assert len(again.acquired) == 10
    assert len(again.epochs) == 3
    again.append(new(1), points(1), epochs(1))
    assert [int(point["round"]) for point in read(run.folder / "acquired.csv")] == [0] * 10 + [1] * 10
    assert [int(epoch["round"]) for epoch in read(run.folder / "epochs.csv")] == [0] * 3 + [1] * 3


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


def renamed(run, name="seed=0-00000000"):
    """As a version would have it that names runs otherwise."""
    return run.folder.rename(run.folder.with_name(name))


def test_a_run_is_found_by_its_settings_whatever_its_folder_is_called(tmp_path):
    run = started(make_settings(tmp_path))
    run.append(new(0), points(0), epochs(0))
    folder = renamed(run)
    again = Run(make_settings(tmp_path))
    assert again.folder == folder
    assert again.rounds == run.rounds
    for other in ("seed=1", "num_samples=7", "acq_size=5"):
        assert Run(make_settings(tmp_path, other)).rounds == []
    started(make_settings(tmp_path)).append(new(1), points(1), epochs(1))
    assert len(read(folder / "rounds.csv")) == 2
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_setting_at_its_legacy_value_changes_no_name_and_any_other_value_does(tmp_path, monkeypatch):
    run = started(make_settings(tmp_path))
    before = run.folder
    for value, same in (("old", True), ("new", False)):
        later = defining(flat(asdict(run.settings))) | {"later": value}
        with monkeypatch.context() as context:
            context.setitem(versions.LEGACY, "later", "old")
            assert (f"seed=0-{versions.digest(later)}" == before.name) == same
            assert versions.differing(recorded_settings(before), later) == ([] if same else ["later"])


def test_two_folders_of_one_run_are_refused(tmp_path):
    settings = make_settings(tmp_path)
    first = renamed(started(settings))
    shutil.copytree(first, first.with_name("seed=0-11111111"))
    with pytest.raises(RecordError, match=r"seed=0-0+ and .*seed=0-1+ hold one and the same run"):
        Run(settings)


def test_a_neighbour_that_cannot_be_read_is_told_and_stops_nothing(tmp_path, capsys):
    folder = renamed(started(make_settings(tmp_path)))
    (folder / "config.yaml").write_text("a: [")
    assert Run(make_settings(tmp_path)).rounds == []
    assert f"note: it is not known which run {folder} holds" in capsys.readouterr().out


def test_a_setting_that_is_not_known_is_named(tmp_path):
    settings = make_settings(tmp_path)
    run = started(settings)
    config = run.folder / "config.yaml"
    config.write_text(config.read_text() + "temperature: 2\n")
    expected = r"holds a run with temperature=2, and temperature is no setting of this version"
    with pytest.raises(RecordError, match=expected):
        Run(settings)
    folder = renamed(run)
    with pytest.raises(RecordError, match=expected):
        Run(settings)
    with pytest.raises(RecordError, match=r"has temperature=2, and temperature is no setting of this version"):
        from_record(folder)
    assert Run(make_settings(tmp_path, "num_samples=7")).rounds == []  # another run, whatever that setting did


def test_provenance_has_an_entry_a_start(tmp_path):
    run = started(make_settings(tmp_path))
    run.append(row(0), points(0))
    started(make_settings(tmp_path))
    entries = json.loads((run.folder / "provenance.json").read_text())
    assert [entry["round"] for entry in entries] == [0, 1]
    assert entries[0]["packages"]["torch"] == torch.__version__.partition("+")[0]
    for key in ("commit", "dirty", "device", "threads", "started", "python"):
        assert key in entries[0]


def test_a_start_on_another_machine_is_told(tmp_path, monkeypatch, capsys):
    settings = make_settings(tmp_path)
    started(settings).append(row(0), points(0))
    started(settings)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    started(settings)
    assert "not bit for bit those of a run without a change: threads 1 -> 77" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"out=.*file: cannot make"):
        started(make_settings(tmp_path / "file"))


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path):
    settings = make_settings(tmp_path)
    run = Run(settings)
    with run.writing(provenance(torch.device("cpu"))):
        assert is_locked(run.folder)
        for _ in range(2):  # who is refused leaves the name to the next
            with (
                pytest.raises(RecordError, match=f"is being written by process {os.getpid()} on "),
                Run(settings).writing(provenance(torch.device("cpu"))),
            ):
                pass
        run.append(row(0), points(0))
    assert not is_locked(run.folder)
    assert (run.folder / "lock").read_text() == ""


def test_what_another_process_has_recorded_meanwhile_is_read(tmp_path):
    settings = make_settings(tmp_path)
    early = Run(settings)
    started(settings).append(row(0), points(0))
    assert early.rounds == []
    with early.writing(provenance(torch.device("cpu"))):
        assert len(early.rounds) == 1


def test_why_a_run_failed_is_kept_until_it_goes_on(tmp_path):
    settings = make_settings(tmp_path, "max_labels=30")
    run = Run(settings)
    with pytest.raises(ValueError, match="no"), run.writing(provenance(torch.device("cpu"))):
        raise ValueError("no\nway")
    assert status(run.folder)["state"] == "failed"
    assert status(run.folder)["reason"] == "no way"
    with run.writing(provenance(torch.device("cpu"))):
        assert status(run.folder)["state"] == "running"
        run.append(row(0), points(0))
    assert status(run.folder) == {
        "state": "partial",
        "rounds": "1",
        "labelled": "20 of 30",
        "accuracy": "0.3000",
        "reason": "",
    }
    run.append(row(1, batch=None), [])
    assert status(run.folder)["state"] == "complete"
    (run.folder / "rounds.csv").write_text("nonsense\n")
    assert status(run.folder)["state"] == "damaged"
    assert "rounds.csv is damaged" in status(run.folder)["reason"]
