"""The learning rate of a step."""

from __future__ import annotations

import pytest

from langrec.lm.schedule import Schedule


@pytest.mark.parametrize(("warmup", "top"), [(0, 0), (1, 0), (5, 4), (300, 9)])
def test_the_rate_rises_over_the_warmup_or_a_tenth_of_the_steps_and_falls_to_zero(warmup: int, top: int):
    rates = [Schedule(2.0, warmup, 100)(step) for step in range(101)]
    assert max(rates) == rates[top] == pytest.approx(2.0, rel=0.02)
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[100] == 0
