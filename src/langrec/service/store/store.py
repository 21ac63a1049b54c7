"""The store: where items, users and events live, and the only state that changes while serving.

SQLite in a file by default (WAL, synchronous=FULL: a commit returns after its pages are on the disk), PostgreSQL by
URL. Writers are serialised (SQLite's write lock, an advisory lock in PostgreSQL), so revisions become visible in the
order of their numbers and a reader that saw revision r has seen all before it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from langrec.errors import DataError, LangrecError, MissingExtra, StoreError
from langrec.retrieval.words import plain
from langrec.service.store import schema

_POSTGRES_LOCK = 0x6C616E67726563  # "langrec"

# What `filling.py` and `copying.py` remember from their first to their last transaction.
FILLING = "filling"
COPYING = "copying"

Make = Callable[[sa.Connection], str]

# Alembic's own table, under a name that a database shared with others does not have yet.
version = sa.Table("langrec_revision", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))


def shown(url: sa.URL) -> str:
    """A database's URL as it may be shown: without passwords, wherever they stand."""
    secret = [name for name in url.query if "password" in name.lower()]
    return url.update_query_dict(dict.fromkeys(secret, "***")).render_as_string(hide_password=True)


def make_tables(connection: sa.Connection) -> str:
    """Makes a new store's tables; the revision of their schema."""
    schema.metadata.create_all(connection)
    note_revision(connection, schema.REVISION)
    return schema.REVISION


class Store:
    """An open store.

    Args:
        url: SQLAlchemy URL, such as sqlite:///langrec.db or postgresql+psycopg://user@host/name.
        create: makes the tables where there are none; None: there must be a store.
        any_state: open a store of another schema too, to migrate it, or one that is not whole.

    Raises:
        StoreError: the store cannot be opened, or its schema is not of this langrec.
    """

    def __init__(self, url: str, *, create: Make | None = make_tables, any_state: bool = False) -> None:
        self.url = url
        try:
            parsed = sa.make_url(url)
        except (SQLAlchemyError, ValueError) as error:
            # What is none may hold a password all the same.
            raise StoreError(
                "serve.store: is not a database URL, such as sqlite:///langrec.db or postgresql://user@host:5432/name",
                field="serve.store",
            ) from error
        self.shown = shown(parsed)
        if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database in (None, "", ":memory:"):
            raise StoreError(
                f"serve.store: {url}: a database in memory is not shared and forgets; "
                "name a file, such as sqlite:///langrec.db",
                field="serve.store",
            )
        if self.is_sqlite and create is None and not Path(str(parsed.database)).is_file():
            raise StoreError(f"{self.shown}: there is no such file; check the path", field="serve.store")
        try:
            # PostgreSQL would show every statement the newest state; a SQLite transaction sees one in any case.
            one_state = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            kept = {} if self.is_sqlite else _kept_alive(parsed)
            # One for each request that may be worked on at once (40, or a tenant's 64) and for those who work beside
            # them, so that no crowd of slow listings keeps the scorer waiting; PostgreSQL counts connections.
            more = 64 if self.is_sqlite else 32
            self._reader = sa.create_engine(parsed, pool_size=8, max_overflow=more, **one_state, **kept)
            self._writer = sa.create_engine(parsed, pool_size=1, max_overflow=2, **kept)
            # The driver's own too: what goes past SQLAlchemy, as many rows at once do, raises these.
            self.errors: tuple[type[Exception], ...] = (SQLAlchemyError, self._writer.dialect.loaded_dbapi.Error)
            if self.is_sqlite:
                _tune_sqlite(self._reader, "BEGIN")
                _tune_sqlite(self._writer, "BEGIN IMMEDIATE")
            with self._reader.connect() as connection:
                found = revision_of(connection)
            if found is None and create is not None:
                with self._writer.begin() as connection:
                    self._take_turn(connection)
                    found = revision_of(connection) or create(connection)
            if not any_state:
                try:
                    self.check_revision(found)
                    self._check_whole()
                except StoreError:
                    self.close()
                    raise
        except ModuleNotFoundError as error:
            raise MissingExtra("postgres", f"the store {self.shown}") from error
        except SQLAlchemyError as error:
            raise StoreError(
                f"{self.shown}: cannot be opened ({_reason(error)}); check the path and its permissions",
                field="serve.store",
            ) from error

    def close(self) -> None:
        """Closes every connection."""
        self._reader.dispose()
        self._writer.dispose()

    def driver_connection(self) -> sa.PoolProxiedConnection:
        """A connection of the database's own driver, outside any transaction; whoever takes it closes it."""
        return self._reader.raw_connection()

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the store for as long as it is held."""
        try:
            with self._reader.connect() as connection:
                yield connection
        except self.errors as error:
            raise self.failure("reading", error) from error

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection in the only write transaction there is; it is durable when the block ends without an error."""
        try:
            with self._writer.begin() as connection:
                self._take_turn(connection)
                yield connection
        except self.errors as error:
            raise self.failure("writing", error) from error

    def failure(self, what: str, error: Exception) -> LangrecError:
        """What a caller is told of a database's error."""
        if getattr(getattr(error, "orig", error), "sqlstate", None) == _TOO_LONG:
            return DataError(
                "an id, a type or a category is too long for PostgreSQL, whose indexes take 2,704 bytes; shorten it"
            )
        reason = _reason(error)
        way = ""
        if any(sign in reason.lower() for sign in _FULL):
            way = "; free some space: what was acknowledged is there, and writing goes on by itself"
        return StoreError(f"{self.shown}: {what} failed ({reason}){way}")

    def run_alone(self, statement: str) -> None:
        """Runs a statement that no transaction may hold, such as VACUUM."""
        try:
            with self._writer.connect() as connection:
                driver: Any = connection.connection.driver_connection
                if self.is_sqlite:
                    driver.execute(statement).fetchall()
                    return
                driver.autocommit = True
                try:
                    driver.execute(statement)
                finally:
                    driver.autocommit = False
        except self.errors as error:
            raise self.failure(statement, error) from error

    def _take_turn(self, connection: sa.Connection) -> None:
        """Waits until no other process writes; SQLite's BEGIN IMMEDIATE did so already."""
        if not self.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))

    def check_revision(self, found: str | None) -> None:
        """Raises StoreError where a schema is not the one that this langrec reads."""
        if found == schema.REVISION:
            return
        if found is None:
            raise StoreError(f"{self.shown}: holds no store of langrec; check the URL", field="serve.store")
        if found < schema.REVISION:
            way = f"bring it here with `langrec store migrate {self.shown}`"
        else:
            way = "serve it with the langrec that made it, or update this one"
        raise StoreError(
            f"{self.shown}: has schema {found}, this langrec reads {schema.REVISION}; {way}", field="serve.store"
        )

    def _check_whole(self) -> None:
        with self._reader.connect() as connection:
            if get_meta(connection, FILLING):
                raise StoreError(
                    f"{self.shown}: filling it with events was cut off; fill it again, or name a new store",
                    field="serve.store",
                )
            if get_meta(connection, COPYING):
                raise StoreError(
                    f"{self.shown}: copying or restoring into it was cut off; run that again, and it goes on",
                    field="serve.store",
                )


def revision_of(connection: sa.Connection) -> str | None:
    """The revision of a store's schema; None where there is no store."""
    tables = set(sa.inspect(connection).get_table_names())
    if version.name in tables:
        return connection.execute(sa.select(version.c.version_num)).scalar()
    # Stores of the time before revisions say a number beside.
    before = get_meta(connection, "schema") if schema.meta.name in tables else None
    return None if before is None else f"{before:04d}"


def note_revision(connection: sa.Connection, revision: str) -> None:
    """Writes down which schema the store has, also where older releases of langrec look."""
    version.create(connection, checkfirst=True)
    connection.execute(version.delete())
    connection.execute(version.insert().values(version_num=revision))
    set_meta(connection, "schema", int(revision))


def upsert(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that knows ON CONFLICT, in the words of the connection's database."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgres_insert

        return postgres_insert(table)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table)


def get_meta(connection: sa.Connection, name: str) -> Any:
    """A remembered value, None where there is none."""
    return connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.name == name)).scalar()


def set_meta(connection: sa.Connection, name: str, value: Any) -> None:
    """Remembers a JSON value under a name."""
    statement = upsert(connection, schema.meta).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def next_number(connection: sa.Connection, name: str = "revision") -> int:
    """Moves a counter up by one within a write transaction and gives its new value."""
    table = schema.counters
    statement = upsert(connection, table).values(name=name, value=1)
    statement = statement.on_conflict_do_update(index_elements=["name"], set_={"value": table.c.value + 1})
    return int(connection.execute(statement.returning(table.c.value)).scalar_one())


def set_number(connection: sa.Connection, name: str, value: int) -> None:
    """Sets a counter."""
    statement = upsert(connection, schema.counters).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


_number_of = sa.select(schema.counters.c.value).where(schema.counters.c.name == sa.bindparam("name"))


def number(connection: sa.Connection, name: str) -> int:
    """A counter's value, 0 where nothing moved it yet."""
    return int(connection.execute(_number_of, {"name": name}).scalar() or 0)


def in_transaction(connection: sa.Connection) -> bool:
    """Whether the transaction is still open: SQLite ends one by itself where the disk is full."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction) if connection.dialect.name == "sqlite" else not driver.closed


def _kept_alive(url: sa.URL) -> dict[str, Any]:
    """A server that went away is noticed within seconds, and one that is back is found again."""
    told = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
    told |= {"tcp_user_timeout": 20_000}
    return {"pool_pre_ping": True, "connect_args": {name: v for name, v in told.items() if name not in url.query}}


# How PostgreSQL says that a row does not fit into an index.
_TOO_LONG = "54000"

# How databases say that a disk is full.
_FULL = ("disk is full", "no space left", "disk full")

# A log that grew under load is cut to this size when it has been written back.
LIMITS = ("journal_size_limit=67108864",)


def _tune_sqlite(engine: sa.Engine, begin: str) -> None:
    """Explicit transactions (the driver's own would start them late) and the pragmas of a durable WAL."""

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", *LIMITS):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        # Its own lower() knows ASCII alone.
        connection.create_function("plain", 1, lambda text: text and plain(text), deterministic=True)

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)


def _reason(error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error)
    return text.splitlines()[0] if text else type(error).__name__
