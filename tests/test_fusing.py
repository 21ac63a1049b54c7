"""How signals become one score: room for new items as far as validation bears it, and ranks among candidates."""

from __future__ import annotations

import numpy as np
import pytest

import worlds
from langrec.asking import NOT_FOUND, ranks_of
from langrec.evaluation.protocol import next_item
from langrec.fusing import ROOM, bending, with_room
from langrec.ranking.fusion import Signal
from langrec.ranking.mix import Mix, MixSamples
from langrec.types import Candidates

SIGNALS = (Signal("ease"), Signal("tfidf"), Signal("tfidf", only="new"))
NAMES = [signal.name for signal in SIGNALS]
N_OLD, N_NEW = 40, 10
MIX = Mix(tuple(NAMES), "linear", np.array([1.0, 1.0, 0.0], dtype=np.float32))


def gathered(share_new: float, questions: int = 400) -> MixSamples:
    """Questions whose answer is what one signal holds best; to a share of them, a new item."""
    rng = np.random.default_rng(0)
    samples = MixSamples(NAMES)
    for question in range(questions):
        raw = rng.exponential(size=(3, 1, N_OLD + N_NEW)).astype(np.float32)
        raw[0, 0, N_OLD:] = np.nan
        new = question < share_new * questions
        target = rng.integers(N_OLD, N_OLD + N_NEW) if new else rng.integers(0, N_OLD)
        raw[1 if new else 0, 0, target] = 6.0
        raw[2] = raw[1]
        raw[2, 0, :N_OLD] = np.nan
        samples.add(raw, [np.zeros(0, np.int32)], np.array([target], dtype=np.int32))
    return samples


def roomy(samples: MixSamples, cost: float) -> float:
    odd = np.arange(len(samples)) % 2 == 1
    mixes = with_room(samples, (MIX, MIX, MIX), odd, SIGNALS, cost)
    assert len({float(mix.weights[2]) for mix in mixes}) == 1
    np.testing.assert_array_equal(mixes[0].weights[:2], MIX.weights[:2])
    return float(mixes[0].weights[2])


def asked_in(place: int | None, people: int = 200) -> MixSamples:
    """Four questions of each person; the answer follows one signal or the other as a column of the situation says."""
    rng = np.random.default_rng(1)
    samples = MixSamples(["a", "b"])
    for _question in range(people * 4):
        situation = rng.choice([-1.0, 1.0], size=(1, 4)).astype(np.float32)
        raw = rng.exponential(size=(2, 1, 30)).astype(np.float32)
        by_first = rng.random() < 0.5 if place is None else situation[0, place] > 0
        target = raw[0 if by_first else 1, 0].argmax()
        samples.add(raw, [np.zeros(0, np.int32)], np.array([target], dtype=np.int32), situation)
    return samples


@pytest.mark.parametrize(("place", "rows"), [(None, 0), (0, 2), (1, 2), (2, 4), (3, 4)])
def test_weights_bend_with_no_more_of_the_situation_than_surely_helps(place, rows):
    mixes = bending(asked_in(place), np.repeat(np.arange(200), 4), 0)
    assert [len(mix.slopes) for mix in mixes] == [rows] * 3
    if place is not None:
        first, second = mixes[0].slopes[place]
        assert first > 0.3 > -0.3 > second


def test_too_few_people_bend_nothing():
    """All speaks for the taste, but of two people no interval can be told."""
    mixes = bending(asked_in(3, people=2), np.repeat(np.arange(2), 4), 0)
    assert [len(mix.slopes) for mix in mixes] == [0] * 3


def test_room_costs_no_more_than_is_allowed():
    samples = gathered(0.05)
    rows = np.arange(len(samples))
    new = np.array([0, 0, 1], dtype=np.float32)
    ranks = samples.ranks(MIX, new, ROOM, rows)
    means = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean(axis=1)
    given = [roomy(samples, cost) for cost in (0.0, 0.02, 0.2)]
    assert given == sorted(given)
    assert given[0] < given[2]
    for cost, more in zip((0.0, 0.02, 0.2), given, strict=True):
        assert means[np.isclose(ROOM, more)][0] >= (1 - cost) * means.max()


def test_where_new_items_are_often_the_answer_they_get_room_for_nothing():
    assert roomy(gathered(0.5), 0.0) > 0


def test_room_helps_the_new():
    samples = gathered(0.05)
    rows = np.arange(20)
    ranks = samples.ranks(MIX, np.array([0, 0, 1], np.float32), (0.0, roomy(samples, 0.02)), rows)
    assert ranks[1].mean() < ranks[0].mean()


def test_where_nothing_is_ever_found_no_room_is_given():
    samples = MixSamples(NAMES)
    for _ in range(20):
        raw = np.ones((3, 1, N_OLD + N_NEW), dtype=np.float32)
        raw[:2, 0, N_OLD] = 0
        raw[2, 0] = np.nan
        samples.add(raw, [np.zeros(0, np.int32)], np.array([N_OLD], dtype=np.int32))
    assert roomy(samples, 0.5) == 0


def test_without_signals_for_new_items_the_mixes_stay():
    mixes = (MIX, MIX, MIX)
    assert with_room(gathered(0.5, 4), mixes, np.array([False, True] * 2), (Signal("ease"),) * 3, 0.5) is mixes


@pytest.mark.parametrize("bent", [False, True])
def test_ranks_by_hand(bent):
    samples = MixSamples(["a", "b"])
    raw = np.array([[[3, 2, 1, 0]], [[0, 0, 1, 9]]], dtype=np.float32)
    situations = np.array([[1.0, 0.0]], dtype=np.float32)
    samples.add(raw, [np.array([3], dtype=np.int32)], np.array([2], dtype=np.int32), situations)
    slopes = np.array([[0.0, 5.0], [0.0, 0.0]], dtype=np.float32) if bent else np.zeros((0, 0), np.float32)
    mix = Mix(("a", "b"), "linear", np.array([1.0, 0.0], dtype=np.float32), slopes=slopes)
    ranks = samples.ranks(mix, np.array([0, 1], dtype=np.float32), (0.0, 10.0), np.array([0]))
    assert ranks.tolist() == ([[1], [1]] if bent else [[3], [1]])


def test_ranks_among_candidates_of_many_scores_at_once():
    """Ties rank by number, items of the history nowhere, and only the wanted questions are looked at."""
    train, test = worlds.events([(0, 1, 1), (1, 0, 1)]), worlds.events([(0, 2, 5), (1, 3, 6)])
    questions = next_item(train, test, 2)
    asked = Candidates.of([np.array([1, 2, 4], np.int32), np.array([2, 4], np.int32)])
    scores = np.array([[9, 1, 1, 5, 5], [9, 1, 2, 5, 5]], dtype=np.float32)
    assert ranks_of(scores, asked, questions).tolist() == [[1, NOT_FOUND], [2, NOT_FOUND]]
    assert ranks_of(scores[1], asked, questions).tolist() == [2, NOT_FOUND]
    assert ranks_of(scores, asked, questions, np.array([False, True])).tolist() == [[NOT_FOUND] * 2] * 2
