"""A catalogue too large to score whole is chosen for, calibrated and measured from candidates, as the whole one is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import worlds
from langrec import choosing
from langrec.choosing import choose, ndcg_at_10, ndcg_found
from langrec.data.splits import split_events
from langrec.evaluation.found import asked_about, few, found_lists
from langrec.evaluation.lists import join_lists, top_lists
from langrec.evaluation.protocol import next_item
from langrec.ranking.alone import Alone, best_alone
from langrec.ranking.fusion import WithFallback
from langrec.registry import find, kind_of
from langrec.training import evaluate_models, read_texts, train
from langrec.types import Candidates
from small_release import settings

WORLD = worlds.planted_topics(users=160, items=400, noise=0.1, topics=4, length=12, seed=1)
SCORERS = (
    "popular",
    "popular_decayed",
    "itemknn",
    "ease",
    "transitions",
    "als",
    "userknn",
    "bm25",
    "vectors",
)


def quiet(*_):
    """Progress that nobody watches."""


def chosen_by(folder, **more):
    """Settings over the world; a mix of candidates is wanted where `dense_below` is low."""
    plain = settings(folder, scorers=SCORERS, ranker="none", **more)
    return replace(plain, evaluate=replace(plain.evaluate, bootstrap=200, controls=False))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The settings of the whole path, the split, the texts read, and the scorers on training as one mix."""
    wanted = chosen_by(tmp_path_factory.mktemp("cache"))
    data = WORLD.dataset
    split = split_events(data.events, len(data.users), wanted.split)
    reading = read_texts(data, wanted, quiet)
    chosen = choose(data, split, reading, wanted, quiet, tmp_path_factory.mktemp("steps"))
    fusion = choosing.fit(data, split.train, reading, chosen, wanted, tmp_path_factory.mktemp("fits"))
    questions = next_item(split.train, split.valid, len(data.users))
    return wanted, split, reading, chosen, fusion, questions


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_is_judged_alike_from_its_own_best(parts, name):
    scorer, questions = parts[4].scorers[name], parts[5]
    whole, found = ndcg_at_10(scorer.score_block, questions), ndcg_found([scorer], questions)[0]
    assert found == pytest.approx(whole, abs=0.005), name


@pytest.mark.parametrize("name", ["transitions", "itemknn", "userknn", "bm25", "vectors", "als"])
def test_states_that_share_what_they_read_are_judged_as_each_alone(parts, name, monkeypatch):
    monkeypatch.setattr("langrec.retrieval.item_item.SMALL", 0)
    scorer, questions = parts[4].scorers[name], parts[5]
    if hasattr(scorer, "weights"):
        scorer = scorer.with_params(weights=sparse.csr_array(scorer.weights))
    states = [scorer.with_params(decay=decay) for decay in (0.0, 0.01, 0.03, 0.1, 0.15, 0.2, 0.3, 1.0)]
    assert ndcg_found(states, questions) == [ndcg_found([state], questions)[0] for state in states]


def test_the_nearest_rows_are_those_of_the_highest_products(parts, monkeypatch):
    monkeypatch.setattr("langrec.ranking.alone.ROWS", 64)
    scorer, questions = parts[4].scorers["vectors"], parts[5].slice(0, 40)
    found = best_alone(scorer, questions.block, 10)
    scores = scorer.score_block(questions.block)
    for i in range(len(questions)):
        row = scores[i].copy()
        row[questions.block.history(i)] = np.nan
        bar = np.sort(row[~np.isnan(row)])[-10]
        assert len(found[i]) == 10
        assert (row[found[i]] >= bar - 1e-6).all()
        assert not np.isin(found[i], questions.block.history(i)).any()


@pytest.mark.parametrize("name", ["itemknn", "vectors", "als"])
def test_lists_and_ranks_are_those_of_the_whole_catalogue(parts, name):
    fusion, questions = parts[4], parts[5]
    scorer, fallback, n = fusion.scorers[name], fusion.scorers["popular_decayed"], fusion.n_items
    whole = top_lists(WithFallback(scorer, fallback).score_block(questions.block), questions, 10, n)
    model = Alone(scorer, fallback)
    answers = [(part, model.answer(part.block, 10, asked_about(part, n))) for part in few(questions)]
    found = join_lists([found_lists(answer, part, 10, n) for part, answer in answers])
    listed = found.nums >= 0  # what says nothing for an item lists it behind all others; what is found says something
    agree = found.nums[listed] == whole.nums[listed]
    assert listed.mean() > 0.9
    assert agree.mean() > 0.97
    near = np.abs(found.places - whole.places) <= 0.1 * n
    assert near.mean() > 0.95
    assert (found.candidates == whole.candidates).all()


def test_a_question_about_which_a_scorer_is_silent_is_answered_by_the_fallback(parts):
    fusion = parts[4]
    knn, popular = fusion.scorers["itemknn"], fusion.scorers["popular_decayed"]
    nobody, somebody = worlds.queries([[]]), worlds.queries([[0, 8]])
    more = nothing_more(nobody)
    answered = Alone(knn, popular).answer(nobody, 5, more)
    assert answered.asked[0].tolist() == Alone(popular).answer(nobody, 5, more).asked[0].tolist()
    assert len(answered.asked[0]) == 5 and answered.found.all()
    assert not len(Alone(knn).answer(nobody, 5, more).asked[0])
    alike = [one.answer(somebody, 5, more) for one in (Alone(knn), Alone(knn, popular))]
    assert alike[0].asked[0].tolist() == alike[1].asked[0].tolist()
    both = Alone(knn, popular).answer(worlds.queries([[0, 8], []]), 5, Candidates.of([more[0]] * 2))
    assert both.asked[0].tolist() == alike[0].asked[0].tolist()
    assert len(both.asked[1]) == 5
    assert not np.isnan(both.scores).any()


def nothing_more(block):
    """Nothing is asked about but what is found."""
    return Candidates.of([np.zeros(0, dtype=np.int32)] * len(block))


@pytest.mark.slow
def test_the_report_is_that_of_the_whole_catalogue_within_noise(tmp_path):
    whole, _ = evaluate_models(WORLD.dataset, chosen_by(tmp_path), steps=tmp_path / "a")
    found, lists = evaluate_models(WORLD.dataset, chosen_by(tmp_path, dense_below=100), steps=tmp_path / "b")
    first, second = whole.value("mix", "ndcg@10"), found.value("mix", "ndcg@10")
    row = next(row for row in whole.rows if (row.model, row.slice, row.metric) == ("mix", "all", "ndcg@10"))
    assert first > 1.5 * whole.value("popular", "ndcg@10")
    assert abs(first - second) <= (row.high - row.low) / 2
    assert second == pytest.approx(first, rel=0.1)
    for name in SCORERS:
        assert found.value(name, "ndcg@10") == pytest.approx(whole.value(name, "ndcg@10"), rel=0.1, abs=0.004), name
    assert "retrievers find, 100 items each" in found.protocol["candidates"]
    assert whole.protocol["candidates"] == "full catalogue without the history of the question"
    assert 0.5 < found.protocol["targets_found"]["mix"] <= 1.0
    assert "targets_found" not in whole.protocol
    assert lists is not None


def test_no_row_as_long_as_the_catalogue_is_scored(tmp_path, monkeypatch):
    """Of a large catalogue a training and its measuring ask no scorer for all items."""

    def refuse(self, block):
        raise AssertionError(f"{type(self).__name__} was asked for the whole catalogue")

    # A matrix of so few items would be dense for its speed.
    monkeypatch.setattr("langrec.retrieval.ease.DENSE_ITEMS", 10)
    monkeypatch.setattr("langrec.retrieval.item_item.SMALL", 0)
    for name in SCORERS:
        monkeypatch.setattr(find("scorers", kind_of(name)[0]), "score_block", refuse)
    folder, report = train(
        WORLD.dataset, chosen_by(tmp_path, dense_below=100), tmp_path / "releases", steps=tmp_path / "steps"
    )
    assert report.value("mix", "ndcg@10") > 0
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["indexes"]["vectors"]["recall@100"] > 0.9


@pytest.mark.slow
def test_trees_and_calibration_are_learned_from_candidates(tmp_path):
    pytest.importorskip("lightgbm")
    wanted = chosen_by(tmp_path, dense_below=100)
    wanted = replace(
        wanted,
        ranking=replace(wanted.ranking, ranker="trees", trees=20, tree_min_leaf=5),
        calibration=replace(wanted.calibration, fit=True),
    )
    data = WORLD.dataset
    split = split_events(data.events, len(data.users), wanted.split)
    chosen = choose(data, split, read_texts(data, wanted, quiet), wanted, quiet, tmp_path / "steps")
    assert chosen.trees is not None and len(chosen.trees)
    assert chosen.why.startswith("trees:")
    assert chosen.calibration is not None and chosen.calibration.scale > 0


@pytest.mark.slow
def test_a_second_run_takes_over_what_was_chosen_from_candidates(tmp_path, monkeypatch):
    wanted = chosen_by(tmp_path, dense_below=100)
    data = WORLD.dataset
    split = split_events(data.events, len(data.users), wanted.split)
    reading = read_texts(data, wanted, quiet)
    first = choose(data, split, reading, wanted, quiet, tmp_path / "steps")
    monkeypatch.setattr(choosing, "learn", None)
    monkeypatch.setattr(choosing, "_tune", None)
    again = choose(data, split, reading, wanted, quiet, tmp_path / "steps")
    np.testing.assert_array_equal(first.mix.weights, again.mix.weights)


def test_as_many_questions_are_asked_as_the_settings_say(tmp_path):
    wanted = chosen_by(tmp_path, dense_below=100)
    wanted = replace(wanted, evaluate=replace(wanted.evaluate, max_questions=50))
    report, _ = evaluate_models(WORLD.dataset, wanted, ["popular"], steps=tmp_path / "steps")
    assert report.protocol["questions"] == 50
