"""Places that go to drawn items: where they lie, what moves, and the chance that is told."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.data.events import DAY_MS
from langrec.ranking.explore import draws, explore
from langrec.types import Query

LISTED = np.arange(10, dtype=np.int32)


def worth(n=40, **of):
    """Items from 20 on are rare, the later the better."""
    out = np.full(n, np.nan, dtype=np.float32)
    out[20:] = np.arange(n - 20)
    for num, value in of.items():
        out[int(num[1:])] = value
    return out


def drawn_with(seed=0, places=1, among=5, k=10, listed=LISTED, fit=None):
    return explore(listed, k, worth() if fit is None else fit, among, places, np.random.default_rng(seed))


def test_one_place_of_the_lower_half_goes_to_one_of_the_best_rare_items():
    found = drawn_with()
    (place,) = np.flatnonzero(np.isin(found.nums[:10], found.drawn))
    assert 5 <= place < 10
    assert found.drawn[0] in range(35, 40)
    assert found.pool == 5
    assert np.delete(found.nums, place).tolist() == LISTED.tolist()


@pytest.mark.parametrize("places", [1, 2, 3])
def test_the_told_chance_is_how_often_an_item_is_drawn(places):
    counts = np.zeros(40)
    for seed in range(3000):
        found = drawn_with(seed, places)
        counts[found.drawn] += 1
        assert found.propensities[np.isin(found.nums, found.drawn)].tolist() == pytest.approx([places / 5] * places)
        assert (found.propensities[np.isin(found.nums, LISTED)] == 1).all()
    np.testing.assert_allclose(counts[35:] / 3000, places / 5, atol=0.04)
    assert not counts[:35].any()


def test_at_most_half_of_a_list_is_drawn_and_a_list_of_one_is_left_alone():
    assert len(drawn_with(places=9, among=20, k=10).drawn) == 5
    assert len(drawn_with(places=1, k=1).drawn) == 0


def test_a_rare_item_that_is_shown_anyway_is_not_drawn_and_one_at_the_end_may_be():
    fit = worth(i2=90.0, i9=99.0)
    drawn = {int(drawn_with(seed, fit=fit, among=3).drawn[0]) for seed in range(60)}
    assert drawn == {9, 38, 39}
    for seed in range(60):
        nums = drawn_with(seed, fit=fit, among=3).nums
        assert len(set(nums.tolist())) == len(nums)


def test_a_rare_item_on_a_later_page_has_the_chance_that_it_was_not_drawn():
    """Items 8 and 12 of a list of 30 are rare: drawn, they are on the first page, and otherwise on the second."""
    fit, first, second, told = worth(i8=99.0, i12=98.0), np.zeros(40), np.zeros(40), {}
    for seed in range(3000):
        found = drawn_with(seed, places=3, among=8, fit=fit, listed=np.arange(30, dtype=np.int32))
        for counts, page in ((first, slice(0, 10)), (second, slice(10, 20))):
            counts[found.nums[page]] += 1
            told |= {
                (int(num), page.start): float(p)
                for num, p in zip(found.nums[page], found.propensities[page], strict=True)
            }
    for num in (8, 12):
        assert told[num, 0] == pytest.approx(3 / 8) and told[num, 10] == pytest.approx(5 / 8)
        assert first[num] / 3000 == pytest.approx(3 / 8, abs=0.04)
        assert second[num] / 3000 == pytest.approx(5 / 8, abs=0.04)
    assert told[0, 0] == told[11, 10] == 1


def test_where_nothing_is_rare_the_list_stays_as_it_is():
    found = drawn_with(fit=np.full(40, np.nan, dtype=np.float32))
    assert found.nums.tolist() == LISTED.tolist()
    assert (found.propensities == 1).all()
    assert found.pool == 0


def test_a_short_list_has_no_gaps():
    found = drawn_with(places=2, listed=LISTED[:3])
    assert len(found.nums) == 5
    assert found.nums[:3].tolist() == [0, 1, 2]


def test_a_user_has_one_draw_a_day_and_a_stranger_a_new_one_each_time():
    def first(query, at, seed=0):
        return draws(seed, query, at).integers(1 << 40)

    ann = Query(user="ann", history=("i1",))
    assert first(ann, 0) == first(ann, DAY_MS - 1) == first(Query(user="ann", history=("i1",), k=3, offset=3), 5)
    assert len({first(ann, 0), first(ann, DAY_MS), first(ann, 0, seed=1), first(Query(user="bob"), 0)}) == 4
    assert first(Query(), 1) != first(Query(), 2)
