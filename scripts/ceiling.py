"""What batches can be worth with few and many MC-dropout samples, K: the log K ceiling.

    python scripts/ceiling.py results/quality/mnist/2bald/acq_size=20/seed=0-* --labels 20 300

Takes the labelled sets of a run on record, trains the models of its rounds again, and lets BatchBALD choose a batch
from a random part of the pool by the first K samples. What the batch is worth is evaluated twice: with the samples that
chose it, which is at most log K, and with samples that did not, as many as the largest K. Writes OUTPUT/worth.csv:
labelled, num_samples, position in the batch, joint mutual information (nats) and its standard error, and the same held
out; settings.yaml and provenance.json.
"""

import alkbald.waiting  # noqa: F401 (before PyTorch is imported)

# isort: split
import argparse
from pathlib import Path

from alkbald.cli import errors_in_one_line
from alkbald.studies import ceiling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run (with rounds.csv)")
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 100], help="labelled-set sizes of its rounds")
    parser.add_argument("--samples", type=int, nargs="+", default=[20, 100, 500, 1000], help="the Ks")
    parser.add_argument("--pool", type=int, default=5000, help="points that are chosen from")
    parser.add_argument("--largest", type=int, default=40, help="size of the batches")
    parser.add_argument("--outcomes", type=int, default=20_000, help="simulated where there are too many to enumerate")
    parser.add_argument("--data", default="data", help="folder of downloads")
    parser.add_argument("--output", type=Path, default=Path("runs/ceiling"))
    arguments = parser.parse_args()
    ceiling.study(
        arguments.run,
        arguments.output,
        labels=arguments.labels,
        samples=arguments.samples,
        pool=arguments.pool,
        largest=arguments.largest,
        outcomes=arguments.outcomes,
        data_root=arguments.data,
    )
    print(f"recorded in {arguments.output}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
