"""Tables of rounds and a picture of learning curves:  python scripts/learning_curves.py runs --output curves.png"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import argparse

from alkbald.errors import UserError, errors_in_one_line
from alkbald.figures import learning_curves
from alkbald.tables import CURVE, load_runs

COLUMNS = {
    "labelled": "labels",
    "accuracy": "accuracy",
    "nll": "NLL",
    "epochs": "epochs",
    "seconds_training": "train s",
    "seconds_evaluation": "eval s",
    "seconds_inference": "score s",
    "seconds_selection": "select s",
    "joint_mutual_information": "joint MI",
    "total_correlation": "total corr",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", help="folders with runs, at any depth")
    parser.add_argument("--output", default="learning_curves.png", help="picture to write; its ending is the format")
    arguments = parser.parse_args()
    rounds = load_runs(arguments.folders)
    try:
        learning_curves(rounds).savefig(arguments.output, dpi=150)
    except ValueError as error:  # matplotlib's, for a format that it does not write
        raise UserError(f"--output {arguments.output}: {error}") from error
    for (data, method, acq_size, variant, seed), run in rounds.groupby([*CURVE, "seed"]):
        print(f"\n{method}, acq_size {acq_size}, {data}{', ' + variant if variant else ''}, seed {seed}")
        table = run[list(COLUMNS)].rename(columns=COLUMNS)
        print(table.to_string(index=False, float_format="{:.3f}".format, na_rep=""))
    print(f"\nlearning curves: {arguments.output}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
