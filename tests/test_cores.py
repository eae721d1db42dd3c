"""Runs that share a machine's cores, and processors that are slow in bfloat16."""

import os
import runpy
import subprocess
import sys

import benchmarking
import pytest
import torch
from conftest import ROOT, SMALL, make_settings

from alkbald import cores, devices, loop

#: Scripts that compute, with arguments that let them begin; RUN is the folder of a run.
COMPUTING = {
    "approximation_quality.py": ["RUN", "--output", "OUT"],
    "bench_acquisition.py": ["--output", "OUT"],
    "bench_inference.py": ["--output", "OUT"],
    "bench_methods.py": ["--output", "OUT"],
    "bench_sharing.py": ["--rounds-of", "1"],
    "ceiling.py": ["RUN", "--output", "OUT"],
    "score_progression.py": ["experiment=figure3", "data=digits", "out=OUT"],
    "table1.py": ["experiment=table1", "data=digits", "out=OUT"],
    "../run.py": ["data=digits", "out=OUT"],
}
#: Scripts that read records, and draw.
READING = {"acquired_images.py", "learning_curves.py", "make_figures.py"}

#: Counts how often threads fall asleep in 100 parallel regions one after the other: before, while and after a watch
#: holds idle threads.
COUNT = """
import os, time
from alkbald.cores import Watch, parallel_region

def sleeps():
    region(2)
    before = voluntary_switches()
    for _ in range(100):
        region(2)
    return voluntary_switches() - before

def voluntary_switches():
    lines = [line for task in os.listdir("/proc/self/task") for line in open(f"/proc/self/task/{task}/status")]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))

region, watch = parallel_region(), Watch(parallel_region(), os.cpu_count() + 1, print)
for share in (0.0, 0.5, 0.0):
    watch.look(share)
    time.sleep(0.3)  # until the idle threads are there, or gone
    print(sleeps())
"""


def needs(condition: bool, what: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not condition, reason=f"needs {what}")


@needs(sys.platform == "linux", "Linux")
@needs(len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) > 1, "two cores")
@pytest.mark.parametrize(("variables", "alone"), [({}, False), ({"GOMP_SPINCOUNT": "0"}, True)])
def test_waiting_threads_sleep_while_idle_ones_are_held(variables, alone):
    """Threads spin through the pauses between regions; while idle threads are held, each region puts some to sleep."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in cores.CHOICES} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    before, held, after = (int(count) > 50 for count in done.stdout.split())
    assert (before, held, after) == (alone, True, alone), done.stdout


class Regions:
    """In the place of parallel regions: their sizes."""

    def __init__(self):
        self.sizes = []

    def __call__(self, size: int) -> None:
        self.sizes.append(size)


def test_idle_threads_are_held_as_long_as_the_cores_are_taken():
    regions = Regions()
    watch = cores.Watch(regions, 3, print)
    holds = []
    for share in (0.0, 0.05, 0.4, 0.6, 0.02, 0.0, 0.3):
        watch.look(share)
        holds.append(watch.holds)
    assert holds == [False, False, True, True, False, False, True]
    watch.look(0.0)
    assert regions.sizes == [3, 3]


def test_a_user_is_told_once_that_the_cores_stay_taken():
    told = []
    watch = cores.Watch(None, 3, told.append)  # the user's own choice of waiting: told of as well
    for share in [0.4] * 19 + [0.0] + [0.5] * 60:
        watch.look(share)
    assert not watch.holds
    [line] = told
    assert line == (
        "note: the cores are taken: this run waits 50% of the time for one; threads=1 suits runs that share cores"
    )


@pytest.fixture
def watches(monkeypatch):
    """What `share_cores` would start, in a process that has not called it."""
    started = []

    class Watch:
        def __init__(self, *arguments):
            started.append(arguments)

        def run(self):
            pass

    monkeypatch.setattr(cores, "_started", False)
    monkeypatch.setattr(cores, "Watch", Watch)
    for name in cores.CHOICES:
        monkeypatch.delenv(name, raising=False)
    return started


@needs(sys.platform == "linux", "Linux")
def test_idle_threads_and_those_that_compute_are_more_than_the_cores(watches, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for threads, size in ((8, 2), (6, 4), (2, 8), (12, 2)):
        monkeypatch.setattr(cores, "_started", False)
        cores.share_cores(threads, print)
        region, held, _ = watches.pop()
        assert region is not None
        assert held == size
        assert threads + held - 1 > 8


@needs(sys.platform == "linux", "Linux")
def test_a_process_watches_once_and_a_single_thread_not_at_all(watches):
    cores.share_cores(1, print)
    assert not watches
    cores.share_cores(2, print)
    cores.share_cores(2, print)
    assert len(watches) == 1


@needs(sys.platform == "linux", "Linux")
@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "5"), ("OMP_WAIT_POLICY", "active")])
def test_a_users_own_choice_of_waiting_is_kept(name, value, watches, monkeypatch):
    monkeypatch.setenv(name, value)
    cores.share_cores(2, print)
    assert watches[0][0] is None


@pytest.mark.parametrize(("load", "told"), [(0.4, 0), (1.0, 0), (1.8, 1), (9.0, 1)])
def test_where_the_system_does_not_tell_waiting_the_load_average_does(load, told, watches, monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "_SCHEDULING", tmp_path / "missing")
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    lines = []
    cores.share_cores(2, lines.append)
    assert not watches
    assert len(lines) == told
    assert all(f"load average is {load}" in line and "threads=1" in line for line in lines)


def test_a_share_that_others_take_is_seen():
    """The main thread's waiting grows as time goes by, and never shrinks."""
    if not cores._SCHEDULING.exists():
        pytest.skip("needs Linux")
    before = cores._waited()
    assert 0 <= before <= cores._waited()


class Reached(Exception):
    """The script shares the cores, and does no work before."""


@pytest.mark.parametrize("script", COMPUTING)
def test_every_script_that_computes_shares_the_cores(script, small_runs, tmp_path, monkeypatch):
    def reach(threads, tell):
        raise Reached

    monkeypatch.setattr(loop, "share_cores", reach)
    monkeypatch.setattr(benchmarking, "share_cores", reach)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which `errors_in_one_line` sets: here it is undone
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    run = next(small_runs.rglob("rounds.csv")).parent
    path = ROOT / "scripts" / script
    arguments = [word.replace("OUT", str(tmp_path)).replace("RUN", str(run)) for word in COMPUTING[script]]
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    with pytest.raises(Reached):
        runpy.run_path(str(path), run_name="__main__")


def test_every_script_is_known_to_compute_or_to_read():
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py") if "__main__" in path.read_text()}
    assert scripts == {name for name in COMPUTING if "/" not in name} | READING


@pytest.mark.parametrize(("slowdown", "told"), [(0.8, False), (1.9, False), (25.3, True)])
def test_bf16_on_a_processor_that_is_slow_in_it_is_told_before_any_round(slowdown, told, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "bfloat16_slowdown", lambda: slowdown)
    monkeypatch.setattr(loop, "active_learning_round", lambda *_: pytest.fail("a round"))
    with pytest.raises(pytest.fail.Exception):
        loop.run(make_settings(tmp_path, *SMALL, "precision=bf16"))
    line = "note: bf16 products take 25 times as long as fp32 here: precision=fp32 is faster\n"
    assert (line in capsys.readouterr().out) == told


def test_bf16_is_measured_only_for_runs_that_use_it(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "bfloat16_slowdown", lambda: pytest.fail("measured"))
    loop.prepared_device(make_settings(tmp_path))


def test_the_slowdown_of_bfloat16_is_of_this_processor():
    assert 0.01 < devices.bfloat16_slowdown() < 1000
