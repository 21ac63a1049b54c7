"""A client that retries counts once: ids of events and of requests, over both databases and over HTTP."""

from __future__ import annotations

import sqlite3
import threading

import httpx
import pytest

from langrec.errors import DataError
from langrec.service.store import event_rows
from langrec.service.store.event_rows import Event
from langrec.service.store.once import RequestKey, content_of
from langrec.service.store.store import Store
from langrec.service.store.writer import Writer

AT = "2024-05-01T12:00:00Z"


def event(value: float, once: str = "", at: int = 1) -> Event:
    return Event("ann", "tea", "click", at, value, once=once)


def values(store: Store) -> list[float | None]:
    with store.read() as connection:
        return [one.value for one in event_rows.find_events(connection, user="ann")]


@pytest.fixture
def store(store_url):
    opened = Store(store_url)
    yield opened
    opened.close()


def test_an_event_with_an_id_counts_once_however_often_it_comes(store):
    with store.write() as connection:
        event_rows.put_events(connection, [event(2, "a"), event(2, "a"), event(5)], overwrite=False)
    for _ in range(2):
        with store.write() as connection:
            assert event_rows.put_events(connection, [event(2, "a")], overwrite=False) == 0
            event_rows.put_events(connection, [event(1, "b"), event(2, "a")], overwrite=False)
    assert values(store) == [8.0]


def test_an_event_that_was_deleted_does_not_come_back_with_a_retry(store):
    with store.write() as connection:
        event_rows.put_events(connection, [event(2, "a")], overwrite=False)
        event_rows.delete_events(connection, "ann", "tea")
    with store.write() as connection:
        event_rows.put_events(connection, [event(2, "a")], overwrite=False)
    assert values(store) == []


def test_an_id_is_not_remembered_where_the_write_was_undone(store):
    class CutError(Exception):
        pass

    with pytest.raises(CutError), store.write() as connection:
        event_rows.put_events(connection, [event(2, "a")], overwrite=False)
        raise CutError
    with store.write() as connection:
        assert event_rows.put_events(connection, [event(2, "a")], overwrite=False) == 1
    assert values(store) == [2.0]


def test_a_request_counts_once_also_beside_others_of_its_transaction(store):
    writer = Writer(store)
    gate = threading.Event()
    writer.submit(lambda connection: gate.wait(60))
    one, other = RequestKey("k1", "body"), RequestKey("k2", "body")
    stranger = RequestKey("k1", "another body")
    futures = [writer.append([event(1)], overwrite=False, request=said) for said in (one, one, other, None)]
    wrong = writer.append([event(100)], overwrite=False, request=stranger)
    gate.set()
    assert [future.result(60) for future in futures] == [1, 1, 1, 1]
    with pytest.raises(DataError, match="Idempotency-Key"):
        wrong.result(60)
    assert writer.append([event(1)], overwrite=False, request=one).result(60) == 1
    writer.close()
    assert values(store) == [3.0]


def test_retries_on_several_stores_at_once_count_once(store, store_url):
    stores = [store, *(Store(store_url) for _ in range(2))]

    def retry(one: Store) -> None:
        for i in range(20):
            with one.write() as connection:
                event_rows.put_events(connection, [event(1, f"id{i}")], overwrite=False)

    threads = [threading.Thread(target=retry, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in stores[1:]:
        one.close()
    assert values(store) == [20.0]


def test_contents_differ_where_parts_are_cut_elsewhere():
    assert content_of("ab", "c") != content_of("a", "bc")
    assert content_of("ab", b"c") == content_of("ab", b"c")


def test_over_http_a_retry_counts_once_and_a_key_is_for_one_request(live):
    body = [{"FeedbackType": "click", "UserId": "ann", "ItemId": "chess00", "Value": 2, "EventId": "e1"}]
    for _ in range(3):
        assert live.send("POST", "/api/feedback", body) == {"RowAffected": 1}
    found = live.get("/api/user/ann/feedback")
    assert [one["Value"] for one in found] == [2.0], "without a time it would have happened three times"
    key = {"Idempotency-Key": "r1"}
    more = [{"FeedbackType": "click", "UserId": "bob", "ItemId": "chess00", "Timestamp": AT, "Value": 1}]
    for method in ("POST", "POST"):
        answer = live.client.request(method, "/api/feedback", json=more, headers=key)
        assert (answer.status_code, answer.json()) == (200, {"RowAffected": 1})
    for method, changed in (("PUT", more), ("POST", [*more, *more])):
        answer = live.client.request(method, "/api/feedback", json=changed, headers=key)
        assert answer.status_code == 400 and answer.json()["field"] == "Idempotency-Key"
    assert [one["Value"] for one in live.get("/api/user/bob/feedback")] == [1.0]


@pytest.mark.slow
def test_retries_across_workers_and_after_sudden_death_count_once(start_process, tmp_path):
    def body(i: int) -> list[dict[str, object]]:
        return [
            {"FeedbackType": "click", "UserId": "u", "ItemId": "i", "Timestamp": AT, "Value": 1, "EventId": f"e{i}"}
        ]

    server = start_process("--workers", "2").wait()

    def send() -> None:
        for i in range(40):
            try:
                httpx.post(f"{server.url}/api/feedback", json=body(i), timeout=60)
            except httpx.HTTPError:
                return

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    threads[0].join(1.0)
    server.kill()
    for thread in threads:
        thread.join()
    again = start_process().wait()
    for i in range(40):
        assert again.client.post("/api/feedback", json=body(i)).status_code == 200
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("SELECT value FROM events WHERE user_id = 'u'").fetchall() == [(40.0,)]
