"""Splits: the parts are disjoint and whole, and training sees nothing after its cut."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langrec.data.events import Events, empty_events
from langrec.data.splits import split_events
from langrec.errors import DataError, SettingsError
from langrec.recipe import load_settings
from langrec.settings import SplitSettings


def events_of(users: list[int], at: list[int], has_time: bool = True) -> Events:
    order = np.argsort(at, kind="stable")
    m = len(users)
    return Events(
        users=np.array(users, np.int32)[order],
        items=np.arange(m, dtype=np.int32)[order],
        at=np.array(at, np.int64)[order],
        types=np.zeros(m, np.int8),
        values=np.full(m, np.nan, np.float32),
        gains=np.ones(m, np.float32),
        rows=np.arange(m, dtype=np.int64)[order],
        type_names=("click",),
        has_time=has_time,
    )


def rows_of(split) -> list[int]:
    return sorted([*split.train.rows, *split.valid.rows, *split.test.rows])


def test_the_time_split_cuts_everybody_at_one_time():
    split = split_events(events_of([0, 1] * 10, list(range(100, 120))), 2)
    assert (len(split.train), len(split.valid), len(split.test)) == (16, 2, 2)
    assert (split.valid_from, split.test_from) == (116, 118)
    assert split.leaks == ""


def test_rows_of_the_cuts_time_stay_together_in_the_later_part():
    at = [0, 1, 2, 3, 4, 5, 5, 5, 5, 9]
    split = split_events(events_of([0] * 10, at), 1, SplitSettings(cut=(0.6, 0.9)))
    assert split.train.at.tolist() == [0, 1, 2, 3, 4]
    assert split.valid.at.tolist() == [5, 5, 5, 5]
    assert split.test.at.tolist() == [9]


@given(st.lists(st.integers(0, 50), min_size=30, max_size=80))
def test_training_sees_nothing_from_its_cut_on(at):
    events = events_of([0] * len(at), at)
    try:
        split = split_events(events, 1)
    except DataError:
        return
    assert rows_of(split) == list(range(len(at)))
    assert split.train.at.max() < split.valid_from <= split.valid.at.min()
    assert split.valid.at.max() < split.test_from <= split.test.at.min()
    share = [len(split.train) / len(at), (len(split.train) + len(split.valid)) / len(at)]
    assert share[0] <= 0.8
    assert share[1] <= 0.9


def test_the_time_split_of_positions_points_to_leave_one_out():
    with pytest.raises(SettingsError, match=r"split\.kind=loo"):
        split_events(events_of([0, 0, 0], [0, 1, 2], has_time=False), 1)


def test_one_time_for_all_events_cannot_be_cut():
    with pytest.raises(DataError, match="leave no training events"):
        split_events(events_of([0] * 10, [7] * 10), 1)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (events_of([0] * 9, list(range(9)), has_time=False), "time"),
        (events_of([0] * 9, [5] * 9), "time"),
        (events_of(list(range(50)), list(range(50))), "loo"),
    ],
)
def test_the_way_out_is_a_setting_that_every_verb_takes(events, kind):
    with pytest.raises((DataError, SettingsError)) as caught:
        split_events(events, 50, SplitSettings(kind=kind))
    (setting,) = re.findall(r"--set (\S+=\w+)", str(caught.value))
    split_events(events, 50, load_settings(None, [setting], environ={}).split)


def test_leave_one_out_holds_out_the_last_two_of_long_histories():
    users = [0, 1, 0, 2, 0, 1, 2, 2, 2]
    split = split_events(events_of(users, list(range(9))), 4, SplitSettings(kind="loo"))
    assert split.test.rows.tolist() == [4, 8]
    assert split.valid.rows.tolist() == [2, 7]
    assert split.train.rows.tolist() == [0, 1, 3, 5, 6]
    assert "leak" in split.leaks
    assert split.test_from is None


def test_leave_one_out_takes_the_files_order_for_rows_of_one_time():
    split = split_events(events_of([0, 0, 0], [5, 5, 5]), 1, SplitSettings(kind="loo"))
    assert (split.train.rows[0], split.valid.rows[0], split.test.rows[0]) == (0, 1, 2)


def test_leave_one_out_works_on_positions():
    split = split_events(
        events_of([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], has_time=False), 2, SplitSettings(kind="loo")
    )
    assert split.test.users.tolist() == [0, 1]
    assert split.test.at.tolist() == [2, 2]


def test_leave_one_out_of_short_histories_only_is_an_error():
    with pytest.raises(DataError, match="three events"):
        split_events(events_of([0, 1], [0, 1]), 2, SplitSettings(kind="loo"))


def test_the_user_split_holds_out_whole_users_in_about_their_shares():
    users = list(range(1000)) * 3
    split = split_events(events_of(users, list(range(3000))), 1000, SplitSettings(kind="user"))
    parts = [set(part.users.tolist()) for part in (split.train, split.valid, split.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert rows_of(split) == list(range(3000))
    assert [len(part) / 1000 for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.04)


def test_the_user_split_never_changes():
    events = events_of(list(range(100)), list(range(100)))
    first, second = (split_events(events, 100, SplitSettings(kind="user")) for _ in range(2))
    assert first.test.users.tolist() == second.test.users.tolist()
    more = split_events(events_of(list(range(200)), list(range(200))), 200, SplitSettings(kind="user"))
    assert set(first.test.users.tolist()) <= set(more.test.users.tolist()), "new users do not move old ones"


def test_no_events_cannot_be_split():
    with pytest.raises(DataError, match="no events"):
        split_events(empty_events(), 0)
