"""The compiled loops say what their twins in NumPy say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import sparse

import small_release
from langrec import finding, loops
from langrec.bundle import Bundle
from langrec.data.candidates import had, union
from langrec.data.rows import Rows
from langrec.ranking.select import diverse, diverse_rows
from langrec.ranking.trees import joined
from langrec.retrieval.bm25 import BM25
from langrec.retrieval.reached import Sums
from langrec.retrieval.terms import count_terms
from langrec.retrieval.tfidf import TFIDF
from langrec.retrieval.vectors import Vectors
from langrec.types import Candidates, Filters, Item, ItemList, Population, Query, QueryBlock
from small_release import NOW, WORLD

pytestmark = pytest.mark.slow

N, V, D = 400, 60, 24
AT = datetime.fromtimestamp(NOW / 1000, UTC)
WORDS = [f"w{i}" for i in range(V)]


@pytest.fixture(scope="module", autouse=True)
def started():
    pytest.importorskip("numba")
    assert loops.start()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def block(rng, q=5, n=N, texts=None):
    lengths = np.array([0, 1, 30, 4, 60])[:q]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = rng.integers(0, n + 20, offsets[-1]).astype(np.int32)  # some that no scorer knows
    times = np.sort(rng.integers(0, 10**12, offsets[-1]))
    return QueryBlock(
        np.full(q, -1, np.int32), offsets, items, times, np.full(q, 10**12), texts or (None,) * q, kept={}
    )


def fresh(one):
    return replace(one, kept={})


def candidates(rng, q=5, n=N + 20):
    return Candidates.of(
        [np.sort(rng.choice(n, size, replace=False)).astype(np.int32) for size in (90, 0, 200, 1, 50)[:q]]
    )


def both(say):
    """What the twin says, and what the loops say."""
    with loops.without():
        assert loops.compiled("sparse") is None
        plain = say()
    assert loops.compiled("sparse") is not None
    return plain, say()


def equal(pair):
    for one, two in zip(*pair, strict=True):
        np.testing.assert_array_equal(one.offsets, two.offsets)
        np.testing.assert_array_equal(one.nums, two.nums)


def close(pair, **within):
    np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-6, equal_nan=True, **within)


def test_unions_hold_what_any_part_holds(rng):
    parts = [candidates(rng) for _ in range(4)]
    plain, looped = both(lambda: [union(parts)])
    equal((plain, looped))
    assert all(set(part[i]) <= set(looped[0][i]) for part in parts for i in range(5))
    equal(both(lambda: [union([Candidates.of([np.zeros(0, np.int32)] * 3)] * 2)]))


def test_the_history_is_recognised(rng):
    asked, of = candidates(rng), block(rng)
    plain, looped = both(lambda: had(fresh(of), asked))
    np.testing.assert_array_equal(plain, looped)
    assert plain.any() and not plain.all()


@pytest.mark.parametrize("decay", [0.0, 0.1, 3.0])
def test_sums_over_histories_are_the_same(rng, decay):
    from langrec.retrieval.transitions import Transitions

    weights = sparse.csr_array(sparse.random(N, N, 0.05, "csr", rng=rng, dtype=np.float32))
    scorer = Transitions(weights=weights, trained=rng.random(N) < 0.9, decay=decay)
    of, asked = block(rng), candidates(rng)
    everyone, some = Population(N, N, np.arange(N, dtype=np.int32)), Population(N, 9, np.arange(9), rng.random(N) < 0.5)
    plain, looped = both(lambda: scorer.score_items(fresh(of), asked))
    close((plain, looped))
    assert (looped > 0).any()
    for among in (everyone, some):
        close(both(lambda among=among: scorer.mean_positive(fresh(of), among)))
    for allowed in (None, rng.random(N) < 0.3, np.zeros(0, np.bool_)):
        equal(both(lambda allowed=allowed: [scorer.retrieve(fresh(of), 20, allowed)]))


def test_of_equal_sums_the_lowest_numbers_are_found(rng):
    values = rng.integers(-1, 3, 300).astype(np.float32)
    sums = Sums(np.array([0, 100, 100, 300]), rng.permutation(300).astype(np.int32), values)
    for k in (1, 10, 400):
        plain, looped = both(lambda k=k: [sums.best(k, None)])
        equal((plain, looped))
        tied = np.sort(sums.columns[:100][values[:100] == 2])
        assert k > 10 or looped[0][0].tolist() == tied[:k].tolist()


@pytest.mark.parametrize("kind", [BM25, TFIDF])
@pytest.mark.parametrize("changed", [False, True])
def test_words_say_the_same(rng, kind, changed, monkeypatch):
    monkeypatch.setattr("langrec.retrieval.postings.MOST_POSTINGS", 60)  # some words are frequent
    monkeypatch.setattr("langrec.retrieval.lexical.HISTORY_POSTINGS", 700)
    common = np.minimum(rng.exponential(9, (N, 9)).astype(int), V - 1)
    texts = [" ".join(WORDS[w] for w in row) if i % 50 else "" for i, row in enumerate(common)]
    counts = {word: place for place, word in enumerate(WORDS)}
    scorer = kind._build(counts, count_terms(texts, counts, grow=True), None, None, 0.1, (1.2, 0.75))
    if changed:
        scorer = scorer.with_items(np.array([7, N + 3, 90], np.int32), ["w1 w2 unheard", "w3 w59", ""])
    of, asked = block(rng, texts=(None, None, "w1 w2 nothing", None, None)), candidates(rng)
    everyone = Population(scorer.n_items, scorer.n_items, np.arange(N, dtype=np.int32))
    plain, looped = both(lambda: scorer.score_items(fresh(of), asked))
    close((plain, looped))
    assert np.isfinite(plain).any()
    close(both(lambda: scorer.mean_positive(fresh(of), everyone)))
    for allowed in (None, rng.random(N) < 0.4):
        equal(both(lambda allowed=allowed: [scorer.retrieve(fresh(of), 25, allowed)]))


@pytest.mark.parametrize("changed", [False, True])
def test_vectors_say_the_same(rng, changed):
    rows = rng.normal(size=(N, D)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[::30] = 0.0
    rows.flags.writeable = False  # as where they are mapped from disk
    scorer = Vectors(rows, np.zeros(D, np.float32))
    if changed:
        scorer = scorer.with_items(np.array([3, N + 5], np.int32), ["", ""], rng.normal(size=(2, D)).astype(np.float32))
    of, asked = block(rng), candidates(rng)
    everyone = Population(scorer.n_items, N, np.arange(N, dtype=np.int32))
    # The states at several decays answer of what one of them read.
    states = [scorer, scorer.with_params(decay=1.0), scorer.with_params(decay=0.0)]
    for road in (lambda s, b: s.index_queries(b), lambda s, b: s.score_items(b, asked)):
        for state in states:
            close(both(lambda road=road, state=state: road(state, fresh(of))))
    shared = fresh(of)
    for state in states:
        np.testing.assert_array_equal(state.score_items(shared, asked), state.score_items(fresh(of), asked))
        scores = np.nan_to_num(np.maximum(state.score_block(of), 0.0))[:, :N]
        close((state.mean_positive(shared, everyone), scores.sum(axis=1) / scorer.n_items))


@pytest.mark.parametrize("amount", [0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("depth", [1, 20, 500])
def test_a_list_differs_alike(rng, amount, depth):
    rows = rng.normal(size=(N, D)).astype(np.float32) + rng.normal(size=D).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = Rows.over(rows).with_rows(np.array([5]), rows[[9]])
    nums = rng.permutation(N)[:120].astype(np.int32)
    listed = ItemList(np.arange(120, dtype=np.int32), -np.sort(-rng.gamma(1.0, size=120)).astype(np.float32))
    for k in (1, 10, 30, 200):
        want = diverse(listed, vectors[nums], k, amount, depth)
        np.testing.assert_array_equal(diverse_rows(listed, vectors, nums, k, amount, depth).nums, want.nums)


def grown(rng, leaves, features=7):
    """A tree of drawn splits."""
    n = 2 * leaves - 1
    tree = {
        "feature": np.zeros(n, np.int32),
        "threshold": np.full(n, np.inf, np.float32),
        "left": np.arange(n),
        "right": np.arange(n),
        "value": rng.normal(size=n).astype(np.float32),
    }
    ends = [0]
    for made in range(1, n, 2):
        node = ends.pop(int(rng.integers(len(ends))))
        tree["feature"][node], tree["threshold"][node] = rng.integers(features), rng.normal()
        tree["left"][node], tree["right"][node] = made, made + 1
        ends += [made, made + 1]
    return tree


@pytest.mark.parametrize("most", [2, 15, 32, 40])
def test_trees_sum_alike(rng, most):
    trees = joined(tuple("abcdefg"), [grown(rng, int(leaves)) for leaves in rng.integers(1, most + 1, 30)])
    x = rng.normal(size=(90, 7)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[0] = trees.threshold[trees.threshold < np.inf][:7] if most > 2 else x[0]
    plain, looped = both(lambda: replace(trees).predict(x))
    close((plain, looped))
    assert len(np.unique(looped)) > 1


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    dense = Bundle.open(small_release.release(tmp_path_factory.mktemp("shop"))).recommender()
    indexes, _ = finding.build(dense.fusion, small_release.settings("."))
    return replace(dense, fusion=finding.near(dense.fusion, indexes))


def asked(**changed):
    histories = [small_release.history(user) for user in range(WORLD.n_users)]
    found = [Query(user=f"u{user}", history=ids, history_at=at, at=AT) for user, (ids, at) in enumerate(histories)]
    return [replace(query, **changed) for query in found]


@pytest.mark.parametrize(
    "changed", [{}, {"filters": Filters(categories=("sea",))}, {"text": "sea", "personal": 0.5}, {"k": 40}], ids=str
)
@pytest.mark.parametrize("news", [False, True])
def test_whole_answers_are_the_same(large, changed, news):
    ranking = replace(large.ranking, diversity=0.3)
    recommender = replace(large, ranking=ranking)
    if news:
        recommender = recommender.with_changes(
            [Item("i3", title="the sea again", at=NOW), Item("new", title="sea bread")]
        )
    plain, looped = both(lambda: recommender.recommend(asked(**changed)[:16]))
    for one, two in zip(plain, looped, strict=True):
        np.testing.assert_allclose(one.items.scores, two.items.scores, rtol=1e-4, atol=1e-5)
        assert [stage.n_out for stage in one.trace.stages] == [stage.n_out for stage in two.trace.stages]
        assert sum(a != b for a, b in zip(one.ids, two.ids, strict=True)) <= 2  # equal scores within rounding
