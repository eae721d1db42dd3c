"""What shows a run elsewhere while it goes on. The record (rounds.csv and the files beside it) is written always, and
is the truth; a tracker follows it: at the start it gets what it lacks, and after every round that round. So nothing is
missing there and nothing is there twice, at whatever moment a run was killed.

A tracker never harms a run. One that fails is told of once, and left out from then on.

To add one: a file here with a class like `Tracker`, its line in `RECORDERS`, and a YAML in configs/recorder/.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from alkbald.records.files import replace_file
from alkbald.records.locks import locked
from alkbald.records.recorders.entries import Entry, entries, grid
from alkbald.records.recorders.tensorboard import TensorBoard
from alkbald.records.recorders.wandb import WandB
from alkbald.records.run import Run, named
from alkbald.records.versions import digest

#: In a run's folder: which tracker has got all of a complete run.
TRACKED = "tracked.json"

#: Images [B, channels, height, width] of these pool positions.
Images = Callable[[list[int]], np.ndarray]


class Tracker(Protocol):
    """Something that shows a run. It may raise whatever it likes.

    Its class has `packages`: what it imports, by the names that are imported, when one is made. It may have `choices`:
    by option, the values that this may have beside None. It is called with the run's folder, an identity (the same
    whenever the run goes on, and no other run's), the settings by dotted names, and its own options as keywords. It
    then holds a beginning of the run, or nothing.

    Attributes:
        where: the run can be looked at, in words for the user.
    """

    where: str

    def log(self, entry: Entry, images: np.ndarray | None) -> None:
        """Shows an entry, unless it is there.

        Args:
            images: of a batch, bytes [height, width, channels]: its points in a grid.
        """

    def flush(self) -> None:
        """What was logged is to be seen from now on. Called after every round."""

    def close(self) -> None:
        """What was logged is kept, and the run has ended for now."""


#: Classes by the setting `recorder.name`.
RECORDERS: dict[str, Callable[..., Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB}
#: The setting for no tracker.
NONE = "none"


def check_recorder(options: dict[str, Any]) -> None:
    """Raises ValueError unless there is such a tracker with such options, and its packages are installed.

    Args:
        options: the group `recorder` of the settings: its name, and the tracker's own options.
    """
    name = options.get("name")
    if not isinstance(name, str) or name not in (NONE, *RECORDERS):
        raise ValueError(f"recorder.name must be one of {', '.join([NONE, *RECORDERS])}, got {name}")
    own = options.keys() - {"name"}
    tracker = RECORDERS.get(name)
    known = {} if tracker is None else inspect.signature(tracker).parameters
    wanted = {key for key, parameter in known.items() if parameter.kind is parameter.KEYWORD_ONLY}
    if own != wanted:
        verb = "has no option" if own - wanted else "needs the option"
        raise ValueError(f"recorder={name} {verb} {min(own - wanted or wanted - own)}")
    for key, allowed in getattr(tracker, "choices", {}).items():
        if options[key] is not None and options[key] not in allowed:
            raise ValueError(f"recorder.{key} must be one of {', '.join(allowed)} or null, got {options[key]}")
    for package in getattr(tracker, "packages", ()):
        if find_spec(package) is None:
            raise ValueError(f"recorder={name} needs the package {package}: pip install 'alkbald[trackers]'")


class Follower:
    """Tells a tracker what a run's record holds. Without a tracker it does nothing.

    Args:
        run: whose folder this process has locked; its settings say which tracker.
        images: of acquired points.
    """

    def __init__(self, run: Run, images: Images):
        self._run, self._images = run, images
        self._options = dict(run.settings.recorder)
        self._name = self._options.pop("name")
        self._tracker: Tracker | None = None
        self._told = 0
        if self._name != NONE:
            with self._without_harm():
                values = named(run.settings)
                settings = {key: value for key, value in values.items() if not key.startswith("recorder.")}
                make = RECORDERS[self._name]
                self._tracker = make(run.folder, identity(run.folder, values), settings, **self._options)
                tqdm.write(f"recorder={self._name}: {self._tracker.where}")
            self.catch_up()

    def catch_up(self) -> None:
        """Tells the tracker what has been recorded since."""
        with self._without_harm():
            if self._tracker:
                for entry in islice(entries(self._run.record), self._told, None):
                    positions = [int(point["pool_position"]) for point in entry.points]
                    self._tracker.log(entry, grid(self._images(positions)) if positions else None)
                    self._told += 1
                self._tracker.flush()

    def close(self) -> None:
        """Ends the tracker, and notes that it has all of a complete run."""
        with self._without_harm():
            if self._tracker:
                tracker, self._tracker = self._tracker, None
                tracker.close()
                if self._run.is_complete:
                    replace_file(self._run.folder / TRACKED, _tracked(self._run))

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _without_harm(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a tracker raises, the run is worth more
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            tqdm.write(
                f"note: recorder={self._name} failed, and the run goes on without it: {reason:.300}; the record is "
                "whole, and the tracker gets what it lacks when the same command is given again",
                file=sys.stderr,
            )
            tracker, self._tracker = self._tracker, None
            if tracker:
                with suppress(Exception):
                    tracker.close()


def follow_complete(run: Run, images: Images) -> None:
    """Gives the tracker what it lacks of a run that is complete, if anything: it was turned on later, failed, or was
    killed with the run.

    Raises:
        RecordError: another process has the run's lock.
    """
    if run.settings.recorder["name"] == NONE:
        return
    with suppress(OSError):
        if (run.folder / TRACKED).read_text() == _tracked(run):
            return
    with locked(run.folder), Follower(run, images):
        pass


def identity(folder: Path, settings: dict[str, Any]) -> str:
    """Of a run, for a tracker: a hash of what tells the run apart and of its first start, which its folder keeps.

    The same settings begun anew in another folder are another run.
    """
    first_start = json.loads((folder / "provenance.json").read_text())[0]
    text = json.dumps([digest(settings), first_start], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _tracked(run: Run) -> str:
    """What `TRACKED` says once the tracker has got all of a complete run."""
    return json.dumps({"recorder": run.settings.recorder, "entries": sum(1 for _ in entries(run.record))}) + "\n"
