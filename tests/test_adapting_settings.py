"""Sections within sections, and recipes that name their files, wherever the settings are written."""

from __future__ import annotations

import json

import pytest

from langrec.bundle import Bundle
from langrec.errors import SettingsError
from langrec.recipe import from_dict, load_settings, to_dict
from langrec.settings import EncoderAdaptSettings, Settings
from small_shop import write_shop

RECIPE = """
[encoder]
name = "hashing"
[encoder.adapt]
kind = "lora"
epochs = 3
more = ["rank=4"]
[compress]
steps = ["drop:2", "quantise"]
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "own.toml").write_text(RECIPE)
    return tmp_path / "own.toml"


def test_a_section_within_a_section_comes_from_recipe_environment_and_command_line(recipe):
    environ = {"LANGREC_ENCODER_ADAPT_SEED": "7", "LANGREC_ENCODER_ADAPT_EPOCHS": "4", "LANGREC_COMPRESS_HEAL": "no"}
    found = load_settings(recipe, ["encoder.adapt.epochs=5", "encoder.adapt.more=rank=2,alpha=4"], environ)
    assert found.encoder.name == "hashing"
    assert found.encoder.adapt == EncoderAdaptSettings(kind="lora", epochs=5, seed=7, more=("rank=2", "alpha=4"))
    assert found.compress.steps == ("drop:2", "quantise") and not found.compress.heal


def test_settings_come_back_from_their_plain_values(recipe):
    found = load_settings(recipe, environ={})
    assert from_dict(json.loads(json.dumps(to_dict(found))), "here") == found


def test_nothing_is_adapted_unless_a_task_is_named():
    assert Settings().encoder.adapt.task == "off" and Settings().compress.steps == ()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("encoder.adapt.epoch=1", r"unknown key encoder\.adapt\.epoch \(did you mean epochs"),
        ("encoder.adapt=side", r"encoder\.adapt is a table: write \[encoder\.adapt\]"),
        ("encoder.adapt.kind=sid", r"encoder\.adapt\.kind = 'sid': must be one of"),
        ("encoder.adapt.rows=0", r"encoder\.adapt\.rows: 0 must be at least 1"),
        ("encoder.adopt.rows=1", r"unknown key encoder\.adopt\.rows"),
        ("compress.step=quantise", r"unknown key compress\.step \(did you mean steps"),
    ],
)
def test_a_slip_of_the_pen_in_them_is_named(override, said):
    with pytest.raises(SettingsError, match=said):
        load_settings(None, [override], environ={})


def test_a_variable_that_misses_an_inner_setting_gets_the_nearest_name():
    with pytest.raises(SettingsError, match="did you mean LANGREC_ENCODER_ADAPT_EPOCHS"):
        load_settings(environ={"LANGREC_ENCODER_ADAPT_EPOCH": "1"})


# ---- recipes that name their files -----------------------------------------------------------------------------------

FEW = {
    "LANGREC_ENCODER_NAME": "hashing",
    "LANGREC_RETRIEVAL_SCORERS": "popular,popular_decayed,itemknn",
    "LANGREC_EVALUATE_BOOTSTRAP": "20",
    "LANGREC_RANKING_RANKER": "none",
}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The working folder, with a shop's files and a recipe that names them."""
    monkeypatch.chdir(tmp_path)
    for name, value in {**FEW, "LANGREC_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    events, items = write_shop(tmp_path)
    text = f'[files]\nevents = "{events.name}"\nitems = "{items.name}"\nout = "made"\n'
    (tmp_path / "shop.toml").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_a_recipe_alone_is_enough_to_train(langrec_, shop):
    code, out, error = langrec_("train", "shop.toml", "--json")
    assert code == 0, error
    release = shop / "made" / json.loads(out)["release"]
    assert Bundle.open(release).settings.files.out == "made"


@pytest.mark.slow
def test_the_command_line_overrules_the_files_of_a_recipe(langrec_, shop):
    (shop / "wrong.toml").write_text('[files]\nevents = "gone.csv"\nitems = "gone too.csv"\nout = "gone"\n')
    code, _, error = langrec_(
        "train", "--recipe", "wrong.toml", "--events", "events.csv", "--items", "items.csv", "--out", "own"
    )
    assert code == 0, error
    assert (shop / "own" / "CURRENT").is_file() and not (shop / "gone").exists()


@pytest.mark.slow
def test_evaluate_takes_the_files_of_a_recipe_and_writes_where_it_always_does(langrec_, shop):
    code, _, error = langrec_("evaluate", "--recipe", "shop.toml", "--models", "popular,mix", "--no-html")
    assert code == 0, error
    assert (shop / "evaluation" / "metrics.json").is_file() and not (shop / "made").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train",), "--events: name a file or a folder of events, or write files.events in a recipe"),
        (("evaluate",), "--events: name a file or a folder of events"),
        (("train", "shop.toml", "--recipe", "other.toml"), "--recipe other.toml: shop.toml is named too"),
    ],
)
def test_what_is_missing_or_said_twice_is_one_line_and_status_2(langrec_, shop, words, said):
    code, _, error = langrec_(*words)
    assert code == 2 and said in error and len(error.splitlines()) == 1
