"""Brings a store of an older schema to this langrec's, in one transaction: it is there wholly or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from langrec.errors import StoreError
from langrec.service.store import schema
from langrec.service.store.store import Store, make_tables, note_revision, revision_of

if TYPE_CHECKING:
    from alembic.config import Config


def migrate(url: str) -> tuple[str, str]:
    """Migrates a store; servers on it must be stopped first, and one that is at the newest schema is left alone.

    Returns:
        The revisions of the schema before and after.

    Raises:
        StoreError: there is no store, a newer langrec made it, or a change failed; then nothing was changed.
    """
    store = Store(url, create=None, any_state=True)
    try:
        with store.write() as connection:
            before = revision_of(connection)
            if before is None or before > schema.REVISION:
                store.check_revision(before)
            assert before is not None
            if before < schema.REVISION:
                note_revision(connection, before)
                _upgrade(connection, schema.REVISION)
    finally:
        store.close()
    return before, schema.REVISION


def open_at(url: str, revision: str) -> Store:
    """A new store with the schema of an earlier langrec, or one that is there already, to be filled from a dump."""

    def make(connection: sa.Connection) -> str:
        _upgrade(connection, revision)
        return revision

    store = Store(url, create=make_tables if revision == schema.REVISION else make, any_state=True)
    with store.read() as connection:
        found = revision_of(connection)
    if found != revision:
        store.close()
        raise StoreError(f"{store.shown}: has schema {found}, the dump {revision}; name an empty database")
    return store


def _upgrade(connection: sa.Connection, revision: str) -> None:
    from alembic import command

    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)
    note_revision(connection, revision)


def config() -> Config:
    """Alembic's settings for the changes in this package; it needs no file of its own."""
    from alembic.config import Config

    settings = Config()
    # A percent sign in the path would be read as the start of a name.
    folder = str(Path(__file__).parent / "migrations")
    settings.set_main_option("script_location", folder.replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    return settings


def head() -> str:
    """The newest change that this package holds."""
    from alembic.script import ScriptDirectory

    found = ScriptDirectory.from_config(config()).get_heads()
    if len(found) != 1:
        raise StoreError(f"{', '.join(found)}: two changes follow the same one; number one after the other")
    return found[0]
