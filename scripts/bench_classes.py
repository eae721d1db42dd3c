"""Selection where classes are many, beside an older commit, and from a mapped file.

    git worktree add ../older 9d66d19
    python scripts/bench_classes.py ../older           also two classes, and a pool of 10 GB in a file: 20 minutes
    python scripts/bench_classes.py ../older --quick   many classes in memory alone

Predictions are those of a network for many classes (alkbald/benchmarking/many_classes.py). Both versions run in one
process, in turn, in one thread. Seconds are of the processor: they compare on a busy machine too.
The file is written into OUTPUT and removed at the end. Writes OUTPUT/report.md, times.csv and provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alkbald.acquisition import bald, batchbald, kbald
from alkbald.benchmarking.checkouts import commit_of, package
from alkbald.benchmarking.many_classes import ManyClasses
from alkbald.benchmarking.memory import Measured, anonymous_mebibytes, measured
from alkbald.benchmarking.report import Report, at_least, option_parser
from alkbald.cli import errors_in_one_line
from alkbald.information import joint_mutual_information

BATCH_SIZE = 10
#: Points that are predicted at a time.
_PART = 1000


def main() -> None:
    options = option_parser(__doc__, "runs/bench_classes", quick="many classes in memory alone")
    options.add_argument("older", type=Path, help="a checkout of the older commit")
    options.add_argument("--points", type=at_least(BATCH_SIZE), default=10_000)
    options.add_argument("--samples", type=at_least(1), default=20)
    options.add_argument("--classes", type=at_least(33), default=1000)
    options.add_argument("--points-of-two", type=at_least(BATCH_SIZE), default=60_000, help="of two classes")
    options.add_argument("--samples-of-two", type=at_least(1), default=100)
    options.add_argument("--outcomes", type=at_least(2), default=200_000, help="simulated to judge a batch")
    options.add_argument("--points-in-file", type=at_least(BATCH_SIZE), default=50_000)
    options.add_argument("--samples-in-file", type=at_least(1), default=50)
    arguments = options.parse_args()
    if not (arguments.older / "alkbald/acquisition").exists():
        options.error(f"{arguments.older} is no checkout of this project")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    report = Report(
        Path(arguments.output),
        torch.device("cpu"),
        "Many classes, measured",
        f"Batches of {BATCH_SIZE}. Processor seconds, medians of {arguments.repeats}, without a warm-up. The older "
        f"commit is {commit_of(arguments.older)}. RssAnon is memory that no file stands behind: from a file, of the "
        "whole process; in memory, what a selection adds to it.",
        rows,
    )
    older = package(arguments.older, ["acquisition"]).acquisition
    methods: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "2-BALD": (partial(kbald, order=2), partial(older.kbald, order=2)),
        "BatchBALD": (batchbald, older.batchbald),
    }
    pools = [(arguments.points, arguments.samples, arguments.classes)]
    if not arguments.quick:
        pools.append((arguments.points_of_two, arguments.samples_of_two, 2))
    for points, samples, classes in pools:
        log_probs = ManyClasses(classes, samples).points_log_probs(points)
        table = [
            beside(name, *methods[name], log_probs, arguments.repeats, arguments.outcomes, rows) for name in methods
        ]
        report.add(f"{title(log_probs.shape)}, in memory", table)
    if not arguments.quick:
        report.add(*from_file(arguments, report_folder=Path(arguments.output), rows=rows))
    print(report.text())


def title(shape: tuple[int, ...]) -> str:
    return "N = {:,}, K = {:,}, C = {:,}".format(*shape)


def beside(
    name: str,
    newer: Callable[..., Any],
    older: Callable[..., Any],
    log_probs: torch.Tensor,
    repeats: int,
    outcomes: int,
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """One method of both versions, in turn."""
    seconds: dict[str, list[float]] = {"newer": [], "older": []}
    batches, memory = {}, {"newer": 0.0, "older": 0.0}
    for _ in range(repeats):
        for version, method in (("newer", newer), ("older", older)):
            before = anonymous_mebibytes()
            run = measured(lambda method=method: method(log_probs, BATCH_SIZE))  # type: ignore[misc]
            batches[version] = run.batch
            memory[version] = max(memory[version], run.mebibytes - before)
            seconds[version].append(run.processor)
            shape = dict(zip("NKC", log_probs.shape, strict=True))
            rows.append({"method": name, **shape, "what": version, **taken(run, before)})
    new, old = (statistics.median(seconds[version]) for version in ("newer", "older"))
    indices = {version: [int(i) for i in batch.indices] for version, batch in batches.items()}
    same = sum(a == b for a, b in zip(indices["newer"], indices["older"], strict=True))
    worth = {
        version: joint_mutual_information(log_probs[indices[version]], num_outcomes=outcomes) for version in indices
    }
    return {
        "method": name,
        "older, s": f"{old:.1f}",
        "now, s": f"{new:.1f}",
        "ratio": f"{old / new:.1f}",
        "peak RssAnon, MiB, older / now": f"{memory['older']:.0f} / {memory['newer']:.0f}",
        "same picks": f"{same} of {BATCH_SIZE}",
        "joint MI, older": "{:.4f} (error {:.4f})".format(*worth["older"]),
        "joint MI, now": "{:.4f} (error {:.4f})".format(*worth["newer"]),
    }


def taken(run: Measured, before: float = 0.0) -> dict[str, float]:
    """Of one selection, for times.csv."""
    return {"processor": run.processor, "clock": run.clock, "MiB": run.mebibytes - before}


def from_file(arguments: Any, report_folder: Path, rows: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Each method on a pool in a mapped file."""
    network = ManyClasses(arguments.classes, arguments.samples_in_file)
    shape = arguments.points_in_file, arguments.samples_in_file, arguments.classes
    path = report_folder / "pool.npy"
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    try:
        for start in range(0, len(file), _PART):
            part = file[start : start + _PART]
            part[:] = network.points_log_probs(len(part)).numpy()
        file.flush()
        del file
        mapped = np.load(path, mmap_mode="r")
        table = []
        for name, method in {"BALD": bald, "2-BALD": partial(kbald, order=2), "BatchBALD": batchbald}.items():
            run = measured(lambda method=method: method(mapped, BATCH_SIZE))  # type: ignore[misc]
            rows.append({"method": name, **dict(zip("NKC", shape, strict=True)), "what": "file", **taken(run)})
            table.append(
                {
                    "method": name,
                    "s": f"{run.processor:.1f}",
                    "s (clock)": f"{run.clock:.1f}",
                    "peak RssAnon, MiB": f"{run.mebibytes:.0f}",
                }
            )
    finally:
        path.unlink()
    return f"{title(shape)}, from a file of {4 * np.prod(shape) / 1e9:.0f} GB, once", table


if __name__ == "__main__":
    with errors_in_one_line():
        main()
