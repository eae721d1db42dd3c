"""Whole runs on digits: of every method, of one seed, interrupted, and refused."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from conftest import SMALL, make_settings, rounds_of

from alkbald import loop
from alkbald.errors import SettingsError
from alkbald.records.run import Run

METHODS = sorted(loop.METHODS)


class Watched(NamedTuple):
    """A run, and the weights that its first round predicted with."""

    run: Run
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory) -> Callable[[str], Watched]:
    """The whole run of a method, made when it is first asked for."""
    out = tmp_path_factory.mktemp("runs")
    score = loop.score

    @cache
    def watched(method: str) -> Watched:
        weights = []

        def watch(settings, posterior, *args, **kwargs):
            weights.append({name: weight.clone() for name, weight in posterior.state_dict().items()})
            return score(settings, posterior, *args, **kwargs)

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(loop, "score", watch)
            run = loop.run(make_settings(out, f"method={method}", *SMALL))
        return Watched(run, weights[0])

    return watched


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_to_the_end(method, run_of):
    run = run_of(method).run
    if loop.METHODS[method].chooses_size:
        assert all(1 <= int(row["batch"]) <= 10 and row["decision"] for row in run.rounds[:-1])
        assert 40 <= int(run.rounds[-1]["labelled"]) < 50
        assert Run(run.settings).is_complete
        return
    assert [int(row["labelled"]) for row in run.rounds] == [20, 30, 40]
    assert all(0 <= float(row["accuracy"]) <= 1 for row in run.rounds)
    assert len({point["pool_position"] for point in run.acquired}) == 20
    assert run.rounds[-1]["batch"] == ""
    for row in run.rounds[:-1]:
        assert 0 <= float(row["joint_mutual_information"]) <= math.log(8) + 1e-9
        assert float(row["total_correlation"]) > -1e-6
        assert float(row["seconds_selection"]) > 0
        assert float(row["seconds_judging"]) > 0
        assert (row["seconds_inference"] == "") == (method == "random")
        assert 0 < float(row["seconds_validation"]) < float(row["seconds_training"])
    assert int(run.rounds[0]["peak_memory_bytes"]) > 10**7
    assert (run.rounds[0]["pool"], run.rounds[1]["pool"]) == ("1027", "1017")


def test_a_round_records_its_epochs_and_calibration(tmp_path, monkeypatch):
    evaluations = []
    original = loop.evaluate

    def watch(*args, **kwargs):
        evaluations.append(original(*args, **kwargs))
        return evaluations[-1]

    monkeypatch.setattr(loop, "evaluate", watch)
    run = loop.run(make_settings(tmp_path, *SMALL, "max_labels=30"))
    assert len(evaluations) == 2
    for row, evaluation in zip(run.rounds, evaluations, strict=True):
        for column in ("accuracy", "nll", "ece", "brier"):
            assert float(row[column]) == getattr(evaluation, column)
        epochs = [epoch for epoch in run.epochs if epoch["round"] == row["round"]]
        assert [epoch["epoch"] for epoch in epochs] == ["1", "2", "3"]
        assert epochs[int(row["best_epoch"]) - 1]["validation_accuracy"] == row["validation_accuracy"]
        assert all(0 < float(epoch["training_loss"]) < 5 for epoch in epochs)
    assert run.rounds[-1]["seconds_judging"] == ""
    assert Run(run.settings).epochs == run.epochs


def test_acquired_points_are_images_of_the_original_training_set(whole_run):
    from sklearn.datasets import load_digits

    labels = load_digits().target
    for point in whole_run.acquired:
        assert labels[int(point["index"])] == int(point["label"])
        assert int(point["index"]) < 1347


def test_one_seed_gives_one_run_and_another_seed_another(whole_run, tmp_path):
    torch.manual_seed(123)  # a global stream must not matter
    torch.rand(7)
    assert rounds_of(loop.run(make_settings(tmp_path, *SMALL))) == rounds_of(whole_run)
    other = loop.run(make_settings(tmp_path, "seed=1", *SMALL, "max_labels=30"))
    for ours, theirs in zip(rounds_of(whole_run), rounds_of(other), strict=True):
        assert ours[0] != theirs[0]


def test_methods_with_one_seed_share_everything_of_round_0(run_of):
    first, first_weights = run_of(METHODS[0])
    for method in METHODS[1:]:
        run, weights = run_of(method)
        for key in ("accuracy", "nll", "epochs", "validation_accuracy"):
            assert run.rounds[0][key] == first.rounds[0][key]
        for name, weight in first_weights.items():
            assert torch.equal(weights[name], weight)


def test_methods_with_one_seed_share_split_noise_and_initial_set(tmp_path, monkeypatch):
    loaded = []
    original = loop.load
    monkeypatch.setattr(loop, "load", lambda *args, **options: loaded.append(original(*args, **options)) or loaded[-1])
    for method in ("random", "batchbald"):
        loop.run(make_settings(tmp_path, f"method={method}", *SMALL, "max_labels=20"))
    a, b = (vars(data) for data in loaded)
    for key in a:
        assert torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key], key


def test_warm_up_comes_before_all_rounds_and_changes_none(whole_run, tmp_path, monkeypatch):
    events = []
    original_warm_up, original_round = loop._warm_up, loop.active_learning_round
    monkeypatch.setattr(loop, "_warm_up", lambda *args: events.append("warm-up") or original_warm_up(*args))
    monkeypatch.setattr(loop, "active_learning_round", lambda *args: events.append("round") or original_round(*args))
    loop.run(make_settings(tmp_path / "warm", *SMALL, "max_labels=30"))
    assert events == ["warm-up", "round", "round"]
    monkeypatch.setattr(loop, "_warm_up", lambda *args: None)
    assert rounds_of(loop.run(make_settings(tmp_path / "cold", *SMALL))) == rounds_of(whole_run)


def test_a_batch_that_uses_up_log_k_is_told(tmp_path, capsys):
    loop.run(make_settings(tmp_path, *SMALL, "num_samples=2", "acq_size=150", "max_labels=170"))
    assert "of log K: num_samples=2 bounds" in capsys.readouterr().out


def test_masks_of_scoring_are_drawn_once_a_round_and_new_each_round(tmp_path, monkeypatch):
    drawn = []
    from alkbald.model import MCDropoutNet

    original = MCDropoutNet.draw_masks

    def watch(self, num_samples, generator):
        masks = original(self, num_samples, generator)
        if num_samples == 8:
            drawn.append(masks[0])
        return masks

    monkeypatch.setattr(loop, "_warm_up", lambda *args: None)
    monkeypatch.setattr(MCDropoutNet, "draw_masks", watch)
    loop.run(make_settings(tmp_path, *SMALL))
    first, second = drawn
    assert not torch.equal(first, second)


def test_a_pool_sample_is_drawn_anew_each_round(tmp_path):
    """A batch as large as the sample is the sample."""
    settings = make_settings(tmp_path, *SMALL, "method=bald", "pool_sample=50", "acq_size=50", "max_labels=100")
    data = loop.load(**vars(settings.data))

    def sample(number: int) -> set[int]:
        _, acquired, _ = loop.active_learning_round(settings, data, list(data.initial), number)
        return {point["pool_position"] for point in acquired}

    first, again, second = sample(0), sample(0), sample(1)
    assert first == again
    assert len(first) == len(second) == 50
    assert len(first & second) < 25  # of 1,027 points, 2 or 3 by chance


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_labels=19", "max_labels must be at least the 20 of the initial set, got 19"),
        ("acq_size=1028", "acq_size=1028 .* needs a pool of 1048 points, there are 1047"),
    ],
)
def test_sizes_that_the_data_cannot_serve_are_refused_before_work(override, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        loop.run(make_settings(tmp_path, *SMALL, override))
    assert not list(tmp_path.iterdir())


def test_real_mnist_end_to_end(mnist_root, tmp_path):
    run = loop.run(
        make_settings(
            tmp_path,
            *SMALL,
            "data=mnist",
            f"data.root={mnist_root}",
            "pool_sample=500",
            "data.validation_size=500",
            "training.max_epochs=6",
            "training.epoch_size=1024",
            "max_labels=30",
        )
    )
    assert float(run.rounds[-1]["accuracy"]) > 0.45
    assert len(run.acquired) == 10
