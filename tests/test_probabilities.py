"""Probabilities of a trained release: between 0 and 1, in the order of the scores, and true on average."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

import small_release
from langrec.bundle import Bundle
from langrec.data.events import DAY_MS
from langrec.settings import CalibrationSettings
from langrec.training import train
from langrec.types import Query
from worlds import START, planted_topics

# Enough questions that some are left over from what the mix learns from.
WORLD = planted_topics(users=500, items=48, noise=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("calibrated")
    few = ("popular_decayed", "itemknn", "ease", "bm25", "vectors")
    wanted = small_release.settings(made, scorers=few, questions=100, ranker="none", mix="linear")
    return train(WORLD.dataset, wanted, made / "releases", steps=made / "steps")[0]


@pytest.fixture(scope="module")
def recommender(folder):
    return Bundle.open(folder).recommender()


def query_of(user, k=10):
    """A user's next step, which comes a day after the last one."""
    history = WORLD.histories()[user]
    times = [START + step * DAY_MS + user for step in range(len(history) + 1)]
    at = datetime.fromtimestamp(times[-1] / 1000, tz=UTC)
    return Query(history=tuple(f"i{num}" for num in history), history_at=tuple(times[:-1]), at=at, k=k)


def test_probabilities_follow_the_scores(recommender):
    answer = recommender.recommend([query_of(3)])[0]
    chances = recommender.probabilities(answer)
    assert chances.shape == (10,)
    assert ((chances > 0) & (chances < 1)).all()
    assert (np.diff(chances) <= 0).all()


def test_they_come_true_on_what_nobody_has_seen(recommender):
    answers = recommender.recommend([query_of(user) for user in range(WORLD.n_users)])
    said = np.array([recommender.probabilities(answer).sum() for answer in answers])
    came = np.array([f"i{WORLD.held_out[user]}" in answer.ids for user, answer in enumerate(answers)])
    assert said.mean() == pytest.approx(came.mean(), rel=0.25)


def test_what_was_scored_otherwise_has_no_probability(recommender):
    asked = [Query(k=5), Query(text="oven dough", k=5), query_of(0)]
    wish, new, known = (recommender.probabilities(answer) for answer in recommender.recommend(asked))
    assert np.isnan(wish).all()
    assert np.isnan(new).all()
    assert not np.isnan(known).any()
    bare = replace(recommender, calibration=None)
    assert np.isnan(bare.probabilities(bare.recommend([query_of(0)])[0])).all()


def test_the_release_says_what_the_curve_was_learned_from(folder):
    bundle = Bundle.open(folder)
    assert bundle.manifest["validation"]["calibration"].endswith("questions that the mix did not learn from")
    assert "ranking/calibration.json" in bundle.manifest["files"]
    assert (folder / "measure" / "reliability.json").is_file()


def test_a_training_may_leave_the_curve_out(tmp_path):
    made = small_release.release(tmp_path, calibration=CalibrationSettings(fit=False))
    assert not (made / "ranking" / "calibration.json").exists()
    assert Bundle.open(made).recommender().calibration is None


def test_where_no_question_is_left_over_the_release_says_so(tmp_path):
    made = small_release.release(tmp_path)
    assert "may be too high" in Bundle.open(made).manifest["validation"]["calibration"]
