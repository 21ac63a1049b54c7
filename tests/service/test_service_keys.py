"""Keys in the store: shown once, kept hashed, scoped, limited, rotated and revoked while servers run."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
import time

import httpx
import pytest
from live_server import wait_until

from langrec.errors import DataError, SettingsError, StoreError
from langrec.service.access import keys_rows
from langrec.service.access.auth import Caller
from langrec.service.access.key_ring import KeyRing
from langrec.service.access.rate_limits import Buckets
from langrec.service.access.scopes import AREAS, area_of
from langrec.service.store import audit
from langrec.service.store.store import Store
from langrec.settings import ServeSettings

NOW = 1_800_000_000_000


@pytest.fixture
def store(store_url):
    found = Store(store_url)
    yield found
    found.close()


def add(store, name="shop", now=None, **values):
    """A key of the store: its text and its row."""
    now = int(time.time() * 1000) if now is None else now
    with store.write() as connection:
        return keys_rows.add_key(connection, name, actor="tests", now=now, **values)


def ring(store, **settings):
    return KeyRing(ServeSettings(store=store.url, **settings), store)


def headers(key):
    return {"X-API-Key": key}


def test_a_key_is_drawn_at_random_and_only_its_hash_is_kept(store):
    text, row = add(store, role="read")
    other, _ = add(store, role="read")
    assert re.fullmatch(r"lr_[\w-]{43}", text) and text != other
    with store.read() as connection:
        kept = (
            connection.exec_driver_sql("SELECT * FROM keys").all()
            + connection.exec_driver_sql("SELECT * FROM audit").all()
        )
    assert len(kept) == 4 and text[3:] not in str(kept)
    assert row.id == row.digest.hex()[:12]


def test_a_key_opens_what_its_role_or_its_scopes_say_until_it_ends(store):
    reader, _ = add(store, role="read")
    feeder, _ = add(store, scopes=("feedback:write", "items:write"))
    short, _ = add(store, role="admin", expires_at=int(time.time() * 1000) + 60_000)
    over, _ = add(store, role="admin", expires_at=int(time.time() * 1000) - 1)
    keys = ring(store)
    assert keys.known(reader).may("read", "lists") and not keys.known(reader).may("write", "items")
    feeds = keys.known(feeder)
    assert feeds.may("write", "items") and feeds.may("write", "feedback")
    assert not feeds.may("read", "items") and not feeds.may("write", "users") and not feeds.may("admin", "items")
    assert keys.known(short).role == "admin" and keys.known(over).role == ""
    for wrong in (reader[:-1], reader + "x", reader.lower(), "", None, "lr_", "\ud800"):
        assert keys.known(wrong).role == "", wrong
    keys.close()


def test_what_a_key_may_do_is_said_rightly_or_refused(store):
    for values in (
        {},
        {"role": "read", "scopes": ("items:read",)},
        {"role": "owner"},
        {"scopes": ("items:eat",)},
        {"scopes": ("shelves:read",)},
        {"role": "read", "name": " "},
        {"role": "read", "rate": 0.0},
        {"role": "read", "burst": 0},
        {"role": "read", "rate": math.nan},
    ):
        with pytest.raises(SettingsError):
            add(store, **values)
    with store.read() as connection:
        assert keys_rows.all_keys(connection) == [] and audit.page(connection, 5) == []


def test_a_rotated_key_is_followed_by_one_alike_and_ends_after_its_grace(store):
    text, row = add(store, scopes=("items:read",), tenant="acme", rate=3.0, now=NOW, expires_at=NOW + 1000)
    with store.write() as connection:
        new, made, old = keys_rows.rotate_key(connection, row.id[:6], actor="tests", now=NOW + 100, grace_ms=200)
    assert new != text and old.expires_at == NOW + 300
    assert (made.scopes, made.tenant, made.rate, made.name) == (("items:read",), "acme", 3.0, "shop")
    assert made.expires_at == NOW + 1100, "it lasts as long as the old one did"
    assert [old.state(NOW + 299), old.state(NOW + 300), made.state(NOW + 300)] == ["ends", "expired", "ends"]
    with pytest.raises(DataError, match="expired"), store.write() as connection:
        keys_rows.rotate_key(connection, row.id, actor="tests", now=NOW + 500, grace_ms=0)
    with pytest.raises(DataError, match="no such key"), store.read() as connection:
        keys_rows.find_key(connection, "zz")


def test_changes_of_keys_count_from_the_next_request_on(serve):
    live = serve()
    assert live.client.get("/api/users").status_code == 200, "no key is needed yet"
    text, row = add(live.service.store, role="read")
    assert live.client.get("/api/users").status_code == 401, "from the first key on one is needed"
    assert live.client.get("/api/users", headers=headers(text)).status_code == 200
    with live.service.store.write() as connection:
        new, _, _ = keys_rows.rotate_key(
            connection, row.id, actor="tests", now=int(time.time() * 1000), grace_ms=60_000
        )
    assert [live.client.get("/api/users", headers=headers(key)).status_code for key in (text, new)] == [200, 200]
    with live.service.store.write() as connection:
        for key in keys_rows.all_keys(connection):
            keys_rows.revoke_key(connection, key.id, actor="tests", now=int(time.time() * 1000))
    assert [live.client.get("/api/users", headers=headers(key)).status_code for key in (text, new)] == [401, 401]
    assert live.client.get("/api/users").status_code == 401, "taking the last key away opens nothing"
    live.service.writer.submit(live.service.keys.flush).result(60)
    with live.service.store.read() as connection:
        used = {key.id: key for key in keys_rows.all_keys(connection)}
    assert used[row.id].n_used == 2 and used[row.id].last_used >= used[row.id].made_at


def test_a_store_that_does_not_answer_leaves_the_keys_as_they_were(store):
    text, _ = add(store, role="read")
    keys = ring(store)
    with store.write() as connection:
        connection.exec_driver_sql("DROP TABLE counters")
    with pytest.raises(StoreError):
        keys.refresh()
    assert asyncio.run(keys.caller(text)).role == "read" and asyncio.run(keys.caller("x")).role == ""
    keys.close()


def test_scopes_are_asked_for_on_every_route(serve):
    live = serve()
    areas = {path: area_of(path) for path in live.get("/openapi.json")["paths"]}
    assert set(areas.values()) <= set(AREAS)
    assert areas["/api/feedback/{type}/{user}/{item}"] == areas["/api/user/{user}/history"] == "feedback"
    assert areas["/api/item/{item}/neighbors/{path_category}"] == areas["/api/search"] == "lists"
    assert areas["/api/user/{user}"] == areas["/api/users/suggest"] == "users"
    assert areas["/api/items"] == areas["/api/catalogue"] == "items" and areas["/metrics"] == "operate"
    feeder, _ = add(live.service.store, scopes=("feedback:write",))
    event = [{"FeedbackType": "click", "UserId": "ann", "ItemId": "sea00"}]
    assert live.client.post("/api/feedback", json=event, headers=headers(feeder)).status_code == 200
    for path in ("/api/feedback", "/api/items", "/api/recommend/ann", "/metrics", "/api/release", "/api/audit"):
        answer = live.client.get(path, headers=headers(feeder))
        assert answer.status_code == 403 and "feedback:write" in answer.json()["message"], path
    wrote = live.client.post("/api/item", json={"ItemId": "x"}, headers=headers(feeder))
    assert wrote.status_code == 403 and "items:write" in wrote.json()["message"]


def test_a_bucket_gives_its_burst_and_then_its_rate(tmp_path):
    for path in (None, tmp_path / "limits"):
        buckets = Buckets(path)
        assert [buckets.wait("a", 2.0, 3, now=100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
        assert buckets.wait("a", 2.0, 3, now=100.0) == pytest.approx(0.5)
        assert buckets.wait("b", 2.0, 3, now=100.0) == 0.0, "others are not touched"
        assert buckets.wait("a", 2.0, 3, now=100.5) == 0.0 and buckets.wait("a", 2.0, 3, now=100.5) > 0
        assert [buckets.wait("a", 2.0, 3, now=500.0) for _ in range(4)][:3] == [0.0, 0.0, 0.0], "full, not more"
        buckets.close()


def test_processes_that_name_one_file_share_a_bucket(tmp_path):
    code = (
        "import sys, pathlib; from langrec.service.access.rate_limits import Buckets;"
        "b = Buckets(pathlib.Path(sys.argv[1]));"
        "print(sum(b.wait('a', 0.001, 100) == 0 for _ in range(80)))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "f")], stdout=subprocess.PIPE) for _ in range(3)
    ]
    assert sum(int(one.communicate()[0]) for one in started) == 100


def test_more_names_than_slots_are_still_counted(tmp_path):
    buckets = Buckets(None, slots=32)
    assert all(buckets.wait(f"n{i}", 1.0, 1, now=10.0) == 0.0 for i in range(500))
    busy = [buckets.wait("busy", 1.0, 1, now=2000.0) for _ in range(3)]
    assert busy[0] == 0.0 and busy[1] > 0 and busy[2] > 0


def test_a_key_over_its_rate_waits_as_long_as_it_is_told_and_others_do_not(serve):
    live = serve(rate=0.01, burst=3)
    slow, _ = add(live.service.store, role="read")
    other, _ = add(live.service.store, role="read")
    quick, _ = add(live.service.store, role="read", rate=1000.0, burst=1000)
    got = [live.client.get("/api/users", headers=headers(slow)) for _ in range(4)]
    assert [one.status_code for one in got] == [200, 200, 200, 429]
    assert got[3].json()["code"] == "rate_limited" and 1 <= int(got[3].headers["retry-after"]) <= 100
    assert live.client.get("/api/users", headers=headers(other)).status_code == 200
    assert {live.client.get("/api/users", headers=headers(quick)).status_code for _ in range(20)} == {200}
    assert live.client.get("/api/health/live", headers=headers(slow)).status_code == 200, "probes are not counted"
    assert live.client.get("/", headers=headers(slow)).status_code == 200
    tried = [live.client.get("/api/users", headers=headers(f"guess{i}")).status_code for i in range(60)]
    assert tried[0] == 401 and tried[-1] == 429, "whoever tries keys is slowed down"
    assert live.client.get("/api/users", headers=headers(quick)).status_code == 200


def test_a_write_of_too_many_rows_is_refused_whole(serve):
    live = serve(max_rows=3)
    events = [{"FeedbackType": "click", "UserId": f"u{i}", "ItemId": "sea00"} for i in range(4)]
    bodies = {
        ("POST", "/api/feedback"): events,
        ("PUT", "/api/feedback"): events,
        ("POST", "/api/users"): [{"UserId": f"u{i}"} for i in range(4)],
        ("POST", "/api/items"): [{"ItemId": f"i{i}"} for i in range(4)],
    }
    for (method, path), body in bodies.items():
        answer = live.client.request(method, path, json=body)
        assert answer.status_code == 400 and "serve.max_rows = 3" in answer.json()["message"], path
        assert live.client.request(method, path, json=body[:3]).status_code == 200
    assert live.client.get("/api/user/u3").status_code == 404


def test_a_key_that_would_end_at_once_is_not_made(langrec_, tmp_path):
    store = f"sqlite:///{tmp_path / 'shop.db'}"
    status, _, err = langrec_("keys", "add", "k", "--role", "read", "--store", store, "--expires", "0d")
    assert status == 2 and "opens nothing" in err and not (tmp_path / "shop.db").exists()


def test_keys_are_kept_from_the_command_line(langrec_, tmp_path, monkeypatch):
    store = f"sqlite:///{tmp_path / 'shop.db'}"
    status, out, _ = langrec_(
        "keys", "add", "web shop", "--role", "read", "--store", store, "--expires", "90d", "--json"
    )
    made = json.loads(out)
    assert status == 0 and made["state"] == "ends" and made["key"].startswith("lr_")
    with monkeypatch.context() as environment:
        environment.setenv("LANGREC_SERVE_STORE", store)
        status, out, _ = langrec_("keys", "rotate", made["id"], "--grace", "0s", "--json")
    new = json.loads(out)
    assert status == 0 and new["old"] == made["id"] and new["name"] == "web shop"
    status, out, _ = langrec_("keys", "list", "--store", store)
    assert status == 0 and made["id"] in out and "expired" in out and made["key"] not in out
    assert langrec_("keys", "revoke", new["id"], "--store", store)[0] == 0
    status, _, err = langrec_("keys", "revoke", "nothing", "--store", store)
    assert status == 2 and "langrec keys list" in err
    status, out, _ = langrec_("audit", "list", "--store", store, "--json")
    assert [act["action"] for act in json.loads(out)] == ["revoke key", "rotate key", "add key"]
    assert all(act["actor"].startswith("cli") for act in json.loads(out))
    status, out, _ = langrec_("audit", "verify", "--store", store)
    assert status == 0 and out.startswith("3 rows")


@pytest.mark.slow
def test_a_revoked_key_opens_no_worker_and_a_rate_holds_over_all_of_them(start_process, tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    text, row = add(store, role="read")
    slow, _ = add(store, role="read", rate=0.001, burst=30)
    server = start_process("--workers", "2")
    server.client.headers["X-API-Key"] = text
    server.wait()

    def ask(key):
        return httpx.get(f"{server.url}/api/users", headers=headers(key)).status_code

    seen: set[str] = set()

    def both():
        seen.add(httpx.get(f"{server.url}/api/health/stats", headers=headers(text)).json()["worker"])
        return len(seen) == 2

    wait_until(both)  # the second may still be starting
    assert [ask(slow) for _ in range(40)].count(200) == 30
    with store.write() as connection:
        keys_rows.revoke_key(connection, row.id, actor="tests", now=int(time.time() * 1000))
    assert {ask(text) for _ in range(30)} == {401}
    store.close()


def test_callers_without_role_may_nothing():
    assert not any(Caller("", "").may(act, area) for act in ("read", "write", "admin") for area in AREAS)
