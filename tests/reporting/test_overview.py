"""README's picture shows the numbers of its tables."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from alkbald.errors import RecordError
from alkbald.reporting.figures.overview import overview

ACCURACIES = {"2bald": [[0.7, 0.9], [0.6, 0.95], [0.8, 0.94]], "random": [[0.7, 0.8], [0.72, 0.82]]}
TIMES = pd.DataFrame(
    [
        ("inference", None, 57.0),
        ("2-BALD, ours", 5.0, 0.25),
        ("2-BALD, batchbald_redux", 5.0, 100.0),
        ("BatchBALD, ours", 5.0, 0.5),
        ("BatchBALD, batchbald_redux", 5.0, 200.0),
        ("BatchBALD, ours", 10.0, 2.0),  # not timed with the reference code
        ("3-BALD, ours", 5.0, 1.5),
    ],
    columns=["what", "B", "seconds"],
).assign(N=60_000)


@pytest.fixture
def rounds():
    """Rounds at 20 and 30 labels: three trials of 2-BALD, two of random acquisition."""
    rows = [
        {"method": method, "seed": seed, "round": number, "labelled": 20 + 10 * number, "accuracy": accuracy}
        for method, trials in ACCURACIES.items()
        for seed, trial in enumerate(trials)
        for number, accuracy in enumerate(trial)
    ]
    return pd.DataFrame(rows).assign(data="mnist", acq_size=10, noise=0.1, variant="", batch=[10, None] * 5)


@pytest.fixture
def panels(rounds):
    figure = overview(rounds, TIMES)
    yield figure.axes
    plt.close(figure)


def test_lines_are_means_over_trials(panels):
    lines = {line.get_label(): line.get_xydata() for line in panels[0].lines}
    assert lines.keys() == {"2-BALD 10 (3 trials)", "random 10 (2 trials)"}
    assert panels[0].get_legend().get_title().get_text().endswith("pool with noise")
    for (label, drawn), accuracies in zip(sorted(lines.items()), ACCURACIES.values(), strict=True):
        assert drawn == pytest.approx(np.column_stack([(20, 30), np.mean(accuracies, axis=0)])), label


def test_bands_are_95_percent_intervals_of_three_trials_and_more(panels):
    (three,) = panels[0].collections
    (band,) = (path.vertices for path in three.get_paths())
    accuracies = np.array(ACCURACIES["2bald"])
    half = accuracies.std(axis=0, ddof=1) / 3**0.5 * t.ppf(0.975, 2)
    for place, size in enumerate((20, 30)):
        at = band[band[:, 0] == size][:, 1]
        assert (at.min(), at.max()) == pytest.approx(accuracies[:, place].mean() + half[place] * np.array([-1, 1]))


def test_means_go_as_far_as_all_trials_have_come(rounds):
    short = rounds[(rounds["seed"] < 2) | (rounds["labelled"] < 30)]  # of the third trial of 2-BALD, the first round
    lines = {line.get_label(): line.get_xdata().tolist() for line in overview(short, TIMES).axes[0].lines}
    plt.close("all")
    assert lines == {"2-BALD 10 (3 trials, 1 unfinished)": [20], "random 10 (2 trials)": [20, 30]}


def test_bars_are_seconds_of_what_both_were_timed_at(panels):
    axes = panels[1]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {"batchbald_redux": [200, 100], "ours": [0.5, 0.25]}  # the slowest first
    assert [label.get_text() for label in axes.get_yticklabels()] == ["BatchBALD\n5 points", "2-BALD\n5 points"]
    assert [text.get_text() for text in axes.texts] == ["200 s", "100 s", "0.50 s", "0.25 s"]
    assert axes.get_xscale() == "log"
    assert axes.get_title(loc="left") == "Time to select from 60,000 images"


def test_times_of_one_code_alone_are_refused(rounds):
    with pytest.raises(RecordError, match="no batch size was timed with both"):
        overview(rounds, TIMES[~TIMES["what"].str.contains("redux")])
    plt.close("all")
