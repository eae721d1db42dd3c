"""What runs that share a machine's cores cost each other, by how their threads wait.

    python scripts/bench_sharing.py             1, 2 and 3 runs at once, 7 ways to wait: some 15 minutes on 2 CPU cores
    python scripts/bench_sharing.py --quick     1 and 2 at once, 4 ways, once each: some 3 minutes

A run is round 0 of 2-BALD on scikit-learn's digits with a fixed number of epochs: training, validation, evaluation,
scoring of the pool, selection. Each is a process of its own, and all start their round at the same moment. Before each
measurement of a setting, a process with libgomp's default makes the round alone: ratios are to this one. Rounds that
take `--limit` times as long are ended. Nothing else may use the cores. Writes OUTPUT/report.md, OUTPUT/times.csv (a row
a measurement) and OUTPUT/provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import torch

from alkbald.benchmarking.report import Report, at_least, option_parser
from alkbald.benchmarking.rounds import run_settings
from alkbald.cli import errors_in_one_line
from alkbald.data import load
from alkbald.devices import prepared_device
from alkbald.errors import UserError
from alkbald.loop import active_learning_round
from alkbald.waiting import CHOICES, SPIN_COUNT

DEFAULT = "libgomp's default"

#: Ways to wait: environment variables, and `threads=` of the run. 300,000 is libgomp's count where none is set.
SETTINGS = {
    f"as runs do: GOMP_SPINCOUNT={SPIN_COUNT}": ({}, None),
    DEFAULT: ({"GOMP_SPINCOUNT": "300000"}, None),
    "GOMP_SPINCOUNT=0": ({"GOMP_SPINCOUNT": "0"}, None),
    "threads=1": ({}, 1),
    "GOMP_SPINCOUNT=10000": ({"GOMP_SPINCOUNT": "10000"}, None),
    "GOMP_SPINCOUNT=100000": ({"GOMP_SPINCOUNT": "100000"}, None),
    "OMP_WAIT_POLICY=PASSIVE": ({"OMP_WAIT_POLICY": "PASSIVE"}, None),
}
QUICK = 4  # the first of them


def make_rounds(epochs: int, threads: int | None) -> None:
    """In a process of its own: says `ready`, then makes a round for every line it reads, and prints its seconds."""
    changes = {
        "data": {"name": "digits", "validation_size": 300},
        "training": {"max_epochs": epochs, "patience": epochs},
        "threads": threads,
        "device": "cpu",
    }
    settings = run_settings(changes)
    data = load(**vars(settings.data), device=prepared_device(settings.device, threads=settings.threads))
    active_learning_round(settings, data, data.initial, 0)  # warm-up
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        active_learning_round(settings, data, data.initial, 0)
        print(f"seconds {time.perf_counter() - start}", flush=True)


class Process:
    """A process that makes rounds when it is asked to; a context that ends it."""

    def __init__(self, epochs: int, setting: str):
        variables, threads = SETTINGS[setting]
        unset = {*CHOICES, "OMP_NUM_THREADS"}
        env = {key: value for key, value in os.environ.items() if key not in unset} | variables
        line = [sys.executable, __file__, "--rounds-of", str(epochs)] + (["--threads", "1"] if threads else [])
        self._process = subprocess.Popen(line, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._input, self._output = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)  # pipes
        if self.answer("ready") is None:
            raise UserError("a process of the benchmark ended before it was ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        self._process.communicate()

    def end(self) -> None:
        self._process.kill()

    def start(self) -> None:
        self._input.write("\n")
        self._input.flush()

    def answer(self, word: str) -> str | None:
        """What follows the word on the line that begins with it; other lines are passed over. None: it has ended."""
        for line in self._output:
            if line.split()[0] == word:
                return line.removeprefix(word).strip()
        return None


def slowest(processes: list[Process], limit: float | None = None) -> float | None:
    """Seconds of the slowest of rounds that start at once; None where they take more than the limit and were ended.

    Raises:
        UserError: a process ends by itself; it has said why.
    """
    ended = threading.Event()

    def end() -> None:
        ended.set()
        for process in processes:
            process.end()

    timer = threading.Timer(threading.TIMEOUT_MAX if limit is None else limit, end)
    timer.daemon = True
    timer.start()
    for process in processes:
        process.start()
    answers = [process.answer("seconds") for process in processes]
    timer.cancel()
    if ended.is_set():
        return None
    seconds = [float(answer) for answer in answers if answer is not None]
    if len(seconds) < len(answers):
        raise UserError("a process of the benchmark ended in its round")
    return max(seconds)


class RunsAtOnce:
    """Times rounds that start at once; `rows` collects the measurements."""

    def __init__(self, epochs: int, limit: float):
        self._epochs, self._limit = epochs, limit
        self.rows: list[dict] = []

    def measure(self, reference: Process, setting: str, most: int, repeats: int) -> None:
        """1 to `most` rounds at once, after one of the reference alone; no more at once than keep within the limit."""
        with ExitStack() as stack:
            processes: list[Process] = []
            for _ in range(repeats):
                alone = cast(float, slowest([reference]))  # without a limit it is never ended
                for runs in range(1, most + 1):
                    while len(processes) < runs:
                        processes.append(stack.enter_context(Process(self._epochs, setting)))
                    limit = self._limit * alone
                    seconds = slowest(processes[:runs], limit)
                    row = {"setting": setting, "at once": runs, "seconds": seconds, "reference": alone, "limit": limit}
                    self.rows.append(row | {"times": None if seconds is None else seconds / alone})
                    print(f"  {setting}, {runs} at once: {self.cell(setting, runs, 'times')} times", flush=True)
                    if seconds is None:
                        most = runs - 1
                        processes.clear()
                        break

    def cell(self, setting: str, runs: int, key: str) -> str:
        """The median; where rounds were ended, that it is more than their limit."""
        rows = [row for row in self.rows if (row["setting"], row["at once"]) == (setting, runs)]
        if not rows:
            return ""
        if any(row[key] is None for row in rows):
            return f"> {self._limit:g}" if key == "times" else f"> {min(row['limit'] for row in rows):.0f}"
        return f"{statistics.median(row[key] for row in rows):.2f}"

    def table(self) -> list[dict]:
        """A row a setting: seconds of the slowest, and how many times those of one alone by libgomp's default."""
        counts = sorted({row["at once"] for row in self.rows})
        return [
            {"setting": setting}
            | {f"{runs} at once, s": self.cell(setting, runs, "seconds") for runs in counts}
            | {f"{runs} at once, times": self.cell(setting, runs, "times") for runs in counts}
            for setting in dict.fromkeys(row["setting"] for row in self.rows)
        ]


def main() -> None:
    options = option_parser(
        __doc__, "runs/bench_sharing", quick=f"1 and 2 at once, the first {QUICK} settings, once each"
    )
    options.set_defaults(repeats=3)
    options.add_argument("--epochs", type=at_least(1), default=10, help="of a round")
    options.add_argument("--limit", type=float, default=15, help="times one alone, after which rounds are ended")
    options.add_argument("--rounds-of", type=int, metavar="EPOCHS", help="be one of the processes")
    options.add_argument("--threads", type=int, help="of such a process")
    arguments = options.parse_args()
    if arguments.rounds_of:
        make_rounds(arguments.rounds_of, arguments.threads)
        return
    settings, most, repeats = [*SETTINGS], 3, arguments.repeats
    if arguments.quick:
        settings, most, repeats = settings[:QUICK], 2, 1
    timings = RunsAtOnce(arguments.epochs, arguments.limit)
    report = Report(
        Path(arguments.output),
        torch.device("cpu"),
        "Runs that share the cores, measured",
        f"Seconds of the slowest of the rounds that start at once ({arguments.epochs} epochs, digits, 2-BALD 10), and "
        "how many times as long that is as one alone with libgomp's default, measured right before. Medians of "
        f"{repeats}; rounds that took {arguments.limit:g} times as long were ended.",
        timings.rows,
    )
    with Process(arguments.epochs, DEFAULT) as reference:
        for setting in settings:
            timings.measure(reference, setting, most, repeats)
    report.add(f"1 to {most} runs at once", timings.table())
    print(report.text())


if __name__ == "__main__":
    with errors_in_one_line():
        main()
