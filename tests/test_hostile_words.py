"""Parsers of what people write: any text gives a value or an error that says what is wrong, never another failure."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langrec.cli.keys import parse_span
from langrec.errors import DataError, LangrecError
from langrec.recipe import load_settings
from langrec.service.access.scopes import area_of, check_scopes
from langrec.service.bodies import clean_json, parse_duration, parse_time, parse_where, show_time
from langrec.service.routes.cursors import Cursor, parse_cursor
from langrec.service.tenants import tenant_settings
from langrec.settings import ServeSettings, Settings
from langrec.types import Condition

anything = st.text(max_size=80)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.one_of(anything, st.integers(), st.floats(), json_values, st.datetimes().map(str)))
@example(10**400)
@example(float("inf"))
@example(float("nan"))
@example("9999-12-31T23:59:59-23:59")
@example("0001-01-01T00:00:00+23:59")
@example("9" * 5000)
@example("١٢٣٤٥٦")
@example(True)
def test_a_time_is_one_that_can_be_shown_or_is_refused(value):
    try:
        at = parse_time(value)
    except ValueError:
        return
    shown = show_time(at)
    assert isinstance(at, int) and -(2**63) <= at < 2**63
    assert at == -1 or parse_time(shown) == at


@settings(max_examples=300)
@given(st.one_of(anything, st.builds("{}:{}:{}".format, anything, st.sampled_from(["eq", "in", "ge", "x"]), anything)))
@example("price:le:nan")
@example("price:le:inf")
@example("a:in:")
def test_a_condition_is_read_or_refused(text):
    try:
        assert isinstance(parse_where(text), Condition)
    except DataError as error:
        assert error.field == "where"


@settings(max_examples=300)
@given(st.one_of(anything, st.binary(max_size=100).map(lambda data: data.decode("latin-1"))))
@example("A" * 100_000)
@example("=")
def test_a_cursor_is_one_that_was_given_or_is_refused(text):
    with pytest.raises(DataError, match="cursor"):
        parse_cursor(text)


@given(st.binary(min_size=6, max_size=6), st.integers(0, 2**62), st.lists(anything, max_size=1000))
@settings(max_examples=50)
def test_a_cursor_says_what_it_was_told(query, revision, ids):
    cursor = Cursor(query, revision).after(ids)
    assert parse_cursor(cursor.text()) == cursor
    with pytest.raises(DataError):
        parse_cursor(cursor.text()[:-1])


def test_a_duration_that_nobody_writes_is_not_looked_into():
    assert parse_duration("0" * 60 + "1h") == 3_600_000
    for text in ("0" * 65 + "1h", "1" * 1_000_000, "1.1" * 300_000):  # these would be looked into for hours
        with pytest.raises(DataError, match="not a duration") as error:
            parse_duration(text)
        assert len(error.value.message) < 200


@given(anything)
@example("9" * 400 + "h")
def test_a_duration_is_read_or_refused(text):
    for parse in (parse_duration, lambda text: parse_span(text, "grace")):
        try:
            assert isinstance(parse(text), int)
        except (LangrecError, OverflowError) as error:
            assert isinstance(error, LangrecError), text


@given(st.lists(st.one_of(anything, st.builds("{}={}".format, anything, anything)), max_size=2))
@example(["serve.rate=nan"])
@example(["serve.rate=1e999"])
@example(["serve.port=99999999999999999999"])
@example(["serve=1"])
@example(["serve..port=1"])
def test_settings_are_read_or_refused(overrides):
    with contextlib.suppress(LangrecError):
        assert isinstance(load_settings(None, overrides, environ={}), Settings)


@given(anything)
@example("rate = 1\n[serve]\nport = 1")
@example("store = {a = 1}")
@example("rate = inf")
def test_a_tenants_file_is_read_or_refused(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("t")
    (folder / "tenant.toml").write_text(text, "utf-8", errors="replace")
    with contextlib.suppress(LangrecError):
        assert isinstance(tenant_settings(folder, ServeSettings()), ServeSettings)


@given(anything)
def test_scopes_and_areas_know_what_they_know(text):
    assert isinstance(area_of(text), str)
    with contextlib.suppress(LangrecError):
        assert check_scopes((text,)) == (text,)


@given(json_values)
def test_a_json_value_becomes_one_that_databases_take(value):
    clean = clean_json(value)
    text = json.dumps(clean, allow_nan=False)
    text.encode("utf-8")
    assert "\\u0000" not in text and clean_json(clean) == clean
