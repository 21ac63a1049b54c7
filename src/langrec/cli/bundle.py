"""`langrec bundle`: list, check, roll back and move releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import AsJson, wide_console
from langrec.errors import BundleError

app = typer.Typer(no_args_is_help=True, help="List, check, roll back and move releases.", rich_markup_mode="markdown")

Releases = Annotated[Path, typer.Argument(help="Folder of releases.")]


@app.command("list")
def list_(releases: Releases = Path("releases"), as_json: AsJson = False) -> None:
    """List the releases, newest first.

    Example: `langrec bundle list releases`
    """
    from langrec.releases import releases as find_releases

    found = find_releases(releases)
    if not found and not releases.is_dir():
        raise BundleError(f"{releases}: no such folder; check the path, or langrec train --out {releases} makes it")
    if as_json:
        rows = [
            {
                "stamp": one.stamp,
                "current": one.current,
                "size_bytes": one.size_bytes,
                "problem": one.problem,
                "kept": one.kept,
            }
            for one in found
        ]
        print(json.dumps(rows))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    # `--to` and `--release` take a whole stamp.
    for name in ("release", "in use", "items", "events", "NDCG@10", "MB"):
        table.add_column(name, no_wrap=True)
    told = any(one.problem or one.kept for one in found)
    if told:
        table.add_column("problem or why it was kept back", overflow="fold")
    for one in found:
        data = one.manifest["data"] if one.manifest else {}
        scores = [
            row["value"]
            for row in (one.manifest["metrics"] if one.manifest else [])
            if row["model"] == "mix" and row["metric"] == "ndcg@10"
        ]
        table.add_row(
            escape(one.stamp),
            "yes" if one.current else "",
            str(data.get("n_items", "")),
            str(data.get("n_events", "")),
            f"{scores[0]:.4f}" if scores else "",
            f"{one.size_bytes / 1e6:.1f}",
            *([escape(one.problem or one.kept or "")] if told else []),
        )
    wide_console().print(table)


@app.command()
def check(
    release: Annotated[Path, typer.Argument(help="A release, or a folder of releases.")], as_json: AsJson = False
) -> None:
    """Check every file of a release against its manifest and load every part.

    Example: `langrec bundle check releases`
    """
    from langrec.bundle import Bundle

    bundle = Bundle.open(release)
    recommender = bundle.recommender()
    if as_json:
        found = {"release": bundle.stamp, "folder": str(bundle.folder), "files": len(bundle.manifest["files"])}
        print(json.dumps({**found, "items": recommender.n_items, "sound": True}))
        return
    print(f"{bundle.stamp}: {len(bundle.manifest['files'])} files as written, {recommender.n_items} items, sound")


@app.command()
def rollback(
    releases: Releases = Path("releases"),
    to: Annotated[str | None, typer.Option("--to", help="Stamp of a release; default: the one before.")] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", help="Store whose audit is to say who did it; default: none, which is said."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Point CURRENT to an earlier release; running servers follow within a second.

    Example: `langrec bundle rollback releases`

    Example: `langrec bundle rollback releases --to 20240501T120000-03d072d1 --store sqlite:///shop.db`
    """
    from langrec.releases import rollback as go_back

    if store is None:
        stamp = go_back(releases, to)
        typer.echo("no audit says who did this: --store URL names the store whose audit is to say it", err=True)
    else:
        from langrec.cli.store import noting

        with noting(store) as note:  # a store that cannot be opened leaves the release in use as it is
            stamp = go_back(releases, to)
            note("rollback", stamp, None)
    print(json.dumps({"release": stamp, "folder": str(releases / stamp)}) if as_json else stamp)


@app.command()
def push(
    url: Annotated[str, typer.Argument(help="Address of releases, such as s3://bucket/releases.")],
    releases: Annotated[Path, typer.Option("--releases", help="Folder of releases.")] = Path("releases"),
    stamp: Annotated[str | None, typer.Option("--release", help="Stamp; default: the one in use.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a release to an address that fsspec knows, and make it the one in use there.

    Example: `langrec bundle push s3://shop-models/releases --releases releases`
    """
    from langrec.cli.options import bar
    from langrec.remote import push_release

    with bar() as told:
        found = push_release(releases, url, stamp, progress=told)
    print(json.dumps({"release": found, "url": url}) if as_json else found)


@app.command()
def pull(
    url: Annotated[str, typer.Argument(help="Address of releases, such as s3://bucket/releases.")],
    releases: Annotated[Path, typer.Option("--releases", help="Folder of releases.")] = Path("releases"),
    stamp: Annotated[str | None, typer.Option("--release", help="Stamp; default: the one in use there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a release from an address, check every file, and make it the one in use here; running servers follow.

    Example: `langrec bundle pull s3://shop-models/releases --releases releases`
    """
    from langrec.cli.options import bar
    from langrec.remote import pull_release

    with bar() as told:
        found = pull_release(url, releases, stamp, progress=told)
    print(json.dumps({"release": found, "folder": str(releases / found)}) if as_json else found)
