"""BM25 and TF-IDF against plain Python, for words asked and for histories."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

import worlds
from langrec.data.fitting import FitData
from langrec.errors import BundleError
from langrec.retrieval.bm25 import BM25
from langrec.retrieval.tfidf import TFIDF
from langrec.retrieval.words import words
from langrec.settings import RetrievalSettings

TEXTS = (
    "the whale and the ship",
    "ship, ship, harbour",
    "dough and butter in the oven",
    "",
    "the queen takes the bishop and the rook",
    "鲸鱼和船",
)
both = pytest.mark.parametrize("kind", [BM25, TFIDF])


def fit(kind, texts=TEXTS, **settings):
    data = FitData(worlds.events([]), 0, len(texts), texts)
    return kind.fit(data, RetrievalSettings(**settings))


def asked(*texts):
    return worlds.queries([[]] * len(texts), texts=texts)


def idf_of(texts):
    found = Counter(word for text in texts for word in set(words(text)))
    return {word: math.log(1 + (len(texts) - df + 0.5) / (df + 0.5)) for word, df in found.items()}


def slow_bm25(texts, query, k1, b):
    """Robertson & Zaragoza 2009, a document at a time."""
    documents = [words(text) for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    idf = idf_of(texts)
    scores = []
    for document in documents:
        total = 0.0
        for word in query:
            tf = document.count(word)
            if tf:
                total += idf[word] * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(document) / mean))
        scores.append(total)
    return scores


def slow_tfidf(texts, query):
    """The cosine of two (1 + log tf) * idf vectors."""
    idf = idf_of(texts)

    def vector(listed):
        return {word: (1 + math.log(tf)) * idf[word] for word, tf in Counter(listed).items() if word in idf}

    def size(weights):
        return math.sqrt(sum(x * x for x in weights.values())) or 1.0

    wanted = vector(query)
    documents = [vector(words(text)) for text in texts]
    return [
        sum(x * wanted.get(word, 0) for word, x in document.items()) / size(document) / size(wanted)
        for document in documents
    ]


def without_blank(scores):
    return np.delete(np.asarray(scores, dtype=float), 3)


@pytest.mark.parametrize("text", ["ship", "the whale, the oven", "harbour ship ship", "鲸鱼", "Ship’s unknown QUEEN"])
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.0)])
def test_bm25_of_a_text_is_the_textbooks(text, k1, b):
    got = fit(BM25, bm25_k1=k1, bm25_b=b).score_block(asked(text))[0]
    np.testing.assert_allclose(without_blank(got), without_blank(slow_bm25(TEXTS, words(text), k1, b)), rtol=1e-5)


@pytest.mark.parametrize("text", ["ship", "the whale, the oven", "harbour ship ship", "鲸鱼", "unknown queen"])
def test_tfidf_of_a_text_is_the_cosine(text):
    got = fit(TFIDF).score_block(asked(text))[0]
    np.testing.assert_allclose(without_blank(got), without_blank(slow_tfidf(TEXTS, words(text))), rtol=1e-5, atol=1e-7)


def test_bm25_of_a_history_is_the_decayed_mean_over_its_items():
    """An item in a history asks for each of its words once."""
    fitted = fit(BM25).with_params(decay=0.5)
    history = [2, 1]
    weights = np.array([math.exp(-0.5), 1.0])
    single = [slow_bm25(TEXTS, sorted(set(words(TEXTS[item]))), 1.2, 0.75) for item in history]
    expected = weights @ np.array(single) / weights.sum()
    got = fitted.score_block(worlds.queries([history]))[0]
    np.testing.assert_allclose(without_blank(got), without_blank(expected), rtol=1e-5)


def test_tfidf_of_a_history_is_the_decayed_mean_of_cosines():
    fitted = fit(TFIDF).with_params(decay=0.5)
    weights = np.array([math.exp(-0.5), 1.0])
    expected = weights @ np.array([slow_tfidf(TEXTS, words(TEXTS[item])) for item in (2, 1)]) / weights.sum()
    got = fitted.score_block(worlds.queries([[2, 1]]))[0]
    np.testing.assert_allclose(without_blank(got), without_blank(expected), rtol=1e-5, atol=1e-7)


@both
def test_a_text_is_answered_by_its_words_whatever_the_history(kind):
    scores = fit(kind).score_block(worlds.queries([[2], [], [2]], texts=["whale", "whale", None]))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.nanargmax(scores[0]) == 0
    assert np.nanargmax(scores[2]) == 2


@both
def test_a_text_without_a_known_word_cannot_be_scored(kind):
    scores = fit(kind).score_block(worlds.queries([[2], [2], [2]], texts=["", "unheard of", "?!"]))
    assert np.isnan(scores).all()


@both
def test_an_item_without_words_cannot_be_scored(kind):
    scores = fit(kind).score_block(asked("ship"))[0]
    assert np.flatnonzero(np.isnan(scores)).tolist() == [3]


@both
def test_every_question_of_the_service_desk_finds_its_answer(kind):
    faq = worlds.faq_paraphrases()
    scores = fit(kind, faq.texts).score_block(asked(*faq.questions))
    assert np.nanargmax(scores, axis=1).tolist() == list(faq.answers)


@both
def test_a_history_finds_the_items_of_its_topic(kind):
    world = worlds.planted_topics()
    scores = fit(kind, world.texts).score_block(worlds.queries([[item] for item in range(world.n_items)]))
    for item, row in enumerate(scores):
        own = world.item_topics == world.item_topics[item]
        assert row[own].min() > row[~own].max()


@both
def test_matched_words_are_those_of_the_text_in_its_order(kind):
    fitted = fit(kind)
    assert fitted.matched("The SHIP, the whale; the anchor", 0) == ("the", "ship", "whale")
    assert fitted.matched("oven", 0) == ()


@both
def test_a_word_that_came_after_the_fit_can_be_asked_for(kind):
    grown = fit(kind).with_items(np.array([6], dtype=np.int32), ["a zeppelin over the ship"])
    scores = grown.score_block(asked("zeppelin"))[0]
    assert np.nanargmax(scores) == 6
    assert (np.delete(scores, [3, 6]) == 0).all()


@both
def test_words_known_at_the_fit_keep_their_weight(kind):
    fitted = fit(kind)
    grown = fitted.with_items(np.array([6], dtype=np.int32), ["ship ship ship"])
    np.testing.assert_array_equal(grown.idf[: len(fitted.idf)], fitted.idf)
    assert grown.mean_length == fitted.mean_length


@both
@pytest.mark.parametrize("name", ["gives", "postings", "idf"])
def test_arrays_that_do_not_belong_together_are_refused(kind, name, tmp_path):
    fit(kind).save(tmp_path)
    array = np.load(tmp_path / f"{name}.npy")
    np.save(tmp_path / f"{name}.npy", array[:-1])
    with pytest.raises(BundleError, match="word index"):
        kind.load(tmp_path)


@both
def test_texts_alone_make_a_scorer(kind):
    assert np.isnan(fit(kind, ("", "", "")).score_block(asked("ship"))).all()
    assert fit(kind, ()).score_block(asked("ship")).shape == (1, 0)


LEAVES = ("西湖龙井绿茶", "红茶礼盒", "茶 与 人生", "紫砂壶", "책 읽는 밤", "茶馆")


@both
def test_a_lone_character_finds_every_item_that_holds_it(kind, tmp_path):
    fit(kind, LEAVES).save(tmp_path)
    for fitted in (fit(kind, LEAVES), kind.load(tmp_path)):
        scores = fitted.score_block(asked("茶", "책", "湖"))
        assert [np.flatnonzero(row > 0).tolist() for row in scores] == [[0, 1, 2, 5], [4], [0]]
        assert fitted.retrieve(asked("茶"), 9)[0].tolist() == [0, 1, 2, 5]
        assert [fitted.matched("茶 壶 x", num) for num in (0, 2, 3, 4)] == [("茶",), ("茶",), ("壶",), ()]


@both
def test_a_lone_character_finds_items_that_came_after_the_fit(kind):
    fitted = fit(kind, LEAVES)
    assert np.flatnonzero(fitted.score_block(asked("茶"))[0] > 0).tolist() == [0, 1, 2, 5]
    grown = fitted.with_items(np.array([3, 6], dtype=np.int32), ["花茶壶", "抹茶"])
    assert np.flatnonzero(grown.score_block(asked("茶"))[0] > 0).tolist() == [0, 1, 2, 3, 5, 6]
    assert np.flatnonzero(fitted.score_block(asked("茶"))[0] > 0).tolist() == [0, 1, 2, 5]


def test_a_lone_character_says_no_more_than_a_word():
    # Each of its many pairs is rare, but the character is not.
    texts = [f"{other}茶{other}" for other in "红绿白黑花香清浓新老"] + ["礼盒", "礼盒茶具", "壶", "盏"]
    scores = fit(BM25, texts).score_block(asked("茶 礼盒"))[0]
    assert np.argsort(-scores)[:2].tolist() in ([11, 10], [10, 11])


THAI = ("ตู้เย็นสองประตู", "ปูนึ่งสองตัว", "ปู", "แกงปู", "ชาเขียว", "ตู้ปลา")


@both
def test_thai_words_are_found_within_runs_without_spaces(kind):
    fitted = fit(kind, THAI)
    scores = fitted.score_block(asked("เย็น", "ตู้", "ปู", "เขียว"))
    assert [np.flatnonzero(row > 0).tolist() for row in scores] == [[0], [0, 5], [1, 2, 3], [4]]
    assert [fitted.matched("ปู เย็น", num) for num in (0, 2, 3)] == [("เย็", "ย็น"), ("ปู",), ("ปู",)]


def test_a_short_thai_word_counts_once_where_it_is_the_whole_run():
    fitted = fit(BM25, THAI)
    word, parts = fitted.vocabulary["ปู"], fitted.pairs.holding(fitted.vocabulary, "ปู", len(fitted.idf))
    assert word not in parts.tolist() and len(parts) == 2
