"""Someone new, from the first question to the first list, on a small shop whose taste is known."""

from __future__ import annotations

import numpy as np
import pytest

from langrec import Recommender
from langrec.types import Filters, Item, Query
from small_release import HIDDEN, NOW, WARM, N, release


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    return Recommender.load(release(tmp_path_factory.mktemp("shop")))


def topic(item):
    return {WARM: 0}[item] if item == WARM else int(item[1:]) % 4


def starters(recommender, **query):
    return recommender.starters([Query(**{"k": 4} | query)])[0]


def test_the_first_starters_ask_about_every_topic(recommender):
    answer = starters(recommender)
    assert answer.trace.reason == "starters"
    assert sorted(map(topic, answer.ids)) == [0, 1, 2, 3]
    assert (np.diff(answer.items.scores) <= 1e-6).all()


def test_starters_are_among_the_most_popular(recommender, monkeypatch):
    monkeypatch.setattr("langrec.ranking.starters.AMONG", 8)
    assert set(starters(recommender, k=1).ids) <= set(recommender.popular(8).ids)


def test_what_is_liked_is_not_asked_about_again(recommender):
    first = starters(recommender)
    liked = first.ids[0]
    then = starters(recommender, k=3, history=(liked,))
    assert liked not in then.ids
    assert topic(liked) not in map(topic, then.ids)


def test_skipped_and_hidden_items_and_other_categories_are_left_out(recommender):
    first = starters(recommender)
    then = starters(recommender, k=N, filters=Filters(exclude=first.ids))
    assert not {HIDDEN, *first.ids} & set(then.ids)
    bread = starters(recommender, filters=Filters(categories=("bread",)))
    assert set(map(topic, bread.ids)) == {1}


def test_pages_of_starters_join(recommender):
    whole = starters(recommender, k=12)
    assert starters(recommender, k=6).ids + starters(recommender, k=6, offset=6).ids == whole.ids


def test_unknown_likes_are_named_and_new_ones_without_text_say_nothing(recommender):
    assert starters(recommender, history=("gone",)).trace.unknown == ("gone",)
    grown = recommender.with_changes([Item("blank", at=NOW)])
    assert starters(grown, history=("blank",)).ids == starters(grown).ids


def test_a_few_likes_give_a_first_list_of_their_kind(recommender):
    liked = next(item for item in starters(recommender).ids if topic(item) == 2)
    answer = recommender.recommend([Query(history=(liked,), k=5)])[0]
    assert [topic(item) for item in answer.ids] == [2] * 5


def test_likes_and_a_wish_meet_halfway(recommender):
    def shown(**more):
        return recommender.recommend([Query(text="oven anchor", k=6, meaning=0.0, **more)])[0]

    likes = ("i1", "i5", "i9")  # bread
    wish, both = shown(), shown(history=likes, personal=0.5)
    assert set(map(topic, wish.ids)) == {0, 1}
    assert sum(topic(item) == 1 for item in both.ids) > sum(topic(item) == 1 for item in wish.ids)
    assert all(len(words) for words in recommender.matched_words("oven anchor", both.items.nums))
