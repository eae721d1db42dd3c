"""One budget for a method's outcomes and the pool's probabilities: outcomes first, probabilities in what is left."""

import inspect
import io
import math
import os

import pytest
import torch
from conftest import generator, make_settings, random_log_probs
from hypothesis import given, settings
from hypothesis import strategies as st

from alkbald import devices, loop
from alkbald.acquisition import METHODS, pool
from alkbald.acquisition.kbald import check_tables, table_rows
from alkbald.acquisition.pool import Pool, checked_budget
from alkbald.acquisition.predictions import as_predictions
from alkbald.errors import SettingsError, TablesTooLarge
from alkbald.information.particles import ChildParticles, OutcomeParticles
from alkbald.settings import check_method_size

BUDGETED = sorted(
    name for name, method in METHODS.items() if "memory_budget" in inspect.signature(method.function).parameters
)
OPTIONS = {"kbald": {"order": 4}, "epig": {"num_targets": 7}, "conservative_bald": {"threshold": 9.0, "min_bald": 0.0}}


@given(st.integers(0, 20_000), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_probabilities_are_kept_in_what_outcomes_leave(memory_budget, outcomes):
    log_probs = random_log_probs(60, 6, 3, dtype=torch.float32)
    kept = Pool(as_predictions(log_probs), memory_budget=memory_budget, num_outcomes=outcomes)._num_cached
    a_point, tables = 6 * (3 + 1) * 4, outcomes * (6 + 1) * 4
    assert kept == 0 or kept * a_point + tables <= memory_budget
    assert kept == 60 or (kept + 1) * a_point + tables > memory_budget


@pytest.mark.parametrize("name", [name for name in BUDGETED if name != "adaptive_kbald"])  # which is kbald by turns
def test_a_method_reckons_with_the_outcomes_that_it_holds(name, monkeypatch):
    """Counted as they are made: tables are kept all, of particles those after each pick."""
    reckoned, tables, particles = [], [0], [0]

    def pool_made(self, *args, num_outcomes=0, made=Pool.__init__, **options):
        reckoned.append(num_outcomes)
        tables[0] = 0
        made(self, *args, num_outcomes=num_outcomes, **options)

    def extended(self, probs, original=OutcomeParticles.extended):
        result = original(self, probs)
        tables[0] += len(result)
        return result

    def reduced(self, *args, original=ChildParticles.reduced, **options):
        result = original(self, *args, **options)
        particles[0] = max(particles[0], len(result))
        return result

    monkeypatch.setattr(Pool, "__init__", pool_made)
    monkeypatch.setattr(OutcomeParticles, "extended", extended)
    monkeypatch.setattr(ChildParticles, "reduced", reduced)
    METHODS[name](random_log_probs(40, 6, 3), 5, generator=generator(), **OPTIONS.get(name, {}))
    held = particles[0] if name == "batchbald" else 7 * 3 if name == "epig" else tables[0]
    assert reckoned[-1] == held > 0


@pytest.mark.parametrize("name", BUDGETED)
@given(st.integers(1, 12), st.integers(0, 4000), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=25, deadline=None)
def test_what_a_method_refuses_for_its_size_is_known_before(name, batch_size, memory_budget, dtype):
    log_probs = random_log_probs(12, 4, 3, dtype=dtype)
    method, options, refusals = METHODS[name], OPTIONS.get(name, {}), []
    check_size = method.check_size or (lambda *args, **options: None)
    for work in (
        lambda: method(log_probs, batch_size, memory_budget=memory_budget, generator=generator(), **options),
        lambda: check_size((12, 4, 3), batch_size, memory_budget, dtype=dtype, **options),
    ):
        try:
            work()
        except TablesTooLarge as error:
            refusals.append(str(error))
    assert len(refusals) in (0, 2)
    assert len(set(refusals)) < 2


@pytest.mark.parametrize("order", [2, 3])
def test_an_order_may_take_the_whole_budget(order):
    needed = table_rows(5, order, 3) * (6 + 1) * 8
    log_probs = random_log_probs(30, 6, 3)
    free = METHODS["kbald"](log_probs, 5, order=order)
    assert METHODS["kbald"](log_probs, 5, order=order, memory_budget=needed).indices == free.indices
    with pytest.raises(TablesTooLarge, match=f"order {order} at batch_size 5 .* order {order - 1} fits"):
        METHODS["kbald"](log_probs, 5, order=order, memory_budget=needed - 1)


def test_the_sizes_of_the_committed_runs_fit():
    """The studies' largest: 3-BALD of 40 points at K = 100 and ten classes, within the configured 512 MiB."""
    check_tables((60_000, 100, 10), 40, 2**29, order=3)
    METHODS["dynamic_bald"].check_size((60_000, 100, 10), 40, 2**29, divergence=0.3)


def test_an_order_beyond_all_numbers_is_refused_in_one_line():
    with pytest.raises(TablesTooLarge, match=r"order 100000 at .* needs outcome tables of more than .*; order 2 fits"):
        check_tables((10**6, 100, 10), 100_000, 2**29, order=10**30)


def test_the_default_budget_is_a_part_of_what_is_free_on_the_device(monkeypatch):
    free = {"cpu": 1000, "cuda": 6000}
    monkeypatch.setattr(pool, "free_memory", lambda device: free[device.type])
    assert checked_budget(None, torch.device("cpu")) == 250
    assert checked_budget(None, torch.device("cuda")) == 3000
    assert checked_budget(None, torch.device("cuda"), reserved=1000) == 2500
    assert checked_budget(None, torch.device("cuda"), reserved=7000) == 0
    free["cpu"] = 2**40
    assert checked_budget(None, torch.device("cpu")) == 2**29
    assert checked_budget(77, torch.device("cuda"), reserved=7000) == 77


@pytest.mark.parametrize("method", ["kbald", "3bald", "2bald"])
def test_a_run_is_judged_by_its_own_devices_memory(method, monkeypatch, tmp_path):
    """By what its predictions, [1000, 100, 10] in float32, leave free there."""
    order = 2 if method == "2bald" else 3
    tables = table_rows(20, order, 10) * 101 * 4
    enough = {"cpu": 4 * tables + 4 * 10**6, "cuda": 2 * tables + 4 * 10**6}
    chosen = make_settings(tmp_path, f"method={method}", "acq_size=20", "pool_sample=1000")
    for device, bytes_ in enough.items():
        for missing in (0, 4):
            free = dict.fromkeys(enough, math.inf) | {device: bytes_ - missing}
            monkeypatch.setattr(pool, "free_memory", lambda device, free=free: free[device.type])
            if missing:
                with pytest.raises(SettingsError, match=f"^method={method}.*: order {order} at batch_size 20 needs"):
                    check_method_size(chosen, 5000, 10, torch.device(device))
            else:
                check_method_size(chosen, 5000, 10, torch.device(device))


def test_a_configured_budget_is_the_same_on_any_device(monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "free_memory", lambda device: 0)
    chosen = make_settings(tmp_path, "method=dynamic_bald", "acq_size=40")
    check_method_size(chosen, 60_000, 10, torch.device("cuda"))
    tight = make_settings(tmp_path, "method=dynamic_bald", "acq_size=40", "method.memory_budget=20000000")
    with pytest.raises(SettingsError, match=r"divergence from 3-BALD: order 3 .* divergence=null does without"):
        check_method_size(tight, 60_000, 10, torch.device("cuda"))


def test_memory_that_is_short_in_the_middle_of_a_run_is_told_in_one_line(monkeypatch, tmp_path):
    chosen, log_probs = make_settings(tmp_path, "method=3bald"), random_log_probs(30, 6, 3)
    assert len(loop.select(chosen, log_probs, 30, 1)) == 10
    monkeypatch.setattr(pool, "free_memory", lambda device: 4000)
    with pytest.raises(SettingsError, match=r"^method=3bald: order 3 at batch_size 10 needs outcome tables"):
        loop.select(chosen, log_probs, 30, 1)


def test_an_error_of_a_method_in_a_run_is_not_taken_for_its_users(tmp_path):
    with pytest.raises(ValueError, match="NaN") as caught:
        loop.select(make_settings(tmp_path, "method=3bald"), torch.full((30, 6, 3), math.nan), 30, 1)
    assert caught.type is ValueError


def test_free_memory_is_what_the_page_cache_leaves_room_for(monkeypatch):
    text = "MemTotal:  900 kB\nMemFree:  10 kB\nMemAvailable:  500 kB\nCached:  490 kB\n"
    monkeypatch.setattr(devices, "open", lambda path: io.StringIO(text), raising=False)
    assert devices.free_memory(torch.device("cpu")) == 500 * 1024
    text = "MemTotal:  900 kB\n"
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 3, "SC_PAGE_SIZE": 7}.get)
    assert devices.free_memory(torch.device("cpu")) == 21
