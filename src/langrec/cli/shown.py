"""A list as the command line shows it: a table for people, JSON for programs."""

from __future__ import annotations

import json

from rich.markup import escape
from rich.table import Table

from langrec.cli.options import wide_console
from langrec.recommender import Recommender
from langrec.types import Recommendation


def print_list(recommender: Recommender, answer: Recommendation, title: str, as_json: bool) -> None:
    """Prints the ids, titles and scores of a list; the title stands above the table."""
    rows = [
        {"item_id": name, "title": recommender.items.title(int(num)), "score": float(score)}
        for name, num, score in zip(answer.ids, answer.items.nums, answer.items.scores, strict=True)
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    table = Table(title=title)
    for name in ("item", "title"):
        table.add_column(name, overflow="fold")
    table.add_column("score", no_wrap=True)
    for row in rows:
        # Brackets of a title are no marks of style.
        table.add_row(escape(str(row["item_id"])), escape(str(row["title"])), f"{row['score']:.3f}")
    wide_console().print(table)
