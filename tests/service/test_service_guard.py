"""Keys, limits and errors: who may do what, and what a refused request is told."""

from __future__ import annotations

import json
import logging
import socket
import threading

import httpx
import pytest
from live_server import PATIENCE, wait_until

from langrec.errors import SettingsError
from langrec.service.access.auth import Keys, check_reach, is_loopback, load_keys
from langrec.settings import ServeSettings

KEYS = "read:reader-key,write:writer-key,admin:admin-key"


def test_each_role_may_do_what_it_is_for(serve):
    live = serve(keys=KEYS)
    tries = {
        ("GET", "/api/recommend/ann"): "read",
        ("POST", "/api/recommend"): "read",
        ("GET", "/api/search?q=sea"): "read",
        ("GET", "/metrics"): "read",
        ("POST", "/api/feedback"): "write",
        ("DELETE", "/api/item/sea00"): "write",
        ("POST", "/api/releases/rollback"): "admin",
    }
    bodies = {"/api/feedback": [], "/api/recommend": {}, "/api/releases/rollback": {"stamp": live.new}}
    order = ["", "read", "write", "admin"]
    for (method, path), needed in tries.items():
        for role, key in {"": None, "read": "reader-key", "write": "writer-key", "admin": "admin-key"}.items():
            headers = {"X-API-Key": key} if key else {}
            status = live.client.request(method, path, json=bodies.get(path), headers=headers).status_code
            allowed = order.index(role) >= order.index(needed)
            assert status == (200 if allowed else 403 if role else 401), (method, path, role)


def test_a_wrong_key_is_no_key_and_a_bearer_token_is_one(serve):
    live = serve(keys=KEYS)
    wrong = live.client.get("/api/users", headers={"X-API-Key": "reader-key "[:-1] + "x"})
    assert wrong.status_code == 401 and wrong.json()["code"] == "not_allowed"
    for told in (wrong, live.client.post("/api/recommend", json={}, headers={"Authorization": "Bearer wrong"})):
        assert told.status_code == 401 and "that was sent" in told.json()["message"], told.text
    assert "wants an API key" in live.client.get("/api/users").json()["message"]
    assert live.client.get("/api/users", headers={"Authorization": "Bearer reader-key"}).status_code == 200
    assert live.client.get("/api/health/ready").status_code == 200, "probes need no key"
    assert live.client.get("/").status_code in (200, 404), "the page asks for the key itself"


def test_without_a_key_no_body_is_read(serve):
    live = serve(keys=KEYS)
    post = {"Content-Type": "application/json"}
    for content in (b"{", iter([b"{", b"{"])):
        answer = live.client.post("/api/feedback", content=content, headers=post)
        assert answer.status_code == 401 and answer.json()["field"] == "X-API-Key", answer.text
    known = live.client.post("/api/feedback", content=b"{", headers={**post, "X-API-Key": "writer-key"})
    assert known.status_code == 400
    over = live.service.settings.max_body + 1
    for path in ("/", "/console/app.js", "/api/health/live"):
        assert live.client.post(path, content=iter([b"x" * over])).status_code == 405, "it was not read to its end"
    assert live.client.request("GET", "/api/health/live", content=b"{").status_code == 200


def test_writing_back_needs_the_role_for_writing(serve):
    live = serve(keys=KEYS)
    path = "/api/recommend/sea-u0?n=1&write-back-type=shown"
    assert live.client.get(path, headers={"X-API-Key": "reader-key"}).status_code == 403
    assert live.client.get(path, headers={"X-API-Key": "writer-key"}).status_code == 200


def test_without_keys_only_this_machine_may_listen(tmp_path):
    for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3"):
        assert is_loopback(host) and load_keys(ServeSettings(host=host)) == Keys({})
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(SettingsError, match="keys are needed"):
            check_reach(ServeSettings(host=host), needed=False)
        check_reach(ServeSettings(host=host), needed=True)
        assert load_keys(ServeSettings(host=host, keys="read:k")).caller("k").role == "read"


def test_keys_come_from_a_file_with_comments(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# the shop\nread:one\n\n write: two \n", "utf-8")
    keys = load_keys(ServeSettings(keys_file=str(path)))
    assert [keys.caller(key).role for key in ("one", "two", "three", "", None)] == ["read", "write", "", "", ""]
    path.write_text("read:one\nowner:two\n", "utf-8")
    with pytest.raises(SettingsError, match=r"keys:2: a key is written as role:key"):
        load_keys(ServeSettings(keys_file=str(path)))
    with pytest.raises(SettingsError, match="cannot be read"):
        load_keys(ServeSettings(keys_file=str(tmp_path / "none")))


def test_a_file_of_keys_that_everyone_may_read_or_write_is_told_of(tmp_path, caplog):
    path = tmp_path / "keys"
    path.write_text("read:a-key\n", "utf-8")
    for mode, is_told in ((0o600, False), (0o640, False), (0o644, True), (0o602, True)):
        path.chmod(mode)
        caplog.clear()
        assert load_keys(ServeSettings(keys_file=str(path))).caller("a-key").role == "read"
        assert (f"mode {mode:o}" in caplog.text) == is_told and "a-key" not in caplog.text, mode


def test_a_page_of_another_site_does_not_reach_a_server_without_keys(live):
    answer = live.client.get("/api/users", headers={"Host": "evil.example:8087"})
    assert answer.status_code == 403 and answer.json()["field"] == "Host"
    answer = live.client.post("/api/user", content=b'{"UserId": "x"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400, "a form of another site cannot write"


def test_every_error_is_json_with_code_message_field_and_request_id(live):
    post = {"Content-Type": "application/json"}
    tries = [
        (live.client.get("/api/nothing"), 404, "not_found", None),
        (live.client.get("/nothing"), 404, "not_found", None),
        (live.client.request("PATCH", "/api/users"), 405, "bad_method", None),
        (live.client.get("/api/item/none"), 404, "not_found", "item"),
        (live.client.get("/api/recommend/ann?n=x"), 400, "bad_request", "n"),
        (live.client.get("/api/recommend/ann?n=-1"), 400, "bad_request", "n"),
        (live.client.get("/api/recommend/ann?n=1001"), 400, "bad_data", "n"),
        (live.client.get("/api/search?q=x&where=price"), 400, "bad_data", "where"),
        (live.client.get("/api/search?q=x&meaning=2"), 400, "bad_request", "meaning"),
        (live.client.get("/api/non-personalized/unheard"), 404, "not_found", "name"),
        (live.client.get("/api/measure/lists?user=a&models=unheard"), 400, "bad_data", "models"),
        (live.client.get("/api/measure?release=../.."), 404, "not_found", "release"),
        (
            live.client.get("/api/recommend/ann?write-back-type=x&write-back-delay=soon"),
            400,
            "bad_data",
            "write-back-delay",
        ),
        (live.client.post("/api/recommend", content=b"{", headers=post), 400, "bad_request", "body"),
        (live.client.post("/api/recommend", json={"k": 0}), 400, "bad_request", "k"),
        (live.client.post("/api/recommend", json={"unheard": 1}), 400, "bad_request", "unheard"),
        (
            live.client.post("/api/recommend", json={"filters": {"where": [{"field": "a", "op": "is", "value": 1}]}}),
            400,
            "bad_request",
            "filters.where.0.op",
        ),
        (
            live.client.post("/api/feedback", json=[{"FeedbackType": "a", "UserId": "b"}]),
            400,
            "bad_request",
            "0.ItemId",
        ),
        (live.client.post("/api/item", json={"ItemId": "a", "Timestamp": "soon"}), 400, "bad_request", "Timestamp"),
        (live.client.post("/api/item", content=b"[" * 100_000, headers=post), 400, "bad_request", None),
        (live.client.post("/api/releases/rollback", json={"stamp": "none"}), 404, "not_found", "release"),
    ]
    for answer, status, code, field in tries:
        body = answer.json()
        assert (answer.status_code, body["code"]) == (status, code), (answer.request.url, body)
        assert set(body) == {"code", "message", "field", "request_id"} and body["message"], body
        assert body["field"] == field or field is None, (answer.request.url, body)
        assert answer.headers["x-request-id"] == body["request_id"]
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("value", [None, {}, [1, None], ["a", ["b"]], float("inf")])
def test_a_condition_without_a_value_to_compare_with_is_named_in_one_sentence(shared, value):
    body = json.dumps({"filters": {"where": [{"field": "price", "op": "in", "value": value}]}})
    answer = shared.client.post("/api/recommend", content=body, headers={"Content-Type": "application/json"})
    said = answer.json()
    assert (answer.status_code, said["code"], said["field"]) == (400, "bad_request", "filters.where.0.value"), said
    assert said["message"].startswith("filters.where.0.value: a ") and "[" not in said["message"]


def test_a_text_that_is_too_long_is_measured_in_characters(shared):
    for path, field, most in (("/api/search", "q", 4000), ("/api/items/suggest", "q", 200)):
        answer = shared.client.get(path, params={"q": "a" * (most + 1)})
        assert answer.status_code == 400 and answer.json()["field"] == field
        assert answer.json()["message"] == f"q: a text has at most {most} characters here"


def test_our_own_failure_shows_nothing_of_the_inside(live, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(live.service.releases.snapshot.recommender.__class__, "popular", fail)
    answer = live.client.get("/api/popular")
    assert answer.status_code == 500 and answer.json()["code"] == "internal"
    assert "secret" not in answer.text and answer.json()["request_id"] in caplog.text
    assert live.client.get("/api/latest").status_code == 200, "the next request is answered"


def test_who_finds_no_memory_is_told_to_come_back(live, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(type(live.service), "recommend", full)
    answer = live.client.get("/api/recommend/sea-u0")
    assert answer.status_code == 503 and answer.json()["code"] == "memory"
    assert answer.headers["retry-after"] == "1"
    monkeypatch.setattr("starlette.requests.Request.json", full)
    answer = live.client.post("/api/feedback", json=[])
    assert answer.status_code == 503 and answer.json()["code"] == "memory", "and not that the body is wrong"
    monkeypatch.undo()
    assert live.recommended("sea-u0")


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(serve):
    live = serve(max_body=2000)
    big = json.dumps([{"UserId": "u" * 900} for _ in range(4)]).encode()
    post = {"Content-Type": "application/json"}
    for content in (big, iter([big[:1500], big[1500:]])):
        answer = live.client.post("/api/users", content=content, headers=post)
        assert answer.status_code == 413 and answer.json()["code"] == "too_large"
    small = json.dumps([{"UserId": "u"}]).encode()
    assert live.client.post("/api/users", content=iter([small]), headers=post).json() == {"RowAffected": 1}


def test_what_a_request_asks_for_at_once_is_bounded(shared):
    condition = {"field": "price", "op": "le", "value": 100}
    for body in (
        {"filters": {"where": [condition] * 101}},
        {"history": ["sea00"] * 10_001},
        {"without": ["sea00"] * 10_001},
        {"text": "whale " * 1000},
    ):
        answer = shared.client.post("/api/recommend", json=body)
        assert answer.status_code == 400 and "at most" in answer.json()["message"], answer.text
    over = shared.client.get("/api/search", params={"q": "whale", "where": ["price:le:100"] * 101})
    assert over.status_code == 400 and over.json()["field"] == "where"
    shared.send("POST", "/api/recommend", {"filters": {"where": [condition] * 100}, "history": ["sea00"] * 1000})


def test_a_head_without_end_is_given_up(start_process):
    server = start_process().wait()
    start = b"GET /api/users HTTP/1.1\r\nHost: localhost\r\n"
    for begun, more in ((start + b"X-A: ", b"a" * 1000), (start, b"X-B: c\r\n" * 100), (b"GET /?q=", b"a" * 1000)):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(begun)
            with pytest.raises(OSError):
                for _ in range(20_000):
                    connection.sendall(more)
    whole = {"X-A": "a" * 30_000}
    assert server.client.get("/api/users", headers=whole).status_code == 200
    body = {"history": ["sea00"] * 10_000}  # larger than a head, and no head
    assert server.client.post("/api/recommend", json=body, headers=whole).status_code == 200


def test_a_connection_without_a_whole_head_is_not_kept_for_ever(start_process):
    server = start_process("--set", "serve.keep_alive=1").wait()
    whole = b"GET /api/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for sent in (b"", b"GET /api/users HT", whole + b"GET /api/us"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            connection.sendall(sent)
            answer = b""
            while got := connection.recv(65_536):
                answer += got
        assert answer.startswith(b"HTTP/1.1 200") == sent.startswith(whole)
    slow = {"history": ["sea00"] * 10_000}
    assert server.client.post("/api/recommend", json=slow).status_code == 200, "whose head was whole is answered"


def test_a_number_that_nobody_named_is_as_large_as_the_limit_allows(serve):
    live = serve(max_k=4)
    paths = ("/api/recommend/sea-u0", "/api/popular", "/api/latest", "/api/item/sea00/neighbors")
    paths += ("/api/user/sea-u0/history", "/api/items/suggest")
    for path in paths:
        assert len(live.get(path)) == 4, path
        assert len(live.get(path, n=3)) == 3, path
        over = live.client.get(path, params={"n": 5})
        assert over.status_code == 400 and over.json()["field"] == "n", path
    for path in ("/api/users", "/api/items", "/api/feedback", "/api/audit"):
        live.get(path)
    lists = [live.send("POST", "/api/recommend", {}), live.send("POST", "/api/search", {"q": "whale"})]
    lists += [live.get("/api/search", q="whale"), live.get("/api/onboarding")]
    assert [len(one["items"]) for one in lists] == [4] * 4
    for path, body in {"/api/recommend": {"k": 5}, "/api/search": {"q": "whale", "k": 5}}.items():
        assert live.client.post(path, json=body).status_code == 400, path
    assert live.client.get("/api/search", params={"q": "whale", "k": 5}).status_code == 400


def test_requests_over_the_queue_are_shed_with_a_time_to_come_back(serve, monkeypatch):
    live = serve(max_queue=1)
    gate = threading.Event()
    kind = live.service.releases.snapshot.recommender.__class__
    original = kind.recommend

    def slow(self, queries):
        gate.wait(PATIENCE)
        return original(self, queries)

    monkeypatch.setattr(kind, "recommend", slow)
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(
            target=lambda i=i: answers.append(httpx.get(f"{live.url}/api/recommend/u{i}", timeout=PATIENCE))
        )
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) >= 4)  # one is in work and one waits, or none where all came in one moment
    assert {answer.status_code for answer in answers} == {429}
    gate.set()
    for thread in threads:
        thread.join()
    shed = [answer for answer in answers if answer.status_code == 429]
    assert shed[0].headers["retry-after"] == "1" and shed[0].json()["code"] == "busy"
    assert len(shed) + sum(answer.status_code == 200 for answer in answers) == 6
    assert live.get("/api/health/stats")["shed"] == len(shed)


def test_one_bad_query_does_not_fail_its_neighbours(live, monkeypatch):
    kind = live.service.releases.snapshot.recommender.__class__
    original = kind.recommend

    def picky(self, queries):
        if any(query.k == 13 for query in queries):
            raise RuntimeError("thirteen")
        return original(self, queries)

    monkeypatch.setattr(kind, "recommend", picky)
    answers: dict[int, int] = {}
    threads = [
        threading.Thread(
            target=lambda k=k: answers.update({k: httpx.get(f"{live.url}/api/recommend/a?n={k}").status_code})
        )
        for k in range(10, 16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {10: 200, 11: 200, 12: 200, 13: 500, 14: 200, 15: 200}


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}]
)
@pytest.mark.parametrize("body", ["{", '[{"FeedbackType": "click", "UserId": "ann", "ItemId": "sea00"}]'])
def test_a_body_that_does_not_say_it_is_json_is_told_which_header_is_missing(live, headers, body):
    answer = live.client.post("/api/feedback", content=body, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, "body")
    assert answer.json()["message"] == "body: send JSON with the header Content-Type: application/json"
    broken = live.client.post("/api/feedback", content="{", headers={"Content-Type": "application/json"})
    assert broken.json()["message"] == "body: the body is not valid JSON"


def test_a_request_keeps_the_id_it_came_with_unless_it_is_odd(live):
    assert live.client.get("/api/users", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert live.client.get("/api/users", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def test_logs_hold_no_texts(live, caplog):
    with caplog.at_level(logging.DEBUG, logger="langrec"):
        live.get("/api/search", q="a very private wish")
        live.send("POST", "/api/recommend", {"text": "another private wish"})
        live.client.get("/api/search", params={"q": "private", "meaning": 7})
    assert "GET /api/search 200" in caplog.text and "private" not in caplog.text


def test_metrics_count_requests_by_route(live):
    live.recommended("ann")
    text = live.client.get("/metrics").text
    assert 'langrec_request_seconds_count{method="GET",route="/api/recommend/{user}",status="200"} 1.0' in text
    assert f'langrec_release_info{{stamp="{live.new}"}} 1.0' in text
    stats = live.get("/api/health/stats")
    assert sum(bucket["requests"] for bucket in stats["series"]) >= 2
    assert stats["freshness"]["event_at"] > stats["freshness"]["item_at"] > 0


def test_the_console_is_served_under_a_strict_policy(live):
    page = live.client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "script-src 'self';" in policy
    charts = live.client.get("/console/plotly.js")
    assert charts.headers["content-type"].startswith("text/javascript") and len(charts.content) > 1_000_000
    again = live.client.get("/console/plotly.js", headers={"If-None-Match": charts.headers["etag"]})
    assert again.status_code == 304 and "max-age=86400" in charts.headers["cache-control"]
    for path in ("/console/../http.py", "/console/%2e%2e/http.py", "/console/..%2fhttp.py", "/console/none.js"):
        assert live.client.get(path).status_code == 404
    for path in ("/console/%00", f"/console/{'a' * 300}", f"/api/measure?release={'a' * 300}"):
        assert live.client.get(path).status_code == 404, "no file system takes the name"
