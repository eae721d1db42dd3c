"""What a run and a sweep show of themselves: on a terminal parts and time left, into a pipe the lines alone."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest
from conftest import ROOT, SMALL, compose
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from alkbald import progress
from alkbald.cli import runs_of_sweep
from alkbald.progress import RunProgress, SweepProgress, duration, labels_to_come, seconds_to_come


def command(out, *overrides: str) -> list[str]:
    line = [sys.executable, "run.py", *overrides, "data=digits", f"out={out}", "device=cpu", "threads=1", *SMALL]
    return [*line, "training.max_epochs=2"]


def on_a_terminal(line: list[str]) -> str:
    """What the command writes into a terminal of 160 columns, control characters and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # Linux has it so when the other side is closed
            break
        if not read:
            break
        written += read
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


LINES = [
    r"recording in \S+",
    r"round 0: 20 labels, accuracy [\d.]+, nll [\d.]+, 2 epochs in [\d.]+ s; scored in .* nats",
    r"round 1: 30 labels, accuracy [\d.]+, nll [\d.]+, 2 epochs in [\d.]+ s; scored in .* nats",
    r"round 2: 40 labels, accuracy [\d.]+, nll [\d.]+, 2 epochs in [\d.]+ s",
    r"complete: \S+",
]


def test_a_pipe_gets_a_line_a_round_and_nothing_else(tmp_path):
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert re.fullmatch("\n".join(LINES) + "\n", done.stdout), done.stdout


def test_a_terminal_shows_rounds_parts_and_time_left(tmp_path):
    written = on_a_terminal(command(tmp_path))
    for line in LINES:
        assert re.search(line, written), line
    for part in ("training", "evaluation", "scoring", "selection", "judging"):
        assert f"round 0 (2 to come): {part} " in written
        assert re.search(rf"round 1 \(1 to come\): {part}, [^|]* left \|\S+ +\| 30 of 40 labels", written), part
    assert "round 2 (the last): evaluation, under a minute left" in written
    assert "2/2 [" in written  # epochs
    assert "epoch/s]" in written
    assert "chunk" in written


def test_without_progress_a_terminal_gets_the_lines_alone(tmp_path):
    written = on_a_terminal(command(tmp_path, "progress=false"))
    assert re.fullmatch("\r\n".join(LINES) + "\r\n", written), written


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]], ids=["basic", "joblib"]
)
def test_a_sweep_shows_runs_done_and_to_come_and_a_time_left(launcher, tmp_path):
    line = command(tmp_path, "-m", "seed=0,1,2", *launcher)
    written = on_a_terminal(line)
    assert "0 of 3 runs done, 3 to come" in written
    told = re.findall(r"(\d) of 3 runs done, (\d) to come, [\w ]+ left", written)
    if launcher:  # each in a line of its own, unless two ended at once; and no bars of the runs
        assert ("2", "1") in told
        assert set(told) <= {("1", "2"), ("2", "1")}
        assert re.search(r"\n\r*3 of 3 runs done, 0 to come\r\n", written)
        assert "|" not in written
    else:
        assert set(told) == {("1", "2"), ("2", "1")}
    again = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stderr == ""
    assert re.fullmatch(r"(already complete: \S+\n){3}", again.stdout)


def test_time_left_is_that_of_rounds_that_cost_the_fourth_root_of_their_labels():
    def row(number):
        labelled = 16 * (number + 1)
        seconds = {"seconds_training": str(2 * labelled**0.25), "seconds_validation": "9", "seconds_judging": ""}
        return {"labelled": str(labelled), "batch": "16", "seconds_inference": str(3 * labelled**0.25), **seconds}

    rows = [row(number) for number in range(3)]
    to_come = labels_to_come(rows, 16, 100, 5)
    assert to_come == [64, 80, 96, 112]
    assert seconds_to_come(rows, to_come) == pytest.approx([5 * labelled**0.25 for labelled in to_come])


@given(st.integers(1, 50), st.integers(1, 300), st.integers(1, 40), st.integers(0, 9))
def test_labels_to_come_are_those_of_the_loop(initial, more, size, complete):
    labels = [initial]
    while labels[-1] < initial + more:
        labels.append(labels[-1] + size)
    complete = min(complete, len(labels) - 1)
    rows = [{"labelled": str(one), "batch": str(size)} for one in labels[:complete]]
    assert labels_to_come(rows, initial, initial + more, size) == labels[complete:]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "under a minute"),
        (59.9, "under a minute"),
        (61.0, "1 min"),
        (3540.0, "59 min"),
        (3590.0, "1 h 00 min"),
        (90000.0, "25 h 00 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_time_left_goes_down_while_a_round_goes_on(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    rows = [{"labelled": "16", "batch": "0", "seconds_training": "6000"}]
    bars = RunProgress(rows, 16, 16, 16, shown=False)
    bars.begin("training")
    assert bars.text() == "round 1 (the last): training, 1 h 40 min left"
    clock.now += 3000
    bars.begin("inference")
    assert bars.text() == "round 1 (the last): scoring, 50 min left"
    clock.now += 9000
    assert bars.text() == "round 1 (the last): scoring, under a minute left"


def test_time_left_of_a_sweep_leaves_out_runs_that_were_complete_before(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    sweep = SweepProgress(10, beside_bars=True, shown=False)
    sweep.show([])
    assert sweep.text() == "0 of 10 runs done, 10 to come"
    clock.now = 600.0
    sweep.show([0.1, 0.2, 590.0, 595.0])  # two at a time: one ends every five minutes
    assert sweep.text() == "4 of 10 runs done, 6 to come, 30 min left"
    clock.now = 720.0
    sweep.show([0.1, 0.2, 590.0, 595.0])
    assert sweep.text() == "4 of 10 runs done, 6 to come, 28 min left"
    sweep.show([0.1, 0.2, 590.0, 595.0, *[600.0] * 6])
    assert sweep.text() == "10 of 10 runs done, 0 to come"


@pytest.mark.parametrize(
    ("overrides", "runs"),
    [
        (["method=2bald,random", "seed=0,1,2"], 6),
        (["seed=range(0,4)", "acq_size=5"], 4),
        (["experiment=figure1"], 25),
        (["experiment=figure1", "seed=0,1"], 10),
        (["data=glob(*)"], None),
        (["seed=3"], 1),
    ],
)
def test_runs_of_a_sweep_are_counted(overrides, runs):
    fixed = [one for one in overrides if "experiment" in one]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = hydra_compose("config", fixed, return_hydra_config=True)
    OmegaConf.set_readonly(config, False)
    OmegaConf.update(config, "hydra.overrides.task", overrides)
    assert runs_of_sweep(config) == runs


def test_a_sweep_of_another_sweeper_is_not_counted():
    config = OmegaConf.create({"hydra": {"sweeper": {"_target_": "some.OtherSweeper"}}, **compose()})
    assert runs_of_sweep(config) is None
    sweep = SweepProgress(None, beside_bars=True, shown=False)
    sweep.show([1.0])
    assert sweep.text() == "1 runs done"
