"""MC-dropout inference and training, beside their straightforward forms, on the same model in the same run.

    python scripts/bench_inference.py          everything: some 8 minutes on 2 CPU cores
    python scripts/bench_inference.py --quick  a look, two minutes

Needs MNIST. The naive inference takes every mask through every layer: the CNN in batchbald_redux's consistent-dropout
modules, with the same weights and masks, 128 inputs at a time, and as few as stay in cache. The naive training loop is
the usual one: DataLoader, nn.Dropout, unfused Adam, loss.item() every step. Writes OUTPUT/report.md, OUTPUT/times.csv
and OUTPUT/provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from alkbald.benchmarking.bench import Bench, Peak
from alkbald.benchmarking.models import seconds_of_training, trained_on_mnist
from alkbald.benchmarking.naive import PlainCNN, naive_inference, naive_training
from alkbald.benchmarking.report import Report, add_model_options, option_parser
from alkbald.benchmarking.rounds import round_table, run_settings
from alkbald.cli import errors_in_one_line
from alkbald.data import Data
from alkbald.devices import bfloat16_slowdown
from alkbald.inference import sample_log_probs
from alkbald.loop import active_learning_round
from alkbald.measuring import reset_peak_memory
from alkbald.model import MCDropoutNet
from alkbald.randomness import derived_generator

STEPS_AN_EPOCH = 16


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether bf16 is worth measuring: a processor without its arithmetic would take hours, and runs say so."""
    return device.type == "cuda" or bfloat16_slowdown() < 2


def matrix_product(bench: Bench) -> tuple[dict[str, float], list[dict]]:
    """Rates of a matrix product, GFLOP/s."""
    side = 2048
    calls = {}
    for dtype in (torch.float32, *((torch.bfloat16,) if fast_in_bfloat16(bench.device) else ())):
        a = torch.randn(side, side, device=bench.device).to(dtype)
        calls[str(dtype).removeprefix("torch.")] = partial(torch.matmul, a, a)
    rates = {name: 2 * side**3 / seconds / 1e9 for name, seconds in bench.medians(calls).items()}
    return rates, [{"matrix product": name, "GFLOP/s": f"{rate:.0f}"} for name, rate in rates.items()]


def flops_of(call: Callable[[], object]) -> int:
    """Floating-point operations of a call, in one thread: PyTorch counts those of the calling thread alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with FlopCounterMode(display=False) as counter:
            call()
    finally:
        torch.set_num_threads(threads)
    return counter.get_total_flops()


def inference(bench: Bench, model: MCDropoutNet, inputs: Tensor, rates: dict[str, float], samples: int) -> list[dict]:
    """Naive and ours, passes a second."""
    few = inputs[: max(1, len(inputs) // 8)]  # the naive form takes its time

    def ours(inputs: Tensor, precision: str) -> Tensor:
        return sample_log_probs(model, inputs, samples, generator=derived_generator("bench"), precision=precision)

    calls: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
        f"batchbald_redux, {size} inputs at a time": (few, naive_inference(model, samples, size))
        for size in (128, *((max(1, 256 // samples),) if bench.device.type == "cpu" else ()))
    } | {
        "ours, fp32": (inputs, lambda part: ours(part, "fp32")),
        **({"ours, tf32": (inputs, lambda part: ours(part, "tf32"))} if bench.device.type == "cuda" else {}),
        **({"ours, bf16": (inputs, lambda part: ours(part, "bf16"))} if fast_in_bfloat16(bench.device) else {}),
    }
    medians = bench.medians({name: partial(call, part) for name, (part, call) in calls.items()})
    layer_by_layer = naive_inference(model, samples, 64)(few)
    exact = naive_inference(copy.deepcopy(model).double(), samples, 16)(few[:128].double())
    peers = [len(few) * samples / seconds for name, seconds in medians.items() if name.startswith("batchbald_redux")]
    table = []

    def furthest(ours: Tensor, theirs: Tensor) -> float:
        return (ours[: len(theirs)] - theirs).abs().max().item()

    for name, (part, call) in calls.items():
        passes = len(part) * samples / medians[name]
        flops = flops_of(partial(call, part[:64]))
        with Peak(bench.device) as memory:
            log_probs = call(part)
        rate = flops / (len(part[:64]) * samples) * passes / 1e9
        limit = rates["bfloat16" if "bf16" in name else "float32"]
        row = {
            "inference": name,
            "passes/s": f"{passes:,.0f}",
            "ratio": f"{passes / peers[0]:.1f}",
            "ratio to its fastest": f"{passes / max(peers):.1f}",
            "MFLOP a pass": f"{rate * 1e3 / passes:.2f}",
            "GFLOP/s (share of the matrix product's)": f"{rate:.0f} ({rate / limit:.0%})",
            "peak MiB above the input": f"{memory.bytes / 2**20:.0f}",
            "its output, MiB": f"{log_probs.numel() * log_probs.element_size() / 2**20:.0f}",
            "largest difference of log p: from batchbald_redux": f"{furthest(log_probs, layer_by_layer):.1e}",
            "from float64": f"{furthest(log_probs, exact):.1e}",
        }
        table.append(row)
        print(f"  {name}: {row['passes/s']} passes/s", flush=True)
    return table


def training(bench: Bench, data: Data) -> list[dict]:
    """Naive and ours, milliseconds a step."""
    inputs, labels = data.pool_inputs[data.initial], data.pool_labels[data.initial]
    epochs = 5
    medians = bench.medians(
        {
            "naive": lambda: naive_training(inputs, labels, epochs=epochs, steps=STEPS_AN_EPOCH),
            "ours": lambda: seconds_of_training(inputs, labels, epochs=epochs, steps=STEPS_AN_EPOCH),
        }
    )
    with FlopCounterMode(display=False) as flops:
        loss = F.nll_loss(PlainCNN()(torch.randn(64, 1, 28, 28)), torch.zeros(64, dtype=torch.long))
        loss.backward()
    steps = epochs * STEPS_AN_EPOCH
    return [
        {
            "training": name,
            "ms a step of 64": f"{seconds / steps * 1e3:.2f}",
            "ratio": f"{medians['naive'] / seconds:.2f}",
            "GFLOP/s": f"{flops.get_total_flops() * steps / seconds / 1e9:.0f}",
        }
        for name, seconds in medians.items()
    ]


def full_round(data: Data, precision: str, device: torch.device) -> list[dict]:
    """Round 0 of `python run.py`, part by part."""
    settings = run_settings({"precision": precision, "device": str(device)})
    reset_peak_memory(device)
    row, *_ = active_learning_round(settings, data, data.initial, 0)
    return [{"precision": precision} | part for part in round_table(settings, row, data)]


def main() -> None:
    options = option_parser(__doc__, "runs/bench_inference", quick="no whole round")
    add_model_options(options)
    arguments = options.parse_args()
    device = torch.device(arguments.device)
    bench = Bench(device, arguments.repeats)
    once = "" if arguments.quick else "; the round ran once"
    report = Report(
        Path(arguments.output),
        device,
        "Inference and training, measured",
        f"Medians of {arguments.repeats} runs in turn after a warm-up{once}. A pass is one input under one mask. "
        "Ratios are to batchbald_redux's modules at 128 inputs a time, and at the faster of both chunks.",
        bench.rows,
    )
    model, data = trained_on_mnist(arguments.data, 2, device)
    if not arguments.quick:  # first, so that its peak memory is its own
        report.add("Round 0 at the paper's settings", full_round(data, "fp32", device))
        if fast_in_bfloat16(device):
            report.add("The same with precision=bf16", full_round(data, "bf16", device))
    rates, table = matrix_product(bench)
    report.add("The machine", table)
    size = 4096 if device.type == "cpu" else 55_904
    report.add("Inference, 20 masks", inference(bench, model, data.validation_inputs[:size], rates, 20))
    report.add("Inference, 100 masks", inference(bench, model, data.pool_inputs[:size], rates, 100))
    report.add("Training, 20 labels", training(bench, data))
    print(report.text())


if __name__ == "__main__":
    with errors_in_one_line():
        main()
