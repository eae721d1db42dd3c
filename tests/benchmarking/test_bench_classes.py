"""Many classes, beside an older commit and from a file."""

import subprocess
import sys

from conftest import ROOT


def test_versions_are_compared_and_the_file_is_removed(tmp_path):
    sizes = [
        "--points",
        "60",
        "--samples",
        "4",
        "--classes",
        "120",
        "--outcomes",
        "1000",
        "--points-of-two",
        "50",
        "--samples-of-two",
        "5",
    ]
    sizes += ["--points-in-file", "80", "--samples-in-file", "4"]
    program = [sys.executable, "scripts/bench_classes.py", str(ROOT), *sizes, "--repeats", "1"]  # this commit will do
    done = subprocess.run([*program, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    compared = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| 2-BALD", "| BatchBALD"))]
    assert [row[5] for row in compared[:4]] == ["10 of 10"] * 4
    assert len(compared) == 6
    assert "| BALD |" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["provenance.json", "report.md", "times.csv"]
