"""Both towers summed: one vector per item, and a half that says nothing is neutral."""

from __future__ import annotations

from functools import cache

import numpy as np

import worlds
from langrec.data.fitting import FitData
from langrec.settings import IdTowerSettings, Settings, TextTowerSettings
from langrec.towers.two import TwoTowers

SMALL = {"dim": 8, "epochs": 3, "tokens": 256, "precision": "fp32"}
SETTINGS = Settings(id_tower=IdTowerSettings(**SMALL), text_tower=TextTowerSettings(**SMALL, head=(8,)))
WORLD = worlds.planted_topics()
NEW, BLANK = WORLD.n_items, WORLD.n_items + 1
BLOCK = worlds.queries([[3, 7], [1], [2, 5, 9], [], [NEW]])


@cache
def towers():
    rows = WORLD.topic_vectors(12, 0)
    vectors = np.concatenate([rows, rows[:1], np.zeros((1, 12), np.float32)])
    data = FitData(
        WORLD.dataset.events, WORLD.n_users, NEW + 2, (*WORLD.texts, WORLD.texts[0], ""), {"vectors": vectors}
    )
    return TwoTowers.fit(data, SETTINGS).with_params(weight=1.4)


def z_scores(tower):
    queries, silent = tower.queries(BLOCK)
    logits = queries @ tower.items.T
    known = logits[:, : len(tower.trained)][:, tower.trained]
    z = (logits - known.mean(axis=1, keepdims=True)) / np.maximum(known.std(axis=1, keepdims=True), 1e-9)
    return np.where(tower.scored & ~silent[:, None], z, 0.0)


def test_the_score_is_the_sum_of_the_normalised_scores():
    expected = z_scores(towers().id) + 1.4 * z_scores(towers().text)
    scores = towers().score_block(BLOCK)
    assert np.allclose(scores[:3, :NEW], expected[:3, :NEW], atol=1e-3)


def test_one_vector_per_item_gives_the_score_as_an_inner_product():
    queries, silent = towers().queries(BLOCK)
    scores = towers().score_block(BLOCK)
    assert towers().vectors.shape == (NEW + 2, 16)
    said = ~np.isnan(scores)
    assert np.allclose((queries @ towers().vectors.T)[said], scores[said], atol=1e-5)
    assert silent.tolist() == [False, False, False, True, False]


def test_an_item_that_no_tower_knows_scores_nan_and_a_new_text_scores_by_its_half():
    scores = towers().score_block(BLOCK)
    assert np.isnan(scores[:, BLANK]).all()
    assert np.allclose(scores[:3, NEW], 1.4 * z_scores(towers().text)[:3, NEW], atol=1e-3)
    assert not towers().vectors[NEW, :8].any()


def test_a_history_that_only_the_text_tower_reads_is_answered_by_its_half():
    scores = towers().score_block(BLOCK)
    assert np.isfinite(scores[4, :NEW]).all()
    assert np.isnan(scores[3]).all()
