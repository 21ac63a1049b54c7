"""The candidate path of large catalogues answers as the whole-catalogue path does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

import langrec.large
import small_release
from langrec import finding
from langrec.bundle import Bundle
from langrec.data.once import link_equal
from langrec.errors import DataError
from langrec.evaluation.protocol import newest_histories
from langrec.settings import ExploreSettings
from langrec.types import Condition, Filters, Item, Query
from small_release import COLD, HIDDEN, NOW, WARM, WORLD, N

AT = datetime.fromtimestamp(NOW / 1000, UTC)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return Bundle.open(small_release.release(tmp_path_factory.mktemp("shop"))).recommender()


@pytest.fixture(scope="module")
def large(dense):
    return found_by_candidates(dense)


def found_by_candidates(recommender):
    """The same recommender, answering from candidates."""
    indexes, _ = finding.build(recommender.fusion, small_release.settings("."))
    return replace(recommender, fusion=finding.near(recommender.fusion, indexes))


def queries(**changed):
    histories = [small_release.history(user) for user in range(WORLD.n_users)]
    asked = [Query(user=f"u{user}", history=ids, history_at=at, at=AT) for user, (ids, at) in enumerate(histories)]
    return [replace(query, **changed) for query in asked]


def same(first, second, scores=True):
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert one.trace.reason == two.trace.reason
        assert len(one) == len(two)
        if scores:
            np.testing.assert_allclose(one.items.scores, two.items.scores, rtol=1e-3, atol=1e-4)
        # Equal scores may change places within rounding.
        differ = [a != b for a, b in zip(one.ids, two.ids, strict=True)]
        assert sum(differ) <= 2, (one.ids, two.ids)


def test_histories_are_answered_alike(dense, large):
    first, second = dense.recommend(queries()), large.recommend(queries())
    same(first, second)
    overlap = [len(set(a.ids) & set(b.ids)) / len(a) for a, b in zip(first, second, strict=True)]
    assert np.mean(overlap) >= 0.99


def test_who_leaves_out_what_was_found_is_looked_for_deeper(tmp_path, monkeypatch):
    """Retrievers that find few find more where these are left out: what is popular does not fill the list."""
    monkeypatch.setattr(langrec.large, "RATED", 1)  # else all items of this small shop are scored
    chosen = small_release.settings(tmp_path, scorers=("popular_decayed", "ease"))
    dense = Bundle.open(small_release.release(tmp_path, retrieval=chosen.retrieval)).recommender()
    few = found_by_candidates(dense)
    few = replace(few, ranking=replace(few.ranking, retrieved=8))
    asked = queries(k=4)[:12]
    out = [dense.recommend([replace(query, k=16)])[0].ids for query in asked]
    hard = [replace(query, filters=Filters(exclude=tuple(ids))) for query, ids in zip(asked, out, strict=True)]
    right = dense.recommend(hard)

    def found():
        answers = few.recommend([*hard, *asked])
        same(answers[len(hard) :], few.recommend(asked))  # who asks for less is found as alone
        assert not any(set(one.ids) & set(ids) for one, ids in zip(answers, out, strict=False))
        return np.mean([len(set(a.ids) & set(b.ids)) / len(b) for a, b in zip(answers, right, strict=False)])

    assert found() >= 0.9
    monkeypatch.setattr(langrec.large, "DEEPER", ())
    assert found() <= 0.5


def test_a_wish_that_few_answer_is_looked_for_once_whatever_is_left_out(large, monkeypatch):
    few = replace(large, ranking=replace(large.ranking, retrieved=8))
    looks, look = [], langrec.large._look
    monkeypatch.setattr(langrec.large, "_look", lambda *given: looks.append(1) or look(*given))
    out = tuple(f"i{num}" for num in range(40))
    wish = Query(text="unheard of", meaning=0.0, k=8, at=AT, filters=Filters(exclude=out))
    assert not set(few.recommend([wish])[0].ids) & set(out)
    assert len(looks) == 1


def test_the_signals_of_an_answer_sum_to_its_scores(large):
    for answer in large.recommend(queries()[:5]):
        total = np.sum(list(answer.items.columns.values()), axis=0)
        np.testing.assert_allclose(total, answer.items.scores, rtol=1e-4, atol=1e-5)


def test_the_trace_tells_what_each_retriever_found(large):
    stages = {stage.name: stage for stage in large.recommend(queries()[:1])[0].trace.stages}
    assert max(stage.n_out for name, stage in stages.items() if name.startswith("retrieve transitions")) > 0
    assert stages["retrieve vectors"].n_out > 0
    assert stages["retrieve"].n_in == large.n_items


def test_someone_new_gets_what_is_popular(dense, large):
    asked = [Query(at=AT), Query(k=60, at=AT)]
    found = large.recommend(asked)
    assert len(found[0]) == 10 and len(found[1]) > 10
    same(dense.recommend(asked), found)
    same([dense.popular(10, at=AT)], [large.popular(10, at=AT)])


def test_trees_are_not_asked_about_people_who_did_nothing(large):
    class Trees:
        asked = 0

        def added_to(self, names, logs, mixed, *_):
            self.asked += 1
            return np.zeros_like(mixed)

    trees = Trees()
    watched = replace(large, fusion=replace(large.fusion, reranker=trees))
    same(large.search([Query(text="whale", at=AT)]), watched.search([Query(text="whale", at=AT)]))
    watched.recommend([Query(at=AT), Query(k=60, at=AT)])
    assert trees.asked == 0
    watched.recommend([Query(at=AT), queries()[0]])
    assert trees.asked == 1


@pytest.mark.parametrize(
    "filters",
    [
        Filters(categories=("sea",)),
        Filters(where=(Condition("price", "le", 20.0),)),
        Filters(where=(Condition("price", "le", 6.0),)),
        Filters(categories=("bread", "chess"), where=(Condition("price", "ge", 10),)),
        Filters(exclude=("i1", "i2", WARM)),
        Filters(max_age_days=10.0),
        Filters(drop_seen=False),
    ],
)
def test_filters_keep_what_they_keep_among_all(dense, large, filters):
    found = large.recommend(queries(filters=filters)[:12])
    assert any(len(answer) for answer in found)
    same(dense.recommend(queries(filters=filters)[:12]), found)


def test_a_filter_that_keeps_few_still_fills_the_list(large, monkeypatch):
    # Told to the retrievers, not scored as a whole.
    monkeypatch.setattr("langrec.large.ALL_OF", 0)
    sea = Filters(categories=("sea",))
    for answer in large.recommend(queries(filters=sea)[:12]):
        assert len(answer) == 10 or len(answer) >= N // 4 - 7
        assert all("sea" in large.view(item).categories for item in answer.ids)


def test_a_filter_that_keeps_most_but_nothing_popular_still_fills_the_list(dense, large, monkeypatch):
    monkeypatch.setattr("langrec.ranking.near.POPULAR", 5)
    few_chosen = dense.popular(N, at=AT).ids[N * 2 // 5 :]
    items = [replace(item, categories=("rest",)) for item in map(dense.view, few_chosen)]
    asked = [Query(k=k, at=AT, filters=Filters(categories=("rest",))) for k in (3, 10, len(items))]
    first, second = (
        replace(state.with_changes(items, [], None), calibration=None).recommend(asked) for state in (dense, large)
    )
    for query, one, two in zip(asked, first, second, strict=True):
        assert len(one) == len(set(two.ids)) == len(two) == query.k
        assert set(two.ids) <= {item.id for item in items}


def test_an_unknown_field_is_refused(large):
    with pytest.raises(DataError, match="no item has a field 'colour'"):
        large.recommend([Query(filters=Filters(where=(Condition("colour", "eq", "red"),)))])


def test_a_long_list_goes_on_where_a_short_one_ends(large):
    query = queries()[0]
    whole = large.recommend([replace(query, k=30)])[0].ids
    pages = [large.recommend([replace(query, k=10, offset=offset)])[0].ids for offset in (0, 10, 20)]
    assert sum(pages, ()) == whole
    assert len(set(whole)) == 30


def found_by_each(answers):
    return [
        {stage.name: stage.n_out for stage in answer.trace.stages if stage.name.startswith("retrieve ")}
        for answer in answers
    ]


def test_what_is_found_for_a_list_is_the_same_whoever_asks_beside_it(large):
    few = replace(large, ranking=replace(large.ranking, retrieved=6))
    asked, deep = queries(k=3)[:6], queries(k=20)[6:9]
    alone, beside = few.recommend(asked), few.recommend([*deep, *asked])[3:]
    assert found_by_each(alone) == found_by_each(beside)
    same(alone, beside)


def test_pages_near_one_another_are_found_alike(large):
    few = replace(large, ranking=replace(large.ranking, retrieved=6))
    for query in queries()[:6]:
        whole = few.recommend([replace(query, k=12)])[0]
        pages = [few.recommend([replace(query, k=3, offset=offset)])[0] for offset in (6, 9)]
        assert found_by_each(pages) == found_by_each([whole, whole])
        assert pages[0].ids + pages[1].ids == whole.ids[6:]


def test_a_list_longer_than_any_catalogue_holds_all_that_may_be_shown(dense, large):
    everyone = [Query(history=queries()[0].history, at=AT), Query(at=AT), Query(text="whale and anchor", at=AT)]
    for query in (replace(one, k=10**12) for one in everyone):
        first, second = dense.recommend([query])[0], large.recommend([query])[0]
        assert set(first.ids) == set(second.ids)
        assert not large.recommend([replace(query, offset=10**12)])[0].ids
    assert set(large.starters([Query(k=10**12, at=AT)])[0].ids) >= set(dense.starters([Query(k=10, at=AT)])[0].ids)
    assert set(large.latest(10**12).ids) == set(dense.latest(10**12).ids)


@pytest.mark.parametrize("meaning", [0.0, 0.5, 1.0])
def test_wishes_in_words_are_answered_alike(dense, large, meaning):
    asked = [Query(text="whale and anchor", meaning=meaning, k=8, at=AT), Query(text="unheard of", at=AT)]
    found = large.search(asked)
    assert len(found[0]) > 0
    same(dense.search(asked), found)
    mine = [replace(query, text="gambit", meaning=meaning, personal=0.4) for query in queries()[:4]]
    same(dense.search(mine), large.search(mine))


def test_a_vector_is_answered_alike(dense, large):
    vector = dense.encoder.encode(["orbit and comet"])[0]
    found = large.recommend([Query(vector=vector, at=AT)])
    assert len(found[0]) > 0
    same(dense.recommend([Query(vector=vector, at=AT)]), found)


def test_the_seen_may_be_shown_again(dense, large):
    again = Filters(drop_seen=False)
    found = large.recommend(queries(filters=again))
    assert any(set(answer.ids) & set(query.history) for answer, query in zip(found, queries(), strict=True))
    same(dense.recommend(queries(filters=again)), found)


def test_neighbours_latest_and_starters_are_the_same(dense, large):
    same([dense.neighbours("i3", 8)], [large.neighbours("i3", 8)])
    filters = Filters(categories=("sea",))
    for one in ({}, {"offset": 3}, {"filters": filters}):
        first, second = dense.latest(7, **one), large.latest(7, **one)
        assert first.ids == second.ids
        np.testing.assert_allclose(first.items.scores, second.items.scores)
    asked = [Query(k=5, at=AT), Query(k=5, history=("i0",), at=AT)]
    assert [one.ids[:2] for one in dense.starters(asked)] == [one.ids[:2] for one in large.starters(asked)]


def test_an_item_is_accounted_for_alike(dense, large):
    query = queries()[2]
    listed = dense.recommend([query])[0].ids
    for item in (listed[0], listed[5], query.history[0], COLD, HIDDEN):
        first, second = dense.explain(query, item), large.explain(query, item)
        assert second.score == pytest.approx(first.score, rel=1e-3, abs=1e-4)
        assert (second.dropped_by, second.reason.kind) == (first.dropped_by, first.reason.kind)
        if first.score > 0:
            assert second.position == first.position
    reasons = [
        [one.kind for one in recommender.reasons(query, recommender.recommend([query])[0])]
        for recommender in (dense, large)
    ]
    assert reasons[0] == reasons[1]


def test_probabilities_are_nearly_the_same(dense, large):
    assert dense.calibration is not None
    for first, second in zip(dense.recommend(queries()[:9]), large.recommend(queries()[:9]), strict=True):
        np.testing.assert_allclose(large.probabilities(second), dense.probabilities(first), rtol=0.05, atol=0.01)


def test_what_is_explored_is_new_or_rare_and_tells_its_chance(large):
    exploring = replace(large, exploring=ExploreSettings(places=2))
    answers = exploring.recommend(queries()[:12])
    assert max(len(answer.trace.explored) for answer in answers) == 2
    for answer in answers:
        assert len(answer) == 10
        assert large.fusion.near.rare.holds(large.items.ids.numbers(answer.trace.explored)).all()
        assert ((answer.propensities > 0) & (answer.propensities <= 1)).all()


def test_a_new_item_is_found_at_once_and_the_state_before_knows_nothing_of_it(dense, large):
    new = Item("new", title="whale anchor tide", categories=("sea",), at=NOW + 1, fields={"price": 3.0})
    grown, wide = large.with_changes([new]), dense.with_changes([new])
    assert "new" in grown.search([Query(text="whale anchor", k=5)])[0].ids
    same(wide.search([Query(text="whale anchor", k=5)]), grown.search([Query(text="whale anchor", k=5)]))
    same(wide.recommend(queries()), grown.recommend(queries()))
    assert grown.latest(1).ids == ("new",)
    cheap = Filters(where=(Condition("price", "le", 4.0),), drop_seen=False)
    assert "new" in grown.recommend([Query(filters=cheap)])[0].ids
    assert "new" not in large.search([Query(text="whale anchor", k=5)])[0].ids
    gone = grown.with_changes([], deleted=["new"])
    assert "new" not in gone.search([Query(text="whale anchor", k=5)])[0].ids
    again = gone.with_changes([replace(new, title="rook and bishop", categories=("chess",))])
    assert "new" in again.search([Query(text="rook bishop", k=5)])[0].ids


def test_new_events_count_in_what_is_popular(dense, large):
    at, gains = np.full(400, NOW, dtype=np.int64), np.ones(400, dtype=np.float32)
    later = datetime.fromtimestamp(NOW / 1000 + 60, UTC)
    first, second = (one.with_events([COLD] * 400, at, gains) for one in (dense, large))
    same([first.popular(10, at=later)], [second.popular(10, at=later)])
    assert second.popular(1, at=later).ids == (COLD,)


def test_a_release_above_the_limit_is_written_with_indexes_and_served_from_candidates(tmp_path, dense):
    chosen = small_release.settings(tmp_path, dense_below=10)
    release = small_release.release(tmp_path, ranking=chosen.ranking)
    bundle = Bundle.open(release)
    assert bundle.manifest["indexes"]["vectors"]["recall@100"] >= 0.97
    served = bundle.recommender()
    assert served.fusion.near is not None
    same(dense.recommend(queries()), served.recommend(queries()))
    # As it is done where files are large: a release whose equal files are links is the same release.
    assert link_equal(release, least=1) > 0
    same(dense.recommend(queries()[:4]), Bundle.open(release, verify=True).recommender().recommend(queries()[:4]))


def test_indexes_are_tried_with_what_histories_ask_for(dense):
    fusion = dense.fusion
    block = newest_histories(WORLD.dataset.events, WORLD.n_users, most=20, length=5)
    assert len(block) == 20 and np.diff(block.offsets).max() <= 5
    for name, scorer in finding.searchers(fusion).items():
        rows = scorer.index_rows(np.arange(fusion.n_items, dtype=np.int32))
        asked = finding.queries_of(name, scorer, block, rows)
        own = scorer.index_queries(replace(block, kept={}))
        if name == "vectors":  # wishes in words are asked of it too
            assert len(asked) == 40
            np.testing.assert_array_equal(asked[:20], own)
        else:
            np.testing.assert_array_equal(asked, own)
        items = finding.queries_of(name, scorer, None, rows)
        assert (rows[:, None] == items).all(axis=2).any(axis=0).all()
