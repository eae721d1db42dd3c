"""Prints what a GPU is asked for: copies and waits of inference and of every acquisition method, on an emulated device.

    PYTHONPATH=. python tests/device_report.py --pool 2000 --samples 20 --batch 10 --lines 3

Counts depend on the sizes and a little on the predictions (random ones here), not on the machine.
"""

import argparse
from collections.abc import Callable

import torch
from conftest import generator, random_log_probs
from emulated_device import EmulatedDevice, emulated_device

from alkbald.acquisition import METHODS
from alkbald.inference import sample_log_probs
from alkbald.model import mnist_cnn

_COLUMNS = "{:24} {:>17} {:>6} {:>16}"


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pool", type=int, default=2000, help="points that are selected from")
    options.add_argument("--inputs", type=int, default=100, help="inputs that are predicted")
    options.add_argument("--samples", type=int, default=20, help="K")
    options.add_argument("--classes", type=int, default=10, help="C, of what is selected from")
    options.add_argument("--batch", type=int, default=10, help="points that are selected")
    options.add_argument(
        "--lines", type=int, default=0, help="lines of code to name that wait most, and that copy most"
    )
    return options.parse_args()


def works(sizes: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """What is measured, by name; everything that it needs is on the device."""
    model = mnist_cnn(10, seed=0).to("cuda")
    inputs = torch.randn(sizes.inputs, 1, 28, 28, generator=generator()).to("cuda")
    log_probs = random_log_probs(sizes.pool, sizes.samples, sizes.classes, dtype=torch.float32).to("cuda")

    def selection(name: str) -> Callable[[], object]:
        options = {"order": 2} if name == "kbald" else {}
        return lambda: METHODS[name](log_probs, sizes.batch, **options, generator=generator())

    return {
        "sample_log_probs": lambda: sample_log_probs(model, inputs, sizes.samples, generator=generator()),
        **{name: selection(name) for name in METHODS if name != "kbald"},  # 2bald is kbald
    }


def report(name: str, device: EmulatedDevice, lines: int) -> None:
    counts = (device.copies_to_device, device.reads, device.copies_to_host)
    print(_COLUMNS.format(name, *(count.total() for count in counts)))
    for what, counts in (("waits", device.waits), ("copies to device", device.copies_to_device)):
        for line, times in counts.most_common(lines):
            print(f"    {times:6} {what}, {line}")


def main() -> None:
    sizes = arguments()
    print(f"N = {sizes.pool}, K = {sizes.samples}, C = {sizes.classes}, batches of {sizes.batch}")
    print(_COLUMNS.format("", "copies to device", "reads", "copies to host"))
    with emulated_device() as device:
        for name, work in works(sizes).items():
            device.reset()
            work()
            report(name, device, sizes.lines)


if __name__ == "__main__":
    main()
