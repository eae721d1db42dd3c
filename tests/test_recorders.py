"""What trackers are told: all of the record, each thing once, whenever a run went on; and never at a run's cost."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SMALL, make_settings, rounds_of
from hypothesis import given
from hypothesis import strategies as st
from made_up_rounds import started
from tracker_files import (
    read_tensorboard,
    read_wandb,
    said_by_a_tracker,
    tensorboard_hyperparameters,
    tensorboard_images,
    wandb_config,
    wandb_images,
)

from alkbald import loop
from alkbald.records import recorders
from alkbald.records.recorders import identity
from alkbald.records.recorders.entries import PLACES, caption, entries, grid
from alkbald.records.run import named, run_folder


class Told:
    """A tracker in memory. It raises an error in the method `failing`, at the call number `at`."""

    packages = ()
    calls: list  # of all that were made since a test began
    failing, at = "", 0

    def __init__(self, folder, identity, settings):
        self.where = "memory"
        self._call("init", identity, settings)

    def _call(self, method, *what):
        self.calls.append((method, *what))
        if method == self.failing and sum(call[0] == method for call in self.calls) > self.at:
            raise ConnectionError("nobody\nis there")

    def log(self, entry, images):
        self._call("log", entry, images)

    def flush(self):
        self._call("flush")

    def close(self):
        self._call("close")

    @classmethod
    def entries(cls):
        return [call[1] for call in cls.calls if call[0] == "log"]


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(Told, "calls", [], raising=False)
    monkeypatch.setitem(recorders.RECORDERS, "told", Told)
    return Told


def settings_of(out, *overrides):
    return make_settings(out, *SMALL, *overrides)


def told_settings(out, *overrides):
    return settings_of(out, "recorder.name=told", *overrides)


def test_tensorboard_gives_back_the_record(tmp_path):
    run = loop.run(settings_of(tmp_path, "recorder=tensorboard", "method=dynamic_bald"))
    series = read_tensorboard(run.folder / "tensorboard")
    said = said_by_a_tracker(run)
    sizes = series.pop("acquired/images")
    captions = series.pop("acquired/labels")
    assert series == said
    assert {"rounds/accuracy", "batch/decision", "epochs/training_loss", "seconds/seconds_training"} <= said.keys()
    hyperparameters = tensorboard_hyperparameters(run.folder / "tensorboard")
    settings = {key: value for key, value in named(run.settings).items() if not key.startswith("recorder.")}
    assert hyperparameters.keys() == settings.keys()
    assert hyperparameters["training.learning_rate"] == 1e-3
    assert hyperparameters["method.name"] == "dynamic_bald"
    with_batch = [row for row in run.rounds if row["batch"]]
    for row, (step, size), (also, text) in zip(with_batch, sizes, captions, strict=True):
        points = [point for point in run.acquired if point["round"] == row["round"]]
        assert step == also == int(row["labelled"])
        assert size == (29 * min(len(points), 10), 29 * -(-len(points) // 10))
        assert text == caption(points)
    pictures_are_of_the_acquired_points(run, tensorboard_images(run.folder / "tensorboard"))


def pictures_are_of_the_acquired_points(run, pictures):
    data = loop.load(**vars(run.settings.data))
    batches = [row["round"] for row in run.rounds if row["batch"]]
    for number, picture in zip(batches, pictures, strict=True):
        positions = [int(point["pool_position"]) for point in run.acquired if point["round"] == number]
        np.testing.assert_array_equal(picture, grid(data.pool_inputs[positions].numpy())[..., 0])


def test_an_offline_run_of_wandb_gives_back_the_record_also_when_it_went_on(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    first = loop.run(settings_of(tmp_path, "recorder=wandb", "max_labels=30"))
    (before,) = first.folder.glob("wandb/offline-run-*")
    run = loop.run(settings_of(tmp_path, "recorder=wandb"))
    (after,) = run.folder.glob("wandb/offline-run-*")
    assert before.name.split("-")[-1] == after.name.split("-")[-1]
    series = read_wandb(run.folder)
    captions = [value for _, value in series["acquired/images.caption"]]
    points = [[point for point in run.acquired if point["round"] == str(number)] for number in range(2)]
    assert captions == [caption(of_round) for of_round in points]
    own = {key: values for key, values in series.items() if not key.startswith("acquired/")}
    steps = {key: [step for step, _ in values] for key, values in own.items()}
    assert all(sorted(set(of_key)) == of_key for of_key in steps.values())
    axes = {step: value for axis in ("labelled", "total_epochs") for step, value in own.pop(axis)}
    assert {key: [(axes[s], value) for s, value in values] for key, values in own.items()} == said_by_a_tracker(run)
    settings = {key: value for key, value in named(run.settings).items() if not key.startswith("recorder.")}
    assert wandb_config(run.folder) == json.loads(json.dumps(settings))
    pictures_are_of_the_acquired_points(run, wandb_images(run.folder))


class Server:
    """wandb as a module, with a server that keeps what it got, in order."""

    __spec__ = SimpleNamespace()  # which says that it is installed
    Image = staticmethod(lambda images, caption: caption)
    Settings = staticmethod(lambda **options: options)

    def __init__(self):
        self.rows, self.inits, self.is_logged_in = [], [], True

    def login(self, *, prompt, verify):
        assert not prompt  # nobody may be asked
        return self.is_logged_in

    def init(self, **options):
        self.inits.append(options)
        step = self.rows[-1][0] + 1 if self.rows else 0
        quiet = SimpleNamespace(step=step, url="https://server", define_metric=lambda *a, **k: 0, finish=lambda: 0)
        quiet.log = lambda values, step, commit: self.rows.append((step, values))
        return quiet


def test_an_online_run_of_wandb_gets_what_the_server_lacks(tmp_path, monkeypatch):
    """Also the batch of a round that was the last, when the run is extended; and what a kill kept from the server."""
    server = Server()
    monkeypatch.setitem(sys.modules, "wandb", server)
    online = ("recorder=wandb", "recorder.mode=online")
    loop.run(settings_of(tmp_path, *online, "max_labels=30"))
    run = loop.run(settings_of(tmp_path, *online))
    whole = list(entries(run.record))
    assert [step for step, _ in server.rows] == [entry.place for entry in whole]
    assert len({options["id"] for options in server.inits}) == 1
    assert {options["resume"] for options in server.inits} == {"allow"}
    whole_rows = list(server.rows)
    for lost in (1, len(whole_rows) // 2, len(whole_rows)):
        del server.rows[len(whole_rows) - lost :]
        (run.folder / "tracked.json").unlink()
        loop.run(settings_of(tmp_path, *online))
        assert [step for step, _ in server.rows] == [step for step, _ in whole_rows]
        assert [values.keys() for _, values in server.rows] == [values.keys() for _, values in whole_rows]


def test_without_a_login_nobody_is_asked_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    server = Server()
    server.is_logged_in = False
    monkeypatch.setitem(sys.modules, "wandb", server)
    run = loop.run(settings_of(tmp_path, "recorder=wandb", "recorder.mode=online", "max_labels=30"))
    assert not server.inits
    assert len(run.rounds) == 2
    assert "not logged in: run `wandb login`" in capsys.readouterr().err


def test_entries_are_in_order_and_a_longer_run_only_adds_some(whole_run):
    whole = list(entries(whole_run.record))
    places = [entry.place for entry in whole]
    assert places == sorted(set(places))
    assert max(places) < len(whole_run.rounds) * PLACES
    for rounds in range(len(whole_run.rounds)):
        shorter = list(entries(whole_run.record.first(rounds)))
        assert shorter == whole[: len(shorter)]
    for step in ("total_epochs", "labelled"):
        steps = [entry.step for entry in whole if entry.axis == step]
        assert steps == sorted(steps)


def test_a_tracker_is_told_each_round_after_it_is_recorded(told, tmp_path):
    run = loop.run(told_settings(tmp_path))
    methods = [call[0] for call in told.calls]
    assert methods[:2] == ["init", "flush"]  # there was nothing to tell
    assert methods[-1] == "close"
    assert methods.count("flush") == 1 + len(run.rounds)
    assert told.entries() == list(entries(run.record))
    settings = told.calls[0][2]
    assert settings["training.max_epochs"] == 3
    assert not any(key.startswith("recorder") for key in settings)


@pytest.mark.parametrize(("failing", "at"), [("init", 0), ("log", 0), ("log", 5), ("flush", 1), ("close", 0)])
def test_a_tracker_that_fails_is_told_once_and_the_run_goes_on(
    failing, at, told, tmp_path, whole_run, capfd, monkeypatch
):
    monkeypatch.setattr(told, "failing", failing)
    monkeypatch.setattr(told, "at", at)
    assert rounds_of(loop.run(told_settings(tmp_path))) == rounds_of(whole_run)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("note: recorder=told failed, and the run goes on without it: ConnectionError: nobody is")
    failed = [place for place, call in enumerate(told.calls) if call[0] == failing][at]
    assert [call[0] for call in told.calls[failed + 1 :]] == ([] if failing in ("init", "close") else ["close"])
    monkeypatch.setattr(told, "failing", "")
    told.calls.clear()
    run = loop.run(told_settings(tmp_path))  # complete by now
    assert told.entries() == list(entries(run.record))


def test_a_folder_that_tensorboard_cannot_have_does_not_end_a_run(tmp_path, whole_run, capfd):
    settings = settings_of(tmp_path, "recorder=tensorboard")
    folder = run_folder(settings)
    folder.mkdir(parents=True)
    (folder / "tensorboard").write_text("")
    assert rounds_of(loop.run(settings)) == rounds_of(whole_run)
    (line,) = capfd.readouterr().err.splitlines()
    assert "recorder=tensorboard failed" in line


def test_a_tracker_can_be_turned_on_and_off_in_one_run(told, tmp_path, whole_run):
    loop.run(settings_of(tmp_path, "max_labels=20"))
    loop.run(told_settings(tmp_path, "max_labels=30"))
    run = loop.run(settings_of(tmp_path))
    assert rounds_of(run) == rounds_of(whole_run)
    assert len(list(tmp_path.rglob("rounds.csv"))) == 1
    told.calls.clear()
    loop.run(told_settings(tmp_path))  # complete: it is only told
    assert told.entries() == list(entries(run.record))
    told.calls.clear()
    loop.run(told_settings(tmp_path))
    assert told.calls == []


def test_images_are_those_that_were_acquired_whether_told_at_once_or_later(told, tmp_path):
    run = loop.run(told_settings(tmp_path))
    at_once = [call[2] for call in told.calls if call[0] == "log" and call[2] is not None]
    data = loop.load(**vars(run.settings.data))
    for number, images in enumerate(at_once):
        positions = [int(point["pool_position"]) for point in run.acquired if point["round"] == str(number)]
        expected = data.pool_inputs[positions].numpy()
        np.testing.assert_array_equal(images, grid(expected))
    (run.folder / "tracked.json").unlink()
    told.calls.clear()
    loop.run(told_settings(tmp_path))
    later = [call[2] for call in told.calls if call[0] == "log" and call[2] is not None]
    assert len(at_once) == len(later) == 2
    for one, other in zip(at_once, later, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.integers(1, 23), st.sampled_from([1, 3]), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_a_grid_has_every_image_in_its_place(count, channels, height, width, seed):
    images = np.random.default_rng(seed).normal(size=(count, channels, height, width))
    whole = grid(images)
    assert whole.dtype == np.uint8
    scaled = ((images - images.min()) / (np.ptp(images) or 1) * 255).round()
    for i in range(count):
        top, left = i // 10 * (height + 1), i % 10 * (width + 1)
        tile = whole[top : top + height, left : left + width]
        np.testing.assert_array_equal(tile, scaled[i].transpose(1, 2, 0))
        assert (whole[top + height, left : left + width] == 128).all()
    assert whole.shape == (-(-count // 10) * (height + 1), min(count, 10) * (width + 1), channels)


def test_a_run_begun_anew_is_another_one_for_a_tracker(tmp_path):
    runs = [started(make_settings(tmp_path / name)) for name in "ab"]
    first, second = (json.loads((run.folder / "provenance.json").read_text()) for run in runs)
    second[0]["started"] = "2000-01-01T00:00:00+00:00"
    (runs[1].folder / "provenance.json").write_text(json.dumps(second))
    identities = [identity(run.folder, named(run.settings)) for run in runs]
    assert identities[0] != identities[1]
    started(make_settings(tmp_path / "a", "max_labels=500", "recorder=tensorboard"))
    assert len(json.loads((runs[0].folder / "provenance.json").read_text())) == 1 + len(first)
    assert identity(runs[0].folder, named(make_settings(tmp_path / "a", "recorder=wandb"))) == identities[0]
