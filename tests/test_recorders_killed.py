"""Runs with a tracker that are killed or run out of disk, and go on.

Slow by nature: each run is a process of its own, and is started again and again.
"""

import os
import random
import re
import resource
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import make_settings
from test_interruptions import SETTINGS, command, context, record, run_quietly
from test_interruptions import uninterrupted as uninterrupted  # a fixture
from tracker_files import Series, read_tensorboard, read_wandb, said_by_a_tracker

from alkbald import loop
from alkbald.records.run import Run, run_folder

pytestmark = pytest.mark.slow
KILLS = 8


def shown(recorder: str, folder) -> Series:
    """By tag, what the tracker shows at which step of its axis."""
    if recorder == "tensorboard":
        series = read_tensorboard(folder / "tensorboard")
        return {tag: values for tag, values in series.items() if not tag.startswith("acquired/")}
    series = {key: values for key, values in read_wandb(folder).items() if not key.startswith("acquired/")}
    axes = {step: value for axis in ("labelled", "total_epochs") for step, value in series.pop(axis, [])}
    return {key: [(axes[step], value) for step, value in values] for key, values in series.items()}


@pytest.fixture(autouse=True)
def _at_home(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    # W&B's process of an earlier test, which has all the room of the disk, would serve a run started here.
    monkeypatch.delenv("WANDB_SERVICE", raising=False)


@pytest.mark.parametrize("recorder", ["tensorboard", "wandb"])
def test_killed_at_random_moments_no_step_is_missing_and_none_is_there_twice(recorder, tmp_path, uninterrupted):
    settings = make_settings(tmp_path, *SETTINGS, f"recorder={recorder}")
    folder = run_folder(settings)
    rounds = folder / "rounds.csv"
    moments, kills = random.Random(1), 0
    while kills < KILLS:
        size = rounds.stat().st_size if rounds.exists() else 0
        process = context().Process(target=run_quietly, args=(settings,))
        process.start()
        waits = moments.random() < 0.75
        while waits and process.is_alive() and not (rounds.exists() and rounds.stat().st_size > size):
            time.sleep(0.005)
        process.join(moments.uniform(0.0, 0.4) if waits else moments.uniform(0.5, 4.0))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        if recorder == "tensorboard" and (folder / "tensorboard").exists():
            for values in shown(recorder, folder).values():
                assert len({step for step, _ in values}) == len(values)
    assert kills >= KILLS // 2
    run = loop.run(settings)
    assert record(folder) == uninterrupted
    assert shown(recorder, folder) == said_by_a_tracker(run)
    (folder / "tracked.json").unlink()  # as if killed at the last moment
    loop.run(settings)
    assert shown(recorder, folder) == said_by_a_tracker(run)


def process_of_wandb(parent: int) -> int | None:
    """The number of the process that W&B has started for another one."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # one that has ended
            name, _, rest = status.read_text().partition(" (")[2].rpartition(") ")
            if name.startswith("wandb") and int(rest.split()[1]) == parent:
                return int(status.parent.name)
    return None


def test_without_wandbs_own_process_a_run_goes_on_and_says_so_once(tmp_path, uninterrupted):
    """Also at its end, when W&B itself would have that process end."""
    running = subprocess.Popen(**command(tmp_path, "recorder=wandb"))
    while running.poll() is None and not any(tmp_path.rglob("rounds.csv")):
        time.sleep(0.01)
    found = process_of_wandb(running.pid)
    assert found
    os.kill(found, signal.SIGKILL)
    _, said = running.communicate(timeout=600)
    assert running.returncode == 0, said
    assert "Traceback" not in said
    (note,) = re.findall("note: .*", said)
    assert "recorder=wandb failed, and the run goes on without it" in note
    assert record(next(tmp_path.rglob("rounds.csv")).parent) == uninterrupted


@pytest.mark.parametrize("recorder", ["tensorboard", "wandb"])
def test_a_disk_that_has_no_room_for_a_tracker_does_not_end_a_run(recorder, tmp_path, uninterrupted):
    """Room for the record's files, and not for a tracker's."""

    def full() -> None:  # files end at so many bytes, as on a disk without more room
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))

    done = subprocess.run(**command(tmp_path, f"recorder={recorder}"), preexec_fn=full, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    folder = next(tmp_path.rglob("rounds.csv")).parent
    assert record(folder) == uninterrupted
    told = re.findall("note: .*", done.stderr)  # TensorBoard's own thread may write into the middle of a line
    assert len(told) == 1, done.stderr
    assert f"recorder={recorder} failed" in told[0]
    assert "file too large" in told[0].lower()
    again = subprocess.run(**command(tmp_path, f"recorder={recorder}"), timeout=600, check=False)
    assert again.returncode == 0, again.stderr
    run = Run(make_settings(tmp_path, *SETTINGS))
    assert shown(recorder, folder) == said_by_a_tracker(run)
