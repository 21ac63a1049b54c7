"""The vector cache reads each text once and survives an interruption."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.encoders.cache import encode_cached
from langrec.encoders.hashing import HashingEncoder
from langrec.errors import DataError

TEXTS = [f"text number {i % 40}" for i in range(60)] + [""]


class Counting(HashingEncoder):
    """Counts what it reads, and stops when told."""

    def __init__(self, dim=16, stop_after=10**9):
        super().__init__(dim)
        self.read = 0
        self.stop_after = stop_after

    def encode(self, texts, role="item"):
        if self.read + len(texts) > self.stop_after:
            raise KeyboardInterrupt
        self.read += len(texts)
        return super().encode(texts, role)


def test_each_text_is_read_once(tmp_path):
    encoder = Counting()
    first = encode_cached(encoder, TEXTS, tmp_path)
    assert encoder.read == 41
    np.testing.assert_array_equal(first, HashingEncoder(16).encode(TEXTS))
    again = encode_cached(encoder, [*TEXTS, "one more"], tmp_path)
    assert encoder.read == 42
    np.testing.assert_array_equal(again[:-1], first)


def test_one_text_is_no_list_of_texts(tmp_path):
    with pytest.raises(DataError, match="one text where several are meant"):
        encode_cached(HashingEncoder(16), "text", tmp_path)


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        encode_cached(Counting(stop_after=25), TEXTS, tmp_path, block=10)
    second = Counting()
    vectors = encode_cached(second, TEXTS, tmp_path, block=10)
    assert second.read == 21
    np.testing.assert_array_equal(vectors, HashingEncoder(16).encode(TEXTS))


def test_half_written_rows_are_cut_off(tmp_path):
    encode_cached(Counting(), TEXTS[:30], tmp_path)
    (file,) = tmp_path.rglob("vectors/*/vectors")
    file.write_bytes(file.read_bytes()[:-3])
    encoder = Counting()
    np.testing.assert_array_equal(encode_cached(encoder, TEXTS, tmp_path), HashingEncoder(16).encode(TEXTS))
    assert encoder.read == 12


@pytest.mark.parametrize(("name", "at"), [("vectors", 64 * 7 + 5), ("keys", 16 * 7 + 3), ("sums", 4 * 7)])
def test_a_row_that_is_not_what_was_written_is_read_again(tmp_path, name, at):
    encode_cached(Counting(), TEXTS, tmp_path)
    (file,) = tmp_path.rglob(f"vectors/*/{name}")
    data = bytearray(file.read_bytes())
    data[at] ^= 0x55
    file.write_bytes(data)
    for read in (1, 0):
        encoder = Counting()
        np.testing.assert_array_equal(encode_cached(encoder, TEXTS, tmp_path), HashingEncoder(16).encode(TEXTS))
        assert encoder.read == read


def test_garbage_in_the_place_of_all_rows_is_read_again(tmp_path):
    encode_cached(Counting(), TEXTS, tmp_path)
    for file in (path for name in ("vectors", "keys") for path in tmp_path.rglob(f"vectors/*/{name}")):
        file.write_bytes(bytes(file.stat().st_size))
    encoder = Counting()
    np.testing.assert_array_equal(encode_cached(encoder, TEXTS, tmp_path), HashingEncoder(16).encode(TEXTS))
    assert encoder.read == 41


def test_encoders_and_roles_do_not_mix(tmp_path):
    assert encode_cached(Counting(16), TEXTS, tmp_path).shape == (61, 16)
    assert encode_cached(Counting(32), TEXTS, tmp_path).shape == (61, 32)
    asked = Counting(16)
    encode_cached(asked, TEXTS, tmp_path, role="query")
    assert asked.read == 41


def test_progress_counts_distinct_texts(tmp_path):
    seen = []
    encode_cached(Counting(), TEXTS, tmp_path, lambda what, done, total: seen.append((done, total)), block=20)
    assert seen[0] == (0, 41)
    assert seen[-1] == (41, 41)


def test_no_texts_give_no_rows(tmp_path):
    assert encode_cached(Counting(), [], tmp_path).shape == (0, 16)
