"""The item file as a catalogue: titles, texts, categories and other fields found, cleaned and filled."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

import polars as pl

from langrec.data.aliases import EVENT_ROLES, ITEM_ROLES, LONG_TEXT, TEXT_NAMES, find_roles, key
from langrec.data.cleaning import EXAMPLES, Ledger
from langrec.data.log import MISSING_IDS, as_ids
from langrec.data.numbers import first_numbers
from langrec.data.sources.jsonl import flat
from langrec.data.sources.table import Table
from langrec.data.texts import repair_texts
from langrec.data.times import to_millis
from langrec.errors import DataError
from langrec.settings import DataSettings

_NAME_KEYS = ("name", "title", "label")
NO_CATEGORY = ("(no genres listed)", "unknown", "none", "n/a", "null", "nan")
_WORDS = dict.fromkeys(("true", "t", "yes", "y", "是"), True) | dict.fromkeys(("false", "f", "no", "n", "否"), False)
_NAMES = frozenset(map(key, ("brand", "manufacturer", "author", "authors", "artist", "director", "directors", "cast")))
# How the values of a role are to be written, for what cannot be read.
_WAYS = {
    "price": "a number",
    "at": "a time",
    "release_year": "a year of four digits",
    "hidden": "true or false",
}
STANDARD = ("item_id", "title", "categories", "image", "price", "at", "release_year", "hidden")


def read_items(table: Table, settings: DataSettings, ledger: Ledger) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The catalogue's frame (see Catalogue) and the names of its text fields, in reading order.

    Raises:
        DataError: the file has no item column.
    """
    roles = find_roles(table.frame.columns, ITEM_ROLES)
    if "item" not in roles:
        found = ", ".join(table.frame.columns[:8])
        raise DataError(
            f"{table.path}: no item column among: {found}; call it item_id, or name it in data.columns "
            "(docs/data-formats.md lists the names)",
            field="item",
        )
    table = table.with_single(
        [roles[role] for role in ("item", "price", "at", "release_year", "hidden") if role in roles]
    )
    frame = _identified(table, roles["item"], ledger)
    standard: dict[str, pl.Series] = {"item_id": frame["item_id"]}
    title = roles.get("title")
    standard["title"] = _joined(frame[title]).fill_null("") if title else _blank(frame.height)
    if "categories" in roles:
        standard["categories"] = _categories(frame[roles["categories"]])
    else:
        standard["categories"] = pl.Series([[]], dtype=pl.List(pl.String)).new_from_index(0, frame.height)
    if "image" in roles:
        column = frame[roles["image"]]
        image = column.list.first() if column.dtype == pl.List(pl.String) else _joined(column)
        standard["image"] = image.fill_null("")
    if "price" in roles:
        standard["price"] = _price(frame[roles["price"]])
    if "at" in roles:
        standard["at"] = to_millis(frame[roles["at"]])
    year = _release_year(frame[roles["release_year"]] if "release_year" in roles else None, standard["title"])
    if year is not None:
        standard["release_year"] = year
    if "hidden" in roles:
        standard["hidden"] = _truth(frame[roles["hidden"]])
    for role in (role for role in _WAYS if role in roles and role in standard):
        _note_unread(ledger, table, frame, roles[role], standard[role], _WAYS[role])
    if "hidden" in standard:
        standard["hidden"] = standard["hidden"].fill_null(False)
    used = {"item_id", "title_filled", *roles.values()}  # which titles are filled is found out anew
    others = [name for name in frame.columns if name not in used and name not in standard]
    texts = _text_fields(frame, others)
    columns = {name: _prose(frame[name]) for name in texts}
    columns |= {name: typed(frame[name]) for name in others if name not in texts}
    built = pl.DataFrame([column.alias(name) for name, column in {**standard, **columns}.items()])
    if settings.repair_text:
        built = repair_texts(built, ("title", "categories", *texts), table, ledger)
    if settings.fill_texts:
        built = _fill_titles(built, texts, table, ledger)
    _note_missing(built, texts, table, ledger)
    return built, tuple(texts)


def _identified(table: Table, column: str, ledger: Ledger) -> pl.DataFrame:
    """The rows that have an id, each id once."""
    ids = as_ids(table.frame[column]).str.strip_chars()
    frame = table.frame.with_columns(ids.alias("item_id"), table.row_numbers().alias("__row"))
    missing = ids.is_null() | ids.str.to_lowercase().is_in(MISSING_IDS)
    ledger.refuse(
        "missing_item", table, frame.filter(missing)["__row"], "the item has no id", f"fill the column {column}"
    )
    frame = frame.filter(~missing)
    first = frame["item_id"].is_first_distinct()
    again = frame.filter(~first)
    what = "the item occurs again; its first row is used"
    ledger.refuse("item_twice", table, again["__row"], what, "keep one row per item", again["item_id"])
    return frame.filter(first).drop("__row")


def _text_fields(frame: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Text columns by name, in reading order, then title_* columns, then others whose values are long on average."""
    order = {key(name): i for i, name in enumerate(TEXT_NAMES)}
    found: list[tuple[int, int, str]] = []
    events = {key(name) for name in EVENT_ROLES["user"]}
    for i, name in enumerate(names):
        dtype = frame.schema[name]
        if dtype not in (pl.String, pl.List(pl.String)) or key(name) in events:
            continue
        if key(name) in order:
            found.append((order[key(name)], i, name))
        elif key(name).startswith("title"):
            found.append((len(order), i, name))
        elif dtype == pl.String and _is_long(frame[name]):
            found.append((len(order) + 1, i, name))
    return [name for _, _, name in sorted(found)]


def _is_long(column: pl.Series) -> bool:
    """True for prose: long on average, and for the most part neither addresses of the web nor single long words."""
    values = column.drop_nulls().head(2000)
    values = values.filter(values.str.len_chars() > 0)
    if not len(values):
        return False
    # Hashes and keys are long too, and say nothing.
    odd = values.str.contains(r"^(https?://|/|[\[{])|^[A-Za-z0-9+/=_]+$").mean()
    length = values.str.len_chars().mean()
    wide = values.str.contains(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]").mean()
    limit = LONG_TEXT / 4 if isinstance(wide, float) and wide > 0.5 else LONG_TEXT
    return isinstance(length, float) and length >= limit and isinstance(odd, float) and odd < 0.5


def _joined(column: pl.Series) -> pl.Series:
    """A column as strings; the parts of a list are joined by a space."""
    if isinstance(column.dtype, pl.List):
        return column.cast(pl.List(pl.String)).list.drop_nulls().list.join(" ")
    return column.cast(pl.String)


def _prose(column: pl.Series) -> pl.Series:
    """A text column as strings; a list written with bars (keywords, a cast) reads as one with commas."""
    text = _joined(column).fill_null("")
    barred = text.str.contains(r"\S\|\S")
    return text.zip_with(~barred, text.str.replace_all("|", ", ", literal=True)) if barred.any() else text


def _categories(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.List):
        column = _named(column.cast(pl.List(pl.String)))
    elif column.dtype == pl.String:
        column = _divided(column)
    else:
        column = column.cast(pl.String).to_frame("c").select(pl.concat_list("c"))[:, 0]
    part = pl.element().str.strip_chars()
    keep = (part.str.len_chars() > 0) & ~part.str.to_lowercase().is_in(NO_CATEGORY)
    return (
        column.to_frame("c")
        .select(pl.col("c").list.eval(part.filter(keep)).list.unique(maintain_order=True).fill_null([]))
        .to_series()
    )


def _divided(column: pl.Series) -> pl.Series:
    """Strings as lists: divided at a mark, or read as the JSON or Python list that they are."""
    known = column.drop_nulls()
    mark = next((m for m in ("|", ";", ",", "；", "，", "、") if known.str.contains(m, literal=True).any()), None)
    listed = column.str.contains(r"^\s*[\[{]").fill_null(False)
    if not listed.any():
        return column.str.split(mark) if mark else column.to_frame("c").select(pl.concat_list("c"))[:, 0]
    plain = {text: text.split(mark) if mark else [text] for text in column.filter(~listed).drop_nulls().unique()}
    found = plain | {text: _parts(text) for text in column.filter(listed).unique()}
    return pl.Series(column.name, [found.get(text) for text in column], pl.List(pl.String))


def _parts(text: str) -> list[str]:
    """The parts of a list as it is written in JSON or Python; of one that is neither, what stands between commas."""
    for read in (json.loads, ast.literal_eval):
        try:
            return [_name(part) for part in flat(read(text))]
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
    return [part.strip("'\" ") for part in text.strip("[] ").split(",")]


def _named(column: pl.Series) -> pl.Series:
    """Lists whose objects ({"id": 16, "name": "Animation"}) are their names."""
    distinct = column.explode().drop_nulls().unique()
    objects = distinct.filter(distinct.str.starts_with("{"))
    if not len(objects):
        return column
    names = pl.Series([_name(text) for text in objects], dtype=pl.String)
    return column.to_frame("c").select(pl.col("c").list.eval(pl.element().replace(objects, names)))[:, 0]


def _name(text: str) -> str:
    """The name of an object written in JSON; any other text as it is."""
    try:
        value = json.loads(text) if text.startswith("{") else None
    except ValueError:
        return text
    names = [value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)] if isinstance(value, dict) else []
    return names[0] if names else text


def _price(column: pl.Series) -> pl.Series:
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    return first_numbers(column)


def _release_year(column: pl.Series | None, titles: pl.Series) -> pl.Series | None:
    """The year as Int32: from its column, or from a title that ends as "Heat (1995)" where most titles do."""
    if column is not None:
        return column.cast(pl.String).str.extract(r"(\d{4})").cast(pl.Int32, strict=False)
    years = titles.str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32, strict=False)
    return years if len(titles) and years.null_count() < len(titles) / 2 else None


def _truth(column: pl.Series) -> pl.Series:
    """A yes-or-no column; null where it is neither."""
    if column.dtype != pl.String:
        return column.cast(pl.Boolean)
    text = column.str.strip_chars().str.to_lowercase()
    word = text.replace_strict(_WORDS, default=None, return_dtype=pl.Boolean)
    return word.zip_with(word.is_not_null(), text.cast(pl.Float64, strict=False).fill_nan(None) != 0)


def typed(column: pl.Series) -> pl.Series:
    """A string column as numbers or truth values where every value is one, so that ranges and equality filter.

    Zero-padded codes stay strings, and so do codes of so many digits that a number would not hold them. Decimals become
    floats.
    """
    if column.dtype.is_decimal():
        return column.cast(pl.Float64)
    if column.dtype != pl.String:
        return column
    known = column.drop_nulls()
    if len(known) and known.str.to_lowercase().is_in(["true", "false"]).all():
        return column.str.to_lowercase() == "true"
    if not len(known) or known.str.contains(r"^[+\-]?0\d").any():
        return column
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count() == column.null_count():
        return whole
    numbers = column.cast(pl.Float64, strict=False)
    exact = numbers.null_count() == column.null_count() and not known.str.contains(r"^[+\-]?\d{16,}$").any()
    return numbers if exact else column


def _fill_titles(frame: pl.DataFrame, texts: Sequence[str], table: Table, ledger: Ledger) -> pl.DataFrame:
    """Titles for items without one: the start of a text, else their categories, else short fields and names."""
    empty = frame["title"].str.len_chars() == 0
    if not empty.any():
        return frame.with_columns(pl.lit(False).alias("title_filled"))
    # A maker's or an author's name says less of an item than its category does, so names come last.
    names = [name for name in texts if key(name) in _NAMES]
    sources = [pl.col(name).str.slice(0, 80).str.strip_chars() for name in texts if name not in names]
    sources.append(pl.col("categories").list.join(", "))
    skip = {*STANDARD, *texts}
    sources += [pl.col(n) for n, t in frame.schema.items() if t == pl.String and n not in skip]
    sources += [pl.col(name) for name in names]
    filled = pl.coalesce([pl.when(s.str.len_chars() > 0).then(s) for s in sources])
    new = pl.when(pl.col("title").str.len_chars() > 0).then(pl.col("title")).otherwise(filled).fill_null("")
    out = frame.with_columns(new.alias("title"))
    changed = empty & (out["title"].str.len_chars() > 0)
    out = out.with_columns(changed.alias("title_filled"))
    what = "items without a title got one from their other fields (title_filled marks them)"
    _note_items(ledger, table, out, changed, "title_filled", what, "give them titles")
    return out


def _note_missing(frame: pl.DataFrame, texts: Sequence[str], table: Table, ledger: Ledger) -> None:
    """Counts the items whose texts are missing, and those of which there is nothing to read."""
    told = frame["title"].str.len_chars() > 0
    if texts:
        silent = frame.select(pl.all_horizontal(pl.col(name).str.len_chars() == 0 for name in texts))[:, 0]
        what = f"items have none of the texts {', '.join(texts)}; they are read by title and categories"
        _note_items(ledger, table, frame, silent & told, "text_missing", what, "give them texts", "kept")
        told |= ~silent
    what = "items have no text at all: only their id"
    _note_items(ledger, table, frame, ~told, "no_text", what, "give them titles", "kept")


def _note_unread(ledger: Ledger, table: Table, frame: pl.DataFrame, name: str, read: pl.Series, way: str) -> None:
    """Counts the items whose column says something that could not be read."""
    raw = frame[name]
    if raw.dtype != pl.String:
        return
    mask = read.is_null() & ~raw.str.strip_chars().str.to_lowercase().is_in(MISSING_IDS).fill_null(True)
    bad = frame.filter(mask).head(EXAMPLES)
    places = [f"{table.path.name}: item {item} ({text})" for item, text in zip(bad["item_id"], bad[name], strict=True)]
    what = f"the column {name} cannot be read as {way}; it counts as empty"
    ledger.note("unreadable_field", int(mask.sum()), "changed", what, places=places, fix=f"write {way}")


def _note_items(
    ledger: Ledger,
    table: Table,
    frame: pl.DataFrame,
    mask: pl.Series,
    name: str,
    what: str,
    fix: str,
    action: str = "changed",
) -> None:
    ids = frame.filter(mask)["item_id"].head(EXAMPLES)
    places = [f"{table.path.name}: item {item}" for item in ids]
    ledger.note(name, int(mask.sum()), "kept" if action == "kept" else "changed", what, places=places, fix=fix)


def _blank(height: int) -> pl.Series:
    return pl.Series([""], dtype=pl.String).new_from_index(0, height)
