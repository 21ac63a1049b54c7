"""Optional stages are skipped when there is no room for them, and tried again."""

from __future__ import annotations

import math
import time

from langrec.budget import Budget, Habits, stage, was_skipped, within


def test_without_a_budget_every_stage_runs():
    with stage("trees") as has_room:
        assert has_room
    assert not was_skipped("trees")


def test_a_stage_begins_only_where_it_would_usually_end_in_time():
    skipped: list[str] = []
    habits = Habits({}, skipped.append)
    habits.note("diversity", 0.2)
    with within(Budget(habits, time.monotonic() + 10)), stage("diversity") as has_room:
        assert has_room
    habits.note("diversity", 50.0)
    with within(Budget(habits, time.monotonic() + 1)):
        with stage("diversity") as has_room:
            assert not has_room
        assert was_skipped("diversity") and not was_skipped("trees")
    assert skipped == ["diversity"]
    assert not was_skipped("diversity"), "the next request has a budget of its own"


def test_a_stage_of_which_nothing_is_known_runs_while_there_is_time():
    habits = Habits({})
    assert Budget(habits, time.monotonic() + 5).has_room("trees")
    assert not Budget(habits, time.monotonic() - 1).has_room("trees")


def test_a_stage_that_takes_longer_than_it_may_is_skipped_and_tried_again_now_and_then():
    skipped: list[str] = []
    habits = Habits({"trees": 0.01}, skipped.append)
    budget = Budget(habits, math.inf)
    assert budget.has_room("trees")
    habits.note("trees", 0.05)
    ran = [budget.has_room("trees") for _ in range(400)]
    assert sum(ran) == 2 and ran.index(True) == 199
    assert len(skipped) == 398
    for _ in range(20):
        habits.note("trees", 0.001)
    assert budget.has_room("trees"), "it has become quick again"


def test_how_long_a_stage_takes_is_learned():
    habits = Habits({})
    with within(Budget(habits)), stage("reasons"):
        time.sleep(0.02)
    first = habits.usual("reasons")
    assert first >= 0.02
    with within(Budget(habits)), stage("reasons"):
        pass
    assert habits.usual("reasons") < first
