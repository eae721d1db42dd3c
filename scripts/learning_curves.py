"""Tables of rounds and a picture of learning curves:  python scripts/learning_curves.py runs --output curves.png"""

import argparse

from alkbald.cli import errors_in_one_line
from alkbald.errors import UserError
from alkbald.reporting.figures.curves import learning_curves
from alkbald.reporting.rounds import load_runs
from alkbald.reporting.tables import rounds_as_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", help="folders with runs, at any depth")
    parser.add_argument("--output", default="learning_curves.png", help="picture to write; its ending is the format")
    arguments = parser.parse_args()
    rounds = load_runs(arguments.folders)
    figure = learning_curves(rounds)
    try:
        figure.savefig(arguments.output, dpi=150)
    except ValueError as error:  # matplotlib's, for a format that it does not write
        raise UserError(f"--output {arguments.output}: {error}") from error
    print(f"\n{rounds_as_text(rounds)}\n\nlearning curves: {arguments.output}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
