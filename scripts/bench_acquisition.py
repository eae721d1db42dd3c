"""Acquisition beside the author's own package, on the same predictions in the same run.

    python scripts/bench_acquisition.py                       everything: some 50 minutes on 2 CPU cores
    python scripts/bench_acquisition.py --pool 2000 --quick   a look, a minute

Predictions are those of the paper's CNN trained on 20 and on 100 MNIST images (synthetic ones where MNIST is not
there). The peer is batchbald_redux as it ships, asked for float64. Writes OUTPUT/report.md, OUTPUT/times.csv and
OUTPUT/provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from batchbald_redux.batchbald import CandidateBatch, compute_conditional_entropy, get_batchbald_batch
from batchbald_redux.joint_entropy import ExactJointEntropy
from benchmarking import Peak, Report, parser, trained_on_mnist
from torch import Tensor

from alkbald.acquisition import Batch, bald, batchbald, kbald
from alkbald.errors import DataError, errors_in_one_line
from alkbald.inference import sample_log_probs
from alkbald.information import joint_mutual_information
from alkbald.measuring import Stopwatch
from alkbald.randomness import derived_generator

OUTCOMES = 200_000  # simulated to judge a batch whose outcomes are too many to enumerate
FINE_OUTCOMES = 1_000_000  # the same where ours and the peer's are compared
PEER_SAMPLES = 10_000  # outcomes that the peer samples where it cannot enumerate; we keep as many particles


def predictions(
    root: str, labels_per_class: int, pool: int, num_samples: int, device: torch.device
) -> tuple[str, Tensor, float | None]:
    """What they are, log-probabilities [pool, num_samples, 10], and the seconds that they took the CNN."""
    try:
        model, data = trained_on_mnist(root, labels_per_class, device)
    except DataError as error:
        print(f"synthetic predictions, for want of MNIST: {error}")
        generator = derived_generator("synthetic")
        point = 3 * torch.randn(pool, 1, 10, generator=generator)
        logits = point + 2 * torch.randn(pool, num_samples, 10, generator=generator)
        return "synthetic", logits.log_softmax(-1).to(device), None
    inputs = torch.cat([data.pool_inputs, data.validation_inputs])[:pool]  # the paper's Table 1 has 60,000 points
    clock = Stopwatch(device)
    with clock.measure("inference"):
        log_probs = sample_log_probs(model, inputs, num_samples, generator=derived_generator("scoring"))
    return f"MNIST, {10 * labels_per_class} labels", log_probs, clock.seconds["inference"]


class Bench:
    """Times calls on one device, and keeps a row for each. `predictions` says what they are made on."""

    def __init__(self, device: torch.device, repeats: int):
        self.device, self.repeats = device, repeats
        self.predictions = ""
        self.rows: list[dict] = []

    def predict(self, root: str, labels_per_class: int, pool: int, num_samples: int) -> Tensor:
        """Log-probabilities [pool, num_samples, 10], timed as well."""
        self.predictions, log_probs, seconds = predictions(root, labels_per_class, pool, num_samples, self.device)
        row = {"what": "inference", "predictions": self.predictions, "N": len(log_probs), "K": num_samples}
        self.rows.append(row | {"seconds": seconds})
        return log_probs

    def measure(self, what: str, log_probs: Tensor, call: Callable[[], Batch | CandidateBatch], *, repeats: int = 0):
        """Runs the call, after a warm-up, and records its median time, peak memory and what its batch is worth."""
        seconds, batch, peak = [], None, 0
        if repeats != 1:
            call()
        for _ in range(repeats or self.repeats):
            with Peak(self.device) as memory:
                clock = Stopwatch(self.device)
                with clock.measure("call"):
                    batch = call()
                seconds.append(clock.seconds["call"])
            peak = max(peak, memory.bytes)
        joint, error = joint_mutual_information(log_probs[batch.indices], num_outcomes=OUTCOMES)
        n, k, _ = log_probs.shape
        row = {
            "what": what,
            "predictions": self.predictions,
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


def ours_2bald(log_probs: Tensor, batch_size: int, generator: torch.Generator | None = None) -> Batch:
    return kbald(log_probs, batch_size, order=2, generator=generator)


def peer_batchbald(log_probs: Tensor, batch_size: int) -> CandidateBatch:
    """The peer keeps the pool on the host, and its joint entropies on the device."""
    options = {"num_samples": PEER_SAMPLES, "dtype": torch.double, "device": log_probs.device}
    return get_batchbald_batch(log_probs.cpu(), batch_size, **options)


def peer_2bald(log_probs: Tensor, batch_size: int) -> CandidateBatch:
    """The same greedy 2-BALD with the peer's own joint entropies, in float64."""
    device, log_probs = log_probs.device, log_probs.cpu()
    conditional = compute_conditional_entropy(log_probs)
    num_samples = log_probs.shape[1]

    def joint(indices: list[int]) -> Tensor:
        state = ExactJointEntropy.empty(num_samples, dtype=torch.double, device=device)
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


def compare(bench: Bench, log_probs: Tensor, peer_pool: int, *, whole_pool: bool) -> list[dict]:
    """Ours and the peer's, one row a method, batch size and pool: of `peer_pool` points, and of all of them."""
    functions = {"2-BALD": (ours_2bald, peer_2bald), "BatchBALD": (batchbald, peer_batchbald)}

    def row(method: str, b: int, pool: int, seeds: int = 1) -> dict:
        """The peer runs once a seed; where its batch depends on it, so does ours."""
        ours, peer = functions[method]
        part = log_probs[:pool]
        _, fast = bench.measure(f"{method}, ours", part, lambda: ours(part, b))
        seconds, our_batches, peer_batches = [], [], []
        for seed in range(seeds):
            torch.manual_seed(seed)
            batch, slow = bench.measure(f"{method}, batchbald_redux", part, lambda: peer(part, b), repeats=1)
            seconds.append(slow["seconds"])
            peer_batches.append(batch)
            our_batches.append(ours(part, b, generator=torch.Generator().manual_seed(seed)))
        worth = {
            tuple(batch.indices): joint_mutual_information(part[batch.indices], num_outcomes=FINE_OUTCOMES)
            for batch in [*our_batches, *peer_batches]
        }

        def joint(batches: list[Batch | CandidateBatch]) -> str:
            return ", ".join(f"{worth[tuple(batch.indices)][0]:.4f}" for batch in batches)

        peer_seconds = statistics.median(seconds)
        return {
            "method": method,
            "N": len(part),
            "B": b,
            "ours, s": f"{fast['seconds']:.3f}",
            "peer, s": f"{peer_seconds:.1f}",
            "ratio": f"{peer_seconds / fast['seconds']:.0f}",
            "peak MiB, ours / peer": f"{fast['peak MiB']:.0f} / {slow['peak MiB']:.0f}",
            "joint MI, ours / peer, by seed": f"{joint(our_batches)} / {joint(peer_batches)} "
            f"(s.e. {max(error for _, error in worth.values()):.4f})",
            "agreement": agreement(our_batches[-1], peer_batches[-1]),
        }

    whole, part = len(log_probs), min(peer_pool, len(log_probs))
    table = [row("2-BALD", 10, part), row("BatchBALD", 5, part), row("BatchBALD", 10, part, seeds=3)]
    if whole_pool and part < whole:
        scaled = float(table[-1]["peer, s"]) * whole / part
        table += [row("2-BALD", 5, whole), row("2-BALD", 10, whole), row("BatchBALD", 5, whole)]
        _, fast = bench.measure("BatchBALD, ours", log_probs, lambda: batchbald(log_probs, 10))
        table.append(
            {
                "method": "BatchBALD",
                "N": whole,
                "B": 10,
                "ours, s": f"{fast['seconds']:.3f}",
                "peer, s": f"{scaled:.1f} ({whole / part:.3g} times that on {part})",
                "ratio": f"{scaled / fast['seconds']:.0f}",
                "peak MiB, ours / peer": f"{fast['peak MiB']:.0f} / not run",
                "joint MI, ours / peer, by seed": f"{fast['joint MI']:.4f} / not run",
            }
        )
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


def growth_table(bench: Bench, log_probs: Tensor, grid: list[tuple[int, int, int]]) -> list[dict]:
    """Ours alone over a grid of N, K and B."""
    methods = {
        "BALD": bald,
        "2-BALD": lambda part, b: kbald(part, b, order=2),
        "3-BALD": lambda part, b: kbald(part, b, order=3),
        "BatchBALD": batchbald,
    }
    table = []
    for n, k, b in grid:
        part = log_probs[:n, :k].contiguous()
        measured = {}
        for name, method in methods.items():
            if name == "3-BALD" and b > 20:
                continue
            _, measured[name] = bench.measure(
                f"{name}, ours", part, lambda m=method, p=part, b=b: m(p, b), repeats=1 if b > 10 or k > 100 else 3
            )
        row = {"N": n, "K": k, "B": b}
        row |= {f"{name}, s": f"{result['seconds']:.3f}" for name, result in measured.items()}
        if "3-BALD" in measured:
            row["3-BALD / 2-BALD"] = f"{measured['3-BALD']['seconds'] / measured['2-BALD']['seconds']:.1f}"
        for what, digits in (("joint MI", 3), ("peak MiB", 0)):
            row[f"{what}, in that order"] = ", ".join(f"{result[what]:.{digits}f}" for result in measured.values())
        table.append(row)
    return table


def main() -> None:
    options = parser(__doc__, "runs/bench_acquisition", quick="the comparison alone, after 20 labels")
    options.add_argument("--pool", type=int, default=60_000)
    options.add_argument(
        "--peer-pool", type=int, default=10_000, help="pool of the peer's batch of 10; its time is scaled up"
    )
    arguments = options.parse_args()
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

    pool, part = arguments.pool, min(10_000, arguments.pool)

    log_probs = bench.predict(arguments.data, 2, pool, 100)
    report.add(
        f"Ours and batchbald_redux: {bench.predictions}",
        compare(bench, log_probs, arguments.peer_pool, whole_pool=True),
    )
    if not quick:
        report.add(f"What max_particles buys: {bench.predictions}", particles_table(bench, log_probs))
        grid = [(n, 100, 10) for n in (pool // 6, pool // 3, pool)] + [(pool, k, 10) for k in (20, 50)]
        grid += [(pool, 100, b) for b in (5, 20, 50, 100)]
        report.add(f"How time grows with N, K and B: {bench.predictions}", growth_table(bench, log_probs, grid))
        log_probs = bench.predict(arguments.data, 2, pool, 1000)
        grid = [(part, 1000, 5), (part, 1000, 10), (part, 1000, 20), (pool, 1000, 5), (pool, 1000, 10)]
        report.add(f"K = 1,000: {bench.predictions}", growth_table(bench, log_probs, grid))
        log_probs = bench.predict(arguments.data, 10, pool, 100)
        report.add(
            f"Ours and batchbald_redux: {bench.predictions}",
            compare(bench, log_probs, arguments.peer_pool, whole_pool=False),
        )
    print(report.text())


if __name__ == "__main__":
    with errors_in_one_line():
        main()
