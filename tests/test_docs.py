"""Documents are in step with the code: `python tests/test_docs.py --write` writes the parts that are made from it."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import json
import math
import re
import shlex
import subprocess
import sys
import typing
from pathlib import Path

import polars as pl
import pytest
import typer

import langrec
from langrec.cli import verbs
from langrec.recipe import ENV_PREFIX, load_settings, section_types
from langrec.registry import SCORERS
from langrec.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = "(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# What may stand after a slash at the start of a word: our routes, and the end of an int8 encoder's identity.
ROUTES = {"api", "console", "metrics", "openapi.json", "docs", "int8"}
SECTIONS = section_types()
HOSTS = {"127.0.0.1", "localhost", "github.com", "keepachangelog.com", "semver.org"}


def page_id(path):
    return str(path.relative_to(ROOT))


# ---- what is made from the code ------------------------------------------------------------------------------------


def settings_reference():
    """docs/settings.md: a table per section, from the dataclasses and their docstrings."""
    lines = []
    for section, cls in SECTIONS.items():
        meanings = attribute_lines(cls)
        lines += [f"## [{section}]", "", cls.__doc__.split("\n", 1)[0], ""]
        lines += ["| key | default | meaning | variable |", "| --- | --- | --- | --- |"]
        for field in dataclasses.fields(cls):
            if f"{section}.{field.name}" in SECTIONS:
                continue
            default = toml_value(getattr(cls(), field.name))
            variable = f"{ENV_PREFIX}{section}_{field.name}".replace(".", "_").upper()
            meaning = meanings[field.name] + choices(typing.get_type_hints(cls)[field.name])
            lines.append(f"| `{field.name}` | `{default}` | {cell(meaning)} | `{variable}` |")
        lines.append("")
    return "\n".join(lines)


def attribute_lines(cls):
    """By field, what the Attributes of its docstring, and of those it inherits from, say."""
    found, name = {}, None
    for part in reversed(cls.__mro__[:-1]):
        for line in part.__doc__.partition("Attributes:")[2].splitlines():
            start = re.match(r" {8}(\w+): (.*)", line)
            if start:
                name, found[start[1]] = start[1], start[2]
            elif name and line.strip():
                found[name] += " " + line.strip()
    return found


def choices(hint):
    """The allowed values of a Literal, for the end of a meaning."""
    if typing.get_origin(hint) is not typing.Literal:
        return ""
    return f" ({', '.join(f'`{value}`' for value in typing.get_args(hint))})"


def toml_value(value):
    """A default as one would write it in a recipe."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml_value(one)}" for name, one in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def cli_reference():
    """docs/cli.md: a section per verb, from typer's own description of it."""
    lines = []
    for path, command in commands():
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        usage = " ".join(
            f"{param.name.upper()}" if param.required else f"[{param.name.upper()}]" for param in arguments
        )
        lines += [f"## langrec {path} {usage}".rstrip(), "", *command.help.splitlines(), ""]
        shown = [param for param in command.params if param.name != "help" and not param.hidden]
        if shown:
            lines += ["| option | default | meaning |", "| --- | --- | --- |"]
        for param in shown:
            names = param.name.upper() if param in arguments else ", ".join([*param.opts, *param.secondary_opts])
            lines.append(f"| `{names}` | {default_of(param)} | {cell(param.help or '')} |")
        lines.append("")
    return "\n".join(lines)


def commands():
    """(path, command) of every verb and of every verb's verb, in the order of `langrec --help`."""
    return list(_leaves("", command_line()))


@functools.cache
def command_line():
    """The whole command line; that is made of hundreds of options, and parsing changes none."""
    app = typer.Typer(name="langrec")
    verbs.register(app)
    return typer.main.get_command(app)


def _leaves(path, command):
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, one in (inner or {}).items():
        yield from _leaves(f"{path} {name}".strip(), one)


def default_of(param):
    if param.required:
        return "needed"
    value = param.default
    return "" if value in (None, "", ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def synchronous_client():
    """src/langrec/client/synchronous.py: the asynchronous client with every wait taken out."""
    return synchronous("asynchronous.py", "The client that waits for each answer")


def synchronous_wire():
    """src/langrec/client/synchronous_wire.py: the asynchronous wire with every wait taken out."""
    return synchronous("asynchronous_wire.py", "A call on the wire, waited for")


def synchronous(source, title):
    """A module of the asynchronous client with every wait taken out."""
    text = (ROOT / "src/langrec/client" / source).read_text("utf-8")
    opening = f'"""{title}; made of `{source}` by `python tests/test_docs.py --write`."""'
    text = re.sub(r'\A""".*?"""', opening, text)
    for pattern, new in (
        (r"\bimport asyncio\n", ""),
        (r"\basyncio\.sleep\b", "time.sleep"),
        (r"\b(?:async|await) ", ""),
        (r"\bAsync(Iterator|Client|Wire)\b", r"\1"),
        (r"\bclient\.asynchronous_wire\b", "client.synchronous_wire"),
        (r"\b__a(enter|exit)__", r"__\1__"),
        (r"\baclose\b", "close"),
        (r"\ba(read|iter_bytes)\b", r"\1"),
        (r"for one in (self\._\w+\(.*\)):\n +yield one", r"yield from \1"),
        (r"for one in (\w+\.\w+):\n +yield one", r"yield from \1"),
    ):
        text = re.sub(pattern, new, text)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--select", "I", "--fix-only", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(ROOT / "src/langrec/client/synchronous.py"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        text = done.stdout
    return text


def openapi_document():
    """docs/openapi.json: what /openapi.json of a server says."""
    from langrec.service.http import document

    return json.dumps(document(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


WHOLE = {
    "src/langrec/client/synchronous.py": synchronous_client,
    "src/langrec/client/synchronous_wire.py": synchronous_wire,
    "docs/openapi.json": openapi_document,
}
MADE = {"docs/settings.md": ("settings", settings_reference), "docs/cli.md": ("cli", cli_reference)}


def write():
    """Writes the parts of the documents that are made from the code."""
    for name, (block, made) in MADE.items():
        path = ROOT / name
        text = path.read_text("utf-8")
        new = re.sub(BLOCK.format(name=block), lambda m, made=made: f"{m[1]}{made()}{m[3]}", text, flags=re.DOTALL)
        if new != text:
            path.write_text(new, "utf-8")
            sys.stdout.write(f"{name}: written\n")
    for name, made in WHOLE.items():
        path = ROOT / name
        new = made()
        if not path.exists() or path.read_text("utf-8") != new:
            path.write_text(new, "utf-8")
            sys.stdout.write(f"{name}: written\n")


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_made_from_another_is_in_step(name):
    is_there, wanted = (ROOT / name).read_text("utf-8").splitlines(), WHOLE[name]().splitlines()
    wrong = [i for i, (old, new) in enumerate(zip(is_there, wanted, strict=False), 1) if old != new]
    assert is_there == wanted, (
        f"{name}:{wrong[0] if wrong else len(is_there)} is out of step; python tests/test_docs.py --write"
    )


@pytest.mark.parametrize("name", MADE)
def test_the_reference_says_what_the_code_says(name):
    block, made = MADE[name]
    text = (ROOT / name).read_text("utf-8")
    found = re.search(BLOCK.format(name=block), text, re.DOTALL)
    assert found, f"{name}: the marks <!-- {block} --> and <!-- /{block} --> are gone"
    first = text[: found.start(2)].count("\n") + 1
    documented, wanted = found[2].splitlines(), made().splitlines()
    wrong = [
        f"{name}:{first + i}: is {old!r}, the code says {new!r}"
        for i, (old, new) in enumerate(zip(documented, wanted, strict=False))
        if old != new
    ]
    assert not wrong and len(documented) == len(wanted), (
        f"{wrong[0] if wrong else f'{name}: {len(documented)} lines instead of {len(wanted)}'}; "
        "python tests/test_docs.py --write"
    )


def test_every_setting_says_what_it_means():
    for section, cls in SECTIONS.items():
        documented = set(attribute_lines(cls))
        assert documented == {field.name for field in dataclasses.fields(cls)}, section


def test_every_scorer_has_its_section_with_formula_settings_strength_and_source():
    text = (ROOT / "docs/models.md").read_text("utf-8")
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) == {*SCORERS, "mix"}
    for name, section in sections.items():
        for part in ("**Formula**", "**Settings**", "**Strong**", "**Weak**", "**Source**"):
            assert part in section, f"docs/models.md: {name} says nothing under {part}"
    known = {f"{section}.{key.name}" for section, cls in SECTIONS.items() for key in dataclasses.fields(cls)}
    named = {path for path in re.findall(r"`(\w+\.\w+)(?: = [^`]*)?`", text) if path.partition(".")[0] in SECTIONS}
    assert named - known == set()


def test_every_verb_has_an_example_that_parses():
    for path, command in commands():
        examples = re.findall(r"Example: `(langrec [^`]+)`", command.help or "")
        assert examples, f"langrec {path} --help shows no example"
        for example in examples:
            assert example.startswith(f"langrec {path}"), example
            parse(shlex.split(example)[1:])


# ---- commands, links, names ----------------------------------------------------------------------------------------


def parse(words):
    """Parses a command as the command line would, and runs nothing.

    Raises:
        AssertionError: it would be refused.
    """
    command, context, rest = command_line(), None, list(words)
    while getattr(command, "commands", None) and rest:
        name = rest.pop(0)
        assert name in command.commands, f"langrec has no verb {name!r}"
        command = command.commands[name]
    try:
        context = command.make_context(command.name, rest)
    except Exception as error:
        if type(error).__name__ == "Exit":  # --help
            return
        said = error.format_message() if hasattr(error, "format_message") else error
        raise AssertionError(f"langrec {' '.join(words)}: {said}") from error
    context.close()


def shell_lines(text):
    """Commands of a page's code blocks, continued lines joined, comments and prompts taken off."""
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                yield line.split(" #")[0].removeprefix("$ ").strip().removesuffix("&").strip()


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_command_in_a_code_block_parses(path):
    text = path.read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in shell_lines(text):
        if line.startswith("langrec "):
            parse(shlex.split(line)[1:])
        elif line.startswith("make "):
            assert line.split()[1] in targets, line
    for verb in re.findall(r"`langrec ([a-z]+)[ `]", text):
        assert verb in verbs.VERBS, f"{page_id(path)}: langrec {verb}"
    for target in re.findall(r"`make ([a-z]+)[ `]", text):
        assert target in targets, f"{page_id(path)}: make {target}"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_link_leads_somewhere(path):
    for link in LINK.findall(path.read_text("utf-8")):
        if "://" in link:
            assert re.match(r"https?://([^/:]+)", link)[1] in HOSTS, f"{page_id(path)}: {link}"
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{page_id(path)}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), f"{page_id(path)}: {link}: no such heading"


def anchors(text):
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_python_blocks_compile_and_import_what_exists(path):
    for language, block in FENCE.findall(path.read_text("utf-8")):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("langrec"):
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{page_id(path)}: {node.module} has no {missing}"


def test_every_public_name_can_be_imported():
    assert [name for name in langrec.__all__ if getattr(langrec, name, None) is None] == []
    assert sorted(langrec.__all__) == dir(langrec)


def test_every_documented_file_of_docs_is_in_its_index():
    for index in (ROOT / "docs/README.md", ROOT / "docs/decisions/README.md"):
        linked = set(LINK.findall(index.read_text("utf-8")))
        files = {path.name for path in index.parent.glob("*.md")} - {"README.md"}
        assert files - linked == set(), f"{page_id(index)} leaves out"


@pytest.mark.parametrize("path", sorted([*PAGES, *ROOT.glob("benches/results/*.json")]), ids=page_id)
def test_no_page_names_a_place_of_somebodys_machine_or_a_registry(path):
    text = re.sub("<!--.*?-->", "", path.read_text("utf-8"))
    absolute = {name for name in re.findall(r"(?:^|[\s\"'`(=])/([a-z][\w.]*)", text) if name not in ROUTES}
    assert not absolute, f"{page_id(path)} names absolute paths /{', /'.join(sorted(absolute))}"
    hosts = set(re.findall(r"https?://([^/\s:)\"'`]+)", text)) - HOSTS
    assert not hosts, f"{page_id(path)} names {hosts}"


# ---- pages that say the same ---------------------------------------------------------------------------------------


def test_the_floors_of_the_architecture_are_those_of_the_layer_test():
    from test_layers import FLOORS, SEPARATE

    documented = {}
    for floor, rooms, rule in re.findall(
        r"^\| (\d+) \| ([^|]*) \| ([^|]*) \|$", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.MULTILINE
    ):
        for room in re.findall(r"`([\w.]+)`", rooms):
            documented[room] = int(floor)
        assert ("not one another" in rule) == (int(floor) in SEPARATE), f"floor {floor}"
    assert documented == FLOORS


def test_every_room_has_its_line_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    for path in sorted((ROOT / "src/langrec").iterdir()):
        if path.name.startswith("_") or path.name == "py.typed":
            continue
        assert f"`{path.name}/`" in text or f"`{path.name}`" in text, f"ARCHITECTURE.md has no line for {path.name}"
    for room, start in re.findall(r"^\| `([\w/]+)/` \|.*\| `(\w+\.py)` \|$", text, re.MULTILINE):
        assert (ROOT / "src/langrec" / room / start).exists(), f"{room}/{start}"


def test_both_readmes_have_the_same_headings_blocks_tables_and_links():
    english, chinese = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))
    levels = [
        [line.split(" ")[0] for line in text.splitlines() if re.match("#+ ", line)] for text in (english, chinese)
    ]
    # Comments in the blocks start with "#" too: they stand in fences and are the same in both.
    assert levels[0] == levels[1]
    assert FENCE.findall(english) == FENCE.findall(chinese)
    assert re.findall("<!-- .* -->", english) == re.findall("<!-- .* -->", chinese)
    own = {"README.md", "README.zh.md"}
    assert [x for x in LINK.findall(english) if x not in own] == [x for x in LINK.findall(chinese) if x not in own]


def test_the_tables_of_the_readmes_are_those_of_the_results():
    spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "benches" / "readme_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for name, language in tables.PAGES.items():
        text = (ROOT / name).read_text("utf-8")
        for found in tables.BLOCK.finditer(text):
            assert found[3] == tables.block(found[2], language), (
                f"{name}: table {found[2]} is out of step with benches/results/{found[2]}.json; "
                "python benches/readme_tables.py"
            )


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "docs/operations.md"])
def test_what_is_said_of_a_large_shop_is_what_was_measured(page):
    found = json.loads((ROOT / "benches/results/serve_large.json").read_text("utf-8"))
    text = (ROOT / page).read_text("utf-8")
    said = [f"{found['requests_per_s']:.0f}", f"{found['search_p50_ms']:.0f}", f"{found['cached_share_of_empty']:.2f}"]
    if page.startswith("README"):
        said += [f"{found['cached_per_s']:,.0f}", f"{found['item_ms']:.0f}"]
    said += [f"{found['p99_ms']:.0f}", f"{found['search_p99_ms']:.0f}"]
    assert [one for one in said if one not in text] == []


@pytest.mark.parametrize(("page", "to"), [("README.md", "to"), ("README.zh.md", "至")])
def test_what_is_said_of_int8_is_what_was_measured(page, to):
    rows = [
        row for path in ROOT.glob("benches/results/encode*.json") for row in json.loads(path.read_text("utf-8"))["rows"]
    ]
    for runtime in ("openvino-int8", "onnx-int8"):
        found = [row["mixed_ratio"] for row in rows if row["runtime"] == runtime]
        assert f"{min(found):.1f} {to} {max(found):.1f} " in (ROOT / page).read_text("utf-8"), runtime


def test_what_is_said_of_the_mix_on_unseen_items_is_what_was_measured():
    text = (ROOT / "docs/models.md").read_text("utf-8")
    for name, others in (
        ("amazon-beauty-2014-loo", ("bm25", "vectors")),
        ("ml-latest-small-time", ("tfidf", "vectors")),
        ("amazon-office-2018-own", ("tfidf", "vectors")),
    ):
        rows = json.loads((ROOT / f"benches/results/evaluate-{name}.json").read_text("utf-8"))["metrics"]
        found = {row["model"]: row["value"] for row in rows if (row["slice"], row["metric"]) == ("warm", "ndcg@10")}
        mix, first, second = (f"{found[model]:.3f}" for model in ("mix", *others))
        said = rf"{mix} against {first}\s+\(`{others[0]}`\) and {second}\s+\(`{others[1]}`\)"
        assert re.search(said, text), (name, said)


def test_every_results_file_that_a_page_names_is_there():
    written = [(page, page.read_text("utf-8")) for page in PAGES]
    named = {(page.name, name) for page, text in written for name in re.findall(r"results/([a-z\d_.-]+\.json)", text)}
    assert len(named) > 5
    kept = {path.name for path in (ROOT / "benches/results").glob("*.json")}
    assert sorted((page, name) for page, name in named if name not in kept) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*.toml")), ids=page_id)
def test_every_recipe_loads_and_changes_something(path):
    settings = load_settings(path, environ={})
    assert settings != Settings()
    assert len(path.read_text("utf-8").splitlines()) <= 25, "a recipe is an overlay, not a copy of the defaults"
    assert f"`{path.name}`" in (ROOT / "docs/settings.md").read_text("utf-8")


def test_the_code_that_scores_lists_again_reads_ids_as_they_are(tmp_path):
    code = next(
        code for kind, code in FENCE.findall((ROOT / "docs/measuring.md").read_text("utf-8")) if "lists/mix" in code
    )
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\nu1,007,1\nu1,008,2\nu2,009,3\n")
    (tmp_path / "report/lists").mkdir(parents=True)
    (tmp_path / "report/protocol.json").write_text('{"questions": 2}')
    found = {"event": [1, 1, 2], "item_id": ["007", "008", "009"], "rank": [1, 2, 1]}
    pl.DataFrame(found).write_parquet(tmp_path / "report/lists/mix.parquet")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx((1 / math.log2(3) + 1) / 2), done.stderr


def test_the_client_s_page_names_every_call():
    written = (ROOT / "docs/client.md").read_text("utf-8")
    calls = {
        name for cell in re.findall(r"^\| [^|]+ \| `([a-z_ ]+)` \|$", written, re.MULTILINE) for name in cell.split()
    }
    assert calls == {name for name in vars(langrec.Client) if not name.startswith("_")} - {"close"}


def test_the_page_of_the_store_names_every_table():
    from langrec.service.store.schema import metadata

    named = re.findall(r"^\| ((?:`[a-z_]+` ?)+)\|", (ROOT / "docs/store.md").read_text("utf-8"), re.MULTILINE)
    assert [name for name in metadata.tables if name not in re.findall(r"\w+", " ".join(named))] == []


def test_the_changelog_has_a_place_for_the_next_change():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
    assert langrec.__version__ in text


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
