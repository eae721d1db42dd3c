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
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from batchbald_redux.consistent_mc_dropout import BayesianModule, ConsistentMCDropout, ConsistentMCDropout2d
from benchmarking import Peak, Report, parser, trained_on_mnist
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from alkbald import settings
from alkbald.data import Data
from alkbald.devices import bfloat16_slowdown, float32_products
from alkbald.errors import errors_in_one_line
from alkbald.inference import sample_log_probs
from alkbald.loop import active_learning_round
from alkbald.measuring import reset_peak_memory
from alkbald.model import Masks, MCDropoutNet, mnist_cnn
from alkbald.randomness import derived_generator
from alkbald.settings import Settings
from alkbald.training import fit

STEPS_AN_EPOCH = 16


class ReduxCNN(BayesianModule):
    """The paper's CNN in the peer's modules, with given weights and masks."""

    def __init__(self, model: MCDropoutNet, masks: Masks):
        super().__init__()
        plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
        conv1, conv2, hidden, last = (stage.layer for stage in plain.stages)
        self.net = nn.Sequential(
            *(conv1, ConsistentMCDropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(conv2, ConsistentMCDropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), hidden, ConsistentMCDropout(), nn.ReLU()),
            *(last, nn.LogSoftmax(-1)),
        )
        self.eval()
        for module, mask, trailing in zip((self.net[1], self.net[5], self.net[10]), masks, (2, 2, 0), strict=True):
            module.mask = ~mask.view(1, *mask.shape, *[1] * trailing)

    def mc_forward_impl(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)


def naive(model: MCDropoutNet, num_samples: int, chunk: int) -> Callable[[Tensor], Tensor]:
    """Inputs -> [N, K, C]: every mask through every layer, inputs repeated K times, `chunk` inputs at a time."""
    net = ReduxCNN(model, model.draw_masks(num_samples, derived_generator("bench")))

    @torch.inference_mode()
    def predict(inputs: Tensor) -> Tensor:
        with float32_products():  # on a GPU, PyTorch's own convolutions would be in tf32
            return torch.cat([net(part, num_samples) for part in inputs.split(chunk)])

    return predict


class PlainCNN(nn.Sequential):
    """The same network as one writes it without masks."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 32, 5), nn.Dropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(32, 64, 5), nn.Dropout2d(), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(1024, 128), nn.Dropout(), nn.ReLU()),
            *(nn.Linear(128, 10), nn.LogSoftmax(-1)),
        )


def naive_epochs(inputs: Tensor, labels: Tensor, epochs: int) -> None:
    """The usual training loop, without validation."""
    model = PlainCNN().to(inputs.device)
    data = TensorDataset(inputs.cpu(), labels.cpu())
    sampler = RandomSampler(data, replacement=True, num_samples=64 * STEPS_AN_EPOCH)
    loader = DataLoader(data, batch_size=64, sampler=sampler)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=5e-4)
    for _ in range(epochs):
        losses = []
        for x, y in loader:
            loss = F.nll_loss(model(x.to(inputs.device)), y.to(inputs.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())


def our_epochs(inputs: Tensor, labels: Tensor, epochs: int) -> float:
    """Seconds that ours takes, its validation left out."""
    start = time.perf_counter()
    fitted = fit(
        mnist_cnn(10, seed=0).to(inputs.device),
        inputs,
        labels,
        inputs,
        labels,
        generator=derived_generator("a"),
        validation_generator=derived_generator("b"),
        max_epochs=epochs,
        patience=epochs,
        epoch_size=64 * STEPS_AN_EPOCH,
        validation_samples=1,
    )
    return time.perf_counter() - start - fitted.seconds_validation


class Bench:
    """Times calls in turn, so that a machine's moods hit all of them alike."""

    def __init__(self, device: torch.device, repeats: int):
        self.device, self.repeats = device, repeats
        self.rows: list[dict] = []

    def seconds(self, call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def medians(self, calls: dict[str, Callable[[], object]]) -> dict[str, float]:
        """A call that returns a float has timed itself."""
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            call()
        for _ in range(self.repeats):
            for name, call in calls.items():
                own: list[float] = []
                seconds = self.seconds(lambda call=call, own=own: own.append(call()))
                taken[name].append(own[0] if isinstance(own[0], float) else seconds)
                self.rows.append({"what": name, "seconds": taken[name][-1]})
        return {name: statistics.median(seconds) for name, seconds in taken.items()}


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether bf16 is worth measuring: a processor without its arithmetic would take hours, and runs say so."""
    return device.type == "cuda" or bfloat16_slowdown() < 2


def machine(bench: Bench) -> tuple[dict[str, float], list[dict]]:
    """Rates of a matrix product, GFLOP/s."""
    side = 2048
    calls = {}
    for dtype in (torch.float32, *((torch.bfloat16,) if fast_in_bfloat16(bench.device) else ())):
        a = torch.randn(side, side, device=bench.device).to(dtype)
        calls[str(dtype).removeprefix("torch.")] = lambda a=a: a @ a
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

    calls = {
        f"batchbald_redux, {size} inputs at a time": (few, naive(model, samples, size))
        for size in (128, *((max(1, 256 // samples),) if bench.device.type == "cpu" else ()))
    } | {
        "ours, fp32": (inputs, lambda part: ours(part, "fp32")),
        **({"ours, tf32": (inputs, lambda part: ours(part, "tf32"))} if bench.device.type == "cuda" else {}),
        **({"ours, bf16": (inputs, lambda part: ours(part, "bf16"))} if fast_in_bfloat16(bench.device) else {}),
    }
    medians = bench.medians({name: lambda call=call, part=part: call(part) for name, (part, call) in calls.items()})
    layer_by_layer = naive(model, samples, 64)(few)
    exact = naive(copy.deepcopy(model).double(), samples, 16)(few[:128].double())
    peers = [len(few) * samples / seconds for name, seconds in medians.items() if name.startswith("batchbald_redux")]
    table = []

    def furthest(ours: Tensor, theirs: Tensor) -> float:
        return (ours[: len(theirs)] - theirs).abs().max().item()

    for name, (part, call) in calls.items():
        passes = len(part) * samples / medians[name]
        flops = flops_of(lambda call=call, part=part: call(part[:64]))
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
            "naive": lambda: naive_epochs(inputs, labels, epochs),
            "ours": lambda: our_epochs(inputs, labels, epochs),
        }
    )
    with FlopCounterMode(display=False) as flops:
        loss = F.nll_loss(mnist_cnn(10, seed=0)(torch.randn(64, 1, 28, 28)), torch.zeros(64, dtype=torch.long))
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


def round_settings(settings: ModuleType, precision: str, device: torch.device) -> Settings:
    """Of `python run.py`, by an `alkbald.settings` of this commit or another."""
    config = OmegaConf.load(Path(__file__).parents[1] / "configs/config.yaml")
    del config["defaults"], config["hydra"]
    method = {"name": "kbald", "order": 2}
    changes = {"method": method, "precision": precision, "device": str(device), "progress": False}
    return settings.from_config(OmegaConf.merge(config, changes, {"data": {"name": "mnist"}}))


def round_table(settings: Settings, row: dict[str, Any], data: Data) -> list[dict]:
    """A recorded round, part by part, and its sum."""
    validation = len(data.validation_inputs) * settings.training.validation_samples * row["epochs"]
    parts = [
        ("training, without validation", row["seconds_training"] - row["seconds_validation"], 0, ""),
        ("validation", row["seconds_validation"], validation, f"{row['epochs']} epochs"),
        ("evaluation", row["seconds_evaluation"], len(data.test_inputs) * settings.evaluation_samples, ""),
        ("scoring", row["seconds_inference"], row["pool"] * settings.num_samples, ""),
        ("selection, 2-BALD 10", row["seconds_selection"], 0, ""),
        ("judging the batch", row.get("seconds_judging", math.nan), 0, ""),  # of older commits, not on record
    ]
    peak = f"accuracy {row['accuracy']:.4f}; peak {row['peak_memory_bytes'] / 2**30:.2f} GiB"
    total = sum(seconds for _, seconds, _, _ in parts if not math.isnan(seconds))
    return [
        {
            "part": name,
            "seconds": "" if math.isnan(seconds) else f"{seconds:.2f}",
            "passes": f"{passes:,}" if passes else "",
            "passes/s": f"{passes / seconds:,.0f}" if passes else "",
            "note": note,
        }
        for name, seconds, passes, note in [*parts, ("whole", total, 0, peak)]
    ]


def full_round(data: Data, precision: str, device: torch.device) -> list[dict]:
    """Round 0 of `python run.py`, part by part."""
    configured = round_settings(settings, precision, device)
    reset_peak_memory(device)
    row, *_ = active_learning_round(configured, data, data.initial, 0)
    return [{"precision": precision} | part for part in round_table(configured, row, data)]


def main() -> None:
    options = parser(__doc__, "runs/bench_inference", quick="no whole round")
    arguments = options.parse_args()
    device = torch.device(arguments.device)
    bench = Bench(device, arguments.repeats)
    report = Report(
        Path(arguments.output),
        device,
        "Inference and training, measured",
        "python scripts/bench_inference.py",
        f"Medians of {arguments.repeats} runs in turn after a warm-up; the round ran once. A pass is one input under "
        "one mask. Ratios are to batchbald_redux's modules at 128 inputs a time, and at the faster of both chunks.",
        bench.rows,
    )
    model, data = trained_on_mnist(arguments.data, 2, device)
    if not arguments.quick:  # first, so that its peak memory is its own
        report.add("Round 0 at the paper's settings", full_round(data, "fp32", device))
        if fast_in_bfloat16(device):
            report.add("The same with precision=bf16", full_round(data, "bf16", device))
    rates, table = machine(bench)
    report.add("The machine", table)
    size = 4096 if device.type == "cpu" else 55_904
    report.add("Inference, 20 masks", inference(bench, model, data.validation_inputs[:size], rates, 20))
    report.add("Inference, 100 masks", inference(bench, model, data.pool_inputs[:size], rates, 100))
    report.add("Training, 20 labels", training(bench, data))
    print(report.text())


if __name__ == "__main__":
    with errors_in_one_line():
        main()
