"""Two encodings into one folder at once."""

from __future__ import annotations

import os

import numpy as np
import pytest

from langrec.scale import encode


@pytest.mark.parametrize("there", [True, False])
def test_a_block_that_a_run_beside_this_one_finished_is_as_good(tmp_path, monkeypatch, there):
    file, vectors = tmp_path / "block.npy", np.eye(2, dtype=np.float32)

    def cleared(_):
        if there:
            np.save(file, vectors)
        for half in tmp_path.glob("*.half"):
            half.unlink()

    monkeypatch.setattr(os, "fsync", cleared)
    if there:
        encode._write(file, vectors)
        np.testing.assert_array_equal(np.load(file), vectors)
    else:
        with pytest.raises(FileNotFoundError):
            encode._write(file, vectors)
