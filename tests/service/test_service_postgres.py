"""A server over PostgreSQL answers as one over SQLite, and several stores at once take turns."""

from __future__ import annotations

import threading

import httpx
import pytest
from live_server import AT

from langrec.service.store.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres):
    return postgres.new_database()


def test_a_server_over_postgres_answers_like_one_over_sqlite(url, serve):
    files, postgres = serve(), serve(store=url)
    event = {
        "FeedbackType": "click",
        "UserId": "ann",
        "ItemId": "chess00",
        "Timestamp": AT,
        "Value": 2,
    }
    item = {"ItemId": "kiln", "Comment": "porcelain kiln", "Categories": ["craft"], "Labels": {"price": 3}}
    for live in (files, postgres):
        live.send("POST", "/api/feedback", [event, event])
        live.send("POST", "/api/item", item)
        live.send("PATCH", "/api/item/kiln", {"Categories": ["clay"]})
        live.send("DELETE", "/api/item/sea01")
        live.send("DELETE", "/api/user/moon-u0")
        live.send("DELETE", "/api/feedback/moon-u1/moon01")
    for path in (
        "/api/recommend/ann?n=40",
        "/api/search?q=porcelain&k=1",
        "/api/user/ann/feedback",
        "/api/users?n=50",
        "/api/items?n=60",
        "/api/catalogue?sort=title&q=story&n=60",
        "/api/catalogue?sort=price&order=desc&category=sea&n=60",
        "/api/categories",
        "/api/users/suggest?q=sea&n=20",
        "/api/items/suggest?q=moon&n=20",
        "/api/user/sea-u0/neighbors?n=20",
        "/api/item/chess05/audience?n=5",
        "/api/user/moon-u1/history",
    ):
        answers = []
        for live in (files, postgres):
            found = live.client.get(path).json()
            if "search" in path:
                found = [one["id"] for one in found["items"]]
            answers.append(found)
        assert answers[0] == answers[1], path
    assert postgres.get("/api/health/stats")["series"]


def test_writers_of_several_processes_take_turns(url):
    from langrec.service.store import event_rows
    from langrec.service.store.event_rows import Event
    from langrec.service.store.store import number

    stores = [Store(url) for _ in range(3)]

    def write(store: Store) -> None:
        for _ in range(30):
            with store.write() as connection:
                event_rows.put_events(connection, [Event("u", "i", "t", 1, 1.0)], overwrite=False)

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stores[0].read() as connection:
        assert [event.value for event in event_rows.find_events(connection, user="u")] == [90.0]
        assert number(connection, "revision") == 90
    for store in stores:
        store.close()


def test_workers_agree_and_sudden_death_loses_no_acknowledged_write(url, start_process):
    from langrec.service.store import event_rows

    server = start_process("--workers", "2", store=url).wait()
    for i in range(10):
        # Each request comes on a new connection, which either worker may take.
        event = {"FeedbackType": "click", "UserId": f"visitor{i}", "ItemId": "chess00", "Timestamp": AT}
        assert httpx.post(f"{server.url}/api/feedback", json=[event]).status_code == 200
        assert "chess00" not in httpx.get(f"{server.url}/api/recommend/visitor{i}?n=47").json()
    acknowledged = server.killed_under_load(n_writers=4, enough=100)
    store = Store(url)
    with store.read() as connection:
        kept = {(one.user, one.item) for one in event_rows.find_events(connection)}
    store.close()
    assert acknowledged <= kept
    assert start_process(store=url).wait().client.get("/api/user/t0/feedback").status_code == 200


def test_what_one_client_writes_spoils_no_others_question_in_either_database(store_url, serve):
    live = serve(store=store_url)
    letters = "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(6000))  # no database packs these small
    live.send("POST", "/api/item", {"ItemId": "long", "Comment": letters})
    live.send("POST", "/api/item", {"ItemId": "longer", "Comment": letters + "x"})
    odd = '{"ItemId": "odd", "Labels": {"price": %s}, "Texts": {"\\u0000": "x"}, "Fields": {"a\\u0000\\ud800": 1}}'
    assert live.client.post(
        "/api/item", content=odd % ("9" * 400), headers={"Content-Type": "application/json"}
    ).is_success
    patch = '{"Texts": {"b\\u0000": "x"}, "Fields": {"c\\u0000": 1}}'
    assert live.client.patch("/api/item/odd", content=patch, headers={"Content-Type": "application/json"}).is_success
    labels = live.get("/api/item/odd")["Labels"]
    assert labels == {"price": None, "\ufffd": "x", "a\ufffd?": 1, "b\ufffd": "x", "c\ufffd": 1}
    assert live.get("/api/catalogue", sort="price", n=2)["total"] == 51
    titles = [one["title"] for one in live.get("/api/catalogue", sort="title", n=60)["items"]]
    assert titles[1:] == sorted(titles[1:]) and titles[-2:] == [letters, letters + "x"]
    backward = live.get("/api/catalogue", sort="title", order="desc", n=60)["items"]
    assert titles[::-1] == [one["title"] for one in backward]
    cheap = {"filters": {"where": [{"field": "price", "op": "le", "value": 5}]}}
    assert {one["id"] for one in live.send("POST", "/api/recommend", cheap)["items"]} == {
        f"{topic}00" for topic in ("sea", "bread", "chess", "moon")
    }
    for path in ("/api/users", "/api/items", "/api/receipts/%00"):
        answer = live.client.get(f"{path}?cursor=%00")
        assert answer.status_code == (404 if "receipts" in path else 200), answer.text


def test_an_id_that_an_index_of_postgres_does_not_take_is_refused_as_the_clients(url, serve):
    live = serve(store=url)
    letters = "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(1000))
    event = {"FeedbackType": "click", "UserId": letters, "ItemId": letters[::-1], "Timestamp": AT}
    answer = live.client.post("/api/feedback", json=[event])
    assert answer.status_code == 400 and "too long for PostgreSQL" in answer.json()["message"]
    live.send("POST", "/api/feedback", [{**event, "UserId": "ann", "ItemId": "sea00"}])
