"""What `mc_dropout` leaves of the user's module, and how such a model is trained."""

import copy
import re

import pytest
import torch
from conftest import ROOT, generator
from own_modules import images, small
from torch import nn
from torch.nn import functional as F

from alkbald.inference import evaluate, sample_log_probs
from alkbald.posteriors.mc_dropout.module import mc_dropout
from alkbald.training import fit

# The user's module


def test_the_module_is_afterwards_as_it_was():
    module, inputs = nn.Sequential(*small(), nn.BatchNorm1d(3)), images()
    module[6].eval()  # a flag that differs from its neighbours'
    before = copy.deepcopy(module)
    stream = torch.get_rng_state()
    model = mc_dropout(module, inputs)
    sample_log_probs(model, inputs, 3, generator=generator())
    model(inputs)
    assert torch.equal(torch.get_rng_state(), stream)
    assert type(module) is nn.Sequential
    assert [part.training for part in module.modules()] == [part.training for part in before.modules()]
    assert all(len(part._forward_hooks) + len(part._forward_pre_hooks) == 0 for part in module.modules())
    assert [*module.state_dict()] == [*before.state_dict()]
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in module.state_dict().items())
    outputs = []
    for part in (module, before):  # dropout of its own, and batch norm that learns
        torch.manual_seed(3)
        outputs.append(part(inputs))
    assert torch.equal(*outputs)
    assert torch.equal(module.eval()(inputs), before.eval()(inputs))


def test_the_module_is_as_it_was_after_an_error():
    module = small()
    model = mc_dropout(module, images(1))
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 7, 4, 4), model.draw_masks(1, generator()))
    with pytest.raises(RuntimeError):
        mc_dropout(module, torch.randn(2, 7, 4, 4))
    assert all(part.training for part in module.modules())
    assert all(len(part._forward_hooks) + len(part._forward_pre_hooks) == 0 for part in module.modules())


def test_hooks_of_the_user_see_what_is_kept():
    module, inputs = small(), images(2)
    seen = []
    module[4].register_forward_hook(lambda layer, args, output: seen.append(output))
    model = mc_dropout(module, inputs)
    masks = model.draw_masks(1, generator())
    seen.clear()
    model(inputs, masks)
    assert torch.equal(seen[0] != 0, masks[1].expand(2, 8))


def test_copies_and_state_dicts():
    module, inputs = small(), images()
    model = mc_dropout(module, inputs)
    assert [*model.state_dict()] == [f"module.{name}" for name in module.state_dict()]
    expected = sample_log_probs(model, inputs, 3, generator=generator())
    other = copy.deepcopy(model)
    with torch.no_grad():
        module[0].weight.zero_()
    assert torch.equal(sample_log_probs(other, inputs, 3, generator=generator()), expected)
    assert not torch.equal(sample_log_probs(model, inputs, 3, generator=generator()), expected)
    model.load_state_dict(other.state_dict())
    assert torch.equal(sample_log_probs(model, inputs, 3, generator=generator()), expected)
    assert torch.equal(module[0].weight, other.module[0].weight)


def test_p_is_read_at_every_draw():
    module, inputs = small(), images()
    model = mc_dropout(module, inputs)
    module[4].p = 0.9
    assert model.draw_masks(4000, generator())[1].float().mean().item() == pytest.approx(0.1, abs=0.02)
    module[4].p = 0.0  # a layer that came with masks, and now takes none
    with pytest.raises(ValueError, match="left out dropout layers that the example's called: 4"):
        model(inputs, model.draw_masks(1, generator()))


# Training


def labelled(n: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes, told by where an image is bright."""
    labels = torch.arange(n) % 3
    inputs = 0.3 * images(n)
    inputs[torch.arange(n), 0, labels] += 2
    return inputs, labels


def test_training_and_validation_work_and_batch_norm_learns_in_training_alone(monkeypatch):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten())
    module.extend([nn.Linear(32, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)])
    inputs, labels = labelled()
    model = mc_dropout(module, inputs)
    options = {"generator": generator(1), "validation_generator": generator(2), "batch_size": 16, "epoch_size": 96}
    fitted = fit(model, inputs, labels, inputs, labels, max_epochs=15, patience=15, learning_rate=1e-2, **options)
    assert fitted.validation_accuracy > 0.9
    assert module[1].num_batches_tracked == 6 * fitted.best_epoch
    assert evaluate(model, inputs, labels, 20, generator=generator()).accuracy > 0.9
    assert module[1].num_batches_tracked == 6 * fitted.best_epoch


def test_batch_norm_of_a_module_in_evaluation_mode_stays_frozen():
    module, inputs = nn.Sequential(*small(), nn.BatchNorm1d(3)).eval(), images()
    model = mc_dropout(module, inputs)
    assert not model.training
    model(inputs, model.draw_masks(11, generator()))
    assert module[-1].num_batches_tracked == 0
    model.train()
    model(inputs, model.draw_masks(11, generator()))
    assert module[-1].num_batches_tracked == 1


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_are_those_of_the_hand_written_pass(inplace):
    module, inputs = small(0.4, inplace), images()
    model = mc_dropout(module, inputs)
    masks = model.draw_masks(len(inputs), generator())
    labels = torch.arange(11) % 3
    F.nll_loss(model(inputs, masks), labels).backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    conv, _, _, hidden, _, _, last = module
    features = hidden((conv(inputs) * masks[0][:, :, None, None] / 0.6).flatten(1)) * masks[1] / 0.6
    F.cross_entropy(last(features.tanh()), labels).backward()
    for grad, parameter in zip(found, module.parameters(), strict=True):
        assert torch.allclose(grad, parameter.grad, atol=1e-6)


# The documentation


def test_the_examples_of_the_documentation_run():
    page = (ROOT / "docs" / "own-model.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    images, labels = torch.randn(60, 3, 32, 32, generator=generator()), torch.arange(60) % 10
    names = {"pool": images[40:], "inputs": images[:20], "labels": labels[:20]}
    names |= {"validation_inputs": images[20:40], "validation_labels": labels[20:40]}
    for block in blocks:
        exec(block, names)
    assert names["log_probs"].shape == (20, 20, 10)
    assert len(set(names["batch"].indices)) == 5
    assert names["fitted"].epochs == 2
