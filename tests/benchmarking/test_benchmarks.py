"""The benchmarks' baselines compute what they are compared with."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import bench_acquisition
import bench_inference
import bench_large_pools
import bench_methods
import bench_sharing
import pytest
import torch
from bench_acquisition import comparison_table, growth_table
from bench_methods import methods_table
from conftest import ROOT, compose, generator, random_log_probs

from alkbald.acquisition import METHODS, kbald
from alkbald.benchmarking import bench as bench_module
from alkbald.benchmarking.bench import Bench
from alkbald.benchmarking.models import predictions
from alkbald.benchmarking.naive import naive_inference
from alkbald.benchmarking.peer_acquisition import peer_2bald
from alkbald.benchmarking.report import Report, machine
from alkbald.benchmarking.rounds import run_settings
from alkbald.errors import DataError
from alkbald.inference import sample_log_probs
from alkbald.model import mnist_cnn
from alkbald.randomness import derived_generator
from alkbald.records.provenance import provenance
from alkbald.reporting.markdown import markdown
from alkbald.settings import from_config

#: Of those that need no further argument.
BENCHMARKS = [bench_acquisition, bench_inference, bench_large_pools, bench_methods, bench_sharing]


def test_the_peers_modules_are_the_same_network_under_the_same_masks():
    model = mnist_cnn(10, seed=3)
    inputs = torch.randn(5, 1, 28, 28, generator=generator(1))
    ours = sample_log_probs(model, inputs, 4, generator=derived_generator("bench"))
    for chunk in (2, 128):
        assert torch.allclose(naive_inference(model, 4, chunk)(inputs), ours, atol=1e-5)


#: In a process of its own: the type checker of the tests knows one package of a name.
BESIDE = """
import sys
from types import SimpleNamespace
import torch
import bench_beside
from alkbald.inference import sample_log_probs
from alkbald.model import mnist_cnn

older = bench_beside.package({root!r}, ("inference", "model", "loop", "settings"))  # this commit will do
assert older.inference.sample_log_probs is not sample_log_probs
assert sys.modules["alkbald.inference"].sample_log_probs is sample_log_probs
bench_beside.SIZES = ((3, 6), (5, 4))
newer, model = SimpleNamespace(inference=sys.modules["alkbald.inference"]), mnist_cnn(10, seed=3)
bench = bench_beside.Bench(torch.device("cpu"), 2)
data = SimpleNamespace(pool_inputs=torch.randn(6, 1, 28, 28))
table = bench_beside.inference(bench, newer, older, model, data)
assert [(row["masks"], row["inputs"]) for row in table] == [(3, "6"), (5, "4")]
assert {{row["largest difference of log p"] for row in table}} == {{"0.0e+00"}}
assert len(bench.rows) == 2 * 2 * 2  # sizes, packages, repeats
"""


def test_another_checkout_is_loaded_beside_this_one():
    code = BESIDE.format(root=str(ROOT))
    path = os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_inference_in_every_precision_is_timed_on_the_emulated_gpu(device):
    model, inputs = mnist_cnn(10, seed=3).to("cuda"), torch.randn(8, 1, 28, 28).to("cuda")
    bench = Bench(torch.device("cuda"), 1)
    generators = {"fp32": generator(1), "tf32": generator(1), "bf16": generator(1)}
    calls = {
        name: lambda name=name: sample_log_probs(model, inputs, 3, generator=generators[name], precision=name)
        for name in generators
    }
    assert set(bench.medians(calls)) == {"fp32", "tf32", "bf16"}


def test_a_selection_is_timed_and_judged(capsys):
    log_probs = random_log_probs(12, 6, 3)
    bench, calls = Bench(torch.device("cpu"), 3), []

    def select():
        calls.append(None)
        return kbald(log_probs, 2, order=2)

    batch, row = bench.selection("2-BALD", log_probs, select)
    assert len(calls) == 1 + 3  # a warm-up first
    assert bench.rows == [row]
    assert (row["N"], row["K"], row["B"]) == (12, 6, 2)
    assert row["joint MI"] == pytest.approx(batch.joint_mutual_information, abs=1e-6)  # both enumerate
    assert row["score"] == batch.scores[-1]
    assert row["spread"] >= 0
    bench.selection("2-BALD", log_probs, select, repeats=1)
    assert len(calls) == 4 + 1


def test_calls_are_timed_in_turn_and_may_time_themselves():
    calls = []
    bench = Bench(torch.device("cpu"), 2)
    medians = bench.medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b") or 5.0})
    assert calls == ["a", "b"] * 3
    assert medians["b"] == 5.0
    assert [row["what"] for row in bench.rows] == ["a", "b"] * 2


def test_predictions_are_synthetic_where_there_is_no_mnist(tmp_path, monkeypatch):
    def missing(*_):
        raise DataError("no MNIST")

    monkeypatch.setattr("alkbald.benchmarking.models.trained_on_mnist", missing)
    bench = Bench(torch.device("cpu"), 1)
    log_probs = predictions(bench, str(tmp_path), 2, 7, 5)
    assert log_probs.shape == (7, 5, 10)
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(7, 5))
    assert bench.predictions == "synthetic"
    assert bench.rows == [{"what": "inference", "predictions": "synthetic", "N": 7, "K": 5, "seconds": None}]


def test_the_table_of_inference_has_naive_and_ours_which_agree():
    model, inputs = mnist_cnn(10, seed=3), torch.randn(16, 1, 28, 28, generator=generator(1))
    bench = Bench(torch.device("cpu"), 1)
    table = bench_inference.inference(bench, model, inputs, {"float32": 1.0, "bfloat16": 1.0}, 2)
    rows = {row["inference"]: row for row in table}
    assert {"batchbald_redux, 128 inputs at a time", "ours, fp32"} <= rows.keys()
    fp32 = rows["ours, fp32"]
    assert float(fp32["largest difference of log p: from batchbald_redux"]) < 1e-5
    assert float(fp32["from float64"]) < 1e-5
    assert float(fp32["MFLOP a pass"]) > 0


def test_the_table_of_training_has_naive_and_ours(monkeypatch):
    monkeypatch.setattr(bench_inference, "STEPS_AN_EPOCH", 1)
    inputs, labels = torch.randn(20, 1, 28, 28, generator=generator(1)), torch.arange(20) % 10
    data = SimpleNamespace(pool_inputs=inputs, pool_labels=labels, initial=list(range(20)))
    table = bench_inference.training(Bench(torch.device("cpu"), 1), data)
    assert [row["training"] for row in table] == ["naive", "ours"]
    assert table[0]["ratio"] == "1.00"


def test_a_benchmarks_round_has_the_settings_of_the_command_line():
    settings = run_settings({"precision": "bf16", "training": {"max_epochs": 3}})
    assert settings == from_config(
        compose(
            "method=kbald", "method.order=2", "data=mnist", "precision=bf16", "training.max_epochs=3", "progress=false"
        )
    )


def test_the_peers_greedy_2bald_is_2bald():
    log_probs = random_log_probs(25, 6, 3)
    peer, ours = peer_2bald(log_probs, 6), kbald(log_probs, 6, order=2)
    assert peer.indices == ours.indices
    assert peer.scores == pytest.approx(ours.scores, abs=1e-6)


@pytest.fixture
def few_outcomes(monkeypatch):
    """Judges batches by few simulated outcomes: what they are worth is not what is tested."""
    monkeypatch.setattr(bench_acquisition, "FINE_OUTCOMES", 1000)
    monkeypatch.setattr(bench_module, "OUTCOMES", 1000)


@pytest.mark.usefixtures("few_outcomes")
def test_tables_have_a_row_a_method_size_and_pool():
    bench = Bench(torch.device("cpu"), 1)
    bench.predictions = "random"
    log_probs = random_log_probs(30, 5, 2)
    table = comparison_table(bench, log_probs, 20, whole_pool=True)
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


@pytest.mark.usefixtures("few_outcomes")
def test_every_method_is_timed_at_its_configured_settings():
    bench = Bench(torch.device("cpu"), 1)
    bench.predictions = "random"
    table = methods_table(bench, random_log_probs(30, 5, 3))
    assert [row["method"] for row in table] == list(METHODS)
    assert all(row["points"] == 10 for row in table if not row["decision"])
    assert len({row["joint MI"] for row in table}) > 5


def test_a_report_says_which_command_made_it_and_on_which_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scripts/bench_x.py", "--repeats", "3", "--output", "my runs"])
    report = Report(tmp_path, torch.device("cpu"), "Title", "Method.", [{"seconds": 1.0}])
    report.add("Section", [{"seconds": 1}])
    source = provenance(torch.device("cpu"))
    said = f"{source['processor']} ({torch.backends.cpu.get_cpu_capability()}), 1 threads on {source['cores']} cores"
    text = (tmp_path / "report.md").read_text()
    assert "`python scripts/bench_x.py --repeats 3 --output 'my runs'`" in text
    assert said in text
    assert machine(source) == said
    assert machine(source | {"device": "NVIDIA H100"}) == f"NVIDIA H100; {said}"


@pytest.mark.parametrize("name", ["acquisition", "beside", "inference", "large_pools", "methods", "sharing"])
def test_committed_reports_have_the_command_that_made_them(name):
    """The command of the table of results/, and the repetitions that the report tells."""
    report = (ROOT / "results" / f"bench_{name}" / "report.md").read_text()
    command = re.search(rf"^`(python scripts/bench_{name}\.py[^`]*)`", report, re.MULTILINE)[1]
    told = (ROOT / "results" / "README.md").read_text()
    assert re.search(rf"^\| `bench_{name}/` .*\| `{re.escape(command)}`", told, re.MULTILINE)
    repeats = re.search(r"--repeats (\d+)", command)
    assert f"Medians of {repeats[1] if repeats else 5}" in report


@pytest.mark.parametrize(
    ("script", "options", "error"),
    [
        *((script, ["--repeats", "0"], "argument --repeats: must be at least 1, got 0") for script in BENCHMARKS),
        (bench_acquisition, ["--pool", "9", "--quick"], "argument --pool: must be at least 10, got 9"),
        (bench_acquisition, ["--pool", "99"], "argument --pool: must be at least 100, got 99"),
        (bench_acquisition, ["--peer-pool", "9"], "argument --peer-pool: must be at least 10, got 9"),
        (bench_methods, ["--pool", "0"], "argument --pool: must be at least 1, got 0"),
        (bench_methods, ["--pool", "many"], "argument --pool: invalid integer value: 'many'"),
        (bench_sharing, ["--epochs", "0"], "argument --epochs: must be at least 1, got 0"),
        (bench_sharing, ["--device", "cuda"], "unrecognized arguments: --device cuda"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(script, options, error, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script.__file__, *options])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f": error: {error}")
