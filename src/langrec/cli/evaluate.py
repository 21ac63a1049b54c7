"""`langrec evaluate`: every scorer and the mix, measured under one protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from langrec.cli.options import (
    AsJson,
    EventsOrRecipe,
    ItemsPath,
    Overrides,
    Recipe,
    UsersPath,
    bar,
    check_out,
    read_files,
    settings_of,
    wide_console,
    with_cut,
    with_files,
)
from langrec.errors import SettingsError
from langrec.registry import SCORERS, check_scorer, is_plugin, kind_of


def evaluate(
    events: EventsOrRecipe = None,
    items: ItemsPath = None,
    users: UsersPath = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("evaluation"),
    split: Annotated[str | None, typer.Option("--split", help="time, loo or user.")] = None,
    cut: Annotated[str | None, typer.Option("--cut", help="Where validation and test begin, such as 0.8,0.9.")] = None,
    models: Annotated[str | None, typer.Option("--models", help="Scorers and mix, comma separated.")] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option("--lists", help="NAME=FILE: lists that were made elsewhere, measured beside; may be given often."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of intervals and samples.")] = None,
    html: Annotated[bool, typer.Option("--html/--no-html", help="Write report.html, a page without network.")] = True,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure the scorers and the mix with intervals, slices and the protocol's stamp.

    Writes `metrics.json`, `protocol.json`, `differences.json`, `questions.parquet`, `report.md`, `report.html` and
    `lists/<model>.parquet`; under the time split also the same for one list per user in `per_user/`. Beside the text
    tower its controls are measured, and beside both towers their headroom: `controls.json`.

    Example: `langrec evaluate --events ml-latest-small --split time --out evaluation`

    Example: `langrec evaluate --events ratings.csv --items movies.csv --split loo --models ease,bm25,mix --out loo`

    Example: `langrec evaluate --events shop --lists today=today.parquet` (user_id, item_id, rank or score)
    """
    from langrec.evaluation.outside import read_lists
    from langrec.evaluation.report import take_away
    from langrec.training import evaluate_models

    seeds = [] if seed is None else [f"evaluate.seed={seed}", f"ranking.seed={seed}"]
    settings = with_cut(settings_of(recipe, [*(overrides or []), *seeds]), split, cut)
    settings = with_files(settings, events, items, users)
    names = tuple(name.strip() for name in (models or "").split(",") if name.strip())
    if models is not None and not names:
        raise SettingsError("--models: names nothing; leave it out to measure everything", field="models")
    for name in names:
        if name != "mix":
            check_scorer(name, "--models")
    files = _named(lists or [])
    check_out(out)
    with bar() as told:
        dataset = read_files(settings, out / "rejected.parquet", told)
        outside = {name: read_lists(file, dataset.users, dataset.catalogue.ids) for name, file in files.items()}
        first, second = evaluate_models(dataset, settings, names, lists=outside, progress=told)
        first.write(out, page=html)
        if second is not None:
            second.write(out / "per_user", page=html)
        else:
            take_away(out / "per_user")
    if as_json:
        print((out / "metrics.json").read_text("utf-8"))
        return
    reports = [first] if second is None else [first, second]
    wide_console().print(first.table())
    if second is not None and second.protocol.get("lists"):
        wide_console().print(second.table())
    if files:
        print("note: lists made elsewhere are compared fairly where nothing of the test was known to who made them")
    for report in reports:
        for name, found in report.protocol.get("lists", {}).items():
            _tell(name, report.protocol, found)
    if first.protocol["leaks"]:
        print(f"note: {first.protocol['leaks']}")
    print(json.dumps({"question": first.protocol["question"], "split": first.protocol["split"]}))
    print(f"report {out / ('report.html' if html else 'report.md')}")


def _named(given: list[str]) -> dict[str, Path]:
    """Names and files of NAME=FILE.

    Raises:
        SettingsError: one is not written so, or its name is a scorer's or there already.
    """
    files: dict[str, Path] = {}
    for text in given:
        name, is_so, file = text.partition("=")
        name = name.strip()
        if not (is_so and name and file):
            raise SettingsError(f"--lists {text}: write NAME=FILE, such as today=today.parquet", field="lists")
        kind, _ = kind_of(name)
        if name in (*files, "mix", "oracle_union") or kind in SCORERS or is_plugin("scorers", kind):
            raise SettingsError(f"--lists {text}: {name} is the name of another model; choose one", field="lists")
        files[name] = Path(file)
    return files


def _tell(name: str, protocol: Mapping[str, Any], found: Mapping[str, int]) -> None:
    """Says what lists that were made elsewhere lack."""
    lacks = []
    if found["unanswered"]:
        lacks.append(f"{found['unanswered']:,} of {protocol['questions']:,} questions have no list and count as missed")
    if found["unknown"]:
        lacks.append(f"{found['unknown']:,} rows of users or items that the data does not hold are passed over")
    if lacks:
        print(f"{name} ({protocol['question']}): {'; '.join(lacks)}")
