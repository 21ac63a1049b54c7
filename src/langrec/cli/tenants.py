"""`langrec tenants`: adds and lists the shops of one server."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from langrec.cli.keys import StoreUrl, opened
from langrec.cli.options import AsJson, wide_console
from langrec.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Add and list the shops of one server.", rich_markup_mode="markdown")

Folder = Annotated[
    Path, typer.Option("--tenants", help="Folder of all tenants, as `langrec serve --tenants` takes it.")
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Small letters, digits and hyphens.")],
    tenants: Folder = Path("tenants"),
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the tenant, such as rate=50 or store=URL; repeatable."),
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant's folder, where its releases go, and write its settings down.

    Example: `langrec tenants add acme`

    Example: `langrec tenants add acme --set rate=50 --set store=postgresql://shop@db/acme`
    """
    from langrec.service.store import audit
    from langrec.service.tenants import FILE, check_tenant, control_url, shares_store_with
    from langrec.settings import ServeSettings

    folder = tenants / check_tenant(name)
    path = folder / FILE
    if path.exists():
        raise SettingsError(f"{path}: is there already; edit it, or choose another name", field="tenant")
    lines = [_line(one) for one in set_ or []]
    (folder / "releases").mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)  # a store's URL may hold a password
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    control = store or control_url(tenants)
    try:
        other = shares_store_with(tenants, name, ServeSettings(store=control))
        if other is not None:
            raise SettingsError(f"--set store: is the store of {other} already; each tenant has its own", field="set")
    except SettingsError:
        path.unlink()
        with contextlib.suppress(OSError):  # what held something before stays
            (folder / "releases").rmdir()
            folder.rmdir()
        raise
    with opened(control, None, make=True) as found, found.write() as connection:
        audit.note(
            connection, audit.cli_actor(), "add tenant", name, {"settings": [one.split(" =")[0] for one in lines]}
        )
    if as_json:
        print(
            json.dumps({"tenant": name, "folder": str(folder), "releases": str(folder / "releases"), "keys": control})
        )
        return
    print(f"{folder}: train with `langrec train --out {folder / 'releases'}`, and make a key with")
    where = f"--tenants {tenants}" if store is None else f"--tenants {tenants} --store {store}"
    print(f"`langrec keys add 'web shop' --role read --tenant {name} {where}`")


@app.command("list")
def list_(tenants: Folder = Path("tenants"), store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the tenants with their releases, stores and keys.

    Example: `langrec tenants list`
    """
    import time

    import sqlalchemy as sa

    from langrec.service.access.keys_rows import all_keys
    from langrec.service.store.store import shown
    from langrec.service.tenants import control_url, tenant_settings, tenants_in
    from langrec.settings import ServeSettings

    now = int(time.time() * 1000)
    with opened(store or control_url(tenants), None, make=store is None) as found, found.read() as connection:
        keys = [key.tenant for key in all_keys(connection) if key.state(now) in ("valid", "ends")]
    rows: list[dict[str, Any]] = []
    for name in tenants_in(tenants):
        folder = tenants / name
        current = folder / "releases" / "CURRENT"
        url = shown(sa.make_url(tenant_settings(folder, ServeSettings()).store))
        release = current.read_text("utf-8").strip() if current.is_file() else None
        rows.append({"tenant": name, "release": release, "store": url, "keys": keys.count(name)})
    if as_json:
        print(json.dumps(rows))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("tenant", "release", "keys", "store")
    for row in rows:
        table.add_row(row["tenant"], row["release"] or "none yet", str(row["keys"]), escape(row["store"]))
    wide_console().print(table)


def _line(setting: str) -> str:
    """A line of TOML of name=value; what is no number, true or false is a text."""
    import re

    name, equals, value = setting.partition("=")
    if not equals or not re.fullmatch(r"[a-z_]+", name.strip()):
        raise SettingsError(f"--set {setting!r}: is not name=value, such as rate=50", field="set")
    value = value.strip()
    plain = re.fullmatch(r"-?\d+(\.\d+)?|true|false", value)
    return f"{name.strip()} = {value if plain else json.dumps(value)}"
