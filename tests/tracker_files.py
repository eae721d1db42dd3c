"""What trackers have written, by their own readers' formats, as the steps of every tag."""

import io
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from alkbald.records.recorders.wandb import records_of

#: By tag, (step, value) in the order in which they were written.
Series = dict[str, list[tuple[int, object]]]


def read_tensorboard(folder: Path) -> Series:
    """By TensorBoard's own reader, which leaves out what a later writer has taken back."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    accumulator.Reload()
    series: Series = {}
    for tag in accumulator.Tags()["tensors"]:
        arrays = [(event.step, make_ndarray(event.tensor_proto).ravel()[0]) for event in accumulator.Tensors(tag)]
        text = tag.endswith("/text_summary")
        series[tag.removesuffix("/text_summary")] = [(step, one.decode() if text else one) for step, one in arrays]
    for tag in accumulator.Tags()["images"]:
        series[tag] = [(event.step, (event.width, event.height)) for event in accumulator.Images(tag)]
    return series


def tensorboard_images(folder: Path) -> list[np.ndarray]:
    """The pictures of acquired points, bytes [height, width], in order."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0})
    accumulator.Reload()
    events = accumulator.Images("acquired/images")
    return [np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("L")) for event in events]


def tensorboard_hyperparameters(folder: Path) -> dict[str, object]:
    """By name, as TensorBoard's plugin for them has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    content = accumulator.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def read_wandb(folder: Path) -> Series:
    """Of the one offline run in a run's folder: by key, (W&B's own step, value)."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    series = defaultdict(list)
    for record in records_of(path):
        if record.HasField("history"):
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for key, value in row.items():
                if not key.startswith("_"):
                    series[key].append((row["_step"], value))
    return dict(series)


def wandb_images(folder: Path) -> list[np.ndarray]:
    """As `tensorboard_images`."""
    (files,) = folder.glob("wandb/offline-run-*/files")
    paths = [files / str(path) for _, path in read_wandb(folder)["acquired/images.path"]]
    return [np.asarray(Image.open(path).convert("L")) for path in paths]


def wandb_config(folder: Path) -> dict[str, object]:
    """The settings of the one offline run in a run's folder, without W&B's own."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    config = {}
    for record in records_of(path):
        for part in [record.run.config] * record.HasField("run") + [record.config] * record.HasField("config"):
            config |= {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in part.update}
    return {key: value for key, value in config.items() if not key.startswith("_")}


def said_by_a_tracker(run) -> Series:
    """What a tracker has to say of a run, from its tables: by tag, (labels or epochs so far, value), values exact."""
    from alkbald.records.schema import EPOCHS, ROUNDS

    series = defaultdict(list)
    for row in run.rounds:
        for column in ROUNDS.columns:
            group = "seconds" if column.name.startswith("seconds_") else "rounds"
            if column.empty.startswith("in the last round") and group == "rounds":
                group = "batch"
            if row[column.name]:
                value = column.type(row[column.name])
                series[f"{group}/{column.name}"].append((int(row["labelled"]), value))
    for total, row in enumerate(run.epochs, 1):
        for column in EPOCHS.columns:
            if row[column.name]:
                series[f"epochs/{column.name}"].append((total, column.type(row[column.name])))
    return dict(series)
