"""`langrec search`: find items by words and meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import AsJson


def search(
    text: Annotated[str, typer.Argument(help="A wish in words.")],
    release: Annotated[Path, typer.Option("--release", help="A release, or a folder of releases.")] = Path("releases"),
    k: Annotated[int, typer.Option("--k", min=1, help="List length.")] = 10,
    meaning: Annotated[float, typer.Option("--meaning", min=0, max=1, help="0 matches words, 1 meaning.")] = 0.5,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Only this category; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search a release's catalogue.

    Example: `langrec search "a quiet film about space" --release releases`
    """
    from langrec.bundle import Bundle
    from langrec.types import Filters, Query

    recommender = Bundle.open(release).recommender()
    filters = Filters(categories=tuple(category or ()))
    answer = recommender.search([Query(text=text, k=k, meaning=meaning, filters=filters)])[0]
    rows = [
        {"item_id": name, "title": recommender.items.title(int(num)), "score": float(score)}
        for name, num, score in zip(answer.ids, answer.items.nums, answer.items.scores, strict=True)
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("item", "title", "score", title=f"{answer.trace.stages[0].n_out} matches")
    for row in rows:
        table.add_row(str(row["item_id"]), str(row["title"]), f"{row['score']:.3f}")
    Console().print(table)
