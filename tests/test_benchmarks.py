"""The benchmarks' baselines compute what they are compared with."""

import pytest
import torch
from bench_acquisition import Bench, compare, growth_table, peer_2bald
from bench_inference import naive
from bench_methods import methods_table
from benchmarking import markdown
from conftest import generator, random_log_probs

from alkbald.acquisition import METHODS, kbald
from alkbald.inference import sample_log_probs
from alkbald.model import mnist_cnn
from alkbald.randomness import derived_generator


def test_the_peers_modules_are_the_same_network_under_the_same_masks():
    model = mnist_cnn(10, seed=3)
    inputs = torch.randn(5, 1, 28, 28, generator=generator(1))
    ours = sample_log_probs(model, inputs, 4, generator=derived_generator("bench"))
    for chunk in (2, 128):
        assert torch.allclose(naive(model, 4, chunk)(inputs), ours, atol=1e-5)


def test_the_peers_greedy_2bald_is_2bald():
    log_probs = random_log_probs(25, 6, 3)
    peer, ours = peer_2bald(log_probs, 6), kbald(log_probs, 6, order=2)
    assert peer.indices == ours.indices
    assert peer.scores == pytest.approx(ours.scores, abs=1e-6)


def test_tables_have_a_row_a_method_size_and_pool():
    bench = Bench(torch.device("cpu"), 1)
    bench.predictions = "random"
    log_probs = random_log_probs(30, 5, 3)
    table = compare(bench, log_probs, 20, whole_pool=True)
    assert [(row["method"], row["N"], row["B"]) for row in table] == [
        *(("2-BALD", 20, 10), ("BatchBALD", 20, 5), ("BatchBALD", 20, 10)),
        *(("2-BALD", 30, 5), ("2-BALD", 30, 10), ("BatchBALD", 30, 5), ("BatchBALD", 30, 10)),
    ]
    assert table[3]["agreement"].startswith("5 of 5 indices")
    assert table[-1]["peer, s"].endswith("(1.5 times that on 20)")
    growth = growth_table(bench, log_probs, [(20, 5, 4), (30, 4, 25)])
    assert [(row["N"], row["K"], row["B"]) for row in growth] == [(20, 5, 4), (30, 4, 25)]
    assert "3-BALD, s" not in growth[1]
    assert {row["predictions"] for row in bench.rows} == {"random"}
    assert markdown(growth).count("\n") == 3


def test_every_method_is_timed_at_its_configured_settings():
    bench = Bench(torch.device("cpu"), 1)
    bench.predictions = "random"
    table = methods_table(bench, random_log_probs(30, 5, 3))
    assert [row["method"] for row in table] == list(METHODS)
    assert all(row["points"] == 10 for row in table if not row["decision"])
    assert len({row["joint MI"] for row in table}) > 5
