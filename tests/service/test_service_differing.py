"""A release is compared with the store in full once; afterwards by what has moved, with the same result."""

from __future__ import annotations

from pathlib import Path

import pytest

from langrec.service.served import differing
from langrec.service.served.snapshot import Releases
from langrec.service.store.item_rows import StoredItem, delete_item, put_items
from langrec.service.store.store import Store
from langrec.types import Item


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(f"sqlite:///{tmp_path / 'own.db'}")
    yield opened
    opened.close()


def write(store: Store, *items: Item) -> None:
    with store.write() as connection:
        put_items(connection, [StoredItem(item) for item in items])


def test_later_starts_look_only_at_what_moved_and_find_the_same(releases, store, monkeypatch):
    first = Releases(releases, store)
    known = first.snapshot.recommender
    write(store, Item("new", title="sea whale"), Item("sea00", title="another title"))
    with store.write() as connection:
        delete_item(connection, "moon03")
    whole: list[int] = []
    full = differing._all
    monkeypatch.setattr(differing, "_all", lambda *args: (whole.append(1), full(*args))[1])

    again = Releases(releases, store).snapshot
    assert whole == [], "what was noted at the first start is enough"
    assert again.overlay == {"new", "sea00", "moon03"}
    assert again.recommender.view("sea00").title == "another title"
    assert again.recommender.view("moon03") is None and again.recommender.view("new") is not None

    write(store, known.view("sea00"))  # back to what the release says
    third = Releases(releases, store).snapshot
    assert whole == [] and third.overlay == {"new", "moon03"}
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM meta WHERE name LIKE 'differ:%'")
    assert Releases(releases, store).snapshot.overlay == third.overlay and whole == [1]


def test_many_moved_rows_are_compared_in_full(releases, store, monkeypatch):
    Releases(releases, store)
    write(store, *(Item(f"n{i}", title="sea") for i in range(6)))
    monkeypatch.setattr(differing, "_MOST", 5)
    assert Releases(releases, store).snapshot.overlay == {f"n{i}" for i in range(6)}


def test_two_releases_each_keep_their_own_note(releases, store):
    old, new = sorted(path.name for path in releases.iterdir() if path.is_dir())
    write(store, Item("new", title="sea"))
    for stamp in (new, old, new):
        (releases / "CURRENT").write_text(stamp)
        found = Releases(releases, store).snapshot
        assert found.stamp == stamp and found.overlay == {"new"}
