"""Networks under fixed masks, summed and sliced, beside the layer-by-layer pass."""

import copy
from math import prod

import pytest
import torch
from conftest import compose, generator, layer_by_layer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alkbald.data import load
from alkbald.inference import sample_log_probs
from alkbald.model import MCDropoutNet, Stage, mnist_cnn
from alkbald.posteriors.mc_dropout import model as mc_dropout_model
from alkbald.posteriors.mc_dropout.masked import network
from alkbald.posteriors.mc_dropout.masked.kept import Kept, sizes_of
from alkbald.posteriors.mc_dropout.masked.summed import sum_is_cheaper
from alkbald.settings import from_config
from alkbald.training import fit

#: How the layer behind the first dropout is computed: as counted, or whichever way.
FORMS = {"counted": sum_is_cheaper, "summed": lambda *_: True, "sliced": lambda *_: False}

dropouts = st.sampled_from([0.0, 0.3, 0.5, 0.99])  # at 0.99 layers lose all their units


@st.composite
def convolutions(draw) -> dict:
    return {
        "width": draw(st.integers(1, 9)),
        "kernel": draw(st.sampled_from([1, 2, 3, (3, 1), (2, 3)])),
        "stride": draw(st.sampled_from([1, 1, 2, (1, 2)])),
        "dilation": draw(st.sampled_from([1, 1, 2])),
        "padding": draw(st.sampled_from([0, 1, "valid", (0, 1)])),
        "pool": draw(st.integers(1, 2)),
        "activation": draw(st.booleans()),
        "dropout": draw(dropouts),
    }


@st.composite
def networks(draw) -> tuple[list[dict], list[dict], int]:
    """Up to three convolutions and two hidden linear layers, of any width, and a seed of their weights."""
    hidden = [{"width": draw(st.integers(1, 9)), "dropout": draw(dropouts)} for _ in range(draw(st.integers(0, 2)))]
    last = {"width": draw(st.integers(1, 4)), "activation": False}
    return draw(st.lists(convolutions(), max_size=3)), [*hidden, last], draw(st.integers(0, 10**6))


def build(convolutions: list[dict], linear: list[dict], seed: int) -> MCDropoutNet:
    """For images of 2 x 15 x 13."""
    torch.manual_seed(seed)
    stages, shape = [], torch.zeros(1, 2, 15, 13)
    for layer in convolutions:
        width, kernel, pool, activation, dropout = (
            layer[key] for key in ("width", "kernel", "pool", "activation", "dropout")
        )
        options = {key: layer[key] for key in ("stride", "dilation", "padding")}
        if options["stride"] == 1 and options["padding"] == "valid" and kernel == 3:
            options["padding"] = "same"
        convolution = nn.Conv2d(shape.shape[1], width, kernel, **options)
        try:
            shape = nn.functional.max_pool2d(convolution(shape), pool)
        except RuntimeError:  # what is left of the image is smaller than the kernel or the window
            continue
        stages.append(Stage(convolution, pool=pool, activation=activation, dropout=dropout))
    for layer in linear:
        options = {key: value for key, value in layer.items() if key != "width"}
        stages.append(Stage(nn.Linear(shape[0].numel(), layer["width"]), **options))
        shape = torch.zeros(1, layer["width"])
    return MCDropoutNet(stages)


@given(networks(), st.sampled_from([*FORMS]), st.integers(0, 5), st.integers(1, 9), st.sampled_from([1, 20_000, None]))
@settings(max_examples=150, deadline=None)
def test_any_network_equals_its_layer_by_layer_pass(layers, form, size, num_samples, memory_budget):
    model = build(*layers)
    inputs = torch.randn(size, 2, 15, 13, generator=generator(size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "sum_is_cheaper", FORMS[form])
        patch.setattr(network, "_COLUMNS", 32)  # several tiles
        patch.setattr(network, "_BLOCK", 2**10)  # several blocks of units
        patch.setattr(mc_dropout_model, "_MASKS", 4)  # several parts of the masks
        log_probs = sample_log_probs(model, inputs, num_samples, generator=generator(1), memory_budget=memory_budget)
    assert log_probs.shape == (size, num_samples, model.num_classes)
    # Relative where dropout near 1 scales what is kept by 100 a layer, and log-probabilities with it.
    assert torch.allclose(log_probs, layer_by_layer(model, inputs, num_samples, seed=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dropout", "num_samples"), [(0.0, 3), (0.5, 1), (0.5, 40), (0.95, 7), (0.999, 5)])
def test_the_papers_network_equals_its_layer_by_layer_pass(dropout, num_samples, form, monkeypatch):
    monkeypatch.setattr(network, "sum_is_cheaper", FORMS[form])
    model = mnist_cnn(10, seed=1, dropout=dropout)
    inputs = torch.randn(35, 1, 28, 28, generator=generator())  # two tiles and a rest
    log_probs = sample_log_probs(model, inputs, num_samples, generator=generator(1))
    assert torch.allclose(log_probs, layer_by_layer(model, inputs, num_samples, seed=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_perceptron_equals_its_layer_by_layer_pass(form, monkeypatch):
    monkeypatch.setattr(network, "sum_is_cheaper", FORMS[form])
    torch.manual_seed(0)
    stages = [Stage(nn.Linear(12, 20), dropout=0.5), Stage(nn.Linear(20, 16), dropout=0.3)]
    model = MCDropoutNet([*stages, Stage(nn.Linear(16, 4), activation=False)])
    inputs = torch.randn(1500, 12)
    log_probs = sample_log_probs(model, inputs, 9, generator=generator(2))
    assert (log_probs - layer_by_layer(model, inputs, 9, seed=2)).abs().max() < 1e-5


def test_on_trained_weights_log_probabilities_are_those_of_float64():
    training = vars(from_config(compose()).training) | {"max_epochs": 15, "epoch_size": 512, "validation_samples": 0}
    data = load("digits", root="", split_seed=0, validation_size=300, initial_per_class=2, noise=0.1, repeats=1)
    model = mnist_cnn(10, seed=0)
    fit(
        model,
        data.pool_inputs[data.initial],
        data.pool_labels[data.initial],
        data.validation_inputs,
        data.validation_labels,
        **training,
        generator=generator(),
        validation_generator=generator(),
    )
    inputs = data.test_inputs[:50]
    log_probs = sample_log_probs(model, inputs, 60, generator=generator(3))
    exact = layer_by_layer(copy.deepcopy(model).double(), inputs.double(), 60, seed=3)
    assert exact.min() < -20  # trained: float32 steps by 2e-6 there
    assert (log_probs - exact).abs().max() < 3e-5


def test_the_cheaper_form_is_counted():
    """By going through every multiplication of a small layer."""
    stages = [Stage(nn.Conv2d(1, 3, 2), dropout=0.5), Stage(nn.Conv2d(3, 4, 2), dropout=0.5, pool=2)]
    _, size = sizes_of(stages, 1, 6, 6)
    assert size == (3, 4, 9, 4, 2, 2)  # a kernel of 2 moved over windows of 2 sees 3 x 3
    draws = generator()
    both = set()
    for num_samples in (1, 2, 3, 4, 6, 10, 30):
        chosen, kept = (torch.rand(num_samples, units, generator=draws) < 0.5 for units in (3, 4))
        places = size.window * size.height * size.width
        slices = sum(
            size.kernel * places
            for k in range(num_samples)
            for c in range(3)
            for u in range(4)
            if chosen[k, c] and kept[k, u]
        )
        sums = 3 * 4 * size.field * places + sum(3 * places for k in range(num_samples) for u in range(4) if kept[k, u])
        assert sum_is_cheaper(size, chosen, kept) == (sums < slices)
        both.add(sums < slices)
    assert both == {True, False}


@pytest.mark.parametrize(("num_samples", "summed"), [(1, False), (4, False), (20, True), (100, True)])
def test_many_masks_of_the_papers_network_are_summed_and_few_sliced(num_samples, summed):
    model = mnist_cnn(10, seed=0)
    masks = model.draw_masks(num_samples, generator())
    masked = network.MaskedNetwork([*model.stages], masks, num_samples, torch.zeros(1, 1, 28, 28), torch.float32)
    assert (masked._summed is not None) == summed


@given(st.integers(1, 5), st.integers(1, 9), st.sampled_from([1, 8]), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_what_masks_keep(count, units, multiple, seed):
    masks = torch.rand(count, units, generator=generator(seed)) < 0.4
    kept = Kept.of(masks, multiple)
    width = kept.units.shape[1]
    assert width % multiple == 0
    assert max(1, int(masks.sum(1).max())) <= width < max(1, int(masks.sum(1).max())) + multiple
    for mask, numbers, there in zip(masks, kept.units, kept.there, strict=True):
        assert numbers[there > 0].tolist() == mask.nonzero()[:, 0].tolist()
        assert set(there.tolist()) <= {0.0, 1.0}
        assert int(numbers.max()) < units


def test_activations_stay_within_the_budget():
    model = mnist_cnn(10, seed=0)
    masks = model.draw_masks(20, generator())
    masked = network.MaskedNetwork([*model.stages], masks, 20, torch.zeros(1, 1, 28, 28), torch.float32)
    for budget in (1, 2**20, 2**24, 2**30):
        size = masked.inputs_within(budget)
        assert size == 1 or size * masked._elements * 4 <= budget
    assert masked.inputs_within(2**30) == network._TILES * masked._tile
    masked(torch.zeros(16, 1, 28, 28), torch.empty(16, 20, 10))
    assert 0 < sum(prod(shape) for shape in vars(masked._memory)) < 16 * masked._elements
