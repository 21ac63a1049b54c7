"""The cache of exported models after a crash: what cannot be read is made again, what was half made goes."""

from __future__ import annotations

import dataclasses
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


@pytest.mark.parametrize("file", ["encoder.json", "model.onnx", "tokenizer.json", "tokens.safetensors"])
@pytest.mark.parametrize("left", [0, 0.5, "zeros"])
def test_an_export_that_a_crash_damaged_is_made_again(settings, file, left):
    first = load_encoder(settings)
    path, data = first.folder / file, (first.folder / file).read_bytes()
    right = [reader.encode(["a cat", "漢字"]) for reader in (first, first.static())]
    path.write_bytes(data[:-40] + bytes(40) if left == "zeros" else data[: int(left * len(data))])
    again = load_encoder(settings)
    for reader, vectors in zip((again, again.static()), right, strict=True):
        np.testing.assert_array_equal(reader.encode(["a cat", "漢字"]), vectors)


@pytest.mark.parametrize("damage", ["cut", "zeros", "not sealed"])
def test_an_int8_file_that_a_crash_damaged_is_made_again(settings, damage):
    settings = dataclasses.replace(settings, runtime="onnx-int8")
    first = load_encoder(settings)
    right, path = first.encode(["a cat"]), first.folder / "model-int8.onnx"
    data = path.read_bytes()
    if damage == "not sealed":
        path.unlink()
        load_encoder(dataclasses.replace(settings, runtime="onnx-fp32"))
        (first.folder / "sealed.json").unlink()
        load_encoder(dataclasses.replace(settings, runtime="onnx-fp32"))
    path.write_bytes(data[:1000] if damage == "cut" else data[:-40] + bytes(40))
    np.testing.assert_array_equal(load_encoder(settings).encode(["a cat"]), right)
    assert path.read_bytes() == data


def test_what_a_killed_export_left_goes_with_a_later_one(settings, tmp_path):
    settings = EncoderSettings(name=settings.name, cache=str(tmp_path), runtime="onnx-fp32", threads=1)
    for age in (0, 1):
        left = tmp_path / "models" / f".export-{age}"
        (left / "model").mkdir(parents=True)
        at = time.time() - age * (LEFT_SECONDS + 60)
        os.utime(left, (at, at))
    load_encoder(settings)
    assert [path.name for path in (tmp_path / "models").glob(".export-*")] == [".export-0"]
