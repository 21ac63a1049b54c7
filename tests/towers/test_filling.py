"""Ids filled from texts: what an id tower says of items that training never met."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import worlds
from langrec.data.fitting import FitData
from langrec.settings import IdTowerSettings
from langrec.towers.filling import FilledIdTower, Filling
from langrec.towers.id_tower import IdTower

IDS = IdTowerSettings(
    dim=32, epochs=8, tokens=256, warmup=5, precision="fp32", dropout=0.1, length=10, rate=1e-2, fill="text"
)
WORLD = worlds.planted_topics()
NEW = WORLD.n_items
# One more item, about the first one's topic, that nobody has met; and one without a text.
TOPICS = WORLD.topic_vectors(16, 0)
VECTORS = np.concatenate([TOPICS, TOPICS[:1], np.zeros_like(TOPICS[:1])]).astype(np.float32)
DATA = FitData(
    WORLD.dataset.events, WORLD.n_users, WORLD.n_items + 2, (*WORLD.texts, WORLD.texts[0], ""), {"vectors": VECTORS}
)


@pytest.fixture(scope="module")
def tower():
    return IdTower.fit(DATA, IDS)


def test_a_linear_map_is_found_again_and_few_items_teach_none():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    table = (vectors @ rng.normal(size=(8, 4)) + 3).astype(np.float32)
    filling = Filling.fit(vectors, table, np.full(200, 9, np.int32))
    found = filling.apply(vectors)
    cosine = (found * table).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(table, axis=1)
    assert cosine.min() > 0.99
    assert not filling.apply(np.zeros((1, 8), np.float32)).any()
    assert Filling.fit(vectors, table, np.full(200, 1, np.int32)) is None


def test_an_item_without_training_is_scored_by_the_id_that_its_text_gives_it(tower):
    assert isinstance(tower, FilledIdTower)
    alike = [num for num in range(WORLD.n_items) if WORLD.item_topics[num] == WORLD.item_topics[0]][1:3]
    other = [num for num in range(WORLD.n_items) if WORLD.item_topics[num] != WORLD.item_topics[0]][:2]
    scores = tower.score_block(worlds.queries([alike, other]))
    assert scores[0, NEW] > 5 * scores[1, NEW]
    assert np.isnan(scores[:, NEW + 1]).all()
    unfilled = IdTower.fit(DATA, dataclasses.replace(IDS, fill="off"))
    assert not isinstance(unfilled, FilledIdTower)
    plain = unfilled.score_block(worlds.queries([alike, other]))
    assert np.isnan(plain[:, NEW]).all()
    np.testing.assert_allclose(scores[:, :NEW], plain[:, :NEW], rtol=1e-5)


def test_a_history_of_unmet_items_is_read(tower):
    scores = tower.score_block(worlds.queries([[NEW], [0]]))
    assert np.corrcoef(np.log(scores[:, 1:NEW]))[0, 1] > 0.5


def test_an_item_that_arrives_later_is_filled_and_a_trained_one_keeps_its_id(tower):
    nums = np.array([1, NEW + 2], dtype=np.int32)
    grown = tower.with_items(nums, ["", ""], VECTORS[[5, 0]])
    assert grown.n_items == tower.n_items + 1
    np.testing.assert_array_equal(grown.items[1], tower.items[1])
    np.testing.assert_allclose(grown.items[NEW + 2], tower.items[NEW], rtol=1e-5)
    assert not grown.with_items(nums, ["", ""], None).scored[NEW + 2]


def test_a_filled_tower_is_loaded_as_it_was_saved(tower, tmp_path):
    tower.save(tmp_path)
    again = IdTower.load(tmp_path)
    assert isinstance(again, FilledIdTower)
    block = worlds.queries([[3, 5, NEW]])
    np.testing.assert_array_equal(again.score_block(block), tower.score_block(block))
    late = np.array([NEW + 2], dtype=np.int32)
    np.testing.assert_array_equal(
        again.with_items(late, [""], VECTORS[:1]).items, tower.with_items(late, [""], VECTORS[:1]).items
    )


def test_dropping_ids_changes_the_training_alone():
    dropped = IdTower.fit(DATA, dataclasses.replace(IDS, drop_ids=0.3, epochs=2))
    kept = IdTower.fit(DATA, dataclasses.replace(IDS, epochs=2))
    assert np.abs(dropped.items - kept.items).max() > 1e-3
    block = worlds.queries([[3, 5]])
    np.testing.assert_array_equal(dropped.score_block(block), dropped.score_block(block))
