"""The cache of exported models after a crash: what cannot be read is made again, what was half made goes."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from langrec.data.cache import LEFT_SECONDS
from langrec.encoders import load_encoder
from langrec.settings import EncoderSettings


@pytest.fixture(scope="module")
def settings(tiny, tmp_path_factory):
    return EncoderSettings(
        name=str(tiny), cache=str(tmp_path_factory.mktemp("exports")), runtime="onnx-fp32", threads=1
    )


@pytest.mark.parametrize("file", ["encoder.json", "model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("left", [0, 0.5])
def test_an_export_that_was_cut_short_is_made_again(settings, file, left):
    first = load_encoder(settings)
    right, path = first.encode(["a cat"]), first.folder / file
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    np.testing.assert_array_equal(load_encoder(settings).encode(["a cat"]), right)


def test_what_a_killed_export_left_goes_with_a_later_one(settings, tmp_path):
    settings = EncoderSettings(name=settings.name, cache=str(tmp_path), runtime="onnx-fp32", threads=1)
    for age in (0, 1):
        left = tmp_path / "models" / f".export-{age}"
        (left / "model").mkdir(parents=True)
        at = time.time() - age * (LEFT_SECONDS + 60)
        os.utime(left, (at, at))
    load_encoder(settings)
    assert [path.name for path in (tmp_path / "models").glob(".export-*")] == [".export-0"]
