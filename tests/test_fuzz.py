"""Random settings, files and tensors: each ends in success or in an error that says what is wrong.

Fifty examples of each kind here; `make fuzz` tries thousands and prints how they ended.
"""

import gzip
import math
from pathlib import Path

import pytest
import torch
from conftest import OUTCOMES, compose, generator, make_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_rounds import epochs, new, points, started
from omegaconf import OmegaConf
from test_data import publish, small_archives

from alkbald.acquisition import METHODS
from alkbald.cli import line_for_user
from alkbald.data import load
from alkbald.errors import DataError, RecordError
from alkbald.records.provenance import provenance
from alkbald.records.run import Run, run_folder
from alkbald.records.status import status
from alkbald.settings import flat_keys, from_config

anything = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -0.0, 2**31, 2**63, 10**30]),
    st.text(max_size=12),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
keys = [key for key in flat_keys() if key != "method"] + [
    "method",
    "method.name",
    "method.order",
    "method.max_particles",
]


@pytest.fixture(scope="module")
def config():
    return compose("data=digits", "method=kbald")


@given(st.dictionaries(st.sampled_from(keys), values, min_size=1, max_size=2))
@anything
def test_any_value_of_any_setting(config, changes):
    changed = config.copy()
    OmegaConf.set_struct(changed, False)
    try:
        for key, value in changes.items():
            OmegaConf.update(changed, key, value, merge=False)
        checked = from_config(changed)
    except Exception as error:
        if (line := line_for_user(error)) is None:
            raise
        assert "\n" not in line
        OUTCOMES["settings refused"] += 1
        return
    assert run_folder(checked).name.startswith(f"seed={checked.seed}-")
    OUTCOMES["settings accepted"] += 1


words = st.one_of(
    st.sampled_from(
        ["acq_size=5", "method=bald", "protocol=cpu", "seed=3", "target_accuracy=0.5", "training.patience=4"]
    ),
    st.text(max_size=20),
    st.builds("{}={}".format, st.sampled_from(keys), st.one_of(st.text(max_size=10), values.map(str))),
    st.builds("{}{}={}".format, st.sampled_from(["+", "++", "~", "hydra."]), st.sampled_from(keys), values.map(str)),
)


@given(st.lists(words, min_size=1, max_size=3))
@anything
def test_any_command_line(overrides):
    try:
        from_config(compose("data=digits", *overrides))
    except Exception as error:
        if (line := line_for_user(error)) is None:
            raise
        assert "\n" not in line
        OUTCOMES["command lines refused"] += 1
    else:
        OUTCOMES["command lines accepted"] += 1


@st.composite
def damage(draw, content: bytes) -> bytes:
    """Truncated, with some bytes changed, with a part left out or put in, or something else altogether."""
    kind = draw(st.sampled_from(["truncate", "change", "cut", "insert", "replace"]))
    start = draw(st.integers(0, max(0, len(content) - 1)))
    some = draw(st.binary(min_size=1, max_size=8))
    if kind == "truncate":
        return content[:start]
    if kind == "change":
        return content[:start] + some + content[start + len(some) :]
    if kind == "cut":
        return content[:start] + content[start + len(some) :]
    if kind == "insert":
        return content[:start] + some + content[start:]
    return draw(st.binary(max_size=200))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    chosen = make_settings(tmp_path_factory.mktemp("recorded"))
    run = started(chosen)
    for number in range(3):
        run.append(new(number), points(number), epochs(number))
    return chosen, run, {path.name: path.read_bytes() for path in run.folder.iterdir()}


@given(st.data())
@anything
def test_any_damage_to_a_runs_record(recorded, data):
    """Success keeps whole rounds: as many points as the rounds say, from the first round on."""
    chosen, run, files = recorded
    name = data.draw(st.sampled_from(["rounds.csv", "acquired.csv", "epochs.csv", "config.yaml", "provenance.json"]))
    content = data.draw(damage(files[name]))
    (run.folder / name).write_bytes(content)
    try:
        status(run.folder)
        again = Run(chosen)
        with again.writing(provenance(torch.device("cpu"))):
            pass
    except RecordError as error:
        assert "\n" not in str(error)
        OUTCOMES["records refused"] += 1
    else:
        assert [int(row["round"]) for row in again.rounds] == list(range(len(again.rounds)))
        assert len(again.acquired) == sum(int(row["batch"] or 0) for row in again.rounds)
        if files[name].startswith(content) and name.endswith(".csv"):
            assert again.rounds == run.rounds[: len(again.rounds)]
            assert again.acquired == run.acquired[: len(again.acquired)]
            assert again.epochs == run.epochs[: len(again.epochs)]
        OUTCOMES["records read"] += 1
    finally:
        for file in run.folder.iterdir():
            if file.name not in files:
                file.unlink()
        for file, before in files.items():
            (run.folder / file).write_bytes(before)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small MNIST, unpacked, taken for the published one."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("published")
        raw = root / "FashionMNIST" / "raw"
        archives = small_archives(60, 20)
        publish(monkeypatch, "FashionMNIST", archives, raw)
        for file, content in archives.items():
            (raw / file).with_suffix("").write_bytes(gzip.decompress(content))
        monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
        expected = load("fashion_mnist", root=root, validation_size=20)
        yield root, {path: path.read_bytes() for path in raw.iterdir()}, expected


@given(st.data())
@anything
def test_any_damage_to_data_files(published, data):
    root, files, expected = published
    path: Path = data.draw(st.sampled_from(sorted(files)))
    content = data.draw(damage(files[path]))
    path.write_bytes(content)
    try:
        loaded = load("fashion_mnist", root=root, validation_size=20)
    except DataError as error:
        assert "\n" not in str(error)
        OUTCOMES["data refused"] += 1
    else:
        assert torch.equal(loaded.pool_inputs, expected.pool_inputs)  # unpacked files are mended from their archive
        assert torch.equal(loaded.test_labels, expected.test_labels)
        OUTCOMES["data read"] += 1
    finally:
        for file, before in files.items():
            file.write_bytes(before)


@st.composite
def tensors(draw) -> torch.Tensor:
    """Log-probabilities and what might be taken for them."""
    shape = draw(st.lists(st.integers(0, 5), min_size=0, max_size=4) | st.tuples(*[st.integers(1, 6)] * 3))
    x = torch.randn(shape, generator=generator(draw(st.integers(0, 2**32))), dtype=torch.float64) * draw(
        st.floats(0, 50)
    )
    if x.dim() and draw(st.booleans()):
        x = x.log_softmax(-1)
    if x.numel() and draw(st.booleans()):
        position = draw(st.integers(0, x.numel() - 1))
        x.view(-1)[position] = draw(st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e-3]))
    return x.to(draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])))


@pytest.mark.usefixtures("no_shape_checks")
@given(tensors(), st.integers(-1, 5), st.sampled_from(sorted(METHODS)), st.integers(0, 10))
@anything
def test_any_tensor(log_probs, batch_size, method, option):
    options = {"kbald": {"order": option}, "batchbald": {"max_particles": option}}.get(method, {})
    try:
        batch = METHODS[method](log_probs, batch_size, **options, generator=torch.Generator())
    except (ValueError, TypeError) as error:
        assert "\n" not in str(error)
        OUTCOMES["tensors refused"] += 1
        return
    assert len(set(batch.indices)) == len(batch.indices) == len(batch.scores)
    assert len(batch) == batch_size or (1 <= len(batch) < batch_size and METHODS[method].chooses_size)
    assert all(0 <= index < len(log_probs) for index in batch.indices)
    assert method == "random" or all(map(math.isfinite, batch.scores))
    OUTCOMES["tensors accepted"] += 1
