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
from dataclasses import replace
from pathlib import Path

import pandas as pd
from approximation_quality import labelled_at, log_probs_of_round, run_on_record
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from alkbald.acquisition import batchbald
from alkbald.errors import UserError, errors_in_one_line
from alkbald.information import joint_mutual_information_of_prefixes
from alkbald.records.provenance import write_provenance

POSITIONS = [1, 2, 3, 4, 5, 7, 10, 14, 20, 30, 40, 60, 80, 100]  # and the last


def worth(
    choosing: Float[Tensor, "N K C"], judging: Float[Tensor, "N J C"], samples: list[int], largest: int, outcomes: int
) -> pd.DataFrame:
    """A row for each number of samples and position in its batch: what the batch up to there is worth, twice."""
    rows = []
    for num_samples in samples:
        indices = batchbald(choosing[:, :num_samples], largest).indices
        chosen_by, held_out_from = choosing[indices, :num_samples], judging[indices]
        joints, errors = joint_mutual_information_of_prefixes(chosen_by, num_outcomes=outcomes)
        held_outs, held_out_errors = joint_mutual_information_of_prefixes(held_out_from, num_outcomes=outcomes)
        columns = {"joint": joints, "error": errors, "held_out": held_outs, "held_out_error": held_out_errors}
        for position in [*(p for p in POSITIONS if p < largest), largest]:
            row = {name: values[position - 1].item() for name, values in columns.items()}
            rows.append({"num_samples": num_samples, "position": position} | row)
        joint, held_out = joints[-1].item(), held_outs[-1].item()
        print(f"  K = {num_samples}: {position} points worth {joint:.3f}, held out {held_out:.3f}", flush=True)
    return pd.DataFrame(rows)


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
    if min(arguments.samples) < 1 or arguments.outcomes < 2:
        raise UserError("--samples must be at least 1, --outcomes at least 2")
    settings, data = run_on_record(arguments.run, arguments.data)
    rounds = [labelled_at(arguments.run, data, size) for size in dict.fromkeys(arguments.labels)]
    points = min(arguments.pool, len(data.pool_labels) - max(arguments.labels))
    if not 1 <= arguments.largest <= points:
        raise UserError(f"--largest must be from 1 to the {points} points of the pool, got {arguments.largest}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    most = max(arguments.samples)
    settings = replace(settings, num_samples=2 * most, pool_sample=points)
    OmegaConf.save(OmegaConf.structured(settings), arguments.output / "settings.yaml")
    write_provenance(arguments.output, data.pool_inputs.device)
    tables = []
    for number, labelled in rounds:
        print(f"{len(labelled)} labels", flush=True)
        log_probs = log_probs_of_round(settings, data, number, labelled, points)
        parts = log_probs[:, :most], log_probs[:, most:]
        table = worth(*parts, arguments.samples, arguments.largest, arguments.outcomes)
        table.insert(0, "labelled", len(labelled))
        tables.append(table)
        pd.concat(tables).to_csv(arguments.output / "worth.csv", index=False, float_format="%.5f", lineterminator="\n")
    print(f"recorded in {arguments.output}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
