"""Bulk import and export: what comes in is what single requests would have made, also after an interruption."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import datetime

import polars as pl
import pytest
import sqlalchemy as sa
from live_server import wait_until

from langrec.data.catalogue import Catalogue
from langrec.errors import DataError, StoreError
from langrec.service import bulk
from langrec.service.bulk import export_file, import_file, refused_of
from langrec.service.store import event_rows, item_rows, schema
from langrec.service.store.bulk_rows import put_many_events
from langrec.service.store.event_rows import Event
from langrec.service.store.filling import fill_events
from langrec.service.store.importing import import_release
from langrec.service.store.store import Store

# Texts that SQL, COPY and JSON each have words for.
HOSTILE = ["tab\there", "line\nfeed", "back\\slash", "\\N", "quote'\"; DROP TABLE events; --", "日本 🍵", "{}", " "]


@pytest.fixture
def store(store_url):
    opened = Store(store_url)
    yield opened
    opened.close()


def content(store: Store, *, arrival: bool = True) -> dict[str, list[tuple]]:
    """All that the rows say, but the revisions."""
    e, u, i = schema.events.c, schema.users.c, schema.items.c
    queries = {
        "events": sa.select(e.user_id, e.item_id, e.type, e.at, e.value, e.comment).order_by(
            *([e.seq] if arrival else [e.user_id, e.at, e.item_id, e.type])
        ),
        "users": sa.select(u.user_id, u.n_events, u.deleted, u.comment, u.labels).order_by(u.user_id),
        "items": sa.select(i.item_id, i.n_events, i.deleted, i.title, i.content).order_by(i.item_id),
    }
    with store.read() as connection:
        return {name: [tuple(row) for row in connection.execute(query)] for name, query in queries.items()}


def some_events(n: int = 60) -> list[Event]:
    rows = [Event(f"u{i % 7}", f"i{i % 5}", "click", i // 2, float(i) if i % 3 else None) for i in range(n)]
    rows += [Event(text, text, text, 5, 1.0, text) for text in HOSTILE]
    return [*rows, Event("u0", "i0", "click", 0, 9.0, "last"), Event("gone", "i0", "click", 1, 1.0)]


def test_many_events_at_once_are_as_one_by_one(store, tmp_path):
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    for one in (store, other):
        with one.write() as connection:
            event_rows.put_events(
                connection, [Event("u0", "i1", "view", 1), Event("gone", "i9", "a", 1)], overwrite=True
            )
            event_rows.delete_user(connection, "gone")
    for start in (0, 20, 40):
        with store.write() as connection:
            put_many_events(connection, some_events()[start : start + 40])
        with other.write() as connection:
            event_rows.put_events(connection, some_events()[start : start + 40], overwrite=True)
    with store.write() as connection:
        assert put_many_events(connection, []) == 0
    assert content(store) == content(other)
    other.close()


def test_an_id_of_an_event_counts_in_bulk_too(store):
    with store.write() as connection:
        put_many_events(connection, [Event("u", "i", "t", 1, 1.0, once="a"), Event("u", "i", "t", 2, 1.0, once="a")])
    with store.write() as connection:
        assert put_many_events(connection, [Event("u", "i", "t", 3, 1.0, once="a")]) == 0
    assert [row[3] for row in content(store)["events"]] == [1]


def write_lines(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def test_bad_rows_are_refused_with_place_and_reason_and_the_others_taken(store, tmp_path):
    rows = [
        {"UserId": "u", "ItemId": "i", "FeedbackType": "click", "Timestamp": "2024-05-01T12:00:00Z"},
        "{not json",
        "",
        {"UserId": "u", "FeedbackType": "click"},
        '["a", "list"]',
        {"user_id": "v", "item_id": 7, "type": "buy", "at": 1714564800000, "rating": 3},
        {"user_id": "v", "item_id": "x" * 2000, "type": "buy"},
        {"user_id": "v", "item_id": "late", "type": "buy", "at": 1e30},
        {"user_id": "v", "item_id": "when", "type": "buy", "at": "yesterday"},
        "[" * 5000,
        {"user_id": "v", "item_id": "old", "type": "buy", "at": "1950-05-01"},
    ]
    done = import_file(store, write_lines(tmp_path / "e.jsonl", rows), "events", block=3)
    assert (done.rows, done.refused) == (11, 8)
    with store.read() as connection:
        found = refused_of(connection, done.source)
    assert [one.row for one in found] == [2, 4, 5, 7, 8, 9, 10, 11]
    assert "before 1970" in found[-1].reason
    assert "not JSON" in found[0].reason and found[0].data == "{not json"
    assert found[1].reason.startswith("ItemId: ") and found[2].reason == "is not an object"
    assert [row[:4] for row in content(store)["events"]] == [
        ("u", "i", "click", 1714564800000),
        ("v", "7", "buy", 1714564800000),
    ]


def test_categories_that_are_no_list_are_refused_by_what_is_wanted(store, tmp_path):
    rows = [{"item_id": "a", "categories": "Comedy|Drama"}, {"item_id": "b", "categories": None}]
    done = import_file(store, write_lines(tmp_path / "i.jsonl", rows), "items")
    with store.read() as connection:
        assert [(one.row, one.reason) for one in refused_of(connection, done.source)] == [
            (1, 'Categories: is a list of names, such as ["Comedy"]')
        ]


def test_a_file_of_items_has_the_text_fields_of_the_release(store, tmp_path):
    catalogue = Catalogue(pl.DataFrame({"item_id": ["a"], "title": ["A"], "story": ["old"]}), ("story",))
    (tmp_path / "catalog").mkdir()
    pl.DataFrame(schema={"user_id": pl.String}).write_parquet(tmp_path / "catalog" / "users.parquet")
    pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String}).write_parquet(
        tmp_path / "catalog" / "events.parquet"
    )
    import_release(store, "one", tmp_path, catalogue)
    rows = [{"item_id": "b", "story": "of a whale", "colour": "red"}, {"ItemId": "c", "Labels": {"story": "of a ship"}}]
    import_file(store, write_lines(tmp_path / "i.jsonl", rows), "items")
    with store.read() as connection:
        found = item_rows.get_items(connection, ["b", "c"])
    assert {name: one.item.texts for name, one in found.items()} == {
        "b": {"story": "of a whale"},
        "c": {"story": "of a ship"},
    }
    assert found["b"].item.fields == {"colour": "red"}


def test_a_file_is_imported_once_and_again_where_asked(store, tmp_path):
    path = write_lines(tmp_path / "u.jsonl", [{"UserId": "a", "Labels": {"x": 1}}, {"user": "b", "age": 3}])
    assert import_file(store, path, "users").again
    with store.write() as connection:
        event_rows.delete_user(connection, "a")
    assert not import_file(store, path, "users").again
    assert [row[2] for row in content(store)["users"]] == [True, False]
    assert import_file(store, path, "users", repeat=True).rows == 2
    assert [(row[0], row[2], row[4]) for row in content(store)["users"]] == [
        ("a", False, {"x": 1}),
        ("b", False, {"age": 3}),
    ]
    path.write_text(path.read_text("utf-8") + '{"UserId": "c"}\n', "utf-8")
    assert import_file(store, path, "users").rows == 3


def test_other_columns_are_kept_beside_labels_without_names(live):
    rows = [
        {"ItemId": "tagged", "Labels": ["red", "tall"], "price": 3, "description": "a zither", "Fields": {"size": 4}},
        {"ItemId": "worded", "Labels": "red", "price": 3},
        {"ItemId": "slip", "Labels": "red", "price": 3, "Fields": "x"},
    ]
    sent = {"content": "\n".join(map(json.dumps, rows)), "headers": {"Content-Type": "application/x-ndjson"}}
    answer = live.client.post("/api/bulk/items", **sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["RowAffected"] == 2
    assert [one["Row"] for one in answer.json()["Refused"]] == [3]
    assert live.get("/api/item/tagged")["Labels"] == ["red", "tall"] and live.get("/api/item/worded")["Labels"] == "red"
    wanted = {"where": [{"field": "price", "op": "eq", "value": 3}]}
    found = live.send("POST", "/api/recommend", {"filters": wanted})["items"]
    assert {one["id"] for one in found} == {"tagged", "worded"}
    fields = {one["id"]: one["fields"] for one in found}["tagged"]
    assert (fields["price"], fields["size"], fields["description"]) == (3, 4, "a zither")
    assert [one["id"] for one in live.get("/api/search", q="zither", k=1)["items"]] == ["tagged"]

    people = ['{"UserId": "ann", "Labels": ["x"], "age": 3, "town": "Lund"}', '{"UserId": "bea", "age": 4}']
    sent["content"] = "\n".join(people)
    answer = live.client.post("/api/bulk/users", **sent)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "RowAffected": 1,
        "RowRefused": 1,
        "Refused": [{"Row": 1, "Reason": "Labels: is no object, so age, town cannot stand among them"}],
    }


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_what_is_exported_and_imported_is_the_same(store, tmp_path, suffix):
    from langrec.service.bodies import GorseItem
    from langrec.service.shapes import item_from

    bodies = [
        GorseItem(ItemId=text, Comment=text, Labels={"description": text, "n": i, "l": [text]}, Categories=[text])
        for i, text in enumerate(HOSTILE)
    ]
    bodies.append(
        GorseItem(ItemId="plain", Title="T", Texts={"body": "b"}, Fields={"p": 1.5}, IsHidden=True, Timestamp=7)
    )
    with store.write() as connection:
        item_rows.put_items(connection, [item_from(body, ()) for body in bodies])
        put_many_events(connection, some_events())
        event_rows.put_users(connection, [event_rows.StoredUser("u1", {"a": HOSTILE}, HOSTILE[0])])
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    for kind in bulk.KINDS:
        path = tmp_path / f"{kind}{suffix}"
        n = export_file(store, path, kind, block=10)
        assert import_file(other, path, kind, block=7).rows == n
    assert content(other) == content(store)
    assert sorted(
        path.name for path in tmp_path.iterdir() if "other" not in path.name and "store" not in path.name
    ) == [
        f"events{suffix}",
        f"items{suffix}",
        f"users{suffix}",
    ]
    other.close()


def test_a_plain_parquet_file_with_times_and_numbers_is_taken(store, tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": [1, 2],
            "item_id": ["a", "b"],
            "event_type": ["x", None],
            "timestamp": [datetime(2024, 5, 1, 12), datetime(2024, 5, 2)],
            "value": [float("nan"), 2.0],
        }
    ).rename({"event_type": "type"})
    frame.write_parquet(tmp_path / "e.parquet")
    done = import_file(store, tmp_path / "e.parquet", "events")
    assert (done.rows, done.refused) == (2, 1)
    assert content(store)["events"] == [("1", "a", "x", 1714564800000, None, "")]


def test_an_import_that_is_killed_goes_on_and_no_row_comes_twice(store, store_url, tmp_path):
    """The place is in the transaction of the rows: whatever the moment of death, they agree."""
    n = 400
    rows = [{"user_id": f"u{i}", "item_id": "i", "type": "t", "at": i + 1} for i in range(n)]
    rows[5] = {"user_id": ""}
    path = write_lines(tmp_path / "e.jsonl", rows)
    script = (
        "import sys, os\nfrom pathlib import Path\nfrom langrec.service.store.store import Store\n"
        "from langrec.service.bulk import import_file\n"
        "def show(what, done, total):\n    print(done, flush=True)\n"
        "import_file(Store(sys.argv[1]), Path(sys.argv[2]), 'events', block=10, progress=show)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, store_url, str(path)], stdout=subprocess.PIPE, text=True)
    for _ in range(7):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(content(store)["events"])
    assert 69 <= before < n - 1
    steps = []
    done = import_file(store, path, "events", block=10, progress=lambda *step: steps.append(step))
    assert (done.rows, done.refused) == (n, 1)
    assert len(steps) == (n - before - 1) // 10
    assert [row[0] for row in content(store)["events"]] == [f"u{i}" for i in range(n) if i != 5]
    assert {row[1] for row in content(store)["users"]} == {1}
    assert [row[1] for row in content(store)["items"]] == [n - 1]


def test_filling_an_empty_store_is_as_one_by_one(store, tmp_path):
    rows = sorted({event.key: event for event in some_events()}.values(), key=lambda one: (one.user, one.at, one.item))
    frame = pl.DataFrame(
        {
            "user_id": [one.user for one in rows],
            "item_id": [one.item for one in rows],
            "type": [one.type for one in rows],
            "at": [one.at for one in rows],
            "value": [one.value for one in rows],
        }
    )
    steps = []
    assert fill_events(store, (frame[i : i + 20] for i in range(0, len(rows), 20)), progress=steps.append) == len(rows)
    assert steps[-1] == len(rows)
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    with other.write() as connection:
        event_rows.put_events(connection, [Event(*one.key, one.value) for one in rows], overwrite=True)
    assert content(store, arrival=False) == content(other, arrival=False)
    with store.read() as connection:
        inspector = sa.inspect(connection)
        assert {one["name"] for one in inspector.get_indexes("events")} >= {"events_item"}
        assert [one["name"] for one in inspector.get_unique_constraints("events")] == ["events_key"]
    with pytest.raises(StoreError, match="holds events"):
        fill_events(store, [frame])
    other.close()


def test_a_fill_with_a_key_that_comes_twice_is_refused_in_the_stores_words(store):
    twice = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "x"], "type": ["t", "t"], "at": [1, 1]})
    with pytest.raises(StoreError, match=r"(?i)unique"):
        fill_events(store, [twice])
    assert fill_events(store, [twice.unique()]) == 1


def test_a_fill_that_was_cut_off_is_begun_again_and_not_served(store, store_url):
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "x"], "type": ["t", "t"], "at": [1, 2]})

    def cut():
        yield frame
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_events(store, cut())
    with pytest.raises(StoreError, match="cut off"):
        Store(store_url)
    assert fill_events(store, [frame]) == 2
    assert [row[1] for row in content(store)["users"]] == [1, 1]
    Store(store_url).close()


def test_over_http_lines_come_in_and_out(live):
    def send(kind: str, lines: list[str], **headers: str):
        kind_of = {"Content-Type": "application/x-ndjson", **headers}
        return live.client.post(f"/api/bulk/{kind}", content="\n".join(lines), headers=kind_of)

    item = '{"ItemId": "kiln", "Comment": "porcelain kiln", "Labels": {"price": 3}}'
    assert send("items", [item]).json() == {"RowAffected": 1, "RowRefused": 0, "Refused": []}
    assert [one["id"] for one in live.get("/api/search", q="porcelain", k=1)["items"]] == ["kiln"]
    assert send("users", ['{"UserId": "ann", "Comment": "new"}']).status_code == 200
    events = ['{"FeedbackType": "click", "UserId": "ann", "ItemId": "chess00", "Value": 2}', '{"UserId": "ann"}']
    for _ in range(2):
        answer = send("feedback", events, **{"Idempotency-Key": "k"})
        assert answer.json() == {
            "RowAffected": 1,
            "RowRefused": 1,
            "Refused": [{"Row": 2, "Reason": "FeedbackType: Field required"}],
        }
    assert len(live.get("/api/user/ann/feedback")) == 1, "a retry counts once"
    assert "chess00" not in live.recommended("ann", 40)
    for kind, n in (("users", 41), ("items", 49), ("feedback", 241)):
        answer = live.client.get(f"/api/bulk/{kind}")
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        assert len(answer.text.splitlines()) == n
        again = send(kind, answer.text.splitlines())
        assert again.json()["RowAffected"] == n and again.json()["RowRefused"] == 0
        assert live.client.get(f"/api/bulk/{kind}").text == answer.text
    assert (
        live.client.post("/api/bulk/feedback", content="x", headers={"Content-Type": "text/plain"}).status_code == 400
    )
    assert send("trees", ["{}"]).status_code == 404
    few = live.client.post("/api/bulk/users", content="{}\n" * 20_001, headers={"Content-Type": "application/x-ndjson"})
    assert few.status_code == 400 and "serve.max_rows" in few.json()["message"]


def test_a_file_that_was_mended_in_place_is_imported_again(store, tmp_path):
    path = tmp_path / "users.jsonl"
    lines = [json.dumps({"UserId": f"u{i}", "Comment": "x" * 2000}) for i in range(600)]
    path.write_text("\n".join(lines), "utf-8")
    assert import_file(store, path, "users").again and not import_file(store, path, "users").again
    at = path.stat().st_mtime_ns + 1_000_000
    path.write_text("\n".join([*lines[:-1], lines[-1].replace("x", "y")]), "utf-8")
    os.utime(path, ns=(at, at))
    assert import_file(store, path, "users").again
    with store.read() as connection:
        assert event_rows.get_user(connection, "u599").comment == "y" * 2000


def test_slow_readers_of_exports_leave_room_for_others(live, monkeypatch):
    go_on, pages = threading.Event(), bulk.pages

    def slowly(connection, kind, block):
        yield from pages(connection, kind, block)
        assert go_on.wait(60)

    monkeypatch.setattr(bulk, "pages", slowly)
    with contextlib.ExitStack() as held:
        held.callback(go_on.set)
        for _ in range(4):
            answer = held.enter_context(live.client.stream("GET", "/api/bulk/users"))
            assert answer.status_code == 200
        more = live.client.get("/api/bulk/feedback")
        assert (more.status_code, more.json()["code"], more.headers["Retry-After"]) == (429, "busy", "5")
        assert live.recommended("sea-u0")
    assert wait_until(lambda: live.client.get("/api/bulk/users").status_code == 200)


def test_an_export_whose_client_reads_nothing_is_given_up(live, monkeypatch):
    monkeypatch.setattr("langrec.service.routes.bulk._STALLED", 0.5)
    for i in range(8):
        live.send("POST", "/api/user", {"UserId": f"large{i}", "Comment": "x" * 4_000_000})
    exports = live.service.exports
    with contextlib.ExitStack() as held:
        for _ in range(4):
            one = held.enter_context(socket.create_connection(("127.0.0.1", live.port)))
            one.sendall(b"GET /api/bulk/users HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: not exports.acquire(blocking=False) or exports.release())
        read = wait_until(lambda: found if (found := live.client.get("/api/bulk/users")).status_code == 200 else None)
        assert read.text.count("\n") == 48, "whoever reads gets all"
        sent = b""
        while got := one.recv(1 << 20):
            sent += got
        assert sent and not sent.endswith(b"0\r\n\r\n"), "what was cut does not look whole"


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("none.jsonl", "events", "no such file"),
        ("a.csv", "events", "write it as JSON lines"),
        ("a.jsonl", "trees", "'trees'"),
    ],
)
def test_what_cannot_be_imported_is_said(store, tmp_path, name, kind, said):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(DataError, match=said):
        import_file(store, tmp_path / name, kind)


def test_each_bulk_lies_in_the_area_of_what_it_holds():
    from langrec.service.access.scopes import area_of

    kinds = ("users", "items", "feedback")
    assert [area_of(f"/api/bulk/{kind}") for kind in kinds] == list(kinds)
