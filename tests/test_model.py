import pytest
import torch
from conftest import generator
from torch import nn
from torch.nn import functional as F

from alkbald.model import MCDropoutNet, Stage, mnist_cnn


def test_the_cnn_is_the_papers():
    model = mnist_cnn(10, seed=0)
    shapes = [tuple(stage.layer.weight.shape) for stage in model.stages]
    assert shapes == [(32, 1, 5, 5), (64, 32, 5, 5), (128, 1024), (10, 128)]
    assert [stage.dropout for stage in model.stages] == [0.5, 0.5, 0.5, 0.0]
    inputs = torch.randn(3, 1, 28, 28)
    layers = [stage.layer for stage in model.stages]
    x = F.relu(F.max_pool2d(layers[0](inputs), 2))
    x = F.relu(F.max_pool2d(layers[1](x), 2)).flatten(1)
    expected = layers[3](F.relu(layers[2](x))).log_softmax(-1)
    assert torch.allclose(model(inputs), expected, atol=1e-6)


def test_initial_weights_are_pytorchs_own_and_depend_on_the_seed_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    model = mnist_cnn(10, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    assert torch.equal(model.stages[0].layer.weight, nn.Conv2d(1, 32, 5).weight)
    assert torch.equal(model.stages[3].layer.weight, mnist_cnn(10, seed=3).stages[3].layer.weight)
    assert not torch.equal(model.stages[3].layer.weight, mnist_cnn(10, seed=4).stages[3].layer.weight)


def test_masks_come_from_their_generator_and_keep_the_right_share():
    model = mnist_cnn(10, seed=0, dropout=0.3)
    masks = model.draw_masks(2000, generator(1))
    assert [tuple(mask.shape) for mask in masks] == [(2000, 32), (2000, 64), (2000, 128)]
    assert all(torch.equal(a, b) for a, b in zip(masks, model.draw_masks(2000, generator(1)), strict=True))
    assert not torch.equal(masks[0], model.draw_masks(2000, generator(2))[0])
    assert not torch.equal(masks[0][0], masks[0][1])
    for mask in masks:
        assert mask.float().mean().item() == pytest.approx(0.7, abs=0.01)


def test_a_mask_drops_whole_channels_and_scales_what_is_kept():
    stage = Stage(nn.Conv2d(1, 4, 3), dropout=0.75)
    inputs = torch.randn(2, 1, 5, 5)
    out = stage(inputs, torch.tensor([[True, False, False, True]]))
    assert torch.allclose(out[:, [0, 3]], 4 * stage(inputs, None)[:, [0, 3]])
    assert (out[:, [1, 2]] == 0).all()


def test_a_mask_a_row_serves_training():
    model = mnist_cnn(10, seed=0)
    inputs = torch.randn(4, 1, 28, 28)
    masks = model.draw_masks(4, generator())
    together = model(inputs, masks)
    for n in range(4):
        alone = model(inputs[n : n + 1], [mask[n : n + 1] for mask in masks])
        assert torch.allclose(together[n : n + 1], alone, atol=1e-6)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
        Stage(nn.Linear(1, 1), dropout=1.0)
    with pytest.raises(ValueError, match="last stage"):
        MCDropoutNet([Stage(nn.Linear(1, 1), dropout=0.5)])
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        mnist_cnn(10, seed=0).draw_masks(0, generator())


def test_layers_that_cannot_be_sliced_are_refused():
    for layer in (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")):
        with pytest.raises(ValueError, match="ungrouped and padded with zeros"):
            Stage(layer)
    with pytest.raises(ValueError, match="needs a bias"):
        Stage(nn.Linear(4, 4, bias=False))
