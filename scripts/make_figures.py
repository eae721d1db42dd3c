"""From the records below RESULTS to every figure and table, without training anything:

    python scripts/make_figures.py                            results/ to results/figures/: half a minute
    python scripts/make_figures.py --results runs/mine        of a reproduction of one's own
    python scripts/make_figures.py --only figure1 table1

What is missing is told, and the rest is made all the same.
"""

import argparse
from pathlib import Path

from alkbald.cli import errors_in_one_line
from alkbald.errors import UserError
from alkbald.reporting.makers import MAKERS, make
from alkbald.reporting.makers.files import Folders

PUBLISHED = Path(__file__).parents[1] / "results" / "published"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, help="folder of what is made; default: RESULTS/figures")
    parser.add_argument("--only", nargs="+", choices=MAKERS, default=list(MAKERS))
    arguments = parser.parse_args()
    if not arguments.results.is_dir():
        raise UserError(f"--results {arguments.results}: there is no such folder")
    folders = Folders(arguments.results, arguments.output or arguments.results / "figures", PUBLISHED)
    if not make(arguments.only, folders):
        raise UserError(f"nothing to make figures of below {arguments.results}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
