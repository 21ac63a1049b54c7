"""The changes of the schema: together they make what schema.py says, and a store is never opened half way."""

from __future__ import annotations

import contextlib
import textwrap

import pytest
import sqlalchemy as sa

from langrec.errors import StoreError
from langrec.service.store import event_rows, migrating, schema
from langrec.service.store.event_rows import Event
from langrec.service.store.migrating import migrate
from langrec.service.store.store import Store, get_meta, note_revision, revision_of, set_meta, version


def described(url: str) -> dict[str, object]:
    """All that a database says of its tables, in a form that can be compared."""
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    found: dict[str, object] = {}
    for name in sorted(set(inspector.get_table_names()) - {version.name, "sqlite_sequence"}):
        columns = {
            column["name"]: (str(column["type"]), column["nullable"], column.get("default"))
            for column in inspector.get_columns(name)
        }
        indexes = sorted((one["name"], one["column_names"], one["unique"]) for one in inspector.get_indexes(name))
        unique = sorted((one["name"], one["column_names"]) for one in inspector.get_unique_constraints(name))
        key = inspector.get_pk_constraint(name)["constrained_columns"]
        found[name] = (columns, indexes, unique, key)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            found["autoincrement"] = sorted(name for name, sql in made if "AUTOINCREMENT" in sql)
    engine.dispose()
    return found


def old_store(url: str) -> None:
    """A store of the first schema, as it was before stores carried a revision."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        settings = migrating.config()
        settings.attributes["connection"] = connection
        from alembic import command

        command.upgrade(settings, "0001")
        version.drop(connection)
        set_meta(connection, "schema", 1)
    engine.dispose()


def another(url: str, request: pytest.FixtureRequest) -> str:
    """The URL of a second empty database of the same kind."""
    if url.startswith("sqlite"):
        return url.replace("store.db", "other.db")
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def one_more(tmp_path, monkeypatch):
    """A langrec with one change more than this one has."""
    folder = tmp_path / "migrations"
    here = migrating.Path(migrating.__file__).parent / "migrations"
    (folder / "versions").mkdir(parents=True)
    for name in ["env.py", *(f"versions/{path.name}" for path in (here / "versions").glob("0*.py"))]:
        (folder / name).write_text((here / name).read_text("utf-8"), "utf-8")
    following = f"{int(schema.REVISION) + 1:04d}"
    body = f"""
        import sqlalchemy as sa
        from alembic import op
        revision, down_revision = "{following}", "{schema.REVISION}"

        def upgrade():
            op.create_table("first_half", sa.Column("n", sa.Integer, primary_key=True))
            with op.batch_alter_table("events") as table:
                table.add_column(sa.Column("device", sa.Text, nullable=False, server_default="?"))
            SECOND_HALF
    """
    change = folder / "versions" / f"{following}_more.py"
    change.write_text(textwrap.dedent(body.replace("SECOND_HALF", "pass")), "utf-8")
    real = migrating.config()

    def config():
        real.set_main_option("script_location", str(folder))
        return real

    monkeypatch.setattr(migrating, "config", config)
    monkeypatch.setattr(schema, "REVISION", following)
    return change


def test_all_changes_together_make_what_the_schema_says(store_url, request):
    old_store(store_url)
    migrate(store_url)
    fresh = another(store_url, request)
    Store(fresh).close()
    migrated, made = described(store_url), described(fresh)
    assert set(made) - {"autoincrement"} == set(schema.metadata.tables)
    for table, description in made.items():
        assert migrated[table] == description, table
    assert migrated == made


def test_the_newest_change_is_the_one_that_stores_carry(store_url):
    assert migrating.head() == schema.REVISION
    store = Store(store_url)
    with store.read() as connection:
        assert revision_of(connection) == schema.REVISION
        assert get_meta(connection, "schema") == int(schema.REVISION)
    store.close()
    assert migrate(store_url) == (schema.REVISION, schema.REVISION)


def test_an_older_store_is_migrated_with_all_that_it_holds(store_url, one_more, monkeypatch):
    following = schema.REVISION
    monkeypatch.setattr(schema, "REVISION", f"{int(following) - 1:04d}")
    store = Store(store_url)
    with store.write() as connection:
        event_rows.put_events(connection, [Event("ann", "tea", "click", 1)], overwrite=False)
    store.close()
    before = schema.REVISION
    monkeypatch.setattr(schema, "REVISION", following)
    with pytest.raises(StoreError, match="langrec store migrate"):
        Store(store_url)
    assert migrate(store_url) == (before, following)
    store = Store(store_url)
    with store.read() as connection:
        rows = connection.exec_driver_sql("SELECT user_id, item_id, device FROM events").all()
        assert [tuple(row) for row in rows] == [("ann", "tea", "?")]
    with pytest.raises(StoreError), store.write() as connection:
        for _ in range(2):
            connection.exec_driver_sql(
                "INSERT INTO events (user_id, item_id, type, at, comment, revision) VALUES ('a', 'b', 'c', 1, '', 1)"
            )
    store.close()


def test_a_change_that_fails_leaves_the_store_as_it_was(store_url, one_more, monkeypatch):
    text = one_more.read_text("utf-8")
    one_more.write_text(text.replace("    pass", '    op.execute("no such statement")'), "utf-8")
    following = schema.REVISION
    monkeypatch.setattr(schema, "REVISION", f"{int(following) - 1:04d}")
    Store(store_url).close()
    before = described(store_url)
    monkeypatch.setattr(schema, "REVISION", following)
    with pytest.raises(StoreError, match=r"no such statement|syntax"):
        migrate(store_url)
    assert described(store_url) == before
    monkeypatch.setattr(schema, "REVISION", f"{int(following) - 1:04d}")
    Store(store_url).close()


def test_a_store_without_a_revision_is_recognised(store_url):
    old_store(store_url)
    if schema.REVISION != "0001":
        with pytest.raises(StoreError, match=r"has schema 0001.*langrec store migrate"):
            Store(store_url)
    assert migrate(store_url) == ("0001", schema.REVISION)
    Store(store_url).close()


def test_a_newer_store_is_refused(store_url):
    store = Store(store_url)
    with store.write() as connection:
        note_revision(connection, "9999")
    store.close()
    for opening in (Store, migrate):
        with pytest.raises(StoreError, match="has schema 9999"):
            opening(store_url)


def test_migrating_what_is_no_store_makes_none(store_url, tmp_path):
    with pytest.raises(StoreError):
        migrate(store_url)
    assert not list(tmp_path.glob("*.db"))
    if not store_url.startswith("sqlite"):
        with contextlib.closing(sa.create_engine(store_url).connect()) as connection:
            assert sa.inspect(connection).get_table_names() == []
