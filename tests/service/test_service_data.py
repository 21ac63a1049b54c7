"""Users, items and events over HTTP: what is written is what counts, at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

AT = "2024-05-01T12:00:00Z"


def click(user: str, item: str, **more: Any) -> dict[str, Any]:
    return {"FeedbackType": "click", "UserId": user, "ItemId": item, "Timestamp": AT, **more}


def test_an_event_changes_the_next_answer(live):
    before = live.recommended("newcomer", 5)
    live.send("POST", "/api/feedback", [click("newcomer", "chess00"), click("newcomer", "chess01")])
    after = live.recommended("newcomer", 5)
    assert after != before
    assert {item[:5] for item in after[:3]} == {"chess"}
    assert not {"chess00", "chess01"} & set(after), "what was seen is left out"


@pytest.mark.parametrize("history", [100, 1])
def test_types_that_differ_in_case_alone_are_one(serve, history):
    live = serve(history=history)
    for user, kind in (("ann", "hide"), ("bea", "Hide")):
        live.send("POST", "/api/feedback", [click(user, "chess00", FeedbackType=kind)])
    shown = [live.send("POST", "/api/recommend", {"user": user, "k": 40}) for user in ("ann", "bea")]
    assert [one["trace"]["reason"] for one in shown] == ["new_visitor", "new_visitor"], "a hide likes nothing"
    assert all("chess00" not in [item["id"] for item in one["items"]] for one in shown)

    times = ("2024-05-01T12:00:00Z", "2024-05-02T12:00:00Z")
    bought = [("chess01", "Purchase", times[0]), ("chess02", "click", times[1])]
    live.send(
        "POST", "/api/feedback", [click("eve", item, FeedbackType=kind, Timestamp=at) for item, kind, at in bought]
    )
    for kinds in (["purchase"], ["PURCHASE", "hide"]):
        body = {"user": "eve", "k": 48, "filters": {"seen_types": kinds}}
        ids = {one["id"] for one in live.send("POST", "/api/recommend", body)["items"]}
        assert "chess01" not in ids and "chess02" in ids


def test_an_item_is_found_and_recommended_at_once(live):
    body = {
        "ItemId": "sea99",
        "Categories": ["sea"],
        "Comment": "sea ship harbour",
        "Labels": {"description": "zeppelin"},
    }
    live.send("POST", "/api/item", body)
    assert [one["id"] for one in live.get("/api/search", q="zeppelin", k=3)["items"]][:1] == ["sea99"]
    assert "sea99" in live.recommended("sea-u0", 30)
    assert live.get("/api/release")["overlay_items"] == 1


def test_a_deleted_item_is_in_no_list_and_can_come_back(live):
    first = live.recommended("sea-u0", 1)[0]
    assert live.send("DELETE", f"/api/item/{first}") == {"RowAffected": 1}
    assert first not in live.recommended("sea-u0", 48)
    assert first not in [one["Id"] for one in live.get("/api/popular", n=100)]
    assert first not in [one["id"] for one in live.get("/api/search", q=f"{first[:3]} story", k=100)["items"]]
    assert live.client.get(f"/api/item/{first}").status_code == 404
    live.send("POST", "/api/item", {"ItemId": first, "Comment": "sea ship harbour", "Categories": ["sea"]})
    assert first in live.recommended("sea-u0", 48)


def test_a_hidden_item_is_in_no_list(live):
    first = live.recommended("sea-u0", 1)[0]
    live.send("PATCH", f"/api/item/{first}", {"IsHidden": True})
    assert first not in live.recommended("sea-u0", 48)
    live.send("PATCH", f"/api/item/{first}", {"IsHidden": False})
    assert live.recommended("sea-u0", 1) == [first]


def test_a_changed_category_filters_the_next_list(live):
    live.send("PUT", "/api/item/moon03/category/odd%2Feven")
    assert live.recommended("sea-u0", 5, category="odd/even") == ["moon03"]
    live.send("DELETE", "/api/item/moon03/category/odd%2Feven")
    assert live.recommended("sea-u0", 5, category="odd/even") == []
    assert "odd/even" not in [one["name"] for one in live.get("/api/categories")]


def test_a_patch_keeps_what_it_leaves_out(live):
    before = live.get("/api/item/sea03")
    live.send("PATCH", "/api/item/sea03", {"Timestamp": "2024-06-01"})
    assert live.get("/api/item/sea03") == before | {"Timestamp": "2024-06-01T00:00:00Z"}
    live.send("PATCH", "/api/item/sea03", {"Labels": {"description": "Now about xylophones."}})
    assert live.get("/api/search", q="xylophones", k=1)["items"][0]["title"] == before["Comment"]


def test_what_a_patch_says_in_our_words_is_shown_and_outlives_the_next_one(live):
    def fields(item: str) -> dict:
        found = live.send("POST", "/api/recommend", {"k": 100})["items"]
        return {one["id"]: {"title": one["title"], **one["fields"]} for one in found}[item]

    first = {"ItemId": "oar", "Comment": "Oar", "Labels": {"price": 20, "description": "of ash"}}
    live.send("POST", "/api/item", first)
    live.send("PATCH", "/api/item/oar", {"Title": "Long oar", "Fields": {"price": 18}, "Texts": {"plot": "of oak"}})
    said = live.get("/api/item/oar")
    assert said["Labels"] == {"price": 18, "description": "of ash", "plot": "of oak"}
    assert said["Comment"] == "Long oar"
    live.send("PATCH", "/api/item/oar", {"Comment": "Oar of oak"})
    assert fields("oar") == {"title": "Oar of oak", "price": 18, "description": "of ash", "plot": "of oak"}
    live.send("PATCH", "/api/item/oar", {"Labels": {"price": 17}})
    assert fields("oar") == {"title": "Oar of oak", "price": 17}, "labels are replaced as a whole"

    tagged = {"ItemId": "net", "Title": "Net", "Comment": "hemp", "Labels": ["big"], "Fields": {"price": 5}}
    live.send("POST", "/api/item", tagged)
    live.send("PATCH", "/api/item/net", {"Comment": "flax"})
    assert fields("net") == {"title": "Net", "price": 5, "labels": ["big"]}
    live.send("PATCH", "/api/item/net", {"Labels": ["small"]})
    assert fields("net") == {"title": "Net", "price": 5, "labels": ["small"]}
    live.send("PATCH", "/api/item/net", {"Labels": {"title": "Seine", "price": 6}})
    assert fields("net") == {"title": "Seine", "price": 6, "comment": "flax"}
    live.send("PATCH", "/api/item/net", {"Title": "Trawl"})
    live.send("PATCH", "/api/item/net", {"Labels": {"price": 7}})
    assert live.get("/api/item/net")["Labels"] == {"price": 7}


def test_posting_the_same_event_adds_up_and_putting_it_overwrites(live):
    for value in (2.0, 3.0):
        live.send("POST", "/api/feedback", [click("ann", "sea00", Value=value)])
    assert live.get("/api/feedback/click/ann/sea00")["Value"] == 5.0
    live.send("PUT", "/api/feedback", [click("ann", "sea00", Value=1.5)])
    assert [row["Value"] for row in live.get("/api/feedback/ann/sea00")] == [1.5]
    live.send("POST", "/api/feedback", [click("ann", "sea00", Value=1), click("ann", "sea00", Value=2)])
    assert live.get("/api/feedback/click/ann/sea00")["Value"] == 4.5
    assert live.get("/api/users/suggest", q="ann") == [{"id": "ann", "n_events": 1}]
    live.send("POST", "/api/feedback", [click("ann", "sea00", Comment="liked it")])
    live.send("POST", "/api/feedback", [click("ann", "sea00", Value=1)])
    assert live.get("/api/feedback/click/ann/sea00")["Comment"] == "liked it", "what adds nothing takes nothing"


def test_the_same_event_at_another_time_is_another_event(live):
    live.send("POST", "/api/feedback", [click("ann", "sea00"), click("ann", "sea00", Timestamp="2024-05-02T12:00:00Z")])
    rows = live.get("/api/user/ann/feedback/click")
    assert [row["Timestamp"] for row in rows] == ["2024-05-02T12:00:00Z", AT]


@pytest.mark.parametrize("cursor", ["9" * 30, "²", "-1", "x", "1.5"])
def test_a_page_of_events_refuses_a_cursor_that_no_page_gave(live, cursor):
    answer = live.client.get("/api/feedback", params={"cursor": cursor})
    assert answer.status_code == 400 and answer.json()["field"] == "cursor", answer.text


def test_values_that_would_add_up_beyond_all_bounds_are_refused(live):
    events = f'[{{"FeedbackType": "click", "UserId": "ann", "ItemId": "sea00", "Value": {1e308}, "Timestamp": 1e9}}]'
    for _ in range(2):
        answer = live.client.post("/api/feedback", content=events, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400 and answer.json()["field"] == "0.Value", answer.text
    live.send("POST", "/api/feedback", [click("ann", "sea00", Value=-1e30)])
    assert live.get("/api/user/ann/export")["events"][0]["value"] == -1e30


def test_an_event_makes_the_user_and_the_item_it_names(live):
    live.send("POST", "/api/feedback", [click("somebody", "something")])
    assert live.get("/api/user/somebody")["UserId"] == "somebody"
    assert live.get("/api/item/something")["ItemId"] == "something"
    assert live.get("/api/user/somebody/history")[0]["title"] == "something"


def test_an_event_without_a_time_happens_now(live):
    body = click("ann", "sea00")
    del body["Timestamp"]
    live.send("POST", "/api/feedback", [body])
    assert abs(live.get("/api/user/ann/history")[0]["at"] / 1000 - time.time()) < 60


def test_an_event_before_1970_is_refused_and_an_items_time_is_kept(live):
    for at in ("1950-05-01T12:00:00Z", -86_400, "1969-12-31T23:59:59Z"):
        body = {"FeedbackType": "click", "UserId": "old", "ItemId": "sea00", "Timestamp": at}
        answer = live.client.post("/api/feedback", json=[body])
        assert answer.status_code == 400 and answer.json()["field"] == "0.Timestamp", answer.text
    assert live.client.get("/api/user/old").status_code == 404
    for none in (None, "", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"):
        body = {"FeedbackType": "click", "UserId": "new", "ItemId": "sea00", "Timestamp": none}
        assert live.client.post("/api/feedback", json=[body]).status_code == 200
    live.send("POST", "/api/item", {"ItemId": "reel", "Title": "A reel", "Timestamp": "1921-05-01T12:00:00Z"})
    assert live.get("/api/item/reel")["Timestamp"] == "1921-05-01T12:00:00Z"
    timeless = [one["Id"] for one in live.get("/api/latest", n=100) if not one["Score"]]
    assert timeless[0] == "reel", "without a time since 1970, the last added comes first"


def test_an_event_of_the_future_counts_from_its_time_on(live):
    live.send("POST", "/api/feedback", [click("ann", "sea00", Timestamp="2999-01-01T00:00:00Z")])
    assert live.get("/api/user/ann/history") == []
    assert len(live.get("/api/user/ann/feedback")) == 1


def test_a_deleted_user_is_a_new_visitor(live):
    visitor = live.recommended("nobody at all", 5)
    assert live.recommended("chess-u0", 5) != visitor
    live.send("DELETE", "/api/user/chess-u0")
    assert live.recommended("chess-u0", 5) == visitor
    assert live.get("/api/user/chess-u0/feedback") == []
    assert live.client.get("/api/user/chess-u0").status_code == 404
    assert "chess-u0" not in [one["id"] for one in live.get("/api/users/suggest", q="chess", n=50)]


def test_counts_follow_the_events(live):
    def of(item: str) -> int:
        found = live.get("/api/catalogue", q=item)["items"]
        return int(next(one["n_events"] for one in found if one["id"] == item))

    before = of("sea00")
    live.send("POST", "/api/feedback", [click("ann", "sea00"), click("bob", "sea00"), click("bob", "sea00")])
    assert of("sea00") == before + 2
    live.send("DELETE", "/api/feedback/bob/sea00")
    assert of("sea00") == before + 1
    live.send("DELETE", "/api/user/ann")
    assert of("sea00") == before


@pytest.mark.parametrize("name", ["a\x00b", "x" * 1025])
def test_names_in_an_address_are_ids_too(live, name):
    for path, field in (("/api/recommend/ann", "write-back-type"), ("/api/popular", "user-id")):
        answer = live.client.get(path, params={field: name})
        assert answer.status_code == 400 and answer.json()["field"] == field, answer.text


def test_ids_may_hold_slashes_spaces_and_any_script(live):
    for item in ("a/b c", "電影 第一", "ümlaut?&#", "100%"):
        live.send("POST", "/api/item", {"ItemId": item, "Comment": "strange"})
        from urllib.parse import quote

        assert live.get(f"/api/item/{quote(item, safe='')}")["ItemId"] == item
    live.send("POST", "/api/feedback", [click("u/1", "a/b c")])
    assert len(live.get("/api/feedback/click/u%2F1/a%2Fb%20c")) == 6


def test_text_that_databases_refuse_is_mended_or_refused(live):
    answer = live.client.post(
        "/api/item",
        content=b'{"ItemId": "half", "Comment": "\\ud800 and \\u0000"}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (200, 400), answer.text
    answer = live.client.post("/api/item", json={"ItemId": "nul\x00"})
    assert answer.status_code == 400 and "ItemId" in answer.json()["field"]


def test_the_catalogue_is_filtered_sorted_and_paged(live):
    dearest = live.get("/api/catalogue", category="sea", sort="price", order="desc", n=2)
    assert [one["id"] for one in dearest["items"]] == ["sea11", "sea10"] and dearest["total"] == 12
    third = live.get("/api/catalogue", category="sea", sort="price", order="desc", n=1, offset=2)
    assert third["items"][0]["id"] == "sea09"
    found = live.get("/api/catalogue", q="WHALE", sort="title")
    assert found["total"] == 2 and all("whale" in one["title"] for one in found["items"])
    by_events = live.get("/api/catalogue", sort="events", order="desc", n=48)["items"]
    counts = [one["n_events"] for one in by_events]
    assert counts == sorted(counts, reverse=True)


def test_type_ahead_finds_users_and_items(live):
    assert [one["id"] for one in live.get("/api/users/suggest", q="moon-u1")] == ["moon-u1"]
    assert live.get("/api/users/suggest", q="moon-u1")[0]["n_events"] == 6
    found = live.get("/api/items/suggest", q="moon cra", n=20)
    assert {one["id"] for one in found} == {"moon00", "moon06"}
    assert live.get("/api/items/suggest", q="100%_") == []


def test_titles_of_any_script_are_found_in_either_case(live):
    titles = {"ru": "Зелёный Чай", "tr": "İSTANBUL Işıkları", "fr": "Cafe\u0301 Crème", "el": "ΟΔΟΣ"}
    for item, title in titles.items():
        live.send("POST", "/api/item", {"ItemId": item, "Comment": title, "Categories": ["x"]})
    for q, item in (
        ("зеленый ч", "ru"),
        ("ЧАЙ", "ru"),
        ("ışık", "tr"),
        ("CAFÉ", "fr"),
        ("οδός", "el"),
        ("100%_é", None),
    ):
        for path in ("/api/catalogue", "/api/items/suggest"):
            found = live.get(path, q=q)
            found = found["items"] if path == "/api/catalogue" else found
            assert [one["id"] for one in found] == ([item] if item else []), (path, q)


def test_what_lies_before_the_history_is_still_seen(serve):
    live = serve(history=3)
    seen = {one["id"] for one in live.get("/api/user/sea-u0/history")}
    assert len(seen) == 6
    assert not seen & set(live.recommended("sea-u0", 48))
    body = {"user": "sea-u0", "k": 48, "filters": {"seen_types": ["purchase"]}}
    shown = {one["id"] for one in live.send("POST", "/api/recommend", body)["items"]}
    bought = {one["id"] for one in live.get("/api/user/sea-u0/history") if one["type"] == "purchase"}
    assert seen & shown == seen - bought


def test_odd_items_do_not_stop_the_others(live):
    odd = [
        {"ItemId": "odd0", "Fields": {"price": "cheap"}},
        {"ItemId": "odd1", "Labels": {"price": [1, 2], "deep": {"a": {"b": None}}}},
        {"ItemId": "odd2", "Labels": {"price": True, "": "empty name", "item_id": "other", "title": 5}},
        {"ItemId": "odd3", "Labels": "just text", "Comment": "x" * 50_000, "Categories": ["", "c" * 3000]},
        {"ItemId": "odd4", "Labels": {"price": 1e308, "at": "noon", "categories": "none", "hidden": "no"}},
    ]
    live.send("POST", "/api/items", odd)
    cheap = {"filters": {"where": [{"field": "price", "op": "le", "value": 6}]}, "k": 48, "user": "sea-u0"}
    found = {one["id"] for one in live.send("POST", "/api/recommend", cheap)["items"]}
    assert {"moon00", "moon01"} <= found and "moon02" not in found
    assert len(live.recommended("sea-u0", 10)) == 10
    for field in ("price", "deep", "at", "hidden", "title", "missing"):
        assert live.get("/api/catalogue", sort=field, n=60)["total"] == 53
    for one in odd:
        assert live.get(f"/api/item/{one['ItemId']}")["ItemId"] == one["ItemId"]


def test_an_item_that_the_recommender_cannot_take_is_passed_over(live, monkeypatch, caplog):
    kind = live.service.snapshot.recommender.__class__
    original = kind.with_changes

    def picky(self, changed, deleted=(), vectors=None):
        if any(item.id == "poison" for item in changed):
            raise RuntimeError("no")
        return original(self, changed, deleted, vectors)

    monkeypatch.setattr(kind, "with_changes", picky)
    names = ("before", "poison", "after")
    live.send("POST", "/api/items", [{"ItemId": name, "Comment": f"zeppelin {name}"} for name in names])
    assert {one["id"] for one in live.get("/api/search", q="zeppelin")["items"]} == {"before", "after"}
    assert "poison" in caplog.text
