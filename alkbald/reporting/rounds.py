"""From the records of runs to tables of rounds, and from those to curves.

A *curve* is what the trials of one method, batch size and data set have in common; its trials differ in their seed.
Curves are named METHOD-ACQSIZE, as in configs/curve. Accuracies are shares, not percents.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pandas as pd

from alkbald.errors import RecordError
from alkbald.records.files import read_record
from alkbald.records.schema import ROUNDS
from alkbald.records.versions import defining, recorded_settings

#: What tells curves apart; the trials of one curve differ in nothing but their seed.
CURVE = ["data", "method", "acq_size", "variant"]

Table = TypeVar("Table", pd.DataFrame, pd.Series)


def load_runs(folders: Iterable[str | Path]) -> pd.DataFrame:
    """All rounds of all runs below the folders, with columns data, method, acq_size, variant and seed in front.

    `variant` names the further settings in which these runs differ from each other ("num_samples=8"), so that runs of
    different settings are never taken for trials of one curve; empty where they differ in none.

    Raises:
        FileNotFoundError: no run is there.
    """
    paths = sorted({path.resolve() for folder in folders for path in Path(folder).rglob("rounds.csv")})
    if not paths:
        raise FileNotFoundError(f"no run (rounds.csv) below {', '.join(map(str, folders))}")
    settings = [defining(recorded_settings(path.parent)) for path in paths]
    named = [[run.pop(key) for key in ("data.name", "method.name", "acq_size")] + [run["seed"]] for run in settings]
    if all(run["data.split_seed"] == run["seed"] for run in settings):  # a split a trial
        settings = [{key: value for key, value in run.items() if key != "data.split_seed"} for run in settings]
    values: dict[str, set[str]] = {}
    for key, value in (item for run in settings for item in run.items()):
        values.setdefault(key, set()).add(str(value))
    differing = [key for key, several in values.items() if len(several) > 1 and key != "seed"]
    tables = []
    for path, run, (*curve, seed) in zip(paths, settings, named, strict=True):
        rounds = pd.DataFrame(read_record(path.parent).rounds, columns=ROUNDS.names).replace("", None)
        rounds[ROUNDS.numbers] = rounds[ROUNDS.numbers].apply(pd.to_numeric)
        variant = ", ".join(f"{key}={run[key]}" for key in differing if key in run)
        for place, (key, value) in enumerate(zip([*CURVE, "seed"], [*curve, variant, seed], strict=True)):
            rounds.insert(place, key, value)
        tables.append(rounds)
    return pd.concat(tables, ignore_index=True)


def curve_names(rounds: pd.DataFrame) -> pd.Series:
    """METHOD-ACQSIZE of every round."""
    return rounds["method"] + "-" + rounds["acq_size"].astype(str)


def last_size(curve: pd.DataFrame) -> int:
    """The labelled-set size that all trials of a curve have come to."""
    return int(curve.groupby("seed")["labelled"].max().min())


def by_trial(curve: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of a curve's rounds: a row for each labelled-set size that a trial came by, a column for each seed."""
    return curve.pivot(index="labelled", columns="seed", values=column)


def interpolated(table: Table, sizes: Iterable[int] = ()) -> Table:
    """At its own labelled-set sizes and these: a trial's value there, or linear between its rounds; NaN beyond them."""
    return table.reindex(table.index.union(list(sizes))).interpolate(method="index", limit_area="inside")


def unfinished(curve: pd.DataFrame) -> int:
    """How many of a curve's trials have not come to an end: their last round on record acquired a batch."""
    return int(curve.sort_values("round").groupby("seed").tail(1)["batch"].notna().sum())


def check_comparable(rounds: pd.DataFrame) -> None:
    """Raises RecordError for rounds of several data sets, of runs that differ in more than curve and seed, or of two
    runs of one curve and seed."""
    for key in ("data", "variant"):
        if rounds[key].nunique() > 1:
            raise RecordError(f"runs that differ in {key} are not compared: {', '.join(sorted(rounds[key].unique()))}")
    if rounds.duplicated(["method", "acq_size", "seed", "labelled"]).any():
        raise RecordError("two runs of one curve and seed are not compared; move one of them away")


def accuracy_curves(rounds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The accuracies of each curve, by its name: a table as `by_trial` makes it.

    Raises:
        RecordError: the rounds cannot be compared (`check_comparable`).
    """
    check_comparable(rounds)
    return {
        f"{method}-{acq_size}": by_trial(curve, "accuracy")
        for (method, acq_size), curve in rounds.groupby(["method", "acq_size"])
    }
