"""A run's files: written in full precision, whole or not at all; read back whole rounds only, or refused."""

import pytest
from conftest import make_settings
from made_up_rounds import epochs, leave, new, points, read, row, started

from alkbald.errors import RecordError
from alkbald.records import files
from alkbald.records.run import Run
from alkbald.records.schema import ACQUIRED, EPOCHS, ROUNDS


def test_rounds_and_points_are_recorded_in_full_precision(tmp_path):
    run = started(make_settings(tmp_path))
    run.append(new(0), points(0), epochs(0))
    recorded = read(run.folder / "rounds.csv")
    assert list(recorded[0]) == ROUNDS.names
    assert float(recorded[0]["accuracy"]) == 0.1 + 0.2
    assert recorded[0]["brier"] == ""
    acquired = read(run.folder / "acquired.csv")
    assert list(acquired[0]) == ACQUIRED.names
    assert [int(point["index"]) for point in acquired] == [7 * i for i in range(10)]
    trained = read(run.folder / "epochs.csv")
    assert list(trained[0]) == EPOCHS.names
    assert [float(epoch["training_loss"]) for epoch in trained] == [2, 1, 2 / 3]
    assert trained[0]["validation_accuracy"] == ""
    with pytest.raises(KeyError, match="no such columns"):
        run.append({"accurcy": 1}, [])


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    run = started(make_settings(tmp_path))
    run.append(row(0), points(0))
    before = (run.folder / "rounds.csv").read_text()

    def crash(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", crash)
    with pytest.raises(RecordError, match=r"rounds\.csv|acquired\.csv: no space left on device; what it held"):
        run.append(row(1), points(1))
    assert (run.folder / "rounds.csv").read_text() == before


def test_a_torn_last_line_is_dropped_and_its_round_done_again(tmp_path):
    """However short a copy was cut, what is read is a beginning of what was written."""
    settings = make_settings(tmp_path)
    run = started(settings)
    for number in range(3):
        run.append(new(number), points(number), epochs(number))
    for name in ("rounds.csv", "acquired.csv", "epochs.csv"):
        content = (run.folder / name).read_bytes()
        last_line = content[:-1].rfind(b"\n") + 1
        for length in range(last_line, len(content)):
            (run.folder / name).write_bytes(content[:length])
            torn = Run(settings)
            assert torn.rounds == run.rounds[:2]
            assert torn.acquired == run.acquired[:20]
            assert torn.epochs == run.epochs[:6]
        (run.folder / name).write_bytes(content)
    assert Run(settings).rounds == run.rounds


@pytest.mark.parametrize(("name", "complete"), [("acquired.csv", 1), ("epochs.csv", 2)])
def test_a_torn_last_line_of_a_finished_run_is_mended(name, complete, tmp_path):
    settings = make_settings(tmp_path, "max_labels=40")
    run = started(settings)
    for number in range(2):
        run.append(new(number), points(number), epochs(number))
    run.append(new(2, batch=None), [], epochs(2))
    assert run.is_complete
    path = run.folder / name
    path.write_bytes(path.read_bytes()[:-3])
    torn = Run(settings)
    assert torn.rounds == run.rounds[:complete]
    assert torn.acquired == run.acquired[: 10 * complete]
    assert torn.epochs == run.epochs[: 3 * complete]


def test_a_kill_while_a_finished_run_is_extended_is_mended(tmp_path):
    run = started(make_settings(tmp_path, "max_labels=30"))
    run.append(new(0), points(0), epochs(0))
    run.append(new(1, batch=None), [], epochs(1))
    longer = make_settings(tmp_path, "max_labels=40")
    again = started(longer)
    assert len(again.epochs) == 3
    for rows in ({"acquired": points(1)}, {"epochs": epochs(1, count=4)}):  # and behind each file it is killed
        leave(again, **rows)
        for settings in (longer, make_settings(tmp_path, "max_labels=30")):
            assert [row["round"] for row in Run(settings).rounds] == ["0"]
            assert len(Run(settings).acquired) == 10
            assert len(Run(settings).epochs) == 3


def test_rounds_of_an_earlier_version_have_no_epochs_and_later_ones_have(tmp_path):
    settings = make_settings(tmp_path)
    run = started(settings)
    run.append(row(0), points(0))
    assert run.epochs == []
    run.append(new(1), points(1), epochs(1))
    again = Run(settings)
    assert len(again.rounds) == 2
    assert [epoch["round"] for epoch in again.epochs] == ["1"] * 3
    for missing in ("", "round,epoch,training_loss,validation_accuracy\n"):
        (run.folder / "epochs.csv").write_text(missing)  # a copy that was cut short
        assert len(Run(settings).rounds) == 1


def test_files_that_do_not_fit_are_refused(tmp_path):
    settings = make_settings(tmp_path)
    run = started(settings)
    for number in range(3):
        run.append(new(number), points(number), epochs(number))
    names = ("rounds.csv", "acquired.csv", "epochs.csv", "config.yaml")
    contents = {name: (run.folder / name).read_text() for name in names}
    for name, content, message in [
        ("acquired.csv", None, r"acquired\.csv does not fit rounds\.csv in round 0"),
        ("acquired.csv", contents["acquired.csv"][:200], r"does not fit"),
        ("acquired.csv", contents["acquired.csv"].replace("1,7", "1,x"), r"acquired\.csv is damaged"),
        ("rounds.csv", contents["rounds.csv"].replace("1,30,", "1,31,"), r"does not fit rounds\.csv in round 1"),
        ("rounds.csv", contents["rounds.csv"].replace("accuracy", "accurcy"), r"rounds\.csv is damaged"),
        ("rounds.csv", contents["rounds.csv"].replace("1,30,", "1,30,7,"), r"rounds\.csv is damaged"),
        ("rounds.csv", "\0\n" + contents["rounds.csv"], r"rounds\.csv is damaged"),
        ("rounds.csv", contents["rounds.csv"].replace("0.30000000000000004", "nan"), r"is damaged \(accuracy is nan"),
        (
            "rounds.csv",
            contents["rounds.csv"].replace("0.30000000000000004", "1e999"),
            r"is damaged \(accuracy is 1e999",
        ),
        ("rounds.csv", contents["rounds.csv"].replace("0.30000000000000004", "1.5"), r"is damaged \(accuracy is 1.5"),
        ("epochs.csv", None, r"epochs\.csv does not fit rounds\.csv in round 0"),
        ("epochs.csv", contents["epochs.csv"].replace("1,2,1.0,\n", ""), r"epochs\.csv does not fit .* in round 1"),
        (
            "epochs.csv",
            contents["epochs.csv"].replace("1,2,1.0,", "1,2,1.0,1.5"),
            r"is damaged \(validation_accuracy is",
        ),
        ("config.yaml", None, r"config\.yaml is missing or damaged"),
        ("config.yaml", "a: [", r"config\.yaml is missing or damaged"),
        ("config.yaml", "method: 3", r"config\.yaml is missing or damaged"),
    ]:
        (run.folder / name).unlink() if content is None else (run.folder / name).write_text(content)
        with pytest.raises(RecordError, match=message):
            Run(settings)
        (run.folder / name).write_text(contents[name])
    Run(settings)
    for content in ("", "null", "0", "[[]]", "[" * 100_000):
        (run.folder / "provenance.json").write_text(content)
        with pytest.raises(RecordError, match=r"provenance\.json is damaged"):
            started(settings)
