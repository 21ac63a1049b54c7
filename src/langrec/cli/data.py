"""`langrec data`: fetch public data sets, check files for problems, describe what is in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from langrec.cli.options import check_out_file, wide_console

app = typer.Typer(
    no_args_is_help=True,
    help="Fetch, check and describe events and items.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Events = Annotated[Path | None, typer.Option("--events", help="Events file, or a folder with events and items.")]
Items = Annotated[Path | None, typer.Option("--items", help="Item file or its folder.")]
Users = Annotated[
    Path | None, typer.Option("--users", help="Users file or its folder; default: that in the folder of the events.")
]
Recipe = Annotated[Path | None, typer.Option("--recipe", help="TOML file with settings.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="A setting as section.key=value; may be given often.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="ml-100k or ml-latest-small.")],
    folder: Annotated[Path | None, typer.Option("--to", help="Parent folder; default: the cache.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="ml-latest-small: its folder, its zip file or the zip's URL.")
    ] = None,
    sha256: Annotated[str | None, typer.Option("--sha256", help="Expected hash of the zip.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set once; its terms of use are shown first.

    Example: `langrec data fetch ml-100k`

    Example: `langrec data fetch ml-latest-small --from ~/downloads/ml-latest-small.zip`
    """
    from langrec.data.fetch import fetch as fetch_data

    def show(text: str) -> None:
        print(text, file=sys.stderr)

    path = fetch_data(name, folder, source=source, sha256=sha256, show=show)
    print(json.dumps({"name": name, "folder": str(path)}) if as_json else path)


@app.command()
def check(
    events: Events = None,
    items: Items = None,
    users: Users = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop with status 2 at the first kind of problem.")] = False,
    rejected: Annotated[
        Path | None, typer.Option("--rejected", help="Write refused rows to this Parquet file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every problem of the files with its place and a fix. Status 2 where they cannot be used at all.

    Example: `langrec data check --events events.csv --items items.csv`

    Example: `langrec data check --events my_folder --strict`
    """
    from langrec.data.checks import check_data

    settings = _settings(recipe, overrides, strict)
    if rejected is not None:
        check_out_file(rejected, "--rejected", "rejected.parquet")
    found = check_data(events, items, settings, users=users, rejected=rejected)
    if as_json:
        print(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    else:
        from langrec.data.report import steps_table

        console = wide_console()
        console.print(steps_table(found.steps, found.title) if found.steps else found.title)
        if not found.steps and not found.error:
            console.print("no problems found")
        if found.error:
            print(f"DataError: {found.error}", file=sys.stderr)
    if found.error:
        raise typer.Exit(2)


@app.command()
def describe(
    events: Events = None,
    items: Items = None,
    users: Users = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what the data holds after cleaning: sizes, span, density, popularity, histories, texts and fields.

    Example: `langrec data describe --events events.parquet --items items.csv`
    """
    from langrec.data.describe import describe_dataset
    from langrec.data.load import load_dataset

    dataset, report = load_dataset(events, items, _settings(recipe, overrides, False), users=users)
    facts = describe_dataset(dataset)
    if as_json:
        print(json.dumps({**facts, "cleaning": report.to_dict()}, indent=1, ensure_ascii=False))
        return
    console = wide_console()
    for section, values in facts.items():
        console.print(_facts_table(section.replace("_", " "), values))
    if report.steps:
        console.print(report.table())


def _settings(recipe: Path | None, overrides: list[str] | None, strict: bool) -> Any:
    import dataclasses

    from langrec.recipe import load_settings

    settings = load_settings(recipe, overrides or ()).data
    return dataclasses.replace(settings, strict=True) if strict else settings


def _facts_table(section: str, values: Any) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=section, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in values.items():
        if isinstance(value, dict):
            text = ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
        elif isinstance(value, list):
            text = ", ".join(map(_shown, value))
        else:
            text = _shown(value)
        # Columns keep their names: filters and recipes use them as they are.
        table.add_row(
            escape(name if section in ("texts", "fields", "user fields") else name.replace("_", " ")), escape(text)
        )
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
