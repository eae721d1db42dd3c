"""Chooses a batch from predictions in files:  python -m alkbald.select FOLDER --method 2bald --batch-size 10

Every file is a NumPy array (.npy) of natural log-probabilities [N, K, C]: a shard of the pool. The points are counted
through all files, those of a folder in the order of their names (numbers in names by their value). The files are
mapped, not loaded: a pool may be larger than memory.
"""

import argparse
import csv
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alkbald.acquisition import METHODS, Batch


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line. Errors are one line, and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m alkbald.select", description="Chooses a batch from log-probabilities [N, K, C] in .npy files."
    )
    parser.add_argument("shards", nargs="+", type=Path, help="files, or folders of files")
    parser.add_argument("--method", default="2bald", choices=METHODS, metavar="METHOD", help=f"{', '.join(METHODS)}")
    parser.add_argument("--batch-size", type=int, required=True, help="points to choose")
    parser.add_argument("--seed", type=int, default=0, help="of methods that draw at random")
    parser.add_argument("--device", default="cpu", type=_device, help="where to compute, such as cuda")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a setting of the method")
    options = parser.parse_args(arguments)
    try:
        paths = shard_paths(options.shards)
        shards = [_mapped(path) for path in paths]
        own = dict(_option(text) for text in options.option)
        if "target_log_probs" in own:
            own["target_log_probs"] = _mapped(Path(str(own["target_log_probs"])))
        if METHODS[options.method].needs_predictions:
            own["device"] = options.device
        generator = torch.Generator().manual_seed(options.seed)
        batch = METHODS[options.method](shards, options.batch_size, generator=generator, **own)
        write_batch(batch, paths, [len(shard) for shard in shards])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        parser.error(" ".join(str(error).split()))


def shard_paths(places: Sequence[Path]) -> list[Path]:
    """The files, and those of the folders in the order of their names, numbers by their value.

    Raises:
        ValueError: a folder without .npy files.
    """
    paths: list[Path] = []
    for place in places:
        found = [place] if place.is_file() else sorted(place.glob("*.npy"), key=lambda path: _natural(path.name))
        if not found:
            raise ValueError(f"there are no .npy files in {place}")
        paths += found
    return paths


def _mapped(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays: save log_probs alone, with numpy.save")
    return array


def _device(text: str) -> torch.device:
    try:
        return torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text} is no device: cpu or cuda, say") from error


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"an option must be NAME=VALUE, got {text}")
    if name in (instead := {"batch_size": "--batch-size", "generator": "--seed", "device": "--device"}):
        raise ValueError(f"{name} is no --option: use {instead[name]}")
    if name == "log_probs":
        raise ValueError("log_probs is no --option: name the files")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def write_batch(batch: Batch, paths: Sequence[Path], sizes: Sequence[int]) -> None:
    """Prints a CSV table: position in the batch, pool index, file, row in the file, and score after the pick."""
    starts = np.cumsum([0, *sizes])
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["position", "index", "file", "row", "score"])
    for position, (index, score) in enumerate(zip(batch.indices, batch.scores, strict=True)):
        shard = int(np.searchsorted(starts, index, side="right")) - 1
        writer.writerow([position, index, paths[shard], index - starts[shard], score])
    print(f"the batch is worth {batch.joint_mutual_information:.4f} nats", file=sys.stderr)


if __name__ == "__main__":
    main()
