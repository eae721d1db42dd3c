"""What every method costs, and what its batch is worth, on the same predictions.

    python scripts/bench_methods.py                        10 of 60,000 points, K = 100: some 4 minutes on 2 CPU cores
    python scripts/bench_methods.py --pool 2000            a look

Predictions are those of the paper's CNN trained on 20 MNIST images (synthetic ones where MNIST is not there), methods
have the settings of configs/method. Writes OUTPUT/report.md, OUTPUT/times.csv and OUTPUT/provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf

from alkbald.acquisition import METHODS, Batch, Method
from alkbald.benchmarking.bench import Bench
from alkbald.benchmarking.models import predictions
from alkbald.benchmarking.report import Report, add_model_options, at_least, option_parser
from alkbald.benchmarking.rounds import CONFIGS
from alkbald.cli import errors_in_one_line

BATCH_SIZE = 10


def select(method: Method, log_probs: torch.Tensor, options: dict) -> Batch:
    """The method's batch, with the same draws at every call."""
    size = min(BATCH_SIZE, len(log_probs))
    return method(log_probs, size, **options, generator=torch.Generator().manual_seed(0))


def methods_table(bench: Bench, log_probs: torch.Tensor) -> list[dict]:
    """A row a method: seconds, peak memory above the input, and what its batch is worth."""
    table = []
    for name, method in METHODS.items():
        options = cast(dict[str, Any], OmegaConf.to_object(OmegaConf.load(CONFIGS / "method" / f"{name}.yaml")))
        options.pop("name")
        batch, row = bench.selection(name, log_probs, partial(select, method, log_probs, options))
        table.append(
            {
                "method": name,
                "seconds": f"{row['seconds']:.3f}",
                "peak MiB": f"{row['peak MiB']:.0f}",
                "points": len(batch),
                "joint MI": f"{row['joint MI']:.3f}",
                "s.e.": f"{row['standard error']:.4f}",
                "decision": batch.decision,
            }
        )
    return table


def main() -> None:
    options = option_parser(__doc__, "runs/bench_methods", quick="one measurement of each, without a warm-up")
    add_model_options(options)
    options.add_argument("--pool", type=at_least(1), default=60_000)
    arguments = options.parse_args()
    device = torch.device(arguments.device)
    repeats = 1 if arguments.quick else arguments.repeats
    bench = Bench(device, repeats)
    report = Report(
        Path(arguments.output),
        device,
        "Methods, measured",
        f"Medians of {repeats} runs{'' if arguments.quick else ' after a warm-up'}. Joint mutual information in nats.",
        bench.rows,
    )
    log_probs = predictions(bench, arguments.data, 2, arguments.pool, 100)
    title = f"{BATCH_SIZE} of {len(log_probs):,} points, K = 100: {bench.predictions}"
    report.add(title, methods_table(bench, log_probs))
    print(report.text())


if __name__ == "__main__":
    with errors_in_one_line():
        main()
