import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, make_settings, run_script

from alkbald import loop
from alkbald.reporting.figures.batches import (
    approximation_quality,
    bald_beside_batchbald,
    ceiling,
    score_progression,
    total_correlation,
)
from alkbald.reporting.figures.curves import Panel, beside_published, dynamic_batch_sizes, learning_curves
from alkbald.reporting.figures.images import acquired_images
from alkbald.reporting.rounds import load_runs


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_a_curve_a_method_with_its_mean(small_runs):
    rounds = load_runs([small_runs])
    axes = learning_curves(rounds, order=["kbald-10"]).axes[0]
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["kbald 10 (1 trial)", "BALD 10 (2 trials)"]
    assert len(axes.lines) == 4  # of two trials each
    expected = rounds[rounds["method"] == "bald"].groupby("labelled")["accuracy"].mean()
    assert list(lines["BALD 10 (2 trials)"].get_ydata()) == pytest.approx(expected.tolist())


def test_three_trials_have_an_interval():
    accuracies = {0: [0.5, 0.7], 1: [0.6, 0.8], 2: [0.7, 0.9]}
    trials = [
        rounds_of("bald", seed, labelled=[20, 60], accuracy=at, batch=[40, None]).assign(data="mnist", variant="")
        for seed, at in accuracies.items()
    ]
    (band,) = learning_curves(pd.concat(trials)).axes[0].collections
    half = 4.3027 * 0.1 / np.sqrt(3)  # t of two degrees of freedom
    assert sorted(set(band.get_paths()[0].vertices[:, 1].round(4))) == pytest.approx(
        sorted([0.6 - half, 0.6 + half, 0.8 - half, 0.8 + half]), abs=1e-4
    )


def test_curves_that_are_missing_are_named(small_runs):
    legend = learning_curves(load_runs([small_runs]), missing=["2bald-40"]).axes[0].get_legend()
    assert legend.get_title().get_text() == "pool with noise\nnot there: 2bald-40"


def test_curves_of_several_pools_are_told_apart():
    noisy = rounds_of("bald", 0, labelled=[20, 60], accuracy=[0.5, 0.7], batch=[40, None]).assign(
        data="mnist", variant=""
    )
    clean, noisier = noisy.assign(noise=0.0), noisy.assign(noise=0.2)
    for rounds, labels, title in (
        (noisy, ["BALD 40"], "pool with noise"),
        (clean, ["BALD 40 without noise"], "pool without noise"),
        (
            pd.concat([noisy, clean, noisier]),
            ["BALD 40 without noise", "BALD 40", "BALD 40 with noise 0.2"],
            "pools with noise, unless named",
        ),
    ):
        (axes,) = learning_curves(rounds).axes
        assert list(drawn(axes)) == [f"{label} (1 trial)" for label in labels]
        assert axes.get_legend().get_title().get_text() == title


def test_published_curves_have_the_colour_and_pool_of_ours():
    ours = rounds_of("bald", 0, labelled=[20, 60], accuracy=[0.7, 0.8], batch=[40, None]).assign(
        data="mnist", variant=""
    )
    rounds = pd.concat([ours.assign(seed=seed, accuracy=ours["accuracy"] + seed / 100) for seed in range(3)])
    columns = ["method", "acq_size", "noise", "labelled", "trials", "mean", "half", "curve"]
    rows = [("bald", 40, 0.1, size, 5, mean, 0.01, "bald-40") for size, mean in ((20, 0.72), (60, 0.83))]
    rows += [("bald", 40, 0.0, 20, 5, 0.6, 0.01, "bald-40 without noise")]
    panels = [
        Panel("noisy", ["2bald-40", "bald-40"], beside_published=True),
        Panel("clean", ["bald-40 without noise"], beside_published=True),
        Panel("ours", ["bald-40"]),
        Panel("none", ["2bald-40"]),
    ]
    noisy, clean, alone, none = beside_published(rounds, pd.DataFrame(rows, columns=columns), panels, bottom=0.5).axes
    label, published = "BALD 40 (3 trials)", "BALD 40, published (5 trials)"
    assert drawn(noisy) == {label: pytest.approx([0.71, 0.81]), published: [0.72, 0.83]}
    colours = {line.get_label(): line.get_color() for line in noisy.lines}
    assert colours[label] == colours[published]
    _, band = noisy.collections
    assert sorted(set(band.get_paths()[0].vertices[:, 1].round(3))) == [0.71, 0.73, 0.82, 0.84]
    assert noisy.get_legend().get_title().get_text() == "pool with noise\nnot there: 2bald-40"
    assert drawn(clean) == {"BALD 40 without noise, published (5 trials)": [0.6]}
    assert clean.lines[0].get_color() == colours[label]
    assert clean.get_legend().get_title().get_text() == "pool without noise\nnot there: bald-40 without noise"
    assert list(drawn(alone)) == [label]
    assert not none.lines
    assert none.texts[0].get_text() == "not there:\n2bald-40"


def test_the_script_prints_tables_and_writes_a_picture(small_runs, tmp_path):
    picture = tmp_path / "curves.png"
    done = run_script("learning_curves", small_runs, "--output", picture)
    assert done.returncode == 0, done.stderr
    assert "bald, acq_size 10, digits, seed 1" in done.stdout
    assert picture.stat().st_size > 10_000
    shutil.copytree(small_runs, tmp_path / "copy")
    for arguments, error in (
        ([tmp_path / "none"], "error: no run"),
        ([small_runs, tmp_path / "copy"], "error: two runs of one curve and seed are not compared"),
        ([small_runs, "--output", tmp_path / "curves.mp3"], f"error: --output {tmp_path / 'curves.mp3'}"),
    ):
        failed = run_script("learning_curves", *arguments)
        assert failed.returncode == 2
        assert failed.stderr.startswith(error)
        assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ("mnist", "MNIST"),
        ("emnist", "EMNIST"),
        ("fashion_mnist", "Fashion-MNIST"),
        ("repeated_mnist", "Repeated MNIST"),
        ("digits", "digits"),
        ("cifar10", "cifar10"),  # one that a user has added
    ],
)
def test_data_sets_are_written_as_people_write_them(data, title):
    rounds = rounds_of("bald", 0, labelled=[20, 60], accuracy=[0.5, 0.7], batch=[40, None])
    (axes,) = learning_curves(rounds.assign(data=data, variant="")).axes
    assert axes.get_title(loc="left") == title
    both = pd.concat([rounds.assign(data=name, variant="") for name in (data, "svhn")])
    (axes,) = learning_curves(both).axes
    assert [*drawn(axes)] == [f"BALD 40, {name} (1 trial)" for name in (title, "svhn")]


def test_runs_of_different_settings_are_different_curves(tmp_path):
    for override in ("pool_sample=null", "pool_sample=500"):
        loop.run(make_settings(tmp_path, *SMALL, override, "max_labels=20"))
    labels = [line.get_label() for line in learning_curves(load_runs([tmp_path])).axes[0].lines]
    assert labels == ["2-BALD 10, pool_sample=500 (1 trial)", "2-BALD 10, pool_sample=None (1 trial)"]


def test_score_progression_leaves_out_what_was_taken():
    scores = pd.DataFrame({"rank": [0, 1, 2], "BALD": [0.9, 0.5, 0.1], "2-BALD after 1 picks": [np.nan, -0.2, 0.1]})
    axes = score_progression(scores).axes[0]
    shown = {line.get_label(): len(line.get_xdata()) for line in axes.lines}
    assert shown["BALD"] == 3
    assert shown["2-BALD after 1 picks"] == 2


def test_acquired_images_are_in_order_with_label_and_gain():
    images = {5: np.zeros((28, 28)), 7: np.ones((28, 28))}
    batch = pd.DataFrame({"index": [7, 5], "label": [3, 8], "score": [1.0, 0.75]})
    axes = acquired_images({"2-BALD": batch}, images).axes
    assert [a.get_title() for a in axes] == ["3\n+1.00", "8\n-0.25"]
    assert axes[0].images[0].get_array().max() == 1


def drawn(axes) -> dict[str, list[float]]:
    """By label, the heights of lines."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if line.get_label()[0] != "_"}


def test_approximation_quality_is_worth_and_what_the_score_adds_to_it():
    positions = {"labelled": 20, "method": "BALD", "position": [1, 2], "score": [0.5, 1.0], "joint": [0.5, 0.75]}
    above, below = approximation_quality(pd.DataFrame(positions | {"num_samples": 8})).axes
    assert drawn(above)["BALD"] == [0.5, 0.75]
    assert drawn(above)["log K"] == pytest.approx([np.log(8)] * 2)
    assert drawn(below)["BALD"] == [0.0, 0.25]


def test_bald_beside_batchbald_is_worth_and_the_share_of_total_correlation():
    batches = pd.DataFrame({"labelled": [20, 20, 60, 60], "method": ["BALD", "BatchBALD"] * 2, "position": 5})
    batches = batches.assign(num_samples=8, joint=[1.0, 1.5, 1.2, 1.6], total_correlation=[1.0, 0.5, 0.4, 0.4])
    worth, share = bald_beside_batchbald(batches).axes
    assert drawn(worth)["BALD"] == [1.0, 1.2]
    assert drawn(worth)["BatchBALD"] == [1.5, 1.6]
    assert drawn(share)["BALD"] == pytest.approx([0.5, 0.25])
    assert drawn(share)["BatchBALD"] == pytest.approx([0.25, 0.2])
    assert worth.get_legend().get_title().get_text() == "batches of 5, K = 8, one run"


def rounds_of(method: str, seed: int, **columns) -> pd.DataFrame:
    """Rounds as `load_runs` gives them."""
    rounds = pd.DataFrame({"method": method, "acq_size": 40, "noise": 0.1, "seed": seed, **columns})
    return rounds.assign(round=range(len(rounds)))


def test_batch_sizes_over_labels_and_rounds():
    rounds = pd.concat(
        [
            rounds_of("dynamic_bald", 0, labelled=[20, 24, 30], accuracy=[0.5, 0.6, 0.9], batch=[4, 6, None]),
            rounds_of("dynamic_bald", 1, labelled=[20, 30], accuracy=[0.5, 0.8], batch=[10, None]),
            rounds_of("2bald", 0, labelled=[20, 60], accuracy=[0.5, 0.7], batch=[40, None]),
        ]
    )
    by_labels, by_rounds, sizes = dynamic_batch_sizes(rounds, ["dynamic_bald-40", "bald-10", "2bald-40"]).axes
    name, fixed = "dynamic, up to 40 (2 trials)", "2-BALD 40 (1 trial)"
    assert list(drawn(by_labels)) == [name, fixed]
    assert drawn(by_labels)[name] == pytest.approx([0.5, (0.6 + 0.62) / 2, 0.85])
    assert drawn(by_rounds)[name] == pytest.approx([0.5, 0.7])  # as far as both have come
    assert drawn(sizes)[name] == [7]
    assert drawn(sizes)[fixed] == [40]


def test_the_ceiling_by_both_judges_and_its_accuracies():
    worth = pd.DataFrame(
        {"labelled": 20, "num_samples": [8, 8, 2, 2], "position": [1, 2, 1, 2], "joint": [1.0, 1.9, 0.6, 0.69]}
    ).assign(held_out=[0.9, 1.6, 0.5, 0.8])
    (alone,) = ceiling(worth).axes
    heights = [list(line.get_ydata()) for line in alone.lines]  # of each K, ascending: joint, held out, log K
    assert heights[:2] == [[0.6, 0.69], [0.5, 0.8]]
    assert heights[2] == pytest.approx([np.log(2)] * 2)
    assert heights[3:5] == [[1.0, 1.9], [0.9, 1.6]]
    assert drawn(alone).keys() >= {"K = 2", "K = 8"}
    rounds = rounds_of("batchbald", 0, labelled=[20, 60], accuracy=[0.5, 0.7], batch=[40, None], num_samples=2)
    _, below = (axes for axes in ceiling(worth, rounds).axes if axes.lines)
    assert below.get_title() == "BatchBALD 40, pool with noise"
    assert drawn(below) == {"K = 2 (1 trial)": [0.5, 0.7]}


def test_total_correlation_marks_batches_that_use_up_log_k():
    rounds = rounds_of(
        "bald", 0, labelled=[20, 60, 100], total_correlation=[1.0, 4.0, None], joint_mutual_information=[3.0, 4.6, None]
    ).assign(share_of_log_k=[0.65, 0.99, None], batch=[40, 40, None])
    whole, share = total_correlation(rounds, ["bald-40"]).axes
    assert drawn(whole) == {"BALD 40 (1 trial)": [1.0, 4.0]}
    assert drawn(share)["BALD 40 (1 trial)"] == pytest.approx([0.25, 4 / 8.6])
    assert whole.collections[0].get_offsets().tolist() == [[60, 4.0]]


def test_total_correlation_goes_as_far_as_all_trials_have_come():
    known = {"joint_mutual_information": 1.0, "share_of_log_k": 0.5}
    ended = rounds_of("bald", 0, labelled=[20, 60, 100], total_correlation=[1.0, 4.0, None], batch=[40, 40, None])
    begun = rounds_of("bald", 1, labelled=[20], total_correlation=[2.0], batch=[40])
    rounds = pd.concat([ended, begun]).assign(**known)
    for axes, heights in zip(total_correlation(rounds, ["bald-40"]).axes, ([1.5], [(1 / 2 + 2 / 3) / 2]), strict=True):
        assert drawn(axes) == {"BALD 40 (2 trials, 1 unfinished)": pytest.approx(heights)}


def test_total_correlation_is_that_of_the_records(small_runs):
    rounds = load_runs([small_runs])
    axes = total_correlation(rounds, ["bald-10", "kbald-10", "2bald-10"]).axes[0]
    assert [line.get_label() for line in axes.lines] == ["BALD 10 (2 trials)", "kbald 10 (1 trial)"]
    expected = rounds[(rounds["method"] == "bald") & (rounds["labelled"] == 20)]["total_correlation"].mean()
    assert axes.lines[0].get_ydata()[0] == pytest.approx(expected)
