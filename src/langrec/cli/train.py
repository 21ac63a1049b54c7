"""`langrec train`: from items and events to a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import (
    Address,
    AsJson,
    EventsOrRecipe,
    ItemsPath,
    Overrides,
    Recipe,
    UsersPath,
    Workers,
    bar,
    check_out,
    read_files,
    settings_of,
    wide_console,
    with_files,
    workers_of,
)
from langrec.errors import SettingsError


def train(
    recipe_file: Annotated[Path | None, typer.Argument(help="TOML file with settings, the same as --recipe.")] = None,
    events: EventsOrRecipe = None,
    items: ItemsPath = None,
    users: UsersPath = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of releases; default: files.out, which is releases.")
    ] = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    workers: Workers = 0,
    address: Address = "",
    as_json: AsJson = False,
) -> None:
    """Train a recommender: choose, measure, fit, and write a release that `langrec serve` serves.

    Example: `langrec train --events events.csv --items items.csv --out releases`

    Example: `langrec train recipes/adapted.toml --events ml-latest-small`

    Example: `langrec train --events ml-latest-small --out releases --set split.cut=0.6,0.8 --set encoder.name=hashing`

    Example: `langrec train --events events.csv --items items.csv --out releases --workers 2`

    Rows that cleaning sets aside are written to `OUT/rejected.parquet` with their file, row and reason.
    """
    from langrec.bundle import Bundle
    from langrec.training import train as run

    if recipe_file and recipe and recipe_file != recipe:
        raise SettingsError(f"--recipe {recipe}: {recipe_file} is named too; give one of them", field="recipe")
    settings = with_files(settings_of(recipe_file or recipe, overrides), events, items, users, out)
    out = check_out(Path(settings.files.out).expanduser())
    with workers_of(workers, address) as cluster, bar() as told:
        dataset = read_files(settings, out / "rejected.parquet", told)
        if cluster is None:
            folder, report = run(dataset, settings, out, progress=told)
        else:
            from langrec.scale.train import train as run_together

            folder, report = run_together(dataset, settings, out, cluster, progress=told)
    notes = Bundle.open(folder, verify=False).manifest["notes"]
    if as_json:
        rows = [row for row in report.rows if row.slice == "all" and row.metric == report.primary] if report else []
        print(
            json.dumps(
                {
                    "release": folder.name,
                    "folder": str(folder),
                    "chosen": report.chosen if report else "mix",
                    "metrics": {row.model: row.value for row in rows},
                    "notes": notes,
                }
            )
        )
        return
    if report:
        wide_console().print(report.table())
    for note in notes:
        print(f"note: {note}")
    print(f"release {folder.name} in {folder}")
    if report:
        print(f"report  {folder / 'measure' / 'report.html'}")
    print(f"serve   langrec serve --releases {out}")
