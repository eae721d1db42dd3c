"""Which runs are below some folders, and which of them can be compared.

Runs can be compared if they have the same data, noise and protocol: every setting that defines a run, but for the
method and its own settings, the batch size and the seed. Such runs are a *group*.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from alkbald.errors import RecordError
from alkbald.records.files import Record, read_record
from alkbald.records.status import status
from alkbald.records.versions import defining, recorded_settings
from alkbald.reporting.names import data_set_name, method_name
from alkbald.reporting.page.reliability import reliability
from alkbald.reporting.rounds import load_runs

#: In these, and in the method's own settings, the runs of a group may differ.
_FREE = ("acq_size", "seed")
_SPLIT = "data.split_seed"
_NAMED = ("method.name", *_FREE)


@dataclass(frozen=True)
class PageRun:
    """A run, as the page shows it.

    Attributes:
        folder: where its files are.
        status: of `records.status.status`.
        settings: all of them, by dotted names; none of a damaged run.
        record: its complete rounds; none of a damaged run.
        devices: what it ran on, by provenance.json.
        commits: of the code that it ran with, likewise.
    """

    folder: Path
    status: dict[str, str]
    settings: dict[str, Any]
    record: Record
    devices: tuple[str, ...]
    commits: tuple[str, ...]

    @property
    def seed(self) -> int:
        """Of the trial."""
        return int(self.settings["seed"])


@dataclass(frozen=True)
class Group:
    """Runs that can be compared.

    Attributes:
        name: data set and noise.
        differs: the settings in which it differs from other groups of the page, as text.
        runs: with rounds, one of each curve and seed.
        twice: runs that are left out because another one has their settings, and at least as many rounds.
        rounds: of `runs`, as `reporting.rounds.load_runs` gives them, and the column `curve`, its label.
    """

    name: str
    differs: tuple[str, ...]
    runs: tuple[PageRun, ...]
    twice: tuple[PageRun, ...]
    rounds: pd.DataFrame

    @property
    def title(self) -> str:
        """Name and differing settings."""
        return ", ".join([self.name, *self.differs])

    def label(self, run: PageRun) -> str:
        """Of a run's curve."""
        return str(self.rounds.loc[self.rounds["folder"] == str(run.folder), "curve"].iloc[0])

    def of(self, curve: str) -> list[PageRun]:
        """The runs of a curve, by seed."""
        return sorted((run for run in self.runs if self.label(run) == curve), key=lambda run: run.seed)


def read_runs(folders: Sequence[Path]) -> list[PageRun]:
    """All runs below the folders, damaged ones too.

    Raises:
        RecordError: there is none.
    """
    files = ("config.yaml", "rounds.csv")
    found = sorted({path.parent.resolve() for folder in folders for name in files for path in folder.rglob(name)})
    runs = [_read(folder) for folder in found]
    if not runs:
        raise RecordError(f"no run (config.yaml) below {', '.join(map(str, folders))}")
    return runs


def _read(folder: Path) -> PageRun:
    settings, record, state = {}, Record([], [], []), status(folder)
    try:
        settings, found = recorded_settings(folder), read_record(folder)
        for row in found.rounds:
            reliability(row)  # raises for what files are not checked for
        record = found
    except RecordError as error:
        state |= {"state": "damaged", "reason": str(error)}
    devices = _of_starts(folder, "device") or ("a machine that is not recorded",)
    return PageRun(folder, state, settings, record, devices, _of_starts(folder, "commit"))


def _of_starts(folder: Path, key: str) -> tuple[str, ...]:
    """What provenance.json says of a run's starts, each value once; none if it cannot be read."""
    try:
        starts = json.loads((folder / "provenance.json").read_text())
        return tuple(dict.fromkeys(str(start[key]) for start in starts if start[key] is not None))
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return ()


def groups(runs: Iterable[PageRun]) -> list[Group]:
    """The groups of all runs that have rounds; those of most curves first, then of most runs."""
    by_protocol: dict[str, list[PageRun]] = {}
    for run in runs:
        if run.record.rounds:
            by_protocol.setdefault(_protocol(run, without=_SPLIT), []).append(run)
    parts: list[list[PageRun]] = []
    for members in by_protocol.values():
        if all(run.settings[_SPLIT] == run.seed for run in members):  # a split a trial
            parts.append(members)
        else:
            by_split: dict[str, list[PageRun]] = {}
            for run in members:
                by_split.setdefault(str(run.settings[_SPLIT]), []).append(run)
            parts += by_split.values()
    differing = differing_settings([part[0] for part in parts])
    made = [_group(part, differing[number]) for number, part in enumerate(parts)]
    return sorted(made, key=lambda group: (-group.rounds["curve"].nunique(), -len(group.runs), group.title))


def _protocol(run: PageRun, without: str) -> str:
    shared = {key: value for key, value in defining(run.settings).items() if _is_shared(key) and key != without}
    return json.dumps(shared, sort_keys=True, default=str)


def _is_shared(key: str) -> bool:
    return key not in _FREE and not key.startswith("method.")


def differing_settings(runs: Sequence[PageRun]) -> list[dict[str, str]]:
    """Of each run, the shared settings in which these runs differ, with its values."""
    settings = [{key: str(value) for key, value in defining(run.settings).items()} for run in runs]
    keys = dict.fromkeys(key for each in settings for key in each if _is_shared(key))
    several = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    return [{key: each[key] for key in several if key in each} for each in settings]


def unusual_settings(runs: Sequence[PageRun]) -> dict[Path, list[str]]:
    """Of each run, by its folder, the settings whose value is not the commonest one of all runs: "num_samples=20".
    Method, batch size and seed are not among them: the page names them of every run."""
    settings = {
        run.folder: {key: str(value) for key, value in defining(run.settings).items()} for run in runs if run.settings
    }
    values: dict[str, Counter[str]] = {}
    for key, value in (item for each in settings.values() for item in each.items()):
        values.setdefault(key, Counter())[value] += 1
    usual = {key: counts.most_common(1)[0][0] for key, counts in values.items()}
    return {
        folder: [f"{key}={value}" for key, value in each.items() if value != usual[key] and key not in _NAMED]
        for folder, each in settings.items()
    }


def _group(runs: list[PageRun], differs: dict[str, str]) -> Group:
    best: dict[str, PageRun] = {}
    for run in sorted(runs, key=lambda run: -len(run.record.rounds)):
        best.setdefault(json.dumps(defining(run.settings), sort_keys=True, default=str), run)
    kept = sorted(best.values(), key=lambda run: run.folder / "rounds.csv")
    rounds = load_runs([run.folder for run in kept])
    # load_runs sorts folders, and a run's rounds are in one piece: each begins with round 0.
    folders = [str(run.folder) for run in kept]
    rounds["folder"] = [folders[number] for number in (rounds["round"] == 0).cumsum() - 1]
    labels = rounds["method"].map(method_name) + " " + rounds["acq_size"].astype(str)
    rounds["curve"] = labels + rounds["variant"].map(lambda variant: variant and f", {variant}")
    name = f"{data_set_name(rounds['data'].iloc[0])}, noise {rounds['noise'].iloc[0]:g}"
    rest = tuple(f"{key}={value}" for key, value in differs.items() if key not in ("data.name", "data.noise"))
    return Group(name, rest, tuple(kept), tuple(run for run in runs if run not in kept), rounds)
