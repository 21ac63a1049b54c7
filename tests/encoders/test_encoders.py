"""What every encoder promises, whatever computes it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from langrec.encoders import load_encoder, load_saved
from langrec.errors import BundleError, DataError, SettingsError
from langrec.lm.exported import INT8_METHOD
from langrec.lm.runtimes import RUNTIMES, installed
from langrec.protocols import Encoder
from langrec.settings import EncoderSettings

pytestmark = pytest.mark.slow

TEXTS = [
    "the cat sits on the mat",
    "",
    "a film of love and war in the city: comedy, drama and music!",
    "  \n\t ",
    "映画 漢字 Ünïcödé \U0001f600 \ud800 half a pair",
    "dog " * 5_000,
    "cat",
    "the cat sits on the mat",
]
KINDS = ["hashing", "static", *(name for name in RUNTIMES)]
# Cosine to fp32 that each runtime keeps on the random two-layer model. An int8 product has one scale for a batch only
# where it is dynamic; ours is static, so a text's vector does not depend on its batch.
KEEPS = {"onnx-fp32": 0.99999, "openvino": 0.999, "torch-fp32": 0.99999, "torch-bf16": 0.99}


def make(kind, tiny, cache):
    if kind == "hashing":
        return load_encoder(EncoderSettings(name="hashing"))
    name = "onnx-fp32" if kind == "static" else kind
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    encoder = load_encoder(EncoderSettings(name=str(tiny), runtime=name, cache=str(cache), threads=1))
    return encoder.static() if kind == "static" else encoder


@pytest.fixture(params=KINDS)
def encoder(request, tiny, cache):
    return make(request.param, tiny, cache)


def test_rows_are_unit_length_and_blank_texts_are_zero(encoder):
    vectors = encoder.encode(TEXTS)
    assert isinstance(encoder, Encoder)
    assert vectors.shape == (len(TEXTS), encoder.dim)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths[[1, 3]].tolist() == [0, 0]
    np.testing.assert_allclose(np.delete(lengths, [1, 3]), 1, atol=1e-2)


def test_an_empty_batch_gives_no_rows(encoder):
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_one_text_in_place_of_several_is_not_read_letter_by_letter(encoder):
    with pytest.raises(DataError, match=r"'abc' is one text where several are meant; write \[text\]"):
        encoder.encode("abc")
    with pytest.raises(DataError, match="number 1 is None, no text; write '' for none"):
        encoder.encode(["a", None])


def test_a_batch_equals_its_texts_one_by_one_in_order(encoder):
    together = encoder.encode(TEXTS)
    apart = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose((together * apart).sum(1), (together**2).sum(1), atol=1e-2)
    assert np.argmax(together[[0, 2, 4, 5, 6]] @ apart[[0, 2, 4, 5, 6]].T, axis=1).tolist() == [0, 1, 2, 3, 4]


def test_the_same_texts_give_the_same_vectors_and_stay_as_they_were(encoder):
    texts = list(TEXTS)
    first = encoder.encode(texts)
    np.testing.assert_array_equal(first, encoder.encode(texts))
    assert texts == TEXTS


def test_equal_texts_have_equal_vectors(encoder):
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors[0], vectors[7], atol=1e-5)


def test_saving_and_loading_keeps_vectors_and_identity(encoder, tmp_path):
    encoder.save(tmp_path / "saved")
    loaded = load_saved(tmp_path / "saved", threads=1)
    assert loaded.identity == encoder.identity
    assert loaded.dim == encoder.dim
    cosine = (loaded.encode(TEXTS) * encoder.encode(TEXTS)).sum(1)
    assert np.delete(cosine, [1, 3]).min() > 0.99


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtimes_agree_with_fp32(name, tiny, cache):
    reference = make("onnx-fp32", tiny, cache).encode(TEXTS)
    cosine = (make(name, tiny, cache).encode(TEXTS) * reference).sum(1)
    assert np.delete(cosine, [1, 3]).min() > KEEPS.get(name, 0.98)


def test_only_int8_has_a_space_of_its_own(tiny, cache):
    here = [name for name in RUNTIMES if installed(name)]
    identities = {name: make(name, tiny, cache).identity for name in here}
    exact = {identity for name, identity in identities.items() if not name.endswith("int8")}
    assert len(exact) == 1
    assert {identities[name] for name in here if name.endswith("int8")} == {f"{exact.pop()}/int8-{INT8_METHOD}"}


def test_identity_names_the_weights(tiny, cache, tmp_path):
    from tiny_lm import tiny_lm

    other = tiny_lm(tmp_path / "tiny", seed=1)
    assert make("onnx-fp32", other, cache).identity != make("onnx-fp32", tiny, cache).identity


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_pooling_follows_the_model_and_sentence_transformers(pooling, cache, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from tiny_lm import tiny_lm

    folder = tiny_lm(tmp_path / "tiny", pooling=pooling)
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode([TEXTS[0], TEXTS[2]])
    ours = make("onnx-fp32", folder, cache).encode([TEXTS[0], TEXTS[2]])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_saved_encoder_needs_no_torch(tiny, cache, tmp_path):
    make("onnx-fp32", tiny, cache).save(tmp_path / "saved")
    code = (
        "import sys; from pathlib import Path; from langrec.encoders import load_saved; "
        f"encoder = load_saved(Path({str(tmp_path / 'saved')!r}), threads=1); "
        "encoder.encode(['cat']); encoder.static().encode(['cat']); "
        "print([name for name in ('torch', 'transformers', 'onnx', 'openvino') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_an_encoder_saved_by_a_runtime_that_is_absent_runs_in_onnx_runtime(tiny, cache, tmp_path, monkeypatch):
    if not installed("openvino"):
        pytest.skip("openvino is not installed")
    encoder = make("openvino", tiny, cache)
    encoder.save(tmp_path / "saved")
    monkeypatch.setattr("langrec.encoders.transformer.installed", lambda name: not name.startswith("openvino"))
    loaded = load_saved(tmp_path / "saved", threads=1)
    assert loaded.runtime.name == "onnx-fp32"
    assert loaded.identity == encoder.identity


def test_a_damaged_folder_is_named(tiny, cache, tmp_path):
    with pytest.raises(BundleError, match=r"encoder\.json"):
        load_saved(tmp_path)
    make("onnx-fp32", tiny, cache).save(tmp_path / "saved")
    (tmp_path / "saved" / "model.onnx").write_bytes(b"half")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        load_saved(tmp_path / "saved")


def test_an_unknown_model_is_a_settings_error_that_names_it(cache):
    with pytest.raises(SettingsError, match="/no/such/folder"):
        load_encoder(EncoderSettings(name="/no/such/folder", cache=str(cache)))
    with pytest.raises(SettingsError, match="no-such-model"):
        load_encoder(EncoderSettings(name="no-such-model", cache=str(cache)))


def test_minilm_puts_like_next_to_like_and_equals_sentence_transformers(tmp_path):
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    from langrec.lm.model import find_model

    texts = ["A detective hunts a killer.", "The police search for a murderer.", "How to bake bread at home."]
    ours = load_encoder(EncoderSettings(runtime="onnx-fp32", cache=str(tmp_path), threads=1))
    vectors = ours.encode(texts)
    theirs = SentenceTransformer(str(find_model("minilm", 256).folder), device="cpu").encode(texts)
    np.testing.assert_allclose(vectors, theirs, atol=1e-5)
    for read in (ours, ours.static()):
        a, b, c = read.encode(texts)
        assert a @ b > a @ c


def test_tokens_that_the_model_does_not_know_are_counted(tiny, cache):
    encoder = make("onnx-fp32", tiny, cache)
    assert encoder.unknown_share(["the cat", "dog"]) == 0
    assert encoder.unknown_share(["the cat", "龙井"]) == 0.5
    assert encoder.unknown_share(["", " "]) == encoder.unknown_share([]) == 0
