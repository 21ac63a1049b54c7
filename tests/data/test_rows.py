"""Rows that grow without disturbing the states before, and the arithmetic of candidates."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.data.candidates import best_of, distinct, had, places_in, population_of, ragged, union
from langrec.data.mapped import MAPPED_FROM, array_at, put_array, rows_over
from langrec.data.rows import FIRST_ROOM, Rows, longer, whole, with_rows
from langrec.types import Candidates, QueryBlock

BASE = np.arange(12, dtype=np.float32).reshape(6, 2)


def test_rows_are_replaced_and_added_and_the_state_before_is_as_it_was():
    first = Rows.over(BASE)
    second = first.with_rows(np.array([1, 7]), np.array([[-1, -1], [-7, -7]]))
    third = second.with_rows(np.array([7, 2]), np.array([[70, 70], [20, 20]]))
    np.testing.assert_array_equal(whole(first), BASE)
    assert [len(first), len(second), len(third)] == [6, 8, 8]
    np.testing.assert_array_equal(second[np.array([0, 1, 6, 7, 2])], [[0, 1], [-1, -1], [0, 0], [-7, -7], [4, 5]])
    np.testing.assert_array_equal(third.whole[[1, 2, 6, 7]], [[-1, -1], [20, 20], [0, 0], [70, 70]])
    np.testing.assert_array_equal(third[7], [70, 70])
    np.testing.assert_array_equal(np.asarray(second)[7], [-7, -7])


def test_two_states_may_grow_from_one():
    common = Rows.over(BASE).with_rows(np.array([6]), np.ones((1, 2)))
    left = common.with_rows(np.array([7]), np.full((1, 2), 2.0))
    right = common.with_rows(np.array([7, 6]), np.full((2, 2), 3.0))
    assert left[7].tolist() == [2, 2]
    assert left[6].tolist() == [1, 1]
    assert right[7].tolist() == right[6].tolist() == [3, 3]
    assert common[6].tolist() == [1, 1]


def test_of_a_number_that_comes_twice_the_last_counts():
    rows = with_rows(BASE, np.array([3, 3]), np.array([[1, 1], [2, 2]]))
    assert rows[3].tolist() == [2, 2]
    assert len(longer(rows, 9)) == 9
    assert longer(rows, 9)[8].tolist() == [0, 0]


def test_many_changes_outgrow_the_first_room():
    rows, n = Rows.over(np.zeros(3)), 3 * FIRST_ROOM
    states = []
    for num in range(n):
        rows = rows.with_rows(np.array([num]), np.array([float(num + 1)]))
        states.append(rows)
    np.testing.assert_array_equal(rows.whole, np.arange(n) + 1)
    np.testing.assert_array_equal(states[4].whole, [1, 2, 3, 4, 5])


def test_a_large_array_is_mapped_and_a_small_one_read(tmp_path):
    large, small = np.arange(MAPPED_FROM, dtype=np.float64), np.arange(3)
    for name, values in (("large", large), ("small", small)):
        put_array(tmp_path / f"{name}.npy", values)
        np.testing.assert_array_equal(array_at(tmp_path / f"{name}.npy"), values)
    assert not array_at(tmp_path / "large.npy").flags.writeable
    (tmp_path / "large.npy").write_bytes((tmp_path / "large.npy").read_bytes()[: 2 * MAPPED_FROM])
    with pytest.raises(ValueError, match=r"greater|size|mmap"):
        array_at(tmp_path / "large.npy")


def test_numbers_are_found_without_a_table_that_is_cleared():
    places, there = places_in(np.array([9, 4, 100], np.int32), np.array([4, 5, 100, 9, 4], np.int32))
    assert there.tolist() == [True, False, True, True, True]
    assert places[there].tolist() == [1, 2, 0, 1]
    assert not places_in(np.zeros(0, np.int32), np.array([1, 2]))[1].any()
    nums, inverse = distinct(np.array([5, 3, 5, 5, 8], np.int32))
    assert sorted(nums.tolist()) == [3, 5, 8]
    assert nums[inverse].tolist() == [5, 3, 5, 5, 8]


def test_unions_are_of_each_query_alone():
    first = Candidates.of([np.array([1, 5]), np.array([], np.int32), np.array([2])])
    second = Candidates.of([np.array([5, 9]), np.array([0]), np.array([2])])
    both = union([first, second])
    assert [both[i].tolist() for i in range(3)] == [[1, 5, 9], [0], [2]]
    assert both.rows().tolist() == [0, 0, 0, 1, 2]
    assert ragged(np.array([4, 0, 7]), np.array([2, 0, 3])).tolist() == [4, 5, 7, 8, 9]


def test_the_best_are_above_zero_and_of_equal_ones_the_lowest_numbers():
    nums = np.array([7, 2, 9, 4, 1], np.int32)
    assert best_of(nums, np.array([1.0, 3.0, 1.0, -1.0, 0.0]), 2).tolist() == [2, 7]
    assert best_of(nums, np.array([1.0, 3.0, 1.0, -1.0, 0.0]), 9).tolist() == [2, 7, 9]


@pytest.mark.parametrize("shape", ["spread", "few values", "high at the end", "high where nobody looks"])
def test_the_best_of_many_are_those_of_a_full_sort(shape):
    rng = np.random.default_rng(0)
    nums = rng.permutation(5_000).astype(np.int32)
    scores = rng.normal(size=5_000)
    if shape == "few values":
        scores = np.round(scores)
    elif shape == "high at the end":
        scores.sort()
    elif shape == "high where nobody looks":
        scores[::8] = -1.0
    for k in (1, 10, 100, 4_000):
        best = [num for num in np.lexsort((nums, -scores)) if scores[num] > 0][:k]
        assert best_of(nums, scores, k).tolist() == sorted(nums[best].tolist())


def test_a_population_has_one_of_each_stretch_and_counts_those_that_come():
    all_of = population_of(100_000)
    assert len(all_of.sample) == 1_024
    assert (np.diff(all_of.sample) > 0).all()
    assert all_of.sample[-1] > 99_900
    grown = all_of.grown(100_010)
    assert (grown.n, grown.size) == (100_010, 100_010)
    few = population_of(10, np.arange(8) % 2 == 0)
    assert few.sample.tolist() == [0, 2, 4, 6, 8, 9]
    assert few.holds(np.array([1, 2, 9, 50])).tolist() == [False, True, True, True]
    assert few.grown(12).sample.tolist() == [0, 2, 4, 6, 8, 9, 10, 11]
    np.testing.assert_allclose(few.mean(np.array([[1, 2, -5, np.nan, 0, 3]], np.float32)), [0.6])


def test_what_a_history_holds_is_told_of_each_list_of_candidates_anew():
    history = np.array([5, 3], dtype=np.int32)
    block = QueryBlock(
        users=np.array([-1], dtype=np.int32),
        offsets=np.array([0, 2]),
        items=history,
        times=np.zeros(2, dtype=np.int64),
        at=np.zeros(1, dtype=np.int64),
        kept={},
    )
    for size in range(1, 9):  # each list is gone before the next is made, and its place in memory free again
        told = had(block, Candidates.of([np.arange(size, dtype=np.int32)]))
        assert np.flatnonzero(told).tolist() == [num for num in (3, 5) if num < size]


def test_a_sparse_matrix_over_arrays_copies_no_entry():
    data, indices = np.array([1.0, 2.0, 3.0], np.float32), np.array([2, 0, 1], np.int32)
    matrix = rows_over(data, indices, np.array([0, 1, 3], dtype=np.int64), (2, 3))
    assert np.shares_memory(matrix.indices, indices)
    assert np.shares_memory(matrix.data, data)
    assert matrix.toarray().tolist() == [[0, 0, 1], [2, 3, 0]]
