"""Text vectors: centred cosines of histories, of wishes and of new items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import worlds
from langrec.data.fitting import FitData
from langrec.retrieval.vectors import Tokens, Vectors
from langrec.settings import RetrievalSettings

RNG = np.random.default_rng(3)
RAW = RNG.normal(size=(6, 5)).astype(np.float32) + 1
RAW[4] = 0
MEAN = RAW[[0, 1, 2, 3, 5]].mean(axis=0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


CENTRED = np.where(RAW.any(axis=1, keepdims=True), unit(RAW - MEAN), 0)


def fit(cls=Vectors, raw=RAW):
    return cls.fit(FitData(worlds.events([]), 0, len(raw), (), {cls.space: raw}), RetrievalSettings())


def wish(rows, histories, space="vectors"):
    return worlds.queries(histories, vectors={space: np.asarray(rows, dtype=np.float32)})


def test_scores_of_a_history_are_the_decayed_mean_of_centred_cosines():
    scores = fit().with_params(decay=0.7).score_block(worlds.queries([[1, 3]]))[0]
    weights = np.array([np.exp(-0.7), 1])
    expected = weights / weights.sum() @ CENTRED[[1, 3]] @ CENTRED.T
    np.testing.assert_allclose(np.delete(scores, 4), np.delete(expected, 4), rtol=1e-4)
    assert np.isnan(scores[4])


def test_states_at_several_decays_share_one_product_and_keep_apart():
    slow = fit().with_params(decay=0.1)
    quick = slow.with_params(decay=2.0)
    histories = [[1, 3], [], [0, 2, 5]]
    for scorer in (slow, quick, slow):
        kept = replace(worlds.queries(histories), kept={})
        together = [one.score_block(kept) for one in (slow, quick)]
        np.testing.assert_allclose(together[scorer is quick], scorer.score_block(worlds.queries(histories)), rtol=1e-5)
        together[0][:] = 0  # what is given out is the caller's own
        np.testing.assert_array_equal(slow.score_block(kept), slow.score_block(kept))
        assert np.nan_to_num(slow.score_block(kept)).any()


def test_a_wish_is_answered_by_its_own_vector_whatever_the_history():
    vector = RNG.normal(size=5)
    scores = fit().score_block(wish([vector, [np.nan] * 5], [[1], [1]]))
    np.testing.assert_allclose(np.delete(scores[0], 4), np.delete(CENTRED @ unit(vector - MEAN), 4), rtol=1e-4)
    np.testing.assert_array_equal(scores[1], fit().score_block(worlds.queries([[1]]))[0])


def test_a_blank_wish_cannot_be_scored():
    assert np.isnan(fit().score_block(wish([np.zeros(5)], [[1]]))).all()


def test_each_space_reads_its_own_vectors():
    scorer = fit(Tokens)
    vector = RAW[2][None]
    assert np.isnan(scorer.score_block(wish(vector, [[]], space="vectors"))).all()
    assert np.nanargmax(scorer.score_block(wish(vector, [[]], space="tokens"))) == 2


def test_an_items_own_text_finds_it():
    world = worlds.planted_topics()
    raw = world.topic_vectors()
    scores = fit(raw=raw).score_block(wish(raw, [[]] * len(raw)))
    assert scores.argmax(axis=1).tolist() == list(range(len(raw)))
    np.testing.assert_allclose(scores.diagonal(), 1, rtol=1e-5)


def test_a_history_finds_the_items_of_its_topic():
    world = worlds.planted_topics()
    scores = fit(raw=world.topic_vectors()).score_block(worlds.queries([[item] for item in range(world.n_items)]))
    for item, row in enumerate(scores):
        own = world.item_topics == world.item_topics[item]
        assert row[own].mean() > row[~own].max()


def test_without_the_common_part_unlike_items_have_no_likeness():
    """Raw rows share a large component, so that all look alike; centred ones do not."""
    world = worlds.planted_topics()
    raw = world.topic_vectors() + 1
    scores = fit(raw=raw).score_block(worlds.queries([[0]]))[0]
    other = world.item_topics != world.item_topics[0]
    assert (unit(raw)[other] @ unit(raw)[0]).min() > 0.5
    assert scores[other].max() < 0.5


def test_history_contributions_are_nothing_where_a_wish_asked():
    block = wish([RAW[2]], [[1, 3]])
    assert fit().contributions(block, np.array([0, 1])).tolist() == [[0, 0], [0, 0]]


def test_neighbours_are_cosines_to_one_item():
    near = fit().neighbours(1)
    np.testing.assert_allclose(np.delete(near, 4), np.delete(CENTRED @ CENTRED[1], 4), rtol=1e-4)
    assert np.isnan(near[4])


@pytest.mark.parametrize("rows", [np.zeros((3, 4), np.float32), np.zeros((0, 4), np.float32)])
def test_a_catalogue_without_texts_scores_nothing(rows):
    scores = fit(raw=rows).score_block(worlds.queries([[0]]))
    assert scores.shape == (1, len(rows))
    assert np.isnan(scores).all()


def test_new_vectors_are_centred_as_the_fitted_ones():
    grown = fit().with_items(np.array([6, 4], dtype=np.int32), ["", ""], RAW[[2, 3]])
    np.testing.assert_allclose(grown.vectors[[6, 4]], CENTRED[[2, 3]], rtol=1e-4, atol=1e-6)
