"""A run in W&B (Weights & Biases). Offline, its folder is written anew, from the record, at every start; online, what
the server has not got yet is sent.

W&B's own step is the entry's place. The charts' axes are `labelled` and `total_epochs`.
"""

import json
import os
import shutil
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from alkbald.records.recorders.entries import EPOCH_AXIS, LABEL_AXIS, Entry, caption

#: Seconds that a server may take to answer at the start, and to get the rest at the end.
_PATIENCE = 60
#: Seconds without a new line after which W&B's own log counts as complete.
_SILENCE = 1.0


class WandB:
    """See `alkbald.records.recorders.Tracker`."""

    packages = ("wandb",)
    choices: ClassVar = {"mode": ("offline", "online")}

    def __init__(
        self,
        folder: Path,
        identity: str,
        settings: dict[str, Any],
        *,
        mode: str | None,
        project: str,
        entity: str | None,
    ):
        mode = mode or os.environ.get("WANDB_MODE") or "offline"
        online = mode == "online"
        if not online:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it reports its own errors over the network
            for old in folder.glob(f"wandb/offline-run-*-{identity}"):
                shutil.rmtree(old)
        import wandb  # here: a run without it does not need it

        if online and not wandb.login(prompt=False, verify=False):  # else W&B asks on the terminal, and waits
            raise OSError("not logged in: run `wandb login`, or leave out mode=online")
        method, size = settings["method.name"], settings["acq_size"]
        self._image = wandb.Image
        self._run = wandb.init(
            dir=folder,
            id=identity,
            name=f"{method} acq_size={size} seed={settings['seed']}",
            group=f"{settings['data.name']} {method} acq_size={size}",
            project=project,
            entity=entity,
            config=settings,
            allow_val_change=True,
            mode=cast(Any, mode),  # W&B refuses what is no mode
            resume="allow" if online else None,
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=_PATIENCE,
                finish_timeout=_PATIENCE,
                finish_timeout_raises=True,
            ),
        )
        offline_folder = Path(self._run.dir).parent if mode == "offline" else None
        self.where = str(offline_folder or self._run.url or mode)
        self._log = offline_folder and offline_folder / "logs" / "debug-internal.log"
        self._known = self._run.step if online else 0  # entries before this place are on the server
        self._run.define_metric("epochs/*", step_metric=EPOCH_AXIS)
        for group in ("rounds", "seconds", "batch", "acquired"):
            self._run.define_metric(f"{group}/*", step_metric=LABEL_AXIS)

    def log(self, entry: Entry, images: np.ndarray | None) -> None:
        if entry.place < self._known:
            return
        values: dict[str, Any] = {entry.axis: entry.step} | entry.values
        if images is not None:
            values["acquired/images"] = self._image(images, caption=caption(entry.points))
        self._run.log(values, step=entry.place, commit=True)

    def flush(self) -> None:
        """Nothing is held back here: W&B's own process takes every entry at once."""

    def close(self) -> None:
        try:
            self._finish()
        except Exception:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Ends W&B's process, or what is left of it: else W&B does so at the end of ours, with tracebacks."""
        import wandb

        with suppress(Exception):
            wandb.teardown()

    def _finish(self) -> None:
        self._run.finish()
        if self._log:  # W&B's process says there alone that it could not write, if at all, and perhaps after the end
            self._wait_for_silence(self._log)
            for line in self._log.read_text().splitlines():
                if '"level":"ERROR"' in line:
                    raise OSError(json.loads(line)["msg"])
            (path,) = self._log.parents[1].glob("run-*.wandb")
            kinds = [record.WhichOneof("record_type") for record in records_of(path)]
            if "exit" not in kinds:
                raise OSError(f"{path} is not whole: file too large, or no room for it")

    def _wait_for_silence(self, log: Path) -> None:
        """Until nothing has been written there for a while."""
        end, size = time.monotonic() + _PATIENCE, -1
        while size != (size := log.stat().st_size) and time.monotonic() < end:
            time.sleep(_SILENCE)


def records_of(path: Path) -> list[Any]:
    """The records of a .wandb file, which is a LevelDB log: blocks of 32 KiB, in them pieces of records with a header
    of 7 bytes (checksum, length, kind: whole, first, middle, last). A torn end is left out."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data, position, pieces, records = path.read_bytes(), 7, [], []  # 7 bytes say that it is W&B's
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        piece = data[position + 7 : position + 7 + length]
        if kind == 0 or len(piece) < length:
            break
        pieces.append(piece)
        position += 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(b"".join(pieces))
            records.append(record)
            pieces = []
    return records
