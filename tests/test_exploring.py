"""Lists in which some places go to new or rare items, on a small shop whose taste is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from langrec import Recommender
from langrec.bundle import Bundle
from langrec.ranking.fusion import RARE
from langrec.settings import ExploreSettings
from langrec.types import Filters, Query
from small_release import release
from worlds import planted_topics

# A wide shop: most of its items have few events.
WORLD = planted_topics(users=60, items=160, noise=0.05)
COUNTS = np.bincount(WORLD.dataset.events.items, minlength=WORLD.n_items)
AT = datetime.fromtimestamp(int(WORLD.dataset.events.at[-1]) / 1000 + 86_400, tz=UTC)


def history(user):
    """Ids and times of a user's events."""
    events = WORLD.dataset.events
    rows = np.flatnonzero(events.users == user)
    return tuple(f"i{num}" for num in events.items[rows]), tuple(int(at) for at in events.at[rows])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Recommender.load(release(tmp_path_factory.mktemp("shop"), of=WORLD.dataset))


@pytest.fixture(scope="module")
def exploring(plain):
    return replace(plain, exploring=ExploreSettings(places=2, among=4))


def of_user(user, **more):
    ids, at = history(user)
    return Query(**{"user": f"u{user}", "history": ids, "history_at": at, "at": AT, "k": 10} | more)


def is_rare(item):
    return COUNTS[int(item[1:])] <= RARE


def test_nothing_is_explored_by_default(plain):
    answer = plain.recommend([of_user(0)])[0]
    assert plain.exploring.places == 0
    assert answer.propensities is None
    assert answer.trace.explored == ()


def test_drawn_items_are_rare_and_named_with_their_chance(plain, exploring):
    before, answer = plain.recommend([of_user(0)])[0], exploring.recommend([of_user(0)])[0]
    assert len(answer) == len(answer.propensities) == 10
    assert len(answer.trace.explored) == 2
    assert all(is_rare(item) for item in answer.trace.explored)
    chance = dict(zip(answer.ids, answer.propensities.tolist(), strict=True))
    assert all(chance[item] == 0.5 for item in answer.trace.explored)
    kept = [item for item in answer.ids if item not in answer.trace.explored]
    assert all(chance[item] == 1.0 for item in kept)
    assert kept == [item for item in before.ids if item not in answer.trace.explored][:8]


def test_drawn_items_fit_the_history_by_their_texts(exploring):
    drawn = {item for user in range(0, 60, 4) for item in exploring.recommend([of_user(user)])[0].trace.explored}
    assert drawn
    assert all(int(item[1:]) % 4 == 0 for item in drawn)  # these users like the sea


def test_the_parts_of_a_drawn_item_add_up_to_its_score(exploring):
    answer = exploring.recommend([of_user(3)])[0]
    np.testing.assert_allclose(sum(answer.items.columns.values()), answer.items.scores, rtol=1e-4, atol=1e-5)


def test_pages_of_an_exploring_list_join_without_a_seam(exploring):
    first, second = exploring.recommend([of_user(1), of_user(1, offset=10)])
    again = exploring.recommend([of_user(1)])[0]
    assert again.ids == first.ids
    assert not set(first.ids) & set(second.ids)
    assert second.trace.explored == ()
    # What may be drawn into the first page is on the second where it was not: 2 of 4 are drawn.
    waiting = {name for name, chance in zip(second.ids, second.propensities, strict=True) if chance == 0.5}
    assert waiting and all(map(is_rare, waiting))
    assert ((second.propensities == 1) | (second.propensities == 0.5)).all()


def test_what_may_not_be_shown_is_not_drawn(exploring):
    wanted = Filters(categories=("bread",))
    for user in range(8):
        answer = exploring.recommend([of_user(user, filters=wanted)])[0]
        assert all(int(item[1:]) % 4 == 1 for item in answer.ids)
        assert not set(answer.ids) & set(history(user)[0])


def test_a_new_visitor_is_shown_one_of_the_newest_rare_items(exploring):
    answer = exploring.recommend([Query(k=10, at=AT)])[0]
    assert len(answer.trace.explored) == 2
    rare = [item for item in exploring.latest(160).ids if is_rare(item)]
    assert set(answer.trace.explored) <= set(rare[:6])


def test_a_wish_draws_only_what_answers_it(exploring):
    answer = exploring.recommend([Query(text="oven dough", k=6, at=AT)])[0]
    assert all(int(item[1:]) % 4 == 1 for item in answer.ids)
    assert len(answer.trace.explored) == 2


def test_searches_neighbours_and_lists_for_everyone_explore_nothing(plain, exploring):
    query = Query(text="oven dough", k=6, at=AT)
    assert exploring.search([query])[0].ids == plain.search([query])[0].ids
    assert exploring.neighbours("i1", 6).ids == plain.neighbours("i1", 6).ids
    assert exploring.popular(6, at=AT).ids == plain.popular(6, at=AT).ids


def test_a_release_keeps_its_exploration(tmp_path):
    made = release(tmp_path, explore=ExploreSettings(places=1))
    assert Bundle.open(made).recommender().exploring == ExploreSettings(places=1)


def test_lists_of_many_users_say_with_what_chance_each_item_is_in_them(tmp_path):
    from langrec.cli.recommend import recommend

    made = release(tmp_path, of=WORLD.dataset, explore=ExploreSettings(places=2, among=4))
    recommend(made, out=tmp_path / "lists.parquet")
    rows = pl.read_parquet(tmp_path / "lists.parquet")
    drawn = rows.filter(pl.col("propensity") < 1)
    assert drawn.height == 2 * len(WORLD.dataset.users)
    assert drawn["propensity"].unique().to_list() == [0.5]
    assert drawn["rank"].is_between(6, 10).all()
