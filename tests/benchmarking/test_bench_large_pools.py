"""Selection from a mapped file, beside selection in memory."""

import sys

import bench_large_pools
import torch

from alkbald.benchmarking.memory import anonymous_mebibytes, measured


def test_a_file_gives_the_batches_of_memory_and_is_removed(tmp_path, monkeypatch, capsys):
    sizes = ["--points", "300", "--points-in-memory", "100", "--samples", "5", "--classes", "3", "--quick"]
    monkeypatch.setattr(sys, "argv", ["bench_large_pools.py", *sizes, "--output", str(tmp_path)])
    monkeypatch.setattr(bench_large_pools, "_PART", 70)  # parts that do not divide the pool
    bench_large_pools.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "BALD" in line]
    assert len(rows) == 3
    assert all(row[6] == "yes" for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["provenance.json", "report.md", "times.csv"]


def test_memory_that_a_selection_takes_is_seen():
    before = anonymous_mebibytes()
    assert measured(lambda: torch.zeros(2**25) + 1).mebibytes - before > 100  # 128 MiB
