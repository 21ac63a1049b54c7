"""Items in the store: writing, reading and paging through them. Every function works on an open connection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from langrec.service.store.schema import item_categories, items
from langrec.service.store.store import next_number, number, set_number, upsert
from langrec.types import FloatMatrix, Item


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item with what the store knows beside.

    Attributes:
        item: the item.
        labels: as a client of the Gorse API sent them; of a release's item they follow from the item itself.
        comment: likewise.
        n_events: how many events name the item.
        source: api or release.
    """

    item: Item
    labels: Any = None
    comment: str = ""
    n_events: int = 0
    source: str = "api"


@dataclass(frozen=True, slots=True)
class Change:
    """A row that moved: a new state, or None for a deleted item.

    Attributes:
        content: hash of the state, to compare with a bundle's.
        created: revision of the item's first write.
        vectors: by space, (d,) rows; empty where the store has none of `encoder`.
    """

    item_id: str
    item: Item | None
    content: str
    revision: int
    created: int
    encoder: str | None
    vectors: Mapping[str, FloatMatrix]


def content_hash(item: Item) -> str:
    """A short hash of all that a recommender reads of an item."""
    values = (item.title, dict(item.texts), item.categories, item.image, item.at, item.hidden, dict(item.fields))
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def put_items(
    connection: sa.Connection,
    stored: Sequence[StoredItem],
    *,
    vectors: Mapping[str, FloatMatrix] | None = None,
    encoder: str | None = None,
    source: str = "api",
) -> int:
    """Writes new states of items; a deleted one is back.

    Args:
        stored: the states; of several with one id the last counts.
        vectors: by space, one row per element of `stored`.
        encoder: identity of the encoder that made the vectors.
        source: api, or release for an import, which leaves alone what somebody wrote or deleted since.

    Returns:
        The revision of the write.
    """
    if not stored:
        return number(connection, "items")
    place = {one.item.id: i for i, one in enumerate(stored)}
    revision = next_number(connection)
    rows = [_row(stored[i], revision, source, _pack(vectors, i), encoder) for i in place.values()]
    statement = upsert(connection, items)
    kept = {"item_id", "created", "n_events"}
    changed = {c.name: statement.excluded[c.name] for c in items.columns if c.name not in kept}
    where = None
    if source == "release":
        where = sa.and_(
            items.c.source == "release",
            items.c.deleted == sa.false(),
            items.c.content != statement.excluded.content,
        )
    connection.execute(
        statement.on_conflict_do_update(index_elements=["item_id"], set_=changed, where=where),
        rows,
    )
    written = set(connection.execute(sa.select(items.c.item_id).where(items.c.revision == revision)).scalars())
    _put_categories(connection, [stored[i].item for name, i in place.items() if name in written])
    set_number(connection, "items", revision)
    return revision


def add_missing(connection: sa.Connection, item_ids: Iterable[str], revision: int) -> None:
    """Makes items that an event names and nobody has described: they have only an id."""
    wanted = set(item_ids)
    known = set(connection.execute(sa.select(items.c.item_id).where(items.c.item_id.in_(wanted))).scalars())
    add_bare(connection, sorted(wanted - known), revision)


def add_bare(connection: sa.Connection, item_ids: Sequence[str], revision: int) -> None:
    """Makes items that the store does not know; they have only an id."""
    new = [StoredItem(Item(name)) for name in item_ids]
    if new:
        connection.execute(
            upsert(connection, items).on_conflict_do_nothing(),
            [_row(one, revision, "api", None, None) for one in new],
        )
        set_number(connection, "items", revision)


def delete_item(connection: sa.Connection, item_id: str) -> bool:
    """Takes an item out of every list; False where there is none."""
    revision = next_number(connection)
    changed = connection.execute(
        items.update()
        .where(items.c.item_id == item_id, items.c.deleted == sa.false())
        .values(deleted=True, revision=revision, source="api", vectors=None)
    ).rowcount
    connection.execute(item_categories.delete().where(item_categories.c.item_id == item_id))
    if changed:
        set_number(connection, "items", revision)
    return bool(changed)


_one = sa.select(items).where(items.c.item_id == sa.bindparam("item_id"), items.c.deleted == sa.false())


def get_item(connection: sa.Connection, item_id: str) -> StoredItem | None:
    """An item, None where it is unknown or deleted."""
    row = connection.execute(_one, {"item_id": item_id}).mappings().first()
    return None if row is None else stored_item(row)


def get_items(connection: sa.Connection, item_ids: Sequence[str]) -> dict[str, StoredItem]:
    """Items by id; unknown and deleted ones are left out."""
    found = connection.execute(
        sa.select(*COLUMNS).where(items.c.item_id.in_(item_ids), items.c.deleted == sa.false())
    ).mappings()
    return {row["item_id"]: stored_item(row) for row in found}


def page_items(connection: sa.Connection, after: str, n: int) -> list[StoredItem]:
    """Up to n items in the order of their ids, those after an id."""
    query = sa.select(*COLUMNS).where(items.c.item_id > after, items.c.deleted == sa.false())
    return [stored_item(row) for row in connection.execute(query.order_by(items.c.item_id).limit(n)).mappings()]


def changes_since(connection: sa.Connection, revision: int) -> list[Change]:
    """Items that changed after a revision, in the order of their changes."""
    query = sa.select(items).where(items.c.revision > revision).order_by(items.c.revision, items.c.item_id)
    return [_change(row) for row in connection.execute(query).mappings()]


def changes_of(connection: sa.Connection, item_ids: Sequence[str]) -> list[Change]:
    """The current states of items as changes, deleted ones too."""
    found: list[Change] = []
    for start in range(0, len(item_ids), 500):
        query = sa.select(items).where(items.c.item_id.in_(item_ids[start : start + 500]))
        found.extend(_change(row) for row in connection.execute(query).mappings())
    return found


def contents(connection: sa.Connection) -> dict[str, tuple[str, bool]]:
    """(content hash, deleted) of every item."""
    query = sa.select(items.c.item_id, items.c.content, items.c.deleted)
    return {row[0]: (row[1], bool(row[2])) for row in connection.execute(query)}


def created_after(connection: sa.Connection, revision: int) -> list[str]:
    """Ids of the items that did not exist at a revision."""
    return list(connection.execute(sa.select(items.c.item_id).where(items.c.created > revision)).scalars())


# Without the vectors, which only recommenders read.
COLUMNS = [c for c in items.columns if c.name != "vectors"]


def _row(one: StoredItem, revision: int, source: str, vectors: bytes | None, encoder: str | None) -> dict[str, Any]:
    item = one.item
    return {
        "item_id": item.id,
        "title": item.title,
        "texts": dict(item.texts),
        "categories": list(item.categories),
        "image": item.image,
        "at": item.at,
        "hidden": item.hidden,
        "fields": dict(item.fields),
        "labels": one.labels,
        "comment": one.comment,
        "n_events": 0,
        "deleted": False,
        "source": source,
        "content": content_hash(item),
        "created": revision,
        "revision": revision,
        "encoder": encoder if vectors else None,
        "vectors": vectors,
    }


def _put_categories(connection: sa.Connection, written: Sequence[Item]) -> None:
    """Brings the category table in step with items that were just written."""
    for start in range(0, len(written), 500):
        ids = [item.id for item in written[start : start + 500]]
        connection.execute(item_categories.delete().where(item_categories.c.item_id.in_(ids)))
    pairs = [{"category": name, "item_id": item.id} for item in written for name in dict.fromkeys(item.categories)]
    if pairs:
        connection.execute(item_categories.insert(), pairs)


def stored_item(row: sa.RowMapping) -> StoredItem:
    """A row of `COLUMNS` as an item."""
    return StoredItem(_item(row), row["labels"], row["comment"], row["n_events"], row["source"])


def _item(row: sa.RowMapping) -> Item:
    return Item(
        id=row["item_id"],
        title=row["title"],
        texts=row["texts"],
        categories=tuple(row["categories"]),
        image=row["image"],
        at=row["at"],
        hidden=bool(row["hidden"]),
        fields=row["fields"],
    )


def _change(row: sa.RowMapping) -> Change:
    return Change(
        item_id=row["item_id"],
        item=None if row["deleted"] else _item(row),
        content=row["content"],
        revision=row["revision"],
        created=row["created"],
        encoder=row["encoder"],
        vectors=_unpack(row["vectors"]),
    )


def _pack(vectors: Mapping[str, FloatMatrix] | None, i: int) -> bytes | None:
    if not vectors:
        return None
    from safetensors.numpy import save

    return bytes(save({space: np.ascontiguousarray(rows[i], dtype=np.float32) for space, rows in vectors.items()}))


def _unpack(data: bytes | None) -> dict[str, FloatMatrix]:
    if not data:
        return {}
    from safetensors.numpy import load

    return dict(load(data))
