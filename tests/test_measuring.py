import gc
import resource
from pathlib import Path

import pytest
import torch

from alkbald.measuring import Stopwatch, peak_memory, reset_peak_memory


def test_the_stopwatch_waits_for_the_gpu_on_both_sides(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("synchronised"))
    clock = Stopwatch(torch.device("cuda"))
    with clock.measure("part"):
        events.append("work")
    assert events == ["synchronised", "work", "synchronised"]
    assert clock.seconds["part"] > 0


def test_peak_memory_is_the_runs_own(tmp_path):
    before = torch.ones(2**29, dtype=torch.uint8)  # 512 MiB, in use before the run
    del before
    gc.collect()  # what is freed later, while the test measures, would count as less
    reset_peak_memory(torch.device("cpu"))
    quiet = peak_memory(torch.device("cpu"))
    held = torch.ones(2**28, dtype=torch.uint8)
    assert peak_memory(torch.device("cpu")) - quiet > 0.8 * held.numel()


@pytest.mark.parametrize("text", ["Name:\tpython\n", "VmHWM:\n"])
def test_peak_memory_where_the_process_file_lacks_it(text, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_memory(torch.device("cpu")) >= most > 0
