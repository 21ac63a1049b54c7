"""The store itself: imports, revisions and group commit."""

from __future__ import annotations

import contextlib
import threading
from itertools import pairwise
from types import SimpleNamespace

import polars as pl
import pytest
import sqlalchemy as sa
from live_server import planted

from langrec.data.catalogue import Catalogue
from langrec.errors import StoreError
from langrec.service.store import event_rows, item_rows, schema
from langrec.service.store.bulk_rows import copy_rows
from langrec.service.store.event_rows import Event, StoredUser
from langrec.service.store.importing import import_release
from langrec.service.store.item_rows import StoredItem
from langrec.service.store.lease import only_server
from langrec.service.store.store import Store, number, set_meta
from langrec.service.store.writer import Writer
from langrec.settings import ServeSettings
from langrec.types import Item


@pytest.fixture
def store(store_url):
    opened = Store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def world(tmp_path):
    """A folder with catalog/*.parquet, and the catalogue."""
    items, events = planted()
    folder = tmp_path / "release"
    (folder / "catalog").mkdir(parents=True)
    events.write_parquet(folder / "catalog" / "events.parquet")
    events.select("user_id").unique(maintain_order=True).write_parquet(folder / "catalog" / "users.parquet")
    return folder, Catalogue(items, ("description",))


def size(store: Store, table: sa.Table) -> int:
    with store.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_fields_of_users_become_labels_and_stay_where_somebody_wrote_some(store, world):
    folder, catalogue = world
    import_release(store, "bare", folder, catalogue)
    with store.write() as connection:
        event_rows.put_users(connection, [StoredUser("sea-u1", {"age": 99})])
        event_rows.delete_user(connection, "sea-u2")
    fields = {
        "user_id": ["sea-u0", "sea-u1", "sea-u2", "sea-u3", "new"],
        "age": [24, 25, 26, None, 28],
        "likes": [["tea"], None, None, None, None],
        "weight": [float("nan")] * 5,
    }
    pl.DataFrame(fields).write_parquet(folder / "catalog" / "users.parquet")
    import_release(store, "told", folder, catalogue)
    with store.read() as connection:
        labels = {
            name: getattr(event_rows.get_user(connection, name), "labels", "deleted") for name in fields["user_id"]
        }
        assert event_rows.get_user(connection, "sea-u0").n_events == 6
    assert labels == {
        "sea-u0": {"age": 24, "likes": ["tea"]},
        "sea-u1": {"age": 99},
        "sea-u2": "deleted",
        "sea-u3": None,
        "new": {"age": 28},
    }


def test_an_import_brings_everything_once(store, world):
    folder, catalogue = world
    assert import_release(store, "one", folder, catalogue, chunk=7)
    assert (size(store, schema.items), size(store, schema.users), size(store, schema.events)) == (48, 40, 240)
    assert not import_release(store, "one", folder, catalogue)
    assert import_release(store, "two", folder, catalogue)
    assert (size(store, schema.items), size(store, schema.users), size(store, schema.events)) == (48, 40, 240)
    with store.read() as connection:
        user = event_rows.get_user(connection, "sea-u0")
        assert user is not None and user.n_events == 6
        assert item_rows.get_item(connection, "sea00").item.texts == {
            "description": "About ship and harbour and sailor."
        }


def test_an_interrupted_import_goes_on_where_it_stopped(store, world):
    folder, catalogue = world

    class CutError(Exception):
        pass

    def cut(part: str, done: int, total: int) -> None:
        if part == "events" and done >= 100:
            raise CutError

    with pytest.raises(CutError):
        import_release(store, "one", folder, catalogue, chunk=50, progress=cut)
    assert size(store, schema.events) == 100
    steps = []
    import_release(store, "one", folder, catalogue, chunk=50, progress=lambda *step: steps.append(step))
    assert size(store, schema.events) == 240
    assert steps == [("events", 150, 240), ("events", 200, 240), ("events", 240, 240)]


def test_two_imports_at_once_share_the_work(store, world):
    folder, catalogue = world
    threads = [
        threading.Thread(target=import_release, args=(store, "one", folder, catalogue), kwargs={"chunk": 11})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (size(store, schema.items), size(store, schema.users), size(store, schema.events)) == (48, 40, 240)


def test_others_write_between_the_steps_of_an_import(store, world, monkeypatch):
    folder, catalogue = world
    log = [Event("sea-u0", "new", "click", 1)]
    with store.write() as connection:
        event_rows.put_events(connection, log, overwrite=True)
    counted, pauses = [], set()

    def pause(seconds):
        pauses.add(seconds)
        log.append(Event("visitor", "new", "click", len(log)))
        with store.write() as connection:
            event_rows.put_events(connection, log[-1:], overwrite=True)
            right = sa.select(sa.func.count()).select_from(schema.items).where(schema.items.c.n_events > 0)
            counted.append(connection.execute(right).scalar_one())

    monkeypatch.setattr("langrec.service.store.importing.time", SimpleNamespace(sleep=pause))
    import_release(store, "one", folder, catalogue, chunk=20, pause=0.1)
    assert pauses == {0.1}
    assert max(after - before for before, after in pairwise(counted)) <= 20, "no transaction counts all 49 items"
    assert counted[-1] == 49
    with store.read() as connection:
        assert item_rows.get_item(connection, "new").n_events == len(log)
        assert item_rows.get_item(connection, "sea00").n_events == event_rows_of(connection, "sea00")
        assert event_rows.get_user(connection, "sea-u0").n_events == 7


def event_rows_of(connection: sa.Connection, item: str) -> int:
    return len(event_rows.find_events(connection, item=item))


def test_an_import_overwrites_what_an_import_wrote_but_not_what_people_wrote(store, world):
    folder, catalogue = world
    import_release(store, "one", folder, catalogue)
    with store.write() as connection:
        item_rows.put_items(connection, [StoredItem(Item("sea00", title="by hand"))])
        item_rows.delete_item(connection, "sea01")
    frame = catalogue.frame.with_columns(pl.lit("by release").alias("title"))
    import_release(store, "two", folder, Catalogue(frame, ("description",)))
    with store.read() as connection:
        assert item_rows.get_item(connection, "sea00").item.title == "by hand"
        assert item_rows.get_item(connection, "sea01") is None
        assert item_rows.get_item(connection, "sea02").item.title == "by release"


def test_changes_since_a_revision_are_each_seen_once(store):
    with store.write() as connection:
        item_rows.put_items(connection, [StoredItem(Item("a")), StoredItem(Item("b"))])
    with store.read() as connection:
        seen = number(connection, "items")
    with store.write() as connection:
        item_rows.put_items(connection, [StoredItem(Item("b", title="new"))])
        item_rows.delete_item(connection, "a")
        event_rows.put_events(connection, [Event("u", "c", "click", 1)], overwrite=False)
    with store.read() as connection:
        changes = item_rows.changes_since(connection, seen)
        assert [(change.item_id, change.item is None) for change in changes] == [
            ("b", False),
            ("a", True),
            ("c", False),
        ]
        assert item_rows.changes_since(connection, number(connection, "items")) == []


def test_vectors_come_back_as_they_were_stored(store):
    import numpy as np

    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    with store.write() as connection:
        item_rows.put_items(
            connection, [StoredItem(Item("a")), StoredItem(Item("b"))], vectors={"vectors": rows}, encoder="me"
        )
    with store.read() as connection:
        (found,) = item_rows.changes_of(connection, ["b"])
    assert found.encoder == "me" and found.vectors["vectors"].tolist() == [3.0, 4.0, 5.0]


def test_a_failing_write_is_undone_alone(store):
    writer = Writer(store)
    gate = threading.Event()
    writer.submit(lambda connection: gate.wait(60))

    def fail(connection: sa.Connection) -> None:
        set_meta(connection, "half", 1)
        raise ValueError("no")

    good = writer.submit(lambda connection: set_meta(connection, "whole", 1))
    bad = writer.submit(fail)
    gate.set()
    good.result(60)
    with pytest.raises(ValueError, match="no"):
        bad.result(60)
    writer.close()
    with store.read() as connection:
        names = set(connection.execute(sa.select(schema.meta.c.name)).scalars())
    assert "whole" in names and "half" not in names


def test_errors_of_the_driver_itself_are_the_stores(store):
    writer = Writer(store)
    bad = writer.submit(lambda connection: copy_rows(connection, "meta", ["name"], [("a",), ("a",)]))
    with pytest.raises(StoreError, match="writing failed"):
        bad.result(10)
    writer.close()
    with pytest.raises(StoreError, match="VACUUM nonsense failed"):
        store.run_alone("VACUUM nonsense")


def test_events_that_come_together_add_up_in_their_order(store):
    writer = Writer(store)
    gate = threading.Event()
    writer.submit(lambda connection: gate.wait(60))
    steps = [(2.0, False), (3.0, False), (10.0, True), (1.0, False), (1.0, False)]
    futures = [writer.append([Event("u", "i", "t", 1, value)], overwrite=overwrite) for value, overwrite in steps]
    futures.append(writer.append([], overwrite=False))
    gate.set()
    assert [future.result(60) for future in futures] == [1, 1, 1, 1, 1, 0]
    writer.close()
    with store.read() as connection:
        assert [event.value for event in event_rows.find_events(connection, user="u")] == [12.0]
        assert event_rows.get_user(connection, "u").n_events == 1


def test_a_closed_writer_has_finished_and_takes_no_more(store):
    writer = Writer(store)
    futures = [writer.submit(lambda connection, i=i: set_meta(connection, f"n{i}", i)) for i in range(50)]
    writer.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(StoreError, match="stopping"):
        writer.submit(lambda connection: None)


def test_a_crowd_of_readers_leaves_a_connection_to_the_scorer(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    read = threading.Event()

    def score() -> None:
        with store.read() as connection:
            assert number(connection, "revision") == 0
        read.set()

    with contextlib.ExitStack() as crowd:
        for _ in range(ServeSettings().tenant_share):
            number(crowd.enter_context(store.read()), "revision")
        scorer = threading.Thread(target=score)
        scorer.start()
        assert read.wait(60), "it waits until one of the crowd is done"
    scorer.join()
    store.close()


def test_a_store_that_cannot_be_opened_says_which(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere.*cannot be opened"):
        Store(f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}")
    with pytest.raises(StoreError, match="not a database URL"):
        Store("just a file.db")
    (tmp_path / "text.db").write_text("this is no database, but long enough to be read as one\n" * 100)
    with pytest.raises(StoreError, match=r"text\.db"):
        Store(f"sqlite:///{tmp_path / 'text.db'}")


def test_the_history_of_requests_is_that_of_the_log_whatever_times_are_equal(store):
    log = [Event("u", f"i{i}", "click", [5, 1, 5, 9, 5, 1, 7, 5][i % 8]) for i in range(40)]
    log += [Event("v", f"i{i}", "click", i) for i in range(30)] + [Event("w", f"i{i}", "click", 3) for i in range(9)]
    with store.write() as connection:
        event_rows.put_events(connection, log, overwrite=True)
    with store.read() as connection:
        for user in ("u", "v", "w", "nobody"):
            for n in (1, 2, 5, 8, 9, 15, 29, 40, 100):
                for now in (0, 4, 5, 10**15):
                    whole = [row[:3] for row in event_rows.history(connection, user, n, now)]
                    assert [tuple(row[:3]) for row in event_rows.recent(connection, user, n, now)] == whole


def test_a_history_that_cannot_be_read_is_the_stores_error(store):
    # Each database says it in words of its own.
    with pytest.raises(StoreError, match=r"history|events.* does not exist"), store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO gone")
        event_rows.recent(connection, "u", 10, 10)
    with store.read() as connection:
        assert event_rows.recent(connection, "u", 10, 10) == [], "and the store is as it was"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:s3cret@db:port/x",
        "shop:s3cret@db/x",
        "postgresql://127.0.0.1:1/x?user=shop&password=s3cret",
        "postgresql://127.0.0.1:1/x?sslpassword=s3cret",
        "postgres://shop:s3cret@127.0.0.1/x",
    ],
)
def test_no_error_of_a_store_that_cannot_be_opened_holds_its_password(url):
    with pytest.raises(StoreError) as error:
        Store(url)
    assert "s3cret" not in error.value.message
    with only_server("postgresql://shop:s3cret@db:port/x"):
        pass  # opening the store says what is wrong
