"""A page about runs, in one file:  python -m alkbald.report runs --output report.html"""

import argparse
from pathlib import Path

from alkbald.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m alkbald.report",
        description="One HTML file about runs: which method is better, by how much, how sure; and every run.",
    )
    parser.add_argument("folders", nargs="*", default=["runs"], help="folders with runs at any depth (default: runs)")
    parser.add_argument("--output", default="report.html", help="the file to write (default: report.html)")
    parser.add_argument("--data", default="data", help="folder of the data sets, for images (default: data)")
    arguments = parser.parse_args()
    try:
        from alkbald.reporting.page.build import write_page  # here, for its error to be told in one line

        size, notes = write_page([Path(name) for name in arguments.folders], Path(arguments.output), arguments.data)
    except (ImportError, OSError, UserError) as error:
        parser.exit(2, f"error: {error}\n")
    print(*notes, f"report: {arguments.output} ({size / 1e6:.1f} MB)", sep="\n")


if __name__ == "__main__":
    main()
