"""Products of float32 are float32 in acquisition and information, whatever the program has set."""

import math

import pytest
import torch
from conftest import generator, random_log_probs
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from alkbald.acquisition import METHODS, kbald_scores
from alkbald.devices import float32_products
from alkbald.evaluation import evaluate
from alkbald.information import joint_mutual_information, pairwise_mutual_information, total_correlation
from alkbald.posteriors.mc_dropout.module import mc_dropout

PRODUCTS = {"mm", "bmm", "mv", "dot", "vdot", "addmm", "addmv", "addbmm", "baddbmm", "addr", "linear", "convolution"}


def _backends() -> list:
    backends = torch.backends
    return [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]


def _flags() -> list[str]:
    return [backend.fp32_precision for backend in _backends()]


@pytest.fixture
def less_precise():
    """A program that has allowed products of float32 in less, by both of PyTorch's ways."""
    matmul, flags = torch.get_float32_matmul_precision(), _flags()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    yield ["tf32", "tf32", "bf16", "bf16"]
    torch.set_float32_matmul_precision(matmul)
    for backend, flag in zip(_backends(), flags, strict=True):
        backend.fp32_precision = flag


class ProductsSeen(TorchDispatchMode):
    """The flags in force at each product of float32 (others are as precise as they say, whatever the flags)."""

    def __init__(self):
        super().__init__()
        self.flags = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in PRODUCTS and args[0].dtype == torch.float32:
            self.flags.append(_flags())
        return func(*args, **(kwargs or {}))


#: Methods that need the scores of single points alone: these are sums, without a product.
WITHOUT_PRODUCTS = {"random", "bald", "power_bald", "softmax_bald", "softrank_bald", "entropy", "variation_ratios"}


@pytest.mark.parametrize("name", METHODS)
def test_every_product_of_a_method_is_float32(name, less_precise):
    log_probs = random_log_probs(60, 4, 4, dtype=torch.float32)
    with ProductsSeen() as seen:
        batch = METHODS[name](log_probs, 5, generator=generator(), **{"order": 3} if name == "kbald" else {})
    assert len(batch)
    assert bool(seen.flags) == (name not in WITHOUT_PRODUCTS)
    assert all(flags == ["ieee"] * 4 for flags in seen.flags)
    assert _flags() == less_precise
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize(
    "function",
    [
        joint_mutual_information,
        lambda points: joint_mutual_information(points, max_outcomes=1),
        lambda points: pairwise_mutual_information(points[0], points),
        lambda points: total_correlation(points, 0.0),
        lambda points: kbald_scores(points, order=3),
    ],
    ids=["enumerated", "simulated", "pairwise", "total correlation", "k-BALD scores"],
)
def test_every_product_of_a_measure_is_float32(function, less_precise):
    with ProductsSeen() as seen:
        function(random_log_probs(6, 4, 4, dtype=torch.float32))
    assert all(flags == ["ieee"] * 4 for flags in seen.flags)
    assert _flags() == less_precise


def test_what_the_program_has_set_comes_back_after_an_error(less_precise):
    log_probs = random_log_probs(5, 3, 4)
    log_probs[3, 0, 0] = math.nan
    with pytest.raises(ValueError, match="is NaN"):
        METHODS["batchbald"](log_probs, 2)
    with pytest.raises(ZeroDivisionError), float32_products():
        1 / 0  # noqa: B018
    assert _flags() == less_precise


def test_products_on_a_cpu_leave_the_flags_of_gpus_alone(less_precise):
    with float32_products(torch.device("cpu")):
        assert _flags() == ["tf32", "tf32", "ieee", "ieee"]
    with float32_products(torch.device("cuda")):
        assert _flags() == ["ieee"] * 4
    assert _flags() == less_precise


def test_a_module_on_a_cpu_may_use_the_flags_of_gpus():
    class Flagged(nn.Sequential):
        def forward(self, x):
            with torch.backends.cudnn.flags(enabled=True):
                return super().forward(x)

    module, inputs = Flagged(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3)), torch.randn(5, 4)
    model = mc_dropout(module, inputs)
    assert model.log_probs(inputs, 2, generator=generator()).isfinite().all()
    assert evaluate(model, inputs, torch.zeros(5, dtype=torch.int64), 0, generator=generator()).nll > 0


def test_tf32_is_for_gpus(less_precise):
    with float32_products(tf32=True):
        assert _flags() == ["tf32", "tf32", "ieee", "ieee"]
    assert _flags() == less_precise
