"""Pools that do not lie in memory: arrays, mapped files, functions, shards. The same batches as of a tensor."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from conftest import generator, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.acquisition import METHODS, Chunks, bald, batchbald, kbald
from alkbald.acquisition import predictions as module
from alkbald.acquisition.pool import Pool
from alkbald.acquisition.predictions import as_predictions
from alkbald.benchmarking.memory import anonymous_mebibytes, measured
from alkbald.errors import AxesWarning

OPTIONS = {"kbald": {"order": 2}, "conservative_bald": {"min_bald": 0.0}, "epig": {"num_targets": 5}}


FILES = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


def mapped(log_probs: torch.Tensor, folder) -> np.ndarray:
    """A file, mapped so that it can only be read."""
    path = folder / f"{next(FILES)}.npy"
    np.save(path, log_probs.numpy())
    return np.load(path, mmap_mode="r")


def chunks(log_probs: torch.Tensor, *, points_at_a_time: int | None = None, as_array: bool = False) -> Chunks:
    def read(start: int, stop: int):
        assert 0 <= start < stop <= len(log_probs)
        return log_probs[start:stop].numpy() if as_array else log_probs[start:stop]

    return Chunks(read, len(log_probs), points_at_a_time=points_at_a_time)


def plans(depth: int = 2):
    """How to put predictions elsewhere (`placed`)."""
    simple = st.tuples(st.sampled_from(["tensor", "array", "map"])) | st.tuples(
        st.just("chunks"), st.none() | st.integers(1, 40), st.booleans()
    )
    if not depth:
        return simple
    return simple | st.tuples(st.just("shards"), st.lists(st.tuples(st.floats(0, 1), plans(depth - 1)), min_size=1))


def placed(log_probs: torch.Tensor, plan, folder):
    """The predictions in another place, cut as the plan says."""
    if plan[0] == "shards":
        cuts = [0, *sorted(round(share * len(log_probs)) for share, _ in plan[1][1:]), len(log_probs)]
        parts = zip(itertools.pairwise(cuts), plan[1], strict=True)
        return [placed(log_probs[a:b], inner, folder) for (a, b), (_, inner) in parts]
    if plan[0] == "tensor" or not len(log_probs):
        return log_probs
    if plan[0] == "chunks":
        return chunks(log_probs, points_at_a_time=plan[1], as_array=plan[2])
    return log_probs.numpy() if plan[0] == "array" else mapped(log_probs, folder)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_read_is_what_is_there(folder, data):
    log_probs = random_log_probs(data.draw(st.integers(1, 12)), 3, 2, dtype=torch.float32)
    read = as_predictions(placed(log_probs, data.draw(plans()), folder))
    assert (read.shape, read.dtype, len(read)) == (log_probs.shape, log_probs.dtype, len(log_probs))
    start = data.draw(st.integers(0, len(log_probs)))
    stop = data.draw(st.integers(start, len(log_probs)))
    assert torch.equal(read.rows(start, stop), log_probs[start:stop])
    indices = torch.tensor(data.draw(st.lists(st.integers(0, len(log_probs) - 1), max_size=9)), dtype=torch.long)
    assert torch.equal(read.at(indices), log_probs[indices])
    read.at(indices).zero_()  # a copy
    assert torch.equal(read.at(indices), log_probs[indices])


@pytest.mark.parametrize("name", sorted(METHODS))
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_method_chooses_as_of_a_tensor(folder, name, data):
    """Whatever the source, its cuts, the type, what is read at a time, and what is kept."""
    n, size = data.draw(st.integers(5, 40)), data.draw(st.integers(0, 5))
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.float16]))
    log_probs = random_log_probs(n, 6, 3, seed=data.draw(st.integers(0, 99))).to(dtype)
    log_probs[: n // 3] = log_probs[n // 3 : 2 * (n // 3)]  # duplicates
    options = dict(OPTIONS.get(name, {}))
    expected = METHODS[name](log_probs, size, generator=generator(), **options)
    budgeted = ("batchbald", "kbald", "2bald", "conservative_bald", "epig")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_ELEMENTS_READ", data.draw(st.sampled_from([1, 50, 2**22])))
        if name in budgeted:
            options["memory_budget"] = data.draw(st.sampled_from([5 * 3 * 7 * 8, 5000, 10**6]))
        source = placed(log_probs, data.draw(plans()), folder)
        batch = METHODS[name](source, size, generator=generator(), **options)
    assert (batch.indices, batch.decision) == (expected.indices, expected.decision)
    assert batch.scores == pytest.approx(expected.scores, abs=1e-5, nan_ok=True)
    assert torch.equal(batch.log_probs, expected.log_probs)
    assert len(batch) == 0 or batch.joint_mutual_information == expected.joint_mutual_information


def test_the_pool_is_read_once_and_then_only_what_can_win():
    """Points that all samples agree on cannot win: they are read once."""
    log_probs = torch.full((1000, 8, 4), -50.0)
    log_probs[..., 0] = 0.0
    log_probs[::100] = random_log_probs(10, 8, 4, dtype=torch.float32)
    log_probs = log_probs.log_softmax(-1)
    counts = torch.zeros(1000, dtype=torch.long)

    def read(start: int, stop: int) -> torch.Tensor:
        counts[start:stop] += 1
        return log_probs[start:stop]

    source = Chunks(read, 1000, points_at_a_time=64)
    for name in ("bald", "entropy", "variation_ratios"):
        counts.zero_()
        assert METHODS[name](source, 3).indices == METHODS[name](log_probs, 3).indices
        assert counts.sum() == 1000 + 3  # and the batch itself
    counts.zero_()
    batch = batchbald(source, 3, memory_budget=0)
    assert batch.indices == batchbald(log_probs, 3).indices
    assert counts.max() < 40
    assert (counts == 1).sum() > 900


@pytest.mark.parametrize("method", [bald, batchbald, METHODS["2bald"]])
def test_a_mapped_pool_stays_in_its_file(method, tmp_path):
    """Of 114 MiB, a third is held at most: chunks, scores, and what the budget allows."""
    shape, path = (60_000, 50, 10), tmp_path / "pool.npy"
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, len(file), 1000):
        file[start : start + 1000] = random_log_probs(1000, 50, 10, seed=start, dtype=torch.float32).numpy()
    file.flush()
    del file
    pool = np.load(path, mmap_mode="r")
    options = {} if method is bald else {"memory_budget": 8 * 2**20}
    method(pool[:2000], 3, **options)  # libraries' own memory, once
    before = anonymous_mebibytes()
    assert measured(lambda: method(pool, 3, **options)).mebibytes - before < 114 / 3


def test_a_point_of_a_function_costs_few_calls():
    calls = []
    log_probs = random_log_probs(100, 3, 2)

    def read(start: int, stop: int) -> torch.Tensor:
        calls.append((start, stop))
        return log_probs[start:stop]

    source = Chunks(read, 100, points_at_a_time=20)
    calls.clear()
    assert torch.equal(source.at(torch.tensor([90, 3, 4, 15, 4])), log_probs[[90, 3, 4, 15, 4]])
    assert calls == [(3, 16), (90, 91)]  # what is near is read together
    calls.clear()
    source.at(torch.arange(50))
    assert calls == [(0, 20), (20, 40), (40, 50)]


@pytest.mark.parametrize(
    ("log_probs", "error", "message"),
    [
        (lambda start, stop: None, TypeError, r"wrap a function in Chunks\(read, num_points\)"),
        ("log_probs.npy", TypeError, "got str"),
        ([], ValueError, "at least one shard"),
        ([np.zeros((2, 3, 1)), np.zeros((2, 4, 1))], ValueError, r"shards must be alike: number 1 has K, C = \[4, 1\]"),
        ([np.zeros((2, 3, 1)), torch.zeros(2, 3, 1)], ValueError, "number 1 has .* torch.float32 .* torch.float64"),
        (np.zeros((2, 3)), ValueError, r"axes \[N, K, C\] with K and C at least 1, got shape \[2, 3\]"),
        (np.zeros((2, 3, 1), dtype=int), TypeError, "must be floating point, got torch.int64"),
        (np.zeros((2, 3, 1), dtype=object), TypeError, "must be floating point, got object"),
    ],
)
def test_what_is_no_source_is_refused(log_probs, error, message):
    with pytest.raises(error, match=message):
        as_predictions(log_probs)


def test_a_function_that_breaks_its_word_is_refused():
    log_probs = random_log_probs(10, 3, 2)
    too_few = Chunks(lambda a, b: log_probs[a : max(a + 1, b - 1)], 10)
    other_axes = Chunks(lambda a, b: log_probs[a:b, : max(1, 4 - b)], 10)
    other_type = Chunks(lambda a, b: log_probs[a:b] if b == 1 else log_probs[a:b].float(), 10)
    for source in (too_few, other_axes, other_type):
        with pytest.raises(ValueError, match=r"read\(0, \d+\) must give torch.float64 of shape"):
            bald(source, 1)
    for option in ({"num_points": 0}, {"num_points": 3, "points_at_a_time": 0}):
        with pytest.raises(ValueError, match="must be an integer of at least 1"):
            Chunks(lambda a, b: log_probs[a:b], **option)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("batch_size", [3.0, "3", None])
def test_a_batch_size_that_is_no_integer_is_refused(method, batch_size):
    with pytest.raises(TypeError, match=f"batch_size must be an integer, got {batch_size!r}"):
        METHODS[method](random_log_probs(10, 3, 2), batch_size, generator=generator(), **OPTIONS.get(method, {}))


@pytest.mark.usefixtures("no_shape_checks")
def test_a_batch_size_may_be_numpys():
    log_probs = random_log_probs(10, 3, 2)
    assert batchbald(log_probs, np.int64(3)) == batchbald(log_probs, 3)


# What was probably meant.


def test_probabilities_logits_and_other_axes_are_named():
    log_probs = random_log_probs(30, 6, 3, dtype=torch.float32)
    logits = 5 * torch.randn(30, 6, 3, generator=generator())
    for wrong, message in (
        (log_probs.exp(), r"pool index 0 sums to .*: these are probabilities; pass probabilities.log\(\)"),
        (log_probs.exp().transpose(1, 2), r"pool index 0 .*: these are probabilities, with axes \[N, C, K\]; pass"),
        (logits, r"pool index 0 sums to .*: these look like logits; pass logits.log_softmax\(-1\)"),
        (log_probs.transpose(1, 2), r"the axes are \[N, C, K\]; pass log_probs.transpose\(1, 2\)"),
        (log_probs - 0.1, "pool index 0 sums to 0.9048 instead of 1 after exp; natural-log probabilities are needed"),
    ):
        for source in (wrong, wrong.numpy(), [wrong, wrong], chunks(wrong)):
            for method in (bald, batchbald, lambda *args: kbald(*args, order=2)):
                with pytest.raises(ValueError, match=message):
                    method(source, 2)


def test_samples_before_points_are_warned_of():
    """[K, N, C] cannot be told from [N, K, C] by its sums; points that all differ less than samples tell it."""
    base = 3 * torch.randn(50, 1, 4, generator=generator(1))
    log_probs = (base + 0.3 * torch.randn(50, 10, 4, generator=generator(2))).log_softmax(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bald(log_probs, 3)
        bald(log_probs[:5], 3)  # few points are no mistake
        bald(log_probs[:1], 1)
    with pytest.warns(AxesWarning, match=r"10 points and 50 samples.*pass log_probs.transpose\(0, 1\)"):
        bald(log_probs.transpose(0, 1), 3)
    with pytest.raises(ValueError, match=r"the 10 points of the pool, got 20; the axes are \[N, K, C\]"):
        bald(log_probs.transpose(0, 1), 20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(st.integers(2, 1000), st.integers(0, 99), st.floats(0, 5))
@settings(max_examples=40, deadline=None)
def test_half_precision_is_taken(dtype, num_classes, seed, scale):
    """Rounded log-probabilities do not sum to one so nearly; they are normalised."""
    log_probs = (scale * torch.randn(6, 3, num_classes, generator=generator(seed))).log_softmax(-1)
    rounded = log_probs.to(dtype)
    batch = bald(rounded, 3)
    exact = bald(rounded.double().log_softmax(-1), 6)
    worth = dict(zip(exact.indices, np.diff([0, *exact.scores]), strict=True))
    assert batch.scores[-1] == pytest.approx(sum(worth[i] for i in batch.indices), abs=1e-4)
    assert batch.scores[-1] == pytest.approx(exact.scores[2], abs=1e-4)


# Ties.


@pytest.mark.parametrize("num_classes", [2, 5, 7, 10, 47])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_points_have_equal_scores_wherever_they_lie(num_classes, dtype):
    """So that ties go to the lowest index. (A matrix product's rounding depends on where in memory a row lies.)"""
    point = random_log_probs(1, 100, num_classes, seed=3, dtype=dtype)
    pool = Pool(as_predictions(point.repeat(300, 1, 1)))
    assert pool.bald.unique().numel() == pool.marginal_entropy.unique().numel() == 1
    assert pool.index.tolist() == list(range(300))
    for name in ("bald", "entropy", "variation_ratios", "conservative_bald"):
        options = {"threshold": math.inf} if name == "conservative_bald" else {}
        assert METHODS[name](point.repeat(300, 1, 1), 5, **options).indices == [0, 1, 2, 3, 4], name
