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

# The progress bar is told of each so many lists: it takes longer to be drawn than a list to be made.
TOLD_EVERY = 50


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
    events = pl.read_parquet(bundle.folder / "catalog" / "events.parquet")
    asked = _read_users(users) if users is not None else recommender.users.names.tolist()
    histories = {
        name: frame
        for (name,), frame in events.filter(pl.col("user_id").is_in(asked)).group_by(["user_id"], maintain_order=True)
    }
    more = (*(["probability"] if probability else []), *(["propensity"] if recommender.exploring.places else []))
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("user", "item", "score", "rank", *more)}
    start = time.perf_counter()
    # Blocks on all cores, each of which computes alone: their products are too small to be shared.
    with bar() as told, threadpool_limits(1, user_api="blas"):
        queries = [_query(name, histories.get(name), k) for name in asked]
        for done, answer in enumerate(recommender.recommend_many(queries, threads=os.cpu_count() or 1)):
            columns["user"].append(np.full(len(answer), done))
            columns["item"].append(answer.items.nums)
            columns["score"].append(answer.items.scores)
            columns["rank"].append(np.arange(1, len(answer) + 1))
            if "probability" in columns:
                columns["probability"].append(recommender.probabilities(answer))
            if "propensity" in columns:
                drawn = answer.propensities
                columns["propensity"].append(np.ones(len(answer)) if drawn is None else drawn)
            if done % TOLD_EVERY == 0 or done + 1 == len(asked):
                told("recommend", done + 1, len(asked))
    flat = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in columns.items()}
    ids = np.asarray(recommender.items.ids.names)
    pl.DataFrame(
        {
            "user_id": pl.Series(np.asarray(asked, dtype=object)[flat["user"].astype(int)], dtype=pl.String),
            "item_id": pl.Series(ids[flat["item"].astype(int)], dtype=pl.String),
            "score": flat["score"].astype(np.float32),
            "rank": flat["rank"].astype(np.int32),
            **{name: pl.Series(flat[name].astype(np.float32), nan_to_null=True) for name in more},
        }
    ).write_parquet(out)
    seconds = time.perf_counter() - start
    print(f"{len(asked)} users in {seconds:.1f} s ({len(asked) / max(seconds, 1e-9):.0f} a second)", file=sys.stderr)
    if as_json:
        said = {"release": bundle.stamp, "file": str(out), "users": len(asked), "rows": len(flat["item"]), "k": k}
        print(json.dumps({**said, "seconds": round(seconds, 3)}))
    else:
        print(out)


def _print_one(release: Path, likes: tuple[str, ...], wish: str | None, k: int, as_json: bool) -> None:
    """Prints the list of someone of whom only likes and a wish are known; ids that nobody knows are named."""
    from langrec.bundle import Bundle

    recommender = Bundle.open(release).recommender()
    query = Query(history=likes, text=wish or None, k=k, personal=0.5 if likes else 0.0)
    answer = recommender.recommend([query])[0]
    for name in answer.trace.unknown:
        print(f"--likes {name}: not in the catalogue; passed over", file=sys.stderr)
    rows = [
        {"item_id": name, "title": recommender.items.title(int(num)), "score": float(score)}
        for name, num, score in zip(answer.ids, answer.items.nums, answer.items.scores, strict=True)
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("item", "title", "score", title=f"by {answer.trace.reason.replace('_', ' ')}")
    for row in rows:
        table.add_row(str(row["item_id"]), str(row["title"]), f"{row['score']:.3f}")
    Console().print(table)


def _query(name: str, history: object, k: int) -> Query:
    import polars as pl

    if not isinstance(history, pl.DataFrame):
        return Query(user=name, k=k)
    return Query(
        user=name,
        history=tuple(history["item_id"].to_list()),
        history_at=tuple(history["at"].to_list()),
        history_types=tuple(history["type"].to_list()),
        k=k,
    )


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
