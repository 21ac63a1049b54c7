"""Settings: ranges are checked where they are read."""

from __future__ import annotations

import pytest

from langrec.errors import SettingsError
from langrec.settings import load_settings


@pytest.mark.parametrize(
    "override",
    [
        "serve.workers=0",
        "serve.history=-1",
        "encoder.token_budget=0",
        "evaluate.bootstrap=0",
        "evaluate.ranks=0",
        "retrieval.als_dim=0",
        "retrieval.decay=nan",
        "retrieval.decay=-1",
        "retrieval.scorers=",
        "ranking.questions=0",
        "ranking.diversity=2",
        "split.cut=0.9,0.8",
    ],
)
def test_a_value_out_of_range_names_its_setting(override):
    with pytest.raises(SettingsError) as error:
        load_settings(None, [override], environ={})
    assert override.split("=")[0] in str(error.value)


def test_the_defaults_are_in_range():
    assert load_settings(None, [], environ={}).evaluate.bootstrap > 0
