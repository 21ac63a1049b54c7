"""`langrec bench serve`: the server under load, with all that a request passes through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import check_out_file, wide_console
from langrec.cli.signals import TERMINATED, ending_well


def serve(
    items: Annotated[int, typer.Option(min=100, help="Items of the world.")] = 20_000,
    users: Annotated[int, typer.Option(min=10, help="Users.")] = 5_000,
    events: Annotated[int, typer.Option(min=100, help="Events.")] = 200_000,
    rate: Annotated[float, typer.Option(min=0.1, help="Lists a second of the steady phase.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the steady phase.")] = 60.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the server.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the world and of the times at which requests leave.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value for the server.")] = None,
    file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Fill a world, serve it, drive it from a second process, and say how it did.

    The world is drawn from fitted distributions: how often an item is chosen and how much a user does are log-normal
    (spreads 1.6 and 1.1 in the logarithm), texts mix words of a topic with common ones by a Zipf law. It is made once
    and kept in the cache folder. Requests leave at random times (Poisson), whether or not earlier ones were answered,
    and their time counts from the moment at which they should have left.

    Example: `langrec bench serve`

    Example: `langrec bench serve --items 1000000 --users 100000 --events 10000000 --json serve.json`
    """
    from rich.console import Console

    from langrec.benching.serving.measured import measure_server
    from langrec.benching.serving.world import world

    if file is not None:
        check_out_file(file, "--json", "serve.json")
    console = Console(stderr=True)
    # The server is a process of its own, which would outlive this one.
    with ending_well(TERMINATED), console.status("looking for the world") as status:

        def told(what: str, done: int = 0, total: int = 0) -> None:
            status.update(f"{what}: {done:,} of {total:,}")

        made = world(items, users, events, seed, told=told)
        result = measure_server(
            made,
            rate=rate,
            seconds=seconds,
            workers=workers,
            seed=seed,
            settings=set_ or [],
            say=lambda what: status.update(what),
        )
    if file is not None:
        file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    _show(result)


def _show(result: dict[str, object]) -> None:
    from rich.table import Table

    table = Table("figure", "value", title=f"{result['items']:,} items, {result['events']:,} events")
    for name, value in result.items():
        if name == "memory":
            assert isinstance(value, list)
            value = "  ".join(f"{mb:.0f}" for _, mb in value[:: max(1, len(value) // 8)])
            name = "memory over time, MB"
        table.add_row(name, f"{value:,}" if isinstance(value, (int, float)) else str(value))
    wide_console().print(table)
