"""What the files of a model's folder say, and who reads it by them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from langrec.errors import SettingsError
from langrec.lm.model import find_model


def folder_of(folder, config, **files):
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.zeros(3, np.float32)}, folder / "model.safetensors")
    for name, values in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(values), "utf-8")
    return str(folder)


def test_places_before_the_first_position_are_not_counted_as_room_for_text(tmp_path):
    long = {"model_max_length": 10**30}
    roberta = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert find_model(folder_of(tmp_path / "r", roberta, tokenizer_config=long), 1_000).max_tokens == 512
    bert = {"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}
    assert find_model(folder_of(tmp_path / "b", bert, tokenizer_config=long), 1_000).max_tokens == 512


def test_other_prompts_are_another_space(tmp_path):
    config = {"model_type": "bert"}
    spaces = [find_model(folder_of(tmp_path / "m", config), 64).space]
    for prompt in ("query: ", "Search: "):
        asked = {"prompts": {"query": prompt}}
        spaces.append(find_model(folder_of(tmp_path / "m", config, config_sentence_transformers=asked), 64).space)
    assert len(set(spaces)) == 3


def test_a_model_of_small_letters_reads_small_letters(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    from langrec.lm.tokens import Tokens

    place = folder_of(tmp_path / "m", {"model_type": "bert"}, sentence_bert_config={"do_lower_case": True})
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "film": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(f"{place}/tokenizer.json")
    assert Tokens.of_model(find_model(place, 64))(["Film FILM"])[0].tolist() == [1, 1]


def test_what_holds_no_weights_to_work_on_is_named_for_what_it_is(tmp_path):
    from langrec.encoders.hashing import HashingEncoder

    HashingEncoder().save(tmp_path / "saved")
    for name, said in ((str(tmp_path / "saved"), "is a saved encoder"), ("hashing", "has no weights to work on")):
        with pytest.raises(SettingsError, match=said):
            find_model(name, 64)


def test_a_t5_that_was_saved_without_its_decoder_is_read_by_its_encoder(tmp_path):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from langrec.lm.adapt.kinds import load_core
    from langrec.lm.adapt.settings import AdaptSettings
    from langrec.lm.export import load_torch

    config = transformers.T5Config(vocab_size=20, d_model=8, d_kv=4, num_layers=1, num_heads=2, d_ff=8)
    transformers.T5EncoderModel(config).save_pretrained(tmp_path / "t5")
    model = find_model(str(tmp_path / "t5"), 64)
    assert type(load_torch(model).core).__name__ == "T5Stack"
    with pytest.raises(SettingsError, match="an encoder-decoder; adapt a model with an encoder alone"):
        load_core(model, AdaptSettings())
