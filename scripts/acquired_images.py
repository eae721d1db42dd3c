"""The images that runs acquired in one round, as a small table: pictures can then be made without the data set.

    python scripts/acquired_images.py results

Looks below RESULTS/learning_curves for BALD, 2-BALD and BatchBALD with batches of 10 and one seed, and writes
RESULTS/acquired_images/images.csv: index in the training set, and the 28 x 28 pixels as hexadecimal bytes. The round is
the first, in which all methods have the same model and pool.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import argparse
from pathlib import Path

from alkbald.cli import errors_in_one_line
from alkbald.studies import acquired_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of downloads")
    arguments = parser.parse_args()
    acquired_images.study(arguments.results, arguments.data)


if __name__ == "__main__":
    with errors_in_one_line():
        main()
