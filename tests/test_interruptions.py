"""Runs that are killed, told to end, or run out of disk, and go on to the rounds of a run that never was.

Slow by nature: each run is a process of its own, and is started again and again.
"""

import csv
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, make_settings

from alkbald import loop
from alkbald.records.run import run_folder
from alkbald.settings import Settings

pytestmark = pytest.mark.slow
KILLS = 25
INTERRUPTED = "interrupted; the same command goes on after the last complete round\n"
SETTINGS = [*SMALL, "max_labels=70", "acq_size=5", "threads=1"]


def record(folder: Path) -> list[list[dict[str, str]]]:
    """Rounds, acquired points and epochs, without what no two runs share."""
    tables = []
    for name in ("rounds.csv", "acquired.csv", "epochs.csv"):
        with (folder / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        shared = [key for key in rows[0] if not key.startswith("seconds") and key != "peak_memory_bytes"]
        tables.append([{key: row[key] for key in shared} for row in rows])
    return tables


def run_quietly(settings: Settings) -> None:
    """In a process of its own."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        loop.run(settings)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> list[list[dict[str, str]]]:
    settings = make_settings(tmp_path_factory.mktemp("uninterrupted"), *SETTINGS)
    process = context().Process(target=run_quietly, args=(settings,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return record(run_folder(settings))


def context():
    """Processes that start at once, from one that has PyTorch loaded."""
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(["alkbald.loop"])
    return forkserver


def test_a_run_killed_at_random_moments_ends_with_the_same_rounds(tmp_path, uninterrupted):
    """Kills are spread over the run: each comes a random while after the start, or after a round has been recorded."""
    settings = make_settings(tmp_path, *SETTINGS)
    moments = random.Random(0)
    kills, rounds_seen = 0, set()
    while kills < KILLS:
        rounds = run_folder(settings) / "rounds.csv"
        size = rounds.stat().st_size if rounds.exists() else 0
        process = context().Process(target=run_quietly, args=(settings,))
        process.start()
        waits = moments.random() < 0.6
        while waits and process.is_alive() and not (rounds.exists() and rounds.stat().st_size > size):
            time.sleep(0.005)
        process.join(moments.uniform(0.0, 0.6))
        process.kill()
        process.join()
        if process.exitcode == 0:  # it came to its end before: the rest of the kills are for a new run
            assert record(run_folder(settings)) == uninterrupted
            settings.out += "x"
            continue
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        if rounds.exists():
            rounds_seen.add(len(rounds.read_text().splitlines()) - 1)
    assert len(rounds_seen) >= 3
    run = loop.run(settings)
    assert record(run.folder) == uninterrupted


def command(out: Path, *overrides: str) -> dict:
    line = [sys.executable, "run.py", "data=digits", f"out={out}", "device=cpu", *SETTINGS, *overrides]
    return {"args": line, "cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_told_to_end_says_how_to_go_on(sent, code, tmp_path, uninterrupted):
    process = subprocess.Popen(**command(tmp_path))
    while process.poll() is None and not (rounds := next(tmp_path.rglob("rounds.csv"), None)):
        time.sleep(0.02)
    process.send_signal(sent)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, out + err
    assert err == INTERRUPTED
    done = subprocess.run(**command(tmp_path), timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming after round" in done.stdout
    assert record(rounds.parent) == uninterrupted


#: Python runs it before a program. It sends the signal at the moment when the program begins to import a module.
SIGNAL_AMID_IMPORTS = """
import os, signal, sys

class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Sender())
"""


@pytest.mark.parametrize("module", ["hydra", "alkbald.cli", "hydra_plugins", "torch", "torchvision", "alkbald.loop"])
def test_a_signal_amid_the_imports_is_told_in_a_line_too(module, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SIGNAL_AMID_IMPORTS.format(module=module))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(**command(tmp_path / "runs"), env=os.environ | {"PYTHONPATH": path}, timeout=600, check=False)
    assert done.returncode == 143, done.stderr
    assert done.stderr == INTERRUPTED
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("room", [400, 1800])
def test_a_full_disk_loses_nothing_of_the_earlier_rounds(room, tmp_path, uninterrupted):
    def full() -> None:  # files end at so many bytes, as on a disk without more room
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    failed = subprocess.run(**command(tmp_path), preexec_fn=full, timeout=600, check=False)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert "File too large; what it held before is intact" in failed.stderr
    if room > 400:  # room for more than the settings
        folder = next(tmp_path.rglob("rounds.csv")).parent
        before, *_ = record(folder)
        assert before
        assert before == uninterrupted[0][: len(before)]
    assert not list(tmp_path.rglob("*.new"))
    done = subprocess.run(**command(tmp_path), timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert record(next(tmp_path.rglob("rounds.csv")).parent) == uninterrupted


def test_a_torn_file_is_mended(tmp_path, uninterrupted):
    settings = make_settings(tmp_path, *SETTINGS)
    folder = loop.run(settings).folder
    for name in ("rounds.csv", "acquired.csv", "epochs.csv"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-7])
        loop.run(settings)
        assert record(folder) == uninterrupted
