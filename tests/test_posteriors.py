"""The seam: every posterior is fitted, and asked for consistent samples."""

import math

import pytest
import torch
from conftest import ROOT, SMALL, compose, generator, make_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from alkbald import loop
from alkbald.data import load
from alkbald.errors import SettingsError, TrainingDiverged
from alkbald.evaluation import evaluate
from alkbald.posteriors import NETWORKS, POSTERIORS, LastLayer, MCDropoutNet, cnn, make_posterior, mnist_cnn
from alkbald.posteriors.last_layer import PRIOR_PRECISIONS
from alkbald.posteriors.mc_dropout import Stage
from alkbald.posteriors.networks import PAPER
from alkbald.training import fit

#: Small models, by posterior, as options of `make_posterior`.
NETWORK = {"network": "cnn", "channels": [4, 4], "kernel_size": 3, "pool": 1, "hidden": [8], "dropout": 0.5}
MODELS = {
    "mc_dropout": {"posterior": "mc_dropout", **NETWORK},
    "ensemble": {"posterior": "ensemble", "members": 3, **NETWORK, "dropout": 0.0},
    "last_layer": {"posterior": "last_layer", "prior_precision": None, **NETWORK},
}
SAMPLES = {"mc_dropout": 5, "ensemble": 3, "last_layer": 5}


def two_classes(n: int = 24, seed: int = 0):
    """Images of 8 x 8, bright above or below."""
    labels = torch.arange(n) % 2
    inputs = torch.randn(n, 1, 8, 8, generator=generator(seed))
    inputs[labels == 0, :, :4] += 1
    inputs[labels == 1, :, 4:] += 1
    return inputs, labels


def fitted(options, *, validation: bool = True, **training):
    posterior = make_posterior(options, (1, 8, 8), 2, lambda *key: hash(key) % 1000)
    inputs, labels = two_classes()
    held_out = two_classes(seed=1) if validation else (inputs[:0], labels[:0])
    samples = 0 if posterior.validates_without_sampling else 4
    training = {"epoch_size": 64, "max_epochs": 3, "validation_samples": samples} | training
    how = fit(
        posterior, inputs, labels, *held_out, generator=generator(1), validation_generator=generator(2), **training
    )
    return posterior, how


@pytest.fixture(scope="module", params=sorted(POSTERIORS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def posterior(kind):
    return fitted(MODELS[kind])[0]


def test_there_is_a_model_of_every_posterior():
    named = {compose(f"model={path.stem}").model.posterior for path in (ROOT / "configs" / "model").iterdir()}
    assert set(MODELS) == set(POSTERIORS) == named


def test_samples_are_functions_of_single_inputs(posterior, kind):
    """Sample k is one function of all inputs: the same alone, in another order, and in chunks of any size."""
    inputs, _ = two_classes(11, seed=3)
    k = SAMPLES[kind]
    whole = posterior.log_probs(inputs, k, generator=generator(4))
    assert whole.shape == (11, k, 2)
    assert (whole.exp().sum(-1) - 1).abs().max() < 1e-5
    assert (whole[:, 0] - whole[:, 1]).abs().max() > 1e-3
    for order in (torch.tensor([7]), torch.randperm(11, generator=generator(5))):
        part = posterior.log_probs(inputs[order], k, generator=generator(4))
        assert (part - whole[order]).abs().max() < 1e-5
    in_chunks = posterior.log_probs(inputs, k, generator=generator(4), memory_budget=1)
    assert (in_chunks - whole).abs().max() < 1e-5
    assert posterior.log_probs(inputs[:0], k, generator=generator(4)).shape == (0, k, 2)


def test_the_generator_alone_decides(posterior, kind):
    inputs, _ = two_classes(5, seed=3)
    first, second, other = (posterior.log_probs(inputs, SAMPLES[kind], generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert torch.equal(first, other) == (kind == "ensemble")  # whose members are what they are


def test_evaluation_takes_the_mean_predictive(posterior, kind):
    inputs, labels = two_classes(9, seed=6)
    evaluation = evaluate(posterior, inputs, labels, SAMPLES[kind], generator=generator(7))
    mean = posterior.log_probs(inputs, SAMPLES[kind], generator=generator(7)).exp().mean(1)
    assert evaluation.accuracy == (mean.argmax(-1) == labels).float().mean()
    assert evaluation.nll == pytest.approx(F.nll_loss(mean.log(), labels).item(), abs=1e-5)


@pytest.mark.parametrize("precision", ["bf16"])
def test_bf16_is_nearly_fp32(posterior, kind, precision):
    inputs, _ = two_classes(9, seed=6)
    full, half = (
        posterior.log_probs(inputs, SAMPLES[kind], generator=generator(), precision=name)
        for name in ("fp32", precision)
    )
    assert half.dtype == torch.float32
    assert 0 < (full - half).abs().max() < 0.1


def test_an_ensemble_is_its_members():
    posterior, how = fitted(MODELS["ensemble"])
    inputs, labels = two_classes(7, seed=3)
    log_probs = posterior.log_probs(inputs, 3, generator=generator())
    with torch.no_grad():
        assert torch.allclose(log_probs, torch.stack([member(inputs) for member in posterior.members], 1), atol=1e-6)
    # The first member is what would have been trained alone; epochs are counted on over the members.
    alone, _ = fitted({**MODELS["ensemble"], "members": 1})
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), posterior.members[0].parameters(), strict=True))
    assert [epoch.epoch for epoch in how.history] == list(range(1, 10))
    assert (how.epochs, how.best_epoch > 6) == (9, True)
    with pytest.raises(ValueError, match="num_samples must be 3, as many as Ensemble has members, got 4"):
        posterior.log_probs(inputs, 4, generator=generator())
    with pytest.raises(ValueError, match="always sampled"):
        evaluate(posterior, inputs, labels, 0, generator=generator())


def test_members_stop_one_by_one():
    posterior, how = fitted(MODELS["ensemble"], max_epochs=30, patience=1)
    accuracies = [epoch.validation_accuracy for epoch in how.history]
    inputs, labels = two_classes(seed=1)
    for member in posterior.members:  # each has the weights of its own best epoch, the first of its like
        best = evaluate(member, inputs, labels, 0, generator=generator()).accuracy
        epochs = [accuracy or 0.0 for accuracy in accuracies[: accuracies.index(best) + 2]]
        assert best == max(epochs)
        accuracies = accuracies[len(epochs) :] if len(epochs) < len(accuracies) else []
    assert how.epochs < 90


def test_a_last_layer_is_a_gaussian_around_the_trained_one():
    """Of one training input the Kronecker product is exact: the covariance is that of enumeration, in float64."""
    torch.manual_seed(0)
    net = MCDropoutNet([Stage(nn.Linear(3, 4), activation=True), Stage(nn.Linear(4, 3), activation=False)])
    nn.init.constant_(net.stages[0].layer.bias, 2.0)  # so that the relu leaves features
    posterior = LastLayer(net, prior_precision=2.0)
    x, label = torch.tensor([[1.0, -0.5, 2.0]]), torch.tensor([1])
    posterior.after_training(x, label, x[:0], label[:0], generator())
    noise = posterior._noise(200_000, generator())
    weights, biases = posterior._heads(noise)
    with torch.no_grad():
        features = net.stages[0](x, None).double()[0]
        p = net(x).double().exp()[0]
    curvature = p.diag() - torch.outer(p, p)
    head = net.stages[-1].layer
    assert (weights.mean(0) - head.weight).abs().max() < 0.01
    assert (biases.mean(0) - head.bias).abs().max() < 0.01
    exact = torch.linalg.inv(torch.kron(curvature, torch.outer(features, features)) + 2 * torch.eye(12))
    assert (torch.cov(weights.double().flatten(1).T) - exact).abs().max() < 0.01
    assert (torch.cov(biases.double().T) - torch.linalg.inv(curvature + 2 * torch.eye(3))).abs().max() < 0.01
    assert (exact.diag() - 0.5).abs().max() > 0.05  # the data count


def test_the_prior_precision_is_the_likeliest_in_validation():
    net = cnn((1, 8, 8), 2, channels=[], kernel_size=1, pool=1, hidden=[16], dropout=0.0, seed=0)
    with torch.no_grad():
        net.stages[0].layer.weight.mul_(20)  # features that are large enough for noise in the weights to matter
    posterior = LastLayer(net)
    posterior.after_training(*two_classes(), *two_classes(seed=1), generator(2))
    chosen = float(posterior._gaussian.prior_precision)
    assert chosen in [pytest.approx(value) for value in PRIOR_PRECISIONS]
    inputs, labels = two_classes(seed=1)
    losses = {}
    for precision in PRIOR_PRECISIONS:
        posterior._gaussian.prior_precision = precision
        losses[precision] = evaluate(posterior, inputs, labels, 2000, generator=generator()).nll
    posterior._gaussian.prior_precision = chosen
    at_choice = evaluate(posterior, inputs, labels, 2000, generator=generator()).nll
    assert at_choice < min(losses.values()) + 0.02  # 50 samples chose
    assert max(losses.values()) > at_choice + 0.1


def test_without_validation_the_marginal_likelihood_chooses():
    posterior, how = fitted(MODELS["last_layer"], validation=False)
    assert math.isnan(how.validation_accuracy)
    assert float(posterior._gaussian.prior_precision) not in PRIOR_PRECISIONS


@pytest.mark.parametrize("validation", [True, False])
def test_features_too_large_for_a_hessian_are_a_divergence(validation):
    """Their products overflow; laplace-torch would end the program."""
    posterior = make_posterior(MODELS["last_layer"], (1, 8, 8), 2, lambda *key: 0)
    with torch.no_grad():
        for stage in posterior.network.stages[:-1]:
            stage.layer.weight.mul_(1e12)
    inputs, labels = two_classes()
    assert posterior._features(inputs).isfinite().all()
    held_out = (inputs, labels) if validation else (inputs[:0], labels[:0])
    with pytest.raises(TrainingDiverged, match="last layer's Hessian is not finite; try a lower learning rate"):
        posterior.after_training(inputs, labels, *held_out, generator())
    with pytest.raises(RuntimeError, match="before it is trained"):
        posterior.log_probs(inputs, 2, generator=generator())


def test_a_last_layer_must_be_trained_first():
    posterior = make_posterior(MODELS["last_layer"], (1, 8, 8), 2, lambda *key: 0)
    with pytest.raises(RuntimeError, match="before it is trained"):
        posterior.log_probs(torch.zeros(1, 1, 8, 8), 2, generator=generator())


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs" / "model").iterdir()))
def test_a_run_of_every_model(name, tmp_path):
    own = ("num_samples", "evaluation", "training.valid") if name in ("ensemble", "last_layer") else ()
    small = [override for override in SMALL if not override.startswith(own)]
    model = [f"model={name}", *(["model.members=2"] if name == "ensemble" else [])]  # few, to save time
    run = loop.run(make_settings(tmp_path, *small, *model))
    assert [row["labelled"] for row in run.rounds] == ["20", "30", "40"]
    again = loop.run(make_settings(tmp_path / "again", *small, *model))
    assert [point["index"] for point in again.acquired] == [point["index"] for point in run.acquired]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=ensemble", "num_samples=5"], "num_samples must be 10, as many as Ensemble has members, got 5"),
        (["model=ensemble", "evaluation_samples=5"], "evaluation_samples must be 10, as many as Ensemble"),
        (
            ["model=ensemble", "training.validation_samples=1"],
            "training.validation_samples must be 0 for Ensemble, .*, got 1",
        ),
        (["model=ensemble", "model.members=20000"], "model.members must be between 1 and 10000, got 20000"),
        (["model=last_layer", "training.validation_samples=3"], "training.validation_samples must be 0 for LastLayer"),
        (["model=last_layer", "model.prior_precision=-1"], "model.prior_precision must be positive, or null, got -1"),
        (["model.posterior=x"], f"model.posterior must be one of {', '.join(POSTERIORS)}, got x"),
        (["model.network=x"], f"model.network must be one of {', '.join(NETWORKS)}, got x"),
        (["model.channels=[8,0]"], r"model.channels must be at least 1 and whole, got \[8, 0\]"),
        (["model.dropout=-0.1"], "model.dropout must be between 0 and 0.999, got -0.1"),
        (["data.image_size=8"], r"model.channels=\[32, 64\], kernel_size=5 leave nothing of 8x8 images"),
        (["+model.depth=3"], "model.depth is no option of posterior=mc_dropout, network=cnn"),
        (["+model.seed=7"], "model.seed is no option of posterior=mc_dropout, network=cnn"),
        (["+model.num_classes=3"], "model.num_classes is no option"),
        (["+model.image_shape=[1,28,28]"], "model.image_shape is no option"),
        (["model=ensemble", "+model.weights_seed=3"], "model.weights_seed is no option of posterior=ensemble"),
        (["model.hidden=[100000000000000000]"], "model: .*overflow"),
        (["model.hidden=[1000000000000000000000]"], "model: "),
    ],
)
def test_impossible_models_are_refused(overrides, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        make_settings(tmp_path, *overrides)


def test_a_lacking_dependency_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs laplace-torch: pip install '.\[laplace\]'"):
        make_settings(tmp_path, "model=last_layer")


# Architectures.


def test_the_default_model_is_the_papers(tmp_path):
    options = make_settings(tmp_path).model
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in options.items() if key in PAPER} == PAPER
    default = make_posterior(options, (1, 28, 28), 10, lambda *key: 5)
    for ours, papers in zip(default.parameters(), mnist_cnn(10, seed=5).parameters(), strict=True):
        assert torch.equal(ours, papers)
    assert [stage.dropout for stage in default.stages] == [0.5, 0.5, 0.5, 0]


@given(
    st.lists(st.integers(1, 5), max_size=2),
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.integers(1, 6), max_size=2),
    st.tuples(st.integers(1, 3), st.integers(10, 14)),
)
@settings(max_examples=25, deadline=None)
def test_architectures_of_any_size(channels, kernel_size, pool, hidden, image):
    shape = (image[0], image[1], image[1])
    numbers = {"channels": channels, "kernel_size": kernel_size, "pool": pool, "hidden": hidden}
    net = cnn(shape, 4, **numbers, dropout=0.3, seed=0)
    inputs = torch.randn(3, *shape)
    log_probs = net.log_probs(inputs, 2, generator=generator())
    masks = net.draw_masks(2, generator())
    for k in range(2):
        assert (log_probs[:, k] - net(inputs, [mask[k : k + 1] for mask in masks])).abs().max() < 1e-4
    assert len(net.stages) == len(channels) + len(hidden) + 1


def test_images_of_another_size(tmp_path):
    run = loop.run(make_settings(tmp_path, *SMALL, "data.image_size=20", "max_labels=30"))
    assert len(run.acquired) == 10
    data = load("digits", root="", validation_size=300, image_size=20)
    assert data.image_shape == (1, 20, 20)
    native = load("digits", root="", validation_size=300, image_size=8, noise=0.0)
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images[:1347]).float()
    expected = (images - images.mean()) / images.std()
    assert (native.pool_inputs[:, 0] - expected[native.pool_index]).abs().max() < 1e-5
