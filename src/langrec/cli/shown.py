"""A list as the command line shows it: a table for people, JSON for programs."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

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
    table = Table("item", "title", "score", title=title)
    for row in rows:
        table.add_row(str(row["item_id"]), str(row["title"]), f"{row['score']:.3f}")
    Console().print(table)
