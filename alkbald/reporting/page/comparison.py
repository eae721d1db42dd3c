"""Which curve of a group is better, by how much, and how sure.

Curves are compared by their mean accuracy (`reporting.tables.mean_accuracy`) over the labelled-set sizes that both have
come to, trial by trial: trials of one seed share the pool and all that does not depend on the method. Sizes are those
of the trial with fewer rounds; the other is interpolated there, so that finer steps are no advantage.
"""

from typing import Any, NamedTuple

import pandas as pd

from alkbald.reporting.page.runs import Group
from alkbald.reporting.rounds import by_trial, interpolated
from alkbald.reporting.tables import interval_of_mean, labels_needed, mean_accuracy, paired_difference

#: With fewer trials, an interval says little, and none is called sure.
ENOUGH_TRIALS = 3
#: Accuracies whose cost in labels is told.
THRESHOLDS = (0.8, 0.9, 0.95)


class Difference(NamedTuple):
    """A curve less another one, by pairs of trials.

    Attributes:
        curve, less: labels of the curves.
        start, end: labelled-set sizes that it is about.
        trials: how many pairs.
        mean, low, high: of the mean accuracy, with its 95% interval (NaN of one pair).
        last, last_low, last_high: of the accuracy at `end`.
    """

    curve: str
    less: str
    start: int
    end: int
    trials: int
    mean: float
    low: float
    high: float
    last: float
    last_low: float
    last_high: float

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if self.trials < ENOUGH_TRIALS:
            return "too few seeds"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not told apart"


def accuracies(group: Group) -> dict[str, pd.DataFrame]:
    """Of each curve, its accuracies: a row for each labelled-set size, a column for each seed."""
    return {str(label): by_trial(curve, "accuracy") for label, curve in group.rounds.groupby("curve", sort=False)}


def difference(curve: str, less: str, curves: dict[str, pd.DataFrame]) -> Difference | None:
    """A curve less another one; None without a pair of trials that both went on beyond their first round.

    Pairs that have not come half as far as the one that came farthest are left out: they are under way.
    """
    ours, theirs = curves[curve], curves[less]
    pairs = {seed: (ours[seed].dropna(), theirs[seed].dropna()) for seed in ours.columns.intersection(theirs.columns)}
    if not pairs:
        return None
    start = max(int(trial.index[0]) for pair in pairs.values() for trial in pair)
    ends = pd.Series({seed: min(int(trial.index[-1]) for trial in pair) for seed, pair in pairs.items()})
    reach = ends - start
    kept = ends[(reach > 0) & (2 * reach >= reach.max())]
    if kept.empty:
        return None
    end = int(kept.min())
    means: tuple[dict[int, float], dict[int, float]] = ({}, {})
    lasts: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for seed in kept.index:
        coarse = min(pairs[seed], key=len)
        grid = sorted({start, end, *coarse.index[(coarse.index > start) & (coarse.index < end)]})
        for side, trial in enumerate(pairs[seed]):
            means[side][seed] = mean_accuracy(trial, grid)
            lasts[side][seed] = interpolated(trial, [end])[end]
    area, last = (paired_difference(*map(pd.Series, both)) for both in (means, lasts))
    numbers: Any = (area["difference"], area["low"], area["high"], last["difference"], last["low"], last["high"])
    return Difference(curve, less, start, end, len(kept), *numbers)


class Standing(NamedTuple):
    """What a curve reached.

    Attributes:
        curve: its label.
        trials: how many the mean is of; without one, how many there are.
        mean, half: mean accuracy over the group's sizes, and half its 95% interval; NaN if no trial got so far.
        end: labelled-set size that its trials have come to, the farthest.
        needed: by threshold, mean labels to it over the trials that reach it, and how many do.
    """

    curve: str
    trials: int
    mean: float
    half: float
    end: int
    needed: dict[float, tuple[float, int]]


class Comparison(NamedTuple):
    """Of a group.

    Attributes:
        start, end: the labelled-set sizes that curves are ranked over: at least half of the curves came to `end`.
        standings: of all curves, the best first.
        leader: of highest mean accuracy, among the curves with enough trials.
        differences: the leader less each other curve that it can be compared with.
    """

    start: int
    end: int
    standings: list[Standing]
    leader: Standing
    differences: list[Difference]


def compare(group: Group) -> Comparison:
    """Ranks the curves of a group, and compares the first with all others."""
    curves = accuracies(group)
    ends = {label: int(table.index[-1]) for label, table in curves.items()}
    start = max(int(table.index[0]) for table in curves.values())
    end = sorted(ends.values(), reverse=True)[(len(ends) - 1) // 2]
    far = [label for label in curves if ends[label] >= end]
    coarse = min((curves[label][seed].dropna() for label in far for seed in curves[label]), key=len)
    grid = sorted({start, end, *coarse.index[(coarse.index > start) & (coarse.index < end)]})
    standings = [_standing(label, table, grid) for label, table in curves.items()]
    standings.sort(key=lambda standing: (pd.isna(standing.mean), -standing.mean))
    most = max(standing.trials for standing in standings if standing.curve in far)
    enough = [s for s in standings if s.curve in far and s.trials >= min(ENOUGH_TRIALS, most)]
    leader = enough[0]
    others = [difference(leader.curve, s.curve, curves) for s in standings if s is not leader]
    return Comparison(start, end, standings, leader, [found for found in others if found])


def _standing(label: str, table: pd.DataFrame, grid: list[int]) -> Standing:
    areas = table.apply(lambda trial: mean_accuracy(trial.dropna(), grid)).dropna() if len(grid) > 1 else pd.Series()
    needed = {}
    for threshold in THRESHOLDS:
        each = table.apply(labels_needed, threshold=threshold).dropna()
        needed[threshold] = (each.mean(), len(each))
    mean, half = (areas.mean(), interval_of_mean(areas)) if len(areas) else (float("nan"), float("nan"))
    trials = len(areas) or table.shape[1]
    return Standing(label, trials, mean, half, int(table.index[-1]), needed)


#: Parts of a round and their titles. Training is without validation, which is a part of its own.
PARTS = {
    "training": "training",
    "validation": "validation",
    "evaluation": "predicting the test set",
    "inference": "predicting the pool",
    "selection": "choosing the batch",
    "judging": "judging the batch",
}


def seconds(rounds: pd.DataFrame) -> pd.DataFrame:
    """A row for each round, a column for each part: seconds; 0 where the round did not have the part."""
    parts = pd.DataFrame({part: rounds[f"seconds_{part}"].astype(float).fillna(0) for part in PARTS})
    parts["training"] = (parts["training"] - parts["validation"]).clip(lower=0)
    return parts


def seconds_a_round(group: Group) -> pd.DataFrame:
    """A row for each curve, a column for each part: median seconds over the rounds that acquired a batch. (A machine
    that was busy for a while moves a mean.)"""
    acquiring = _acquiring(group)
    return seconds(acquiring).groupby(acquiring["curve"], sort=False).median()


def seconds_of_rounds(group: Group) -> pd.Series:
    """All parts together, of each round that acquired a batch; the index is its curve."""
    acquiring = _acquiring(group)
    return seconds(acquiring).sum(axis=1).set_axis(acquiring["curve"])


def _acquiring(group: Group) -> pd.DataFrame:
    return group.rounds[group.rounds["batch"].notna()]
