"""Batches keep to their budget and lose no text."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.lm.batches import batches, pad


def test_every_text_is_in_one_batch_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    found = list(batches(lengths, 512))
    assert sorted(np.concatenate(found).tolist()) == list(range(500))
    assert all(len(batch) * lengths[batch].max() <= 512 for batch in found)


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own():
    assert [batch.tolist() for batch in batches(np.array([900, 3, 800]), 512)] == [[1], [2], [0]]


def test_no_texts_give_no_batches():
    assert list(batches(np.array([], dtype=int), 512)) == []


def test_padding_stands_on_the_right_and_is_masked():
    ids, mask = pad([np.array([5, 6], dtype=np.int32), np.array([7], dtype=np.int32)], 9)
    assert ids.tolist() == [[5, 6], [7, 9]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_int8_keeps_a_layer_with_wide_channels():
    from langrec.lm.int8 import plan

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 64)).astype(np.float32)
    x[:, 3] *= 80
    weights = [rng.normal(size=(64, 16)).astype(np.float32)]
    plain, split = plan(x, weights, 0), plan(x, weights, 4)
    assert 3 in split.outliers
    assert split.error < plain.error / 3
    assert split.error == pytest.approx(0, abs=1e-3)
