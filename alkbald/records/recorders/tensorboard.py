"""A run in TensorBoard: RUN/tensorboard. Its event file is written anew, from the record, at every start."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from alkbald.records.recorders.entries import Entry, caption


class TensorBoard:
    """See `alkbald.records.recorders.Tracker`."""

    packages = ("tensorboard",)

    def __init__(self, folder: Path, identity: str, settings: dict[str, Any]):
        from torch.utils.tensorboard import SummaryWriter  # here: a run without it does not need it
        from torch.utils.tensorboard.summary import hparams

        path = folder / "tensorboard"
        self.where = str(path)
        for file in path.glob("events.out.tfevents.*"):
            file.unlink()
        # The writer's first event tells a TensorBoard that has shown the old file to forget what it has read.
        self._writer = cast(Any, SummaryWriter(self.where, purge_step=0))  # its types lack the file's writer
        values = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in settings.items()
        }
        for summary in hparams(values, {"rounds/accuracy": 0}):
            self._writer.file_writer.add_summary(summary)

    def log(self, entry: Entry, images: np.ndarray | None) -> None:
        for tag, value in entry.values.items():
            if isinstance(value, str):
                self._writer.add_text(tag, value, entry.step)
            else:  # in double precision: exactly what the record holds
                self._writer.add_scalar(tag, value, entry.step, new_style=True, double_precision=True)
        if images is not None:
            self._writer.add_image("acquired/images", images, entry.step, dataformats="HWC")
            self._writer.add_text("acquired/labels", caption(entry.points), entry.step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
