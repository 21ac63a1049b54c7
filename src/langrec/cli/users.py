"""`langrec users`: what is known of a user, as a file, and the deletion of a user with its receipt."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.keys import StoreUrl, opened
from langrec.cli.options import AsJson, Recipe, check_out_file

app = typer.Typer(no_args_is_help=True, help="Export and delete what is known of a user.", rich_markup_mode="markdown")

User = Annotated[str, typer.Argument(help="The user's id.")]


@app.command()
def export(
    user: User,
    out: Annotated[Path | None, typer.Option(help="File; standard output where it is absent.")] = None,
    store: StoreUrl = None,
    recipe: Recipe = None,
) -> None:
    """Write all that the store knows of a user as JSON: profile, events, impressions.

    Example: `langrec users export ann --out ann.json --store sqlite:///shop.db`
    """
    from langrec.service.store.receipts import export_user

    if out is not None:
        check_out_file(out, such="user.json")
    with opened(store, recipe) as found, found.read() as connection:
        known = export_user(connection, user)
    text = json.dumps(known, ensure_ascii=False, indent=1)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", "utf-8")
        print(f"{out}: {len(known['events']):,} events, {len(known['impressions']):,} lists shown")


@app.command()
def delete(
    user: User,
    releases: Annotated[Path, typer.Option(help="Folder of releases, for what becomes of the models.")] = Path(
        "releases"
    ),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreUrl = None,
    recipe: Recipe = None,
    as_json: AsJson = False,
) -> None:
    """Delete a user with all events and impressions, and print the receipt. Running servers follow within seconds.

    Example: `langrec users delete ann --releases releases --store sqlite:///shop.db`
    """
    from langrec.bundle import Bundle
    from langrec.service.store.audit import cli_actor
    from langrec.service.store.receipts import Outlook, delete_user, shown

    bundle = Bundle.open(releases, verify=False)
    outlook = Outlook.of(bundle.stamp, bundle.manifest["models"])
    if not yes:
        _ask(user)
    with opened(store, recipe) as found, found.write() as connection:
        known, said = delete_user(connection, user, cli_actor(), outlook, int(time.time() * 1000))
    if as_json:
        print(json.dumps({"known": known, **shown(said)}, ensure_ascii=False))
        return
    removed = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in said["removed"].items() if n) or "nothing"
    print(f"removed   {removed}")
    print(f"exact     {', '.join(said['exact'])} (in each running server within serve.update_seconds)")
    print(f"scheduled {', '.join(said['scheduled']) or 'nothing'} (langrec retrain)")
    print(f"receipt   {said['receipt']}")


def _ask(user: str) -> None:
    from langrec.errors import SettingsError

    try:
        typer.confirm(f"Delete {user} with all events and impressions? There is no way back.", abort=True, err=True)
    except typer.Abort as stop:
        print(file=sys.stderr)
        if isinstance(stop.__context__, EOFError):
            raise SettingsError("nobody answers here: --yes deletes without asking", field="yes") from None
        raise


@app.command()
def receipt(
    receipt_id: Annotated[str, typer.Argument(metavar="RECEIPT", help="The id that the deletion gave.")],
    releases: Annotated[Path, typer.Option(help="Folder of releases that are looked through.")] = Path("releases"),
    store: StoreUrl = None,
    recipe: Recipe = None,
) -> None:
    """Prove a receipt: look for rows of the user, for releases that hold them, for the retraining. Prints JSON.

    Example: `langrec users receipt 5f2b7a0c9d1e4f38a6b0c7d2e9f41a53 --releases releases --store sqlite:///shop.db`
    """
    from langrec.errors import DataError
    from langrec.service.store.receipts import prove

    with opened(store, recipe) as found, found.read() as connection:
        proof = prove(connection, receipt_id, releases if releases.is_dir() else None)
    if proof is None:
        raise DataError(
            f"there is no receipt {receipt_id!r} in this store; langrec audit list shows that of each deletion",
            field="receipt",
        )
    print(json.dumps(proof, ensure_ascii=False, indent=1))
