"""`langrec recommend`: lists for many users into one file."""

from __future__ import annotations

import json
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
    as_json: AsJson = False,
) -> None:
    """Recommend to many users and write `user_id, item_id, score, rank`.

    A user that the release does not know gets the list of a new visitor.

    Example: `langrec recommend --release releases --k 20 --out lists.parquet`
    """
    import polars as pl

    from langrec.bundle import Bundle

    check_out_file(out)
    bundle = Bundle.open(release)
    recommender = bundle.recommender()
    events = pl.read_parquet(bundle.folder / "catalog" / "events.parquet")
    asked = _read_users(users) if users is not None else recommender.users.names.tolist()
    histories = {
        name: frame
        for (name,), frame in events.filter(pl.col("user_id").is_in(asked)).group_by(["user_id"], maintain_order=True)
    }
    columns: dict[str, list[np.ndarray]] = {"user": [], "item": [], "score": [], "rank": []}
    start = time.perf_counter()
    with bar() as told:
        queries = (_query(name, histories.get(name), k) for name in asked)
        for done, answer in enumerate(recommender.recommend_many(list(queries))):
            columns["user"].append(np.full(len(answer), done))
            columns["item"].append(answer.items.nums)
            columns["score"].append(answer.items.scores)
            columns["rank"].append(np.arange(1, len(answer) + 1))
            told("recommend", done + 1, len(asked))
    flat = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in columns.items()}
    ids = np.asarray(recommender.items.ids.names)
    pl.DataFrame(
        {
            "user_id": pl.Series(np.asarray(asked, dtype=object)[flat["user"].astype(int)], dtype=pl.String),
            "item_id": pl.Series(ids[flat["item"].astype(int)], dtype=pl.String),
            "score": flat["score"].astype(np.float32),
            "rank": flat["rank"].astype(np.int32),
        }
    ).write_parquet(out)
    seconds = time.perf_counter() - start
    print(f"{len(asked)} users in {seconds:.1f} s ({len(asked) / max(seconds, 1e-9):.0f} a second)", file=sys.stderr)
    if as_json:
        said = {"release": bundle.stamp, "file": str(out), "users": len(asked), "rows": len(flat["item"]), "k": k}
        print(json.dumps({**said, "seconds": round(seconds, 3)}))
    else:
        print(out)


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
