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

import numpy as np
import pandas as pd

from alkbald.data import SOURCES
from alkbald.errors import RecordError, errors_in_one_line
from alkbald.records.files import read_record
from alkbald.records.versions import recorded_settings

METHODS = ["bald", "2bald", "batchbald"]
SIDE = 28


def acquired_runs(results: Path, acq_size: int = 10) -> dict[str, Path]:
    """By method, its run of one data set and seed: the lowest of those that most of the methods have.

    Raises:
        FileNotFoundError: none of the methods has such a run.
        RecordError: several runs of one method and seed.
    """
    found: dict[tuple[str, int], dict[str, Path]] = {}  # by data set and seed
    for method in METHODS:
        for path in sorted((results / "learning_curves").glob(f"*/{method}/acq_size={acq_size}/seed=*/acquired.csv")):
            data, seed = path.parents[3].name, path.parent.name.removeprefix("seed=").partition("-")[0]
            if any(point["round"] == "0" for point in read_record(path.parent).acquired):
                runs = found.setdefault((data, int(seed)), {})
                if method in runs:
                    raise RecordError(f"two runs of {method} with one seed: {runs[method]} and {path.parent}")
                runs[method] = path.parent
    if not found:
        raise FileNotFoundError(f"no run of {', '.join(METHODS)} with acq_size={acq_size} in {results}/learning_curves")
    return min(found.items(), key=lambda item: (-len(item[1]), item[0]))[1]


def acquired_batches(results: Path) -> dict[str, pd.DataFrame]:
    """By method, the rows of acquired.csv of the first round (columns index, label, score)."""
    batches = {}
    for method, folder in acquired_runs(results).items():
        table = pd.DataFrame([point for point in read_record(folder).acquired if point["round"] == "0"])
        batches[method] = table[["index", "label", "score"]].astype({"index": int, "label": int, "score": float})
    return batches


def read_images(path: Path) -> dict[int, np.ndarray]:
    """By index, [28, 28] bytes."""
    table = pd.read_csv(path, dtype={"pixels": str})
    return {
        index: np.frombuffer(bytes.fromhex(pixels), dtype=np.uint8).reshape(SIDE, SIDE)
        for index, pixels in zip(table["index"], table["pixels"], strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--data", default="data", help="folder of downloads")
    arguments = parser.parse_args()
    batches = acquired_batches(arguments.results)
    run = next(iter(acquired_runs(arguments.results).values()))
    images = SOURCES[recorded_settings(run)["data.name"]](Path(arguments.data)).train_images
    rows = [
        {"index": index, "pixels": (images[index] * 255).round().byte().numpy().tobytes().hex()}
        for index in sorted({index for batch in batches.values() for index in batch["index"]})
    ]
    folder = arguments.results / "acquired_images"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "images.csv", index=False, lineterminator="\n")
    print(f"recorded {len(rows)} images in {folder}")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
