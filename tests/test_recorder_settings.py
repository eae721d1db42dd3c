"""The settings of trackers: which are refused, and that a run without a tracker knows nothing of them."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL, compose, make_settings
from hydra.errors import MissingConfigException
from made_up_rounds import started

from alkbald.cli import configuration_line
from alkbald.errors import SettingsError
from alkbald.records import recorders
from alkbald.records.run import Run, run_folder
from alkbald.settings import from_record


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("recorder.name=nope", r"recorder\.name must be one of none, tensorboard, wandb, got nope"),
        ("recorder=wandb recorder.mode=nope", r"recorder\.mode must be one of offline, online or null, got nope"),
        ("recorder=tensorboard +recorder.mode=online", "recorder=tensorboard has no option mode"),
        ("recorder.name=wandb", "recorder=wandb needs the option entity"),
    ],
)
def test_wrong_settings_of_a_tracker_are_refused(overrides, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        make_settings(tmp_path, *overrides.split())


def test_a_tracker_that_does_not_exist_is_refused_in_one_line(tmp_path):
    with pytest.raises(MissingConfigException) as error:
        compose("recorder=nope")
    assert configuration_line(error.value) == "recorder must be one of none, tensorboard, wandb, got nope"


def test_a_tracker_whose_package_is_missing_is_refused_but_not_in_a_record(tmp_path, monkeypatch):
    run = started(make_settings(tmp_path, "recorder=wandb"))
    monkeypatch.setattr(recorders, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs the package wandb: pip install 'alkbald\[trackers\]'"):
        make_settings(tmp_path, "recorder=wandb")
    assert from_record(run.folder).recorder == {"name": "none"}


@pytest.mark.parametrize("command", [["-m", "alkbald.status"], ["run.py", "max_labels=20", *SMALL[1:]]])
def test_without_a_tracker_none_of_its_packages_is_imported(command, tmp_path):
    started(make_settings(tmp_path))
    command += [str(tmp_path)] if "-m" in command else ["data=digits", f"out={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "omegaconf" in imported
    assert not imported & {"tensorboard", "wandb", "sentry_sdk"}


def test_files_of_wandb_are_no_runs(tmp_path):
    folder = started(make_settings(tmp_path)).folder / "wandb" / "run-20260101_000000-abc" / "files"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("wandb_version: 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "alkbald.status", tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "1 partial"


def test_the_record_is_found_whatever_its_tracker(tmp_path):
    folders = [run_folder(make_settings(tmp_path, f"recorder={name}")) for name in ("none", "tensorboard", "wandb")]
    assert len(set(folders)) == 1
    started(make_settings(tmp_path, "recorder=tensorboard"))
    assert Run(make_settings(tmp_path, "recorder=wandb", "recorder.project=other")).folder == folders[0]
