"""A drawn release is a release as any other: it opens, answers, and says what it is."""

from __future__ import annotations

import numpy as np
import pytest

from langrec import finding
from langrec.benching.release import write_large_release
from langrec.benching.shop import draw_shop
from langrec.bundle import Bundle
from langrec.data.once import link_equal
from langrec.settings import Settings
from langrec.types import Query

ITEMS, USERS, EVENTS = 3_000, 200, 6_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = write_large_release(tmp_path_factory.mktemp("drawn"), items=ITEMS, users=USERS, events=EVENTS, dim=16)
    return Bundle.open(folder.parent)


def test_equal_arguments_draw_equal_shops():
    first, second = draw_shop(500, 50, 1_000, seed=3), draw_shop(500, 50, 1_000, seed=3)
    assert first.dataset.hash() == second.dataset.hash()
    assert first.dataset.hash() != draw_shop(500, 50, 1_000, seed=4).dataset.hash()


def test_a_drawn_shop_has_its_size_in_time_order_and_a_heavy_tail():
    log = draw_shop(2_000, 200, 20_000).dataset.events
    assert (len(log), log.users.max() < 200, log.items.max() < 2_000) == (20_000, True, True)
    assert (np.diff(log.at) >= 0).all()
    counts = np.sort(np.bincount(log.items, minlength=2_000))[::-1]
    assert counts[:200].sum() > 0.4 * counts.sum()


def test_the_release_is_whole_and_says_that_it_was_drawn(bundle):
    assert bundle.manifest["data"]["n_items"] == ITEMS
    assert "drawn for a bench" in bundle.manifest["notes"][0]


def test_its_text_vectors_are_the_encoders(bundle):
    recommender = bundle.recommender()
    texts = recommender.catalogue.texts()[:20]
    read = recommender.encoder.encode(texts)
    scorer = recommender.fusion.scorers["vectors"]
    centred = read - scorer.mean
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(scorer.vectors[np.arange(20)]), centred, atol=1e-4)


def test_it_answers_histories_newcomers_and_words(bundle):
    recommender = bundle.recommender()
    history = tuple(recommender.items.ids.take(np.arange(5)))
    title = recommender.items.title(7)
    mine, new = recommender.recommend([Query(history=history), Query()])
    assert (mine.trace.reason, len(mine)) == ("history", 10)
    assert (new.trace.reason, len(new)) == ("new_visitor", 10)
    assert not set(mine.ids) & set(history)
    found = recommender.search([Query(text=title, meaning=0.0)])[0]
    assert "p7" in found.ids


def test_the_vectors_of_a_scorer_and_its_index_are_one_file(bundle, tmp_path):
    fusion = bundle.recommender().fusion
    finding.build(fusion, Settings())[0]["vectors"].save(tmp_path / "index")
    fusion.scorers["vectors"].save(tmp_path / "scorer")
    # As it is done while a release is written, where files are large.
    saved = link_equal(tmp_path, least=100_000)
    held = tmp_path / "scorer/vectors.npy"
    assert held.samefile(tmp_path / "index/vectors.npy") and saved == held.stat().st_size
    np.testing.assert_array_equal(np.load(held), np.asarray(fusion.scorers["vectors"].vectors))
