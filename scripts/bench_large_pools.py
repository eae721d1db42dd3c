"""Selection from a pool that lies in a mapped file, beside selection in memory.

    python scripts/bench_large_pools.py                            1,000,000 points, a file of 4 GB: some 10 minutes
    python scripts/bench_large_pools.py --points 50000 --quick     a look

Predictions are made up, with the concentration of a network's: logits of standard deviation 3 that all samples share,
and 1 of each sample's own. The file is written into OUTPUT and removed at the end. Seconds are of the processor and of
the clock: on a busy machine only the first compare. Writes OUTPUT/report.md, times.csv and provenance.json.
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
from torch import Tensor

from alkbald.acquisition import Batch, bald, batchbald, kbald
from alkbald.benchmarking.memory import Measured, drop_from_cache, measured
from alkbald.benchmarking.report import Report, at_least, option_parser
from alkbald.cli import errors_in_one_line

METHODS: dict[str, Callable[..., Batch]] = {"BALD": bald, "2-BALD": partial(kbald, order=2), "BatchBALD": batchbald}
BATCH_SIZE = 10
#: Points that are made up at a time.
_PART = 10_000


def made_up(start: int, points: int, samples: int, classes: int) -> Tensor:
    """Log-probabilities of some points, always the same of the same `start`."""
    generator = torch.Generator().manual_seed(start)
    shared = 3 * torch.randn(points, 1, classes, generator=generator)
    return (shared + torch.randn(points, samples, classes, generator=generator)).log_softmax(-1)


def write_pool(path: Path, points: int, samples: int, classes: int) -> None:
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(points, samples, classes))
    for start in range(0, points, _PART):
        part = made_up(start, min(_PART, points - start), samples, classes)
        file[start : start + len(part)] = part.numpy()
    file.flush()


def main() -> None:
    options = option_parser(__doc__, "runs/bench_large_pools", quick="one measurement of each")
    options.add_argument("--points", type=at_least(BATCH_SIZE), default=1_000_000)
    options.add_argument("--points-in-memory", type=at_least(BATCH_SIZE), default=60_000)
    options.add_argument("--samples", type=at_least(1), default=100)
    options.add_argument("--classes", type=at_least(1), default=10)
    arguments = options.parse_args()
    repeats = 1 if arguments.quick else arguments.repeats
    points, few = arguments.points, min(arguments.points, arguments.points_in_memory)
    folder = Path(arguments.output)
    rows: list[dict[str, Any]] = []
    report = Report(
        folder,
        torch.device("cpu"),
        "Pools that lie in a file, measured",
        f"Batches of {BATCH_SIZE}; K = {arguments.samples}, C = {arguments.classes}. Medians of {repeats} runs, and of "
        "one cold run. RssAnon is of the whole process.",
        rows,
    )
    path = folder / "pool.npy"
    write_pool(path, points, arguments.samples, arguments.classes)
    try:
        mapped = np.load(path, mmap_mode="r")
        table = [compared(name, mapped, few, path, repeats, rows) for name in METHODS]
    finally:
        path.unlink()
    report.add(f"{points:,} points in a file, and the first {few:,} of them in memory", table)
    print(report.text())


def compared(
    name: str, mapped: np.ndarray, few: int, path: Path, repeats: int, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """One method: in memory, from the file warm, and from the file cold."""
    method = METHODS[name]

    def several(what: str, log_probs: Tensor | np.ndarray, times: int) -> Measured:
        shape = dict(zip("NKC", log_probs.shape, strict=True))
        runs = [measured(lambda: method(log_probs, BATCH_SIZE)) for _ in range(times)]
        rows.extend(
            {
                "method": name,
                **shape,
                "what": what,
                "processor": run.processor,
                "clock": run.clock,
                "MiB": run.mebibytes,
            }
            for run in runs
        )
        processor, clock = (statistics.median(times) for times in zip(*(run[1:3] for run in runs), strict=True))
        return Measured(runs[0].batch, processor, clock, max(run.mebibytes for run in runs))

    in_memory = torch.from_numpy(np.array(mapped[:few]))
    small = several("in memory", in_memory, repeats)
    same = method(mapped[:few], BATCH_SIZE).indices == small.batch.indices
    del in_memory
    drop_from_cache(path)
    cold = several("file, cold", mapped, 1)
    warm = several("file, warm", mapped, repeats)
    ratio = (warm.processor / len(mapped)) / (small.processor / few)
    return {
        "method": name,
        "in memory, s (clock)": f"{small.processor:.2f} ({small.clock:.2f})",
        "file, warm, s (clock)": f"{warm.processor:.1f} ({warm.clock:.1f})",
        "file, cold, s (clock)": f"{cold.processor:.1f} ({cold.clock:.1f})",
        "a point, file / memory": f"{ratio:.2f}",
        "peak RssAnon, MiB": f"{max(warm.mebibytes, cold.mebibytes):.0f}",
        "same indices where both fit": "yes" if same else "NO",
        "joint MI, nats": f"{warm.batch.joint_mutual_information:.3f}",
    }


if __name__ == "__main__":
    with errors_in_one_line():
        main()
