"""`langrec demo`: the main job on MovieLens-100K, from the package registry to a page in the browser."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from langrec.cli.options import AsJson, Overrides, Recipe, bar, settings_of, wide_console
from langrec.steps import step_hash


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo keeps its files.")] = Path("demo"),
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the console at the end.")] = True,
    port: Annotated[int, typer.Option("--port", help="TCP port of the console.")] = 8087,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Fetch MovieLens-100K, check and clean it, read its texts, fit, measure, write a release, and serve it.

    A second run reuses what is done. Ctrl-C stops the server.

    Example: `langrec demo --no-serve`
    """
    from rich.console import Console

    from langrec.bundle import Bundle
    from langrec.data.fetch import fetch
    from langrec.data.load import load_dataset
    from langrec.recipe import to_dict
    from langrec.releases import releases
    from langrec.training import train

    console = Console(stderr=True)
    settings = settings_of(recipe, overrides)
    data = fetch("ml-100k", None, show=console.print)
    dataset, cleaned = load_dataset(data, None, settings.data, rejected=folder / "rejected.parquet")
    console.print(cleaned.table())
    wanted = step_hash("demo", {"data": dataset.hash(), "settings": to_dict(settings)})
    mark = folder / "made-from.json"
    made = _read(mark)
    sound = {one.stamp for one in releases(folder / "releases") if one.problem is None}
    if made.get("hash") == wanted and made.get("release") in sound:
        release = folder / "releases" / made["release"]
        console.print(f"release {made['release']} was made from this data before: nothing to train")
    else:
        with bar() as told:
            release, _ = train(dataset, settings, folder / "releases", progress=told)
        mark.write_text(json.dumps({"hash": wanted, "release": release.name}), "utf-8")
    from langrec.cli.serve import address, run

    store = f"sqlite:///{(folder / 'langrec.db').absolute()}"
    chosen = dataclasses.replace(settings.serve, port=port, store=store)
    manifest = Bundle.open(release, verify=False).manifest
    report = release / "measure" / "report.html"
    if as_json:
        said = {"release": release.name, "folder": str(release), "report": str(report), "data": manifest["data"]}
        console_url = address(chosen) if serve else None
        print(json.dumps({**said, "metrics": manifest["metrics"], "console": console_url}), flush=True)
    else:
        wide_console().print(_table(manifest["metrics"]))
        print(f"report  {report}")
    if serve:
        run(folder / "releases", dataclasses.replace(settings, serve=chosen), say=sys.stderr if as_json else None)


def _read(mark: Path) -> dict[str, Any]:
    """What a release was made from; empty where that is not known, as where a killed run was just writing it."""
    try:
        made = json.loads(mark.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}


def _table(rows: list[dict[str, Any]]) -> Table:
    """What the release was measured at, best first, of lists of 10 or the longest; its report shows all the rest."""
    lengths = {int(row["metric"].removeprefix("ndcg@")) for row in rows if row["metric"].startswith("ndcg@")}
    k = 10 if 10 in lengths else max(lengths, default=10)
    table = Table("model", f"NDCG@{k}", "95 % interval", f"recall@{k}", f"coverage@{k}", box=SIMPLE)
    of = {(row["model"], row["metric"]): row for row in rows}
    models = dict.fromkeys(row["model"] for row in rows)
    for model in sorted(models, key=lambda model: -of[model, f"ndcg@{k}"]["value"]):
        ndcg, recall, coverage = (of[model, f"{metric}@{k}"] for metric in ("ndcg", "recall", "coverage"))
        interval = f"{ndcg['low']:.4f} to {ndcg['high']:.4f}"
        style = "bold" if model == "mix" else ""
        values = (f"{ndcg['value']:.4f}", interval, f"{recall['value']:.4f}", f"{coverage['value']:.4f}")
        table.add_row(model, *values, style=style)
    return table
