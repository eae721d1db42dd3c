"""Speed on record: a row for each headline of a committed benchmark, and later measurements beside it."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from alkbald.benchmarking.headlines import HEADLINES, headlines
from alkbald.errors import UserError
from alkbald.reporting.markdown import markdown

#: The line of a report that `report.Report` writes below the title.
HEAD = re.compile(r"^`.+`, ([\d-]+), commit (\w+)( with changes)?: (.+?), torch ", re.MULTILINE)


class Row(NamedTuple):
    """A row of results/speed.csv, all in text.

    Attributes:
        date: of the measurement.
        commit: of the code, its first 7 digits; with a + if there were changes to it.
        machine: what `report.machine` says of it.
        benchmark: the name of the script.
        what, seconds, peer, ratio: see `headlines.Headline`; three digits.
        report: a commit that has the report, where a later report has taken its place; empty: the present one.
    """

    date: str
    commit: str
    machine: str
    benchmark: str
    what: str
    seconds: str
    peer: str
    ratio: str
    report: str = ""

    @property
    def processor(self) -> str:
        """The machine without instructions, threads and cores, which the oldest reports do not tell."""
        return re.split(r" \(|, \d+ threads", self.machine)[0]


def rows_of(benchmark: str, report: str, commit: str = "") -> list[Row]:
    """The rows of one report.

    Args:
        commit: `Row.report`.

    Raises:
        UserError: the report does not say when, where and of which commit it was made, or is not complete.
    """
    head = HEAD.search(report)
    if not head:
        raise UserError(f"no report of a benchmark: {report[:60]!r}")
    date, of, changes, machine = head.groups()
    measured = (date, of[:7] + ("+" if changes else ""), machine, benchmark)
    return [
        Row(*measured, what, _three_digits(seconds), peer, "" if ratio is None else _three_digits(ratio), commit)
        for what, seconds, peer, ratio in headlines(benchmark, report)
    ]


def _three_digits(number: float) -> str:
    return f"{number:#.3g}".rstrip(".")


def rows_below(folder: Path) -> list[Row]:
    """The rows of the reports FOLDER/BENCHMARK/report.md."""
    reports = {name: folder / name / "report.md" for name in HEADLINES}
    return [row for name, path in reports.items() if path.exists() for row in rows_of(name, path.read_text())]


def read_record(path: Path) -> list[Row]:
    """Oldest first."""
    with path.open(newline="") as file:
        return [Row(**row) for row in csv.DictReader(file)]


def write_record(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([Row._fields, *rows])


def added(record: Sequence[Row], present: Sequence[Row], commit: str) -> list[Row]:
    """The record with the rows of the present reports.

    Args:
        record: some or all of these rows may be in it.
        present: of the reports as they are now.
        commit: that has the reports as they were before.

    Raises:
        UserError: a row is not of a commit.
    """
    for row in present:
        if not re.fullmatch(r"[0-9a-f]{7}", row.commit):
            raise UserError(f"{row.benchmark} measured {row.commit}: commit the code first, and measure again")
    renewed = {row.benchmark for row in present}
    gone = [not row.report and row.benchmark in renewed and row not in present for row in record]
    before = [row._replace(report=commit) if left else row for row, left in zip(record, gone, strict=True)]
    return [*before, *(row for row in present if row not in before)]


def page_table(record: Iterable[Row]) -> str:
    """For a page: a row a measurement, those of the same work below each other, oldest first."""
    rows = sorted(record, key=lambda row: row.what)  # stable
    columns = ("what", "date", "commit", "machine", "seconds", "ratio", "peer")
    return markdown([{column: getattr(row, column) for column in columns} for row in rows])


def beside(rows: Iterable[Row], record: Sequence[Row]) -> str:
    """A table of measurements, each beside the last on record of the same work on a processor of the same name."""
    table = []
    for row in rows:
        work = (row.benchmark, row.what, row.processor)
        last = [old for old in record if (old.benchmark, old.what, old.processor) == work][-1:]
        table.append(
            {"what": row.what, "seconds": row.seconds, "ratio": row.ratio, "peer": row.peer}
            | {f"last {column}": getattr(old, column) for old in last for column in ("seconds", "ratio", "peer")}
            | {"last of": f"{last[0].date}, {last[0].commit}: {last[0].machine}" if last else "none of this processor"}
        )
    return markdown(table)
