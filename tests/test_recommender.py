"""What a trained recommender answers, to whom, and why, on a small shop whose taste is known."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from langrec import Recommender
from langrec.data.events import DAY_MS
from langrec.errors import DataError
from langrec.types import Condition, Filters, Item, Query
from small_release import COLD, HIDDEN, NOW, WARM, WORLD, N, history, release, settings


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    return Recommender.load(release(tmp_path_factory.mktemp("shop")))


def ask(recommender, **query):
    return recommender.recommend([Query(**query)])[0]


def of_user(user, **more):
    ids, at = history(user)
    return Query(user=f"u{user}", history=ids, history_at=at, **more)


def topic(item_id):
    return {WARM: 0, HIDDEN: 0}.get(item_id) if item_id in (WARM, COLD, HIDDEN) else int(item_id[1:]) % 4


def assert_same(first, second, rtol=1e-5):
    assert first.ids == second.ids
    np.testing.assert_allclose(first.items.scores, second.items.scores, rtol=rtol, atol=1e-6)
    assert first.trace.reason == second.trace.reason
    assert first.trace.dropped == second.trace.dropped
    assert first.trace.filled == second.trace.filled


# ---- who gets what ---------------------------------------------------------------------------------------------------


def test_a_known_user_is_answered_from_the_history(recommender):
    answer = recommender.recommend([of_user(0, k=5)])[0]
    assert answer.trace.reason == "history"
    assert [topic(item) for item in answer.ids] == [0] * 5
    assert not set(answer.ids) & set(history(0)[0])
    assert (np.diff(answer.items.scores) <= 0).all()


def test_an_unknown_user_with_the_same_history_gets_the_same_list(recommender):
    known = of_user(3)
    assert_same(*recommender.recommend([known, replace(known, user="somebody new")]))


def test_a_history_without_a_user_is_enough(recommender):
    known = of_user(3)
    assert_same(*recommender.recommend([known, replace(known, user=None)]))


def test_someone_with_nothing_gets_what_is_popular_and_is_called_a_new_visitor(recommender):
    answer = ask(recommender, user="nobody", k=4)
    assert answer.trace.reason == "new_visitor"
    assert answer.ids == recommender.popular(4).ids
    assert not answer.trace.filled
    counts = recommender.fusion.scorers["popular_decayed"].score_block(_nobody_at(NOW))[0]
    assert answer.ids == recommender.items.ids.take(np.argsort(-counts, kind="stable")[:4])


def _nobody_at(at):
    from langrec.data.asked import nobody

    return nobody(at)


def test_unknown_items_of_a_history_are_passed_over_and_named(recommender):
    ids, _ = history(1)
    with_strangers = ask(recommender, history=("gone", *ids, "never was"))
    assert with_strangers.trace.unknown == ("gone", "never was")
    assert with_strangers.trace.reason == "history"
    assert with_strangers.ids == ask(recommender, history=ids).ids


def test_a_history_of_unknown_items_alone_is_that_of_a_new_visitor(recommender):
    answer = ask(recommender, history=("gone",), k=3)
    assert answer.trace.reason == "new_visitor"
    assert answer.trace.unknown == ("gone",)
    assert answer.ids == recommender.popular(3).ids


def test_a_history_of_a_cold_item_is_answered_by_popularity_and_says_so(recommender):
    answer = ask(recommender, history=(COLD,), k=3)
    assert answer.trace.reason == "fallback"
    assert answer.ids == recommender.popular(3).ids


def test_a_history_of_an_item_with_only_a_text_is_answered_by_texts(recommender):
    answer = ask(recommender, history=(WARM,), k=6)
    assert answer.trace.reason == "history"
    assert topic(answer.ids[0]) == 0
    assert [topic(item) for item in recommender.neighbours(WARM, 3).ids] == [0] * 3


def test_an_item_with_only_a_text_can_be_recommended(recommender):
    answer = recommender.recommend([of_user(0, k=N)])[0]
    own_left = [item for item in answer.ids if topic(item) == 0]
    assert WARM in own_left
    assert answer.items.scores[answer.ids.index(WARM)] > 0


def test_hidden_items_are_never_listed_but_count_in_histories(recommender):
    everything = recommender.recommend([of_user(0, k=1000)])[0]
    assert HIDDEN not in everything.ids
    assert everything.trace.dropped["hidden"] == 1
    assert ask(recommender, history=(HIDDEN,)).trace.reason == "history"


# ---- wishes in words -------------------------------------------------------------------------------------------------


def test_a_text_finds_the_items_that_hold_its_words(recommender):
    answer = ask(recommender, text="violin rocket telescope")
    assert answer.trace.reason == "text"
    assert {topic(item) for item in answer.ids} == {3}
    assert set(answer.items.columns) == {"bm25", "vectors"}


def test_a_blank_text_is_no_wish(recommender):
    for query in (Query(k=6), Query(history=("i1",), k=6)):
        plain, blank = recommender.recommend([query, replace(query, text=" \n\u3000")])
        assert len(plain) and blank.ids == plain.ids
        np.testing.assert_array_equal(blank.items.scores, plain.items.scores)


def test_a_text_that_matches_nothing_gives_an_empty_list_and_is_not_filled(recommender):
    answer = ask(recommender, text="qqqq", meaning=0.0)
    assert len(answer) == 0
    assert answer.trace.reason == "text"
    assert not answer.trace.filled


def test_by_words_alone_every_listed_item_holds_a_word(recommender):
    answer = ask(recommender, text="anchor oven", meaning=0.0, k=100)
    assert set(answer.items.columns) == {"bm25"}
    assert all(recommender.matched_words("anchor oven", answer.items.nums))
    assert answer.trace.stages[0].n_out == len(answer) + sum(answer.trace.dropped.values())


def test_by_meaning_alone_words_have_no_part(recommender):
    answer = ask(recommender, text="anchor harbour", meaning=1.0)
    assert set(answer.items.columns) == {"vectors"}
    assert topic(answer.ids[0]) == 0


def test_a_ready_vector_finds_the_item_that_it_was_made_of(recommender):
    vector = recommender.encoder.encode([WORLD.texts[5]])[0]
    answer = ask(recommender, vector=vector, k=3)
    assert answer.trace.reason == "vector"
    assert answer.ids[0] == "i5"
    assert set(answer.items.columns) == {"vectors"}


def test_a_personal_search_leans_to_the_history(recommender):
    wish = "anchor oven"
    ids, _ = history(1)  # who bakes
    alike = ask(recommender, text=wish, history=ids, k=4)
    personal = ask(recommender, text=wish, history=ids, personal=0.8, k=4)
    bread = [sum(topic(item) == 1 for item in answer.ids) for answer in (alike, personal)]
    assert bread[1] > bread[0]
    assert personal.trace.reason == "text"


def test_personal_says_nothing_about_someone_unknown(recommender):
    assert ask(recommender, text="anchor").ids == ask(recommender, text="anchor", personal=1.0).ids


def test_recommending_by_text_leaves_out_what_was_seen_and_searching_does_not(recommender):
    ids, _ = history(0)
    query = Query(text=WORLD.texts[int(ids[0][1:])], history=ids, k=100)
    assert not set(recommender.recommend([query])[0].ids) & set(ids)
    assert recommender.search([query])[0].ids[0] == ids[0]


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (np.ones(3, np.float32), "3 numbers"),
        (np.full(256, np.nan, np.float32), "finite"),
        (np.ones((1, 256), np.float32), "1x256"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(recommender, vector, says):
    with pytest.raises(DataError, match=says) as caught:
        ask(recommender, vector=vector)
    assert caught.value.field == "vector"


def test_without_an_encoder_a_text_is_matched_by_words_and_a_vector_is_refused(recommender):
    deaf = replace(recommender, encoders={})
    assert topic(ask(deaf, text="anchor").ids[0]) == 0
    with pytest.raises(DataError, match="no encoder"):
        ask(deaf, vector=np.ones(256, np.float32))


# ---- filters, filling, length, paging --------------------------------------------------------------------------------


def test_filters_hold_and_each_rule_is_counted(recommender):
    filters = Filters(
        categories=("sea", "bread"), where=(Condition("price", "le", 30),), exclude=("i0", "gone"), max_age_days=20
    )
    ids, _ = history(0)
    answer = ask(recommender, history=ids, filters=filters, k=100, at=datetime.fromtimestamp(NOW / 1000, UTC))
    kept = [recommender.view(item) for item in answer.ids]
    assert kept
    for item in kept:
        assert set(item.categories) & {"sea", "bread"}
        assert item.fields["price"] <= 30
        assert item.at >= NOW - 20 * DAY_MS
        assert item.id != "i0"
        assert item.id not in ids
    assert set(answer.trace.dropped) == {"hidden", "seen", "excluded", "categories", "where price", "age"} - (
        {"excluded"} if "i0" in ids else set()
    )
    assert sum(answer.trace.dropped.values()) + len(answer) == recommender.n_items


def test_the_stages_count_what_came_in_and_out(recommender):
    answer = ask(recommender, history=history(0)[0], k=5)
    retrieve, filtered, selected = answer.trace.stages
    assert [stage.name for stage in answer.trace.stages] == ["retrieve", "filter", "select"]
    assert retrieve.n_in == recommender.n_items
    assert filtered.n_in == retrieve.n_out
    assert filtered.n_in - filtered.n_out == sum(answer.trace.dropped.values())
    assert selected.n_in == filtered.n_out
    assert selected.n_out == len(answer) == 5


def test_seen_items_can_be_kept_or_dropped_by_their_events_type(recommender):
    ids = ("i0", "i4")
    keep = ask(recommender, history=ids, filters=Filters(drop_seen=False), k=100)
    assert {"i0", "i4"} <= set(keep.ids)
    bought = Filters(seen_types=("purchase",))
    typed = ask(recommender, history=ids, history_types=("view", "purchase"), filters=bought, k=100)
    assert "i0" in typed.ids
    assert "i4" not in typed.ids
    untyped = ask(recommender, history=ids, filters=bought, k=100)
    assert not {"i0", "i4"} & set(untyped.ids)


def test_a_short_list_is_filled_by_the_fallback_which_the_trace_names(recommender):
    answer = ask(recommender, history=("i0", "i4"), k=1000)
    scored = int((answer.items.scores > 0).sum())
    assert len(answer) == recommender.n_items - 1 - 2
    assert answer.trace.filled == {"popular_decayed": len(answer) - scored}
    assert answer.ids[-1] == COLD
    assert all(not column[scored:].any() for column in answer.items.columns.values())
    assert len(set(answer.ids)) == len(answer)


def test_a_fallback_that_was_not_fitted_fills_in_the_catalogues_order(recommender):
    without = replace(recommender, ranking=replace(recommender.ranking, fallback="als"))
    answer = ask(without, history=("i0", "i4"), k=1000)
    assert set(answer.trace.filled) == {"catalogue"}
    filled = answer.items.nums[answer.items.scores <= 0]
    assert (np.diff(filled) > 0).all()


def test_more_than_the_catalogue_holds_gives_every_allowed_item_once(recommender):
    answer = recommender.popular(10_000)
    assert sorted(answer.ids) == sorted({*(f"i{num}" for num in range(N)), WARM, COLD})


@pytest.mark.parametrize("diversity", [0.0, 0.6])
@pytest.mark.parametrize("candidates", [500, 10])
def test_pages_are_cuts_of_one_long_list(recommender, diversity, candidates):
    ranking = replace(recommender.ranking, diversity=diversity, candidates=candidates)
    paged = replace(recommender, ranking=ranking)
    query = of_user(2, k=1000)
    whole = paged.recommend([query])[0]
    pages = paged.recommend([replace(query, k=7, offset=start) for start in range(0, len(whole) + 7, 7)])
    assert tuple(item for page in pages for item in page.ids) == whole.ids
    np.testing.assert_allclose(np.concatenate([page.items.scores for page in pages]), whole.items.scores, rtol=1e-5)
    assert sum(page.trace.filled.get("popular_decayed", 0) for page in pages) == whole.trace.filled["popular_decayed"]


def test_a_page_after_the_end_is_empty(recommender):
    answer = ask(recommender, history=("i0",), k=5, offset=1000)
    assert len(answer) == 0
    assert not answer.trace.filled


def test_no_places_give_an_empty_list(recommender):
    assert ask(recommender, history=("i0",), k=0).ids == ()


def test_diversity_mixes_the_kinds_of_a_list(recommender):
    ids = (*history(0)[0][-1:], *history(1)[0])
    plain = ask(recommender, history=ids, k=6)
    mixed = ask(replace(recommender, ranking=replace(recommender.ranking, diversity=0.7)), history=ids, k=6)
    vectors = recommender.fusion.scorers["vectors"].vectors

    def likeness(answer):
        rows = vectors[answer.items.nums]
        return float((rows @ rows.T).sum() - len(rows))

    assert likeness(mixed) < likeness(plain)
    assert mixed.ids[0] == plain.ids[0]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"k": -1}, "k"),
        ({"offset": -1}, "offset"),
        ({"history": ("i0", "i1"), "history_at": (1,)}, "history_at"),
        ({"history": ("i0", "i1"), "history_types": ("view",)}, "history_types"),
        ({"filters": Filters(where=(Condition("colour", "eq", "red"),))}, "where"),
    ],
)
def test_a_request_that_cannot_be_answered_names_its_field(recommender, wrong, field):
    with pytest.raises(DataError) as caught:
        ask(recommender, **wrong)
    assert caught.value.field == field


# ---- batches ---------------------------------------------------------------------------------------------------------


def mixed_queries(recommender):
    return [
        *(of_user(user, k=8) for user in range(6)),
        Query(k=3),
        Query(text="anchor oven", k=5),
        Query(vector=recommender.encoder.encode([WORLD.texts[9]])[0], k=4),
        Query(text="oven", history=history(2)[0], personal=0.5),
        Query(history=("i3", "unknown"), filters=Filters(categories=("space",)), offset=2),
    ]


def test_a_batch_is_answered_as_its_queries_alone(recommender):
    queries = mixed_queries(recommender)
    for together, query in zip(recommender.recommend(queries), queries, strict=True):
        assert_same(together, recommender.recommend([query])[0])


@pytest.mark.parametrize("threads", [1, 3])
def test_many_queries_stream_out_as_recommend_gives_them(recommender, threads):
    queries = mixed_queries(recommender)
    streamed = list(recommender.recommend_many(queries, block=1 if threads > 1 else 4, threads=threads))
    assert len(streamed) == len(queries)
    for one, other in zip(streamed, recommender.recommend(queries), strict=True):
        assert_same(one, other)


def test_a_wrong_query_among_many_is_named_whatever_the_threads(recommender):
    queries = [Query(history=("i1",), k=3)] * 9 + [Query(k=-1)]
    with pytest.raises(DataError, match="k = -1"):
        list(recommender.recommend_many(queries, block=2, threads=2))


def test_blocks_of_any_size_give_the_same(recommender, monkeypatch):
    queries = mixed_queries(recommender)
    whole = recommender.recommend(queries)
    monkeypatch.setattr("langrec.recommender.BLOCK_BYTES", 1)
    for one, other in zip(recommender.recommend(queries), whole, strict=True):
        assert_same(one, other)


def test_no_queries_get_no_answers(recommender):
    assert recommender.recommend([]) == []


def test_answering_changes_neither_the_queries_nor_the_recommender(recommender):
    queries = mixed_queries(recommender)
    kept = copy.deepcopy(queries)
    vector = queries[8].vector
    vector.flags.writeable = False
    first = recommender.recommend(queries)
    for answer in first:
        answer.items.scores[:] = -1  # an answer is its caller's own
        for column in answer.items.columns.values():
            column[:] = -1
    for one, other in zip(queries, kept, strict=True):
        if one.vector is None:
            assert one == other
    np.testing.assert_array_equal(vector, kept[8].vector)
    for one, other in zip(recommender.recommend(queries), recommender.recommend(kept), strict=True):
        assert_same(one, other)
        assert (one.items.scores >= 0).all()


# ---- what if, neighbours, the newest, the popular --------------------------------------------------------------------


def test_what_if_changes_the_list_but_still_hides_the_item(recommender):
    query = of_user(0, k=20)
    last = query.history[-1]
    plain, without = recommender.recommend([query, replace(query, without=(last, "gone"))])
    assert list(zip(plain.ids, plain.items.scores, strict=True)) != list(
        zip(without.ids, without.items.scores, strict=True)
    )
    assert last not in without.ids
    assert without.trace.unknown == ()
    shorter = ask(
        recommender,
        history=query.history[:-1],
        history_at=query.history_at[:-1],
        k=20,
        filters=Filters(exclude=(last,)),
    )
    assert without.ids == shorter.ids


def test_neighbours_are_of_the_items_kind_and_never_itself(recommender):
    answer = recommender.neighbours("i5", 6)
    assert [topic(item) for item in answer.ids] == [1] * 6
    assert "i5" not in answer.ids


def test_neighbours_take_filters_and_pages(recommender):
    cheap = Filters(where=(Condition("price", "lt", 40),))
    whole = recommender.neighbours("i5", 12, filters=cheap)
    assert recommender.neighbours("i5", 6, offset=6, filters=cheap).ids == whole.ids[6:]
    assert all(recommender.view(item).fields["price"] < 40 for item in whole.ids)


def test_neighbours_of_an_unknown_item_are_refused(recommender):
    with pytest.raises(DataError, match="gone"):
        recommender.neighbours("gone", 3)


def test_the_newest_stand_in_the_order_of_their_own_time(recommender):
    answer = recommender.latest(5)
    assert answer.ids == ("i0", "i1", "i2", "i3", "i4")
    assert answer.trace.reason == "latest"
    assert recommender.latest(3, offset=2).ids == answer.ids[2:]
    everything = recommender.latest(1000)
    assert HIDDEN not in everything.ids
    assert everything.ids[-2:] == (WARM, COLD), "an item without a time comes after all that have one"
    assert everything.items.scores[-2] > everything.items.scores[-1] == 0


def test_the_newest_of_a_category(recommender):
    assert recommender.latest(2, filters=Filters(categories=("chess",))).ids == ("i2", "i6")


def test_the_newest_cannot_start_before_the_first(recommender):
    with pytest.raises(DataError, match="negative"):
        recommender.latest(3, offset=-1)


def test_the_time_of_the_question_decides_what_is_popular(recommender):
    """Users' first choices and the whole log differ; a time without a zone is UTC."""
    early = datetime.fromtimestamp((WORLD.dataset.events.at[0] + DAY_MS // 2) / 1000, UTC)
    first_day = WORLD.dataset.events.items[WORLD.dataset.events.at < early.timestamp() * 1000]
    counts = np.bincount(first_day, minlength=N)
    popular = recommender.popular(1000, at=early)
    shown = np.array([counts[num] if num < N else 0 for num in popular.items.nums])
    assert set(popular.items.nums[shown > 0]) == set(np.flatnonzero(counts))
    assert (shown[: (shown > 0).sum()] > 0).all()
    assert_same(popular, recommender.popular(1000, at=early.replace(tzinfo=None)))
    assert popular.ids != recommender.popular(1000).ids


def test_the_time_of_the_question_decides_the_age_of_items(recommender):
    fresh = Filters(max_age_days=2.5)
    at = datetime.fromtimestamp(NOW / 1000, UTC)
    assert set(recommender.popular(100, filters=fresh, at=at).ids) == {"i0", "i1", "i2"}
    assert len(recommender.popular(100, filters=fresh, at=at + timedelta(days=30))) == 0


# ---- changes ---------------------------------------------------------------------------------------------------------

NEW = Item("fresh", title="Whale and anchor", texts={}, categories=("sea",), at=NOW + 1, fields={"price": 3.0})


def test_a_new_item_is_found_and_recommended_at_once(recommender):
    grown = recommender.with_changes([NEW])
    assert grown.n_items == recommender.n_items + 1
    assert ask(grown, text="whale anchor", k=1).ids == ("fresh",)
    sea = ask(grown, history=history(0)[0], k=N)
    assert "fresh" in sea.ids
    assert sea.items.scores[sea.ids.index("fresh")] > 0
    assert grown.latest(2).ids == ("fresh", "i0")
    assert grown.view("fresh") == NEW
    assert ask(grown, history=("fresh",), k=1).trace.reason == "history"
    assert topic(grown.neighbours("fresh", 1).ids[0]) == 0
    assert grown.explain(Query(history=history(0)[0]), "fresh").score > 0


def test_changes_leave_the_recommender_as_it_was(recommender):
    queries = mixed_queries(recommender)
    before = recommender.recommend(queries)
    recommender.with_changes([NEW, Item("i3", title="entirely other words")], deleted=["i7"])
    assert recommender.view("fresh") is None
    for one, other in zip(recommender.recommend(queries), before, strict=True):
        assert_same(one, other)


def test_a_replaced_text_is_the_one_that_is_found(recommender):
    changed = recommender.with_changes([Item("i3", title="zeppelin balloon", categories=("space",))])
    assert ask(changed, text="zeppelin", k=3).ids == ("i3",)
    assert "i3" not in ask(changed, text=WORLD.texts[3], meaning=0.0, k=100).ids
    assert changed.n_items == recommender.n_items


def test_a_deleted_item_is_gone_until_it_comes_back(recommender):
    gone = recommender.with_changes([], deleted=["i3", "never was"])
    assert gone.view("i3") is None
    assert "i3" not in gone.popular(1000).ids
    assert "i3" not in ask(gone, text=WORLD.texts[3], k=100).ids
    with pytest.raises(DataError, match="i3"):
        gone.explain(Query(), "i3")
    back = gone.with_changes([recommender.view("i3")])
    assert ask(back, text=WORLD.texts[3], k=1).ids == ("i3",)


def test_a_deleted_item_still_counts_in_histories(recommender):
    gone = recommender.with_changes([], deleted=["i3"])
    assert ask(gone, history=("i3",), k=3).ids == ask(recommender, history=("i3",), k=3).ids
    assert ask(gone, history=("i3",)).trace.unknown == ()


def test_an_item_can_be_hidden_and_shown_again(recommender):
    item = recommender.view("i3")
    hidden = recommender.with_changes([replace(item, hidden=True)])
    assert "i3" not in hidden.popular(1000).ids
    assert "i3" not in hidden.latest(1000).ids
    assert hidden.view("i3").hidden
    shown = hidden.with_changes([item])
    assert_same(ask(shown, history=("i7",), k=1000), ask(recommender, history=("i7",), k=1000))


def test_an_id_that_comes_twice_counts_by_its_last_state(recommender):
    twice = [Item("x", title="harbour tide"), Item("y", title="oven crust"), Item("x", title="gambit pawn zugzwang")]
    grown = recommender.with_changes(twice)
    assert grown.n_items == recommender.n_items + 2
    assert ask(grown, text="zugzwang", k=1).ids == ("x",)
    assert "x" not in ask(grown, text="harbour tide", meaning=0.0, k=100).ids
    assert ask(grown, text="oven crust", k=1).ids == ("y",)
    ready = recommender.with_changes(twice, vectors=recommender.embed_items(twice))
    assert_same(ask(ready, text="zugzwang gambit"), ask(grown, text="zugzwang gambit"))


def test_changes_one_by_one_are_those_all_at_once(recommender):
    items = [NEW, Item("i3", title="zeppelin balloon"), Item("other", title="yeast dough", categories=("bread",))]
    at_once = recommender.with_changes(items, deleted=["i9"])
    stepwise = recommender
    for item in items:
        stepwise = stepwise.with_changes([item])
    stepwise = stepwise.with_changes([], deleted=["i9"])
    for one, other in zip(
        at_once.recommend(mixed_queries(recommender)), stepwise.recommend(mixed_queries(recommender)), strict=True
    ):
        # Statistics of the texts are sums, and these came about in another order.
        assert_same(one, other, rtol=1e-4)


# ---- the account of an item ------------------------------------------------------------------------------------------


def accounts(recommender, query):
    whole = recommender.recommend([replace(query, k=1000)])[0]
    return whole, [(item, recommender.explain(query, item)) for item in whole.ids]


EXPLAINED = {
    "a history": of_user(0),
    "a filtered history": of_user(1, filters=Filters(categories=("bread", "sea"))),
    "a new visitor": Query(at=datetime.fromtimestamp(NOW / 1000, UTC)),
    "a cold history": Query(history=(COLD,)),
    "a text": Query(text="anchor oven"),
    "a personal text": Query(text="anchor oven", history=history(1)[0], personal=0.5),
    "what if": of_user(2, without=(history(2)[0][0],)),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_contributions_sum_to_the_score_and_the_position_is_the_place_in_the_list(recommender, name):
    whole, found = accounts(recommender, EXPLAINED[name])
    assert found
    for place, (item, why) in enumerate(found, start=1):
        listed = float(whole.items.scores[place - 1])
        assert why.item == item
        assert why.position == place
        assert why.dropped_by is None
        assert sum(one.contribution for one in why.contributions) == pytest.approx(why.score, rel=1e-4, abs=1e-5)
        for one in why.contributions:
            assert one.weight * one.value == pytest.approx(one.contribution, rel=1e-4, abs=1e-6)
        if listed > 0:
            assert why.score == pytest.approx(listed, rel=1e-5)
        else:  # filled: no signal speaks for it
            assert why.score <= 0
            assert why.reason.kind == "fallback"


def test_history_shares_sum_to_the_contribution_of_additive_scorers(recommender):
    query = of_user(0)
    additive = {"itemknn", "ease", "transitions", "vectors", "tokens", "bm25", "tfidf"}
    seen = set()
    for item in recommender.recommend([replace(query, k=10)])[0].ids:
        for one in recommender.explain(query, item).contributions:
            if one.history:
                seen.add(one.scorer.split("@")[0])
                assert {name for name, _ in one.history} <= set(query.history)
                total = sum(part for _, part in one.history)
                assert total == pytest.approx(one.contribution, rel=1e-3, abs=1e-5)
    assert {"itemknn", "transitions", "vectors"} <= seen <= additive


def test_a_history_item_that_stands_twice_is_one_in_the_account(recommender):
    why = recommender.explain(Query(history=("i0", "i4", "i0")), "i8")
    for one in why.contributions:
        names = [name for name, _ in one.history]
        assert len(names) == len(set(names))


def test_a_text_owes_nothing_to_the_history_unless_it_is_personal(recommender):
    query = Query(text="oven", history=history(1)[0], filters=Filters(drop_seen=False))
    assert all(not one.history for one in recommender.explain(query, "i1").contributions)
    personal = recommender.explain(replace(query, personal=0.5), "i1")
    assert any(one.history for one in personal.contributions)
    for one in personal.contributions:
        if one.history and one.scorer != "vectors":  # whose part of the text no history item carries
            assert sum(part for _, part in one.history) == pytest.approx(one.contribution, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("query", "item", "rule"),
    [
        (of_user(0), history(0)[0][0], "seen"),
        (of_user(0), HIDDEN, "hidden"),
        (of_user(0, filters=Filters(exclude=("i1",))), "i1", "excluded"),
        (of_user(0, filters=Filters(categories=("chess",))), "i1", "categories"),
        (of_user(0, filters=Filters(where=(Condition("price", "lt", 6),))), "i1", "where price"),
        (of_user(0, filters=Filters(max_age_days=1)), WARM, "age"),
        (Query(text="anchor", meaning=0.0), "i1", "unmatched"),
        (of_user(2, without=(history(2)[0][0],)), history(2)[0][0], "seen"),
    ],
)
def test_the_rule_that_drops_an_item_is_named(recommender, query, item, rule):
    why = recommender.explain(query, item)
    assert why.dropped_by == rule
    assert why.position is None
    assert item not in recommender.recommend([replace(query, k=1000)])[0].ids


def test_an_unknown_item_cannot_be_explained(recommender):
    with pytest.raises(DataError, match="gone"):
        recommender.explain(Query(), "gone")


def test_reasons_name_what_is_behind_each_place(recommender):
    query = of_user(0, k=1000)
    answer = recommender.recommend([query])[0]
    found = recommender.reasons(query, answer)
    assert len(found) == len(answer)
    assert {one.kind for one in found} <= {"because", "similar_text", "popular", "fallback", "text_match"}
    for one, score in zip(found, answer.items.scores, strict=True):
        assert (one.kind == "fallback") == (score <= 0)
        assert set(one.items) <= set(query.history)
    assert found[0].items
    for item, one in zip(answer.ids, found, strict=True):
        assert recommender.explain(query, item).reason == one


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        (Query(k=3), {"new_visitor"}),
        (Query(history=(COLD,), k=3), {"popular"}),
        (Query(text="anchor", meaning=0.0), {"text_match"}),
        (Query(text="anchor", meaning=1.0), {"similar_text"}),
    ],
)
def test_reasons_of_those_without_a_telling_history(recommender, query, kinds):
    assert {one.kind for one in recommender.reasons(query, recommender.recommend([query])[0])} == kinds


def test_a_vector_is_a_reason_of_its_own(recommender):
    query = Query(vector=recommender.encoder.encode([WORLD.texts[9]])[0], k=4)
    found = recommender.reasons(query, recommender.recommend([query])[0])
    assert {(one.kind, one.scorer) for one in found} == {("similar_text", "vectors")}


# ---- without scorers of one kind -------------------------------------------------------------------------------------


def test_a_release_of_popularity_alone_answers_everyone(tmp_path):
    plain = Recommender.load(release(tmp_path, retrieval=settings(tmp_path, scorers=("popular",)).retrieval))
    answer = ask(plain, history=history(0)[0], k=1000)
    assert answer.trace.reason == "fallback"
    assert len(answer) == N + 2 - 7
    assert len(ask(plain, text="anchor")) == 0
    assert ask(replace(plain, ranking=replace(plain.ranking, diversity=0.5)), history=("i0",), k=3).ids
