"""Lists that may show the history again: a signal that knows nothing of it must not push it down, nor up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from langrec.data.ids import Ids
from langrec.data.items import Items
from langrec.ranking.fusion import Fusion, Signal
from langrec.ranking.mix import Mix
from langrec.ranking.repeats import neutral
from langrec.recommender import Recommender
from langrec.types import Filters, Query
from worlds import catalogue

N = 12


@dataclass(frozen=True)
class Fixed:
    """Says the same of everyone."""

    scores: np.ndarray

    @property
    def n_items(self):
        return len(self.scores)

    def score_block(self, block):
        return np.tile(self.scores, (len(block), 1)).astype(np.float32)


@dataclass(frozen=True)
class OnlyNew(Fixed):
    """Says nothing of the history's own items, as a tower does."""

    only_new: ClassVar[bool] = True

    def score_block(self, block):
        scores = super().score_block(block)
        scores[block.rows(), block.items] = np.nan
        return scores


@pytest.fixture
def recommender():
    """Texts favour the items in their order, the tower in the order that ends with a swap of i3 and i4."""
    texts = np.arange(N, 0, -1, dtype=np.float32)
    tower = texts.copy()
    tower[[3, 4]] = tower[[4, 3]]
    scorers = {"vectors": Fixed(texts), "id_tower": OnlyNew(tower)}
    signals = (Signal("vectors"), Signal("id_tower"))
    mix = Mix(("vectors", "id_tower"), "linear", np.array([0.5, 2.0], dtype=np.float32))
    items = Items(catalogue([f"title {num}" for num in range(N)]))
    return Recommender(items, Ids(["u0"]), Fusion(scorers, signals, mix, N), {})


def again(recommender, *history, **filters):
    query = Query(history=history, k=N, filters=Filters(**({"drop_seen": False} | filters)))
    return recommender.recommend([query])[0]


@pytest.mark.parametrize("known", ["i0", "i2", "i7", "i11"])
def test_an_item_of_the_history_stands_where_the_other_signals_put_it(recommender, known):
    found = again(recommender, known)
    assert found.ids.index(known) == int(known[1:])


def test_the_new_items_keep_their_order_and_their_scores(recommender):
    plain = recommender.recommend([Query(history=("i2", "i7"), k=N)])[0]
    both = again(recommender, "i2", "i7")
    new = [place for place, item in enumerate(both.ids) if item not in ("i2", "i7")]
    assert tuple(both.ids[place] for place in new) == plain.ids
    np.testing.assert_allclose(both.items.scores[new], plain.items.scores)


def test_the_parts_of_a_repeated_item_add_up_to_its_score(recommender):
    found = again(recommender, "i5")
    np.testing.assert_allclose(sum(found.items.columns.values()), found.items.scores, rtol=1e-5)
    query = Query(history=("i5",), filters=Filters(drop_seen=False))
    told = recommender.explain(query, "i5")
    assert told.position == 6
    assert sum(one.contribution for one in told.contributions) == pytest.approx(told.score, rel=1e-5)


def test_only_the_kinds_of_events_that_do_not_count_as_seen_come_again(recommender):
    query = Query(history=("i1", "i6"), history_types=("view", "buy"), k=N, filters=Filters(seen_types=("buy",)))
    found = recommender.recommend([query])[0]
    assert found.ids.index("i1") == 1
    assert "i6" not in found.ids


def test_without_a_quiet_signal_nothing_changes(recommender):
    scorers = {"vectors": recommender.fusion.scorers["vectors"], "id_tower": recommender.fusion.scorers["vectors"]}
    plain = replace(recommender, fusion=replace(recommender.fusion, scorers=scorers))
    assert again(plain, "i4").ids == tuple(f"i{num}" for num in range(N))


def test_what_the_trees_add_to_a_repeated_item_is_left_out_too():
    parts = np.array([[4, 3, 2, 1], [8, 0, 6, 5], [1, 9, 1, 0]], dtype=np.float32)
    out = neutral(parts, np.array([False, True, False]), 2, np.array([1], dtype=np.int32))
    assert out[2, 1] == 0
    scores = out.sum(axis=0)
    assert scores[0] > scores[1] > scores[2]
    np.testing.assert_array_equal(out[:, [0, 2, 3]], parts[:, [0, 2, 3]])


def test_a_history_of_the_whole_catalogue_is_left_as_it_is():
    parts = np.ones((2, 3), dtype=np.float32)
    assert neutral(parts, np.array([False, True]), None, np.arange(3, dtype=np.int32)) is parts
