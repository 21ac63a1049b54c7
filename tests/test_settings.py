"""Settings: ranges and names are checked where they are read, before any data is."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint, EntryPoints
from typing import get_type_hints

import pytest

from langrec import load_dataset, load_encoder
from langrec.errors import SettingsError
from langrec.recipe import load_settings, section_types
from langrec.settings import EvaluateSettings, Settings, section_of


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ('retrieval.scorers=["popular", "ease"]', "retrieval.scorers=popular,ease"),
        ("split.cut=[0.7, 0.8]", "split.cut=0.7,0.8"),
        ("data.type_weights={view = 0.5, click = 1}", "data.type_weights=view=0.5,click=1"),
    ],
)
def test_a_value_may_be_written_as_in_a_recipe(written, plain):
    assert load_settings(overrides=[written], environ={}) == load_settings(overrides=[plain], environ={})
    name, _, value = written.partition("=")
    variable = f"LANGREC_{name.upper().replace('.', '_')}"
    assert load_settings(environ={variable: value}) == load_settings(overrides=[plain], environ={})


def test_brackets_that_do_not_close_are_named():
    with pytest.raises(SettingsError, match=r"retrieval.scorers: unknown scorer \["):
        load_settings(overrides=['retrieval.scorers=["popular"'], environ={})


@pytest.mark.parametrize(
    "override",
    [
        "serve.workers=0",
        "serve.history=-1",
        "encoder.token_budget=0",
        "evaluate.bootstrap=0",
        "evaluate.ranks=0",
        "retrieval.als_dim=0",
        "retrieval.decay=nan",
        "retrieval.decay=-1",
        "retrieval.scorers=",
        "ranking.questions=0",
        "ranking.diversity=2",
        "split.cut=0.9,0.8",
        "data.min_time=last spring",
        "data.future_days=-1",
        "data.future_days=nan",
        "data.type_weights=click=1,view=-1",
        "data.type_weights=view=nan",
        "data.type_weights=view=inf",
        "serve.max_age=inf",
        "feedback.most_event_days=inf",
        "retrieval.ease_reg=50,nan",
        "ranking.rrf_k=-1",
        "retrieval.scorers=popular,eas",
        "retrieval.scorers=popular_0d",
        "retrieval.itemknn_neighbours=",
        "retrieval.itemknn_neighbours=0",
        "retrieval.als_reg=",
        "retrieval.transition_steps=-1",
        "ranking.depth=0",
        "ranking.extra_decays=0.1,-1",
        "ranking.retrieved=0",
        "ranking.trees=0",
        "ranking.tree_rate=0",
        "ranking.tree_leaves=1",
        "ranking.tree_min_leaf=-1",
        "ranking.seed=-1",
        "evaluate.seed=-1",
        "evaluate.k=5,10,5",
        "evaluate.tail_share=1.5",
        "evaluate.short_history=-1",
        "index.recall=2",
        "id_tower.dim=0",
        "id_tower.dim=63",
        "id_tower.heads=0",
        "id_tower.heads=3",
        "id_tower.layers=0",
        "id_tower.length=0",
        "id_tower.epochs=0",
        "id_tower.judged=0",
        "id_tower.rate=0",
        "id_tower.refit=1e9",
        "text_tower.dropout=1.5",
        "text_tower.head=512,0",
        "text_tower.seed=-1",
        "ranking.fallback=popular_decade",
        "evaluate.bootstrap=1",
    ],
)
def test_a_value_out_of_range_names_its_setting(override):
    with pytest.raises(SettingsError) as error:
        load_settings(None, [override], environ={})
    assert override.split("=")[0] in str(error.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("workers = 2.9", "serve.workers = 2.9: must be a whole number"),
        ("workers = [2]", "serve.workers = .2.: must be a whole number"),
        ("workers = 'x'", "serve.workers = 'x': must be a whole number"),
        ("rate = 'x'", "serve.rate = 'x': must be a number"),
        (f"rate = 1{'0' * 400}", "serve.rate = 1.*: must be a number"),
    ],
)
def test_what_is_no_number_is_said_in_words_and_no_part_of_one_is_cut_off(tmp_path, value, said):
    (tmp_path / "recipe.toml").write_text(f"[serve]\n{value}\n")
    with pytest.raises(SettingsError, match=said):
        load_settings(tmp_path / "recipe.toml", environ={})
    (tmp_path / "recipe.toml").write_text("[serve]\nworkers = 2.0\n")
    assert load_settings(tmp_path / "recipe.toml", environ={}).serve.workers == 2


def test_a_table_of_the_command_line_needs_names_with_values():
    with pytest.raises(SettingsError, match=r"data\.type_weights = 'click': needs names with values, such as"):
        load_settings(None, ["data.type_weights=click"], environ={})


@pytest.mark.parametrize(
    "path",
    [
        f"{section}.{one.name}"
        for section, cls in section_types().items()
        for one in dataclasses.fields(cls)
        if get_type_hints(cls)[one.name] in (int, float)
    ],
)
def test_no_number_may_be_far_below_zero(path):
    if path == "retrain.max_loss":  # below 0 it asks for a gain
        load_settings(None, [f"{path}=-0.01"], environ={})
        return
    with pytest.raises(SettingsError, match=path):
        load_settings(None, [f"{path}=-1000"], environ={})


def test_the_defaults_are_in_range():
    assert load_settings(None, [], environ={}).evaluate.bootstrap > 0


def test_scorers_go_by_registered_names_and_windows_of_popularity():
    settings = load_settings(None, ["retrieval.scorers=ease,popular_90d", "ranking.fallback=popular_7d"], environ={})
    assert settings.retrieval.scorers == ("ease", "popular_90d")
    assert settings.ranking.fallback == "popular_7d"


def test_a_scorer_of_a_plugin_is_known_by_its_entry_point(monkeypatch):
    mine = EntryPoint("mine", "not_imported:Mine", "langrec.scorers")
    monkeypatch.setattr("langrec.registry.entry_points", lambda group: EntryPoints([mine]).select(group=group))
    assert load_settings(None, ["retrieval.scorers=mine"], environ={}).retrieval.scorers == ("mine",)


@pytest.mark.parametrize(
    ("override", "near"),
    [("retrieval.scorers=popular,eas", "ease"), ("ranking.fallback=popular_decade", "popular_decayed")],
)
def test_an_unknown_scorer_gets_the_nearest_name(override, near):
    with pytest.raises(SettingsError, match=f"did you mean {near}"):
        load_settings(None, [override], environ={})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("LANGREC_RANKING_FALBACK", "LANGREC_RANKING_FALLBACK"),
        ("LANGREC_SERVE_KEY", "LANGREC_SERVE_KEYS"),
        ("LANGREC_DATA_XQZ", "LANGREC_DATA_"),
        ("LANGREC_RETREIVAL_SCORERS", "LANGREC_RETRIEVAL_SCORERS"),
        ("LANGREC_ENCODERNAME", "LANGREC_ENCODER_NAME"),
    ],
)
def test_a_variable_that_misses_its_setting_gets_the_nearest_name(name, near):
    with pytest.raises(SettingsError, match=f"{name}: .*did you mean {near}"):
        load_settings(environ={name: "popular"})


@pytest.mark.parametrize(
    "name",
    [
        "LANGREC_CACHE",
        "LANGREC_DEBUG",
        "LANGREC_LOG",
        "LANGREC_RELEASES",
        "LANGREC_CHECKED",
        "LANGREC_TEST_DATA",
        "LANGREC_SERVICE_HOST",
        "LANGREC_PORT",
        "LANGREC_PORT_8087_TCP_ADDR",
        "LANGREC_COLOUR_OF_MY_OWN",
        "OTHER_RANKING_FALBACK",
    ],
)
def test_variables_that_are_no_settings_are_left_alone(name):
    assert load_settings(environ={name: "x"}) == load_settings(environ={})


def test_weights_of_other_types_leave_a_hide_without_any():
    assert load_settings("recipes/small-shop.toml", environ={}).data.type_weights["hide"] == 0
    assert load_settings(None, ["data.type_weights=Hide=0.5"], environ={}).data.type_weights == {"hide": 0.5}


def test_what_needs_one_section_takes_all_settings_too(tmp_path):
    settings = load_settings(None, ["encoder.name=hashing", "data.type_weights=view=0.25"], environ={})
    assert load_encoder(settings).identity == load_encoder(settings.encoder).identity
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp,type\nu,i,1600000000,view\n")
    for given in (settings, settings.data):
        assert load_dataset(tmp_path / "events.csv", settings=given)[0].events.gains.tolist() == [0.25]
    assert section_of(settings, EvaluateSettings) is settings.evaluate
    assert section_of(None, EvaluateSettings) == Settings().evaluate


@pytest.mark.parametrize("given", ["hashing", Settings().data])
def test_another_section_is_named(given):
    with pytest.raises(SettingsError, match=f"settings: {type(given).__name__} in place of EncoderSettings"):
        load_encoder(given)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_recipe_is_read_as_an_editor_of_windows_writes_it(tmp_path, encoding):
    (tmp_path / "recipe.toml").write_bytes('[split]\r\nkind = "loo"\r\n'.encode(encoding))
    assert load_settings(tmp_path / "recipe.toml", environ={}).split.kind == "loo"
