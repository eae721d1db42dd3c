"""What every acquisition method must do, of BALD, k-BALD and BatchBALD; test_methods.py goes on with the others."""

import importlib
import math
from functools import partial

import brute_force
import pytest
import torch
from conftest import generator, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald.acquisition import METHODS, bald, batchbald, kbald, random

SCORED = {
    "bald": bald,
    "2bald": METHODS["2bald"],
    "3bald": METHODS["3bald"],
    "batchbald": batchbald,
    "batchbald, few particles": lambda *args, **options: batchbald(*args, max_particles=20, **options),
}


@pytest.mark.parametrize("name", SCORED)
def test_half_precision_and_a_named_device_are_served(name):
    log_probs = random_log_probs(30, 6, 3).half()
    batch = SCORED[name](log_probs, 4, device=torch.device("cpu"))
    assert batch.indices == SCORED[name](log_probs.float(), 4).indices


@pytest.mark.parametrize("name", SCORED)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_permuting_the_pool_permutes_the_batch(name, seed):
    log_probs = random_log_probs(20, 6, 3, seed)
    permutation = torch.randperm(20, generator=generator(seed))
    batch = SCORED[name](log_probs, 4, generator=generator(1))
    permuted = SCORED[name](log_probs[permutation], 4, generator=generator(1))
    assert permutation[permuted.indices].tolist() == batch.indices
    assert permuted.scores == pytest.approx(batch.scores, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in SCORED if name != "bald"])
@pytest.mark.parametrize("memory_budget", [3000, 5000])
def test_the_memory_budget_changes_nothing(name, memory_budget):
    log_probs = random_log_probs(60, 6, 3, dtype=torch.float32)  # 72 bytes a point: at most 41, or all
    free = SCORED[name](log_probs, 4)
    tight = SCORED[name](log_probs, 4, memory_budget=memory_budget)
    assert tight.indices == free.indices
    assert tight.scores == pytest.approx(free.scores, abs=1e-6)


@pytest.mark.parametrize("name", SCORED)
def test_chunks_blocks_and_tiles_change_nothing(name, monkeypatch):
    log_probs = random_log_probs(100, 6, 3, dtype=torch.float32)
    whole = SCORED[name](log_probs, 5)
    for module, constant, value in [
        ("pool", "_CHUNK", 100),
        ("kbald", "_BLOCK", 7),
        ("batchbald", "_BLOCK", 3),
        ("batchbald", "_PART", 11),
        ("batchbald", "_CUTS", ()),
        ("batchbald", "_CUTS", (0, 5, 50)),
    ]:
        monkeypatch.setattr(importlib.import_module(f"alkbald.acquisition.{module}"), constant, value)
        changed = SCORED[name](log_probs, 5)
        assert changed.indices == whole.indices
        assert changed.scores == pytest.approx(whole.scores, abs=1e-6)


@pytest.mark.parametrize("name", SCORED)
def test_ties_go_to_the_lowest_index_and_no_point_is_bought_twice(name):
    log_probs = random_log_probs(5, 6, 3, dtype=torch.float32).repeat(3, 1, 1)  # each point three times
    batch = SCORED[name](log_probs, 15)
    assert sorted(batch.indices) == list(range(15))
    assert batch.indices[0] < 5
    if name == "bald":
        assert [i % 5 for i in batch.indices[:3]] == [batch.indices[0]] * 3


@pytest.mark.parametrize("name", [*SCORED, "random"])
@pytest.mark.parametrize("shape", [(6, 1, 3), (6, 4, 1), (6, 4, 2), (1, 4, 3)])
def test_scores_are_finite_for_certain_and_impossible_predictions(name, shape):
    method = SCORED.get(name, partial(random, generator=generator()))
    log_probs = torch.full(shape, -math.inf)
    log_probs[..., 0] = 0.0
    if shape[1] > 1 and shape[2] > 1:
        log_probs[1::2, 0] = torch.tensor([-math.inf, 0.0] + [-math.inf] * (shape[2] - 2))
    batch = method(log_probs, shape[0])
    assert sorted(batch.indices) == list(range(shape[0]))
    if name != "random":
        assert all(map(math.isfinite, batch.scores))
        assert method(log_probs.double(), shape[0]).scores == pytest.approx(batch.scores, abs=1e-5)


@pytest.mark.parametrize("name", SCORED)
def test_underflowing_probabilities_do_no_harm(name):
    log_probs = (random_log_probs(8, 4, 3, dtype=torch.float32) * 200).log_softmax(-1)
    assert all(map(math.isfinite, SCORED[name](log_probs, 8).scores))


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("seed", range(6))
def test_nothing_left_to_know_does_no_harm(name, seed):
    """One point tells the samples apart; the others are noise that all samples agree on."""
    num_samples, num_classes = 2 + seed % 3, 47
    noise = random_log_probs(60, 1, num_classes, seed, dtype=torch.float32).repeat(1, num_samples, 1)
    log_probs = noise.clone()
    log_probs[5] = -math.inf
    log_probs[5, torch.arange(num_samples), torch.arange(num_samples)] = 0.0
    batch = SCORED[name](log_probs, 4)
    assert batch.indices[0] == 5
    assert batch.scores == pytest.approx([math.log(num_samples)] * 4, abs=1e-4)
    assert all(map(math.isfinite, SCORED[name](noise[:, :1], 4).scores))  # one sample knows everything


@pytest.mark.parametrize("name", SCORED)
def test_float32_scores_are_within_1e_5_of_float64(name):
    log_probs = random_log_probs(50, 20, 5)
    assert SCORED[name](log_probs.float(), 5).scores == pytest.approx(SCORED[name](log_probs, 5).scores, abs=1e-5)


@pytest.mark.parametrize("options", [("2bald", 20, {}), ("3bald", 10, {}), ("batchbald", 13, {"max_particles": 2**12})])
def test_float32_scores_of_large_batches_are_within_1e_5_of_float64(options):
    name, size, more = options
    log_probs = random_log_probs(200, 50, 2 if name == "batchbald" else 10, scale=1.0)
    exact = SCORED[name](log_probs, size, **more)
    rounded = SCORED[name](log_probs.float(), size, **more)
    assert rounded.indices == exact.indices
    assert rounded.scores == pytest.approx(exact.scores, abs=1e-5)


@pytest.mark.parametrize("name", SCORED)
def test_what_is_negligible_does_not_add_up(name):
    """Copies of a point that says next to nothing: what each leaves out counts, or twelve of them would not fit."""
    point = torch.tensor([[0.98, 0.02], [0.97, 0.03]], dtype=torch.float64).log()
    log_probs = point.repeat(20, 1, 1)
    expected = SCORED[name](log_probs, 13).scores
    assert SCORED[name](log_probs.float(), 13).scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", SCORED)
def test_any_number_of_points_that_say_nothing(name):
    noise = torch.full((40, 1, 10), -math.log(10), dtype=torch.float64 if "2" in name or "3" in name else torch.float32)
    assert SCORED[name](noise, 40).scores == pytest.approx([0.0] * 40, abs=1e-4)
    telling = torch.cat([torch.tensor([[[0.99, 0.01], [0.01, 0.99]]]), torch.full((120, 2, 2), 0.5)]).log()
    batch = SCORED[name](telling, 121) if name != "3bald" else SCORED[name](telling, 12)
    assert batch.indices[0] == 0


@pytest.mark.parametrize("name", ["2bald", "3bald", "batchbald", "batchbald, few particles"])
def test_a_copy_is_not_bought_before_something_new_of_equal_gain(name):
    certain = random_log_probs(2, 1, 3)  # one sample: nothing is worth anything
    assert SCORED[name](certain[[0, 0, 0, 1]], 2).indices == [0, 3]
    assert SCORED[name](certain[[0, 0, 0, 1]].float(), 3).indices == [0, 3, 1]


@pytest.mark.parametrize("name", SCORED)
def test_rows_that_sum_nearly_to_one_are_normalised(name):
    log_probs = random_log_probs(30, 8, 3)
    uneven = log_probs + 8e-4 * torch.randn(30, 8, 1, generator=generator(), dtype=torch.float64).clamp(-1, 1)
    expected, batch = SCORED[name](log_probs, 4), SCORED[name](uneven, 4)
    assert batch.indices == expected.indices
    assert batch.scores == pytest.approx(expected.scores, abs=1e-9)


@pytest.mark.parametrize("name", SCORED)
def test_predictions_that_carry_gradients_are_served(name):
    log_probs = random_log_probs(10, 4, 3)
    assert SCORED[name](log_probs.clone().requires_grad_(), 3).indices == SCORED[name](log_probs, 3).indices


@pytest.mark.parametrize("name", [*SCORED, "random"])
def test_batch_sizes_out_of_range_are_refused_and_zero_is_empty(name):
    method = SCORED.get(name, partial(random, generator=generator()))
    log_probs = random_log_probs(3, 2, 2)
    assert method(log_probs, 0).indices == []
    assert method(log_probs[:0], 0).scores == []
    for size in (-1, 4):
        with pytest.raises(ValueError, match=f"between 0 and the 3 points of the pool, got {size}"):
            method(log_probs, size)


@pytest.mark.parametrize("name", SCORED)
def test_nan_is_refused_before_it_can_win(name):
    log_probs = random_log_probs(5, 3, 4)
    log_probs[3, 0, 0] = math.nan
    with pytest.raises(ValueError, match="pool index 3 is NaN"):
        SCORED[name](log_probs, 2)


def test_a_batch_knows_what_it_is_worth():
    log_probs = random_log_probs(30, 8, 3)
    batch = batchbald(log_probs, 4)
    assert batch.joint_mutual_information == pytest.approx(batch.scores[-1], abs=1e-9)
    assert batch.standard_error == 0
    assert batch.share_of_log_k == pytest.approx(batch.scores[-1] / math.log(8))
    alone = sum(brute_force.joint_mutual_information(log_probs[i : i + 1]) for i in batch.indices)
    assert batch.total_correlation == pytest.approx(alone - batch.scores[-1])
    assert batch.first_non_positive is None
    same = random_log_probs(1, 10, 3, scale=50).repeat(40, 1, 1)
    assert kbald(same, 5, order=2).first_non_positive in (1, 2)
    assert random(log_probs, 3, generator=generator()).first_non_positive is None
    assert math.isnan(batchbald(log_probs[:, :1], 2).share_of_log_k)
    assert batchbald(log_probs, 0).joint_mutual_information == 0


def test_random_draws_without_replacement_from_its_generator():
    log_probs = torch.zeros(50, 1, 1)
    batch = random(log_probs, 50, generator=generator(3))
    assert sorted(batch.indices) == list(range(50))
    assert batch.indices == random(log_probs, 50, generator=generator(3)).indices
    assert batch.indices != random(log_probs, 50, generator=generator(4)).indices
    assert all(map(math.isnan, batch.scores))


#: Methods that draw at random: without a generator they would draw the same every time, or from a global one.
DRAWING = ["random", "power_bald", "softmax_bald", "softrank_bald", "power_large_batchbald", "epig"]


def options_of(name: str) -> dict:
    return {"kbald": {"order": 3}, "epig": {"num_targets": 3}}.get(name, {})


@pytest.mark.parametrize("name", METHODS)
def test_only_methods_that_draw_need_a_generator(name):
    log_probs = random_log_probs(30, 6, 3)
    batch = METHODS[name](log_probs, 3, generator=generator(1), **options_of(name))
    if name in DRAWING:
        with pytest.raises(TypeError, match="generator"):
            METHODS[name](log_probs, 3, **options_of(name))
    else:
        assert METHODS[name](log_probs, 3, **options_of(name)) == batch


@pytest.mark.parametrize("name", DRAWING)
def test_every_call_of_a_method_that_draws_draws_anew(name):
    log_probs, shared = random_log_probs(30, 6, 3), generator(1)
    drawn = [tuple(METHODS[name](log_probs, 3, generator=shared, **options_of(name)).indices) for _ in range(10)]
    assert len(set(drawn)) > 1
    assert drawn[0] == tuple(METHODS[name](log_probs, 3, generator=generator(1), **options_of(name)).indices)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", SCORED)
def test_cpu_and_gpu_agree(name):
    log_probs = random_log_probs(500, 20, 5, dtype=torch.float32)
    on_cpu, on_gpu = SCORED[name](log_probs, 5), SCORED[name](log_probs.cuda(), 5)
    assert on_gpu.indices == on_cpu.indices
    assert on_gpu.scores == pytest.approx(on_cpu.scores, abs=1e-5)
