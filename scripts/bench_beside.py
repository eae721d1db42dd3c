"""Inference and a whole round, beside an older commit in the same process, in turn, with the same weights and masks.

    git worktree add ../older 9d66d19
    python scripts/bench_beside.py ../older           some 12 minutes on 2 CPU cores
    python scripts/bench_beside.py ../older --quick   inference alone, some 5 minutes

Needs MNIST. Writes OUTPUT/report.md, OUTPUT/times.csv and OUTPUT/provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import importlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch

from alkbald.benchmarking.bench import Bench
from alkbald.benchmarking.checkouts import commit_of, package
from alkbald.benchmarking.models import trained_on_mnist
from alkbald.benchmarking.report import Report, add_model_options, option_parser
from alkbald.benchmarking.rounds import round_table, run_settings
from alkbald.cli import errors_in_one_line
from alkbald.data import Data
from alkbald.measuring import reset_peak_memory
from alkbald.model import MCDropoutNet
from alkbald.randomness import derived_generator

#: Masks and inputs: validation's, scoring's, and of a study with many samples.
SIZES = ((5, 4096), (20, 4096), (100, 2048), (1000, 512))


def same_model(older: SimpleNamespace, model: MCDropoutNet) -> torch.nn.Module:
    """The older package's network, with these weights."""
    network = older.model.mnist_cnn(model.num_classes, seed=0).to(next(model.parameters()).device)
    network.load_state_dict(model.state_dict())
    return network


def inference(
    bench: Bench, newer: SimpleNamespace, older: SimpleNamespace, model: MCDropoutNet, data: Data
) -> list[dict]:
    """Passes a second, in turn."""
    models, table = {"newer": (newer, model), "older": (older, same_model(older, model))}, []
    for num_samples, count in SIZES:
        inputs = data.pool_inputs[:count]

        def predict(which: str, num_samples=num_samples, inputs=inputs) -> torch.Tensor:
            package, network = models[which]
            generator = derived_generator("bench")
            return package.inference.sample_log_probs(network, inputs, num_samples, generator=generator)

        before = len(bench.rows)
        seconds = bench.medians({f"{which}, {num_samples} masks": partial(predict, which) for which in models})
        new, old = seconds.values()
        times = [row["seconds"] for row in bench.rows[before:]]
        pairs = sorted(b / a for a, b in zip(times[::2], times[1::2], strict=True))
        apart = (predict("newer") - predict("older")).abs().max().item()
        passes = count * num_samples
        table.append(
            {
                "masks": num_samples,
                "inputs": f"{count:,}",
                "newer, passes/s": f"{passes / new:,.0f}",
                "older, passes/s": f"{passes / old:,.0f}",
                "ratio": f"{old / new:.2f}",
                "lowest and highest ratio of a pair": f"{pairs[0]:.2f}, {pairs[-1]:.2f}",
                "largest difference of log p": f"{apart:.1e}",
            }
        )
        print(f"  {table[-1]}", flush=True)
    return table


def rounds(newer: SimpleNamespace, older: SimpleNamespace, data: Data, device: torch.device) -> list[dict]:
    """Round 0 of `python run.py`, part by part: older, newer, and the share of its time that the newer takes."""
    tables = {}
    for name, version in (("older", older), ("newer", newer)):
        settings = run_settings({"device": str(device)}, version.settings)
        reset_peak_memory(device)
        row, *_ = version.loop.active_learning_round(settings, data, data.initial, 0)
        tables[name] = round_table(settings, row, data)
        print(f"  {name}: {tables[name][-1]}", flush=True)
    return [
        {"part": new["part"], "older, s": old["seconds"], "newer, s": new["seconds"]}
        | {"share": f"{float(new['seconds']) / float(old['seconds']):.0%}" if old["seconds"] else ""}
        | {"newer, passes/s": new["passes/s"]}
        | {"older, passes/s": old["passes/s"], "older": old["note"], "newer": new["note"]}
        for old, new in zip(tables["older"], tables["newer"], strict=True)
    ]


def main() -> None:
    options = option_parser(__doc__, "runs/bench_beside", quick="no whole round")
    add_model_options(options)
    options.add_argument("older", type=Path, help="a checkout of the older commit")
    arguments = options.parse_args()
    device = torch.device(arguments.device)
    if not (arguments.older / "alkbald/inference.py").exists():
        options.error(f"{arguments.older} is no checkout of this project")
    commit = commit_of(arguments.older)
    bench = Bench(device, arguments.repeats)
    once = "" if arguments.quick else "; the rounds ran once, one after the other"
    report = Report(
        Path(arguments.output),
        device,
        f"Beside commit {commit}",
        f"Both in one process, in turn, with the same weights and masks. Medians of {arguments.repeats} pairs after a "
        f"warm-up{once}. A pass is one input under one mask.",
        bench.rows,
    )
    names = "inference", "model", "loop", "settings"
    newer = SimpleNamespace(**{name: importlib.import_module(f"alkbald.{name}") for name in names})
    older = package(arguments.older, names)
    model, data = trained_on_mnist(arguments.data, 2, device)
    report.add("Inference, fp32", inference(bench, newer, older, model, data))
    if not arguments.quick:
        report.add("Round 0 at the paper's settings", rounds(newer, older, data, device))
    print(report.text())


if __name__ == "__main__":
    with errors_in_one_line():
        main()
