"""In which items the store differs from a release: compared in full once, afterwards only what has moved since.

A full comparison hashes every item of the catalogue, which takes half a minute a million. What it found is noted in
the store with the revision that it looked at; every write of an item has a later one, so the next worker, or the next
start, looks at those rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from langrec.data.catalogue import Catalogue
from langrec.service.store import item_rows
from langrec.service.store.importing import catalogue_items
from langrec.service.store.schema import items
from langrec.service.store.store import Store, get_meta, number, set_meta

# More differences than this are not noted: their list would be read at every start.
_MOST = 20_000


def changes_from(store: Store, stamp: str, catalogue: Catalogue) -> tuple[list[item_rows.Change], int]:
    """What has to be laid over a release to have what the store has, and the revision up to which that holds."""
    with store.read() as connection:
        revision = number(connection, "items")
        noted = get_meta(connection, f"differ:{stamp}")
        moved = None if noted is None else _moved_since(connection, int(noted["revision"]))
        if noted is None or moved is None:
            differ = _all(connection, catalogue)
        else:
            differ = sorted({*noted["ids"], *moved})
        changes = [change for change in item_rows.changes_of(connection, differ) if _is_other(change, catalogue)]
    now: dict[str, Any] = {"revision": revision, "ids": [change.item_id for change in changes]}
    if now != noted and len(changes) <= _MOST:
        with store.write() as connection:
            set_meta(connection, f"differ:{stamp}", now)
    return changes, revision


def _moved_since(connection: sa.Connection, revision: int) -> list[str] | None:
    """Ids of the rows that were written later; None where they are so many that a full comparison is cheaper."""
    found = connection.execute(sa.select(items.c.item_id).where(items.c.revision > revision).limit(_MOST + 1))
    ids = list(found.scalars())
    return ids if len(ids) <= _MOST else None


def _all(connection: sa.Connection, catalogue: Catalogue) -> Sequence[str]:
    own = {item.id: item_rows.content_hash(item) for item in catalogue_items(catalogue)}
    return [
        item_id
        for item_id, (content, deleted) in item_rows.contents(connection).items()
        if (item_id in own if deleted else own.get(item_id) != content)
    ]


def _is_other(change: item_rows.Change, catalogue: Catalogue) -> bool:
    """Whether a row says something else than the release."""
    num = int(catalogue.ids.numbers([change.item_id])[0])
    if num < 0:
        return change.item is not None
    if change.item is None:
        return True
    (own,) = catalogue_items(catalogue, num, num + 1)
    return change.content != item_rows.content_hash(own)
