"""Repair of texts: mis-decoded Unicode, HTML, stray whitespace; only rows that need it are touched."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from langrec.data.cleaning import EXAMPLES, Ledger
from langrec.data.sources.table import Table

# What gives away a text that went through the wrong decoder, or holds entities: the slow repair runs on these only.
_SUSPECT = "|".join(
    (
        r"[\x{0080}-\x{009f}\x{fffd}\x{00ad}\x{feff}\x{fb00}-\x{fb06}]",
        r"&#?[a-zA-Z0-9]{2,8};",
        r"[ÃÂâÐÑÅÄæåçèéð]"
        r"[\x{0080}-\x{00bf}\x{2010}-\x{2044}\x{20ac}\x{0152}-\x{0192}\x{02c6}\x{02dc}\x{2122}]",
    )
)
# Programs and styles with what they hold, comments, tags; a long one is a tag where it has attributes.
_TAGS = (
    r"(?is)<(?:script|style)\b[^<>]*>.*?</(?:script|style)\s*>|<!--.*?-->"
    r"|</?[a-z][^<>]{0,200}>|<[a-z][a-z0-9]*\s[^<>]*=[^<>]*>"
)
_SPACE = r"[\s\x{0000}-\x{001f}\x{007f}\x{00a0}\x{200b}]"
# Any white space but one plain space between words.
_SPACES = rf"{_SPACE}{{2,}}|[^\S ]|[\x{{0000}}-\x{{001f}}\x{{007f}}\x{{200b}}]|^{_SPACE}|{_SPACE}$"


def repair_texts(frame: pl.DataFrame, names: Sequence[str], table: Table, ledger: Ledger) -> pl.DataFrame:
    """The frame with the named string (or list of string) columns repaired; the ledger gets a count for each kind."""
    new = []
    changed = pl.Series([False], dtype=pl.Boolean).new_from_index(0, frame.height)
    for name in names:
        column = frame[name]
        if column.dtype == pl.String:
            fixed = repair(column)
        else:
            # A list column holds few distinct strings: repair each once.
            words = column.explode().drop_nulls().unique(maintain_order=True)
            after = repair(words)
            different = after != words
            if not different.any():
                continue
            old, to = words.filter(different), after.filter(different)
            fixed = frame.select(pl.col(name).list.eval(pl.element().replace(old, to)))[:, 0]
        if column.dtype == pl.String:
            changed = changed | (fixed != column).fill_null(False)
        else:
            touched = column.list.join("\n") != fixed.list.join("\n")
            changed = changed | touched.fill_null(False)
        new.append(fixed.alias(name))
    if changed.any():
        ids = frame.filter(changed)["item_id"].head(EXAMPLES)
        ledger.note(
            "text_repaired",
            int(changed.sum()),
            "changed",
            "items whose texts had broken characters, HTML or stray whitespace; they were repaired",
            places=[f"{table.path.name}: item {item}" for item in ids],
            fix="nothing to do, or set data.repair_text=false to keep texts as they are",
        )
    return frame.with_columns(new)


def repair(column: pl.Series) -> pl.Series:
    """Strings with their characters, HTML and whitespace repaired; nulls stay null."""
    suspect = column.str.contains(_SUSPECT).fill_null(False)
    if suspect.any():
        # scatter writes in place, and the caller keeps its column.
        column = column.clone().scatter(suspect.arg_true(), _unbreak(column.filter(suspect)))
    tagged = column.str.contains(_TAGS).fill_null(False)
    if tagged.any():
        column = column.zip_with(~tagged, column.str.replace_all(_TAGS, " "))
    spaced = column.str.contains(_SPACES).fill_null(False)
    if spaced.any():
        tidy = column.str.replace_all(rf"{_SPACE}+", " ").str.strip_chars()
        column = column.zip_with(~spaced, tidy)
    return column


def _unbreak(texts: pl.Series) -> pl.Series:
    import ftfy

    # Quotes and full-width characters stay as they were typed; entities are undone even beside a "<".
    config = ftfy.TextFixerConfig(uncurl_quotes=False, fix_character_width=False, unescape_html=True)
    fixed = {text: ftfy.fix_text(text, config) for text in texts.unique()}
    return pl.Series(texts.name, [fixed[text] for text in texts], dtype=pl.String)
