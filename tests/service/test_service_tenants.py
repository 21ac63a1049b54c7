"""Many shops on one server: what is one's own is nobody else's, and nobody's crowd stands in another's way."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from live_server import PATIENCE, wait_until
from shops import Shops, make_key, set_up

from langrec.errors import SettingsError
from langrec.service.routes import openapi
from langrec.service.store import event_rows
from langrec.service.tenants import check_tenant, tenant_settings, tenants_in
from langrec.settings import FeedbackSettings, ServeSettings

SECRET = "zanzibar xylophone"


@pytest.fixture
def open_shops(two_releases, tmp_path):
    """Starts a server of tenants; `stamps` says whether each has the old or the new release, or none."""
    stamps = dict(
        zip(("old", "new"), sorted(path.name for path in two_releases.iterdir() if path.is_dir()), strict=True)
    )
    started: list[Shops] = []

    def start(names: dict[str, str], files: dict[str, str] | None = None, **settings: Any) -> Shops:
        folder = tmp_path / "tenants"
        control = set_up(folder, two_releases, {name: stamps.get(which, "") for name, which in names.items()}, files)
        started.append(Shops(folder, control, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


def filled(shop):
    """What only this shop has: a user, an item, a category and a type of events."""
    item = {"ItemId": "aaa-item", "Comment": SECRET, "Categories": ["aaa-cat"], "Labels": {"description": SECRET}}
    assert shop.post("/api/item", json=item).status_code == 200
    assert shop.post("/api/user", json={"UserId": "aaa-user", "Comment": SECRET}).status_code == 200
    events = [{"FeedbackType": "aaa-type", "UserId": "aaa-user", "ItemId": name} for name in ("aaa-item", "sea00")]
    assert shop.post("/api/feedback", json=events).status_code == 200


def requests_of(document: dict[str, Any], who: str, stamp: str) -> list[dict[str, Any]]:
    """One request for every operation, about the ids that begin with `who`, made of the document's own examples."""
    ids = {"ann": f"{who}-user", "bob": f"{who}-user", "Comedy": f"{who}-cat", "click": f"{who}-type"}
    stamps = re.compile(r"20240501T120000-[0-9a-f]{8}")

    def named(value: Any) -> Any:
        if isinstance(value, str):
            if re.fullmatch(r"m\d+", value):
                return f"{who}-item"
            return stamp if stamps.fullmatch(value) else ids.get(value, value)
        if isinstance(value, list):
            return [named(one) for one in value]
        if isinstance(value, dict):
            own = {"EventId": f"{who}-event"}  # an event that comes again does nothing
            return {name: own.get(name) or named(one) for name, one in value.items()}
        return value

    found = []
    for method, path, operation in openapi.operations(document):
        query: dict[str, Any] = {}
        headers = {}
        for one in operation.get("parameters", ()):
            value = named(one["example"])
            if one["in"] == "path":
                path = path.replace(f"{{{one['name']}}}", str(value))
            elif one["in"] == "query" and not one["name"].startswith(("write-back", "cursor")):
                query[one["name"]] = value
            elif one["in"] == "header" and one["name"].lower() == "x-api-version":
                headers[one["name"]] = "2"
        body = None
        if "requestBody" in operation:
            kind, content = next(iter(operation["requestBody"]["content"].items()))
            if kind != "application/json":
                lines = re.sub(r'"m\d+"', f'"{who}-item"', content["example"]).replace('"ann"', f'"{who}-user"')
                headers["Content-Type"] = kind
                found.append({"method": method, "url": path, "params": query, "content": lines, "headers": headers})
                continue
            body = named(content["example"])
        found.append({"method": method, "url": path, "params": query, "json": body, "headers": headers})
    assert len(found) > 50
    return found


def shape(value: Any) -> Any:
    """Names, kinds and lengths of a reply; no values."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name not in ("series", "ms", "stages")}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


class Statements:
    """The SQL that a tenant's store was asked, without what workers do for themselves."""

    def __init__(self, service: Any) -> None:
        self.found: list[str] = []
        self._service = service
        for engine in (service.store._reader, service.store._writer):
            sa.event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        own = (
            "counters",
            "impressions",
            "users.user_id IN",  # who of the shown lists' people was deleted meanwhile
            "INTO stats",
            "FROM stats",
            "SAVEPOINT",
            "BEGIN",
            "UPDATE keys",
            "INTO audit",
            "FROM audit",
        )
        if not any(word in statement for word in own):
            self.found.append(re.sub(r"\s+", " ", statement))

    def take(self) -> list[str]:
        # A shown list is logged a moment after its reply: what that asks belongs to this request, not to the next.
        end = time.monotonic() + PATIENCE
        while (writing := self._service.shown._writing) is not None and not writing.done() and time.monotonic() < end:
            time.sleep(0.005)
        taken, self.found = self.found, []
        return taken


@pytest.mark.slow
def test_every_route_says_of_another_tenants_ids_what_it_says_of_none(open_shops):
    shops = open_shops({"acme": "new", "zeta": "old"})
    acme, zeta = shops.shop("acme"), shops.shop("zeta")
    filled(acme)
    stamp = acme.get("/api/release").json()["stamp"]
    assert zeta.get("/api/users").status_code == 200
    acmes, zetas = Statements(shops.service("acme")), Statements(shops.service("zeta"))
    document = shops.client(None).get("/openapi.json").json()
    absent = stamp[:-8] + "0" * 8
    foreign, nobodys = requests_of(document, "aaa", stamp), requests_of(document, "nnn", absent)
    for name in ("acme", "zeta"):
        wait_until(lambda name=name: shops.service(name).is_warm)
        # What a worker does by its own clock would fall on any request; a deletion still brings the models into step.
        shops.service(name).growth.close()
        shops.service(name).growth.catch_up()
        shops.service(name).releases.fresh()
    acmes.take(), zetas.take()
    for theirs, none in zip(foreign, nobodys, strict=True):
        where = f"{theirs['method']} {theirs['url']}"
        first = zeta.request(**none)
        done = zetas.take()
        second = zeta.request(**theirs)
        assert zetas.take() == done, f"{where}: other work was done"
        assert second.status_code == first.status_code and second.status_code < 500, where
        assert SECRET not in second.text and "xylophone" not in second.text, where
        if second.headers["content-type"] == "application/json":
            assert shape(second.json()) == shape(first.json()), where
    assert acmes.take() == [], "nothing was looked up at the other tenant"
    assert acme.get("/api/item/aaa-item").json()["Comment"] == SECRET
    assert len(acme.get("/api/user/aaa-user/feedback").json()) == 2, "what the other deleted under this id was not this"
    assert zeta.get("/api/item/sea00").status_code == 200


def test_a_search_of_one_tenant_does_not_go_on_at_another(open_shops):
    shops = open_shops({"acme": "new", "zeta": "old"})
    acme, zeta = shops.shop("acme"), shops.shop("zeta")
    filled(acme)
    assert acme.get("/api/search", params={"q": "xylophone", "k": 1}).json()["items"][0]["id"] == "aaa-item"
    cursor = acme.get("/api/search", params={"q": "whale", "k": 2}).json()["cursor"]
    found = zeta.get("/api/search", params={"q": "whale", "k": 50, "cursor": cursor})
    assert "aaa" not in found.text
    assert zeta.get("/api/search", params={"q": "xylophone", "k": 50, "meaning": 0}).json()["items"] == []


def test_tenants_share_the_encoder_and_nothing_else(open_shops):
    shops = open_shops({"acme": "new", "zeta": "old"})
    for name in ("acme", "zeta"):
        assert shops.shop(name).get("/api/users").status_code == 200
    one, two = shops.service("acme"), shops.service("zeta")
    readers = [service.snapshot.recommender.encoder for service in (one, two)]
    assert readers[0] is not readers[1], "each remembers its own texts"
    assert readers[0].encoder is readers[1].encoder, "one encoder is in memory"
    for name in ("store", "stats", "writer", "batcher", "lists", "ready", "releases"):
        assert getattr(one, name) is not getattr(two, name), name


def test_without_a_tenants_key_nothing_is_answered_but_probes_and_pages(open_shops):
    shops = open_shops({"acme": "new"}, keys="admin:operator")
    nobody, operator, acme = shops.client(None), shops.client("operator"), shops.shop("acme", "read")
    for path in ("/", "/docs", "/openapi.json", "/api/health/live", "/api/health/ready"):
        assert nobody.get(path).status_code == 200, path
    for path in ("/api/users", "/metrics", "/api/recommend/a", "/api/audit", "/api/release"):
        assert nobody.get(path).status_code == 401, path
        assert shops.client("acme").get(path).status_code == 401, path
    assert acme.get("/api/users").status_code == 200 and acme.get("/api/audit").status_code == 403
    for path in ("/api/users", "/api/recommend/a", "/api/release", "/api/health/stats"):
        answer = operator.get(path)
        assert answer.status_code == 403 and "tenants" in answer.json()["message"], path
    assert operator.post("/api/users", json=[]).status_code == 403


def test_metrics_carry_the_tenant_and_show_one_only_its_own(open_shops):
    shops = open_shops({"acme": "new", "zeta": "old"}, keys="admin:operator")
    acme, zeta = shops.shop("acme"), shops.shop("zeta")
    for _ in range(3):
        assert acme.get("/api/recommend/sea-u0").status_code == 200
    assert zeta.get("/api/recommend/sea-u0").status_code == 200
    count = 'langrec_request_seconds_count{{method="GET",route="/api/recommend/{{user}}",status="200",tenant="{}"}} {}'
    own = acme.get("/metrics").text
    assert count.format("acme", "3.0") in own and "zeta" not in own and "process_" not in own
    everything = shops.client("operator").get("/metrics").text
    assert count.format("acme", "3.0") in everything and count.format("zeta", "1.0") in everything
    assert everything.count("# TYPE langrec_request_seconds histogram") == 1 and "process_resident" in everything
    assert acme.get("/api/health/stats").json()["caches"]["lists"]["misses"] >= 1


def test_few_tenants_stay_open_and_what_was_written_outlives_a_closing(open_shops):
    shops = open_shops({"acme": "new", "zeta": "old", "third": "old"}, max_tenants=1)
    clients = {name: shops.shop(name) for name in ("acme", "zeta", "third")}
    for round_ in range(2):
        for name, client in clients.items():
            assert client.post("/api/user", json={"UserId": f"{name}-{round_}"}).status_code == 200
            wait_until(lambda name=name: shops.tenants.open_tenants == [name])
    for name, client in clients.items():
        assert [client.get(f"/api/user/{name}-{n}").status_code for n in (0, 1)] == [200, 200]


def test_a_crowd_at_one_tenant_does_not_hold_up_another(open_shops, monkeypatch):
    shops = open_shops({"acme": "new", "zeta": "old"}, tenant_share=2, max_queue=3)
    acme_key = make_key(shops.control, "acme")
    zeta = shops.shop("zeta")
    assert shops.client(acme_key).get("/api/users").status_code == zeta.get("/api/users").status_code == 200
    gate, held = threading.Event(), threading.Semaphore(0)
    original = event_rows.page_users

    def slow(connection, after, n):
        if "acme" in str(connection.engine.url):
            held.release()
            gate.wait(PATIENCE)
        return original(connection, after, n)

    monkeypatch.setattr(event_rows, "page_users", slow)
    answers: list[httpx.Response] = []
    ask = lambda: answers.append(httpx.get(f"{shops.url}/api/users", headers={"X-API-Key": acme_key}, timeout=PATIENCE))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    assert held.acquire(timeout=PATIENCE) and held.acquire(timeout=PATIENCE)
    wait_until(lambda: len(answers) == 55)
    assert {one.status_code for one in answers} == {429} and answers[0].headers["retry-after"]
    assert [zeta.get("/api/users").status_code for _ in range(5)] == [200] * 5, "the other tenant is served meanwhile"
    assert zeta.get("/api/recommend/sea-u0").status_code == 200
    assert not held.acquire(blocking=False), "two of the crowd are worked on at once"
    gate.set()
    for thread in threads:
        thread.join()
    assert sorted({one.status_code for one in answers}) == [200, 429] and len(answers) == 60


def test_limits_are_a_tenants_own(open_shops):
    shops = open_shops({"acme": "new", "zeta": "old"}, {"acme": "rate = 0.01\nburst = 2\nmax_k = 5\n"})
    acme, zeta = shops.shop("acme"), shops.shop("zeta")
    assert acme.get("/api/popular", params={"n": 6}).status_code == 400
    assert zeta.get("/api/popular", params={"n": 6}).status_code == 200
    assert [acme.get("/api/users?n=1").status_code for _ in range(3)] == [200, 429, 429]
    assert {zeta.get("/api/users").status_code for _ in range(10)} == {200}


def test_a_tenant_that_cannot_be_opened_says_so_and_the_others_go_on(open_shops):
    shops = open_shops({"acme": "none", "zeta": "old", "typo": "old"}, {"typo": "rat = 3\n"})
    answer = shops.shop("acme").get("/api/users")
    assert answer.status_code == 409 and "holds no release" in answer.json()["message"]
    assert str(shops.tenants.folder) not in answer.text
    answer = shops.shop("typo").get("/api/users")
    assert answer.status_code == 400 and answer.json()["message"].startswith("tenant.toml")
    assert shops.shop("zeta").get("/api/users").status_code == 200
    gone = shops.shop("gone").get("/api/users")
    assert gone.status_code == 400 and "not on this server" in gone.json()["message"]


def test_two_tenants_do_not_open_one_store(open_shops, tmp_path, caplog):
    (tmp_path / "link").symlink_to(tmp_path)
    stores = {"acme": f"{tmp_path}/one.db", "zeta": f"{tmp_path}/link/one.db", "keys": f"{tmp_path}/tenants/control.db"}
    files = {name: f"store = 'sqlite:///{path}'\n" for name, path in stores.items()}
    shops = open_shops({**dict.fromkeys(stores, "new"), "other": "old"}, files)
    for name in stores:
        answer = shops.shop(name).get("/api/users")
        assert answer.status_code == 400 and "not its own" in answer.json()["message"], name
        assert not any(other in answer.text for other in stores), "nobody is told of another"
    assert shops.shop("other").get("/api/users").status_code == 200
    assert "tenant acme has the store of zeta" in caplog.text and "has the store of the keys" in caplog.text


def test_a_tenant_is_not_added_with_anothers_store(langrec_, tmp_path):
    add = ("tenants", "add", "--tenants", str(tmp_path / "tenants"))
    shop = "store=postgresql://shop@db/shop"
    assert langrec_(*add, "acme", "--set", shop)[0] == 0
    assert (tmp_path / "tenants" / "acme" / "tenant.toml").stat().st_mode & 0o077 == 0, "it may hold a password"
    status, _, err = langrec_(*add, "zeta", "--set", f"{shop}?connect_timeout=3")
    assert status == 2 and "store of acme" in err and not (tmp_path / "tenants" / "zeta").exists()
    assert langrec_(*add, "zeta", "--set", f"{shop}?options=-csearch_path%3Dzeta")[0] == 0


def test_a_tenants_file_may_not_set_what_is_the_servers(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "tenant.toml"
    for text in (
        "port = 1",
        "keys = 'admin:x'",
        "host = '0.0.0.0'",
        "unheard = 1",
        "rate = 'x'",
        "rate = ",
        "max_queue = -1",
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(SettingsError, match=r"tenant\.toml"):
            tenant_settings(tmp_path / "a", ServeSettings())
    path.write_text("rate = 3\nstore = 'sqlite:///x.db'", "utf-8")
    found = tenant_settings(tmp_path / "a", ServeSettings(host="0.0.0.0", keys="admin:k", burst=7))
    assert (found.rate, found.store, found.burst, found.keys) == (3.0, "sqlite:///x.db", 7, "")
    for name in ("", "..", "A", "a/b", "-a", "a" * 64, "a\n", "ä"):
        with pytest.raises(SettingsError):
            check_tenant(name)
    with pytest.raises(SettingsError, match="no such folder"):
        tenants_in(tmp_path / "none")


def test_a_tenants_key_needs_a_tenant(langrec_, tmp_path):
    folder = tmp_path / "tenants"
    assert langrec_("tenants", "add", "acme", "--tenants", str(folder))[0] == 0
    control = f"sqlite:///{folder / 'control.db'}"
    add = ("keys", "add", "k", "--role", "read", "--tenant")
    for named in (("--tenants", str(folder)), ("--store", control)):
        assert langrec_(*add, "acme", *named)[0] == 0, named
        status, _, err = langrec_(*add, "acne", *named)
        assert status == 2 and "no such tenant (acme)" in err, named
    status, _, err = langrec_(*add, "acme", "--store", f"sqlite:///{tmp_path / 'shop.db'}")
    assert status == 2 and "--tenants" in err and not (tmp_path / "shop.db").exists()
    _, out, _ = langrec_("tenants", "list", "--tenants", str(folder), "--json")
    assert [(row["tenant"], row["keys"]) for row in json.loads(out)] == [("acme", 2)]


@pytest.mark.slow
def test_tenants_are_kept_and_served_by_several_workers_from_the_command_line(langrec_, two_releases, tmp_path):
    from live_server import Process

    folder = tmp_path / "tenants"
    status, out, err = langrec_("tenants", "add", "acme", "--tenants", str(folder), "--set", "burst=7", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert langrec_("tenants", "add", "acme", "--tenants", str(folder))[0] == 2
    assert langrec_("tenants", "add", "zeta", "--tenants", str(folder), "--set", "port=1")[0] == 2
    stamp = max(path.name for path in two_releases.iterdir() if path.is_dir())
    (folder / "other" / "releases").mkdir(parents=True)
    shutil.copytree(two_releases / stamp, folder / "acme" / "releases" / stamp)
    (folder / "acme" / "releases" / "CURRENT").write_text(stamp, "utf-8")
    status, out, _ = langrec_(
        "keys", "add", "k", "--role", "read", "--tenant", "acme", "--store", told["keys"], "--json"
    )
    key = json.loads(out)["key"]
    status, out, _ = langrec_("tenants", "list", "--tenants", str(folder), "--json")
    assert [(row["tenant"], row["release"], row["keys"]) for row in json.loads(out)] == [
        ("acme", stamp, 1),
        ("other", None, 0),
    ]
    server = Process(tmp_path / "x", told["keys"], "--tenants", str(folder), "--workers", "2", without_releases=True)
    try:
        server.wait()
        asked = [httpx.get(f"{server.url}/api/recommend/sea-u0", headers={"X-API-Key": key}) for _ in range(30)]
        assert {one.status_code for one in asked} == {200}
        text = httpx.get(f"{server.url}/metrics", headers={"X-API-Key": key}).text
        count = 'route="/api/recommend/{user}",status="200",tenant="acme"} 30.0'
        assert count in text
    finally:
        server.close()


def test_quality_is_worked_out_for_each_tenant_from_its_own_log(open_shops):
    shops = open_shops({"acme": "old", "bloom": "new"}, feedback=FeedbackSettings(seconds=0.2))
    acme, bloom = shops.shop("acme"), shops.shop("bloom")
    for n in range(3):
        assert acme.post("/api/recommend", json={"user": f"sea-u{n}", "k": 3}).status_code == 200
    assert bloom.get("/api/items").status_code == 200

    def lists(shop: httpx.Client) -> int | None:
        report = shop.get("/api/quality").json()["report"]
        return None if report is None else report["lists"]

    wait_until(lambda: lists(acme) == 3 and lists(bloom) == 0)
    told = acme.get("/metrics").text
    assert 'tenant="acme"' in told and "langrec_quality" in told and 'tenant="bloom"' not in told
