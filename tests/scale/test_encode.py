"""A catalogue is encoded in blocks, each of which is read once."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from langrec.encoders.hashing import HashingEncoder
from langrec.errors import BundleError, MissingExtra, SettingsError
from langrec.scale.cluster import cluster
from langrec.scale.encode import Encoded, encode_catalogue

IDS = [f"i{n}" for n in range(25)]
TEXTS = [f"a story about number {n % 20}" for n in range(24)] + [""]


class Counting(HashingEncoder):
    """Counts what it reads, and stops like a killed run after so many calls."""

    def __init__(self, calls=99):
        super().__init__(16)
        self.read, self.left = 0, calls

    def encode(self, texts, role="item"):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.read += len(texts)
        return super().encode(texts, role)


def test_the_vectors_of_a_folder_are_those_of_the_encoder(tmp_path):
    found = encode_catalogue(HashingEncoder(16), IDS, TEXTS, tmp_path, block=10)
    opened = Encoded.open(tmp_path)
    np.testing.assert_array_equal(opened.vectors(), HashingEncoder(16).encode(TEXTS))
    assert (opened.ids(), len(opened), opened.identity) == (IDS, 25, found.identity)
    assert not opened.vectors()[24].any()


def test_an_interrupted_run_goes_on_after_its_last_block(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        encode_catalogue(Counting(calls=2), IDS, TEXTS, tmp_path, block=10)
    with pytest.raises(BundleError, match="encode again"):
        Encoded.open(tmp_path)
    encoder = Counting()
    found = encode_catalogue(encoder, IDS, TEXTS, tmp_path, block=10)
    assert (found.read, encoder.read) == (1, 5)
    np.testing.assert_array_equal(found.vectors(), HashingEncoder(16).encode(TEXTS))


def test_a_changed_text_costs_its_block_alone(tmp_path):
    encode_catalogue(HashingEncoder(16), IDS, TEXTS, tmp_path, block=10)
    changed = [*TEXTS[:12], "another story", *TEXTS[13:]]
    found = encode_catalogue(HashingEncoder(16), IDS, changed, tmp_path, block=10)
    assert found.read == 1
    np.testing.assert_array_equal(found.vectors(), HashingEncoder(16).encode(changed))


def test_a_block_that_was_cut_short_is_read_again(tmp_path):
    found = encode_catalogue(HashingEncoder(16), IDS, TEXTS, tmp_path, block=10)
    file = tmp_path / "blocks" / f"{found.blocks[1][0]}.npy"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BundleError, match="missing or damaged"):
        Encoded.open(tmp_path)
    assert encode_catalogue(HashingEncoder(16), IDS, TEXTS, tmp_path, block=10).read == 1
    assert len(Encoded.open(tmp_path)) == 25


def test_another_encoder_reads_everything_anew(tmp_path):
    encode_catalogue(HashingEncoder(16), IDS, TEXTS, tmp_path, block=10)
    assert encode_catalogue(HashingEncoder(8), IDS, TEXTS, tmp_path, block=10).read == 3
    assert Encoded.open(tmp_path).dim == 8


def test_an_empty_catalogue_has_no_vectors(tmp_path):
    encode_catalogue(HashingEncoder(16), [], [], tmp_path)
    assert Encoded.open(tmp_path).vectors().shape == (0, 16)


def test_without_ray_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'langrec\[scale\]'"), cluster(2):
        pass


def test_an_address_without_workers_is_refused(tmp_path):
    from langrec.cli.options import workers_of

    with pytest.raises(SettingsError, match="--workers N"), workers_of(0, "auto"):
        pass


def test_the_verb_tells_what_it_read(tmp_path, capsys):
    from langrec.cli.encode import encode

    items = tmp_path / "items.csv"
    items.write_text("item_id,title\n1,One story\n2,Another story\n", "utf-8")
    encode(items, tmp_path / "out", block=1, overrides=["encoder.name=hashing"], as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["items"], told["blocks"], told["read"], told["dim"]) == (2, 2, 2, 256)
