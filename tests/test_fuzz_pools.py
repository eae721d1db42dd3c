"""Random pools from random sources: the batch is that of the same predictions in memory.

Fifty sources here; `make fuzz` tries thousands, and predictions that are killed while they are written.
"""

import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import OUTCOMES, generator
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_predictions import OPTIONS, placed, plans
from written_predictions import written_slowly

from alkbald.acquisition import METHODS, batchbald
from alkbald.acquisition import predictions as module

BUDGETED = ("batchbald", "kbald", "2bald", "conservative_bald", "epig")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("maps")


@st.composite
def pools(draw) -> torch.Tensor:
    """From two classes to many, from vague to certain; some points more than once, some classes impossible."""
    n, k, c = draw(st.integers(1, 30)), draw(st.integers(1, 6)), draw(st.sampled_from([2, 3, 60, 130]))
    g = generator(draw(st.integers(0, 2**32)))
    logits = torch.randn(n, 1, c, generator=g) + torch.randn(n, k, c, generator=g)
    logits *= draw(st.sampled_from([0.01, 1.0, 5.0, 40.0]))
    if draw(st.booleans()):
        logits[..., 1:][torch.rand(n, k, c - 1, generator=g) < 0.3] = -torch.inf
    if draw(st.booleans()):
        logits = logits[torch.randint(n, (n,), generator=g)]
    return logits.log_softmax(-1).to(draw(st.sampled_from([torch.float64, torch.float32, torch.float16])))


@given(st.data())
@settings(deadline=None)
def test_any_source_gives_the_batch_of_the_pool_in_memory(folder, data):
    """Of every method, shard size, type, number of classes and memory budget."""
    log_probs = data.draw(pools())
    name = data.draw(st.sampled_from(sorted(METHODS)))
    size = data.draw(st.integers(0, min(4, len(log_probs))))
    options = OPTIONS.get(name, {})
    expected = METHODS[name](log_probs, size, generator=generator(), **options)
    if name in BUDGETED:
        options = options | {"memory_budget": data.draw(st.sampled_from([10**5, 10**6, 10**8]))}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_ELEMENTS_READ", data.draw(st.sampled_from([1, 500, 2**22])))
        source = placed(log_probs, data.draw(plans()), folder)
        batch = METHODS[name](source, size, generator=generator(), **options)
    for file in folder.iterdir():
        file.unlink()
    assert (batch.indices, batch.decision) == (expected.indices, expected.decision)
    assert batch.scores == pytest.approx(expected.scores, abs=1e-5, nan_ok=True)
    OUTCOMES["sources alike"] += 1


# Predictions that are killed while they are written.


@pytest.mark.slow
@given(moments=st.lists(st.floats(0.0, 0.4), min_size=1, max_size=4))
@settings(deadline=None, max_examples=5, phases=[Phase.generate])  # shrinking moments is of no use
def test_predictions_killed_at_any_moment_go_on_to_the_same_batch(folder, moments):
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(["alkbald.predicting", "alkbald.posteriors.mc_dropout"])
    path = folder / "killed.npy"
    for moment in moments:
        process = forkserver.Process(target=written_slowly, args=(path, 0.005))
        process.start()
        while process.is_alive() and not path.exists():
            time.sleep(0.001)
        process.join(moment)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        OUTCOMES[f"predictions {'killed' if process.exitcode else 'complete'}"] += 1
    resumed = written_slowly(path, 0.0)
    whole = written_slowly(folder / "whole.npy", 0.0)
    assert np.array_equal(resumed, whole)
    assert batchbald(resumed, 5).indices == batchbald(torch.from_numpy(np.array(whole)), 5).indices
    for file in folder.iterdir():
        file.unlink()
