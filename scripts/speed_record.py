"""Measurements beside the last ones on record of the same processor, and into the record:

    python scripts/speed_record.py runs/bench          what `make bench` has measured, beside results/speed.csv
    python scripts/speed_record.py results --record    after a report in results/ was renewed, before it is committed

FOLDER has a folder with a report.md for each benchmark. With --record, results/speed.csv gets what it lacks of these,
and the table in docs/performance.md is made again from it.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import argparse
import re
from pathlib import Path

import torch

from alkbald.benchmarking.record import added, beside, page_table, read_record, rows_below, write_record
from alkbald.cli import errors_in_one_line
from alkbald.errors import UserError
from alkbald.records.provenance import provenance

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"^\| what \| date \|.*\n(\|.*\n)+", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--record", action="store_true", help="add them to the record")
    parser.add_argument("--csv", type=Path, default=ROOT / "results" / "speed.csv", help="the record")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md", help="has the record as a table")
    arguments = parser.parse_args()
    record, rows = read_record(arguments.csv), rows_below(arguments.folder)
    if not rows:
        raise UserError(f"no report of a benchmark below {arguments.folder}")
    print(f"{'; '.join(sorted({row.machine for row in rows}))}\n\n{beside(rows, record)}")
    if arguments.record:
        commit = provenance(torch.device("cpu"))["commit"]
        record = added(record, rows, (commit or "unknown")[:7])
        write_record(arguments.csv, record)
        arguments.page.write_text(TABLE.sub(f"{page_table(record)}\n", arguments.page.read_text()))


if __name__ == "__main__":
    with errors_in_one_line():
        main()
