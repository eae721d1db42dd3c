import inspect
import re
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from conftest import ROOT, compose, make_settings
from made_up_rounds import started
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alkbald.acquisition import METHODS
from alkbald.data import load
from alkbald.errors import SettingsError
from alkbald.posteriors import last_layer, mnist_cnn
from alkbald.records.run import named
from alkbald.records.versions import defining
from alkbald.settings import check_method_size, flat_keys, from_config, from_record, method_options
from alkbald.training import fit


def run_command(*overrides: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "run.py", *overrides], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


DATA_SETS = sorted(path.stem for path in (ROOT / "configs" / "data").iterdir())


# Every error is one line on stderr that names the setting and what is allowed, and exit code 2.
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("acq_size=0", "acq_size must be at least 1, got 0"),
        ("num_samples=0", "num_samples must be at least 1, got 0"),
        ("acq_size=ten", "acq_size: Value 'ten' of type 'str' could not be converted to Integer"),
        ("acqsize=5", "unknown setting acqsize; did you mean acq_size?"),
        ("training.patiense=5", "unknown setting training.patiense; did you mean training.patience?"),
        ("method=nope", "method must be one of 2bald, 3bald, adaptive_kbald, bald,"),
        ("data=nope", f"data must be one of {', '.join(DATA_SETS)}, got nope"),
        ("data=null", "Config group override must be a string or a list"),
        ("method=2bald method.order=3", "unknown setting method.order"),
        ("acq_size={", "no viable alternative"),
        ("data=digits max_labels=5", "max_labels must be at least the 20 of the initial set, got 5"),
        ("data=digits acq_size=2000", "acq_size=2000 up to max_labels=320"),
        (
            "data=digits max_labels=60 acq_size=40 method=kbald method.order=5",
            "method.order=5: order 5 at batch_size 40",
        ),
        ("-m data=digits method=2bald,nope", "method must be one of 2bald,"),
        ("model.channels=5", "model.channels must be a list of whole numbers, got 5"),
        ("model.hidden=null", "model.hidden must be a list of whole numbers, got None"),
    ],
)
def test_a_wrong_command_line_ends_in_one_line(overrides, message, tmp_path):
    done = run_command(*overrides.split(), f"out={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name != "multirun.yaml"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("seed=-1", "seed must be at least 0"),
        ("max_labels=0", "max_labels must be at least 1"),
        ("target_accuracy=2", "target_accuracy must be between 0 and 1, got 2"),
        ("pool_sample=5", "acq_size must be at most the 5 points of pool_sample, got 10"),
        ("evaluation_samples=0", "evaluation_samples must be at least 1"),
        ("data.noise=-0.1", r"data\.noise must be between 0"),
        ("data.noise=nan", r"data\.noise must be between 0 .* got nan"),
        ("data.repeats=0", r"data\.repeats must be at least 1"),
        ("data.split_seed=4294967296", r"data\.split_seed must be between 0"),
        ("data.name=nope", r"data\.name must be one of mnist, "),
        ("method.name=nope", r"method\.name must be one of random, bald, "),
        ("model.dropout=1", r"model\.dropout must be between 0"),
        ("training.optimizer=sgd", r"training\.optimizer must be one of adam, adamw, got sgd"),
        ("training.learning_rate=inf", r"training\.learning_rate must be between"),
        ("training.batch_size=0", r"training\.batch_size must be at least 1"),
        ("training.validation_samples=-1", r"training\.validation_samples must be at least 0"),
        ("precision=fp8", "precision must be one of fp32, tf32, bf16, got fp8"),
        ("threads=0", "threads must be between 1"),
        ("device=tpu", "device must be auto, cpu, cuda or cuda:N, got tpu"),
        ("device=cuda:99", "device must be auto, cpu or one of"),
        ("method.name=[1]", r"method\.name must be one of"),
        ("+method.generator=null", r"unknown setting method\.generator"),
        ("+method.device=nope", r"unknown setting method\.device"),
        (
            "method=kbald method.order=0",
            r"method=kbald, method\.order=0: order must be an integer of at least 1, got 0",
        ),
        ("method=batchbald method.max_particles=0", "max_particles must be an integer of at least 1"),
        ("method=kbald method.order=true", "order must be an integer of at least 1, got True"),
        ("out=", "out must name a folder"),
        ("method=random +method.order=2", "method=random, .*order"),
    ],
)
def test_values_out_of_bounds_are_refused(overrides, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        make_settings(tmp_path, *overrides.split())


def test_every_setting_has_its_line_and_comment_in_the_config():
    text = (ROOT / "configs" / "config.yaml").read_text()
    for key in flat_keys():
        name = key.rpartition(".")[2]
        if key in ("method", "model", "recorder", "data.name"):  # set by the overlays
            continue
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{name}:")]
        assert lines, key
        if name not in ("learning_rate", "weight_decay", "batch_size", "max_epochs"):  # say all themselves
            assert any("#" in line for line in lines), key


def test_defaults_are_the_papers():
    settings = from_config(compose())
    assert settings.method == {"name": "2bald"}
    assert (settings.acq_size, settings.max_labels, settings.num_samples) == (10, 320, 100)
    assert (settings.data.name, settings.data.validation_size, settings.data.noise) == ("mnist", 4096, 0.1)
    training = settings.training
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adam", 1e-3, 5e-4)
    assert (training.batch_size, training.epoch_size, training.max_epochs, training.patience) == (64, 1024, 300, 20)


@pytest.mark.parametrize("method", sorted(path.stem for path in (ROOT / "configs" / "method").iterdir()))
def test_every_method_has_an_overlay(method):
    assert from_config(compose(f"method={method}")).method["name"] == method


#: Arguments that a run gives itself.
GIVEN_BY_A_RUN = {"log_probs", "batch_size", "generator", "device", "target_log_probs"}  # no run has targets yet
#: Values in an overlay that are not the function's defaults, and why.
OTHER_THAN_DEFAULT = {
    ("kbald", "order"): 3,  # the function has no default: its callers name the order
    ("adaptive_kbald", "memory_budget"): 2**29,  # decides how batches end: of a run, on every machine alike;
    ("dynamic_bald", "memory_budget"): 2**29,  # of a call, by the memory that is free
}
#: Options that an overlay may leave out, and why.
LEFT_OUT = {
    "order",  # in the name of 2bald and 3bald
    "memory_budget",  # by the memory that is free; no batch depends on it
}


@pytest.mark.parametrize("method", METHODS)
def test_an_overlay_has_the_defaults_of_its_function(method):
    parameters = inspect.signature(METHODS[method].function).parameters
    options = method_options(from_config(compose(f"method={method}")))
    assert parameters.keys() - GIVEN_BY_A_RUN - LEFT_OUT <= options.keys()
    for option, value in options.items():
        default = OTHER_THAN_DEFAULT.get((method, option), parameters[option].default)
        assert (type(value), value) == (type(default), default), option


def test_training_has_the_defaults_of_fit():
    parameters = inspect.signature(fit).parameters
    settings = vars(from_config(compose()).training)
    assert settings == {name: parameters[name].default for name in settings}
    assert parameters["precision"].default == from_config(compose()).precision


def test_data_have_the_defaults_of_load():
    parameters = inspect.signature(load).parameters
    settings = vars(from_config(compose()).data)
    given = {"name", "root"}  # load has no default for them
    assert {name: value for name, value in settings.items() if name not in given} == {
        name: parameters[name].default for name in parameters.keys() - given - {"device"}
    }


def test_the_last_layer_has_the_defaults_of_its_function():
    default = inspect.signature(last_layer).parameters["prior_precision"].default
    assert from_config(compose("model=last_layer")).model["prior_precision"] == default


def test_the_model_has_the_defaults_of_its_function():
    """The CNN's sizes are compared in test_posteriors."""
    assert from_config(compose()).model["dropout"] == inspect.signature(mnist_cnn).parameters["dropout"].default


def test_every_method_of_the_registry_has_an_overlay():
    assert {path.stem for path in (ROOT / "configs" / "method").iterdir()} == set(METHODS)


@pytest.mark.parametrize("data", sorted(path.stem for path in (ROOT / "configs" / "data").iterdir()))
def test_every_data_set_has_an_overlay(data):
    settings = from_config(compose(f"data={data}"))
    assert settings.data.name == data
    assert settings.data.repeats == (3 if data == "repeated_mnist" else 1)


def test_overlays_compose():
    settings = from_config(compose("protocol=batchbald2019", "method=batchbald", "seed=3"))
    assert (settings.data.validation_size, settings.data.split_seed, settings.training.patience) == (1024, 3, 3)
    assert (settings.target_accuracy, settings.training.validation_samples) == (0.96, 0)
    repeated = from_config(compose("protocol=batchbald2019", "data=repeated_mnist"))
    assert (repeated.data.noise, repeated.data.repeats, repeated.data.validation_size) == (0.1, 3, 1024)
    assert from_config(compose("experiment=demo")).data.name == "digits"
    assert from_config(compose("experiment=demo", "max_labels=30")).max_labels == 30


@pytest.mark.parametrize("curve", sorted(path.stem for path in (ROOT / "configs" / "curve").iterdir()))
def test_a_curve_is_a_method_and_its_batch_size(curve):
    method, size = curve.split("-")
    chosen = from_config(compose(f"curve={curve}"))
    assert (chosen.method, chosen.acq_size) == (from_config(compose(f"method={method}")).method, int(size))


def test_the_cpu_protocol_changes_two_settings(tmp_path):
    full, cpu = (defining(named(make_settings(tmp_path, *overrides))) for overrides in ([], ["protocol=cpu"]))
    assert {key for key in full if full[key] != cpu[key]} == {"pool_sample", "training.validation_samples"}


def test_the_recorded_config_is_the_resolved_one(tmp_path):
    settings = make_settings(tmp_path, "protocol=batchbald2019", "seed=3", "method=kbald")
    run = started(settings)
    recorded = (run.folder / "config.yaml").read_text()
    assert "split_seed: 3\n" in recorded  # ${seed} in the protocol
    assert yaml.safe_load(recorded) == asdict(settings)
    assert from_record(run.folder) == replace(settings, device="auto")


def _has_memory(x: object) -> bool:
    return isinstance(x, torch.Tensor) and x.device.type != "meta"


class LargestTensor(TorchDispatchMode):
    """The most elements of a tensor that was made and takes memory."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(x.numel() for x in tree_leaves(out) if _has_memory(x))])
        return out


@pytest.mark.parametrize("acq_size", [1, 300, 100_000])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_checked_without_work(method, acq_size, tmp_path, monkeypatch):
    monkeypatch.setattr("alkbald.acquisition.pool.free_memory", lambda device: 2**33)
    refusals = []
    with LargestTensor() as largest:
        settings = make_settings(tmp_path, f"method={method}", f"acq_size={acq_size}")
        try:
            check_method_size(settings, 10**6, 10, torch.device("cpu"))
        except SettingsError as error:
            refusals.append(str(error))
    assert bool(refusals) == (acq_size > 1 and method in ("3bald", "kbald", "dynamic_bald"))
    for message in refusals:
        assert re.fullmatch(rf"method={method}.*order 3 at batch_size {acq_size} needs outcome tables .*", message)
    assert largest.elements < 3000
