"""Arrays on disk are what they were, whether they are read at once or when they are asked for."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from langrec.data import mapped
from langrec.data.mapped import array_at, at_once, new_memmap, put_array


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_is_mapped_at_once_is_the_same(tmp_path, monkeypatch, share):
    monkeypatch.setattr(mapped, "SHARE_OF_MEMORY", share)
    values = np.random.default_rng(0).normal(size=(600, 500)).astype(np.float32)
    assert values.nbytes > mapped.MAPPED_FROM
    put_array(tmp_path / "values.npy", values)
    with at_once():
        found = array_at(tmp_path / "values.npy")
    np.testing.assert_array_equal(found, values)
    assert isinstance(found.base, np.memmap) and not found.flags.writeable


def test_a_system_that_cannot_read_ahead_maps_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "_POPULATE", 9_999)
    put_array(tmp_path / "values.npy", np.arange(500_000, dtype=np.int64))
    with at_once():
        assert int(array_at(tmp_path / "values.npy")[-1]) == 499_999


def test_room_for_a_mapped_file_is_taken_before_it_is_written(tmp_path, monkeypatch):
    made = new_memmap(tmp_path / "values.npy", np.float16, (3, 5))
    made[:] = 2
    made.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "values.npy"), np.full((3, 5), 2, np.float16))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped.os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space"):
        new_memmap(tmp_path / "more.npy", np.float16, (3, 5))
