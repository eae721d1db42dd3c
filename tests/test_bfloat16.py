"""Processors that are slow in bfloat16: measured, and told before any round."""

import pytest
from conftest import SMALL, make_settings

from alkbald import devices, loop


@pytest.mark.parametrize(("slowdown", "told"), [(0.8, False), (1.9, False), (25.3, True)])
def test_bf16_on_a_processor_that_is_slow_in_it_is_told_before_any_round(slowdown, told, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "bfloat16_slowdown", lambda: slowdown)
    monkeypatch.setattr(loop, "active_learning_round", lambda *_: pytest.fail("a round"))
    with pytest.raises(pytest.fail.Exception):
        loop.run(make_settings(tmp_path, *SMALL, "precision=bf16"))
    line = "note: bf16 products take 25 times as long as fp32 here: precision=fp32 is faster\n"
    assert (line in capsys.readouterr().out) == told


def test_bf16_is_measured_only_for_runs_that_use_it(monkeypatch):
    monkeypatch.setattr(devices, "bfloat16_slowdown", lambda: pytest.fail("measured"))
    devices.prepared_device("cpu", precision="fp32")


def test_the_slowdown_of_bfloat16_is_of_this_processor():
    assert 0.01 < devices.bfloat16_slowdown() < 1000
