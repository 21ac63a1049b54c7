"""`langrec keys`: makes, lists, rotates and revokes the API keys of a store; servers follow with their next request."""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langrec.cli.options import AsJson, Recipe, settings_of, wide_console
from langrec.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langrec.service.access.keys_rows import StoredKey
    from langrec.service.store.store import Store

app = typer.Typer(
    no_args_is_help=True,
    help="Make, list, rotate and revoke API keys; running servers follow with their next request.",
    rich_markup_mode="markdown",
)

StoreUrl = Annotated[
    str | None, typer.Option("--store", help="Database URL; default: serve.store of the recipe or the environment.")
]
KeyId = Annotated[str, typer.Argument(help="Id of a key, or its first digits; `langrec keys list` shows them.")]
_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What people call the key, such as 'web shop'.")],
    role: Annotated[str, typer.Option("--role", help="read, write or admin; in place of --scope.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="area:act, such as feedback:write; may be given often.")
    ] = None,
    expires: Annotated[str, typer.Option("--expires", help="When it ends from now on: 90d, 12h, 30m.")] = "",
    rate: Annotated[float | None, typer.Option("--rate", help="Requests a second; default: serve.rate.")] = None,
    burst: Annotated[int | None, typer.Option("--burst", help="Requests at once; default: serve.burst.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose key it is, on a server of tenants.")] = "",
    tenants: Annotated[
        Path | None,
        typer.Option(help="Folder of all tenants, whose keys lie in its control.db unless --store says else."),
    ] = None,
    store: StoreUrl = None,
    recipe: Recipe = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once: the store keeps its hash.

    Example: `langrec keys add 'web shop' --role read --store sqlite:///shop.db`

    Example: `langrec keys add importer --scope items:write --scope feedback:write --expires 90d`

    Example: `langrec keys add 'acme web' --role read --tenant acme --tenants tenants`
    """
    from langrec.service.access.keys_rows import add_key
    from langrec.service.store.audit import cli_actor
    from langrec.service.tenants import control_url
    from langrec.settings import ServeSettings

    now = int(time.time() * 1000)
    lasts = parse_span(expires, "expires") if expires else None
    if lasts == 0:
        raise SettingsError(f"--expires {expires!r}: a key that ends at once opens nothing", field="expires")
    ends = None if lasts is None else now + lasts
    settings = settings_of(recipe, None).serve
    folder = tenants or (Path(settings.tenants) if settings.tenants else None)
    url = store or settings.store
    if folder is not None and url == ServeSettings().store:
        url = control_url(folder)
    if tenant:
        _check_known(tenant, folder, url)
    with opened(url, None, make=True) as found, found.write() as connection:
        text, key = add_key(
            connection,
            name,
            actor=cli_actor(),
            now=now,
            role=role,
            scopes=tuple(scope or ()),
            tenant=tenant,
            rate=rate,
            burst=burst,
            expires_at=ends,
        )
    _show_new(text, key, as_json, {})


@app.command("list")
def list_(store: StoreUrl = None, recipe: Recipe = None, as_json: AsJson = False) -> None:
    """List the keys of a store with their uses; never the keys themselves.

    Example: `langrec keys list --store sqlite:///shop.db`
    """
    from langrec.service.access.keys_rows import all_keys

    now = int(time.time() * 1000)
    with opened(store, recipe) as found, found.read() as connection:
        rows = [_row(key, now) for key in all_keys(connection)]
    if as_json:
        print(json.dumps(rows))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("key", min_width=12)
    for name in ("name", "may"):
        table.add_column(name)
    table.add_column("state", min_width=7)
    for name in ("ends", "uses", "last use"):
        table.add_column(name)
    for row in rows:
        whose = f"{row['tenant']}: " if row["tenant"] else ""
        may = ", ".join(row["scopes"]) or row["role"]
        limit = "" if row["rate"] is None else f", {row['rate']:g}/s"
        table.add_row(
            row["id"],
            escape(whose + row["name"]),
            may + limit,
            row["state"],
            _shown(row["expires_at"]),
            str(row["n_used"]),
            _shown(row["last_used"]),
        )
    wide_console().print(table)


@app.command()
def rotate(
    key: KeyId,
    grace: Annotated[str, typer.Option("--grace", help="How long the old key stays valid: 24h, 30m, 0s.")] = "24h",
    store: StoreUrl = None,
    recipe: Recipe = None,
    as_json: AsJson = False,
) -> None:
    """Make a new key that may do what an old one may, and let the old one end after a while.

    Example: `langrec keys rotate 3fa1b2 --grace 1h`
    """
    from langrec.service.access.keys_rows import rotate_key
    from langrec.service.store.audit import cli_actor

    now = int(time.time() * 1000)
    with opened(store, recipe) as found, found.write() as connection:
        text, new, old = rotate_key(connection, key, actor=cli_actor(), now=now, grace_ms=parse_span(grace, "grace"))
    _show_new(text, new, as_json, {"old": old.id, "old_ends": old.expires_at})
    if not as_json:
        print(f"the old key {old.id} ends at {_shown(old.expires_at)}")


@app.command()
def revoke(key: KeyId, store: StoreUrl = None, recipe: Recipe = None, as_json: AsJson = False) -> None:
    """End a key at once.

    Example: `langrec keys revoke 3fa1b2`
    """
    from langrec.service.access.keys_rows import revoke_key
    from langrec.service.store.audit import cli_actor

    now = int(time.time() * 1000)
    with opened(store, recipe) as found, found.write() as connection:
        ended = revoke_key(connection, key, actor=cli_actor(), now=now)
    print(json.dumps(_row(ended, now)) if as_json else f"{ended.id} ({ended.name}) opens nothing any more")


@contextmanager
def opened(store: str | None, recipe: Any, *, make: bool = False) -> Iterator[Store]:
    """The store that the command line or the settings name, while the block runs.

    Args:
        make: make one where there is none; else that is an error, so that a slip in its name is told.
    """
    from langrec.service.store.store import Store

    url = store or settings_of(recipe, None).serve.store
    found = Store(url) if make else Store(url, create=None)
    try:
        yield found
    finally:
        found.close()


def parse_span(text: str, option: str) -> int:
    """Milliseconds of a span such as 90d, 12h, 30m or 10s.

    Raises:
        SettingsError: it is none.
    """
    parts = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if parts is None:
        raise SettingsError(f"--{option} {text!r}: is not a span such as 90d, 12h, 30m or 10s", field=option)
    return int(parts[1]) * _UNITS[parts[2]]


def _check_known(tenant: str, folder: Path | None, store: str) -> None:
    """Raises SettingsError where there is no such tenant: its key would open nothing."""
    from langrec.service.tenants import folder_of_control, tenants_in

    folder = folder or folder_of_control(store)
    if folder is None:
        raise SettingsError(
            f"--tenant {tenant}: name the folder of all tenants with --tenants, so that a slip is told", field="tenants"
        )
    known = tenants_in(folder)
    if tenant not in known:
        raise SettingsError(
            f"--tenant {tenant}: {folder} has no such tenant ({', '.join(known) or 'none yet'}); "
            f"`langrec tenants add {tenant} --tenants {folder}` makes it",
            field="tenant",
        )


def _show_new(text: str, key: StoredKey, as_json: bool, more: dict[str, Any]) -> None:
    if as_json:
        print(json.dumps({"key": text, **_row(key, key.made_at), **more}))
        return
    print(text)
    may = ", ".join(key.scopes) or key.role
    end = f", until {_shown(key.expires_at)}" if key.expires_at else ""
    print(f"key {key.id} ({key.name}): {may}{end}. It is not shown again; send it in the header X-API-Key.")


def _row(key: StoredKey, now: int) -> dict[str, Any]:
    names = (
        "id",
        "name",
        "role",
        "tenant",
        "rate",
        "burst",
        "made_at",
        "expires_at",
        "revoked_at",
        "last_used",
        "n_used",
    )
    return {**{name: getattr(key, name) for name in names}, "scopes": list(key.scopes), "state": key.state(now)}


def _shown(at: int | None) -> str:
    if at is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at / 1000))
