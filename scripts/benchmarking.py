"""What the benchmarks share: a trained model, peak memory, a report."""

import argparse
import ctypes
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from alkbald.data import Data, load
from alkbald.model import MCDropoutNet, mnist_cnn
from alkbald.records.provenance import provenance, write_provenance
from alkbald.randomness import derived_generator
from alkbald.training import fit


def trained_on_mnist(root: str, labels_per_class: int, device: torch.device) -> tuple[MCDropoutNet, Data]:
    """The paper's CNN trained on the initial set, at the paper's settings, and the data.

    Raises:
        DataError: MNIST is not there and cannot be downloaded.
    """
    data = load("mnist", root=root, initial_per_class=labels_per_class, device=device)
    model = mnist_cnn(10, seed=0).to(device)
    fit(
        model,
        data.pool_inputs[data.initial],
        data.pool_labels[data.initial],
        data.validation_inputs,
        data.validation_labels,
        generator=derived_generator("training"),
        validation_generator=derived_generator("validation"),
    )
    return model, data


def parser(description: str, output: str, quick: str) -> argparse.ArgumentParser:
    """The options that benchmarks share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default="data", help="folder with MNIST")
    options.add_argument("--output", default=output)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--quick", action="store_true", help=quick)
    return options


class Peak:
    """Most memory above that at the start: of the GPU's allocator, or resident on a CPU (read every millisecond)."""

    def __init__(self, device: torch.device):
        self._device, self._gpu = device, device.type == "cuda"
        self.bytes = 0

    def _now(self) -> int:
        return (
            torch.cuda.max_memory_allocated(self._device)
            if self._gpu
            else int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        )

    def __enter__(self):
        if self._gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:  # memory that was freed and not given back would hide what is allocated next
            ctypes.CDLL(None).malloc_trim(0)
        self._start, self._stop = self._now(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self.bytes = max(self.bytes, self._now() - self._start)

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.bytes = max(self.bytes, self._now() - self._start)


class Report:
    """Sections of tables, written out whenever one is added: an interrupted run leaves what it measured.

    `rows` are the single measurements, which the caller goes on adding to; they become times.csv.
    """

    def __init__(self, folder: Path, device: torch.device, title: str, command: str, method: str, rows: list[dict]):
        self._folder, self._rows, self._device = folder, rows, device
        source = provenance(device)
        changes = " with changes" if source["dirty"] else ""
        self._head = [
            f"# {title}",
            "",
            f"`{command}`, {source['started'][:10]}, commit {(source['commit'] or 'unknown')[:12]}{changes}: "
            f"{machine(source)}, torch {source['packages']['torch']}. {method}",
        ]
        self._sections: list[tuple[str, list[dict]]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, title: str, table: list[dict]) -> None:
        self._sections.append((title, table))
        write_provenance(self._folder, self._device)
        (self._folder / "report.md").write_text(self.text() + "\n")
        pd.DataFrame(self._rows).to_csv(self._folder / "times.csv", index=False)

    def text(self) -> str:
        lines = list(self._head)
        for title, table in self._sections:
            lines += ["", f"## {title}", "", markdown(table)]
        return "\n".join(lines)


def machine(source: dict[str, Any]) -> str:
    """The machine of a `provenance`: processors of one name differ, so what PyTorch finds in this one is said too."""
    cores, threads = source["cores"], source["threads"]
    cpu = f"{source['processor']} ({source['cpu_capability']}), {threads} threads on {cores} cores"
    return cpu if source["device"] == source["processor"] else f"{source['device']}; {cpu}"


def markdown(table: list[dict]) -> str:
    columns = list(dict.fromkeys(key for row in table for key in row))
    rows = [columns, ["---"] * len(columns), *[[str(row.get(key, "")) for key in columns] for row in table]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
