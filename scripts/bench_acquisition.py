"""Acquisition beside the author's own package, on the same predictions in the same run.

    python scripts/bench_acquisition.py            everything: some 50 minutes on 2 CPU cores
    python scripts/bench_acquisition.py --quick    batches of 10 after 20 labels, the peer's of 1,000 points: 3 minutes

Predictions are those of the paper's CNN trained on 20 and on 100 MNIST images (synthetic ones where MNIST is not
there). The peer is batchbald_redux as it ships, asked for float64. Writes OUTPUT/report.md, OUTPUT/times.csv and
OUTPUT/provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alkbald.acquisition import Batch, bald, batchbald, kbald
from alkbald.benchmarking.bench import Bench, Selection
from alkbald.benchmarking.models import predictions
from alkbald.benchmarking.peer_acquisition import peer_2bald, peer_batchbald
from alkbald.benchmarking.report import Report, add_model_options, at_least, option_parser
from alkbald.cli import errors_in_one_line
from alkbald.information import joint_mutual_information

FINE_OUTCOMES = 1_000_000  # simulated to compare the worth of our batches and the peer's

#: By method, ours and the peer's function.
METHODS: dict[str, tuple[Callable[..., Batch], Callable[..., Selection]]] = {
    "2-BALD": (partial(kbald, order=2), peer_2bald),
    "BatchBALD": (batchbald, peer_batchbald),
}


def agreement(ours: Batch, peer: Selection) -> str:
    same = sum(a == b for a, b in zip(ours.indices, peer.indices, strict=True))
    difference = max(abs(a - b) for a, b in zip(ours.scores, peer.scores, strict=True))
    return f"{same} of {len(peer.indices)} indices, scores within {difference:.1e}"


def compared(bench: Bench, method: str, log_probs: Tensor, batch_size: int, seeds: int = 1) -> dict:
    """Ours and the peer's, which runs once a seed; where its batch depends on the seed, so does ours."""
    ours, peer = METHODS[method]
    _, fast = bench.selection(f"{method}, ours", log_probs, partial(ours, log_probs, batch_size))
    seconds: list[float] = []
    our_batches: list[Batch] = []
    peer_batches: list[Selection] = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        select = partial(peer, log_probs, batch_size)
        batch, slow = bench.selection(f"{method}, batchbald_redux", log_probs, select, repeats=1)
        seconds.append(slow["seconds"])
        peer_batches.append(batch)
        our_batches.append(ours(log_probs, batch_size, generator=torch.Generator().manual_seed(seed)))
    worth = {
        tuple(batch.indices): joint_mutual_information(log_probs[batch.indices], num_outcomes=FINE_OUTCOMES)
        for batch in [*our_batches, *peer_batches]
    }

    def joint(batches: Sequence[Selection]) -> str:
        return ", ".join(f"{worth[tuple(batch.indices)][0]:.4f}" for batch in batches)

    peer_seconds = statistics.median(seconds)
    return {
        "method": method,
        "N": len(log_probs),
        "B": batch_size,
        "ours, s": f"{fast['seconds']:.3f}",
        "peer, s": f"{peer_seconds:.1f}",
        "ratio": f"{peer_seconds / fast['seconds']:.0f}",
        "peak MiB, ours / peer": f"{fast['peak MiB']:.0f} / {slow['peak MiB']:.0f}",
        "joint MI, ours / peer, by seed": f"{joint(our_batches)} / {joint(peer_batches)} "
        f"(s.e. {max(error for _, error in worth.values()):.4f})",
        "agreement": agreement(our_batches[-1], peer_batches[-1]),
    }


def comparison_table(bench: Bench, log_probs: Tensor, peer_pool: int, *, whole_pool: bool) -> list[dict]:
    """Ours and the peer's, one row a method, batch size and pool: of `peer_pool` points, and of all of them."""
    whole, few = len(log_probs), log_probs[:peer_pool]
    table = [compared(bench, method, few, size) for method, size in (("2-BALD", 10), ("BatchBALD", 5))]
    table.append(compared(bench, "BatchBALD", few, 10, seeds=3))
    if whole_pool and len(few) < whole:
        of_few = table[-1]
        sizes = (("2-BALD", 5), ("2-BALD", 10), ("BatchBALD", 5))
        table += [compared(bench, method, log_probs, size) for method, size in sizes]
        table.append(scaled(bench, log_probs, of_few))
    return table


def scaled(bench: Bench, log_probs: Tensor, of_few: dict) -> dict:
    """Ours on the whole pool, beside the peer's time on few points, scaled up; `of_few` is the row of these."""
    whole, few, method, batch_size = len(log_probs), of_few["N"], of_few["method"], of_few["B"]
    ours, _ = METHODS[method]
    _, fast = bench.selection(f"{method}, ours", log_probs, partial(ours, log_probs, batch_size))
    seconds = float(of_few["peer, s"]) * whole / few
    return {
        "method": method,
        "N": whole,
        "B": batch_size,
        "ours, s": f"{fast['seconds']:.3f}",
        "peer, s": f"{seconds:.1f} ({whole / few:.3g} times that on {few})",
        "ratio": f"{seconds / fast['seconds']:.0f}",
        "peak MiB, ours / peer": f"{fast['peak MiB']:.0f} / not run",
        "joint MI, ours / peer, by seed": f"{fast['joint MI']:.4f} / not run",
    }


def quick_table(bench: Bench, log_probs: Tensor, peer_pool: int) -> list[dict]:
    """Batches of 10: both of few points, ours of the whole pool."""
    few = [compared(bench, method, log_probs[:peer_pool], 10) for method in METHODS]
    return few + [scaled(bench, log_probs, row) for row in few if row["N"] < len(log_probs)]


def particles_table(bench: Bench, log_probs: Tensor) -> list[dict]:
    """What max_particles buys."""
    table = []
    for b in (10, 20):
        for m in (100, 300, 1000, 3000, 10_000, *((100_000,) if b == 10 else ())):
            _, row = bench.selection(
                f"BatchBALD, {m} particles",
                log_probs,
                partial(batchbald, log_probs, b, max_particles=m),
                repeats=1 if m > 3000 else 3,
            )
            table.append(
                {
                    "B": b,
                    "max_particles": m,
                    "seconds": f"{row['seconds']:.2f}",
                    "joint MI": f"{row['joint MI']:.4f}",
                    "s.e.": f"{row['standard error']:.4f}",
                    "its own score": f"{row['score']:.4f}",
                }
            )
    return table


def growth_table(bench: Bench, log_probs: Tensor, grid: list[tuple[int, int, int]]) -> list[dict]:
    """Ours alone over a grid of N, K and B."""
    methods: dict[str, Callable[[Tensor, int], Batch]] = {
        "BALD": bald,
        "2-BALD": partial(kbald, order=2),
        "3-BALD": partial(kbald, order=3),
        "BatchBALD": batchbald,
    }
    table = []
    for n, k, b in grid:
        part = log_probs[:n, :k].contiguous()
        measured = {}
        for name, method in methods.items():
            if name == "3-BALD" and b > 20:
                continue
            _, measured[name] = bench.selection(
                f"{name}, ours", part, partial(method, part, b), repeats=1 if b > 10 or k > 100 else 3
            )
        row: dict[str, Any] = {"N": n, "K": k, "B": b}
        row |= {f"{name}, s": f"{result['seconds']:.3f}" for name, result in measured.items()}
        if "3-BALD" in measured:
            row["3-BALD / 2-BALD"] = f"{measured['3-BALD']['seconds'] / measured['2-BALD']['seconds']:.1f}"
        for what, digits in (("joint MI", 3), ("peak MiB", 0)):
            row[f"{what}, in that order"] = ", ".join(f"{result[what]:.{digits}f}" for result in measured.values())
        table.append(row)
    return table


def main() -> None:
    options = option_parser(__doc__, "runs/bench_acquisition", quick="batches of 10 alone, after 20 labels")
    add_model_options(options)
    options.add_argument("--pool", type=int, default=60_000, help="at least 10 with --quick, else 100")
    options.add_argument(
        "--peer-pool",
        type=at_least(10),
        help="pool of the peer's batch of 10, whose time is scaled up; 10,000, and 1,000 with --quick",
    )
    arguments = options.parse_args()
    if arguments.pool < (least := 10 if arguments.quick else 100):  # the largest batch that is selected from it
        options.error(f"argument --pool: must be at least {least}, got {arguments.pool}")
    device = torch.device(arguments.device)
    bench = Bench(device, arguments.repeats)
    report = Report(
        Path(arguments.output),
        device,
        "Acquisition, measured",
        f"Medians of {arguments.repeats} runs after a warm-up (of one run where it is long, and of the peer). Joint "
        "mutual information, in nats, is evaluated apart from the methods; s.e. is its standard error, 0 where all "
        "outcomes are enumerated.",
        bench.rows,
    )
    quick = arguments.quick

    pool, part = arguments.pool, min(10_000, arguments.pool)

    log_probs = predictions(bench, arguments.data, 2, pool, 100)
    peer_pool = arguments.peer_pool or (1_000 if quick else 10_000)
    title = f"Ours and batchbald_redux: {bench.predictions}"
    if quick:
        report.add(title, quick_table(bench, log_probs, peer_pool))
    else:
        report.add(title, comparison_table(bench, log_probs, peer_pool, whole_pool=True))
        report.add(f"What max_particles buys: {bench.predictions}", particles_table(bench, log_probs))
        grid = [(n, 100, 10) for n in (pool // 6, pool // 3, pool)] + [(pool, k, 10) for k in (20, 50)]
        grid += [(pool, 100, b) for b in (5, 20, 50, 100)]
        report.add(f"How time grows with N, K and B: {bench.predictions}", growth_table(bench, log_probs, grid))
        log_probs = predictions(bench, arguments.data, 2, pool, 1000)
        grid = [(part, 1000, 5), (part, 1000, 10), (part, 1000, 20), (pool, 1000, 5), (pool, 1000, 10)]
        report.add(f"K = 1,000: {bench.predictions}", growth_table(bench, log_probs, grid))
        log_probs = predictions(bench, arguments.data, 10, pool, 100)
        report.add(
            f"Ours and batchbald_redux: {bench.predictions}",
            comparison_table(bench, log_probs, peer_pool, whole_pool=False),
        )
    print(report.text())


if __name__ == "__main__":
    with errors_in_one_line():
        main()
