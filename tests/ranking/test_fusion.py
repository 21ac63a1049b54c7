"""Many scorers as one: signals, their sum, and what answers where nothing can be said."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import worlds
from langrec.data.fitting import FitData
from langrec.ranking.fusion import Fusion, Signal, WithFallback
from langrec.ranking.mix import Mix, log_features, rrf_mix
from langrec.retrieval.popular import Popular
from langrec.retrieval.tfidf import TFIDF
from langrec.retrieval.transitions import Transitions
from langrec.settings import RetrievalSettings

WORLD = worlds.planted_topics()
DATA = FitData(WORLD.dataset.events, WORLD.n_users, WORLD.n_items, WORLD.texts)
SCORERS = {
    "transitions": Transitions.fit(DATA, RetrievalSettings()),
    "tfidf": TFIDF.fit(DATA, RetrievalSettings()),
    "popular": Popular.fit(DATA, RetrievalSettings()),
}
SIGNALS = (Signal("transitions"), Signal("transitions", (("decay", 1.0),)), Signal("tfidf"), Signal("popular"))
NAMES = ("transitions", "transitions@1", "tfidf", "popular")
BLOCK = worlds.queries([*WORLD.histories()[:5], [], [WORLD.n_items + 1]])


def fusion(mix=None, n_items=WORLD.n_items, scorers=SCORERS):
    mix = mix or Mix(NAMES, "linear", np.array([1.0, 0.5, 2.0, -0.1], dtype=np.float32))
    return Fusion(scorers, SIGNALS, mix, n_items)


@dataclass
class Fixed:
    """A scorer whose answer is given."""

    scores: np.ndarray

    @property
    def n_items(self):
        return self.scores.shape[1]

    def score_block(self, block):
        return self.scores.copy()


def test_a_signal_is_named_after_its_scorer_and_settings():
    assert tuple(signal.name for signal in SIGNALS) == NAMES


def test_signals_are_the_scores_of_their_scorers():
    signals = fusion().signal_scores(BLOCK)
    assert signals.shape == (4, len(BLOCK), WORLD.n_items)
    np.testing.assert_array_equal(signals[0], SCORERS["transitions"].score_block(BLOCK))
    np.testing.assert_array_equal(signals[1], SCORERS["transitions"].with_params(decay=1.0).score_block(BLOCK))
    np.testing.assert_array_equal(signals[2], SCORERS["tfidf"].score_block(BLOCK))


def test_parts_sum_to_the_score():
    for mix in (None, rrf_mix(NAMES, 60.0)):
        fused = fusion(mix)
        parts = fused.parts(fused.signal_scores(BLOCK), BLOCK)
        np.testing.assert_allclose(parts.sum(axis=0), fused.score_block(BLOCK), rtol=1e-5, atol=1e-6)


def test_popularity_alone_answers_where_only_popularity_speaks():
    """Of several popularities the fallback alone speaks, at full weight, whatever the mix learned of it."""
    names = (*NAMES, "popular_30d")
    mix = Mix(names, "linear", np.array([1.0, 0.5, 2.0, -0.1, 3.0], dtype=np.float32))
    scorers = {**SCORERS, "popular_30d": replace(SCORERS["popular"], days=30.0)}
    fused = Fusion(scorers, (*SIGNALS, Signal("popular_30d")), mix, WORLD.n_items, fallback="popular")
    parts = fused.parts(fused.signal_scores(BLOCK), BLOCK)
    assert not parts[[0, 1, 2, 4], 5:].any()
    np.testing.assert_array_equal(parts[3, 5:], log_features(SCORERS["popular"].score_block(BLOCK)[None])[0, 5:])
    np.testing.assert_array_equal(parts[:, :5], mix.parts(fused.signal_scores(BLOCK))[:, :5])


def test_a_mix_is_never_nan():
    scores = fusion().score_block(BLOCK)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert np.isfinite(fusion().score_block(worlds.queries([]))).all()


def test_scorers_that_know_fewer_items_say_nothing_of_the_rest():
    """A new item reaches the readers of texts at once, the others at the next training."""
    new = WORLD.n_items
    reader = SCORERS["tfidf"].with_items(np.array([new], dtype=np.int32), [WORLD.texts[0]])
    grown = fusion().with_scorers({**SCORERS, "tfidf": reader}, new + 1)
    signals = grown.signal_scores(worlds.queries([[0]]))
    assert np.isnan(signals[[0, 1, 3], 0, new]).all()
    assert signals[2, 0, new] > 0
    assert grown.score_block(worlds.queries([[0]]))[0, new] > 0


def test_a_batch_gives_what_single_queries_give():
    together = fusion().score_block(BLOCK)
    for i in range(len(BLOCK)):
        np.testing.assert_allclose(fusion().score_block(BLOCK.slice(i, i + 1))[0], together[i], rtol=1e-4, atol=1e-5)


def test_a_fallback_answers_only_where_nothing_can_be_said():
    both = WithFallback(SCORERS["transitions"], SCORERS["popular"])
    scores = both.score_block(BLOCK)
    assert both.n_items == WORLD.n_items
    np.testing.assert_array_equal(scores[:5], SCORERS["transitions"].score_block(BLOCK)[:5])
    np.testing.assert_array_equal(scores[5:], SCORERS["popular"].score_block(BLOCK)[5:])


def test_a_row_that_says_a_little_is_kept():
    scorer = Fixed(np.array([[np.nan, 1.0], [np.nan, np.nan]], dtype=np.float32))
    filled = WithFallback(scorer, Fixed(np.full((2, 2), 9, np.float32))).score_block(worlds.queries([[0], [0]]))
    np.testing.assert_array_equal(filled, [[np.nan, 1], [9, 9]])


def test_a_fallback_may_know_fewer_or_more_items():
    silent = Fixed(np.full((1, 3), np.nan, np.float32))
    narrow = WithFallback(silent, Fixed(np.ones((1, 2), np.float32))).score_block(worlds.queries([[]]))
    np.testing.assert_array_equal(narrow, [[1, 1, np.nan]])
    wide = WithFallback(silent, Fixed(np.ones((1, 5), np.float32))).score_block(worlds.queries([[]]))
    np.testing.assert_array_equal(wide, [[1, 1, 1]])


def test_summed_signal_by_signal_the_scores_are_those_of_the_parts():
    """Also where a signal stands twice, for rare items alone, for fewer items, or with weights that bend."""
    rng = np.random.default_rng(1)
    few = Fixed(rng.normal(size=(len(BLOCK), WORLD.n_items - 7)).astype(np.float32))
    signals = (
        *SIGNALS,
        Signal("tfidf", only="rare"),
        Signal("few"),
        Signal("few", only="rare"),
        Signal("tfidf", only="new"),
        Signal("popular_30d"),
    )
    names = tuple(signal.name for signal in signals)
    slopes = rng.normal(size=(2, len(names))).astype(np.float32)
    mix = Mix(names, "linear", rng.normal(size=len(names)).astype(np.float32), slopes=slopes)
    scorers = {**SCORERS, "few": few, "popular_30d": replace(SCORERS["popular"], days=30.0)}
    counts = rng.integers(0, 12, WORLD.n_items - 3).astype(np.int32)
    fused = Fusion(scorers, signals, mix, WORLD.n_items, fallback="popular", counts=counts)
    for at in (BLOCK.at, np.full_like(BLOCK.at, BLOCK.at.max()), BLOCK.at - np.arange(len(BLOCK)) // 2 * 10**10):
        block = replace(BLOCK, at=at)
        parts = fused.parts(fused.signal_scores(block), block).sum(axis=0)
        scores, silent = fused.mixed(block)
        np.testing.assert_allclose(scores, parts, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(silent, fused.silent(fused.signal_scores(block)))
    quiet = fused.without_popularity()
    block = replace(BLOCK, at=np.full_like(BLOCK.at, BLOCK.at.max()))
    expected = quiet.parts(quiet.signal_scores(block), block).sum(axis=0)
    np.testing.assert_allclose(quiet.score_block(block), expected, rtol=1e-4, atol=1e-5)
