import math

import pytest
import torch
from conftest import SMALL, make_settings

from alkbald import loop
from alkbald.acquisition import Method
from alkbald.errors import RecordError, SettingsError, TrainingDiverged
from alkbald.measuring import Stopwatch, peak_memory, reset_peak_memory
from alkbald.records.run import Run

METHODS = sorted(loop.METHODS)
TIMES_AND_MEMORY = {"peak_memory_bytes"}


def rounds_of(run):
    """Recorded rounds, points and epochs, without what no two runs share."""
    measured = [
        {key: value for key, value in row.items() if not key.startswith("seconds") and key not in TIMES_AND_MEMORY}
        for row in run.rounds
    ]
    return measured, run.acquired, run.epochs


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_to_the_end(method, tmp_path):
    run = loop.run(make_settings(tmp_path, f"method={method}", *SMALL))
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
    run = loop.run(make_settings(tmp_path, *SMALL))
    for row, evaluation in zip(run.rounds, evaluations, strict=True):
        for column in ("accuracy", "nll", "ece", "brier"):
            assert float(row[column]) == getattr(evaluation, column)
        epochs = [epoch for epoch in run.epochs if epoch["round"] == row["round"]]
        assert [epoch["epoch"] for epoch in epochs] == ["1", "2", "3"]
        assert epochs[int(row["best_epoch"]) - 1]["validation_accuracy"] == row["validation_accuracy"]
        assert all(0 < float(epoch["training_loss"]) < 5 for epoch in epochs)
    assert run.rounds[-1]["seconds_judging"] == ""
    assert Run(run.settings).epochs == run.epochs


def test_acquired_points_are_images_of_the_original_training_set(tmp_path):
    from sklearn.datasets import load_digits

    run = loop.run(make_settings(tmp_path, *SMALL))
    labels = load_digits().target
    for point in run.acquired:
        assert labels[int(point["index"])] == int(point["label"])
        assert int(point["index"]) < 1347


def test_one_seed_gives_one_run_and_another_seed_another(tmp_path):
    first = rounds_of(loop.run(make_settings(tmp_path / "a", *SMALL)))
    torch.manual_seed(123)  # a global stream must not matter
    torch.rand(7)
    assert rounds_of(loop.run(make_settings(tmp_path / "b", *SMALL))) == first
    assert rounds_of(loop.run(make_settings(tmp_path / "a", "seed=1", *SMALL))) != first


def test_methods_with_one_seed_share_everything_of_round_0(tmp_path, monkeypatch):
    seen = {}
    original = loop.sample_log_probs

    def watch(model, *args, **kwargs):
        weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        seen.setdefault("models", []).append(weights)
        return original(model, *args, **kwargs)

    monkeypatch.setattr(loop, "_warm_up", lambda *args: None)
    monkeypatch.setattr(loop, "sample_log_probs", watch)
    first_rounds, first_models = [], []
    for method in METHODS:
        seen.clear()
        measured, *_ = rounds_of(loop.run(make_settings(tmp_path, f"method={method}", *SMALL)))
        first_rounds.append({key: measured[0][key] for key in ("accuracy", "nll", "epochs", "validation_accuracy")})
        first_models.append(seen["models"][0])
    assert all(row == first_rounds[0] for row in first_rounds)
    for weights in first_models:
        assert all(torch.equal(weights[name], first_models[0][name]) for name in weights)


def test_methods_with_one_seed_share_split_noise_and_initial_set(tmp_path, monkeypatch):
    loaded = []
    original = loop.load
    monkeypatch.setattr(loop, "load", lambda *args, **options: loaded.append(original(*args, **options)) or loaded[-1])
    for method in ("random", "batchbald"):
        loop.run(make_settings(tmp_path, f"method={method}", *SMALL, "max_labels=20"))
    a, b = (vars(data) for data in loaded)
    for key in a:
        assert torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key], key


def test_the_stopwatch_waits_for_the_gpu_on_both_sides(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("synchronised"))
    clock = Stopwatch(torch.device("cuda"))
    with clock.measure("part"):
        events.append("work")
    assert events == ["synchronised", "work", "synchronised"]
    assert clock.seconds["part"] > 0


def test_warm_up_comes_before_all_rounds_and_changes_none(tmp_path, monkeypatch):
    events = []
    original_warm_up, original_round = loop._warm_up, loop.active_learning_round
    monkeypatch.setattr(loop, "_warm_up", lambda *args: events.append("warm-up") or original_warm_up(*args))
    monkeypatch.setattr(loop, "active_learning_round", lambda *args: events.append("round") or original_round(*args))
    warm = rounds_of(loop.run(make_settings(tmp_path / "warm", *SMALL)))
    assert events == ["warm-up", "round", "round", "round"]
    monkeypatch.setattr(loop, "_warm_up", lambda *args: None)
    assert rounds_of(loop.run(make_settings(tmp_path / "cold", *SMALL))) == warm


def test_a_batch_that_uses_up_log_k_is_told(tmp_path, capsys):
    loop.run(make_settings(tmp_path, *SMALL, "num_samples=2", "max_labels=30", "training.max_epochs=30"))
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


def test_a_pool_sample_is_drawn_anew_each_round(tmp_path, monkeypatch):
    sizes = []
    original = loop.METHODS["bald"]

    def watch(log_probs, *args, **kwargs):
        sizes.append(len(log_probs))
        return original(log_probs, *args, **kwargs)

    monkeypatch.setitem(loop.METHODS, "bald", Method(watch))
    run = loop.run(make_settings(tmp_path, "method=bald", "pool_sample=50", *SMALL))
    assert sizes[-2:] == [50, 50]
    assert len({point["pool_position"] for point in run.acquired}) == 20


def test_an_interrupted_run_resumes_to_the_same_rounds(tmp_path, monkeypatch):
    whole = rounds_of(loop.run(make_settings(tmp_path / "whole", *SMALL)))
    settings = make_settings(tmp_path / "parts", *SMALL)
    original = loop.evaluate
    calls = []

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run(settings)
    monkeypatch.setattr(loop, "evaluate", original)
    assert rounds_of(loop.run(settings)) == whole


def test_a_run_without_validation_trains_all_epochs_and_goes_on(tmp_path):
    settings = [*SMALL, "data.validation_size=0", "num_samples=4"]
    whole = loop.run(make_settings(tmp_path / "whole", *settings))
    loop.run(make_settings(tmp_path / "parts", *settings, "max_labels=30"))
    parts = loop.run(make_settings(tmp_path / "parts", *settings))
    assert [row["epochs"] for row in whole.rounds] == ["3", "3", "3"]
    assert [row["validation_accuracy"] for row in whole.rounds] == ["", "", ""]
    assert [row["nll"] for row in parts.rounds] == [row["nll"] for row in whole.rounds]


def test_a_run_stopped_early_and_extended_equals_a_long_one(tmp_path):
    whole = rounds_of(loop.run(make_settings(tmp_path / "whole", *SMALL)))
    loop.run(make_settings(tmp_path / "parts", *SMALL, "max_labels=30"))
    assert rounds_of(loop.run(make_settings(tmp_path / "parts", *SMALL))) == whole


def test_a_finished_run_is_not_repeated(tmp_path, capsys):
    run = loop.run(make_settings(tmp_path, *SMALL, "max_labels=20"))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.iterdir()}
    capsys.readouterr()
    loop.run(make_settings(tmp_path, *SMALL, "max_labels=20"))
    assert "already complete" in capsys.readouterr().out
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.iterdir()} == before


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


def test_a_blow_up_names_round_and_epoch_and_keeps_earlier_rounds(tmp_path, monkeypatch):
    settings = make_settings(tmp_path, *SMALL)
    expected = loop.run(make_settings(tmp_path / "whole", *SMALL))
    fit = loop.fit

    def diverging(model, inputs, *args, **kwargs):
        return fit(model, inputs * (torch.nan if len(inputs) == 30 else 1), *args, **kwargs)

    monkeypatch.setattr(loop, "fit", diverging)
    with pytest.raises(TrainingDiverged, match="round 1: the training loss is nan in epoch 1; try a lower"):
        loop.run(settings)
    monkeypatch.undo()
    assert len(Run(settings).rounds) == 1
    assert rounds_of(loop.run(settings)) == rounds_of(expected)


def test_points_that_are_not_of_these_data_are_refused(tmp_path):
    settings = make_settings(tmp_path, *SMALL, "max_labels=30")
    run = loop.run(settings)
    path = run.folder / "acquired.csv"
    text = path.read_text()
    first = text.splitlines()[1].split(",")
    longer = make_settings(tmp_path, *SMALL)
    for column, value in ((3, "-1"), (3, "99999"), (4, str((int(first[4]) + 1) % 10)), (2, "7")):
        changed = [*first[:column], value, *first[column + 1 :]]
        path.write_text(text.replace(",".join(first), ",".join(changed), 1))
        with pytest.raises(RecordError, match=r"acquired\.csv: pool position .* does not fit the data"):
            loop.run(longer)
    path.write_text(text)
    assert len(loop.run(longer).rounds) == 3


def test_peak_memory_is_the_runs_own(tmp_path):
    before = torch.ones(2**28, dtype=torch.uint8)  # 256 MiB, in use before the run
    del before
    reset_peak_memory(torch.device("cpu"))
    quiet = peak_memory(torch.device("cpu"))
    held = torch.ones(2**27, dtype=torch.uint8)
    assert peak_memory(torch.device("cpu")) - quiet > 0.9 * held.numel()


def test_real_mnist_end_to_end(mnist_root, tmp_path):
    run = loop.run(
        make_settings(
            tmp_path,
            *SMALL,
            "data=mnist",
            f"data.root={mnist_root}",
            "pool_sample=500",
            "training.max_epochs=6",
            "training.epoch_size=1024",
            "max_labels=30",
        )
    )
    assert float(run.rounds[-1]["accuracy"]) > 0.45
    assert len(run.acquired) == 10


def test_predictions_that_are_not_finite_end_the_run_and_leave_its_record(tmp_path, monkeypatch):
    run = loop.run(make_settings(tmp_path, *SMALL, "max_labels=30"))
    monkeypatch.setattr(loop, "predictions", lambda *_, **__: torch.full((10, 8, 10), torch.nan))
    with pytest.raises(TrainingDiverged, match="round 1: predictions are not finite on the pool"):
        loop.run(make_settings(tmp_path, *SMALL))
    assert Run(make_settings(tmp_path, *SMALL, "max_labels=30")).rounds[0] == run.rounds[0]
    assert "not finite on the pool" in (run.folder / "failure.txt").read_text()
