"""Cron expressions: when they are due, and what is said of wrong ones."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest

from langrec.errors import SettingsError
from langrec.retraining.cron import Cron

SUNDAY = datetime(2026, 11, 29, 10, 30, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("0 3 * * *", "2026-11-30T03:00"),
        ("31 10 * * *", "2026-11-29T10:31"),
        ("30 10 * * *", "2026-11-30T10:30"),  # this minute has begun
        ("*/15 * * * *", "2026-11-29T10:45"),
        ("5-59/20 11 * * *", "2026-11-29T11:05"),
        ("0 0 1 * *", "2026-12-01T00:00"),
        ("0 0 * * mon", "2026-11-30T00:00"),
        ("0 12 * * 0", "2026-11-29T12:00"),
        ("0 12 * * 7", "2026-11-29T12:00"),
        ("0 12 * * 1-5", "2026-11-30T12:00"),
        ("0 0 13 * fri", "2026-12-04T00:00"),  # both restricted: either will do
        ("0 0 29 feb *", "2028-02-29T00:00"),
        ("15,45 9,17 * jan,jul *", "2027-01-01T09:15"),
        ("0 0 31 * *", "2026-12-31T00:00"),
    ],
)
def test_the_next_time_is_the_first_minute_that_fits(text, due):
    assert Cron.parse(text).next(SUNDAY) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_times_after_one_another_are_all_found():
    cron, at, found = Cron.parse("0 */6 * * *"), SUNDAY, []
    for _ in range(5):
        at = cron.next(at)
        found.append(at)
    assert {b - a for a, b in itertools.pairwise(found)} == {timedelta(hours=6)}


def test_another_zone_is_turned_into_utc():
    east = SUNDAY.astimezone(timezone(timedelta(hours=8)))
    assert Cron.parse("0 3 * * *").next(east) == Cron.parse("0 3 * * *").next(SUNDAY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 3 * *", "4 fields"),
        ("60 3 * * *", "minute .* from 0 to 59"),
        ("0 24 * * *", "hour"),
        ("0 3 0 * *", "day of the month"),
        ("0 3 * 13 *", "month"),
        ("0 3 * * 8", "day of the week"),
        ("0 3 * * moon", "day of the week .* sun, mon"),
        ("5-1 * * * *", "5 comes after 1"),
        ("*/0 * * * *", "at least 1"),
        ("1,,2 * * * *", "a number"),
        ("0 0 30 2 *", "never comes"),
        ("² * * * *", "a number"),
        ("", "0 fields"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_field(text, says):
    with pytest.raises(SettingsError, match=says):
        Cron.parse(text)
