"""Thresholds of the bench of labels: each rule finds its own on validation, and rejecting counts as being wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benches"))

bench = pytest.importorskip("bench_classify")


def validation(right_of_hundred=99, n=400, outside=20, seed=0):
    """Rows of two labels, surer of what is in scope than of what is not; and some that are wrong."""
    rng = np.random.default_rng(seed)
    top = np.concatenate([rng.uniform(0.6, 1.0, n), rng.uniform(0.5, 0.8, outside)])
    hit = np.concatenate([np.arange(n) % 100 < right_of_hundred, np.zeros(outside, dtype=bool)])
    sure = np.stack([top, 1 - top], axis=1)
    right = ["a" if one else "b" for one in hit[:n]] + ["oos"] * outside
    return sure, right


@pytest.mark.parametrize("right_of_hundred", [99, 90])
def test_the_threshold_near_the_published_one_is_the_highest_that_keeps_it(right_of_hundred):
    sure, right = validation(right_of_hundred)
    found = bench.thresholds(sure, right, ("a", "b"))
    frame = pl.DataFrame({"label": right, "predicted": ["a"] * len(right), "probability": sure[:, 0]})
    near, best = bench.rejected(frame, found["near"]), bench.rejected(frame, found["balanced"])
    own = right_of_hundred / 100
    wanted = 0.962 if own >= 0.962 else own - 0.01
    assert wanted <= near["in_scope_accuracy_with_threshold"] < wanted + 0.01
    assert best["oos_recall"] > near["oos_recall"] > 0
    assert best["in_scope_accuracy_with_threshold"] < near["in_scope_accuracy_with_threshold"]


def test_the_threshold_of_best_accuracy_counts_every_row_alike():
    sure, right = validation()
    at = bench.thresholds(sure, right, ("a", "b"))["accuracy"]

    def accuracy(threshold):
        said = np.where(sure[:, 0] < threshold, "oos", "a")
        return float((said == np.array(right)).mean())

    assert accuracy(at) == max(accuracy(one) for one in np.quantile(sure[:, 0], np.linspace(0, 0.6, 121)))


def test_what_is_rejected_is_not_right():
    frame = pl.DataFrame(
        {
            "label": ["a", "a", "b", "oos", "oos"],
            "predicted": ["a", "a", "a", "a", "b"],
            "probability": [0.9, 0.4, 0.9, 0.3, 0.8],
        }
    )
    told = bench.rejected(frame, 0.5)
    assert told["in_scope_accuracy_with_threshold"] == pytest.approx(1 / 3)
    assert (told["oos_recall"], told["oos_precision"]) == (0.5, 0.5)
