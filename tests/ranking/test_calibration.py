"""A curve from scores to probabilities: kept, read again, and of any shape."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.errors import BundleError
from langrec.ranking.calibration import Calibration, levels
from worlds import queries


def test_a_saved_curve_says_the_same(tmp_path):
    curve = Calibration(1.5, -4.25)
    curve.save(tmp_path / "curve.json")
    assert Calibration.load(tmp_path / "curve.json") == curve


@pytest.mark.parametrize("text", ["", "{", '{"scale": 1}', '{"scale": "much", "offset": 0}', "[]"])
def test_a_damaged_curve_is_named(tmp_path, text):
    (tmp_path / "curve.json").write_text(text)
    with pytest.raises(BundleError, match=r"curve\.json: cannot be read as a calibration"):
        Calibration.load(tmp_path / "curve.json")


def test_the_level_is_the_log_of_the_sum_over_what_the_history_does_not_hold():
    scores = np.log(np.array([[1, 2, 3, 4], [5, 5, 5, 5]], dtype=np.float32))
    found = levels(scores, queries([[2, 9], []]))
    np.testing.assert_allclose(np.exp(found), [7, 20], rtol=1e-5)


def test_a_matrix_of_scores_gives_a_matrix_of_probabilities():
    scores = np.array([[0.0, 4.0], [np.nan, 2.0]], dtype=np.float32)
    found = Calibration(1.0, -2.0).probability(scores)
    np.testing.assert_allclose(found, [[0.1192, 0.8808], [np.nan, 0.5]], atol=1e-4)
