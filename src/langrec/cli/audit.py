"""`langrec audit`: lists and verifies who did what to a store."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Annotated

import typer

from langrec.cli.keys import StoreUrl, opened
from langrec.cli.options import AsJson, Recipe, wide_console

app = typer.Typer(no_args_is_help=True, help="List and verify who did what.", rich_markup_mode="markdown")


@app.command("list")
def list_(
    n: Annotated[int, typer.Option("--n", min=1, help="How many at most, the newest first.")] = 50,
    store: StoreUrl = None,
    recipe: Recipe = None,
    as_json: AsJson = False,
) -> None:
    """List what was done, the newest first.

    Example: `langrec audit list --n 20 --store sqlite:///shop.db`
    """
    from langrec.service.store.audit import page

    with opened(store, recipe) as found, found.read() as connection:
        acts = page(connection, n)
    if as_json:
        print(json.dumps([dataclasses.asdict(act) for act in acts]))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("row", "time", "who", "did", "to", "more")
    for act in acts:
        at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(act.at / 1000))
        more = "" if act.detail is None else json.dumps(act.detail, ensure_ascii=False)
        table.add_row(str(act.seq), at, *map(escape, (act.actor, act.action, act.target, more)))
    wide_console().print(table)


@app.command()
def verify(
    head: Annotated[
        str | None, typer.Option("--head", help="A hash noted before: it must still be in the chain.")
    ] = None,
    store: StoreUrl = None,
    recipe: Recipe = None,
    as_json: AsJson = False,
) -> None:
    """Check the chain of hashes from the first row to the last; name the first that does not hold (status 1).

    Example: `langrec audit verify --store sqlite:///shop.db`
    """
    from langrec.service.store.audit import verify as check

    with opened(store, recipe) as found, found.read() as connection:
        checked = check(connection, head)
    if as_json:
        print(json.dumps(dataclasses.asdict(checked)))
    elif checked.broken is None:
        print(f"{checked.rows} rows, each as it was written; the newest has the hash {checked.head}")
    else:
        print(f"broken at row {checked.broken}: {checked.problem}")
    if checked.broken is not None:
        raise typer.Exit(1)
