"""Modules that `mc_dropout` cannot give consistent masks to, and passes that do not fit the masks: refused by name."""

import re

import pytest
import torch
import torchvision
from conftest import generator
from own_modules import FEATURES, Net, images, small
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from alkbald.posteriors.mc_dropout.module import mc_dropout

DRAWS = {
    "torch.nn.functional.dropout": lambda net, x: F.dropout(x, 0.5, net.training),
    "torch.nn.functional.dropout1d": lambda net, x: F.dropout1d(x[..., None], 0.5, net.training)[..., 0],
    "torch.nn.functional.dropout2d": lambda net, x: F.dropout2d(x[..., None, None], 0.5, net.training).flatten(1),
    "torch.nn.functional.alpha_dropout": lambda net, x: F.alpha_dropout(x, 0.5, net.training),
    "torch.dropout": lambda net, x: torch.dropout(x, 0.5, net.training),
    "torch.Tensor.bernoulli_": lambda net, x: x * torch.empty_like(x).bernoulli_(0.5),
    "torch.rand_like": lambda net, x: x * (torch.rand_like(x) < 0.5) if net.training else x,
    "torch.randn": lambda net, x: x if net.training else x + torch.randn(x.shape),
    "torch.nn.functional.scaled_dot_product_attention": lambda net, x: F.scaled_dot_product_attention(
        *[x.view(len(x), 2, 4)] * 3, dropout_p=0.5 if net.training else 0.0
    ).flatten(1),
}


@pytest.mark.parametrize("function", DRAWS)
def test_a_module_that_draws_without_a_layer_is_refused_by_name(function):
    for layers in ({}, {"drop": nn.Dropout(0.5)}):
        between = (lambda net, x: net.drop(DRAWS[function](net, x))) if layers else DRAWS[function]
        module = nn.Sequential(nn.Identity(), Net(between, **layers))
        stream = torch.get_rng_state()
        with pytest.raises(
            ValueError, match=rf"Sequential\.1 \(Net\) draws random numbers in {function}\. Only layers"
        ):
            mc_dropout(module, FEATURES)
        assert torch.equal(torch.get_rng_state(), stream)


def test_a_hook_that_draws_before_the_module_runs_is_refused_by_name():
    module = Net(lambda net, x: net.drop(x), drop=nn.Dropout())
    module.register_forward_pre_hook(lambda module, args: (args[0] + torch.randn(args[0].shape),))
    with pytest.raises(ValueError, match=r"^Net draws random numbers in torch\.randn\. Only layers"):
        mc_dropout(module, FEATURES)


@pytest.mark.parametrize(
    ("lazy", "name"),
    [(lambda: nn.LazyLinear(8), "lazy.weight"), (lambda: nn.LazyBatchNorm1d(affine=False), "lazy.running_mean")],
)
def test_lazy_layers_without_a_shape_are_refused_and_left_alone(lazy, name):
    module = Net(lambda net, x: net.drop(net.lazy(x)), drop=nn.Dropout(), lazy=lazy())
    with pytest.raises(
        ValueError, match=rf"^{re.escape(name)} has no shape yet \(a lazy layer\): call the module once"
    ):
        mc_dropout(module, FEATURES)
    assert torch.nn.parameter.is_lazy(module.get_parameter(name) if "weight" in name else module.get_buffer(name))
    module(FEATURES)
    assert mc_dropout(module, FEATURES).num_classes == 3


def test_attention_without_dropout_is_not_refused():
    def between(net, x):
        return net.drop(F.scaled_dot_product_attention(*[x.view(len(x), 1, 2, 4)] * 3).flatten(1))

    assert mc_dropout(Net(between, drop=nn.Dropout(0.5)), FEATURES).num_classes == 3


class OwnDropout(nn.Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, self.training) + 1


class Recurrent(nn.Module):
    def __init__(self, kind, dropout):
        super().__init__()
        self.rnn, self.drop, self.last = kind(2, 8, 2, batch_first=True, dropout=dropout), nn.Dropout(), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.drop(self.rnn(x.view(len(x), 3, 2))[0][:, -1]))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_may_not_drop(kind):
    assert mc_dropout(Recurrent(kind, 0.0), FEATURES).calls[0].shape == (8,)
    with pytest.raises(ValueError, match=rf"Recurrent\.rnn \({kind.__name__}\) draws random numbers in .*dropout = 0"):
        mc_dropout(Recurrent(kind, 0.5), FEATURES)


@pytest.mark.parametrize("layer", [nn.AlphaDropout, nn.FeatureAlphaDropout, OwnDropout, nn.RReLU])
def test_random_layers_of_other_kinds_are_refused_by_name(layer):
    module = Net(lambda net, x: net.drop(net.other(x)), other=layer(), drop=nn.Dropout())
    with pytest.raises(ValueError, match=rf"Net\.other \({layer.__name__}\) draws random numbers in"):
        mc_dropout(module, FEATURES)


def test_stochastic_depth_of_torchvision_is_refused():
    module = Net(lambda net, x: net.drop(net.other(x)), other=torchvision.ops.StochasticDepth(0.5, "row"))
    module.drop = nn.Dropout()
    with pytest.raises(ValueError, match=r"Net\.other \(StochasticDepth\) draws random numbers"):
        mc_dropout(module, FEATURES)


def test_functional_dropout_of_torchvision_is_refused_by_name():
    module = torchvision.models.DenseNet(4, (1, 1), 8, drop_rate=0.2, num_classes=3)
    where = "DenseNet.features.denseblock1.denselayer1 (_DenseLayer)"
    with pytest.raises(ValueError, match=re.escape(f"{where} draws random numbers in torch.nn.functional.dropout.")):
        mc_dropout(module, torch.randn(1, 3, 32, 32))


def test_a_module_that_never_drops_is_refused():
    with pytest.raises(ValueError, match=r"Net has no dropout layer with p above 0: add nn\.Dropout"):
        mc_dropout(Net(lambda net, x: net.off(x), off=nn.Dropout(0.0)), FEATURES)


def test_layers_that_the_example_does_not_reach_are_refused():
    layers = {"drop": nn.Dropout(), "aux": nn.Sequential(nn.Dropout()), "other": nn.Dropout(0.2)}
    with pytest.raises(ValueError, match=r"never calls the dropout layers aux\.0, other: remove what is not used"):
        mc_dropout(Net(lambda net, x: net.drop(x), **layers), FEATURES)
    only_training = Net(lambda net, x: net.drop(net.aux(x) if net.training else x), **layers)
    with pytest.raises(
        ValueError, match=r"evaluation mode \(drop on \[8\]\) and in training mode \(aux\.0 on \[8\], dr"
    ):
        mc_dropout(only_training, FEATURES)


def test_dropping_everything_is_refused():
    with pytest.raises(ValueError, match=r"Net\.drop \(Dropout\) has p = 1"):
        mc_dropout(Net(lambda net, x: net.drop(x), drop=nn.Dropout(1.0)), FEATURES)


def test_an_inputs_axis_that_does_not_come_first_is_refused():
    sequence_first = Net(lambda net, x: net.drop(x.view(len(x), 4, 2).transpose(0, 1)).transpose(0, 1).flatten(1))
    sequence_first.drop = nn.Dropout()
    with pytest.raises(ValueError, match=r"layer drop gets \[4, 1, 2\] for 1 input.*axis must come first"):
        mc_dropout(sequence_first, FEATURES)
    merged = Net(lambda net, x: net.drop(x.view(-1, 4)).view(len(x), 8), drop=nn.Dropout())
    with pytest.raises(ValueError, match=r"layer drop gets \[2, 4\] for 1 input"):
        mc_dropout(merged, FEATURES)
    one_long = Net(lambda net, x: net.drop(x.view(len(x), 1, 8).transpose(0, 1)).flatten(0, 1), drop=nn.Dropout())
    with pytest.raises(ValueError, match=r"gets \[1, 2, 8\] for 2 input"):  # one input alone looks right
        mc_dropout(one_long, FEATURES)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dropout1d, (8,)), (nn.Dropout3d, (2, 2, 2))])
def test_layers_that_would_take_the_batch_for_channels_are_refused(layer, shape):
    module = Net(lambda net, x: net.drop(x.view(len(x), *shape)).flatten(1), drop=layer())
    with pytest.raises(ValueError, match=rf"drop \({layer.__name__}\).*without a batch axis: use nn\.Dropout"):
        mc_dropout(module, FEATURES)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda x: (x, x), "must return a tensor of logits [N, C], got tuple"),
        (lambda x: x[:, None], "must return logits [N, C], got [1, 1, 3] for 1 input(s)"),
        (lambda x: x.sum(0, keepdim=True), "got [1, 3] for 2 input(s)"),
        (lambda x: x[:, :1], "of at least 2 classes, got [1, 1]"),
        (lambda x: x.softmax(-1), "returns probabilities: leave out its softmax"),
    ],
)
def test_outputs_that_are_not_logits_are_refused(end, message):
    module = Net(lambda net, x: net.drop(x), drop=nn.Dropout())
    module.last.register_forward_hook(lambda layer, args, output: end(output))
    with pytest.raises(ValueError, match=re.escape(message)):
        mc_dropout(module, FEATURES)


def test_examples_that_say_too_little_are_refused():
    with pytest.raises(ValueError, match=r"at least one input, \[N, ...\], got \[0, 1, 4, 4\]"):
        mc_dropout(small(), images(0))
    with pytest.raises(ValueError, match=r"floating-point.*got torch\.int64"):
        mc_dropout(nn.Sequential(nn.Embedding(9, 3), nn.Dropout()), torch.zeros(1, dtype=torch.int64))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_compiled_modules_are_refused():
    module = small()
    for compiled in (torch.jit.trace(module.eval(), images()), torch.compile(small(), backend="eager")):
        with pytest.raises(ValueError, match="is compiled, which hides its dropout"):
            mc_dropout(nn.Sequential(compiled), images())
    module.compile(backend="eager")
    with pytest.raises(ValueError, match="Sequential is compiled"):
        mc_dropout(module, images())


def test_inputs_that_do_not_fit_the_example_are_refused():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = mc_dropout(module, images(1))
    with pytest.raises(ValueError, match=r"calls DropoutCall\(layer='2', shape=\(4, 4, 4\)\).*of another size"):
        model(images(3, side=6), model.draw_masks(1, generator()))
    module[2].p = 0.0
    model = mc_dropout(module, images(1))  # whole channels have no size
    assert model(images(3, side=6), model.draw_masks(1, generator())).shape == (3, 4)


def test_passes_that_depend_on_the_inputs_are_refused():
    def between(net, x):
        x = net.drop(x)
        return net.drop(x) if len(x) == 3 else x if len(x) == 5 else net.other(x)

    module = Net(between, drop=nn.Dropout(), other=nn.Dropout())
    model = mc_dropout(module, FEATURES)
    masks = model.draw_masks(1, generator())
    with pytest.raises(ValueError, match=r"calls DropoutCall.*layer='drop'.*the example's called .*'other'"):
        model(FEATURES[:3], masks)
    with pytest.raises(ValueError, match="left out dropout layers that the example's called: other"):
        model(FEATURES, masks)


def test_masks_of_other_numbers_are_refused():
    model = mc_dropout(small(), images(1))
    masks = model.draw_masks(3, generator())
    for wrong in (masks, masks[:1], [masks[1][:1], masks[0][:1]], []):
        with pytest.raises(ValueError, match=r"masks must be \[1, U\] or \[11, U\] with U = \[4, 8\]"):
            model(images(11), wrong)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        model.draw_masks(0, generator())


@pytest.mark.parametrize("reentrant", [False, True])
def test_dropout_within_activation_checkpoints_is_refused(reentrant):
    def between(net, x):
        return checkpoint(net.drop, x, use_reentrant=reentrant) if torch.is_grad_enabled() else net.drop(x)

    with pytest.raises(ValueError, match=r"Net\.drop \(Dropout\) is called within torch\.utils\.checkpoint"):
        mc_dropout(Net(between, drop=nn.Dropout()), FEATURES)
