"""What every registered index keeps, whatever its kind; the exact one is held against plain NumPy."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from langrec import registry
from langrec.errors import BundleError, DataError, LangrecError
from langrec.protocols import Index, Part
from langrec.retrieval.indexes.build import build_index, load_index
from langrec.settings import IndexSettings

N, HALF = 3000, 12
DIM = 2 * HALF
K = 10

NEEDS = {"ivf": ("faiss",), "milvus": ("pymilvus", "milvus_lite")}

every_index = pytest.mark.parametrize("kind", sorted(registry.INDEXES))


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@cache
def catalogue():
    """Items of 60 topics in two halves, id and text; every seventh item is unseen: its id half is zeros."""
    rng = np.random.default_rng(3)
    topics = rng.normal(size=(60, DIM))
    rows = unit(topics[rng.integers(60, size=N)] + 0.7 * rng.normal(size=(N, DIM)))
    rows[::7, :HALF] = 0.0
    rows.flags.writeable = False
    return rows


@cache
def queries(seed=4, q=50):
    rng = np.random.default_rng(seed)
    return unit(catalogue()[rng.integers(N, size=q)] + 0.2 * rng.normal(size=(q, DIM)).astype(np.float32))


@cache
def index_of(kind):
    return built(kind, catalogue())


def asked_for(kind):
    """Settings of a kind; skips where what it needs is not installed."""
    for module in NEEDS.get(kind, ()):
        if find_spec(module) is None:
            pytest.skip(
                f"{module} is not installed: pip install 'langrec[{'milvus' if kind == 'milvus' else 'index'}]'"
            )
    return IndexSettings(kind=kind, recall=0.98, threads=1, url=str(database()) if kind == "milvus" else "")


@cache
def database():
    """The file of Milvus Lite that all these tests write to."""
    folder = Path(tempfile.mkdtemp(prefix="langrec-milvus-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "vectors.db"


def built(kind, vectors, nums=None):
    """An index whose recall is measured with queries like those that the tests ask, but not with these."""
    return build_index(vectors, asked_for(kind), nums, queries(1, 200))


def plain(vectors, asked, k, allowed=None):
    """The oracle's oracle: all products, sorted by score and number."""
    scores = asked.astype(np.float64) @ vectors.T.astype(np.float64)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def recall(found, wanted):
    return float(np.mean([len(np.intersect1d(f, w)) / len(w) for f, w in zip(found, wanted, strict=True)]))


def least_recall(kind):
    """Of the approximate kinds less than what they were built for: they measured it on other queries than these."""
    return 1.0 if kind == "exact" else 0.95


@every_index
def test_an_index_is_a_part_that_finds(kind):
    index = index_of(kind)
    assert isinstance(index, Index)
    assert isinstance(index, Part)
    assert (len(index), index.dim) == (N, DIM)


@every_index
def test_answers_are_numbers_and_scores_best_first(kind):
    nums, scores = index_of(kind).search(queries(), K)
    assert (nums.dtype, scores.dtype) == (np.int32, np.float32)
    assert nums.shape == scores.shape == (len(queries()), K)
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries(), catalogue()[nums]), atol=1e-5)


@every_index
@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_nearest_are_found(kind, k):
    nums, scores = index_of(kind).search(queries(), k)
    wanted, exact = plain(catalogue(), queries(), k)
    assert recall(nums, wanted) >= least_recall(kind)
    assert (scores <= exact + 1e-5).all()


@every_index
def test_the_same_answers_after_save_and_load(kind, tmp_path):
    index = changed(kind)
    index.save(tmp_path / "index")
    for loaded in (type(index).load(tmp_path / "index"), load_index(tmp_path / "index")):
        assert (len(loaded), loaded.dim) == (len(index), index.dim)
        for before, after in zip(index.search(queries(), K), loaded.search(queries(), K), strict=True):
            np.testing.assert_array_equal(before, after)


def changed(kind):
    """An index with items added, replaced and removed."""
    rng = np.random.default_rng(5)
    index = index_of(kind).with_items(np.array([7, N, N + 4], np.int32), unit(rng.normal(size=(3, DIM))))
    return index.without(np.array([8, N], np.int32))


@every_index
def test_an_index_can_be_saved_over_itself(kind, tmp_path):
    index_of(kind).save(tmp_path)
    loaded = load_index(tmp_path).without(np.array([3], np.int32))
    wanted = loaded.search(queries(), K)
    loaded.save(tmp_path)
    np.testing.assert_array_equal(loaded.search(queries(), K)[0], wanted[0])
    np.testing.assert_array_equal(load_index(tmp_path).search(queries(), K)[0], wanted[0])


@every_index
def test_a_damaged_folder_is_refused(kind, tmp_path):
    index_of(kind).save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
        with pytest.raises(BundleError, match="index"):
            load_index(tmp_path).search(queries(), K)
        path.write_bytes(whole)
    load_index(tmp_path)


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(BundleError, match="holds no index"):
        load_index(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"kind": "exakt"}))
    with pytest.raises(LangrecError, match="did you mean exact"):
        load_index(tmp_path)


@every_index
def test_a_batch_is_answered_as_its_single_queries(kind):
    nums, scores = index_of(kind).search(queries(), K)
    for i, query in enumerate(queries()):
        alone_nums, alone_scores = index_of(kind).search(query[None], K)
        np.testing.assert_allclose(alone_scores[0], scores[i], atol=1e-5)
        assert recall(alone_nums, nums[i : i + 1]) >= 0.9


@every_index
def test_an_empty_batch_gives_no_rows(kind):
    nums, scores = index_of(kind).search(np.zeros((0, DIM), np.float32), K)
    assert nums.shape == scores.shape == (0, K)


@every_index
def test_no_places_are_no_error(kind):
    nums, scores = index_of(kind).search(queries(), 0)
    assert nums.shape == scores.shape == (len(queries()), 0)


@every_index
def test_more_places_than_items_hold_every_item_and_then_nothing(kind):
    few = build_index(catalogue()[:40], asked_for(kind))
    nums, scores = few.search(queries()[:3], 50)
    assert all(sorted(row[:40]) == list(range(40)) for row in nums)
    assert (nums[:, 40:] == -1).all()
    assert np.isnan(scores[:, 40:]).all()
    assert not np.isnan(scores[:, :40]).any()


@every_index
def test_an_index_of_nothing_finds_nothing_and_can_be_added_to(kind):
    empty = build_index(np.zeros((0, DIM), np.float32), asked_for(kind))
    assert len(empty) == 0
    assert (empty.search(queries(), K)[0] == -1).all()
    grown = empty.with_items(np.array([5], np.int32), catalogue()[:1])
    assert grown.search(queries()[:1], 2)[0].tolist() == [[5, -1]]


@every_index
def test_a_query_with_nan_finds_nothing_and_the_others_are_answered(kind):
    asked = queries()[:3].copy()
    asked[1, 4] = np.nan
    nums, scores = index_of(kind).search(asked, K)
    assert (nums[1] == -1).all() and np.isnan(scores[1]).all()
    np.testing.assert_array_equal(nums[0], index_of(kind).search(asked[:1], K)[0][0])


@every_index
def test_equal_scores_stand_by_number(kind):
    rows = np.zeros((90, 4), np.float32)
    rows[:, 0] = 0.5
    rows[[17, 5, 60], 0] = 0.75
    index = build_index(rows, asked_for(kind))
    asked = np.array([[1, 0, 0, 0]], np.float32)
    found = index.search(asked, 6)[0][0].tolist()
    assert found[:3] == [5, 17, 60]
    assert found[3:] == sorted(found[3:])
    if kind == "exact":  # the others may hold any of those that are equal
        assert found[3:] == [0, 1, 2]
    moved = index.with_items(np.array([2, 100], np.int32), rows[[17, 17]])
    assert moved.search(asked, 5)[0].tolist() == [[2, 5, 17, 60, 100]]


@every_index
def test_arguments_stay_unchanged(kind):
    asked, allowed, nums, rows = (
        queries().copy(),
        np.arange(N) % 3 == 0,
        np.array([4, N], np.int32),
        unit(queries()[:2]),
    )
    copies = [array.copy() for array in (asked, allowed, nums, rows)]
    index = index_of(kind).with_items(nums, rows)
    index.search(asked, K, allowed)
    index.without(nums).search(asked, K)
    for array, copy in zip((asked, allowed, nums, rows), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_index
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.6])
def test_a_filter_fills_the_list_with_the_best_it_allows(kind, share):
    allowed = np.zeros(N, np.bool_)
    allowed[np.random.default_rng(6).permutation(N)[: max(1, int(share * N))]] = True
    k = min(K, int(allowed.sum()))
    nums, scores = index_of(kind).search(queries(), K, allowed)
    assert (nums[:, :k] >= 0).all() and allowed[nums[:, :k]].all()
    assert (nums[:, k:] == -1).all() and np.isnan(scores[:, k:]).all()
    wanted, _ = plain(catalogue(), queries(), k, allowed)
    assert recall(nums[:, :k], wanted) >= (1.0 if share <= 0.01 else least_recall(kind))


@every_index
def test_a_filter_may_be_asked_for_again_after_items_have_gone_and_come(kind):
    allowed = np.zeros(N + 1, np.bool_)
    allowed[:25] = True
    allowed.flags.writeable = False
    index = index_of(kind)
    every = index.search(queries()[:3], 30, allowed)[0]
    np.testing.assert_array_equal(index.search(queries()[:3], 30, allowed)[0], every)
    assert all(sorted(row[:25]) == list(range(25)) for row in every)
    less = index.without(np.array([3, 4], np.int32)).with_items(np.array([N], np.int32), queries()[:1])
    assert all(set(range(25)) - set(row) == {3, 4} for row in less.search(queries()[:3], 30, allowed)[0])
    other = np.zeros(N, np.bool_)
    other[100:120] = True
    other.flags.writeable = False
    assert index.search(queries()[:1], 30, other)[0].max() == 119
    np.testing.assert_array_equal(index.search(queries()[:3], 30, allowed)[0], every)


@every_index
def test_a_filter_that_allows_nothing_finds_nothing(kind):
    for allowed in (np.zeros(N, np.bool_), np.zeros(0, np.bool_)):
        assert (index_of(kind).search(queries(), K, allowed)[0] == -1).all()


@every_index
def test_a_filter_shorter_than_the_catalogue_allows_nothing_beyond_its_end(kind):
    nums, _ = index_of(kind).search(queries(), K, np.ones(500, np.bool_))
    assert recall(nums, plain(catalogue()[:500], queries(), K)[0]) >= least_recall(kind)
    assert nums.max() < 500


@every_index
def test_a_removed_item_is_never_found_and_the_list_is_still_full(kind):
    best = index_of(kind).search(queries(), K)[0]
    gone = np.unique(best[:, :5])
    index = index_of(kind).without(gone).without(gone[:1])
    nums, _ = index.search(queries(), K)
    assert not np.isin(nums, gone).any()
    assert (nums >= 0).all()
    assert len(index) == N - len(gone)
    allowed = np.ones(N, np.bool_)
    allowed[gone] = False
    assert recall(nums, plain(catalogue(), queries(), K, allowed)[0]) >= least_recall(kind)
    some = np.isin(np.arange(N), np.concatenate([gone, np.arange(20)]))
    assert not np.isin(index.search(queries(), K, some)[0], gone).any()


@every_index
def test_numbers_that_were_never_held_can_be_removed(kind):
    index = index_of(kind).without(np.array([N + 7], np.int32))
    assert len(index) == N


@every_index
def test_a_replaced_item_is_found_by_its_new_vector(kind):
    new = unit(np.ones((1, DIM), np.float32))
    index = index_of(kind).with_items(np.array([11], np.int32), new)
    assert len(index) == N
    nums, scores = index.search(new, 1)
    assert nums.tolist() == [[11]]
    np.testing.assert_allclose(scores, 1.0, atol=1e-5)
    assert 11 not in index.search(catalogue()[11:12], 3)[0]
    again = index.with_items(np.array([11], np.int32), catalogue()[11:12])
    assert again.search(catalogue()[11:12], 1)[0].tolist() == [[11]]
    assert len(again) == N


@every_index
def test_of_a_number_that_comes_twice_the_last_vector_counts(kind):
    rows = unit(np.random.default_rng(8).normal(size=(2, DIM)))
    index = index_of(kind).with_items(np.array([N, N], np.int32), rows)
    assert len(index) == N + 1
    assert index.search(rows[1:], 1)[0].tolist() == [[N]]
    assert N not in index.search(rows[:1], 1)[0]


@every_index
def test_a_removed_item_can_come_back(kind):
    index = index_of(kind).without(np.array([9], np.int32)).with_items(np.array([9], np.int32), catalogue()[9:10])
    assert index.search(catalogue()[9:10], 1)[0].tolist() == [[9]]
    assert len(index) == N


@every_index
def test_a_new_item_with_only_a_text_half_is_found_by_its_text(kind):
    row = np.zeros((1, DIM), np.float32)
    row[0, HALF:] = unit(np.random.default_rng(9).normal(size=HALF))
    index = index_of(kind).with_items(np.array([N + 2], np.int32), row)
    both = np.concatenate([unit(np.ones((1, HALF))), row[:, HALF:] * 4], axis=1).astype(np.float32)
    assert index.search(both, 1)[0].tolist() == [[N + 2]]


@every_index
def test_an_index_is_undisturbed_by_what_is_made_of_it(kind):
    index = index_of(kind)
    before = index.search(queries(), K)
    one = index.with_items(np.array([N], np.int32), queries()[:1])
    two = one.with_items(np.array([N + 1], np.int32), queries()[1:2])
    other = one.with_items(np.array([N + 1], np.int32), queries()[2:3])
    less = index.without(before[0][0, :3])
    assert (len(index), len(one), len(two), len(other), len(less)) == (N, N + 1, N + 2, N + 2, N - 3)
    for old, now in zip(before, index.search(queries(), K), strict=True):
        np.testing.assert_array_equal(old, now)
    assert one.search(queries()[:3], 1)[0][0] == N
    assert N + 1 not in one.search(queries()[:3], 1)[0]
    assert two.search(queries()[:3], 1)[0].ravel()[:2].tolist() == [N, N + 1]
    assert other.search(queries()[:3], 1)[0].ravel()[[0, 2]].tolist() == [N, N + 1]


@every_index
def test_many_small_changes_are_one_large_one(kind):
    rng = np.random.default_rng(10)
    rows = unit(rng.normal(size=(200, DIM)))
    nums = rng.permutation(N + 50)[:200].astype(np.int32)
    slowly = index_of(kind)
    for num, row in zip(nums, rows, strict=True):
        slowly = slowly.with_items(np.array([num], np.int32), row[None])
    at_once = index_of(kind).with_items(nums, rows)
    assert len(slowly) == len(at_once) == N + int((nums >= N).sum())
    np.testing.assert_array_equal(slowly.search(rows[:30], K)[0], at_once.search(rows[:30], K)[0])


@every_index
def test_a_compacted_index_holds_the_same_items(kind):
    index = changed(kind)
    compact = index.compacted()
    assert len(compact) == len(index)
    nums, found = index.search(queries(), K)[0], compact.search(queries(), K)[0]
    assert recall(found, nums) >= least_recall(kind)
    assert not np.isin(found, [8, N]).any()
    assert index.search(catalogue()[:1], 1)[0] == compact.search(catalogue()[:1], 1)[0]


@every_index
def test_numbers_may_have_gaps(kind):
    nums = np.arange(N, dtype=np.int32) * 3 + 5
    index = built(kind, catalogue(), nums)
    found = index.search(queries(), K)[0]
    assert recall(found, plain(catalogue(), queries(), K)[0] * 3 + 5) >= least_recall(kind)
    allowed = np.zeros(nums[-1] + 1, np.bool_)
    allowed[nums[:100]] = True
    allowed[:5] = True
    found = index.search(queries(), K, allowed)[0]
    np.testing.assert_array_equal(np.sort(found), np.sort(plain(catalogue()[:100], queries(), K)[0] * 3 + 5))
    assert len(index.without(np.array([6, 8], np.int32))) == N - 1


@every_index
def test_what_cannot_be_used_is_refused(kind):
    index = index_of(kind)
    bad = np.full((1, DIM), np.nan, np.float32)
    for wrong in (
        lambda: index.search(np.zeros((1, DIM + 1), np.float32), K),
        lambda: index.search(np.zeros(DIM, np.float32), K),
        lambda: index.search(queries(), -1),
        lambda: index.with_items(np.array([1], np.int32), bad),
        lambda: index.with_items(np.array([-1], np.int32), queries()[:1]),
        lambda: index.with_items(np.array([1, 2], np.int32), queries()[:1]),
        lambda: index.with_items(np.array([1], np.int32), queries()[:1, :3]),
        lambda: build_index(bad, asked_for(kind)),
        lambda: build_index(queries()[0], asked_for(kind)),
        lambda: build_index(queries()[:2], asked_for(kind), np.array([3, 3], np.int32)),
    ):
        with pytest.raises(DataError, match="index"):
            wrong()
