"""How far a run is, and a sweep: bars on a terminal. Where there is none, only the lines that a run tells anyway.

A run's time left is estimated from its own rounds: a round's seconds are taken to grow as the fourth root of its
labels. Of the 15 runs of results/ with 22 rounds and more, told after 2, 5, 10 and 20 rounds, half of the estimates
were within 15%, and all within a factor of 3. A run that stops at a target accuracy may end sooner.
"""

import alkbald.needs_experiments  # noqa: F401 (says what is missing)

# isort: split
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
#: Names of parts, where those of the record's columns do not say it to a reader.
_PARTS = {"inference": "scoring"}
#: Seconds between two looks at the clock while a part goes on.
_INTERVAL = 0.5
_GROWTH = 0.25
_silent = False


def tell(line: str) -> None:
    """Prints a line, above all bars."""
    tqdm.write(line)
    sys.stdout.flush()


def silence() -> None:
    """No run of this process shows bars from now on: other processes write to the same terminal."""
    global _silent
    _silent = True


def duration(seconds: float) -> str:
    """In words of a precision that an estimate has."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return "under a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def seconds_of_round(row: dict[str, str]) -> float:
    """Of all its parts; row: of rounds.csv."""
    of_parts = [key for key in row if key.startswith("seconds_") and key != "seconds_validation"]  # that is in training
    return sum(float(row[key]) for key in of_parts if row[key])


def labels_to_come(rounds: list[dict[str, str]], initial: int, max_labels: int, acq_size: int) -> list[float]:
    """Labels of the round that a run is in, and of those that come after it.

    Args:
        rounds: complete ones, rows of rounds.csv. What they acquired on average, the others are taken to acquire.
        initial, max_labels: labels of the first round, and of the last one at least.
        acq_size: what a round acquires, as long as none has.
    """
    batches = [int(row["batch"]) for row in rounds if row["batch"]]
    size = sum(batches) / len(batches) if batches else acq_size
    labels = [float(initial + sum(batches))]
    while labels[-1] < max_labels:
        labels.append(labels[-1] + size)
    return labels


def seconds_to_come(rounds: list[dict[str, str]], to_come: list[float]) -> list[float]:
    """Estimated seconds of each round to come: c * labels^(1/4), c such that the complete rounds took what they took.

    Args:
        rounds: complete ones, rows of rounds.csv; at least one.
        to_come: labels of the others.
    """
    took = sum(seconds_of_round(row) for row in rounds)
    weight = took / sum(int(row["labelled"]) ** _GROWTH for row in rounds)
    return [weight * labels**_GROWTH for labels in to_come]


class RunProgress:
    """Of a run: its round, the part that it is in, labels, time left; and a second bar for the steps of the part.

    Args:
        rounds: complete ones, rows of rounds.csv; the list grows while the run goes on.
        initial: labels of the first round.
        max_labels, acq_size: of the run's settings.
        shown: False: nothing is shown. True: bars, where there is a terminal.
    """

    def __init__(self, rounds: list[dict[str, str]], initial: int, max_labels: int, acq_size: int, *, shown: bool):
        self._rounds, self._sizes = rounds, (initial, max_labels, acq_size)
        self._disable = None if shown and not _silent else True  # None: where there is no terminal
        form = "{desc} |{bar:20}| {n:.0f} of {total} labels"
        self._bar = tqdm(total=max_labels, initial=initial, disable=self._disable, leave=False, bar_format=form)
        self._complete, self._part = -1, "beginning"
        self._begun = self._told = time.monotonic()

    def begin(self, part: str) -> None:
        """A part of the round begins; of a new round, its first."""
        self._part = _PARTS.get(part, part)
        if self._complete != len(self._rounds):
            self._complete, self._begun = len(self._rounds), time.monotonic()
        self._show()

    def bar(self, items: Iterable[_Item], unit: str) -> Iterator[_Item]:
        """The same items; a bar counts them, and goes when they are done."""
        for item in tqdm(items, desc=self._part, unit=unit, leave=False, disable=self._disable):
            if time.monotonic() - self._told > _INTERVAL:
                self._show()
            yield item

    def text(self) -> str:
        """Round, part, and time left once a round is complete."""
        labels = labels_to_come(self._rounds, *self._sizes)
        to_come = f"{len(labels) - 1} to come" if len(labels) > 1 else "the last"
        text = f"round {len(self._rounds)} ({to_come}): {self._part}"
        if not self._rounds:
            return text
        this, *others = seconds_to_come(self._rounds, labels)
        return f"{text}, {duration(max(this - (time.monotonic() - self._begun), 0.0) + sum(others))} left"

    def _show(self) -> None:
        self._told = time.monotonic()
        if not self._bar.disable:
            self._bar.n = min(labels_to_come(self._rounds, *self._sizes)[0], self._bar.total)
            self._bar.set_description_str(self.text())

    def __enter__(self) -> "RunProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class SweepProgress:
    """Of a sweep: runs done, runs to come, and a time left; on a terminal alone.

    The time left is that of the runs to come if they end as often as those that have ended. Runs that took less than a
    tenth of the longest are not counted for it: they were complete before, or failed at once.

    Args:
        total: runs; None: not known.
        beside_bars: True: the runs are of this process, and a line stays below theirs. False: they are of others, whose
            lines would run into it; each end of a run is then told in a line of its own.
        shown: False: nothing is shown.
    """

    def __init__(self, total: int | None, *, beside_bars: bool, shown: bool):
        self._total, self._beside_bars = total, beside_bars
        self._bar = tqdm(disable=None if shown else True, leave=False, bar_format="{desc}")
        self._begun = self._last_end = time.monotonic()
        self._ended: list[float] | None = None
        self._line = ""

    def show(self, ended: list[float]) -> None:
        """Shows how far the sweep is.

        Args:
            ended: seconds that each run took which has ended, well or not.
        """
        news = self._ended is None or len(ended) > len(self._ended)
        if news:
            self._ended, self._last_end = ended, time.monotonic()
        if self._bar.disable:
            return
        line = self.text()
        if self._beside_bars and line != self._line:
            self._bar.set_description_str(line)
        elif news and not self._beside_bars:
            tqdm.write(line, file=sys.stderr)
        self._line = line

    def text(self) -> str:
        """Of what was shown last."""
        ended = self._ended or []
        if self._total is None:
            return f"{len(ended)} runs done"
        to_come = self._total - len(ended)
        text = f"{len(ended)} of {self._total} runs done, {to_come} to come"
        worked = [seconds for seconds in ended if seconds >= max(ended) / 10]
        if not worked or not to_come:
            return text
        between = (self._last_end - self._begun) / len(worked)
        return f"{text}, {duration(max(between * to_come - (time.monotonic() - self._last_end), 0.0))} left"

    def close(self) -> None:
        """Ends the line."""
        self._bar.close()
