"""A dataset: users, a catalogue and the events between them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import polars as pl

from langrec.data.catalogue import Catalogue
from langrec.data.events import Events
from langrec.data.ids import Ids


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Everything that training and measuring read.

    Attributes:
        users: user ids and numbers.
        catalogue: items.
        events: the log in time order; its numbers are places in `users` and `catalogue`.
        profiles: `user_id` and what else the data says of users, one row per user in the order of their numbers, null
            where it says nothing; None without user fields.
    """

    users: Ids
    catalogue: Catalogue
    events: Events
    profiles: pl.DataFrame | None = None

    def __repr__(self) -> str:
        return f"<Dataset: {len(self.users):,} users, {len(self.catalogue):,} items, {self.events.told()}>"

    def hash(self) -> str:
        """sha256 of ids, texts, events and user fields: equal data, equal hash, whatever the files' format."""
        digest = hashlib.sha256()
        for names in (self.users.names, self.catalogue.ids.names):
            digest.update("\n".join(names).encode("utf-8", "surrogatepass"))
        for column in (self.events.users, self.events.items, self.events.at, self.events.gains):
            digest.update(column.tobytes())
        for text in self.catalogue.texts():
            digest.update(text.encode("utf-8", "surrogatepass"))
        if self.profiles is not None:
            for series in self.profiles:
                values = json.dumps([series.name, series.to_list()], ensure_ascii=False, default=str)
                digest.update(values.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
