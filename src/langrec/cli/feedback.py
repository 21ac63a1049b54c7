"""`langrec feedback`: what the log says of the lists that were shown."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from langrec.cli.keys import StoreUrl
from langrec.cli.options import AsJson, Overrides, Recipe, wide_console

app = typer.Typer(
    no_args_is_help=True, help="What the log says of the lists that were shown.", rich_markup_mode="markdown"
)


@app.callback()
def verbs() -> None:
    """Keeps `report` a word of its own though it is the only one."""


@app.command()
def report(
    releases: Annotated[Path, typer.Option(help="Folder of releases, or a release.")] = Path("releases"),
    store: StoreUrl = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Click-through by place, share of fallback lists, coverage, freshness and drift, with named warnings.

    Example: `langrec feedback report --store sqlite:///langrec.db --releases releases`

    Example: `langrec feedback report --set feedback.days=30 --json`
    """
    from langrec.bundle import Bundle
    from langrec.recipe import load_settings
    from langrec.service.quality import Live, work_out
    from langrec.service.store.store import Store

    settings = load_settings(recipe, overrides or [])
    bundle = Bundle.open(releases, verify=False)
    opened = Store(store or settings.serve.store, create=None)
    try:
        recommender = with_store_items(bundle.recommender(), opened)
        live = Live.of(recommender, bundle.folder)
        found = work_out(opened, live, settings.feedback, int(time.time() * 1000))
    finally:
        opened.close()
    if as_json:
        print(json.dumps(found))
        return
    _print(found)


def with_store_items(recommender: Any, store: Any) -> Any:
    """The release's recommender with the items that the store has beyond it."""
    from langrec.service.store import item_rows

    with store.read() as connection:
        changes = item_rows.changes_of(
            connection, [name for name in item_rows.contents(connection) if name not in recommender.items.ids]
        )
    new = [change.item for change in changes if change.item is not None]
    return recommender.with_changes(new) if new else recommender


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    def interval(one: dict[str, Any]) -> str:
        return (
            "–"
            if one["value"] is None
            else f"{one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%}) of {one['n']:,}"
        )

    console = wide_console()
    facts = Table("of the last days", f"{found['days']:g}")
    facts.add_row("lists shown", f"{found['lists']:,}")
    facts.add_row("acted on, of all places", interval(found["click_through"]))
    facts.add_row("fallback lists", interval(found["fallback"]))
    facts.add_row("coverage at 5, 10, 20", ", ".join(share(found["coverage"][k]) for k in ("5", "10", "20")))
    for name, days in found["age_days"].items():
        facts.add_row(f"newest {name}", "–" if days is None else f"{days:,.2f} days old")
    facts.add_row("new items", f"{found['new_items']:,}")
    facts.add_row("their unknown words", share(found["unknown_words"]))
    far = found["text_distance"]
    facts.add_row("their texts' distance", "–" if far is None else f"{far:.2f} spreads")
    moved = found["popularity_drift"]
    facts.add_row("popularity, week on week", "–" if moved is None else f"{moved:.3f} bits")
    console.print(facts)
    if found["click_through_by_place"]:
        places = Table("place", "shown", "acted on", "share", "interval")
        for one in found["click_through_by_place"]:
            bounds = f"{one['low']:.1%} to {one['high']:.1%}"
            places.add_row(str(one["place"]), f"{one['n']:,}", f"{one['hits']:,}", share(one["value"]), bounds)
        console.print(places)
    for one in found["warnings"]:
        console.print(f"warning: {one['name']}: {one['value']:.4g}, limit {one['limit']:g}")
    if not found["warnings"]:
        console.print("no warnings")
