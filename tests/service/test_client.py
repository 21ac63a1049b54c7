"""The typed client against a live server: every route, values of their types, errors with their places."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from live_server import wait_until

import langrec
from langrec.client import (
    AsyncClient,
    BadReply,
    Client,
    NotAllowed,
    NotFound,
    NotReached,
    Refused,
    Retries,
    ServerError,
    calls,
    replies,
    shape,
)
from langrec.client.replies import Event, User
from langrec.errors import DataError, MissingExtra, SettingsError
from langrec.service.http import document
from langrec.service.routes import openapi
from langrec.types import Condition, Filters, Item
from ports import free_port

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
# Other names for what the client calls already, and the probe that never fails.
OTHER_NAMES = {
    ("GET", "/api/search"),
    ("POST", "/api/user"),
    ("POST", "/api/item"),
    ("GET", "/api/non-personalized/{name}"),
    ("GET", "/api/item-to-item/{name}/{item}"),
    ("GET", "/api/user-to-user/{name}/{user}"),
    ("GET", "/api/recommend/{user}/{path_category}"),
    ("GET", "/api/popular/{path_category}"),
    ("GET", "/api/latest/{path_category}"),
    ("GET", "/api/item/{item}/neighbors/{path_category}"),
    ("GET", "/api/feedback/{type}/{user}/{item}"),
    ("GET", "/api/health/live"),
}


@pytest.fixture
def client(live):
    with Client(live.url, retries=Retries(most=0)) as found:
        yield found


@pytest.fixture(scope="module")
def reader(shared):
    with Client(shared.url, retries=Retries(most=0)) as found:
        yield found


def test_a_list_for_a_user_has_titles_reasons_and_a_trace(reader):
    found = reader.recommend("sea-u0", k=5, probability=True)
    assert isinstance(found, replies.List) and len(found.items) == 5
    first = found.items[0]
    assert found.ids[0] == first.id and first.title.startswith("sea ") and first.position == 0
    assert first.score == pytest.approx(sum(first.sources.values()), rel=1e-4)
    assert first.reason is not None and first.reason.scorer and first.reason.items[0].title
    assert found.trace.reason == "history" and found.trace.dropped["seen"] == 6 and found.trace.stages[0].ms >= 0
    assert re.fullmatch(r"[0-9a-f]{16}", found.request_id)


def test_what_is_asked_for_reaches_the_server(reader):
    filters = Filters(categories=("chess",), where=(Condition("price", "le", 9),), exclude=("chess02",))
    found = reader.recommend(history=["chess00"], k=20, filters=filters, explain=False)
    prices = {one.id: one.fields["price"] for one in found.items}
    assert set(prices) == {"chess01", "chess03", "chess04"} and max(prices.values()) <= 9
    assert all(one.reason is None for one in found.items)
    text = reader.recommend(text="lunar rocket", k=3, meaning=0)
    assert all(one.id.startswith("moon") for one in text.items)
    assert reader.recommend(k=2, offset=1).items[0].position == 1


def test_lists_without_reasons_are_ids_with_scores(reader):
    found = reader.recommend_ids("bread-u1", 4)
    assert [one.id for one in found] == list(reader.recommend("bread-u1", k=4).ids)
    assert found[0].score >= found[-1].score
    assert all(one.id.startswith("moon") for one in reader.recommend_ids("bread-u1", categories=["moon"]))
    assert reader.session(["chess00", "chess03"], 3)[0].id.startswith("chess")
    assert reader.session([Event("", "moon00", "click")], 2, category="moon")[0].id.startswith("moon")
    assert len(reader.popular(3)) == 3 and len(reader.latest(3, categories=["sea"])) == 3
    seen = {one.item for one in reader.user_feedback("sea-u0")}
    assert not seen & {one.id for one in reader.popular(40, unseen_by="sea-u0")}
    assert reader.item_neighbours("bread03", 3)[0].id.startswith("bread")
    assert reader.user_neighbours("moon-u3", 3)[0].id.startswith("moon")
    assert reader.audience("sea00", 3)[0].user
    assert len({one.id[:3] for one in reader.starters(4).items}) == 4


def test_a_search_is_walked_through_by_its_cursor(reader):
    page = reader.search("story", k=10, meaning=0)
    assert page.total == 48 and page.cursor and page.understood.words == ("story",) and page.items[0].matched
    walked = [one.id for one in reader.search_all("story", page=7, meaning=0)]
    assert len(walked) == len(set(walked)) == 48 and walked[:10] == list(page.ids)


def test_an_account_of_a_score_sums_to_it(reader):
    found = reader.explain("sea-u0", "sea01")
    assert found.score == pytest.approx(sum(one.contribution or 0 for one in found.contributions), rel=1e-4)
    assert any(one.history for one in found.contributions)
    without = reader.explain("sea-u0", "sea01", without=["sea00"])
    assert "sea00" not in {one.id for part in without.contributions for one in part.history}
    best = reader.recommend("nobody", history=["chess00"], filters=Filters(categories=("sea",)), k=1).items[0]
    told = reader.explain("nobody", best.id, history=["chess00"], categories=["sea"])
    assert told.score == pytest.approx(best.score, rel=1e-4) and told.position == 0


def test_the_store_is_looked_around_in(reader):
    assert [one.id for one in reader.suggest_users("sea-u", 3)] == ["sea-u0", "sea-u1", "sea-u2"]
    assert reader.suggest_items("moon crater", 1)[0].title.startswith("moon crater")
    newest = reader.history("sea-u0", 1)[0]
    assert newest.type == "click" and newest.at.year == 2024 and newest.title
    page = reader.catalogue(category="sea", sort="price", order="desc", k=2)
    assert page.total == 12 and [one.fields["price"] for one in page.items] == [16.0, 15.0]
    assert {"sea", "even"} <= {one.name for one in reader.categories()}
    assert len(list(reader.items(page=20))) == 48 and len(list(reader.users(page=7))) == 40
    assert next(iter(reader.items("whale", page=1))).id.startswith("sea")
    some = list(reader.feedback("click", page=50))
    assert len(some) == 120 and {one.type for one in some} == {"click"} and all(one.at for one in some)


def test_who_runs_a_server_is_answered(live, client):
    wait_until(lambda: live.service.is_warm)  # until then it is not ready
    assert client.health().ready and client.health().release == live.new
    assert client.release().stamp == live.new and client.release().n_items == 48
    assert [one.stamp for one in client.releases()] == [live.new, live.old]
    assert client.stats().series and client.metrics().startswith("# HELP")
    assert client.measure().metrics[0].n > 0
    assert client.measured_lists("sea-u0", ["ease", "mix"]).user == "sea-u0"
    client.delete_item("sea00")
    client.delete_item("sea01")
    assert [one.target for one in client.audit(page=1)][:2] == ["sea01", "sea00"]
    assert client.roll_back() == live.old and client.roll_back(live.new) == live.new


def test_items_users_and_events_are_written_read_changed_and_deleted(client):
    at = int(AT.timestamp() * 1000)
    new = [Item(f"kiln/{i}", "Kiln", {"description": "clay"}, ("craft",), at=at, fields={"price": i}) for i in range(5)]
    assert client.write_items(iter(new), block=2) == 5
    assert client.item("kiln/3") == replies.StoredItem(
        "kiln/3", False, ("craft",), AT, {"description": "clay", "price": 3}, "Kiln"
    )
    assert client.change_item("kiln/3", title="Oven", hidden=True, fields={"price": 4}) == 1
    assert client.item("kiln/3").hidden and client.suggest_items("Oven")[0].id == "kiln/3"
    client.add_category("kiln/3", "a/b")
    client.remove_category("kiln/3", "craft")
    assert client.item("kiln/3").categories == ("a/b",)
    assert client.write_users([User("ann", {"country": "SE"}, "met")]) == 1
    client.change_user("ann", comment="left")
    assert client.user("ann") == User("ann", {"country": "SE"}, "left")
    events = [Event("ann", f"kiln/{i}", "click", AT, 2.0, "start page") for i in range(5)]
    assert client.add_feedback(events, block=2) == 5
    assert client.add_feedback([dataclasses.replace(events[0], value=7.0)], overwrite=True) == 1
    assert client.feedback_between("ann", "kiln/0") == (dataclasses.replace(events[0], value=7.0),)
    assert client.feedback_between("ann", "kiln/0", "click") == client.feedback_between("ann", "kiln/0")
    assert client.feedback_between("ann", "kiln/0", "buy") == ()
    assert client.item_feedback("kiln/1", "click") == client.item_feedback("kiln/1") == (events[1],)
    assert client.delete_feedback("ann", "kiln/0") == 1 and client.delete_feedback("ann", "kiln/1", "buy") == 0
    assert len(client.user_feedback("ann")) == 4
    assert client.delete_item("kiln/4") == 1 and client.delete_item("kiln/4") == 0
    exported = client.export_user("ann")
    assert exported.profile.labels == {"country": "SE"} and len(exported.events) == 4
    assert exported.events[0].at == AT
    deleted = client.delete_user("ann")
    assert deleted.rows == 1 and deleted.receipt.removed["events"] == 4
    proved = client.receipt(deleted.receipt.receipt)
    assert proved.user == "ann" and proved.nothing_left and proved.exact == deleted.receipt.exact
    with pytest.raises(NotFound):
        client.user("ann")


def test_many_rows_are_written_and_read_in_bulk_and_bad_ones_are_named(live, client):
    items = [Item(f"bulk{i}", f"Bulk {i}", {"description": "clay"}, ("craft",)) for i in range(5)]
    found = client.bulk_write([*items, Item("x" * 2000, "too long")], block=3)
    assert (found.rows, found.refused) == (5, 1)
    assert found.reasons[0].row == 6 and "1024" in found.reasons[0].reason
    assert client.bulk_write([User("ann", {"a": 1})]).rows == 1
    events = [Event("ann", f"bulk{i}", "click", AT, 2.0) for i in range(5)]
    for _ in range(2):
        assert client.bulk_write(events, block=2).rows == 5
    assert len(client.user_feedback("ann")) == 5 and {one.value for one in client.user_feedback("ann")} == {2.0}
    assert {one.id for one in client.bulk_items()} == {one.id for one in client.items()}
    assert {one.id: one for one in client.bulk_users()}["ann"] == User("ann", {"a": 1})
    assert list(client.bulk_feedback())[-5:] == events
    with pytest.raises(DataError, match="one kind"):
        client.bulk_write([User("ann"), items[0]])


def test_texts_with_line_ends_of_unicode_come_back_in_bulk(client):
    title = "one\u2028two\u2029three\x85four\x0bfive"
    client.bulk_write([Item("lines", title), Item("plain", "after it")])
    found = {one.id: one.comment for one in client.bulk_items()}
    assert (found["lines"], found["plain"]) == (client.item("lines").comment, "after it")
    assert "\u2028" in found["lines"] and "\x85" in found["lines"]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "ü 東京", "100%", "a?b#c", "a%2Fb", "+ &="])
def test_ids_of_any_letters_come_back_as_they_were(client, name):
    client.write_items([Item(name, "odd")])
    assert client.item(name).id == name
    client.add_feedback([Event(name, name, "click", AT)])
    assert client.feedback_between(name, name)[0].user == name
    assert [one.id for one in client.history(name)] == [name]


def test_an_event_without_a_time_happens_now(client):
    before = datetime.now(UTC)
    client.add_feedback([Event("ann", "sea00", "click")])
    (found,) = client.user_feedback("ann")
    assert abs((found.at - before).total_seconds()) < 60


def test_errors_name_the_code_the_field_and_the_request(reader):
    with pytest.raises(NotFound) as gone:
        reader.explain("sea-u0", "nothing")
    assert (gone.value.status, gone.value.code, gone.value.field) == (404, "not_found", "item")
    assert re.fullmatch(r"[0-9a-f]{16}", gone.value.request_id) and gone.value.request_id in str(gone.value)
    with pytest.raises(Refused) as wrong:
        reader.recommend(k=0)
    assert wrong.value.field == "k" and wrong.value.code == "bad_request"
    assert issubclass(ServerError, langrec.LangrecError)


def test_a_key_is_sent_and_one_of_too_low_a_role_is_refused(serve):
    live = serve(keys="read:reader-key,write:writer-key")
    with Client(live.url) as nobody, Client(live.url, key="reader-key") as one:
        with pytest.raises(NotAllowed) as absent:
            nobody.popular()
        assert absent.value.status == 401 and nobody.health().ready
        assert one.popular()
        with pytest.raises(NotAllowed) as low:
            one.add_feedback([Event("a", "b", "c")])
        assert low.value.status == 403


def test_what_cannot_be_right_is_said_before_anything_is_sent(reader):
    with pytest.raises(DataError, match="must not be empty"):
        reader.item("")
    with pytest.raises(TypeError, match="not the single text 'sea00'"):
        reader.recommend(history="sea00")
    with pytest.raises(SettingsError, match="must begin with http"):
        Client("localhost:8087")
    with pytest.raises(SettingsError, match="most"):
        Retries(most=-1)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_without_httpx_the_line_that_installs_it_is_named(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'langrec\[client\]'"):
        kind()


def test_a_server_that_is_not_there_is_named():
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retries=Retries(most=1, first=0.01)) as client, pytest.raises(NotReached, match=url) as lost:
        client.popular()
    assert lost.value.code == "not_connected" and lost.value.status == 0


def test_an_answer_of_another_shape_is_refused_with_its_place():
    with pytest.raises(BadReply, match=r"GET /x\[1\]: Score is missing"):
        answer = b'[{"Id": "a", "Score": 1}, {"Id": "b"}]'
        calls.Call("GET", "/x", tuple[replies.Scored, ...]).answer(200, {}, answer, "r")
    for kind, value in ((int, True), (int, "1"), (str, 1), (dict[str, int], []), (tuple[int, ...], {}), (datetime, {})):
        with pytest.raises(ValueError, match="reply"):
            shape.read(kind, value)
    assert shape.read(datetime | None, -1) is None and shape.read(datetime | None, shape.NO_TIME) is None
    assert shape.read(datetime, "2024-05-01T12:00:00Z") == shape.read(datetime, 1714564800000) == AT
    assert shape.read(replies.Scored, {"Id": "a", "Score": 1, "New": []}) == replies.Scored("a", 1.0)


def test_both_clients_have_the_same_calls_with_the_same_arguments():
    def surface(kind):
        return {
            name: list(inspect.signature(value).parameters.values())
            for name, value in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    waits, awaited = surface(Client), surface(AsyncClient)
    awaited["close"] = awaited.pop("aclose")
    assert waits == awaited and len(waits) > 40


def test_the_asynchronous_client_answers_many_at_once(shared):
    async def ask():
        async with AsyncClient(shared.url) as client:
            lists = await asyncio.gather(*(client.recommend(f"sea-u{i}", k=3) for i in range(10)))
            walked = [one.id async for one in client.search_all("story", page=20, meaning=0)]
            users = [one async for one in client.users(page=9)]
            with pytest.raises(NotFound):
                await client.item("nothing")
            return lists, walked, users

    lists, walked, users = asyncio.run(ask())
    assert len(lists) == 10 and all(one.items[0].id.startswith("sea") for one in lists)
    assert len(set(walked)) == 48 and len(users) == 40


def test_every_route_can_be_called_by_the_client(monkeypatch):
    """Walks through the client's own calls, and compares their paths with the description's."""
    asked = set()

    def note(self, method, url, **_):
        asked.add((method, url))
        return httpx.Response(599, request=httpx.Request(method, "http://x"))

    @contextlib.contextmanager
    def stream(self, method, url, **_):
        yield note(self, method, url)

    monkeypatch.setattr(httpx.Client, "request", note)
    monkeypatch.setattr(httpx.Client, "stream", stream)
    with Client(retries=Retries(most=0)) as client:
        for name, call in inspect.getmembers(client, inspect.ismethod):
            if name.startswith("_") or name == "close":
                continue
            needed = [one for one in inspect.signature(call).parameters.values() if one.default is one.empty]
            values = {"items": [Item("i")], "users": [User("u")], "events": [Event("u", "i", "t")], "rows": [Item("i")]}
            arguments = [values.get(one.name, "x") for one in needed]
            if name == "session":
                arguments = [["i"]]
            if name == "bulk_write":
                for rows in ([User("u")], [Event("u", "i", "t")]):
                    with pytest.raises(ServerError):
                        call(rows)
            for more in ({}, {"type": "t"}, {"category": "c"}, {"overwrite": True}):
                if set(more) <= {
                    one for one, value in inspect.signature(call).parameters.items() if value not in needed
                }:
                    with pytest.raises(ServerError):
                        found = call(*arguments, **more)
                        assert list(found) if inspect.isgenerator(found) else found
    wanted = {(method, path) for method, path, _ in openapi.operations(document())}

    def pattern(path):
        return re.compile(re.sub(r"\{\w+\}", "[^/]+", path))

    reached = {
        (method, path)
        for method, path in wanted
        for verb, url in asked
        if verb == method and pattern(path).fullmatch(url)
    }
    strays = {one for one in asked if not any(one[0] == m and pattern(p).fullmatch(one[1]) for m, p in wanted)}
    assert not strays, "the client calls what the server does not have"
    missing = wanted - reached - OTHER_NAMES
    assert not missing, f"langrec.client has no call for {sorted(missing)}; add one, or name them in OTHER_NAMES"


@pytest.mark.parametrize("page", ["docs/client.md", "README.md"])
def test_what_a_page_shows_of_the_client_works(live, page, capsys):
    live.send("POST", "/api/items", [{"ItemId": f"i{n}", "Comment": f"A story {n}"} for n in range(9)])
    text = (Path(__file__).parents[2] / page).read_text("utf-8")
    blocks = [one for one in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) if "Client" in one]
    assert blocks
    for one in blocks:
        exec(compile(one.replace("http://127.0.0.1:8087", live.url), page, "exec"), {})
    assert "new1" in capsys.readouterr().out or page == "README.md"
    assert live.get("/api/user/u1/feedback")


@pytest.mark.slow
def test_what_the_page_for_those_who_come_from_gorse_writes_can_be_trained_on(live, tmp_path, monkeypatch):
    """The page reads a server in Gorse's words; here it reads langrec's own, which has the same."""
    live.send("POST", "/api/item", {"ItemId": "tagged", "Comment": "Tagged", "Labels": ["a", "b"]})
    live.send("POST", "/api/user", {"UserId": "sea-u0", "Labels": ["old", "loyal"]})
    text = (Path(__file__).parents[2] / "docs/gorse-migration.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("http://127.0.0.1:8087", live.url), "gorse-migration.md", "exec"), {})
    dataset, _ = langrec.load_dataset(
        tmp_path / "feedback.jsonl", tmp_path / "items.jsonl", users=tmp_path / "users.jsonl"
    )
    assert dataset.profiles.filter(dataset.profiles["user_id"] == "sea-u0")["tags"].to_list() == [["old", "loyal"]]
    assert (len(dataset.users), len(dataset.catalogue.ids), len(dataset.events)) == (40, 49, 240)
    assert {"description"} <= set(dataset.catalogue.text_fields) and set(dataset.events.type_names) == {
        "click",
        "purchase",
    }
    first = dataset.catalogue.frame.filter(dataset.catalogue.frame["item_id"] == "sea00").to_dicts()[0]
    assert first["title"] == "sea ship story 0" and first["categories"] == ["sea", "even"] and first["price"] == 5.0


def test_a_list_that_gorse_writes_as_null_is_empty():
    item = {"ItemId": "i", "IsHidden": False, "Categories": None, "Timestamp": "", "Labels": None, "Comment": ""}
    page = shape.read(replies.ItemsPage, {"Cursor": "", "Items": [item]})
    assert page.rows[0].categories == () and page.rows[0].at is None
    assert shape.read(replies.EventsPage, {"Cursor": "", "Feedback": None}).rows == ()
