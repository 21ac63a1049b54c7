"""Texts that were asked before are not read again, and their vectors are the encoder's own."""

from __future__ import annotations

import numpy as np

from langrec.bounded import Bounded
from langrec.encoders.hashing import HashingEncoder
from langrec.encoders.remembered import Remembered


class Counting(HashingEncoder):
    """A real encoder that notes what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def encode(self, texts, role="item"):
        self.read.extend(texts)
        return super().encode(texts, role=role)


def test_a_text_is_read_once_and_its_vector_stays_the_same():
    plain, counting = HashingEncoder(), Counting()
    held = Bounded(1_000_000)
    encoder = Remembered(counting, held)
    asked = ["a quiet sea", "bread", "a quiet sea", ""]
    for _ in range(2):
        assert np.array_equal(encoder.encode(asked, role="query"), plain.encode(asked, role="query"))
    assert counting.read == ["a quiet sea", "bread", ""]
    assert (encoder.dim, encoder.identity) == (plain.dim, plain.identity)
    assert encoder.encode([], role="query").shape == (0, plain.dim)
    assert held.counts().hits == 4


def test_texts_of_items_pass_through_and_are_not_held():
    held = Bounded(1_000_000)
    encoder = Remembered(HashingEncoder(), held)
    encoder.encode(["an item's long text"])
    assert held.counts().entries == 0


def test_the_bound_holds_and_what_was_pushed_out_is_read_again():
    counting = Counting()
    one_row = counting.dim * 4
    held = Bounded(3 * (one_row + 700))
    encoder = Remembered(counting, held)
    for i in range(20):
        encoder.encode([f"text {i}"], role="query")
    assert held.counts().bytes <= 3 * (one_row + 700) and held.counts().evictions > 10
    encoder.encode(["text 0"], role="query")
    assert counting.read.count("text 0") == 2
