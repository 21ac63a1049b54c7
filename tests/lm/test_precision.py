"""Which precision is taken: the one whose steps are clearly shorter, not the one that nothing came between."""

from __future__ import annotations

import pytest

from clocks import Clock
from langrec.lm import precision


def taken(monkeypatch, seconds):
    """What is taken where a step of each precision lasts as long as `seconds` says of it, one after the other."""
    clock = Clock(stands=True)
    monkeypatch.setattr(precision, "time", clock)
    left = {name: iter(values) for name, values in seconds.items()}

    def run(name):
        clock.passed += next(left[name])

    return precision.faster_precision(run)


def test_what_came_between_once_does_not_make_a_precision_slow(monkeypatch):
    short = [0.002] * 100
    name, seconds = taken(monkeypatch, {"fp32": [0.002, 0.05, *short], "bf16": short})
    assert name == "fp32"
    assert seconds == pytest.approx({"fp32": 0.002, "bf16": 0.002})


def test_a_half_that_is_clearly_quicker_is_taken(monkeypatch):
    name, seconds = taken(monkeypatch, {"fp32": [1.0] * 3, "bf16": [0.5] * 3})
    assert name == "bf16"
    assert seconds == pytest.approx({"fp32": 1.0, "bf16": 0.5})


def test_a_small_gain_is_left(monkeypatch):
    assert taken(monkeypatch, {"fp32": [1.0] * 3, "bf16": [0.8] * 3})[0] == "fp32"
