"""`langrec evaluate`: every scorer and the mix, measured under one protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

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
from langrec.registry import check_scorer


def evaluate(
    events: EventsOrRecipe = None,
    items: ItemsPath = None,
    users: UsersPath = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("evaluation"),
    split: Annotated[str | None, typer.Option("--split", help="time, loo or user.")] = None,
    cut: Annotated[str | None, typer.Option("--cut", help="Where validation and test begin, such as 0.8,0.9.")] = None,
    models: Annotated[str | None, typer.Option("--models", help="Scorers and mix, comma separated.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of intervals and samples.")] = None,
    html: Annotated[bool, typer.Option("--html/--no-html", help="Write report.html, a page without network.")] = True,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure the scorers and the mix with intervals, slices and the protocol's stamp.

    Writes `metrics.json`, `protocol.json`, `differences.json`, `report.md`, `report.html` and
    `lists/<model>.parquet`; under the time split also the same for one list per user in `per_user/`. Beside the text
    tower its controls are measured, and beside both towers their headroom: `controls.json`.

    Example: `langrec evaluate --events ml-latest-small --split time --out evaluation`

    Example: `langrec evaluate --events ratings.csv --items movies.csv --split loo --models ease,bm25,mix --out loo`
    """
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
    check_out(out)
    with bar() as told:
        dataset = read_files(settings, out / "rejected.parquet", told)
        first, second = evaluate_models(dataset, settings, names, progress=told)
        first.write(out, page=html)
        if second is not None:
            second.write(out / "per_user", page=html)
        else:
            take_away(out / "per_user")
    if as_json:
        print((out / "metrics.json").read_text("utf-8"))
        return
    wide_console().print(first.table())
    if first.protocol["leaks"]:
        print(f"note: {first.protocol['leaks']}")
    print(json.dumps({"question": first.protocol["question"], "split": first.protocol["split"]}))
    print(f"report {out / ('report.html' if html else 'report.md')}")
