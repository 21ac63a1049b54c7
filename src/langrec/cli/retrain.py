"""`langrec retrain`: one training on the store's events, judged against the release in use."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.keys import StoreUrl
from langrec.cli.options import AsJson, Overrides, Recipe, bar


def retrain(
    releases: Annotated[Path, typer.Option(help="Folder of releases; its file CURRENT names the one in use.")] = Path(
        "releases"
    ),
    store: StoreUrl = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Name of a tenant, in place of --releases and --store.")
    ] = None,
    tenants: Annotated[
        Path, typer.Option("--tenants", help="Folder of all tenants, as `langrec serve --tenants` takes it.")
    ] = Path("tenants"),
    recipe: Recipe = None,
    overrides: Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train with few new events too, and promote whatever the comparison says.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train on the store's events and promote the new release if it is no worse than the one in use.

    Servers on the folder take it up within a second, without dropping a request. A release that does not pass is kept
    with the reason (`langrec bundle list`); `langrec bundle rollback` goes back. Without a recipe the settings are
    those that the release in use was trained with.

    Example: `langrec retrain --releases releases --store sqlite:///langrec.db`

    Example: `langrec retrain --releases releases --store sqlite:///shop.db --set retrain.max_loss=0.02`

    Example: `langrec retrain --tenant acme --tenants tenants`

    It exits with 0 where it promoted, kept, had nothing to do, or found another retraining at work.
    """
    from langrec.bundle import Bundle
    from langrec.recipe import load_settings
    from langrec.retraining.lease import Held
    from langrec.retraining.run import Outcome, stand_back
    from langrec.retraining.run import retrain as run
    from langrec.service.store.store import Store

    server = load_settings(recipe, overrides or []).serve
    is_named = store is not None
    if tenant is not None:
        from langrec.retraining.schedule import place_of

        place = place_of(tenants, tenant, server)
        releases, store = place.releases, place.store
    url = store or server.store
    base = None if recipe is not None else Bundle.open(releases, verify=False).settings
    own = load_settings(recipe, overrides or [], base=base)
    stand_back(own)
    # A slip in a name must not pass for a store without news; a shop that was never asked has none yet.
    opened = Store(url, create=None) if is_named else Store(url)
    try:
        with bar() as told:
            outcome = run(releases, opened, own, force=force, progress=told)
    except Held as error:
        outcome = Outcome("nothing to do", error.message)
    finally:
        opened.close()
    if as_json:
        print(json.dumps(dataclasses.asdict(outcome)))
        return
    print(f"{outcome.state}: {outcome.reason}")
    if outcome.release:
        print(f"release {outcome.release} in {releases / outcome.release} ({outcome.seconds:,.0f} s)")
    for stamp in outcome.removed:
        print(f"removed {stamp}")
    if outcome.receipts:
        print(f"{outcome.receipts} deletions are in it")
