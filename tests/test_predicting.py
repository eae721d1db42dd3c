"""Predictions of a posterior written into a file part by part, or made when they are asked for; a batch from files."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, generator, random_log_probs
from torch import nn

from alkbald.acquisition import METHODS, batchbald, kbald
from alkbald.posteriors import MCDropoutNet, mnist_cnn
from alkbald.posteriors.mc_dropout import Stage
from alkbald.posteriors.mc_dropout.module import mc_dropout
from alkbald.predicting import lazily, write_log_probs
from alkbald.select import main, shard_paths

OPTIONS = {"points_at_a_time": 7}


class Interruption(Exception):
    """What Ctrl-C stands for here."""


def after(parts: int):
    """A progress bar that is interrupted after so many parts."""

    def progress(starts):
        for number, start in enumerate(starts):
            if number == parts:
                raise Interruption
            yield start

    return progress


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    return MCDropoutNet([Stage(nn.Linear(4, 8), dropout=0.5), Stage(nn.Linear(8, 3), activation=False)])


@pytest.fixture
def inputs():
    return torch.randn(40, 4, generator=generator(1))


def test_a_file_has_the_predictions_of_one_call(posterior, inputs, tmp_path):
    expected_generator, draws = generator(5), generator(5)
    expected = posterior.log_probs(inputs, 6, generator=expected_generator)
    written = write_log_probs(posterior, inputs, 6, tmp_path / "pool.npy", generator=draws, **OPTIONS)
    assert isinstance(written, np.memmap)
    assert not written.flags.writeable
    assert np.abs(written - expected.numpy()).max() < 1e-5
    assert torch.equal(draws.get_state(), expected_generator.get_state())
    assert kbald(written, 5, order=2).indices == kbald(expected, 5, order=2).indices


@pytest.mark.parametrize("parts", range(6))
def test_an_interrupted_file_goes_on_where_it_was(posterior, inputs, tmp_path, parts):
    whole = write_log_probs(posterior, inputs, 6, tmp_path / "whole.npy", generator=generator(5), **OPTIONS)
    path = tmp_path / "pool.npy"
    with pytest.raises(Interruption):
        write_log_probs(posterior, inputs, 6, path, generator=generator(5), **OPTIONS, progress=after(parts))
    starts = []
    draws = generator(5)
    again = write_log_probs(
        posterior, inputs, 6, path, generator=draws, **OPTIONS, progress=lambda parts: starts.append(parts) or parts
    )
    assert starts == [range(7 * parts, 40, 7)]
    assert np.array_equal(again, whole)
    assert json.loads((tmp_path / "pool.npy.json").read_text())["points_done"] == 40
    before = path.stat().st_mtime_ns
    write_log_probs(posterior, inputs, 6, path, generator=generator(5), **OPTIONS)  # complete: nothing is done
    assert path.stat().st_mtime_ns == before


def test_a_file_of_something_else_is_not_gone_on_with(posterior, inputs, tmp_path):
    path = tmp_path / "pool.npy"
    write_log_probs(posterior, inputs, 6, path, generator=generator(5), **OPTIONS)
    other = MCDropoutNet([Stage(nn.Linear(4, 8), dropout=0.5), Stage(nn.Linear(8, 3), activation=False)])
    for changed in (
        (other, inputs, 6, generator(5)),
        (posterior, inputs + 1, 6, generator(5)),
        (posterior, inputs[:-1], 6, generator(5)),
        (posterior, inputs + (torch.arange(40) == 20)[:, None], 6, generator(5)),  # one in the middle
        (posterior, inputs, 7, generator(5)),
        (posterior, inputs, 6, generator(4)),
    ):
        *arguments, draws = changed
        with pytest.raises(ValueError, match="holds other predictions"):
            write_log_probs(*arguments, path, generator=draws, **OPTIONS)
    (tmp_path / "pool.npy.json").write_text("{")
    with pytest.raises(ValueError, match="holds other predictions, or none"):
        write_log_probs(posterior, inputs, 6, path, generator=generator(5), **OPTIONS)
    with pytest.raises(ValueError, match=r"must end in \.npy"):
        write_log_probs(posterior, inputs, 6, tmp_path / "pool", generator=generator(5))


def test_a_file_of_another_rate_of_dropout_is_not_gone_on_with(tmp_path, inputs):
    """Weights do not tell it, and the first prediction does."""
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    path = tmp_path / "pool.npy"
    write_log_probs(mc_dropout(module, inputs[:1]), inputs, 6, path, generator=generator(5), **OPTIONS)
    write_log_probs(mc_dropout(module, inputs[:1]), inputs, 6, path, generator=generator(5), **OPTIONS)
    module[2].p = 0.1
    with pytest.raises(ValueError, match="holds other predictions"):
        write_log_probs(mc_dropout(module, inputs[:1]), inputs, 6, path, generator=generator(5), **OPTIONS)


def test_a_file_that_was_cut_short_is_not_gone_on_with(posterior, inputs, tmp_path):
    path = tmp_path / "pool.npy"
    write_log_probs(posterior, inputs, 6, path, generator=generator(5), **OPTIONS)
    size = path.stat().st_size
    for left in (size - 100, 5, 0):
        os.truncate(path, left)
        with pytest.raises(ValueError, match="is damaged"):
            write_log_probs(posterior, inputs, 6, path, generator=generator(5), **OPTIONS)


def test_lazy_predictions_are_those_of_one_call(posterior, inputs, tmp_path):
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    for places in (inputs, inputs.numpy(), np.load(tmp_path / "inputs.npy", mmap_mode="r")):
        expected_generator, draws = generator(5), generator(5)
        expected = posterior.log_probs(inputs, 6, generator=expected_generator)
        lazy = lazily(posterior, places, 6, generator=draws, points_at_a_time=9)
        assert torch.equal(draws.get_state(), expected_generator.get_state())
        assert (lazy.rows(0, 40) - expected).abs().max() < 1e-5
        for method in (batchbald, lambda *args, **options: kbald(*args, order=2, **options)):
            batch, again = method(expected, 6), method(lazy, 6, memory_budget=10_000)
            assert again.indices == batch.indices
            assert again.scores == pytest.approx(batch.scores, abs=1e-5)


def test_lazy_predictions_of_a_convolutional_network():
    model, images = mnist_cnn(10, seed=0), torch.randn(30, 1, 28, 28, generator=generator(2))
    expected = model.log_probs(images, 5, generator=generator(3))
    assert (
        lazily(model, images, 5, generator=generator(3)).at(torch.tensor([29, 3])) - expected[[29, 3]]
    ).abs().max() < 1e-5


# The command.


def shards(folder, log_probs, sizes):
    for number, part in enumerate(log_probs.split(sizes)):
        np.save(folder / f"part{number}.npy", part.numpy())


@pytest.mark.parametrize("name", ["2bald", "batchbald", "random", "power_bald"])
def test_the_command_chooses_as_the_function_does(name, tmp_path, capsys):
    log_probs = random_log_probs(60, 6, 3, dtype=torch.float32)
    shards(tmp_path, log_probs, [5] * 12)  # part10 comes after part9
    main([str(tmp_path), "--method", name, "--batch-size", "7", "--seed", "3"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "position,index,file,row,score"
    batch = METHODS[name](log_probs, 7, generator=generator(3))
    for position, (line, index, score) in enumerate(zip(lines, batch.indices, batch.scores, strict=True)):
        file = tmp_path / f"part{index // 5}.npy"
        *place, given = line.split(",")
        assert place == [str(position), str(index), str(file), str(index % 5)]
        assert float(given) == pytest.approx(score, abs=1e-5) or (math.isnan(score) and given == "nan")


def test_the_command_takes_files_and_options(tmp_path, capsys):
    log_probs = random_log_probs(20, 6, 3, dtype=torch.float32)
    shards(tmp_path, log_probs, [8, 12])
    files = [str(path) for path in reversed(shard_paths([tmp_path]))]
    main([*files, "--method", "kbald", "--batch-size", "4", "--option", "order=3"])
    given = [int(line.split(",")[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert given == kbald(torch.cat([log_probs[8:], log_probs[:8]]), 4, order=3).indices


def test_the_command_takes_predictions_of_given_targets(tmp_path, capsys):
    pool, targets = random_log_probs(20, 6, 3), random_log_probs(5, 6, 2, seed=1)
    (tmp_path / "pool").mkdir()
    shards(tmp_path / "pool", pool, [20])
    np.save(tmp_path / "targets.npy", targets.numpy())
    option = f"target_log_probs={tmp_path / 'targets.npy'}"
    main([str(tmp_path / "pool"), "--method", "epig", "--batch-size", "4", "--option", option])
    given = [int(line.split(",")[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert given == METHODS["epig"](pool, 4, target_log_probs=targets, generator=generator()).indices


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "--batch-size", "2"], "there are no .npy files in"),
        (["nowhere", "--batch-size", "2"], "there are no .npy files in"),
        (["logits.npy", "--batch-size", "2"], "these look like logits"),
        (["logits.npy", "--batch-size", "9"], "batch_size must be between 0 and the 5 points"),
        (["logits.npy", "--batch-size", "2", "--option", "order"], "NAME=VALUE"),
        (["logits.npy", "--batch-size", "2", "--option", "orders=3"], "orders"),
        (["logits.npy", "--batch-size", "2", "--option", "generator=3"], "generator is no --option: use --seed"),
        (["logits.npy", "--batch-size", "2", "--method", "epig", "--option", "target_log_probs=x.npy"], "x.npy"),
        (["logits.npy", "--batch-size", "2", "--method", "epig", "--option", "target_log_probs=3"], "No such file"),
        (["logits.npy", "--batch-size", "2", "--method", "badge"], "invalid choice: 'badge'"),
        (["text.npy", "--batch-size", "2"], "text.npy"),
        (["nothing.npy", "--batch-size", "2"], "nothing.npy is no array"),
        (["archive.npz", "--batch-size", "2"], "archive.npz is an archive"),
        (["logits.npy", "--batch-size", "2", "--device", "foo"], "foo is no device"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "nothing.npy").touch()
    np.savez(tmp_path / "archive.npz", np.ones((5, 3, 2)))
    np.save(tmp_path / "logits.npy", np.ones((5, 3, 2), dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert message in printed.err.splitlines()[-1]


def test_the_command_is_a_module(tmp_path):
    shards(tmp_path, random_log_probs(20, 6, 3, dtype=torch.float32), [20])
    done = subprocess.run(
        [sys.executable, "-m", "alkbald.select", str(tmp_path), "--batch-size", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 4
    assert "nats" in done.stderr


def test_a_reader_that_has_enough_ends_the_command_quietly(tmp_path):
    shards(tmp_path, random_log_probs(2000, 3, 3, dtype=torch.float32), [2000])
    line = f"{sys.executable} -m alkbald.select {tmp_path} --method random --batch-size 2000 | head -1"
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "position,index,file,row,score\n"
    assert done.stderr == ""
