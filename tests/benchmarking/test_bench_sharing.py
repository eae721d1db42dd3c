"""Runs that share the cores: how many are tried at once, and what is compared."""

import bench_sharing


class FakeProcess:
    """In the place of a process that makes rounds."""

    made = 0

    def __init__(self, epochs, setting):
        FakeProcess.made += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_runs_at_once_are_compared_with_one_alone_and_no_more_tried_than_end(monkeypatch):
    """Three at once take longer than the limit in the first repetition."""
    asked = []

    def slowest(processes, limit=None):
        asked.append((len(processes), limit))
        return {1: 2.0, 2: 5.0, 3: None}[len(processes)]

    monkeypatch.setattr(bench_sharing, "Process", FakeProcess)
    monkeypatch.setattr(bench_sharing, "slowest", slowest)
    bench = bench_sharing.RunsAtOnce(1, 10)
    bench.measure(FakeProcess(1, "reference"), "chosen", 3, 2)
    first = [(1, None), (1, 20.0), (2, 20.0), (3, 20.0)]
    assert asked == [*first, *first[:3]]
    assert FakeProcess.made == 1 + 3 + 2  # what was ended is started again
    assert bench.table() == [
        {
            "setting": "chosen",
            **{"1 at once, s": "2.00", "2 at once, s": "5.00", "3 at once, s": "> 20"},
            **{"1 at once, times": "1.00", "2 at once, times": "2.50", "3 at once, times": "> 10"},
        }
    ]


def test_no_more_at_once_are_tried_after_a_round_over_the_limit(monkeypatch):
    asked = []

    def slowest(processes, limit=None):
        asked.append(len(processes))
        return None if len(processes) == 2 else 1.0

    monkeypatch.setattr(bench_sharing, "Process", FakeProcess)
    monkeypatch.setattr(bench_sharing, "slowest", slowest)
    bench = bench_sharing.RunsAtOnce(1, 10)
    bench.measure(FakeProcess(1, "reference"), "chosen", 3, 2)
    assert asked == [1, 1, 2, 1, 1]  # the reference first, in each repetition
    assert {row["at once"] for row in bench.rows} == {1, 2}


def test_a_round_of_a_process_of_its_own_is_timed_and_ended_at_the_limit():
    with bench_sharing.Process(1, "threads=1") as process:
        assert bench_sharing.slowest([process], 600) > 0
        assert bench_sharing.slowest([process], 0.01) is None
