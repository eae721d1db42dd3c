import math

import pytest
import torch
from conftest import generator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alkbald.inference import evaluate, sample_log_probs
from alkbald.model import MCDropoutNet, Stage, mnist_cnn


def layer_by_layer(model: MCDropoutNet, inputs: torch.Tensor, num_samples: int, seed: int) -> torch.Tensor:
    """Every mask through every layer."""
    masks = model.draw_masks(num_samples, generator(seed))
    with torch.no_grad():
        return torch.stack([model(inputs, [mask[k : k + 1] for mask in masks]) for k in range(num_samples)], 1)


@given(
    dropout=st.sampled_from([0.0, 0.1, 0.5, 0.95]),
    num_samples=st.integers(1, 5),
    size=st.integers(1, 7),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=20, deadline=None)
def test_sliced_equals_layer_by_layer(dropout, num_samples, size, seed):
    model = mnist_cnn(10, seed=seed, dropout=dropout)
    inputs = torch.randn(size, 1, 28, 28, generator=generator(seed))
    sliced = sample_log_probs(model, inputs, num_samples, generator=generator(seed))
    assert sliced.shape == (size, num_samples, 10)
    # Relative where dropout near 1 scales what is kept by 20 a layer, and log-probabilities with it.
    assert torch.allclose(sliced, layer_by_layer(model, inputs, num_samples, seed), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dropouts", [(0.5, 0.3), (0.5, 0.0), (0.0, 0.5), (0.95, 0.95), (0.0, 0.0)])
def test_sliced_equals_layer_by_layer_on_other_networks(dropouts):
    torch.manual_seed(0)
    perceptron = MCDropoutNet(
        [
            Stage(nn.Linear(28 * 28, 20), dropout=dropouts[0]),
            Stage(nn.Linear(20, 16), dropout=dropouts[1]),
            Stage(nn.Linear(16, 4), activation=False),
        ]
    )
    convolutions = MCDropoutNet(
        [
            Stage(nn.Conv2d(1, 4, 3, stride=2, padding=1), dropout=dropouts[0]),
            Stage(nn.Conv2d(4, 6, 3, padding=1), dropout=dropouts[1], pool=2),
            Stage(nn.Linear(6 * 49, 4), activation=False),
        ]
    )
    for model in (perceptron, convolutions):
        inputs = torch.randn(5, 1, 28, 28)
        sliced = sample_log_probs(model, inputs, 9, generator=generator(2))
        assert (sliced - layer_by_layer(model, inputs, 9, seed=2)).abs().max() < 1e-5


def test_masks_are_consistent_across_inputs_chunks_and_a_smaller_last_chunk():
    model = mnist_cnn(10, seed=0)
    inputs = torch.randn(1, 1, 28, 28).repeat(11, 1, 1, 1)
    chunks = []

    def watched(iterable):
        for chunk in iterable:
            chunks.append(len(chunk))
            yield chunk

    log_probs = sample_log_probs(model, inputs, 6, generator=generator(), memory_budget=400_000, progress=watched)
    assert len(chunks) > 1
    assert chunks[-1] < chunks[0]
    assert (log_probs - log_probs[:1]).abs().max() < 1e-5  # one image, so sample k must say one thing everywhere
    assert (log_probs[0, 0] - log_probs[0, 1]).abs().max() > 1e-3  # and different samples different things


def test_chunks_change_nothing_but_rounding_and_draws_differ():
    model = mnist_cnn(10, seed=0)
    inputs = torch.randn(20, 1, 28, 28)
    whole = sample_log_probs(model, inputs, 4, generator=generator(5))
    for memory_budget in (1, 10**6):
        chunked = sample_log_probs(model, inputs, 4, generator=generator(5), memory_budget=memory_budget)
        assert (chunked - whole).abs().max() < 1e-5
    again = generator(5)
    assert torch.equal(sample_log_probs(model, inputs, 4, generator=again), whole)
    assert (sample_log_probs(model, inputs, 4, generator=again) - whole).abs().max() > 1e-3


def test_no_inputs_give_no_predictions():
    assert sample_log_probs(mnist_cnn(7, seed=0), torch.zeros(0, 1, 28, 28), 3, generator=generator()).shape == (
        0,
        3,
        7,
    )


def test_evaluation_uses_the_log_mean_exp_of_the_samples():
    model = mnist_cnn(10, seed=0)
    inputs, labels = torch.randn(50, 1, 28, 28), torch.arange(50) % 10
    samples = layer_by_layer(model, inputs, 8, seed=3)
    mean = samples.double().exp().mean(1)
    accuracy, nll = evaluate(model, inputs, labels, 8, generator=generator(3))
    assert accuracy == pytest.approx((mean.argmax(-1) == labels).double().mean().item())
    assert nll == pytest.approx(-mean[torch.arange(50), labels].log().mean().item(), abs=1e-5)
    mean_of_logs = -samples.mean(1)[torch.arange(50), labels].mean().item()
    assert not math.isclose(nll, mean_of_logs, abs_tol=1e-4)


def test_evaluation_without_samples_turns_dropout_off():
    model = mnist_cnn(10, seed=0)
    inputs, labels = torch.randn(30, 1, 28, 28), torch.arange(30) % 10
    with torch.no_grad():
        expected = nn.functional.nll_loss(model(inputs), labels).item()
    assert evaluate(model, inputs, labels, 0, generator=generator())[1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_and_gpu_agree():
    model = mnist_cnn(10, seed=0)
    inputs = torch.randn(100, 1, 28, 28)
    on_cpu = sample_log_probs(model, inputs, 10, generator=generator())
    on_gpu = sample_log_probs(model.cuda(), inputs.cuda(), 10, generator=generator())
    assert (on_gpu.cpu() - on_cpu).abs().max() < 1e-4
