"""What k-BALD believes of its batches, and what they are worth, early and late in a run:

    python scripts/approximation_quality.py runs/mnist/2bald/acq_size=20/seed=0-* --labels 20 300
    python scripts/approximation_quality.py RUN --labels 20 100 300 --methods BALD BatchBALD --largest 5

Takes the labelled sets of a run on record, trains the models of its rounds again, scores the whole pool, and lets 1- to
4-BALD and BatchBALD choose batches. Writes OUTPUT/quality.csv: labelled, num_samples, method, position, and of the
batch up to there the method's score, its joint mutual information evaluated apart, the standard error, and its total
correlation, in nats. Unless only some methods are asked for, OUTPUT/choices.csv: what methods that choose a size or an
order choose there, why, and what that and BatchBALD's batch of the same size are worth. And settings.yaml and
provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import argparse
from pathlib import Path

from alkbald.cli import errors_in_one_line
from alkbald.studies import approximation_quality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run (with rounds.csv)")
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 100], help="labelled-set sizes of its rounds")
    parser.add_argument("--data", default="data", help="folder of downloads")
    parser.add_argument("--output", type=Path, default=Path("runs/approximation_quality"))
    parser.add_argument(
        "--methods", nargs="+", choices=approximation_quality.METHODS, help="all if not said, and those that choose"
    )
    parser.add_argument("--largest", type=int, default=40, help="largest batch; 30, and less of higher orders, anyway")
    arguments = parser.parse_args()
    approximation_quality.study(
        arguments.run,
        arguments.output,
        labels=arguments.labels,
        methods=arguments.methods,
        largest=arguments.largest,
        data_root=arguments.data,
    )
    print(f"recorded in {arguments.output}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
