"""Which questions a test asks, against a walk through the log event by event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from langrec.evaluation.protocol import Targets, next_item, per_user, target_ranks

USERS, ITEMS = 4, 6
PAIRS = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), max_size=25)


def log(pairs, start=0, first_row=0, step=10):
    made = worlds.events([(user, item, start + step * num) for num, (user, item) in enumerate(pairs)])
    made.rows[:] = np.arange(len(pairs)) + first_row
    return made


def two_logs(before, asked):
    return log(before), log(asked, start=10 * len(before), first_row=100)


def questions(targets):
    """Each question as (user, history, times, now, targets, row)."""
    block = targets.block
    return [
        (
            int(block.users[i]),
            block.history(i).tolist(),
            block.times[block.offsets[i] : block.offsets[i + 1]].tolist(),
            int(block.at[i]),
            targets.items[targets.offsets[i] : targets.offsets[i + 1]].tolist(),
            int(targets.events[i]),
        )
        for i in range(len(targets))
    ]


def slow_next_item(before, asked):
    past = {user: [] for user in range(USERS)}
    for user, item, at in zip(before.users.tolist(), before.items.tolist(), before.at.tolist(), strict=True):
        past[user].append((item, at))
    found = []
    columns = (asked.users.tolist(), asked.items.tolist(), asked.at.tolist(), asked.rows.tolist())
    for user, item, at, row in zip(*columns, strict=True):
        if item not in [known for known, _ in past[user]]:
            history, times = [known for known, _ in past[user]], [time for _, time in past[user]]
            found.append((user, history, times, at, [item], row))
        past[user].append((item, at))
    return found


def slow_per_user(before, asked):
    found = []
    for user in range(USERS):
        mine = before.users == user
        history, times = before.items[mine].tolist(), before.at[mine].tolist()
        wanted = sorted(set(asked.items[asked.users == user].tolist()) - set(history))
        if wanted:
            found.append((user, history, times, int(asked.at.min()), wanted, -1))
    return found


@settings(max_examples=200)
@given(PAIRS, PAIRS)
def test_next_item_asks_what_a_walk_through_the_log_asks(before, asked):
    first, second = two_logs(before, asked)
    targets = next_item(first, second, USERS)
    assert targets.question == "next item"
    assert questions(targets) == slow_next_item(first, second)


@settings(max_examples=200)
@given(PAIRS, PAIRS)
def test_per_user_asks_once_for_everything_new(before, asked):
    first, second = two_logs(before, asked)
    targets = per_user(first, second, USERS)
    assert targets.question == "per user"
    assert questions(targets) == slow_per_user(first, second)


def test_an_item_chosen_again_is_no_question_but_stays_in_the_history():
    targets = next_item(*two_logs([(0, 1)], [(0, 1), (0, 2), (0, 2), (0, 3)]), USERS)
    assert [(history, wanted) for _, history, _, _, wanted, _ in questions(targets)] == [
        ([1, 1], [2]),
        ([1, 1, 2, 2], [3]),
    ]


def test_a_user_without_a_history_is_asked_with_an_empty_one():
    (question,) = questions(next_item(*two_logs([(0, 1)], [(2, 5)]), USERS))
    assert question == (2, [], [], 10, [5], 100)


def test_events_of_one_time_keep_the_order_of_their_file():
    at_once = log([(0, 3), (1, 3), (0, 1), (0, 2)], step=0)
    asked = questions(next_item(log([]), at_once, USERS))
    assert [(user, history) for user, history, *_ in asked] == [(0, []), (1, []), (0, [3]), (0, [3, 1])]


def test_nothing_asked_gives_no_question():
    for kind in (next_item, per_user):
        targets = kind(log([(0, 1)]), log([]), USERS)
        assert len(targets) == 0
        assert targets.offsets.tolist() == [0]


def test_a_limit_draws_questions_in_time_order_under_a_seed():
    logs = two_logs([], [(user, item) for item in range(ITEMS) for user in range(USERS)])
    whole = questions(next_item(*logs, USERS))
    some = questions(next_item(*logs, USERS, limit=7, seed=1))
    assert len(some) == 7
    assert some == [question for question in whole if question in some]
    assert some == questions(next_item(*logs, USERS, limit=7, seed=1))
    assert some != questions(next_item(*logs, USERS, limit=7, seed=2))
    assert questions(next_item(*logs, USERS, limit=1000)) == whole


def test_questions_can_be_taken_in_slices():
    targets = per_user(*two_logs([(0, 1), (2, 3)], [(0, 2), (0, 5), (1, 1), (2, 3), (2, 4), (3, 0)]), USERS)
    parts = [targets.slice(start, start + 3) for start in range(0, len(targets), 3)]
    assert [question for part in parts for question in questions(part)] == questions(targets)
    assert isinstance(parts[0], Targets)


def test_asking_leaves_the_logs_alone():
    first, second = two_logs([(1, 1), (0, 2)], [(0, 1), (1, 3)])
    for part in (first, second):
        for column in (part.users, part.items, part.at, part.rows):
            column.flags.writeable = False
    assert len(next_item(first, second, USERS))
    assert len(per_user(first, second, USERS))


def slow_rank(scores, history, target):
    def value(item):
        return -np.inf if np.isnan(scores[item]) else scores[item]

    candidates = [item for item in range(len(scores)) if item not in history]
    return sorted(candidates, key=lambda item: (-value(item), item)).index(target) + 1


def asked_for(histories, wanted):
    block = worlds.queries(histories)
    q = len(histories)
    return Targets(
        "next item", block, np.arange(q + 1, dtype=np.int64), np.array(wanted, np.int32), np.arange(q, dtype=np.int64)
    )


SCORES = st.lists(st.one_of(st.just(float("nan")), st.integers(-2, 2).map(float)), min_size=ITEMS, max_size=ITEMS)


@settings(max_examples=300)
@given(SCORES, st.lists(st.integers(0, ITEMS + 2), max_size=5), st.integers(0, ITEMS - 1))
def test_a_rank_is_the_place_in_a_full_sort_without_the_history(scores, history, target):
    history = [item for item in history if item != target]
    ranks = target_ranks(np.array([scores], dtype=np.float32), asked_for([history], [target]))
    assert ranks.tolist() == [slow_rank(scores, history, target)]


def test_ranks_of_several_questions_by_hand():
    scores = np.array([[5, 4, 3, 2], [1, 1, 1, 1], [np.nan, 2, np.nan, np.nan]], dtype=np.float32)
    targets = asked_for([[0], [], [1]], [2, 2, 3])
    assert target_ranks(scores, targets).tolist() == [2, 3, 3]


def test_an_unknown_item_in_a_history_takes_no_candidate_away():
    scores = np.array([[1, 2, 3]], dtype=np.float32)
    assert target_ranks(scores, asked_for([[7]], [0])).tolist() == [3]


def test_ranking_leaves_the_scores_alone():
    scores = np.array([[1, np.nan, 3]], dtype=np.float32)
    scores.flags.writeable = False
    target_ranks(scores, asked_for([[0]], [2]))
    assert target_ranks(np.zeros((0, 3), np.float32), asked_for([], [])).tolist() == []


@pytest.mark.parametrize("kind", [next_item, per_user])
def test_the_planted_world_asks_for_what_was_held_out(kind):
    world = worlds.planted_topics()
    at = int(world.dataset.events.at.max()) + 1
    held = worlds.events([(user, int(item), at) for user, item in enumerate(world.held_out)])
    targets = kind(world.dataset.events, held, world.n_users)
    assert targets.items.tolist() == world.held_out.tolist()
    assert [targets.block.history(i).tolist() for i in range(len(targets))] == world.histories()


def test_taking_questions_is_asking_them_alone():
    before = worlds.events([(0, 0, 1), (0, 1, 2), (1, 2, 3)])
    asked = worlds.events([(0, 2, 4), (1, 0, 5), (1, 1, 6)])
    all_of_them = next_item(before, asked, 2)
    taken = all_of_them.take(np.array([2, 0]))
    for place, row in enumerate((2, 0)):
        alone = all_of_them.slice(row, row + 1)
        assert taken.slice(place, place + 1).items.tolist() == alone.items.tolist()
        assert taken.block.history(place).tolist() == alone.block.history(0).tolist()
        assert taken.block.at[place] == alone.block.at[0]
