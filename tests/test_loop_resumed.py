"""Runs that end, or are ended, and go on: after an interruption, an error, or for more labels."""

import shutil

import pytest
import torch
from conftest import SMALL, make_settings, rounds_of

from alkbald import loop
from alkbald.errors import RecordError, TrainingDiverged
from alkbald.model import MCDropoutNet
from alkbald.records.run import Run, run_folder
from alkbald.settings import Settings


def longer(whole_run: Run, out) -> Settings:
    """Settings of a run that goes on where the whole run ended, from a copy of its record."""
    settings = make_settings(out, *SMALL, "max_labels=50")
    shutil.copytree(whole_run.folder, run_folder(settings))
    return settings


def test_an_interrupted_run_resumes_to_the_same_rounds(whole_run, tmp_path, monkeypatch):
    settings = make_settings(tmp_path, *SMALL)
    original = loop.evaluate
    calls = []

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run(settings)
    monkeypatch.setattr(loop, "evaluate", original)
    assert len(Run(settings).rounds) == 1
    assert rounds_of(loop.run(settings)) == rounds_of(whole_run)


def test_a_run_without_validation_trains_all_epochs_and_goes_on(tmp_path):
    settings = [*SMALL, "data.validation_size=0", "num_samples=4", "max_labels=30"]
    whole = loop.run(make_settings(tmp_path / "whole", *settings))
    loop.run(make_settings(tmp_path / "parts", *settings, "max_labels=20"))
    parts = loop.run(make_settings(tmp_path / "parts", *settings))
    assert [row["epochs"] for row in whole.rounds] == ["3", "3"]
    assert [row["validation_accuracy"] for row in whole.rounds] == ["", ""]
    assert [row["nll"] for row in parts.rounds] == [row["nll"] for row in whole.rounds]


def test_a_run_stopped_early_and_extended_equals_a_long_one(whole_run, tmp_path):
    loop.run(make_settings(tmp_path, *SMALL, "max_labels=30"))
    assert rounds_of(loop.run(make_settings(tmp_path, *SMALL))) == rounds_of(whole_run)


def test_a_finished_run_is_not_repeated(tmp_path, capsys):
    run = loop.run(make_settings(tmp_path, *SMALL, "max_labels=20"))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.iterdir()}
    capsys.readouterr()
    loop.run(make_settings(tmp_path, *SMALL, "max_labels=20"))
    assert "already complete" in capsys.readouterr().out
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.iterdir()} == before


def test_a_blow_up_names_round_and_epoch_and_keeps_earlier_rounds(whole_run, tmp_path, monkeypatch):
    settings = make_settings(tmp_path, *SMALL)
    fit = loop.fit

    def diverging(model, inputs, *args, **kwargs):
        return fit(model, inputs * (torch.nan if len(inputs) == 30 else 1), *args, **kwargs)

    monkeypatch.setattr(loop, "fit", diverging)
    with pytest.raises(TrainingDiverged, match="round 1: the training loss is nan in epoch 1; try a lower"):
        loop.run(settings)
    monkeypatch.undo()
    assert len(Run(settings).rounds) == 1
    assert rounds_of(loop.run(settings)) == rounds_of(whole_run)


def test_a_blow_up_of_the_warm_up_says_so(tmp_path, monkeypatch):
    settings, fit = make_settings(tmp_path, *SMALL), loop.fit
    monkeypatch.setattr(
        loop, "fit", lambda model, inputs, *rest, **options: fit(model, inputs * torch.nan, *rest, **options)
    )
    with pytest.raises(TrainingDiverged, match=r"^warm-up: the training loss is nan in epoch 1; try a lower"):
        loop.run(settings)
    assert Run(settings).rounds == []


def test_points_that_are_not_of_these_data_are_refused(whole_run, tmp_path):
    settings = longer(whole_run, tmp_path)
    path = run_folder(settings) / "acquired.csv"
    text = path.read_text()
    first = text.splitlines()[1].split(",")
    for column, value in ((3, "-1"), (3, "99999"), (4, str((int(first[4]) + 1) % 10)), (2, "7")):
        changed = [*first[:column], value, *first[column + 1 :]]
        path.write_text(text.replace(",".join(first), ",".join(changed), 1))
        with pytest.raises(RecordError, match=r"acquired\.csv: pool position .* does not fit the data"):
            loop.run(settings)
    path.write_text(text)
    assert len(loop.run(settings).rounds) == 4


def test_predictions_that_are_not_finite_end_the_run_and_leave_its_record(whole_run, tmp_path, monkeypatch):
    settings = longer(whole_run, tmp_path)
    log_probs = MCDropoutNet.log_probs

    def broken(self, inputs, num_samples, **options):
        return log_probs(self, inputs, num_samples, **options) * (torch.nan if num_samples == 8 else 1)

    monkeypatch.setattr(loop, "_warm_up", lambda *_: None)
    monkeypatch.setattr(MCDropoutNet, "log_probs", broken)
    with pytest.raises(TrainingDiverged, match="round 2: predictions are not finite on the pool"):
        loop.run(settings)
    run = Run(settings)
    assert run.rounds == whole_run.rounds[:2]  # the last round of a run that ended is done again, now with a batch
    assert "not finite on the pool" in (run.folder / "failure.txt").read_text()
