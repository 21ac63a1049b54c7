"""Rank fusion whose voters and constant validation chooses."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.ranking.mix import ranks_in, rrf_mix, votes_of
from langrec.ranking.voting import CONSTANTS, MOST_VOTERS, OTHERS, Ballot


def signals(s: int, n: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(s, 2, n)).astype(np.float32)


def test_votes_by_hand():
    ranks = np.array([[1, 0, 3]], dtype=np.int16)
    np.testing.assert_allclose(votes_of(ranks, 5.0), [[1 / 6, 0, 1 / 8]], rtol=1e-6)


def test_a_ballot_holds_the_best_signals_at_each_constant():
    ballot = Ballot(np.array([0.1, 0.3, 0.2]))
    assert ballot.ways == tuple((k, voters) for k in CONSTANTS for voters in (2, 3))
    mix = ballot.mix(("a", "b", "c"), ballot.ways.index((5.0, 2)))
    assert (mix.kind, mix.rrf_k) == ("rrf", 5.0)
    np.testing.assert_allclose(mix.weights, [OTHERS, 1.0, 1.0])


def test_a_ballot_of_many_signals_stops_at_the_strongest():
    ballot = Ballot(np.linspace(0, 1, 30))
    assert max(voters for _, voters in ballot.ways) == MOST_VOTERS


def test_a_single_signal_votes_alone():
    assert Ballot(np.array([0.5])).ways == tuple((k, 1) for k in CONSTANTS)


def test_a_constant_that_is_wanted_lets_all_vote():
    raw = signals(4)
    ballot = Ballot(np.array([0.1, 0.4, 0.2, 0.3]), 60.0)
    assert ballot.ways == ((60.0, 4),)
    (said,) = ballot.merged(ranks_in(raw))
    np.testing.assert_allclose(said, rrf_mix("abcd", 60.0).parts(raw).sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(ballot.mix("abcd", 0).weights, 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_judged_is_what_the_mix_answers(seed):
    """The scores on which a way was chosen are those that are served by it."""
    raw = signals(5, seed=seed)
    raw[1, 0, 3] = np.nan
    ballot = Ballot(np.random.default_rng(seed).random(5))
    judged = list(ballot.merged(ranks_in(raw)))
    assert len(judged) == len(ballot.ways)
    for way, said in enumerate(judged):
        np.testing.assert_allclose(said, ballot.mix("abcde", way).parts(raw).sum(axis=0), rtol=1e-5)


def test_those_without_a_voice_order_what_the_voters_are_silent_about():
    raw = np.full((3, 1, 4), np.nan, dtype=np.float32)
    raw[0, 0, :2], raw[1, 0, :2], raw[2, 0] = (2, 1), (2, 1), (1, 2, 3, 4)
    said = Ballot(np.array([0.3, 0.2, 0.1])).mix("abc", 0).parts(raw).sum(axis=0)[0]
    assert np.argsort(-said).tolist() == [0, 1, 3, 2]


def test_the_way_of_the_highest_mean_is_best_and_of_equal_ones_the_first():
    ballot = Ballot(np.array([0.1, 0.2, 0.3]))
    gains = np.zeros((len(ballot.ways), 4))
    assert ballot.best(gains) == 0
    gains[3, 1] = 1.0
    assert ballot.best(gains) == 3
    assert ballot.best(gains[:, :0]) == 0
