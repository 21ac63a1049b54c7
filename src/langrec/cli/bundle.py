"""`langrec bundle`: list, check and roll back releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import AsJson

app = typer.Typer(no_args_is_help=True, help="List, check and roll back releases.", rich_markup_mode="markdown")

Releases = Annotated[Path, typer.Argument(help="Folder of releases.")]


@app.command("list")
def list_(releases: Releases = Path("releases"), as_json: AsJson = False) -> None:
    """List the releases, newest first.

    Example: `langrec bundle list releases`
    """
    from langrec.bundle import releases as find_releases

    found = find_releases(releases)
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
    from rich.console import Console
    from rich.table import Table

    table = Table("release", "in use", "items", "events", "NDCG@10", "MB", "problem or why it was kept back")
    for one in found:
        data = one.manifest["data"] if one.manifest else {}
        scores = [
            row["value"]
            for row in (one.manifest["metrics"] if one.manifest else [])
            if row["model"] == "mix" and row["metric"] == "ndcg@10"
        ]
        table.add_row(
            one.stamp,
            "yes" if one.current else "",
            str(data.get("n_items", "")),
            str(data.get("n_events", "")),
            f"{scores[0]:.4f}" if scores else "",
            f"{one.size_bytes / 1e6:.1f}",
            one.problem or one.kept or "",
        )
    Console().print(table)


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
    as_json: AsJson = False,
) -> None:
    """Point CURRENT to an earlier release; running servers follow within a second.

    Example: `langrec bundle rollback releases`
    """
    from langrec.bundle import rollback as go_back

    stamp = go_back(releases, to)
    print(json.dumps({"release": stamp, "folder": str(releases / stamp)}) if as_json else stamp)
