"""A user's own module as a model with consistent MC-dropout masks."""

import copy
import math

import pytest
import torch
import torchvision
from conftest import generator, layer_by_layer
from hypothesis import given, settings
from hypothesis import strategies as st
from own_modules import FEATURES, Net, images, small
from torch import nn

from alkbald.inference import evaluate, sample_log_probs
from alkbald.model import mnist_cnn
from alkbald.posteriors.mc_dropout.module import mc_dropout

# What the masks are


def test_a_forward_pass_is_the_hand_written_one():
    module, inputs = small(0.25), images()
    model = mc_dropout(module, inputs[:1])
    masks = model.draw_masks(7, generator(1))
    assert [tuple(mask.shape) for mask in masks] == [(7, 4), (7, 8)]
    conv, _, _, hidden, _, _, last = module
    for k in range(7):
        channels = conv(inputs) * masks[0][k].view(4, 1, 1) / 0.75
        features = hidden(channels.flatten(1)) * masks[1][k] / 0.75
        expected = last(features.tanh()).log_softmax(-1)
        assert torch.allclose(model(inputs, [mask[k : k + 1] for mask in masks]), expected, atol=1e-6)


def test_a_mask_an_input_serves_training():
    model, inputs = mc_dropout(small(), images(1)), images()
    masks = model.draw_masks(len(inputs), generator(1))
    alone = [model(inputs[n : n + 1], [mask[n : n + 1] for mask in masks]) for n in range(len(inputs))]
    assert torch.allclose(model(inputs, masks), torch.cat(alone), atol=1e-6)


@pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D input")
def test_what_pytorchs_layers_drop_can_be_given_as_masks():
    """PyTorch's own layers in training mode show their masks by what they drop of ones."""
    for layer, shape in (
        (nn.Dropout(0.3), (5, 4)),
        (nn.Dropout(0.3), (5, 4, 3, 2)),
        (nn.Dropout1d(0.3), (5, 4, 6)),
        (nn.Dropout2d(0.3), (5, 4, 3, 2)),
        (nn.Dropout2d(0.3), (5, 4, 6)),
        (nn.Dropout3d(0.3), (5, 4, 3, 2, 2)),
    ):
        module = nn.Sequential(layer, nn.Flatten(), nn.Linear(math.prod(shape[1:]), 2))
        model = mc_dropout(module, torch.ones(shape))
        dropped = layer(torch.ones(shape))
        mask = dropped != 0
        if type(layer) is not nn.Dropout:
            mask = mask.flatten(2)[:, :, 0]  # whole channels
        expected = module[1:](dropped).log_softmax(-1)
        assert torch.allclose(model(torch.ones(shape), [mask.flatten(1)]), expected, atol=1e-6), (layer, shape)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_the_share_of_kept_units_is_one_minus_p(p, seed):
    masks = mc_dropout(small(p), images(1)).draw_masks(4000, generator(seed))
    for mask in masks:
        error = math.sqrt(p * (1 - p) / mask.numel())
        assert abs(mask.double().mean().item() - (1 - p)) < 6 * error


def test_a_layer_that_is_called_twice_has_two_masks():
    module = Net(lambda net, x: net.drop(net.widen(net.drop(net.narrow(x)))), drop=nn.Dropout(0.5))
    module.narrow, module.widen = nn.Linear(8, 4), nn.Linear(4, 8)
    model = mc_dropout(module, FEATURES)
    masks = model.draw_masks(1, generator())
    assert model.calls == [("drop", (4,)), ("drop", (8,))]
    hidden = module.widen(module.narrow(module.first(FEATURES)) * masks[0] * 2)
    assert torch.allclose(model(FEATURES, masks), module.last(hidden * masks[1] * 2).log_softmax(-1), atol=1e-6)


def test_layers_that_never_drop_have_no_masks():
    module = Net(lambda net, x: net.drop(net.off(x)), off=nn.Dropout(0.0), drop=nn.Dropout(0.5))
    assert [call.layer for call in mc_dropout(module, FEATURES).calls] == ["drop"]


@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_of_the_inputs_leaves_the_callers_inputs_alone(inplace):
    module, inputs = nn.Sequential(nn.Dropout(0.5, inplace), nn.Linear(6, 3)), FEATURES.clone()
    model = mc_dropout(module, inputs)
    log_probs = sample_log_probs(model, inputs, 6, generator=generator(1))
    assert torch.equal(inputs, FEATURES)
    masks = model.draw_masks(6, generator(1))[0]
    expected = module[1](FEATURES[:, None] * masks * 2).log_softmax(-1)
    assert torch.allclose(log_probs, expected, atol=1e-6)


class Centred(nn.Sequential):
    """Changes its inputs in place."""

    def forward(self, x):
        return super().forward(x.sub_(1))


def test_what_a_module_does_to_its_inputs_reaches_neither_the_caller_nor_the_next_sample():
    module, inputs = Centred(nn.Linear(6, 3), nn.Dropout(0.5)), FEATURES.clone()
    model = mc_dropout(module, inputs)
    log_probs = sample_log_probs(model, inputs, 4, generator=generator())
    assert torch.equal(inputs, FEATURES)
    expected = module[0](FEATURES - 1)[:, None] * model.draw_masks(4, generator())[0] * 2
    assert torch.allclose(log_probs, expected.log_softmax(-1), atol=1e-6)


def test_dropout_in_place_works_where_its_result_is_not_used():
    def between(net, x):
        net.drop(x)
        return x

    module = Net(between, drop=nn.Dropout(0.5, inplace=True))
    masks = mc_dropout(module, FEATURES).draw_masks(1, generator())
    expected = module.last(module.first(FEATURES) * masks[0] * 2).log_softmax(-1)
    with torch.no_grad():
        assert torch.allclose(mc_dropout(module, FEATURES)(FEATURES, masks), expected, atol=1e-6)


# Predictions


@pytest.mark.parametrize("memory_budget", [1, 1500, None])
@pytest.mark.parametrize("num_samples", [1, 5])
def test_sample_k_is_one_function_whatever_the_chunks(memory_budget, num_samples):
    model = mc_dropout(small(), images(1))
    inputs = images(11)
    inputs[5:] = inputs[:1]  # the same image in other chunks
    sizes = []
    log_probs = sample_log_probs(
        model,
        inputs,
        num_samples,
        generator=generator(4),
        memory_budget=memory_budget,
        progress=lambda chunks: (sizes.append(len(chunk)) or chunk for chunk in chunks),
    )
    assert sizes == {1: [1] * 11, 1500: [4, 4, 3], None: [11]}[memory_budget]
    assert log_probs.shape == (11, num_samples, 3)
    assert (log_probs - layer_by_layer(model, inputs, num_samples, seed=4)).abs().max() < 1e-5
    assert (log_probs[5:] - log_probs[:1]).abs().max() < 1e-5
    if num_samples > 1:
        assert (log_probs[:, 0] - log_probs[:, 1]).abs().max() > 1e-3


def test_the_papers_cnn_as_a_plain_module_gives_the_same_masks_and_predictions():
    net = mnist_cnn(10, dropout=0.3, seed=0)
    first, second, hidden, last = (copy.deepcopy(stage.layer) for stage in net.stages)
    module = nn.Sequential(
        *(first, nn.Dropout2d(0.3), nn.MaxPool2d(2), nn.ReLU()),
        *(second, nn.Dropout2d(0.3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), hidden, nn.Dropout(0.3), nn.ReLU(), last),
    )
    inputs = torch.randn(6, 1, 28, 28)
    model = mc_dropout(module, inputs)
    for own, nets in zip(model.draw_masks(9, generator(3)), net.draw_masks(9, generator(3)), strict=True):
        assert torch.equal(own, nets)
    own, nets = (sample_log_probs(m, inputs, 9, generator=generator(3)) for m in (model, net))
    assert (own - nets).abs().max() < 1e-5
    masks = net.draw_masks(1, generator(3))
    assert torch.equal(model(inputs, masks), net(inputs, masks))


def test_without_masks_it_is_the_module_in_evaluation_mode():
    module, inputs = small(), images()
    model = mc_dropout(module, inputs)
    assert torch.equal(model(inputs), copy.deepcopy(module).eval()(inputs).log_softmax(-1))
    with torch.no_grad():
        expected = nn.functional.nll_loss(model(inputs), torch.arange(11) % 3).item()
    found = evaluate(model, inputs, torch.arange(11) % 3, 0, generator=generator()).nll
    assert found == pytest.approx(expected, abs=1e-6)


def test_no_inputs():
    model = mc_dropout(small(), images(1))
    assert sample_log_probs(model, images(0), 4, generator=generator()).shape == (0, 4, 3)
    assert model(images(0), model.draw_masks(1, generator())).shape == (0, 3)
    assert model(images(0)).shape == (0, 3)


def test_log_probabilities_stay_as_they_are():
    logits = small()
    inputs = images()
    plain = sample_log_probs(mc_dropout(logits, inputs), inputs, 3, generator=generator())
    ended = mc_dropout(nn.Sequential(*logits, nn.LogSoftmax(-1)), inputs)
    assert (sample_log_probs(ended, inputs, 3, generator=generator()) - plain).abs().max() < 1e-5


def test_double_precision_stays_and_bf16_is_nearly_fp32():
    module, inputs = small(0.3), images()
    model = mc_dropout(module, inputs)
    full, half = (sample_log_probs(model, inputs, 4, generator=generator(), precision=p) for p in ("fp32", "bf16"))
    assert 1e-6 < (full - half).abs().max() < 0.05
    double = sample_log_probs(model.double(), inputs.double(), 4, generator=generator())
    assert double.dtype == torch.float64
    assert 0 < (double - full).abs().max() < 1e-5


def test_a_device_gives_the_same_numbers(device):
    module, inputs = small(), images()
    expected = sample_log_probs(mc_dropout(module, inputs), inputs, 4, generator=generator())
    on_device = inputs.to("cuda")
    model = mc_dropout(module, inputs).to("cuda")
    assert {parameter.device.type for parameter in module.parameters()} == {"cuda"}
    found = sample_log_probs(model, on_device, 4, generator=generator())
    assert (found.cpu() - expected).abs().max() < 1e-6
    masks = [mask[:1] for mask in model.draw_masks(4, generator())]
    with torch.no_grad():  # masks on the CPU are moved
        assert (model(on_device, masks).cpu() - expected[:, 0]).abs().max() < 1e-6


# Networks of others


def test_a_torchvision_network_with_batch_norm_predicts_in_evaluation_mode():
    torch.manual_seed(0)
    module = torchvision.models.mobilenet_v3_small(weights=None, num_classes=5)
    inputs = torch.randn(6, 3, 32, 32, generator=generator(1))
    module(torch.randn(8, 3, 32, 32))  # statistics that differ from those of the initial state and of the inputs
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = mc_dropout(module, inputs)
    assert module.training
    log_probs = sample_log_probs(model, inputs, 3, generator=generator(2), memory_budget=1)
    # By hand: the last layers are Linear, Hardswish, Dropout(0.2), Linear.
    mask = model.draw_masks(3, generator(2))[0]
    by_hand = copy.deepcopy(module).eval()
    features = by_hand.classifier[:2](by_hand.avgpool(by_hand.features(inputs)).flatten(1))
    expected = by_hand.classifier[3](features[:, None] * mask / 0.8).log_softmax(-1)
    assert (log_probs - expected).abs().max() < 1e-4
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with pytest.raises(ValueError, match="masks must be"):
        model(inputs, [mask[:, :10]])


def test_a_torchvision_network_that_drops_in_the_middle():
    torch.manual_seed(0)
    module = torchvision.models.squeezenet1_1(weights=None, num_classes=4)
    inputs = torch.randn(3, 3, 48, 48)
    inputs[2] = inputs[0]
    model = mc_dropout(module, inputs)
    log_probs = sample_log_probs(model, inputs, 3, generator=generator(), memory_budget=1)
    (mask,) = model.draw_masks(3, generator())
    assert model.calls == [("classifier.0", (512, 2, 2))]
    dropped = module.features(inputs)[:, None] * mask.view(3, 512, 2, 2) * 2
    expected = module.eval().classifier(dropped.flatten(0, 1)).view(3, 3, 4).log_softmax(-1)
    assert (log_probs - expected).abs().max() < 1e-5
    assert (log_probs[2] - log_probs[0]).abs().max() < 1e-6
    assert (log_probs[:, 0] - log_probs[:, 1]).abs().max() > 1e-3


class Encoder(nn.Module):
    """A transformer layer, whose evaluation without hooks takes a path of PyTorch's own around the dropout layers."""

    def __init__(self, attention_dropout: float):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.layer.self_attn.dropout = attention_dropout
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


def test_a_transformer_drops_in_its_layers():
    inputs = torch.randn(6, 5, 8, generator=generator(1))
    module = Encoder(0.0)
    model = mc_dropout(module, inputs)
    assert [call.layer for call in model.calls] == ["layer.dropout1", "layer.dropout", "layer.dropout2"]
    assert [call.shape for call in model.calls] == [(5, 8), (5, 16), (5, 8)]
    log_probs = sample_log_probs(model, inputs, 3, generator=generator())
    assert (log_probs[:, 0] - log_probs[:, 1]).abs().max() > 1e-3
    assert (log_probs - layer_by_layer(model, inputs, 3, seed=0)).abs().max() < 1e-5
    with torch.no_grad():
        assert torch.allclose(model(inputs), copy.deepcopy(module).eval()(inputs).log_softmax(-1), atol=1e-5)
    with pytest.raises(ValueError, match=r"Encoder.layer.self_attn \(MultiheadAttention\) draws random numbers"):
        mc_dropout(Encoder(0.2), inputs)
