"""Trees over the mix, from the choice on validation to a served answer."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

import small_release
from langrec.bundle import Bundle
from langrec.ranking.fusion import RANKER
from langrec.ranking.rerank import candidates_of
from langrec.training import train
from langrec.types import Item, Query
from worlds import queries

DATA = small_release.dataset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A release whose trees were asked for, whether they win or not."""
    made = tmp_path_factory.mktemp("second")
    wanted = small_release.settings(made, ranker="trees", tree_min_leaf=2, trees=20)
    return train(DATA, wanted, made / "releases", steps=made / "steps")[0]


@pytest.fixture(scope="module")
def recommender(folder):
    return Bundle.open(folder).recommender()


def test_the_release_says_why_it_has_trees(folder):
    why = Bundle.open(folder).manifest["validation"]["why"]
    assert why.startswith("trees: ")
    assert "without" in why or "no round of boosting was better" in why


def test_the_parts_of_a_score_hold_what_the_trees_add(recommender):
    query = Query(user="u1", history=("i1", "i5", "i9"), at=None)
    answer = recommender.recommend([query])[0]
    assert RANKER in answer.items.columns
    total = sum(answer.items.columns.values())
    np.testing.assert_allclose(total, answer.items.scores, rtol=1e-4, atol=1e-5)
    account = recommender.explain(query, answer.ids[0])
    assert sum(part.contribution for part in account.contributions) == pytest.approx(account.score, rel=1e-4)
    assert account.reason.scorer != RANKER


def test_a_batch_gives_what_single_queries_give(recommender):
    asked = [Query(history=(f"i{num}", f"i{num + 4}")) for num in range(8)]
    together = recommender.recommend(asked)
    for query, answer in zip(asked, together, strict=True):
        alone = recommender.recommend([query])[0]
        np.testing.assert_allclose(np.sort(alone.items.scores), np.sort(answer.items.scores), rtol=1e-4, atol=1e-5)


def test_nothing_that_was_looked_at_falls_below_what_was_not(recommender):
    fusion = replace(recommender.fusion, reranker=replace(recommender.fusion.reranker, depth=5))
    block = queries([[1, 5, 9], [2, 6]])
    signals = fusion.signal_scores(block)
    parts = fusion.parts(signals, block)
    mixed, final = parts[:-1].sum(axis=0), parts.sum(axis=0)
    for i in range(2):
        unseen = np.setdiff1d(np.arange(fusion.n_items), block.history(i))
        best = unseen[np.argsort(-mixed[i, unseen], kind="stable")]
        untouched = best[5:][parts[-1, i, best[5:]] == 0]
        if len(untouched):
            assert final[i, best[:5]].min() >= mixed[i, untouched].max() - 1e-5


def test_a_new_item_can_be_looked_at(recommender):
    fresh = Item("brand-new", "whale anchor harbour captain", categories=("sea",), at=small_release.NOW)
    grown = recommender.with_changes([fresh])
    assert len(grown.fusion.reranker.facts) == len(recommender.fusion.reranker.facts) + 1
    answer = grown.recommend([Query(history=("i0", "i4"), k=60)])[0]
    assert "brand-new" in answer.ids


def test_people_without_a_history_are_answered_by_popularity_alone(recommender):
    answer = recommender.recommend([Query(k=5)])[0]
    assert not answer.items.columns[RANKER].any()


def test_candidates_hold_the_best_of_the_rare_by_text_and_nothing_of_the_history():
    names = ("ease", "bm25", "bm25@rare")
    logs = np.zeros((3, 1, 20), dtype=np.float32)
    logs[0, 0] = np.linspace(2, 1, 20)
    logs[2, 0, 17] = 3.0
    found = candidates_of(names, logs, logs[0], queries([[0, 2]]), 5)[0]
    assert found.tolist() == [1, 3, 4, 5, 6, 17]


def test_without_a_better_ranking_the_mix_stays_alone(tmp_path):
    wanted = small_release.settings(tmp_path, ranker="auto", tree_min_leaf=2, trees=5)
    made, _ = train(DATA, wanted, tmp_path / "releases", steps=tmp_path / "steps")
    bundle = Bundle.open(made)
    why = bundle.manifest["validation"]["why"]
    assert bundle.recommender().fusion.reranker is None or why.startswith("trees:")
    assert why


@pytest.mark.parametrize("harm", [shutil.rmtree, lambda folder: (folder / "trees.json").write_text("{")])
def test_kept_trees_that_are_gone_or_damaged_are_learned_again(tmp_path, harm):
    wanted = small_release.settings(tmp_path, ranker="trees", tree_min_leaf=2, trees=5)
    first, _ = train(DATA, wanted, tmp_path / "releases", steps=tmp_path / "steps")
    (kept,) = (tmp_path / "steps").glob("trees-*")
    harm(kept)
    second, _ = train(DATA, wanted, tmp_path / "releases", steps=tmp_path / "steps")
    both = [Bundle.open(folder).manifest["files"] for folder in (first, second)]
    trees = [{name: file for name, file in files.items() if "second/trees" in name} for files in both]
    assert trees[0] == trees[1] != {}


def test_without_time_the_trees_are_skipped_and_the_list_is_the_mixs(recommender):
    from langrec.budget import Budget, Habits, within

    skipped: list[str] = []
    query = Query(user="u1", history=("i1", "i5", "i9"))
    late = Budget(Habits({}, skipped.append), until=0.0)
    with within(late):
        plain = recommender.recommend([query])[0]
    assert plain.trace.skipped == ("trees",) and skipped == ["trees"]
    mix = replace(recommender, fusion=replace(recommender.fusion, reranker=None)).recommend([query])[0]
    assert plain.ids == mix.ids
    np.testing.assert_allclose(plain.items.scores, mix.items.scores, rtol=1e-5)
    whole = recommender.recommend([query])[0]
    assert whole.trace.skipped == () and np.any(whole.items.columns[RANKER])
