"""A training run that adapts its encoder and makes it cheaper: from the training part alone, served without torch."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

import worlds
from langrec.adapting import check, pairs, reader
from langrec.bundle import Bundle
from langrec.data.dataset import Dataset
from langrec.data.ids import Ids
from langrec.data.splits import split_events
from langrec.errors import SettingsError
from langrec.settings import CompressSettings, EncoderAdaptSettings, EncoderSettings, Settings
from langrec.training import evaluate_models, train
from quick_export import cache_with_graphs
from small_release import WORLD, dataset, settings
from torchless import printed_by

SCORERS = ("popular", "popular_decayed", "vectors", "tokens")


def quiet(*_):
    """Progress that nobody watches."""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("LANGREC_CACHE", cache_with_graphs(base / "langrec-cache", base))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def wanted(tiny, folder, adapt=None, steps=("quantise",), **more):
    """Settings that adapt the tiny model for two epochs and make it int8; models are exported into a folder once."""
    plain = settings(folder, scorers=SCORERS, ranker="none")
    own = EncoderAdaptSettings(
        **{"task": "pairs", "kind": "side", "epochs": 2, "more": ("precision=fp32", "batch=16"), **(adapt or {})}
    )
    encoder = EncoderSettings(name=str(tiny), cache=str(folder), runtime="onnx-fp32", max_tokens=32, adapt=own)
    return dataclasses.replace(plain, encoder=encoder, compress=CompressSettings(steps=steps), **more)


def read(data, chosen, folder):
    split = split_events(data.events, len(data.users), chosen.split)
    return reader(data, split.train, chosen, quiet, folder)


# ---- the road as a whole ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """A release whose encoder was adapted and quantised, and the settings of it."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGREC_CACHE", cache_with_graphs(folder / "cache", tmp_path_factory.getbasetemp()))
        chosen = wanted(tiny, tiny.parent)
        release, _ = train(dataset(), chosen, folder / "releases", steps=folder / "steps")
    return release, chosen, folder


@pytest.mark.slow
def test_the_release_holds_the_adapted_and_quantised_encoder(made, tiny):
    release, chosen, _ = made
    manifest = json.loads((release / "manifest.json").read_text("utf-8"))
    identity = manifest["encoders"]["vectors"]
    assert identity.startswith("tiny-pairs-side/") and "/int8-" in identity
    bundle = Bundle.open(release)
    encoder = bundle.recommender().encoders["vectors"]
    assert encoder.identity == identity
    assert (bundle.settings.encoder, bundle.settings.compress) == (chosen.encoder, chosen.compress)


@pytest.mark.slow
def test_the_card_and_the_manifest_say_what_was_adapted_and_made_cheaper(made):
    release, _, _ = made
    manifest = json.loads((release / "manifest.json").read_text("utf-8"))
    adapted, compressed = manifest["adapted"], manifest["compressed"]
    assert 0 < adapted["trainable_share"] < 1 and adapted["seconds"] > 0
    assert compressed["steps"] == ["quantise"] and [row["name"] for row in compressed["rows"]] == [
        "original",
        "quantise",
    ]
    card = (release / "README.md").read_text("utf-8")
    assert f"{adapted['trainable_share']:.2%} of the parameters trained" in card
    assert f"kept {compressed['rows'][-1]['kept']:.1%} of NDCG@10" in card
    assert (release / "measure" / "protocol.json").is_file()
    assert json.loads((release / "measure" / "protocol.json").read_text())["adapted"]["task"] == "pairs"


@pytest.mark.slow
def test_the_release_answers_where_torch_cannot_be_imported(made):
    release, _, _ = made
    code = f"""
from pathlib import Path
from langrec.bundle import Bundle
from langrec.types import Query
served = Bundle.open(Path({str(release)!r})).recommender()
print(len(served.search([Query(text="whale anchor harbour", k=5)])[0].ids))
"""
    assert printed_by(code) == ["5"]


@pytest.mark.slow
def test_a_second_run_adapts_and_compresses_nothing_again(made, monkeypatch):
    _, chosen, folder = made
    before = read(dataset(), chosen, folder / "steps")
    for module, name in (("langrec.lm.adapt.run", "adapt"), ("langrec.lm.compress.chain", "compress")):
        monkeypatch.setattr(f"{module}.{name}", lambda *_, **__: pytest.fail("done again"))
    again = read(dataset(), chosen, folder / "steps")
    assert again.encoder.identity == before.encoder.identity and again.made == before.made


@pytest.mark.slow
def test_models_of_a_step_that_a_crash_damaged_are_made_again(made, tmp_path):
    _, chosen, folder = made
    shutil.copytree(folder / "steps", tmp_path / "steps")
    right = {file.name: file.read_bytes() for file in (tmp_path / "steps").glob("compress-*/encoder/*")}
    weights = (tmp_path / "steps").glob("adapt-*/*/*.safetensors")
    for file in (*weights, *(tmp_path / "steps").glob("compress-*/encoder/model-int8.onnx")):
        file.write_bytes(file.read_bytes()[:-40] + bytes(40))
    read(dataset(), chosen, tmp_path / "steps")
    found = {file.name: file.read_bytes() for file in (tmp_path / "steps").glob("compress-*/encoder/*")}
    assert found["model-int8.onnx"] == right["model-int8.onnx"]


@pytest.mark.slow
def test_evaluating_reads_with_the_adapted_encoder_too(made):
    _, chosen, folder = made
    first, _ = evaluate_models(dataset(), chosen, ("vectors",), steps=folder / "steps")
    assert first.protocol["encoders"]["vectors"].startswith("tiny-pairs-side/")
    assert first.protocol["compressed"]["steps"] == ["quantise"]


# ---- what is learned from --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_encoder_knows_nothing_of_validation_and_test(tiny, tmp_path):
    chosen = wanted(tiny, tiny.parent, steps=())
    one = dataset()
    split = split_events(one.events, len(one.users), chosen.split)
    later = np.isin(one.events.rows, [*split.valid.rows, *split.test.rows])
    items = one.events.items.copy()
    items[later] = (items[later] * 7 + 3) % WORLD.n_items
    other = Dataset(one.users, one.catalogue, dataclasses.replace(one.events, items=items))
    assert one.hash() != other.hash()
    first, second = (read(data, chosen, tmp_path / name) for name, data in (("one", one), ("other", other)))
    assert first.encoder.identity == second.encoder.identity


def liked(rows, values, titles=("a one", "b two", "c three", "d four", "e five")):
    """A data set of (user, item) rows in time order, rated."""
    log = worlds.events([(user, item, at) for at, (user, item) in enumerate(rows)])
    log = dataclasses.replace(log, values=np.array(values, dtype=np.float32))
    users = Ids([f"u{n}" for n in range(1 + max(user for user, _ in rows))])
    return Dataset(users, worlds.catalogue(titles), log)


def test_an_item_is_paired_with_an_earlier_like_of_its_user():
    data = liked([(0, 0), (1, 3), (0, 1), (0, 2), (1, 4)], [5, 5, 1, 4, 4])
    texts = data.catalogue.texts(("title",))
    rows, held = pairs(data, data.events, texts, EncoderAdaptSettings())
    assert rows.rows() == [("a one", "c three", "u0"), ("d four", "e five", "u1")]  # b two was not liked
    assert not len(held)


def test_histories_are_the_likes_before_newest_first():
    data = liked([(0, 0), (0, 1), (0, 2)], [5, 5, 5])
    rows, _ = pairs(data, data.events, data.catalogue.texts(("title",)), EncoderAdaptSettings(pairs="histories"))
    assert rows["anchor"].to_list() == ["a one", "b two; a one"]


def test_the_newest_pairs_judge_and_are_not_learned_from():
    data = liked([(0, at % 5) for at in range(101)], [5] * 101)
    texts = data.catalogue.texts(("title",))
    rows, held = pairs(data, data.events, texts, EncoderAdaptSettings(rows=30))
    assert len(held) <= 10 and len(rows) <= 30 and len(held) > 0
    every, _ = pairs(data, data.events.take(slice(0, 91)), texts, EncoderAdaptSettings(rows=1000))
    assert len(every) <= 81


def test_items_without_text_and_pairs_of_equal_texts_are_left_out():
    data = liked([(0, 0), (0, 1), (0, 2), (0, 3)], [5] * 4, titles=("a one", "", "a one", ""))
    rows, _ = pairs(data, data.events, data.catalogue.texts(("title",)), EncoderAdaptSettings())
    assert not len(rows)


# ---- interruptions, and too little ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [None, "checkpoint.safetensors", "run.json"])
def test_an_interrupted_adaptation_goes_on_to_the_same_model(tiny, tmp_path, damaged):
    data, chosen = dataset(), wanted(tiny, tiny.parent, {"epochs": 3}, steps=())
    through = read(data, chosen, tmp_path / "through")
    split = split_events(data.events, len(data.users), chosen.split)

    def stop(what, done=0, total=0):
        if what.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reader(data, split.train, chosen, stop, tmp_path / "cut")
    if damaged is not None:
        [file] = (tmp_path / "cut").rglob(damaged)
        file.write_bytes(b"cut short")
    assert read(data, chosen, tmp_path / "cut").encoder.identity == through.encoder.identity


@pytest.mark.slow
def test_a_log_with_too_few_likes_takes_the_model_as_it_is_and_says_so(tiny, tmp_path):
    data = liked([(0, 0), (0, 1), (0, 2)], [5, 5, 5])
    found = reader(data, data.events, wanted(tiny, tiny.parent, steps=()), quiet, tmp_path)
    assert found.encoder.identity.startswith("tiny/")
    assert found.notes == ("not adapted: 2 pairs of likes in the training part, 20 are needed",)


@pytest.mark.slow
def test_the_catalogues_texts_are_enough_to_pretrain(tiny, tmp_path):
    chosen = wanted(tiny, tiny.parent, {"task": "pretrain", "kind": "lora", "epochs": 1}, steps=())
    found = read(dataset(), chosen, tmp_path)
    assert found.made["adapted"]["judged"] == "minus loss"
    assert found.encoder.identity.startswith("tiny-pretrain-lora/") or found.notes


def test_without_the_sections_the_encoder_is_the_settings_own():
    found = reader(dataset(), dataset().events, Settings(encoder=EncoderSettings(name="hashing")), quiet)
    assert found.encoder.identity.startswith("hashing/") and not found.made and not found.notes


# ---- what cannot work is refused before any work --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapt", "steps", "name", "said"),
    [
        ({"task": "pairs"}, (), "hashing", "encoder.adapt: the encoder hashing has no weights"),
        ({}, ("quantise",), "hashing", "compress: the encoder hashing has no weights"),
        ({"task": "pairs", "more": ("rnk=4",)}, (), "minilm", "encoder.adapt.more: rnk=4: unknown key rnk"),
        ({"task": "pairs", "more": ("pairs=items",)}, (), "minilm", "encoder.adapt.more pairs: is encoder.adapt.pairs"),
        ({"task": "pairs", "more": ("rank=x",)}, (), "minilm", "encoder.adapt.more: rank=x: needs a whole number"),
        ({"task": "pairs", "more": ("dropout=3",)}, (), "minilm", "encoder.adapt.dropout 3.0: must lie between"),
        ({}, ("quantize",), "minilm", "compress.steps: quantize: quantize is not one of"),
        (
            {},
            ("drop:2", "teach"),
            "minilm",
            "compress.steps: teach: needs a cross-encoder, which a training run has not",
        ),
        ({}, ("quantise", "prune:0.5"), "minilm", "compress.steps: quantise,prune:0.5: prune cannot follow quantise"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_names_the_setting(adapt, steps, name, said):
    encoder = EncoderSettings(name=name, adapt=EncoderAdaptSettings(**adapt))
    with pytest.raises(SettingsError) as error:
        check(Settings(encoder=encoder, compress=CompressSettings(steps=steps)))
    assert said in error.value.message and "\n" not in error.value.message
