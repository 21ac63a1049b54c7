"""Synonyms from WordNet: the database files of Princeton, Debian and NLTK, or a table of synsets."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from langrec.errors import DataError, SettingsError

DATA = ("data.noun", "data.verb", "data.adj", "data.adv")
TABLES = ("synsets.csv", "synsets.csv.gz", "synsets.parquet")
# Where a folder's files may lie below it, and where WordNet is usually installed: wordnet-base, NLTK.
INSIDE = ("", "dict", "wordnet", "corpora/wordnet")
PLACES = ("/usr/share/wordnet", "~/nltk_data/corpora/wordnet", "/usr/share/nltk_data/corpora/wordnet")
# Words that carry grammar; as nouns they have synonyms too (can: tin), which would be wrong nearly always.
_GRAMMAR = (
    "a about after all also am an and any are as at be been before being but by can could did do does doing done down "
    "else for from get got had has have having he her here hers him his how i if in into is it its just like may me "
    "might mine more most much must my no not now of off on one only or other our ours out over own same shall she "
    "should so some still such than that the their theirs them then there these they this those thus to too under up "
    "us very was we were what when where which while who whom whose why will with would yes you your yours"
)
GRAMMAR = frozenset(_GRAMMAR.split())


class Synonyms:
    """Words that mean the same, by word.

    Args:
        table: lower-case word -> how many meanings each other word shares with it.
    """

    def __init__(self, table: Mapping[str, Mapping[str, int]]) -> None:
        self._table = table

    def of(self, word: str) -> Mapping[str, int]:
        """The word's synonyms with the number of shared meanings; a plural gets plurals; empty where it has none."""
        low = word.lower()
        if low in GRAMMAR or len(low) < 2:
            return {}
        if low in self._table:
            return self._table[low]
        one = _singular(low)
        return {_plural(other): n for other, n in self._table.get(one, {}).items() if " " not in other} if one else {}

    def __len__(self) -> int:
        return len(self._table)


def find_synonyms(place: str) -> Synonyms:
    """The synonyms of a folder or a file; "" looks at WNSEARCHDIR and where WordNet is usually installed.

    Raises:
        SettingsError: nothing is there.
        DataError: a file is damaged.
    """
    own = [place] if place else [os.environ.get("WNSEARCHDIR", ""), *PLACES]
    for one in filter(None, own):
        files = _files(Path(one).expanduser())
        if files:
            return _read(tuple(files))
    said = f"{place}: holds neither {DATA[0]} nor {TABLES[0]}" if place else "WordNet is not installed"
    raise SettingsError(
        f"adapt.augment synonyms: {said}; apt-get install wordnet-base, or --set augment.wordnet=FOLDER",
        field="adapt.augment_wordnet",
    )


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    for inside in INSIDE:
        for names in (DATA, TABLES):
            found = [place / inside / name for name in names if (place / inside / name).is_file()]
            if found:
                return found if names is DATA else found[:1]
    return []


@functools.lru_cache(maxsize=2)
def _read(files: tuple[Path, ...]) -> Synonyms:
    table: dict[str, dict[str, int]] = {}
    for file in files:
        for lemmas in _dict_rows(file) if file.name in DATA else _table_rows(file):
            words = list(dict.fromkeys(lemma.replace("_", " ").strip() for lemma in lemmas if lemma.strip()))
            for word in words:
                for other in words:
                    if word.lower() != other.lower():
                        row = table.setdefault(word.lower(), {})
                        row[other] = row.get(other, 0) + 1
    return Synonyms(table)


def _dict_rows(file: Path) -> Iterator[Sequence[str]]:
    """Words of each synset of a WordNet database file: `offset file type count word id word id …`, count in hex."""
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("  "):  # the licence at the top
            continue
        parts = line.split(" ")
        try:
            count = int(parts[3], 16)
            words = [parts[4 + 2 * i] for i in range(count)]
        except (IndexError, ValueError) as error:
            raise DataError(f"{file}: line {number} is not a synset of WordNet; install it again") from error
        # Adjectives may say where they stand: live(a).
        yield [word.partition("(")[0] for word in words]


def _table_rows(file: Path) -> Iterator[Sequence[str]]:
    """Words of each row of a table: column `lemmas`, joined by |."""
    from langrec.lm.adapt.examples import read_columns, strings

    for value in strings(read_columns(file, ["lemmas"]), "lemmas", file):
        yield value.split("|")


def _singular(word: str) -> str:
    """The word without its plural ending; "" where it has none."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return ""
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    return word[:-1]


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"
