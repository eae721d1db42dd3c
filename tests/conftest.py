"""Shared fixtures. Tests on real MNIST look for its archives in data/, $ALKBALD_TEST_DATA or beside the checkout.

Tests run in one process, or side by side in several (`make test`, pytest-xdist), a file in one of them. Each process,
and each program that a test starts, computes on one thread: tensors are small, and threads would only wait for each
other. Tests of threads set their number themselves.
"""

import contextlib
import gc
import io
import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from unittest import mock

import hypothesis
import jaxtyping
import pytest
import torch
from emulated_device import emulated_device
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from joblib import cpu_count

from alkbald import loop
from alkbald.model import MCDropoutModel
from alkbald.records.run import Run
from alkbald.settings import Settings, from_config

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of programs that tests start
ROOT = Path(__file__).parents[1]
hypothesis.settings.register_profile("tests", deadline=None, max_examples=50)  # no test asserts a time
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=2500)  # see the Makefile
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A process a core, four at most (a process takes some 1.5 GB); on one core this process alone."""
    cores = min(cpu_count(), 4)
    return cores if cores > 1 else 0


#: How the random inputs of test_fuzz.py and test_fuzz_pools.py ended.
OUTCOMES: Counter[str] = Counter()


def pytest_terminal_summary(terminalreporter):
    if OUTCOMES:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(OUTCOMES.items()))
        terminalreporter.write_line(f"{OUTCOMES.total()} random inputs: {ends}")


sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "scripts")]

FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]


def random_log_probs(n: int, k: int, c: int, seed: int = 0, dtype=torch.float64, scale: float = 2.0) -> torch.Tensor:
    """Random predictions [n, k, c] whose samples disagree."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, k, c, generator=generator, dtype=torch.float64)
    return (scale * logits).log_softmax(-1).to(dtype)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_by_layer(model: MCDropoutModel, inputs: torch.Tensor, num_samples: int, seed: int) -> torch.Tensor:
    """Log-probabilities [N, K, C], every mask through every layer."""
    masks = model.draw_masks(num_samples, generator(seed))
    with torch.no_grad():
        return torch.stack([model(inputs, [mask[k : k + 1] for mask in masks]) for k in range(num_samples)], 1)


@pytest.fixture
def no_shape_checks(monkeypatch):
    """The tests' own checks of shapes off: a user has the functions' alone."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session", autouse=True)
def _collections_without_what_was_imported():
    """batchbald_redux collects garbage for every chunk of points, and each time looks at all that was imported: 99% of
    the time of a comparison with 20 points."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def device():
    """An emulated GPU, which counts copies and waits; what is moved to "cuda" in the test is on it."""
    with emulated_device() as device:
        yield device


@pytest.fixture(scope="session")
def mnist_archives() -> Path:
    """The folder of the four published MNIST archives, read-only."""
    roots = [os.environ.get("ALKBALD_TEST_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"]
    for root in filter(None, roots):
        raw = Path(root) / "MNIST" / "raw"
        if all((raw / name).exists() for name in FILES):
            return raw
    pytest.skip("needs real MNIST: put its four archives into data/MNIST/raw")


@pytest.fixture(scope="session")
def mnist_root(mnist_archives, tmp_path_factory) -> Path:
    """A writable copy that torchvision may unpack in; tests that damage files make their own."""
    return copy_mnist(mnist_archives, tmp_path_factory.mktemp("mnist"))


def copy_mnist(archives: Path, root: Path) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(archives / name, raw / name)
    return root


def compose(*overrides: str):
    """The real configuration, with a command line's overrides."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return hydra_compose("config", [*overrides])


def make_settings(out: Path, *overrides: str) -> Settings:
    """Settings of a run on digits, recorded under `out`."""
    return from_config(compose("data=digits", f"out={out}", "progress=false", "device=cpu", *overrides))


def run_script(name: str, *arguments) -> subprocess.CompletedProcess:
    """What `python scripts/NAME.py` gives, in this process: a new one takes some 5 seconds to import everything. Of
    scripts that read their command line themselves, without Hydra."""
    out, error, code = io.StringIO(), io.StringIO(), 0
    command = [f"scripts/{name}.py", *map(str, arguments)]
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        contextlib.chdir(ROOT),
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", command),
    ):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(command, code, out.getvalue(), error.getvalue())


make_figures = partial(run_script, "make_figures")


#: Shrinks a run to seconds; what it does stays the same.
SMALL = [
    "max_labels=40",
    "num_samples=8",
    "evaluation_samples=2",
    "training.max_epochs=3",
    "training.epoch_size=128",
    "training.validation_samples=1",
]


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory) -> Path:
    """Two trials of BALD and one of k-BALD, on digits."""
    out = tmp_path_factory.mktemp("runs")
    for method, seed in (("bald", 0), ("bald", 1), ("kbald", 0)):
        loop.run(make_settings(out, *SMALL, f"method={method}", f"seed={seed}", "max_labels=30"))
    return out


@pytest.fixture(scope="session")
def two_pools(tmp_path_factory) -> Path:
    """Results of 2-BALD on a pool with noise and on one without, two trials each, on digits."""
    results = tmp_path_factory.mktemp("pools")
    for noise in ("0.1", "0"):
        for seed in (0, 1):
            overrides = ["curve=2bald-10", f"data.noise={noise}", f"seed={seed}", "max_labels=100", "pool_sample=100"]
            loop.run(make_settings(results / "learning_curves", *SMALL, *overrides))
    return results


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Run:
    """A run of the settings `SMALL`, from its first round to its last."""
    return loop.run(make_settings(tmp_path_factory.mktemp("whole"), *SMALL))


def rounds_of(run: Run) -> tuple[list[dict[str, str]], ...]:
    """Recorded rounds, points and epochs, without what no two runs share."""
    measured = [
        {key: value for key, value in row.items() if not key.startswith("seconds") and key != "peak_memory_bytes"}
        for row in run.rounds
    ]
    return measured, run.acquired, run.epochs
