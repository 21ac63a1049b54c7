"""A label that its neighbours do not share is flagged, and labels that are given for free say what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
from test_labels_pick import KNOWN, LABELS, POOL, POOL_OWN, clouds

from langrec.errors import DataError, SettingsError
from langrec.lm.labels.noise import contradictions, flags
from langrec.lm.labels.spread import Gain, gain, spread

pytest.importorskip("torch")

# ---- labels that look wrong ------------------------------------------------------------------------------------------


def test_labels_that_were_turned_are_found_with_their_true_one():
    vectors, own = clouds(90)
    labels = [f"label{i}" for i in own]
    for row in (3, 40):
        labels[row] = f"label{(own[row] + 1) % 3}"
    found = flags(vectors, labels)
    assert {flag.row for flag in found} == {3, 40}
    assert all(flag.suggested == f"label{own[flag.row]}" and flag.share < flag.share_suggested for flag in found)
    assert "of its 10 nearest labelled texts are" in found[0].why


def test_right_labels_are_left_alone():
    vectors, own = clouds(90)
    assert flags(vectors, [str(i) for i in own]) == []


def test_the_blocks_do_not_matter():
    vectors, own = clouds(50, spread=0.8)
    labels = [str(i) for i in own]
    parted, whole = (
        {flag.row: (flag.suggested, flag.why) for flag in found}
        for found in (flags(vectors, labels, 5, 0.4, block=7), flags(vectors, labels, 5, 0.4))
    )
    assert parted and parted == whole


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_texts_are_no_trouble(rows):
    assert flags(POOL[:rows], ["a", "b"][:rows], least=1.1) == []


def test_nobody_votes_on_itself():
    vectors = np.eye(4, dtype=np.float32)
    assert flags(vectors, ["a", "b", "c", "d"]) == []  # at right angles to all others: nobody votes at all


def test_one_text_with_two_labels_is_a_contradiction():
    found = contradictions(["hi", "ho", " hi", "hi", "ho"], ["a", "b", "c", "a", "b"])
    assert [flag.row for flag in found] == [0, 2, 3]
    assert {flag.suggested for flag in found} == {"a"} and "also labelled a" in found[1].why


# ---- labels for free -------------------------------------------------------------------------------------------------


def test_sure_labels_are_right_and_no_label_drowns_the_others():
    vectors, own = clouds(300, seed=3)
    many = np.concatenate([np.flatnonzero(own == 0), np.flatnonzero(own != 0)[:20]])
    found = spread(vectors[many], KNOWN, LABELS, confidence=0.8, rounds=1, growth=0.5)
    right = [one.label == f"label{own[many[one.row]]}" for one in found]
    counts = [sum(one.label == name for one in found) for name in ("label0", "label1", "label2")]
    assert np.mean(right) > 0.95 and counts == [5, 5, 5]
    assert all(one.probability >= 0.8 for one in found)


def test_a_text_is_labelled_once_and_rounds_follow_one_another():
    found = spread(POOL, KNOWN, LABELS, confidence=0.5, rounds=4, growth=0.3)
    assert len({one.row for one in found}) == len(found)
    assert [one.round for one in found] == sorted(one.round for one in found) and found[-1].round > 1


def test_nothing_sure_enough_is_no_label():
    assert spread(POOL, KNOWN, LABELS, confidence=1.0) == []
    assert spread(POOL[:0], KNOWN, LABELS) == []


def test_values_out_of_range_and_a_single_label_are_refused():
    for wrong in ({"confidence": 0}, {"rounds": 0}, {"growth": 0}):
        with pytest.raises(SettingsError):
            spread(POOL, KNOWN, LABELS, **wrong)
    with pytest.raises(DataError, match="two different labels"):
        spread(POOL, KNOWN, ["a"] * len(KNOWN))


def test_the_gain_is_judged_on_held_out_texts_and_is_honest():
    found = gain(POOL, KNOWN, LABELS, share=0.5, confidence=0.8)
    assert found.judged == 15 and found.low <= found.after - found.before <= found.high
    assert "Too few labelled texts" in found.told
    assert "No gain is shown" in Gain(0.8, 0.81, -0.01, 0.03, 100).told
    assert "helps" in Gain(0.8, 0.85, 0.01, 0.09, 100).told and "hurts" in Gain(0.8, 0.7, -0.2, -0.01, 100).told
    assert gain(POOL, KNOWN[:3], LABELS[:3]) is None
    assert len(POOL_OWN) == len(POOL)
