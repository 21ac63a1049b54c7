"""Columns that `data.columns` names: they are called as langrec calls them before anything looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from langrec.data.aliases import EVENT_ROLES, ITEM_ROLES, TEXT_NAMES, key
from langrec.data.sources.table import Table
from langrec.data.sources.tables import Keep
from langrec.errors import DataError, SettingsError

_KNOWN = {key(name) for roles in (EVENT_ROLES, ITEM_ROLES) for names in roles.values() for name in names}
_KNOWN |= set(map(key, TEXT_NAMES))


class Renaming:
    """Gives the columns of tables their names, and remembers which it met.

    Args:
        columns: langrec's name -> the file's.

    Raises:
        SettingsError: a name that langrec does not know.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        for name in columns:
            if key(name) not in _KNOWN:
                raise SettingsError(
                    f"data.columns: {name!r} is no name that langrec knows; write user_id, item_id, timestamp, rating, "
                    "title, categories, price, description or another of docs/data-formats.md, then = and the file's",
                    field="data.columns",
                )
        self.columns = dict(columns)
        self._names = {key(column): name for name, column in columns.items()}
        self._met: set[str] = set()

    def of(self, table: Table) -> Table:
        """The table with langrec's names; a column that had one of them already gets _other behind it."""
        here = {one: self._names[key(one)] for one in table.frame.columns if key(one) in self._names}
        self._met |= {*here.values()}
        taken = {key(name) for name in here.values()}
        others = {one: f"{one}_other" for one in table.frame.columns if one not in here and key(one) in taken}
        return replace(table, frame=table.frame.rename(here | others)) if here else table

    def keep(self, pick: Keep) -> Keep:
        """What picks the same columns by the names of a file."""

        def picked(names: list[str]) -> list[str]:
            wanted = set(pick([self._names.get(key(name), name) for name in names]))
            return [name for name in names if self._names.get(key(name), name) in wanted]

        return picked

    def check(self) -> None:
        """Raises DataError where no table had a column that was named."""
        for name, column in self.columns.items():
            if name not in self._met:
                raise DataError(
                    f"data.columns: no file has a column {column!r} for {name}; write it as the header does",
                    field="data.columns",
                )
