"""`langrec search`: find items by words and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langrec.cli.options import AsJson
from langrec.errors import DataError


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
    from langrec.cli.shown import print_list
    from langrec.types import Filters, Query

    if not text.strip():
        raise DataError("TEXT: is blank; say in words what to look for", field="text")
    recommender = Bundle.open(release).recommender()
    filters = Filters(categories=tuple(category or ()))
    answer = recommender.search([Query(text=text, k=k, meaning=meaning, filters=filters)])[0]
    left = next(stage.n_out for stage in answer.trace.stages if stage.name == "filter")
    print_list(recommender, answer, f"{left} matches", as_json)
