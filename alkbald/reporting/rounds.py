"""From the records of runs to tables of rounds, and from those to curves.

A *curve* is what the trials of one method, batch size, data set and pool have in common; its trials differ in their
seed. A *pool* is told by the noise on its images (`data.noise`): methods are compared on the same pool.

Curves are named METHOD-ACQSIZE, as in configs/curve, if the pool has the noise of the paper's 2-BALD runs. Of other
pools the name says so: "batchbald-5 without noise". Accuracies are shares, not percents.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd

from alkbald.errors import RecordError
from alkbald.records.files import read_record
from alkbald.records.schema import ROUNDS
from alkbald.records.versions import defining, recorded_settings

#: What tells curves apart; the trials of one curve differ in nothing but their seed.
CURVE = ["data", "method", "acq_size", "noise", "variant"]

#: Standard deviation of the noise on the pool of the paper's 2-BALD runs. Its BatchBALD runs have none.
PAPER_NOISE = 0.1

Table = TypeVar("Table", pd.DataFrame, pd.Series)


def load_runs(folders: Iterable[str | Path], *, settings_apart: Sequence[str] = ()) -> pd.DataFrame:
    """All rounds of all runs below the folders, with the columns of `CURVE` and seed in front.

    `noise` is the standard deviation of the noise on the pool (`data.noise`).
    `variant` names the further settings in which these runs differ from each other ("num_samples=8"), so that runs of
    different settings are never taken for trials of one curve; empty where they differ in none.

    Args:
        folders: with runs, at any depth.
        settings_apart: keys of further settings ("num_samples"): each is a column of its own, last, and no part of
            `variant`.

    Raises:
        FileNotFoundError: no run is there.
    """
    paths = sorted({path.resolve() for folder in folders for path in Path(folder).rglob("rounds.csv")})
    if not paths:
        raise FileNotFoundError(f"no run (rounds.csv) below {', '.join(map(str, folders))}")
    settings = [defining(recorded_settings(path.parent)) for path in paths]
    apart = [{key: run.pop(key) for key in settings_apart} for run in settings]
    named = [
        [*(run.pop(key) for key in ("data.name", "method.name", "acq_size")), float(run.pop("data.noise")), run["seed"]]
        for run in settings
    ]
    if all(run["data.split_seed"] == run["seed"] for run in settings):  # a split a trial
        settings = [{key: value for key, value in run.items() if key != "data.split_seed"} for run in settings]
    values: dict[str, set[str]] = {}
    for key, value in (item for run in settings for item in run.items()):
        values.setdefault(key, set()).add(str(value))
    differing = [key for key, several in values.items() if len(several) > 1 and key != "seed"]
    tables = []
    for path, run, (*curve, seed), columns in zip(paths, settings, named, apart, strict=True):
        rounds = pd.DataFrame(read_record(path.parent).rounds, columns=ROUNDS.names).replace("", None)
        rounds[ROUNDS.numbers] = rounds[ROUNDS.numbers].apply(pd.to_numeric)
        variant = ", ".join(f"{key}={run[key]}" for key in differing if key in run)
        for place, (key, value) in enumerate(zip([*CURVE, "seed"], [*curve, variant, seed], strict=True)):
            rounds.insert(place, key, value)
        tables.append(rounds.assign(**columns))
    return pd.concat(tables, ignore_index=True)


def pool_suffix(noise: float) -> str:
    """What the name of a curve says of its pool: nothing of a pool with the paper's noise, else " without noise" or
    " with noise 0.2"."""
    if noise == PAPER_NOISE:
        return ""
    return f" with noise {noise:g}" if noise else " without noise"


def curve_names(rounds: pd.DataFrame) -> pd.Series:
    """The name of every row's curve, of its columns method, acq_size and noise."""
    return rounds["method"] + "-" + rounds["acq_size"].astype(str) + rounds["noise"].map(pool_suffix)


def method_and_size(name: str) -> str:
    """METHOD-ACQSIZE of a curve's name, whichever its pool."""
    return name.partition(" ")[0]


def last_size(curve: pd.DataFrame) -> int:
    """The labelled-set size that all trials of a curve have come to."""
    return int(curve.groupby("seed")["labelled"].max().min())


def by_trial(curve: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of a curve's rounds: a row for each labelled-set size that a trial came by, a column for each seed.

    Raises:
        RecordError: two runs have one seed.
    """
    _check_one_run_each(curve, ["seed"])
    return curve.pivot(index="labelled", columns="seed", values=column)


def interpolated(table: Table, sizes: Iterable[int] = ()) -> Table:
    """At its own labelled-set sizes and these: a trial's value there, or linear between its rounds; NaN beyond them."""
    return table.reindex(table.index.union(list(sizes))).interpolate(method="index", limit_area="inside")


def unfinished(curve: pd.DataFrame) -> int:
    """How many of a curve's trials have not come to an end: their last round on record acquired a batch."""
    return int(curve.sort_values("round").groupby("seed").tail(1)["batch"].notna().sum())


def check_comparable(rounds: pd.DataFrame, *, same: Iterable[str] = ("data", "noise", "variant")) -> None:
    """Raises RecordError for rounds that differ in one of these columns, or of two runs of one curve and seed.

    By default these are the data set, the pool, and whatever else is neither curve nor seed.
    """
    for key in same:
        if rounds[key].nunique() > 1:
            differing = ", ".join(map(str, sorted(rounds[key].unique())))
            raise RecordError(f"runs that differ in {key} are not compared: {differing}")
    _check_one_run_each(rounds, ["method", "acq_size", "noise", "seed"])


def _check_one_run_each(rounds: pd.DataFrame, columns: list[str]) -> None:
    """Raises RecordError for two runs that are alike in these columns, which tell curve and seed."""
    twice = rounds[rounds.duplicated([*columns, "labelled"])]
    if not twice.empty:
        which = f"{curve_names(twice).iloc[0]}, seed {twice['seed'].iloc[0]}"
        raise RecordError(f"two runs of one curve and seed are not compared; move one of them away: {which}")


def accuracy_curves(rounds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The accuracies of each curve, by its name, which tells pools apart: a table as `by_trial` makes it.

    Raises:
        RecordError: the rounds differ in more than curve, pool and seed (`check_comparable`).
    """
    check_comparable(rounds, same=("data", "variant"))
    return {
        curve_names(curve).iloc[0]: by_trial(curve, "accuracy")
        for _, curve in rounds.groupby(["method", "acq_size", "noise"])
    }
