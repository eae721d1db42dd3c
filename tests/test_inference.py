import math
from contextlib import nullcontext

import pytest
import torch
from conftest import generator, layer_by_layer
from torch import nn

from alkbald.acquisition import batchbald, kbald
from alkbald.inference import evaluate, sample_log_probs
from alkbald.model import MCDropoutModel, MCDropoutNet, mnist_cnn
from alkbald.posteriors import Ensemble, Sampled, base
from alkbald.posteriors.mc_dropout.masked import MaskedNetwork
from alkbald.posteriors.mc_dropout.module import mc_dropout


class Residual(MCDropoutModel):
    """Not made of stages: a skip connection goes around the dropout."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def draw_masks(self, num_samples, generator):
        return [torch.rand(num_samples, 8, generator=generator) < 0.5]

    def forward(self, inputs, masks=None):
        x = self.first(inputs.flatten(1)).relu()
        y = self.second(x)
        x = x + (y if masks is None else y * masks[0] * 2)
        return self.last(x).log_softmax(-1)


@pytest.mark.parametrize("memory_budget", [1, 3000, None])
def test_a_model_without_stages_goes_through_its_forward_pass(memory_budget):
    torch.manual_seed(0)
    model, inputs = Residual(), torch.randn(11, 1, 4, 4)
    log_probs = sample_log_probs(model, inputs, 5, generator=generator(4), memory_budget=memory_budget)
    assert (log_probs - layer_by_layer(model, inputs, 5, seed=4)).abs().max() < 1e-5
    assert (log_probs[:, 0] - log_probs[:, 1]).abs().max() > 1e-3


class Opaque(MCDropoutModel):
    """A net of stages that does not show them."""

    def __init__(self, net: MCDropoutNet):
        super().__init__()
        self.net, self.draw_masks, self.forward = net, net.draw_masks, net.forward

    num_classes = 10
    draw_masks = forward = None


def test_both_paths_agree():
    net, inputs = mnist_cnn(10, seed=0), torch.randn(9, 1, 28, 28)
    sliced = sample_log_probs(net, inputs, 7, generator=generator(2))
    plain = sample_log_probs(Opaque(net), inputs, 7, generator=generator(2))
    assert (sliced - plain).abs().max() < 1e-5


@pytest.mark.parametrize("wrap", [lambda net: net, Opaque], ids=["sliced", "plain"])
def test_bf16_is_nearly_fp32_and_comes_out_as_float32(wrap):
    net, inputs = mnist_cnn(10, seed=0), torch.randn(20, 1, 28, 28)
    full, half = (
        sample_log_probs(wrap(net), inputs, 5, generator=generator(), precision=precision)
        for precision in ("fp32", "bf16")
    )
    assert half.dtype == torch.float32
    assert 1e-5 < (full - half).abs().max() < 0.05
    assert (half.exp().sum(-1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["net", "module", "ensemble"])
def test_predictions_of_any_network_can_be_acquired_by(kind, dtype):
    """float32, or float64 of float64: in half precision, rows would not sum to 1."""
    inputs = torch.randn(9, 1, 28, 28, generator=generator(1)).to(dtype)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Dropout(), nn.Linear(16, 10)).to(dtype)
    posterior = {
        "net": lambda: mnist_cnn(10, seed=0).to(dtype),
        "module": lambda: mc_dropout(module, inputs),
        "ensemble": lambda: Ensemble([mnist_cnn(10, seed=member) for member in range(3)]).to(dtype),
    }[kind]()
    log_probs = sample_log_probs(posterior, inputs, 3, generator=generator())
    assert log_probs.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (log_probs.exp().sum(-1) - 1).abs().max() < 1e-5
    assert len(batchbald(log_probs, 2)) == 2


def test_impossible_precisions_are_refused():
    model, inputs = mnist_cnn(10, seed=0), torch.randn(2, 1, 28, 28)
    with pytest.raises(ValueError, match="precision must be one of fp32, tf32, bf16, got fp8"):
        sample_log_probs(model, inputs, 2, generator=generator(), precision="fp8")
    with pytest.raises(ValueError, match="tf32 needs an NVIDIA GPU"):
        sample_log_probs(model, inputs, 2, generator=generator(), precision="tf32")


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_products_are_float32_and_as_exact_as_before_afterwards(where, device, monkeypatch):
    seen = []
    multiply = torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", lambda *args: seen.append(_products(where)) or multiply(*args))
    before = _products(where)
    sample_log_probs(mnist_cnn(10, seed=0).to(where), torch.randn(2, 1, 28, 28).to(where), 2, generator=generator())
    assert seen
    assert set(seen) == {("ieee", "ieee")}
    assert _products(where) == before != ("ieee", "ieee")


def _products(where: str) -> tuple[str, str]:
    conv, matmul = {"cpu": ("mkldnn", "mkldnn"), "cuda": ("cudnn", "cuda")}[where]
    return getattr(torch.backends, conv).conv.fp32_precision, getattr(torch.backends, matmul).matmul.fp32_precision


def test_a_device_out_of_memory_gets_smaller_chunks_and_a_line(monkeypatch, caplog):
    model, inputs = mnist_cnn(10, seed=0), torch.randn(50, 1, 28, 28)
    expected = sample_log_probs(model, inputs, 3, generator=generator())
    sizes = []

    def network(self, x, out, call=MaskedNetwork.__call__):
        sizes.append(len(x))
        if len(x) > 13:
            raise torch.OutOfMemoryError("out of memory")
        call(self, x, out)

    monkeypatch.setattr(MaskedNetwork, "__call__", network)
    log_probs = sample_log_probs(model, inputs, 3, generator=generator())
    assert (log_probs - expected).abs().max() < 1e-5
    assert sizes == [50, 25, 12, 12, 12, 12, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory: going on with 25 inputs at a time",
        "out of memory: going on with 12 inputs at a time",
    ]


def test_one_input_too_many_for_a_device_is_an_error(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch, "baddbmm", full)
    with pytest.raises(torch.OutOfMemoryError):
        sample_log_probs(mnist_cnn(10, seed=0), torch.randn(4, 1, 28, 28), 3, generator=generator())


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


def test_the_number_of_threads_changes_nothing_but_rounding():
    model = mnist_cnn(10, seed=0)
    inputs = torch.randn(60, 1, 28, 28)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            log_probs = sample_log_probs(model, inputs, 10, generator=generator())
            again = sample_log_probs(model, inputs, 10, generator=generator())
            assert torch.equal(log_probs, again)  # bit for bit, for one number of threads
            results.append((log_probs, batchbald(log_probs, 6, max_particles=200), kbald(log_probs, 6, order=2)))
    finally:
        torch.set_num_threads(before)
    for log_probs, *batches in results[1:]:
        assert (log_probs - results[0][0]).abs().max() < 1e-5
        for batch, first in zip(batches, results[0][1:], strict=True):
            assert batch.indices == first.indices
            assert batch.scores == pytest.approx(first.scores, abs=1e-5)


def test_a_chunk_at_the_end_of_the_inputs_makes_no_other_smaller(monkeypatch):
    """Threads may predict it before another: here all chunks are predicted from the last to the first."""

    def backwards(work, *arguments):
        return iter([work(*each) for each in reversed([*zip(*arguments, strict=True)])])

    sizes = []

    def write_logits(inputs, out):
        sizes.append(len(inputs))
        out[:] = 0.0

    monkeypatch.setattr(base, "side_by_side", lambda threads: nullcontext(backwards))
    out = torch.empty(25, 1, 2)
    base._in_chunks(Sampled(write_logits, 10, 2), torch.zeros(25, 3), out, iter)
    assert sizes == [5, 10, 10]
    assert (out - math.log(0.5)).abs().max() < 1e-6


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
    evaluation = evaluate(model, inputs, labels, 8, generator=generator(3))
    nll = evaluation.nll
    assert evaluation.accuracy == pytest.approx((mean.argmax(-1) == labels).double().mean().item())
    assert nll == pytest.approx(-mean[torch.arange(50), labels].log().mean().item(), abs=1e-5)
    mean_of_logs = -samples.mean(1)[torch.arange(50), labels].mean().item()
    assert not math.isclose(nll, mean_of_logs, abs_tol=1e-4)


def test_evaluation_without_samples_turns_dropout_off():
    model = mnist_cnn(10, seed=0)
    inputs, labels = torch.randn(30, 1, 28, 28), torch.arange(30) % 10
    with torch.no_grad():
        expected = nn.functional.nll_loss(model(inputs), labels).item()
    assert evaluate(model, inputs, labels, 0, generator=generator()).nll == pytest.approx(expected, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_and_gpu_agree():
    model = mnist_cnn(10, seed=0)
    inputs = torch.randn(100, 1, 28, 28)
    on_cpu = sample_log_probs(model, inputs, 10, generator=generator())
    on_gpu = sample_log_probs(model.cuda(), inputs.cuda(), 10, generator=generator())
    assert (on_gpu.cpu() - on_cpu).abs().max() < 1e-4
