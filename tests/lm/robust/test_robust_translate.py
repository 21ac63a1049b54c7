"""Translation there and back: the command by its standard input alone, and an encoder-decoder's folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest

from langrec.errors import SettingsError
from langrec.lm.robust import translate
from langrec.lm.robust.augment import copies
from langrec.lm.robust.translate import Apertium, plain, round_trip, translator

# Stands for the real command: writes its arguments down, and each text in capitals (en-es) or small letters.
APERTIUM = """#!/bin/sh
if [ "$1" = -l ]; then echo "  en-es
  es-en"; exit; fi
printf '%s ' "$@" >> "$(dirname "$0")/said"
if [ "$2" = en-es ]; then tr a-z A-Z; else tr A-Z a-z; fi
"""


def test_each_text_goes_there_and_back_and_keeps_its_place(command):
    place = command("apertium", APERTIUM)
    texts = ["One text", "two\nlines \n\n of it", "One text", "$(touch x); `id` --help"]
    found = round_trip(texts, "apertium:en-es", "apertium:es-en")
    assert found == ["one text", "two lines of it", "one text", "$(touch x); `id` --help"]
    assert (place / "said").read_text("utf-8") == "-u en-es -u es-en "


def test_texts_are_asked_one_by_one_where_the_answers_do_not_match_the_texts(command):
    # Swallows blank lines: what comes back cannot be told apart.
    command("apertium", "#!/bin/sh\ngrep -v '^$'\n")
    assert Apertium("en-es")(["a b", "c", "d"]) == ["a b", "c", "d"]


def test_a_blank_translation_leaves_the_text_as_it_was(command):
    command("apertium", "#!/bin/sh\ncat > /dev/null\n")
    assert round_trip(["a text"], "apertium:en-es", "apertium:es-en") == ["a text"]


def test_a_missing_command_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="apt-get install apertium apertium-eng-spa"):
        translator("apertium:en-es")


@pytest.mark.parametrize("pair", ["-d", "en-es;id", "en", "../en-es", "en-es -f html"])
def test_what_is_no_pair_never_reaches_the_command(command, pair):
    place = command("apertium", APERTIUM)
    with pytest.raises(SettingsError, match="not a pair"):
        translator(f"apertium:{pair}")
    assert not (place / "said").exists()


def test_a_command_that_fails_says_what_it_said(command):
    command("apertium", "#!/bin/sh\n[ $1 = -l ] && exit\ncat > /dev/null\necho 'Error: no memory' >&2\nexit 1\n")
    with pytest.raises(SettingsError, match="no memory"):
        Apertium("en-es")(["a"])


def test_codes_of_two_letters_find_the_mode_of_three_and_a_missing_pair_names_its_package(command):
    command("apertium", "#!/bin/sh\necho '  eng-spa'\necho '  spa-eng'\n")
    assert Apertium("en-es").pair == "eng-spa"
    assert Apertium("spa-eng").pair == "spa-eng"
    with pytest.raises(SettingsError, match=r"there are eng-spa, spa-eng.*apt-get install apertium-cat-fra"):
        Apertium("fr-ca")


def test_a_command_that_hangs_is_ended_with_all_its_parts(command, tmp_path):
    hangs = f'[ "$1" = -l ] || (sleep 2; touch {tmp_path}/still-there) | cat'
    command("apertium", f"#!/bin/sh\n{hangs}\n")
    with pytest.raises(SettingsError, match=r"within 0\.3 s"):
        Apertium("en-es", seconds=0.3)(["a"])
    time.sleep(2.2)
    assert not (tmp_path / "still-there").exists()


def test_long_lists_are_asked_in_parts(command, monkeypatch):
    monkeypatch.setattr(translate, "CHUNK", 3)
    place = command("apertium", APERTIUM)
    assert Apertium("en-es")([f"t{i}" for i in range(7)]) == [f"T{i}" for i in range(7)]
    assert (place / "said").read_text("utf-8").count("en-es") == 3


def test_control_characters_do_not_reach_a_translator():
    assert plain("a\x00b\x1b[31m\u202ec\n\td") == "a b [31m c d"


@pytest.fixture
def real():
    """Both directions of Debian's own program."""
    there = shutil.which("apertium")
    known = subprocess.run([there, "-l"], capture_output=True, text=True).stdout.split() if there else []
    if not {"eng-spa", "spa-eng"} <= set(known):
        pytest.skip("apertium with English and Spanish is absent (apt-get install apertium-eng-spa)")
    return "apertium:en-es", "apertium:es-en"


def test_the_real_program_translates_each_text_in_its_place(real):
    texts = ["The white house is old.", "A red book.", "one\ntwo", "A red book."]
    said = translator(real[0])(texts)
    assert "casa blanca" in said[0] and "libro rojo" in said[1] and said[3] == said[1]
    again = round_trip(texts, *real)
    assert "white house" in again[0].lower() and "red book" in again[1].lower()


def test_signs_that_the_real_program_writes_for_itself_come_through(real):
    texts = [
        "a ^word$ here",
        "<b>house</b> [x] {y}",
        "a / b \\ c",
        "@one *two #three",
        "...",
        "$(touch x); `id`",
        "漢字",
    ]
    found = translator(real[0])(texts)
    for text, one in zip(texts, found, strict=True):
        assert {sign for sign in text if not sign.isalnum() and sign != " "} <= set(one), (text, one)
    assert found == [translator(real[0])([text])[0] for text in texts]


def test_training_texts_are_altered_by_the_real_program(real):
    texts = ["Where is my card? I lost it.", "I want to cancel my transfer.", "..."]
    found = copies(texts, {"translate": 1.0}, 1, 0, there=real[0], back=real[1])
    assert found[0] != texts[0] and "card" in found[0] and "transfer" in found[1] and found[2] == "..."


@pytest.fixture(scope="module")
def tiny_translator(tmp_path_factory, tiny):
    """A tiny encoder-decoder of random weights with the tiny model's tokenizer."""
    torch = pytest.importorskip("torch")
    from transformers import BartConfig, BartForConditionalGeneration

    folder = tmp_path_factory.mktemp("translator")
    tokens = json.loads((tiny / "tokenizer.json").read_text("utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(tokens), "utf-8")
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")
    vocabulary = tokens["model"]["vocab"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BartConfig(
            vocab_size=len(vocabulary),
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=64,
            pad_token_id=vocabulary["[PAD]"],
            bos_token_id=vocabulary["[CLS]"],
            eos_token_id=vocabulary["[SEP]"],
            decoder_start_token_id=vocabulary["[CLS]"],
            forced_bos_token_id=None,
            forced_eos_token_id=None,
            init_std=0.3,
        )
        BartForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_a_folder_translates_each_text_in_its_place_the_same_way_each_time(tiny_translator):
    say = translator(str(tiny_translator))
    texts = [f"the cat {'runs ' * i}" for i in (7, 1, 4)]
    found = say(texts)
    assert found == say(texts)
    # Padding changes nothing: a text alone is translated as it is among others.
    assert [say([text])[0] for text in texts] == found
    assert any(found)


def test_a_language_that_the_model_does_not_know_is_named(tiny_translator):
    with pytest.raises(SettingsError, match="knows no language xx"):
        translator(f"{tiny_translator}:en-xx")


def test_a_model_that_does_not_translate_is_refused(tiny, tmp_path):
    with pytest.raises(SettingsError, match="no encoder-decoder"):
        translator(str(tiny))
    with pytest.raises(SettingsError, match="no encoder-decoder"):
        translator(str(tmp_path / "nothing"))
