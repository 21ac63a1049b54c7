"""The console's files: both languages are whole, nothing inline, nothing from elsewhere, light."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import langrec
from langrec.evaluation.slices import MEANING
from langrec.registry import SCORERS
from langrec.retraining.run import ACTS

SOURCE = Path(langrec.__file__).parent
FOLDER = SOURCE / "service" / "console"
DOCS = Path(__file__).parents[2] / "docs" / "http.md"
SCRIPTS = sorted(FOLDER.rglob("*.js"))
CODE = "\n".join(path.read_text("utf-8") for path in SCRIPTS)
# Keys built at run time: a template such as t(`act.${type}.done`) stands for every key that fits it.
TEMPLATES = [
    re.sub(r"\\\$\\\{.*?\\\}", "[^.]+", re.escape(found)) for found in re.findall(r"`([a-z][\w.]*\.\$\{[^`]*)`", CODE)
]


def words(language: str) -> dict[str, str]:
    """A language's words; of a key that is there twice the first would never be seen."""

    def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
        keys = [key for key, _ in pairs]
        assert sorted(set(keys)) == sorted(keys), f"{language}: {sorted({key for key in keys if keys.count(key) > 1})}"
        return dict(pairs)

    return json.loads((FOLDER / "words" / f"{language}.json").read_text("utf-8"), object_pairs_hook=once)


def test_both_languages_have_every_key() -> None:
    assert set(words("en")) == set(words("zh"))


def test_both_languages_fill_the_same_places() -> None:
    english, chinese = words("en"), words("zh")
    places = {key: set(re.findall(r"\{\w+\}", text)) for key, text in english.items()}
    assert places == {key: set(re.findall(r"\{\w+\}", text)) for key, text in chinese.items()}


def test_chinese_is_chinese() -> None:
    untranslated = [key for key, text in words("zh").items() if not re.search(r"[\u4e00-\u9fff]", text)]
    assert untranslated == []


def test_every_key_that_the_code_names_exists() -> None:
    named = set(re.findall(r"""\bt\(\s*"([^"]+)\"""", CODE)) | set(re.findall(r'\bt\(\w+ \? "([^"]+)" : "[^"]+"', CODE))
    assert named - set(words("en")) == set()
    assert len(named) > 100


def test_every_slice_of_the_measures_has_a_name_of_its_own() -> None:
    for language in ("en", "zh"):
        names = [words(language)[f"slice.{name}"] for name in MEANING if name != "all"]
        assert len(set(names)) == len(names)


def test_every_scorer_has_a_name_that_people_read() -> None:
    for language in ("en", "zh"):
        assert [name for name in SCORERS if f"source.{name}" not in words(language)] == []


def test_every_key_is_used() -> None:
    unused = [key for key in words("en") if f'"{key}"' not in CODE and not made_at_run_time(key)]
    assert unused == []


def made_at_run_time(key: str) -> bool:
    stem = key.rsplit(".", 1)[0]
    if key.endswith(".one"):
        return f'"{stem}"' in CODE
    if key.startswith("reason."):
        return True  # reason.<kind of the API>, .item and .two
    return any(re.fullmatch(template, key) for template in TEMPLATES)


def test_every_code_of_an_error_has_its_words() -> None:
    rules = next(line for line in DOCS.read_text("utf-8").split("\n- ") if line.startswith("**Errors**"))
    codes = set(re.findall(r"`([a-z_]+)`", rules.split("Codes:")[1]))
    assert {"not_found", "internal"} <= codes
    assert {f"problem.of.{code}" for code in codes} <= set(words("en"))


def test_every_act_of_the_audit_has_its_words() -> None:
    noted = re.compile(r"""(?:audit\.note|note_in|_make)\((?:[^()"]|\([^()]*\))*?"([a-z][a-z ]+)\"""", re.DOTALL)
    code = "".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    acts = {*noted.findall(code), *ACTS.values(), "add key"}
    assert {"rotate key", "delete user", "rollback", "restore store", "add tenant"} <= acts, acts
    assert [act for act in sorted(acts) if f"audit.act.{act.replace(' ', '_')}" not in words("en")] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_script_opens_with_a_sentence_and_stays_small(path: Path) -> None:
    text = path.read_text("utf-8")
    first = text.splitlines()[0]
    assert first.startswith("// ") and first.rstrip().endswith((".", ","))
    assert len(text.splitlines()) < 400


def test_data_never_becomes_markup_or_code() -> None:
    for forbidden in (
        r"innerHTML",
        r"outerHTML",
        r"insertAdjacentHTML",
        r"document\.write",
        r"\beval\(",
        r"new Function",
    ):
        assert not re.search(forbidden, CODE), forbidden


def test_nothing_is_inline() -> None:
    page = (FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))


def test_nothing_comes_from_elsewhere() -> None:
    namespaces = {"http://www.w3.org/2000/svg"}
    for path in FOLDER.rglob("*"):
        if path.is_file():
            found = set(re.findall(r"(?:https?:)?//[a-z0-9-]+\.[\w./-]+", path.read_text("utf-8")))
            assert found <= namespaces, path


def test_no_script_is_orphaned() -> None:
    imported = {name.rsplit("/", 1)[-1] for name in re.findall(r'from "([^"]+)"', CODE)}
    pages = {path.name for path in (FOLDER / "pages").iterdir()}
    assert {path.name for path in SCRIPTS} - imported - pages == {"early.js", "main.js"}
