"""`langrec store`: bring the store to a new schema, and what else is done to a store while no server runs on it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from langrec.cli.options import AsJson

app = typer.Typer(no_args_is_help=True, help="Migrate the store.", rich_markup_mode="markdown")

Url = Annotated[str, typer.Argument(help="Database URL, such as sqlite:///langrec.db.")]


@app.command()
def migrate(store: Url = "sqlite:///langrec.db", as_json: AsJson = False) -> None:
    """Bring a store that an older langrec made to this one's schema, wholly or not at all. Stop its servers first.

    Example: `langrec store migrate sqlite:///shop.db`
    """
    from langrec.service.migrating import migrate as bring_here

    before, after = bring_here(store)
    if as_json:
        print(json.dumps({"before": before, "after": after}))
    elif before == after:
        print(f"schema {after}, nothing to do")
    else:
        print(f"schema {before} -> {after}")
