"""Lists that may be seconds old: the same bytes within their age, what happened meanwhile after it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from live_server import Live, wait_until

from clocks import Clock
from langrec.service.impressions import Shown
from langrec.service.ready import Ready, ReadyLists
from langrec.service.store import schema


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the ready lists: a busy machine makes none of them old."""
    stands = Clock(stands=True)
    monkeypatch.setattr("langrec.service.ready.time", stands)
    monkeypatch.setattr("langrec.service.routes.gorse_lists.time", stands)
    return stands


def ask(live: Live, user: str = "sea-u0", **params: Any) -> httpx.Response:
    answer = live.client.get(f"/api/recommend/{user}", params={"n": 5, **params})
    assert answer.status_code == 200, answer.text
    return answer


def computed(live: Live) -> int:
    """Lists that went through the scorer's thread."""
    caches = live.get("/api/health/stats")["caches"]
    return int(caches["lists"]["hits"] + caches["lists"]["misses"])


def test_within_its_age_a_list_is_sent_again_without_the_scorer(live, clock):
    first = ask(live, **{"max-age": 10})
    assert first.headers["cache-control"] == "private, max-age=10" and first.headers["age"] == "0"
    clock.passed = 4.1
    again = ask(live, **{"max-age": 10})
    assert again.content == first.content and computed(live) == 1
    assert again.headers["age"] == "5", "a little over four seconds, rounded up"
    assert again.headers["cache-control"] == "private, max-age=10"
    for name in ("x-request-id", "content-security-policy", "x-content-type-options"):
        assert name in again.headers
    assert again.headers["content-type"] == "application/json"
    clock.passed = 10.5
    ask(live, **{"max-age": 10})
    assert computed(live) == 2
    assert live.get("/api/health/stats")["caches"]["ready"]["hits"] >= 1


def test_other_questions_about_the_user_have_their_own_lists(live):
    ids = ask(live, **{"max-age": 60}).json()
    scored = live.client.get("/api/recommend/sea-u0?n=5&max-age=60", headers={"X-API-Version": "2"}).json()
    assert [one["Id"] for one in scored] == ids
    assert ask(live, **{"max-age": 60, "offset": 2}).json()[:3] == ids[2:5]
    assert all(item.startswith("chess") for item in live.get("/api/recommend/sea-u0/chess", **{"max-age": 60}))
    assert ask(live, "moon-u0", **{"max-age": 60}).json() != ids
    assert ask(live, **{"max-age": 60}).json() == ids
    assert computed(live) == 5


def test_a_list_older_than_this_request_allows_is_computed(live, clock):
    ask(live, **{"max-age": 60})
    clock.passed = 5
    assert live.client.get("/api/recommend/sea-u0?n=5&max-age=3").headers["age"] == "0"
    assert "age" not in ask(live).headers, "without max-age a list is of now"


def test_each_sending_is_logged_with_its_own_request(live):
    answers = [ask(live, **{"max-age": 60}) for _ in range(4)]

    def logged() -> Any:
        with live.service.store.read() as connection:
            rows = list(connection.execute(sa.select(schema.impressions)).mappings())
        return rows if len(rows) == 4 else None

    rows = wait_until(logged)
    assert {row["request_id"] for row in rows} == {answer.headers["x-request-id"] for answer in answers}
    assert {tuple(row["items"]) for row in rows} == {tuple(answers[0].json())}
    assert {row["user_id"] for row in rows} == {"sea-u0"} and rows[0]["propensities"] == [1.0] * 5


def test_an_event_is_seen_at_once_by_the_worker_that_took_it(live):
    before = ask(live, **{"max-age": 600}).json()
    live.send("POST", "/api/feedback", [{"FeedbackType": "click", "UserId": "sea-u0", "ItemId": before[0]}])
    assert before[0] not in ask(live, **{"max-age": 600}).json()


def test_events_in_bulk_and_events_taken_back_are_seen_at_once_too(live):
    best = ask(live, **{"max-age": 600}).json()[0]
    line = json.dumps({"FeedbackType": "click", "UserId": "sea-u0", "ItemId": best})
    sent = live.client.post("/api/bulk/feedback", content=line, headers={"Content-Type": "application/x-ndjson"})
    assert sent.status_code == 200 and best not in ask(live, **{"max-age": 600}).json()
    live.client.delete(f"/api/feedback/sea-u0/{best}").raise_for_status()
    assert ask(live, **{"max-age": 600}).headers["age"] == "0", "computed anew"


def test_an_event_and_a_hidden_item_are_seen_by_every_worker_when_the_age_is_over(serve, clock):
    one, other = serve(), serve()
    shown = ask(one, **{"max-age": 5}).json()
    hidden, clicked = shown[0], shown[1]
    other.send("PATCH", f"/api/item/{hidden}", {"IsHidden": True})
    other.send("POST", "/api/feedback", [{"FeedbackType": "click", "UserId": "sea-u0", "ItemId": clicked}])
    clock.passed = 4
    assert ask(one, **{"max-age": 5}).json() == shown, "the page may be so old"
    clock.passed = 5.1
    assert not {hidden, clicked} & set(ask(one, **{"max-age": 5}).json())


def test_the_setting_stands_where_a_request_does_not_say(serve):
    live = serve(max_age=30)
    first = ask(live)
    assert first.headers["cache-control"] == "private, max-age=30"
    assert ask(live).content == first.content and computed(live) == 1
    assert ask(live, **{"max-age": 0}).headers.get("age") is None and computed(live) == 2


def test_keys_are_asked_for_ready_lists_too(serve):
    live = serve(keys="read:secret")
    key = {"X-API-Key": "secret"}
    path = "/api/recommend/sea-u0?n=5&max-age=60"
    assert live.client.get(path, headers=key).status_code == 200
    assert live.client.get(path).status_code == 401
    assert live.client.get(path, headers={"X-API-Key": "wrong"}).status_code == 401
    assert live.client.get(path, headers=key).status_code == 200


def test_a_list_that_writes_back_is_never_kept(live):
    shown: set[str] = set()
    for name in ("write-back-type", "write%2Dback-type", "write%2Dback-type"):
        page = live.client.get(f"/api/recommend/sea-u0?n=3&max-age=60&{name}=shown").json()
        assert page and not shown & set(page)
        shown |= set(page)


def test_an_age_out_of_bounds_is_refused(live):
    for age in ("-1", "3601", "nan", "soon"):
        answer = live.client.get(f"/api/recommend/sea-u0?max-age={age}")
        assert answer.status_code == 400 and answer.json()["field"] == "max-age"


def test_the_slash_in_a_users_id_is_the_users(live):
    live.send("POST", "/api/feedback", [{"FeedbackType": "click", "UserId": "a/b", "ItemId": "chess00"}])
    first = live.client.get("/api/recommend/a%2Fb?n=3&max-age=60")
    assert all(item.startswith("chess") for item in first.json())
    assert live.client.get("/api/recommend/a%2Fb?n=3&max-age=60").content == first.content
    assert computed(live) == 1


def test_ready_lists_keep_to_their_bytes_and_to_the_newest_questions():
    lists = ReadyLists(40_000, 0)
    shown = Shown("recommend", "u", "r", 0, "[]", "[]", "[]")
    for i in range(200):
        lists.put(f"u{i % 20}", b"&n=%d" % i, Ready(b"x" * 300, 0.0, shown))
        assert lists.counts().bytes <= 40_000
    lists.forget("u19")
    assert lists.find("u19", b"&n=199", 1e12) is None
    for i in range(20):
        lists.put("one", b"&n=%d" % i, Ready(b"x", 0.0, shown))
    found = [i for i in range(20) if lists.find("one", b"&n=%d" % i, 1e12)]
    assert found == list(range(12, 20))


def test_only_a_list_that_was_given_counts_as_found():
    lists, shown = ReadyLists(40_000, 0), Shown("recommend", "u", "r", 0, "[]", "[]", "[]")
    lists.put("u", b"&n=1", Ready(b"x", time.monotonic() - 60, shown))
    lists.put("u", b"&n=2", Ready(b"x", time.monotonic(), shown))
    assert lists.find("u", b"&n=2", 30) and not lists.find("u", b"&n=1", 30)  # the second is too old
    assert not lists.find("u", b"&n=3", 30) and not lists.find("other", b"&n=2", 30)
    counts = lists.counts()
    assert (counts.hits, counts.misses, counts.entries) == (1, 3, 1)


def test_many_visitors_at_once_get_the_same_bytes(live):
    first = ask(live, **{"max-age": 60}).content
    answers: list[bytes] = []

    def visit() -> None:
        with httpx.Client(base_url=live.url) as client:
            answers.extend(client.get("/api/recommend/sea-u0?n=5&max-age=60").content for _ in range(20))

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {first} and len(answers) == 80 and computed(live) == 1
