"""What a benchmark is asked for, and the report that it writes."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from alkbald.records.provenance import provenance, write_provenance
from alkbald.reporting.markdown import markdown


def option_parser(description: str, output: str, quick: str) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", default=output)
    options.add_argument("--repeats", type=at_least(1), default=5)
    options.add_argument("--quick", action="store_true", help=quick)
    return options


def add_model_options(options: argparse.ArgumentParser) -> None:
    """Further options, of benchmarks that train a model on MNIST."""
    options.add_argument("--data", default="data", help="folder with MNIST")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is an integer of at least so much."""

    def integer(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return int(text)

    return integer


class Report:
    """Sections of tables, written out whenever one is added: an interrupted run leaves what it measured.

    Under the title stand the command line of this program, the date, the commit and the machine.
    `rows` are the single measurements, which the caller goes on adding to; they become times.csv.
    """

    def __init__(self, folder: Path, device: torch.device, title: str, method: str, rows: list[dict]):
        self._folder, self._rows, self._source = folder, rows, provenance(device)
        source = self._source
        command = shlex.join(["python", *sys.argv])
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
        write_provenance(self._folder, self._source)
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
