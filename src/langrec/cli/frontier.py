"""`langrec frontier`: quality against cost of every way to read the texts, and the one to take for a budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langrec.alone import alone
from langrec.cli.options import (
    AsJson,
    EventsPath,
    ItemsPath,
    Overrides,
    Recipe,
    UsersPath,
    bar,
    check_out,
    read,
    settings_of,
    wide_console,
)

if TYPE_CHECKING:
    from langrec.frontier import Frontier


def frontier(
    events: EventsPath,
    items: ItemsPath = None,
    users: UsersPath = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for rungs and results.")] = Path("frontier"),
    max_ms: Annotated[float | None, typer.Option("--max-ms", help="Most milliseconds a request.", min=0)] = None,
    max_mb: Annotated[float | None, typer.Option("--max-mb", help="Most megabytes loaded.", min=0)] = None,
    tuned: Annotated[
        list[str] | None, typer.Option("--tuned", help="A tuned model's folder; may be given often.")
    ] = None,
    cross: Annotated[str | None, typer.Option("--cross", help="A cross-encoder's folder, to rerank with.")] = None,
    mix: Annotated[
        bool, typer.Option("--mix/--no-mix", help="Measure the whole recommender on each rung too.")
    ] = False,
    epochs: Annotated[int, typer.Option("--epochs", help="Most epochs of healing the pruned rung.", min=1)] = 6,
    minutes: Annotated[float, typer.Option("--minutes", help="No epoch begins later; 0 = no limit.", min=0)] = 0,
    questions: Annotated[int, typer.Option("--questions", help="At most so many questions; 0 = all.", min=0)] = 0,
    recipe: Recipe = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure every rung from a token table to the whole model on the same data, and choose for a budget.

    Writes `frontier.json`, `frontier.html` and `chosen/`, a saved encoder that `encoder.name` takes.

    Example: `langrec frontier --events ml-latest-small --out frontier --max-ms 20 --max-mb 50`
    """
    from langrec.frontier import frontier as run
    from langrec.frontier import mix_ndcg
    from langrec.lm.compress.work import Healing

    settings = settings_of(recipe, overrides)
    check_out(out)
    with alone(out), bar() as told:
        dataset = read(events, items, settings, out / "rejected.parquet", told, users)
        found = run(
            dataset,
            out,
            settings,
            max_ms=max_ms,
            max_mb=max_mb,
            tuned=tuned or (),
            cross=cross,
            mix=mix_ndcg(dataset, settings) if mix else None,
            healing=Healing(epochs=epochs, minutes=minutes),
            questions=questions,
            progress=told,
        )
    if as_json:
        sys.stdout.write(json.dumps(found.to_dict(), indent=1) + "\n")
    else:
        _show(found, out)


def _show(found: Frontier, out: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from langrec.evaluation.report import span

    table = Table(title="Quality against cost", title_justify="left")
    for name in ("rung", "NDCG@10", "interval", "texts/s", "ms", "MB", "in budget"):
        table.add_column(name, justify="left" if name == "rung" else "right")
    mixed = any(one.recommender is not None for one in found.rungs)
    if mixed:
        table.add_column("recommender", justify="right")
    for one in found.rungs:
        numbers = [f"{one.ndcg:.4f}", span(one.low, one.high, ".4f"), f"{one.texts_per_second:,.0f}", f"{one.ms:.2f}"]
        last = ["-" if one.recommender is None else f"{one.recommender:.4f}"] if mixed else []
        mark = "[bold]" if one.name == found.chosen else ""
        table.add_row(f"{mark}{escape(one.name)}", *numbers, f"{one.megabytes:.1f}", "yes" if one.fits else "no", *last)
    console = wide_console()
    console.print(table)
    console.print(escape(found.why), soft_wrap=True)
    if found.chosen:
        console.print(f"use     --set encoder.name={escape(str(out / 'chosen'))}", soft_wrap=True)
    console.print(f"report  {escape(str(out / 'frontier.html'))}", soft_wrap=True)
