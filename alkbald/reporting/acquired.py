"""Which images runs acquired in their first round, in which all methods have the same model and pool.

The images themselves are in RESULTS/acquired_images/images.csv, so that figures need no data set: the index in the
training set, and the pixels as hexadecimal bytes (`alkbald.studies.acquired_images` writes it).
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from alkbald.errors import RecordError
from alkbald.records.files import read_record
from alkbald.records.versions import recorded_settings

METHODS = ["bald", "2bald", "batchbald"]


def acquired_runs(results: Path, acq_size: int = 10) -> dict[str, Path]:
    """By method, its run. All runs have one data set, pool and seed: those that most of the methods have, of these the
    pool with most noise, and of these the lowest seed.

    Raises:
        FileNotFoundError: none of the methods has such a run.
        RecordError: several runs of one method, pool and seed.
    """
    found: dict[tuple[str, float, int], dict[str, Path]] = {}  # by data set, noise (negative) and seed
    for method in METHODS:
        for path in sorted((results / "learning_curves").glob(f"*/{method}/acq_size={acq_size}/seed=*/acquired.csv")):
            data, seed = path.parents[3].name, path.parent.name.removeprefix("seed=").partition("-")[0]
            if any(point["round"] == "0" for point in read_record(path.parent).acquired):
                noise = float(recorded_settings(path.parent)["data.noise"])
                runs = found.setdefault((data, -noise, int(seed)), {})
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
    """By index in the training set, the image's bytes, [side, side]: images are square."""
    table = pd.read_csv(path, dtype={"pixels": str})
    images = {}
    for index, pixels in zip(table["index"], table["pixels"], strict=True):
        flat = np.frombuffer(bytes.fromhex(pixels), dtype=np.uint8)
        images[index] = flat.reshape(math.isqrt(len(flat)), -1)
    return images
