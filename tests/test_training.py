import math
from types import SimpleNamespace

import pytest
import torch
from conftest import generator
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald import training
from alkbald.model import mnist_cnn
from alkbald.posteriors import Ensemble, LastLayer, MCDropoutNet
from alkbald.posteriors.mc_dropout import Stage
from alkbald.training import TrainingDiverged, epoch_order, fit


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_an_epoch_has_every_sample_equally_often_up_to_one(labelled, epoch_size, seed):
    order = epoch_order(labelled, epoch_size, generator(seed))
    assert len(order) == max(labelled, epoch_size)
    counts = order.bincount(minlength=labelled)
    assert counts.max() - counts.min() <= 1


def test_who_comes_once_more_changes_from_epoch_to_epoch():
    shared = generator()
    extras = {tuple((epoch_order(20, 30, shared).bincount(minlength=20) == 2).tolist()) for _ in range(5)}
    assert len(extras) == 5


def easy_data(n: int = 40):
    """Images of two classes: bright above or below."""
    labels = torch.arange(n) % 2
    inputs = 0.5 * torch.randn(n, 1, 28, 28, generator=generator(9))
    inputs[labels == 0, :, :14] += 1
    inputs[labels == 1, :, 14:] += 1
    return inputs, labels


def of_accuracy(accuracy: float, labels):
    """An evaluation with so many right predictions."""
    return SimpleNamespace(correct=torch.arange(len(labels)) < round(accuracy * len(labels)), nll=0.0)


def test_without_validation_all_epochs_count_and_the_last_weights_stay(monkeypatch):
    inputs, labels = easy_data()
    options = {"epoch_size": 96, "batch_size": 32, "max_epochs": 4, "patience": 1}
    models = [mnist_cnn(2, seed=0) for _ in range(2)]
    nothing = inputs[:0], labels[:0]
    fitted = fit(
        models[0], inputs, labels, *nothing, generator=generator(1), validation_generator=generator(2), **options
    )
    assert (fitted.epochs, fitted.best_epoch, fitted.seconds_validation) == (4, 4, 0)
    assert math.isnan(fitted.validation_accuracy)
    assert [epoch.epoch for epoch in fitted.history] == [1, 2, 3, 4]
    assert all(math.isnan(epoch.validation_accuracy) for epoch in fitted.history)
    # The same with a validation that likes the last epoch best.
    rising = iter([0.1, 0.2, 0.3, 0.4])
    monkeypatch.setattr(
        training, "evaluate", lambda _network, _inputs, labels, *_, **__: of_accuracy(next(rising), labels)
    )
    fit(models[1], inputs, labels, inputs, labels, generator=generator(1), validation_generator=generator(2), **options)
    for ours, last in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(ours, last)


def test_training_is_the_plain_loop():
    """Two epochs by hand: NCHW, masks multiplied in, PyTorch's plain Adam."""
    inputs, labels = easy_data()
    model, plain = mnist_cnn(2, seed=0), mnist_cnn(2, seed=0).to(memory_format=torch.contiguous_format)
    options = {"epoch_size": 96, "batch_size": 32, "max_epochs": 2, "patience": 9, "validation_samples": 0}
    fitted = fit(
        model, inputs, labels, inputs, labels, generator=generator(1), validation_generator=generator(2), **options
    )
    draws = generator(1)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3, weight_decay=5e-4, fused=False, foreach=False)
    weights = []
    for _ in range(2):
        order = epoch_order(len(inputs), 96, draws)
        masks = plain.draw_masks(96, draws)
        for rows in torch.arange(96).split(32):
            x = inputs[order[rows]]
            for stage, mask in zip(plain.stages, [*masks, None], strict=True):
                x = stage.layer(x.flatten(1) if isinstance(stage.layer, torch.nn.Linear) else x)
                if mask is not None:
                    x = x * mask[rows].reshape(*x.shape[:2], *[1] * (x.dim() - 2)) / 0.5
                    x = torch.relu(torch.nn.functional.max_pool2d(x, 2) if x.dim() == 4 else x)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(x, labels[order[rows]]).backward()
            optimizer.step()
        weights.append({name: weight.clone() for name, weight in plain.state_dict().items()})
    for name, weight in weights[fitted.best_epoch - 1].items():
        assert torch.allclose(model.state_dict()[name], weight, atol=2e-5), name


def test_training_learns():
    inputs, labels = easy_data()
    model = mnist_cnn(2, seed=0)
    fitted = fit(
        model,
        *(inputs, labels),
        *(inputs, labels),
        generator=generator(1),
        validation_generator=generator(2),
        epoch_size=128,
        max_epochs=8,
    )
    assert fitted.validation_accuracy > 0.9
    assert fitted.seconds_validation > 0


def run_with_accuracies(monkeypatch, accuracies, **options):
    """A training with given validation accuracies; returns the fit, the model, and the weights after each epoch."""
    weights = []

    def evaluate(model, inputs, labels, *args, **kwargs):
        weights.append({name: weight.clone() for name, weight in model.state_dict().items()})
        return of_accuracy(accuracies[len(weights) - 1], labels)

    monkeypatch.setattr(training, "evaluate", evaluate)
    inputs, labels = easy_data(10)
    model = mnist_cnn(2, seed=0)
    generators = {"generator": generator(1), "validation_generator": generator(2)}
    data = (inputs, labels, inputs, labels)
    return fit(model, *data, **generators, epoch_size=64, **options), model, weights


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_early_stopping_restores_the_weights_of_the_best_epoch(monkeypatch):
    fitted, model, weights = run_with_accuracies(monkeypatch, [0.1, 0.5, 0.9, 0.8, 0.9, 0.2, 1.0], patience=3)
    assert (fitted.epochs, fitted.best_epoch) == (6, 3)
    assert fitted.validation_accuracy == pytest.approx(0.9)
    assert same(model.state_dict(), weights[2])
    assert not same(weights[2], weights[5])  # training went on and changed them


def test_the_history_has_every_epoch(monkeypatch):
    losses = []
    original = training.F.nll_loss

    def watch(*args):
        losses.append(original(*args))
        return losses[-1]

    monkeypatch.setattr(training.F, "nll_loss", watch)
    fitted, *_ = run_with_accuracies(monkeypatch, [0.1, 0.9, 0.5], max_epochs=3, batch_size=16)
    assert [epoch.epoch for epoch in fitted.history] == [1, 2, 3]
    first, best, last = [epoch.validation_accuracy for epoch in fitted.history]
    assert (first, best, last) == (pytest.approx(0.1), pytest.approx(0.9), None)
    of_steps = torch.stack(losses).detach().double().unflatten(0, (3, 4))  # epochs of 64 in mini-batches of 16
    assert [epoch.training_loss for epoch in fitted.history] == pytest.approx(of_steps.mean(1).tolist(), rel=1e-6)
    assert of_steps.std(1).min() > 1e-3  # the mean is of losses that differ


@pytest.mark.parametrize("part", [1, 7, 40])
@pytest.mark.parametrize("seed", range(3))
def test_validation_of_a_part_decides_as_the_whole_does(monkeypatch, part, seed):
    """Early stopping on all accuracies, beside early stopping on parts: same epochs, same best epoch, same weights."""
    inputs, labels = easy_data(20)
    held_out, held_out_labels = easy_data(90)
    held_out = 0.3 * held_out + torch.randn(held_out.shape, generator=generator(seed))  # hard to tell apart
    options = {"epoch_size": 64, "batch_size": 32, "max_epochs": 25, "patience": 6, "validation_samples": 5}
    whole, predicted, fits = [], [], []

    def fit_again() -> dict[str, torch.Tensor]:
        model, draws = mnist_cnn(2, seed=seed), generator(2)
        data = (inputs, labels, held_out, held_out_labels)
        fits.append((fit(model, *data, generator=generator(1), validation_generator=draws, **options), draws))
        return model.state_dict()

    class Whole(training._Validation):
        def accuracy(self, network, epoch, best):
            whole.append(super().accuracy(network, epoch, -1.0))
            return whole[-1]

    evaluate = training.evaluate

    def watch(network, inputs, *rest, **options):
        predicted.append(len(inputs))
        return evaluate(network, inputs, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(training, "_Validation", Whole)
        expected = fit_again()
    monkeypatch.setattr(training, "_VALIDATION_PART", part)
    monkeypatch.setattr(training, "evaluate", watch)
    weights = fit_again()

    (by_whole, draws_by_whole), (by_part, draws_by_part) = fits
    assert (by_part.epochs, by_part.best_epoch) == (by_whole.epochs, by_whole.best_epoch)
    assert by_part.validation_accuracy == by_whole.validation_accuracy == max(whole)
    assert same(weights, expected)
    assert torch.equal(draws_by_part.get_state(), draws_by_whole.get_state())
    better = [accuracy > max([-1.0, *whole[:epoch]]) for epoch, accuracy in enumerate(whole)]
    assert 1 < sum(better) < len(better) - 3  # both kinds of epochs are there
    assert [epoch.validation_accuracy for epoch in by_part.history] == [
        accuracy if above else None for accuracy, above in zip(whole, better, strict=True)
    ]
    assert sum(better) * 90 < sum(predicted) < (1.0 if part == 40 else 0.9) * len(whole) * 90


def test_a_network_looks_at_every_epoch_before_its_validation(monkeypatch):
    seen = []

    class Watching(MCDropoutNet):
        def after_epoch(self, epoch):
            seen.append((epoch, self.stages[0].layer.weight.sum().item()))

    validated = []
    evaluate = training.evaluate

    def watch(network, *arguments, **options):
        validated.append(seen[-1][0])
        return evaluate(network, *arguments, **options)

    monkeypatch.setattr(training, "evaluate", watch)
    inputs, labels = torch.randn(20, 3, generator=generator()), torch.arange(20) % 2
    members = [Watching([Stage(torch.nn.Linear(3, 2), activation=False)]) for _ in range(2)]
    options = {"epoch_size": 20, "batch_size": 5, "max_epochs": 3, "validation_samples": 0}
    draws = {"generator": generator(1), "validation_generator": generator(2)}
    fit(Ensemble(members), inputs, labels, inputs, labels, **draws, **options)
    assert [epoch for epoch, _ in seen] == validated == [1, 2, 3, 4, 5, 6]
    assert len({weight for _, weight in seen}) == 6  # each after another epoch's steps


def test_training_ends_at_the_last_epoch_with_the_best_weights(monkeypatch):
    fitted, model, weights = run_with_accuracies(monkeypatch, [0.1, 0.9, 0.5, 0.6], max_epochs=4)
    assert (fitted.epochs, fitted.best_epoch) == (4, 2)
    assert same(model.state_dict(), weights[1])


def test_the_incomplete_last_mini_batch_is_dropped(monkeypatch):
    sizes = []
    original = training.F.nll_loss
    monkeypatch.setattr(
        training.F, "nll_loss", lambda log_probs, *rest: sizes.append(len(log_probs)) or original(log_probs, *rest)
    )
    run_with_accuracies(monkeypatch, [0.1], max_epochs=1, batch_size=30)
    assert sizes == [30, 30]


def test_a_mini_batch_larger_than_the_epoch_is_one_step(monkeypatch):
    fitted, *_ = run_with_accuracies(monkeypatch, [0.1], max_epochs=1, batch_size=1000)
    assert fitted.epochs == 1


def test_a_diverging_loss_says_where_and_what_to_try(monkeypatch):
    with pytest.raises(TrainingDiverged, match=r"loss is (nan|inf) in epoch \d; try a lower learning rate"):
        run_with_accuracies(monkeypatch, [0.1] * 3, learning_rate=1e30)


def test_a_labelled_set_without_inputs_is_refused():
    inputs, labels = easy_data(4)
    generators = {"generator": generator(1), "validation_generator": generator(2)}
    with pytest.raises(ValueError, match="inputs must be at least one, got none"):
        fit(mnist_cnn(2, seed=0), inputs[:0], labels[:0], inputs, labels, **generators)


@pytest.mark.parametrize("kind", [lambda net: Ensemble([net]), LastLayer], ids=["Ensemble", "LastLayer"])
@pytest.mark.parametrize("num_validation", [0, 4])
def test_what_validates_without_sampling_is_not_trained_with(kind, num_validation):
    posterior, (inputs, labels) = kind(mnist_cnn(2, seed=0)), easy_data(4)
    data = inputs, labels, inputs[:num_validation], labels[:num_validation]
    message = f"^validation_samples must be 0 for {type(posterior).__name__}, whose networks .*, got 20$"
    with pytest.raises(ValueError, match=message):
        fit(posterior, *data, generator=generator(1), validation_generator=generator(2), max_epochs=1)


def test_same_generators_same_weights():
    inputs, labels = easy_data(20)
    models = []
    for _ in range(2):
        model = mnist_cnn(2, seed=0)
        generators = {"generator": generator(1), "validation_generator": generator(2)}
        fit(model, inputs, labels, inputs, labels, **generators, epoch_size=64, max_epochs=2)
        models.append(model.state_dict())
    assert same(*models)
