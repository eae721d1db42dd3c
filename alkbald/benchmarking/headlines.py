"""What the report of a benchmark says in a line or two: the numbers that go on record (`record`).

A report is the text that `report.Report` writes. Those of earlier commits, whose tables were other, are read too.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from alkbald.errors import UserError


class Headline(NamedTuple):
    """A measurement.

    Attributes:
        what: was measured; the same words for the same work, whatever the commit and the machine.
        seconds: ours.
        peer: what was measured beside it in the same run; empty: nothing.
        ratio: the peer's seconds divided by ours; None without a peer.
    """

    what: str
    seconds: float
    peer: str = ""
    ratio: float | None = None


#: The tables of a report, by their headings; a row by the names of its columns.
Tables = dict[str, list[dict[str, str]]]


def tables_of(report: str) -> Tables:
    tables: Tables = {}
    for section in report.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
        columns, _, *rows = ([cell.strip() for cell in line] for line in lines)
        tables[heading] = [dict(zip(columns, row, strict=True)) for row in rows]
    return tables


def _number(cell: str) -> float:
    return float(cell.replace(",", "").split()[0])


def _acquisition(report: str, tables: Tables) -> Iterator[Headline]:
    """Batches of 10 of the largest pool. The oldest reports have no column N: all are of 60,000 points."""
    heading, *_ = (heading for heading in tables if heading.startswith("Ours and batchbald_redux: "))
    predictions = heading.partition(": ")[2]
    made_up = "" if predictions == "MNIST, 20 labels" else f", {predictions} predictions"
    most = max(int(row.get("N", 60_000)) for row in tables[heading])
    for row in tables[heading]:
        if int(row.get("N", 60_000)) == most and row["B"] == "10":
            what = f"10 of {most:,} points by {row['method']}{made_up}"
            yield Headline(what, _number(row["ours, s"]), "batchbald_redux", _number(row["ratio"]))


def _inference(report: str, tables: Tables) -> Iterator[Headline]:
    passes = {row["inference"]: _number(row["passes/s"]) for row in tables["Inference, 100 masks"]}
    ours, (peer, *_) = passes["ours, fp32"], passes
    yield Headline("a million predictions, 100 masks", 1e6 / ours, peer.partition(",")[0], ours / passes[peer])
    naive, fused = (_number(row["ms a step of 64"]) for row in tables["Training, 20 labels"])
    yield Headline("1,000 steps of training", fused, "the usual loop", naive / fused)
    for row in tables.get("Round 0 at the paper's settings", []):
        if row["part"].startswith("whole"):
            yield Headline("a round at the paper's settings", _number(row["seconds"]))


def _beside(report: str, tables: Tables) -> Iterator[Headline]:
    peer = " ".join(report.split()[2:4])[: len("commit 0123456")]  # of the title
    for row in tables["Inference, fp32"]:
        if row["masks"] == "100":
            newer, older = (_number(row[f"{which}, passes/s"]) for which in ("newer", "older"))
            yield Headline("a million predictions, 100 masks", 1e6 / newer, peer, newer / older)
    for row in tables.get("Round 0 at the paper's settings", []):
        if row["part"] == "whole":
            newer, older = (_number(row[f"{which}, s"]) for which in ("newer", "older"))
            yield Headline("a round at the paper's settings", newer, peer, older / newer)


def _classes(report: str, tables: Tables) -> Iterator[Headline]:
    """Seconds of the processor."""
    (heading, table), *_ = tables.items()
    points, classes = re.findall(r"[NC] = ([\d,]*\d)", heading)
    (peer,) = re.findall(r"older\s+commit\s+is\s+(\w+)", report)
    for row in table:
        what = f"10 of {points} points of {classes} classes by {row['method']}"
        yield Headline(what, _number(row["now, s"]), f"commit {peer[:7]}", _number(row["ratio"]))


def _large_pools(report: str, tables: Tables) -> Iterator[Headline]:
    """Seconds of the processor: of the two that the report tells, the ones that compare on a busy machine."""
    ((heading, table),) = tables.items()
    points, few = re.findall(r"[\d,]+(?= points| of them)", heading)
    for row in table:
        if row["method"] == "BatchBALD":
            yield Headline(f"10 of {few} made-up points in memory by BatchBALD", _number(row["in memory, s (clock)"]))
            what = f"10 of {points} made-up points in a file by BatchBALD"
            ratio = 1 / _number(row["a point, file / memory"])
            yield Headline(what, _number(row["file, warm, s (clock)"]), "as many in memory", ratio)


def _methods(report: str, tables: Tables) -> Iterator[Headline]:
    ((heading, table),) = tables.items()
    batch = heading.partition(" points")[0]
    yield Headline(f"{batch} points by each of {len(table)} methods", sum(_number(row["seconds"]) for row in table))


def _sharing(report: str, tables: Tables) -> Iterator[Headline]:
    (table,) = tables.values()
    (epochs,) = re.findall(r"\((\d+) epochs, ", report)
    ours, default = (_number(row["2 at once, s"]) for row in table[:2])
    yield Headline(f"2 runs at once, a round of {epochs} epochs", ours, table[1]["setting"], default / ours)


#: By the name of a benchmark, which is that of its script and of its folder.
HEADLINES: dict[str, Callable[[str, Tables], Iterator[Headline]]] = {
    "bench_acquisition": _acquisition,
    "bench_inference": _inference,
    "bench_beside": _beside,
    "bench_classes": _classes,
    "bench_large_pools": _large_pools,
    "bench_methods": _methods,
    "bench_sharing": _sharing,
}


def headlines(benchmark: str, report: str) -> list[Headline]:
    """Of a report of this benchmark.

    Raises:
        UserError: tables are missing, as of a benchmark that was interrupted.
    """
    try:
        return list(HEADLINES[benchmark](report, tables_of(report)))
    except (KeyError, ValueError) as error:
        raise UserError(f"the report of {benchmark} is not complete: {error}") from error
