"""What the console says, in each language."""

from __future__ import annotations

import json
import re
from pathlib import Path

import langrec
from langrec.retraining.run import ACTS

SOURCE = Path(langrec.__file__).parent
WORDS = SOURCE / "service" / "console" / "words"


def words(language: str) -> dict[str, str]:
    """A language's words; a key that is there twice would hide one of them."""

    def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
        twice = {key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1}
        assert not twice, f"{language}: {sorted(twice)}"
        return dict(pairs)

    return json.loads((WORDS / f"{language}.json").read_text("utf-8"), object_pairs_hook=once)


def test_every_language_says_the_same_things_once() -> None:
    english, chinese = words("en"), words("zh")
    # What is one is said apart in English alone.
    assert {key for key in english if not key.endswith(".one")} == {key for key in chinese if not key.endswith(".one")}


def test_every_act_of_the_audit_has_its_words() -> None:
    noted = re.compile(r"""(?:audit\.note|note_in|_make)\((?:[^()"]|\([^()]*\))*?"([a-z][a-z ]+)\"""", re.DOTALL)
    code = "".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    acts = {*noted.findall(code), *ACTS.values(), "add key"}
    assert {"rotate key", "delete user", "rollback", "restore store", "add tenant"} <= acts, acts
    for language in ("en", "zh"):
        told = words(language)
        assert [act for act in sorted(acts) if f"audit.act.{act.replace(' ', '_')}" not in told] == []
