"""Acquisition beside the author's own package, on the same predictions in the same run.

    python scripts/bench_acquisition.py                       everything: some 35 minutes on 2 CPU cores
    python scripts/bench_acquisition.py --pool 2000 --quick   a look, a minute

Predictions are those of the paper's CNN trained on 20 and on 100 MNIST images (synthetic ones where MNIST is not
there). The peer is batchbald_redux as it ships, in float64. Writes OUTPUT/report.md and OUTPUT/times.csv.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from batchbald_redux.batchbald import CandidateBatch, compute_conditional_entropy, get_batchbald_batch
from batchbald_redux.joint_entropy import ExactJointEntropy
from benchmarking import Peak, Report, trained_on_mnist
from torch import Tensor

from alkbald.acquisition import Batch, bald, batchbald, kbald
from alkbald.errors import DataError
from alkbald.inference import sample_log_probs
from alkbald.information import joint_mutual_information
from alkbald.randomness import derived_generator

OUTCOMES = 200_000  # simulated to judge a batch whose outcomes are too many to enumerate
FINE_OUTCOMES = 1_000_000  # the same where ours and the peer's are compared


def predictions(
    root: str, labels_per_class: int, pool: int, num_samples: int, device: torch.device
) -> tuple[str, Tensor]:
    """What they are, and log-probabilities [pool, num_samples, 10]."""
    try:
        model, data = trained_on_mnist(root, labels_per_class, device)
    except DataError as error:
        print(f"synthetic predictions, for want of MNIST: {error}")
        generator = derived_generator("synthetic")
        point = 3 * torch.randn(pool, 1, 10, generator=generator)
        logits = point + 2 * torch.randn(pool, num_samples, 10, generator=generator)
        return "synthetic", logits.log_softmax(-1).to(device)
    inputs = torch.cat([data.pool_inputs, data.validation_inputs])[:pool]  # the paper's Table 1 has 60,000 points
    log_probs = sample_log_probs(model, inputs, num_samples, generator=derived_generator("scoring"))
    return f"MNIST, {10 * labels_per_class} labels", log_probs


class Bench:
    """Times calls on one device, and keeps a row for each."""

    def __init__(self, device: torch.device, repeats: int):
        self.device, self.repeats = device, repeats
        self.rows: list[dict] = []

    def measure(
        self, what: str, log_probs: Tensor, call: Callable[[], Batch | CandidateBatch], *, repeats: int = 0, **more
    ):
        """Runs the call, after a warm-up, and records its median time, peak memory and what its batch is worth."""
        seconds, batch, peak = [], None, 0
        if repeats != 1:
            call()
        for _ in range(repeats or self.repeats):
            with Peak(self.device) as memory:
                start = time.perf_counter()
                batch = call()
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
            peak = max(peak, memory.bytes)
        joint, error = joint_mutual_information(log_probs[batch.indices], num_outcomes=OUTCOMES)
        n, k, _ = log_probs.shape
        row = {
            "what": what,
            **more,
            "N": n,
            "K": k,
            "B": len(batch.indices),
            "seconds": statistics.median(seconds),
            "spread": max(seconds) - min(seconds),
            "peak MiB": peak / 2**20,
            "joint MI": joint,
            "standard error": error,
            "score": batch.scores[-1],
        }
        self.rows.append(row)
        print(f"  {what}: N {n}, K {k}, B {row['B']}: {row['seconds']:.3f} s, joint MI {joint:.4f}", flush=True)
        return batch, row


def peer_2bald(log_probs: Tensor, batch_size: int) -> CandidateBatch:
    """The same greedy 2-BALD with the peer's own joint entropies, in float64."""
    conditional = compute_conditional_entropy(log_probs)
    num_samples = log_probs.shape[1]

    def joint(indices: list[int]) -> Tensor:
        state = ExactJointEntropy.empty(num_samples, dtype=torch.double)
        if indices:
            state.add_variables(log_probs[indices])
        return state.compute_batch(log_probs, torch.empty(len(log_probs), dtype=torch.double))

    marginal = joint([])
    gains, indices, scores = marginal - conditional, [], []
    for _ in range(batch_size):
        best, index = gains.max(0)
        indices.append(index.item())
        scores.append((scores[-1] if scores else 0.0) + best.item())
        if len(indices) < batch_size:
            gains = gains - (marginal + marginal[index] - joint([indices[-1]]))
            gains[indices] = -float("inf")
    return CandidateBatch(scores, indices)


def agreement(ours: Batch, peer: CandidateBatch) -> str:
    same = sum(a == b for a, b in zip(ours.indices, peer.indices, strict=True))
    difference = max(abs(a - b) for a, b in zip(ours.scores, peer.scores, strict=True))
    return f"{same} of {len(peer.indices)} indices, scores within {difference:.1e}"


def compare(bench: Bench, label: str, log_probs: Tensor, peer_pool: int) -> list[dict]:
    """Ours and the peer's, one row a method and batch size."""
    table = []

    def row(method: str, b: int, ours: Callable, peer: Callable, pool: int, seeds: int = 1) -> None:
        """The peer runs once a seed; where its batch depends on it, so does ours."""
        _, fast = bench.measure(f"{method}, ours", log_probs, lambda: ours(log_probs, b), predictions=label)
        part = log_probs[:pool]
        seconds, ours_on_part, peers = [], [], []
        for seed in range(seeds):
            torch.manual_seed(seed)
            theirs, slow = bench.measure(
                f"{method}, batchbald_redux", part, lambda: peer(part, b), repeats=1, predictions=label
            )
            seconds.append(slow["seconds"])
            peers.append(theirs)
            ours_on_part.append(
                ours(part, b, generator=torch.Generator().manual_seed(seed)) if seeds > 1 else ours(part, b)
            )
        worth = {
            tuple(batch.indices): joint_mutual_information(part[batch.indices], num_outcomes=FINE_OUTCOMES)
            for batch in [*ours_on_part, *peers]
        }

        def joint(batches: list[Batch | CandidateBatch]) -> str:
            return ", ".join(f"{worth[tuple(batch.indices)][0]:.4f}" for batch in batches)

        factor = len(log_probs) / pool
        peer_seconds = statistics.median(seconds) * factor
        table.append(
            {
                "predictions": label,
                "method": method,
                "B": b,
                "ours, s": f"{fast['seconds']:.3f}",
                "peer, s": f"{peer_seconds:.1f}" + (f" ({peer_seconds / factor:.1f} on {pool})" if factor > 1 else ""),
                "ratio": f"{peer_seconds / fast['seconds']:.0f}",
                "peak MiB, ours / peer": f"{fast['peak MiB']:.0f} / {slow['peak MiB']:.0f}",
                "joint MI on the peer's pool, ours / peer, by seed": f"{joint(ours_on_part)} / {joint(peers)} "
                f"(s.e. {max(error for _, error in worth.values()):.4f})",
                "agreement on it": agreement(ours_on_part[-1], peers[-1]),
            }
        )

    def redux(part: Tensor, b: int) -> CandidateBatch:
        return get_batchbald_batch(part.cpu(), b, num_samples=10_000, dtype=torch.double)

    row(
        "2-BALD", 10, lambda part, b: kbald(part, b, order=2), lambda part, b: peer_2bald(part.cpu(), b), len(log_probs)
    )
    row("BatchBALD", 10, batchbald, redux, min(peer_pool, len(log_probs)), seeds=3)
    row("BatchBALD", 5, batchbald, redux, len(log_probs))
    return table


def particles_table(bench: Bench, log_probs: Tensor) -> list[dict]:
    """What max_particles buys."""
    table = []
    for b in (10, 20):
        for m in (100, 300, 1000, 3000, 10_000, *((100_000,) if b == 10 else ())):
            _, row = bench.measure(
                f"BatchBALD, {m} particles",
                log_probs,
                lambda b=b, m=m: batchbald(log_probs, b, max_particles=m),
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


def growth_table(bench: Bench, log_probs: Tensor, sizes: list[int], batches: list[int]) -> list[dict]:
    """How time grows with N, K and B, ours alone."""
    methods = {
        "BALD": bald,
        "2-BALD": lambda part, b: kbald(part, b, order=2),
        "3-BALD": lambda part, b: kbald(part, b, order=3),
        "BatchBALD": batchbald,
    }
    n, k, _ = log_probs.shape
    grid = [(size, k, 10) for size in sizes] + [(n, part, 10) for part in (20, 50) if part < k]
    grid += [(n, k, b) for b in batches]
    table = []
    for size, samples, b in grid:
        part = log_probs[:size, :samples].contiguous()
        row = {"N": size, "K": samples, "B": b}
        for name, method in methods.items():
            if name == "3-BALD" and b > 20:
                continue
            _, measured = bench.measure(name, part, lambda m=method, p=part, b=b: m(p, b), repeats=1 if b > 10 else 3)
            row |= {name: f"{measured['seconds']:.3f}", f"{name}, joint MI": f"{measured['joint MI']:.3f}"}
        table.append(row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder with MNIST")
    parser.add_argument("--output", default="runs/bench_acquisition")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pool", type=int, default=60_000)
    parser.add_argument(
        "--peer-pool", type=int, default=10_000, help="pool of the peer's batch of 10; its time is scaled up"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the comparison alone, after 20 labels")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    bench = Bench(device, arguments.repeats)
    report = Report(
        Path(arguments.output),
        device,
        "Acquisition, measured",
        "python scripts/bench_acquisition.py",
        f"Medians of {arguments.repeats} runs after a warm-up (of one run where it is long, and of the peer). Joint "
        "mutual information, in nats, is evaluated apart from the methods; s.e. is its standard error, 0 where all "
        "outcomes are enumerated.",
        bench.rows,
    )
    quick = arguments.quick

    label, log_probs = predictions(arguments.data, 2, arguments.pool, 100, device)
    report.add(f"Ours and batchbald_redux: {label}", compare(bench, label, log_probs, arguments.peer_pool))
    if not quick:
        report.add(f"What max_particles buys: {label}", particles_table(bench, log_probs))
        sizes = [arguments.pool // 6, arguments.pool // 3, arguments.pool]
        report.add(f"Growth, seconds: {label}", growth_table(bench, log_probs, sizes, [5, 20, 50, 100]))
        label, log_probs = predictions(arguments.data, 2, min(10_000, arguments.pool), 1000, device)
        report.add(f"K = 1,000, seconds: {label}", growth_table(bench, log_probs, [], [5, 10, 20]))
        label, log_probs = predictions(arguments.data, 10, arguments.pool, 100, device)
        report.add(f"Ours and batchbald_redux: {label}", compare(bench, label, log_probs, arguments.peer_pool))
    print(report.text())


if __name__ == "__main__":
    main()
