"""MovieLens folders: movies with their genres, users' tags and, where they lie beside them, further texts by movie."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from langrec.data.aliases import ITEM_ROLES, find_roles, key
from langrec.data.sources.encodings import AUTO
from langrec.data.sources.folders import find_beside
from langrec.data.sources.table import Table

EXTRA_TEXTS = "tmdb_text"


def read_movielens(path: Path, encoding: str = AUTO) -> Table:
    """The movies with what the other files of their folder say of them.

    `tags` is a list of the distinct tags that users gave, most frequent first. They are kept for filters and are not
    read as texts: users wrote them at any time, so that a text with tags would tell training about its own future.
    A file called tmdb_text is joined by its movie column.
    """
    from langrec.data.sources.tables import read_table

    movies = read_table(path, encoding=encoding)
    folder = path.parent
    frame = movies.frame
    item = find_roles(frame.columns, ITEM_ROLES).get("item")
    if item is None:
        return movies
    tags_path = find_beside(folder, "tags")
    if tags_path is not None:
        tags = read_table(tags_path, encoding=encoding).frame
        tagged = find_roles(tags.columns, ITEM_ROLES).get("item")
        if tagged is not None and "tag" in tags.columns:
            counted = (
                tags.filter(pl.col("tag").is_not_null())
                .group_by(tagged, "tag", maintain_order=True)
                .len()
                .sort("len", descending=True, maintain_order=True)
                .group_by(tagged, maintain_order=True)
                .agg(pl.col("tag").alias("tags"))
            )
            frame = frame.join(counted, left_on=item, right_on=tagged, how="left", maintain_order="left")
    extra_path = find_beside(folder, EXTRA_TEXTS)
    if extra_path is not None:
        extra = read_table(extra_path, encoding=encoding).frame
        by = find_roles(extra.columns, ITEM_ROLES).get("item")
        if by is not None:
            known = {key(name) for name in frame.columns}
            extra = extra.select(by, *(name for name in extra.columns if key(name) not in known)).unique(
                by, keep="first", maintain_order=True
            )
            frame = frame.join(extra, left_on=item, right_on=by, how="left", maintain_order="left")
    return Table(path, frame, "movielens", movies.rows, movies.refused, movies.notes)


def is_movielens(path: Path) -> bool:
    """True for the movies file of a MovieLens folder."""
    return path.name.lower().split(".")[0] == "movies" and find_beside(path.parent, "ratings") is not None
