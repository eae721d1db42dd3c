"""The images that runs acquired in their first round, as a small table: figures then need no data set."""

from pathlib import Path

import pandas as pd

from alkbald.data import SOURCES
from alkbald.records.versions import recorded_settings
from alkbald.reporting.acquired import acquired_batches, acquired_runs


def study(results: Path, data_root: Path) -> Path:
    """Records RESULTS/acquired_images/images.csv: index in the training set, and the pixels as hexadecimal bytes.

    Args:
        results: folder whose learning_curves/ has the runs (`reporting.acquired.acquired_runs`).
        data_root: folder of downloads.

    Returns:
        The file.

    Raises:
        FileNotFoundError: none of the methods has such a run.
        RecordError: several runs of one method and seed.
        DataError: the data set is not there and cannot be downloaded.
    """
    run = next(iter(acquired_runs(results).values()))
    images = SOURCES[recorded_settings(run)["data.name"]](data_root).train_images
    rows = [
        {"index": index, "pixels": (images[index] * 255).round().byte().numpy().tobytes().hex()}
        for index in sorted({index for batch in acquired_batches(results).values() for index in batch["index"]})
    ]
    path = results / "acquired_images" / "images.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")
    print(f"recorded {len(rows)} images in {path.parent}")
    return path
