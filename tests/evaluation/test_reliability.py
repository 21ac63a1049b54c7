"""Stated probabilities against what came, on worlds that come true as they are told to."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from evaluation_worlds import questions

from langrec.data.ids import Ids
from langrec.evaluation import evaluate
from langrec.evaluation.lists import top_lists
from langrec.evaluation.page import page
from langrec.evaluation.reliability import as_svg, reliability
from langrec.settings import EvaluateSettings

Q, N, K = 4000, 30, 5
SETTINGS = EvaluateSettings(k=(5,), ranks=K, bootstrap=100)


def world(seed=0):
    """Questions whose first five items come true with chances of their own; else the last item is chosen."""
    rng = np.random.default_rng(seed)
    chances = np.sort(rng.dirichlet(np.ones(K + 3), Q)[:, :K], axis=1)[:, ::-1]
    drawn = np.array([rng.choice(K + 1, p=[*row, 1 - row.sum()]) for row in chances])
    targets = questions([[int(place) if place < K else N - 2] for place in drawn], [[N - 1]] * Q, single=True)
    scores = np.full((Q, N), -9.0, dtype=np.float32)
    scores[:, :K] = chances
    return targets, scores, chances


def measured(probabilities, targets, scores):
    return reliability("mix", probabilities, top_lists(scores, targets, K), targets, SETTINGS)


def test_honest_probabilities_come_true_in_every_bin():
    targets, scores, chances = world()
    found = measured(chances, targets, scores)
    assert found.questions == Q
    assert found.error < 0.01
    assert found.said == pytest.approx(found.came, abs=0.005)
    assert len(found.bins) == 10
    assert sum(one.n for one in found.bins) == Q * K
    assert [one.said for one in found.bins] == sorted(one.said for one in found.bins)
    assert sum(one.low <= one.said <= one.high for one in found.bins) >= 8


def test_probabilities_that_promise_double_are_off_by_what_they_promise_too_much():
    targets, scores, chances = world()
    found = measured(2 * chances, targets, scores)
    assert found.error == pytest.approx(chances.mean(), abs=0.01)
    assert found.said == pytest.approx(2 * found.came, rel=0.05)


def test_the_error_is_the_mean_gap_of_the_bins():
    targets, scores, chances = world()
    found = measured(np.sqrt(chances), targets, scores)
    by_hand = sum(one.n * abs(one.said - one.came) for one in found.bins) / sum(one.n for one in found.bins)
    assert found.error == pytest.approx(by_hand)


def test_questions_without_a_history_are_left_out():
    targets, scores, chances = world()
    bare = questions(targets.items[:, None].tolist(), [[] if i % 2 else [N - 1] for i in range(Q)], single=True)
    assert measured(chances, bare, scores).questions == Q // 2
    assert measured(chances, questions([[0]] * Q, single=True), scores) is None


def test_equal_probabilities_share_one_bin():
    targets, scores, chances = world()
    found = measured(np.full_like(chances, 0.1), targets, scores)
    assert [one.said for one in found.bins] == pytest.approx([0.1])
    assert found.bins[0].n == Q * K


def test_the_figure_is_sound_and_holds_a_point_for_each_bin():
    targets, scores, chances = world()
    drawing = ET.fromstring(as_svg(measured(chances, targets, scores)))
    points = [part for part in drawing if part.tag == "circle"]
    assert len(points) == 10
    width, height = (float(size) for size in drawing.get("viewBox").split()[2:])
    assert all(0 < float(point.get("cx")) < width and 0 < float(point.get("cy")) < height for point in points)


class Fixed:
    def __init__(self, scores):
        self.scores = scores

    def score_block(self, block):
        return self.scores[block.at // 1000]


def test_a_report_says_whether_probabilities_came_true(tmp_path):
    targets, scores, _ = world()
    report = evaluate(
        {"mix": Fixed(scores)},
        targets,
        users=Ids([f"u{user}" for user in range(Q)]),
        items=Ids([f"i{num}" for num in range(N)]),
        counts=np.ones(N, int),
        settings=SETTINGS,
        calibrated=("mix", lambda scores: np.clip(scores, 0, 1)),
    )
    assert report.reliability.error < 0.01
    report.write(tmp_path)
    kept = json.loads((tmp_path / "reliability.json").read_text())
    assert kept["error"] == pytest.approx(report.reliability.error)
    assert len(kept["bins"]) == 10
    assert "expected calibration error" in (tmp_path / "report.md").read_text()
    assert "Do probabilities come true?" in (tmp_path / "report.html").read_text()
    silent = replace(report, reliability=None)
    silent.write(tmp_path)
    assert not (tmp_path / "reliability.json").exists()
    assert "Do probabilities come true?" not in page(silent)
