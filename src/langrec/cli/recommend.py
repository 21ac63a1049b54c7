"""`langrec recommend`: lists for many users into one file, or one list for someone new."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from langrec.cli.options import AsJson, bar, check_out_file
from langrec.errors import DataError
from langrec.types import Query


def recommend(
    release: Annotated[Path, typer.Option("--release", help="A release, or a folder of releases.")],
    users: Annotated[
        Path | None, typer.Option("--users", help="One user id a line, or a table with user_id; default: all.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="List length.")] = 10,
    out: Annotated[Path, typer.Option("--out", help="Parquet file: user_id, item_id, score, rank.")] = Path(
        "recommendations.parquet"
    ),
    likes: Annotated[
        str | None, typer.Option("--likes", help="Ids of liked items, comma separated: one list, printed.")
    ] = None,
    wish: Annotated[str | None, typer.Option("--wish", help="A wish in words: one list, printed.")] = None,
    probability: Annotated[
        bool, typer.Option("--probability", help="Add the chance of each item to be chosen next, where it is known.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recommend to many users and write `user_id, item_id, score, rank`, or print one list for someone new.

    A user that the release does not know gets the list of a new visitor. Where the release explores (`explore.places`),
    a column `propensity` says with what chance each item is in its list. With `--likes`, `--wish` or both nobody needs
    to be known: the list answers the wish, half by the wish and half by the likes where both are given.

    Example: `langrec recommend --release releases --k 20 --out lists.parquet`

    Example: `langrec recommend --release releases --likes m7,m12 --wish "a quiet film about space"`
    """
    import polars as pl
    from threadpoolctl import threadpool_limits

    from langrec.bundle import Bundle
    from langrec.lists import Histories, Lists, lists_of

    if likes is not None or wish is not None:
        if users is not None:
            raise DataError(
                "--users: writes lists for known users; leave it out with --likes and --wish", field="users"
            )
        liked = tuple(part.strip() for part in (likes or "").split(",") if part.strip())
        _print_one(release, liked, wish, k, as_json)
        return
    check_out_file(out)
    bundle = Bundle.open(release)
    recommender = bundle.recommender()
    start = time.perf_counter()
    asked = _read_users(users) if users is not None else recommender.users.names.tolist()
    events = pl.read_parquet(bundle.folder / "catalog" / "events.parquet", columns=["user_id", "item_id", "type", "at"])
    histories = Histories.of(recommender, asked, events)
    parts: list[Lists] = []
    # Blocks on all cores, each of which computes alone: their products are too small to be shared.
    with bar() as told, threadpool_limits(1, user_api="blas"):
        for part in lists_of(recommender, histories, k, rated=probability, threads=os.cpu_count() or 1):
            parts.append(part)
            told("recommend", sum(len(one.lengths) for one in parts), len(asked))
    lists = Lists.joined(parts)
    more = {"probability": lists.probabilities(recommender.calibration)} if probability else {}
    if recommender.exploring.places:
        more["propensity"] = lists.propensities
    ids = pl.Series(recommender.items.ids.names, dtype=pl.String)
    pl.DataFrame(
        {
            "user_id": pl.Series(asked, dtype=pl.String)[np.repeat(np.arange(len(asked)), lists.lengths)],
            "item_id": ids[lists.items],
            "score": lists.scores,
            "rank": lists.ranks(),
            **{name: pl.Series(column, nan_to_null=True) for name, column in more.items()},
        }
    ).write_parquet(out)
    seconds = time.perf_counter() - start
    print(f"{len(asked)} users in {seconds:.1f} s ({len(asked) / max(seconds, 1e-9):.0f} a second)", file=sys.stderr)
    if as_json:
        said = {"release": bundle.stamp, "file": str(out), "users": len(asked), "rows": len(lists.items), "k": k}
        print(json.dumps({**said, "seconds": round(seconds, 3)}))
    else:
        print(out)


def _print_one(release: Path, likes: tuple[str, ...], wish: str | None, k: int, as_json: bool) -> None:
    """Prints the list of someone of whom only likes and a wish are known; ids that nobody knows are named."""
    from langrec.bundle import Bundle
    from langrec.cli.shown import print_list

    recommender = Bundle.open(release).recommender()
    query = Query(history=likes, text=wish or None, k=k, personal=0.5 if likes else 0.0)
    answer = recommender.recommend([query])[0]
    for name in answer.trace.unknown:
        print(f"--likes {name}: not in the catalogue; passed over", file=sys.stderr)
    print_list(recommender, answer, f"by {answer.trace.reason.replace('_', ' ')}", as_json)


def _read_users(path: Path) -> list[str]:
    """User ids of a table with the column user_id, or of a text file with one id a line.

    Raises:
        DataError: the file cannot be read, or the table has no such column.
    """
    import polars as pl

    try:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
        else:
            lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
            if not lines or "," not in lines[0]:
                return [line for line in lines if line != "user_id"]
            table = pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})", field="users") from error
    except (UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: cannot be read as a list of users ({error})", field="users") from error
    if "user_id" not in table.columns:
        raise DataError(f"{path}: no column user_id (it has {', '.join(table.columns)})", field="users")
    ids: list[str] = table["user_id"].cast(pl.String).drop_nulls().to_list()
    return ids
