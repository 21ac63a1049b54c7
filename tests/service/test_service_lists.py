"""Recommend, search and explain over HTTP."""

from __future__ import annotations

import string

import pytest

from langrec.service.routes import cursors


def test_a_body_with_a_history_is_answered_with_scores_sources_and_reasons(shared):
    answer = shared.send("POST", "/api/recommend", {"history": ["moon00", "moon01"], "k": 4})
    assert [one["id"][:4] for one in answer["items"]] == ["moon"] * 4
    for place, one in enumerate(answer["items"]):
        assert one["position"] == place and one["title"] and one["fields"]["price"] >= 5
        assert sum(one["sources"].values()) == pytest.approx(one["score"], abs=1e-4)
        assert one["reason"]["kind"]
        assert all(item["title"] for item in one["reason"]["items"])
    assert answer["trace"]["release"] == shared.new
    assert answer["request_id"]


def test_a_known_user_gets_the_same_list_by_every_road(shared):
    plain = shared.recommended("sea-u3", 5)
    scored = shared.client.get("/api/recommend/sea-u3", params={"n": 5}, headers={"X-API-Version": "2"}).json()
    body = shared.send("POST", "/api/recommend", {"user": "sea-u3", "k": 5})
    assert plain == [one["Id"] for one in scored] == [one["id"] for one in body["items"]]


def test_an_unknown_user_is_a_new_visitor(shared):
    answer = shared.send("POST", "/api/recommend", {"user": "never seen", "k": 5})
    assert len(answer["items"]) == 5
    assert answer["trace"]["reason"] == "new_visitor"


def test_unknown_items_of_a_history_are_named(shared):
    answer = shared.send("POST", "/api/recommend", {"history": ["moon00", "no such item"], "k": 1})
    assert answer["trace"]["unknown"] == ["no such item"]


def test_filters_hold(shared):
    filters = {
        "categories": ["sea", "bread"],
        "where": [{"field": "price", "op": "ge", "value": 10}, {"field": "price", "op": "lt", "value": 13}],
        "exclude": ["sea05"],
    }
    answer = shared.send("POST", "/api/recommend", {"user": "moon-u0", "k": 48, "filters": filters})
    assert {one["id"] for one in answer["items"]} == {"sea06", "sea07", "bread05", "bread06", "bread07"}
    seen = shared.send("POST", "/api/recommend", {"user": "sea-u0", "k": 48})["items"]
    kept = shared.send("POST", "/api/recommend", {"user": "sea-u0", "k": 48, "filters": {"drop_seen": False}})["items"]
    assert len(kept) == 48 and len(seen) == 42


def test_pages_of_a_list_join_without_a_seam(shared):
    whole = [one["id"] for one in shared.send("POST", "/api/recommend", {"user": "sea-u0", "k": 20})["items"]]
    halves = []
    for offset in (0, 10):
        page = shared.send("POST", "/api/recommend", {"user": "sea-u0", "k": 10, "offset": offset})["items"]
        assert [one["position"] for one in page] == list(range(offset, offset + 10))
        halves += [one["id"] for one in page]
    assert halves == whole


def test_leaving_out_a_history_item_changes_the_list_but_not_what_was_seen(shared):
    body = {"history": ["moon00", "chess00"], "k": 10}
    both = [one["id"] for one in shared.send("POST", "/api/recommend", body)["items"]]
    without = [one["id"] for one in shared.send("POST", "/api/recommend", {**body, "without": ["chess00"]})["items"]]
    assert without != both and "chess00" not in without
    assert sum(name.startswith("moon") for name in without) > sum(name.startswith("moon") for name in both)


def test_diversity_changes_the_order_and_only_of_the_list_that_asks(shared):
    body = {"user": "sea-u1", "k": 10}
    plain = [one["id"] for one in shared.send("POST", "/api/recommend", body)["items"]]
    diverse = [one["id"] for one in shared.send("POST", "/api/recommend", {**body, "diversity": 0.9})["items"]]
    again = [one["id"] for one in shared.send("POST", "/api/recommend", {**body, "diversity": 0})["items"]]
    assert again == plain != diverse


def test_search_finds_words_and_says_which_matched(shared):
    found = shared.get("/api/search", q="Whale harbour", k=5, meaning=0)
    assert set(found["items"][0]["matched"]) <= {"whale", "harbour"} and found["items"][0]["matched"]
    assert found["items"][0]["id"].startswith("sea")
    assert found["understood"]["words"] == ["whale", "harbour"]
    assert found["total"] >= len(found["items"]) and found["ms"] > 0


def test_understood_words_are_those_that_were_typed(shared):
    typed = {
        "หนังสือชา ไทย": ["หนังสือชา", "ไทย"],
        "Größe größe": ["größe"],
        "Ｔｅａ 红楼梦": ["ｔｅａ", "红楼梦"],
        "हिन्दी": ["हिन्दी"],
    }
    for text, words in typed.items():
        assert shared.get("/api/search", q=text)["understood"]["words"] == words


def test_search_filters_come_from_the_address_and_from_a_body(shared):
    by_address = shared.get(
        "/api/search", q="story", k=48, category=["sea", "moon"], where=["price:le:7", "price:gt:5"]
    )
    body = {
        "q": "story",
        "k": 48,
        "filters": {
            "categories": ["sea", "moon"],
            "where": [{"field": "price", "op": "le", "value": 7}, {"field": "price", "op": "gt", "value": 5}],
            "drop_seen": False,
        },
    }
    by_body = shared.send("POST", "/api/search", body)
    assert [one["id"] for one in by_address["items"]] == [one["id"] for one in by_body["items"]]
    assert {one["id"] for one in by_body["items"]} == {"sea01", "sea02", "moon01", "moon02"}
    assert by_address["understood"]["where"][0] == {"field": "price", "op": "le", "value": 7}


def test_a_blank_is_no_wish(shared):
    for blank in (" ", "\n\t", "\u3000"):
        found, plain = (shared.get("/api/search", q=text, k=5) for text in (blank, ""))
        assert found["total"] == plain["total"] > 40 and found["trace"]["reason"] == plain["trace"]["reason"]
        wished = shared.send("POST", "/api/recommend", {"user": "sea-u0", "text": blank})
        assert [one["id"] for one in wished["items"]] == shared.recommended("sea-u0", 10)
        assert shared.get("/api/items", q=blank, n=3) == shared.get("/api/items", n=3)


def test_codes_that_look_like_numbers_are_found_as_they_are_written(live):
    codes = {"padded": "02139", "plain": "2139", "power": "12e5", "version": "1.0", "long": "12345678901234567890"}
    live.send("POST", "/api/items", [{"ItemId": name, "Labels": {"code": code}} for name, code in codes.items()])

    def found(where: str) -> set[str]:
        return {one["id"] for one in live.get("/api/search", q="", k=50, where=where)["items"]}

    for name, code in codes.items():
        assert found(f"code:eq:{code}") == {name}
    assert found("code:in:02139|1.0|else") == {"padded", "version"}
    assert len(found("price:eq:7")) == len(found("price:eq:7.00")) == len(found("price:in:007")) > 1
    body = {"filters": {"where": [{"field": "code", "op": "eq", "value": 2139}]}}
    assert [one["id"] for one in live.send("POST", "/api/recommend", body)["items"]] == ["plain"]


def test_numbers_that_json_does_not_know_are_refused_and_are_words_in_an_address(shared):
    for number in ("NaN", "Infinity", "1e999"):
        where = f'{{"filters": {{"where": [{{"field": "price", "op": "le", "value": {number}}}]}}}}'
        for path in ("/api/search", "/api/recommend"):
            answer = shared.client.post(path, content=where, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400 and "neither NaN nor infinite" in answer.json()["message"], number
    for word in ("nan", "inf", "1e999"):
        found = shared.get("/api/search", q="story", where=f"price:le:{word}")
        assert found["total"] == (0 if word == "nan" else 48) and found["understood"]["where"][0]["value"] == word
    assert shared.send("POST", "/api/recommend", {"k": 3, "filters": {"max_age_days": 1e308}})["items"]


def test_contributions_of_an_explanation_sum_to_the_score_of_the_list(shared):
    top = shared.send("POST", "/api/recommend", {"user": "bread-u2", "k": 3})["items"]
    for place, one in enumerate(top):
        why = shared.get(f"/api/explain/bread-u2/{one['id']}")
        assert why["score"] == pytest.approx(one["score"], abs=1e-4)
        assert sum(part["contribution"] for part in why["contributions"]) == pytest.approx(why["score"], abs=1e-4)
        assert (why["position"], why["dropped_by"], why["title"]) == (place, None, one["title"])


def test_an_explanation_is_of_the_list_that_was_asked_for(shared):
    liked = [one["id"] for one in shared.get("/api/user/bread-u2/history", n=2)]
    asked = (
        {"history": liked},
        {"text": "a quiet story of the whale"},
        {"history": liked, "text": "a quiet story of the whale"},
        {"filters": {"categories": ["sea"]}},
        {"history": liked, "filters": {"categories": ["bread"]}},
    )
    for body in asked:
        same = {name: body[name] for name in ("history", "text") if name in body}
        same |= {"category": body["filters"]["categories"]} if "filters" in body else {}
        top = shared.send("POST", "/api/recommend", {"user": "sea-u0", "k": 3, **body})["items"]
        assert len(top) == 3
        for place, one in enumerate(top):
            why = shared.get(f"/api/explain/sea-u0/{one['id']}", **same)
            assert why["score"] == pytest.approx(one["score"], abs=1e-4), body
            assert sum(part["contribution"] for part in why["contributions"]) == pytest.approx(why["score"], abs=1e-4)
            assert (why["position"], why["dropped_by"]) == (place, None), body


def test_an_explanation_names_the_rule_that_dropped_an_item(shared):
    seen = shared.get("/api/user/bread-u2/history")[0]["id"]
    why = shared.get(f"/api/explain/bread-u2/{seen}")
    assert why["position"] is None and why["dropped_by"] == "seen"


def test_lists_for_everyone_leave_out_what_one_user_has_seen(shared):
    seen = {one["id"] for one in shared.get("/api/user/sea-u0/history")}
    for path in ("/api/popular", "/api/non-personalized/popular", "/api/latest", "/api/non-personalized/latest"):
        ids = [one["Id"] for one in shared.get(path, n=48, **{"user-id": "sea-u0"})]
        assert not seen & set(ids) and len(ids) == 42
    assert [one["Id"] for one in shared.get("/api/latest/sea", n=2)] == ["sea11", "sea10"]


def test_items_without_a_time_are_as_new_as_their_place_in_the_catalogue(live):
    live.send("POST", "/api/items", [{"ItemId": f"plain{i}", "Categories": ["plain"]} for i in range(3)])
    only = live.get("/api/non-personalized/latest", category="plain")
    assert [one["Id"] for one in only] == ["plain2", "plain1", "plain0"] and {one["Score"] for one in only} == {0.0}
    live.send("PATCH", "/api/item/plain1", {"Timestamp": "2020-01-01T00:00:00Z"})
    assert [one["Id"] for one in live.get("/api/latest/plain")] == ["plain1", "plain2", "plain0"]
    assert live.get("/api/latest", n=100)[-2]["Id"] == "plain2", "behind everything with a time"


def test_neighbours_can_be_kept_to_a_category(shared):
    found = shared.get("/api/item/sea00/neighbors/odd", n=3)
    assert len(found) == 3 and all(int(one["Id"][-2:]) % 2 for one in found)
    assert shared.get("/api/item-to-item/neighbors/sea00", n=3) == shared.get("/api/item/sea00/neighbors", n=3)
    assert {one["Id"][:3] for one in shared.get("/api/user-to-user/neighbors/sea-u0", n=3)} == {"sea"}


def test_an_items_audience_are_those_who_like_its_kind(shared):
    found = shared.get("/api/item/chess05/audience", n=3)
    assert found and all(one["user"].startswith("chess") for one in found)


def test_measurements_are_shown_with_their_protocol(shared):
    found = shared.get("/api/measure")
    assert {"model", "slice", "metric", "value", "low", "high", "n"} <= set(found["metrics"][0])
    assert found["chosen"] in {row["model"] for row in found["metrics"]}
    assert found["protocol"] and found["seconds"]
    names = shared.get("/api/measure/lists", user="sea-u0")["models"]
    lists = shared.get("/api/measure/lists", user="sea-u0", models=",".join(names[:2]), k=5)["lists"]
    assert set(lists) == set(names[:2])


def test_no_rows_are_asked_and_none_come(shared):
    assert shared.get("/api/items", q="story", n=0) == shared.get("/api/items", n=0) == {"Cursor": "", "Items": []}
    assert len(shared.get("/api/items", q="story", n=1)["Items"]) == 1


def test_cursor_pages_do_not_shift_while_items_come_and_go(live):
    whole = [one["id"] for one in live.get("/api/search", q="story", k=48, meaning=0.3)["items"]]
    first = live.get("/api/search", q="story", k=10, meaning=0.3)
    assert [one["id"] for one in first["items"]] == whole[:10] and first["cursor"]
    new = [{"ItemId": f"new{i}", "Comment": "story story story", "Categories": ["sea"]} for i in range(5)]
    live.send("POST", "/api/items", new)
    live.send("DELETE", f"/api/item/{whole[2]}")
    live.send("DELETE", f"/api/item/{whole[12]}")
    seen, cursor = [one["id"] for one in first["items"]], first["cursor"]
    while cursor:
        page = live.get("/api/search", q="story", k=10, meaning=0.3, cursor=cursor)
        seen += [one["id"] for one in page["items"]]
        cursor = page["cursor"]
    assert len(seen) == len(set(seen)), "nothing is shown twice"
    assert sorted(seen) == sorted(set(whole) - {whole[12]}), "nothing but the deleted is missing, nothing new is in"


def found(live, cursor=None, k=10, **asked):
    """Ids of a page of a search, and the next page's cursor."""
    more = {"cursor": cursor} if cursor else {}
    page = live.get("/api/search", **{"q": "story", "k": k, "meaning": 0.3, **asked, **more})
    return [one["id"] for one in page["items"]], page["cursor"]


def items_found(live, cursor=None, k=10, q="story"):
    """The same by Gorse's road."""
    page = live.get("/api/items", q=q, n=k, **({"cursor": cursor} if cursor else {}))
    return [one["ItemId"] for one in page["Items"]], page["Cursor"]


@pytest.mark.parametrize("road", [found, items_found])
def test_a_shown_item_that_now_ranks_first_repeats_nothing_and_loses_nothing(live, road):
    whole, _ = road(live, k=48)
    seen, cursor = road(live)
    live.send("PATCH", f"/api/item/{seen[-1]}", {"Comment": "story story story story", "Labels": {}})
    assert road(live, k=1)[0] == [seen[-1]], "it ranks first now"
    while cursor:
        page, cursor = road(live, cursor)
        seen += page
    assert len(seen) == len(set(seen)) and sorted(seen) == sorted(whole)


@pytest.mark.parametrize("road", [found, items_found])
@pytest.mark.parametrize("how", ["deleted", "edited"])
def test_losing_the_last_shown_and_the_best_items_loses_no_other(live, road, how):
    ranked = [{"ItemId": f"z{i}", "Comment": "zebra " * (30 - i) + "stone " * i} for i in range(30)]
    live.send("POST", "/api/items", ranked)
    whole, _ = road(live, k=48, q="zebra")
    assert whole[:30] == [one["ItemId"] for one in ranked]
    seen, cursor = road(live, q="zebra")
    live.send("DELETE", f"/api/item/{seen[-1]}")
    for name in seen[:5]:
        if how == "deleted":
            live.send("DELETE", f"/api/item/{name}")
        else:  # the best that is left is now the measure of all scores
            live.send("PATCH", f"/api/item/{name}", {"Comment": "nothing of the kind", "Labels": {}})
    while cursor:
        page, cursor = road(live, cursor, q="zebra")
        seen += page
    assert len(seen) == len(set(seen)) and sorted(seen) == sorted(whole)


def test_every_page_may_come_after_another_change(live):
    whole, _ = found(live, k=48)
    seen, cursor = found(live, k=5)
    gone, turn = set(), 0
    while cursor:
        turn += 1
        new = {"ItemId": f"between{turn}", "Comment": "story story story", "Categories": ["sea"]}
        live.send("POST", "/api/item", new)
        later = [name for name in whole if name not in seen and name not in gone]
        live.send("PATCH", f"/api/item/{seen[-1]}", {"Comment": f"story {'story ' * turn}", "Labels": {}})
        live.send("PATCH", f"/api/item/{seen[0]}", {"Comment": "nothing of the kind", "Labels": {}})
        if len(later) > 3:
            live.send("PATCH", f"/api/item/{later[-1]}", {"Comment": "story story story story", "Labels": {}})
            live.send("DELETE", f"/api/item/{later[-2]}")
            gone.add(later[-2])
        page, cursor = found(live, cursor, k=5)
        seen += page
    assert len(seen) == len(set(seen)) and sorted(seen) == sorted(set(whole) - gone)


def test_a_walk_that_starts_at_an_offset_comes_back_to_nothing_before_it(live):
    whole, _ = found(live, k=48)
    seen, cursor = found(live, k=5, offset=7)
    assert seen == whole[7:12]
    live.send("DELETE", f"/api/item/{whole[0]}")
    live.send("PATCH", f"/api/item/{whole[3]}", {"Comment": "nothing of the kind", "Labels": {}})
    places = [one["position"] for one in live.get("/api/search", q="story", k=5, meaning=0.3, cursor=cursor)["items"]]
    assert places == list(range(12, 17))
    while cursor:
        page, cursor = found(live, cursor, k=5)
        seen += page
    assert len(seen) == len(set(seen)) and sorted(seen) == sorted(whole[7:])


def test_a_walk_longer_than_the_cursors_memory_goes_on_by_places(live, monkeypatch):
    monkeypatch.setattr(cursors, "REMEMBERED", 8)
    whole, _ = found(live, k=48)
    seen, cursor, sizes = *found(live, k=6), []
    while cursor:
        sizes.append(len(cursor))
        live.send("DELETE", f"/api/item/{seen[-1]}")
        page, cursor = found(live, cursor, k=6)
        seen += page
    assert len(set(sizes[1:])) == 1, "it grows no more"
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(whole)


def test_a_cursor_is_short_enough_for_an_address_and_survives_the_way():
    cursor = cursors.Cursor(cursors.query_digest("story"), 2**40).after([f"item {i}" for i in range(5000)])
    assert cursor.place == 5000 and len(cursor.text()) < 6100
    assert set(cursor.text()) <= set(string.ascii_letters + string.digits + "-_")
    assert cursors.parse_cursor(cursor.text()) == cursor


def test_a_broken_cursor_is_refused_in_plain_words(live):
    _, cursor = found(live, k=3)
    swapped = cursor[:-9] + ("A" if cursor[-9] != "A" else "B") + cursor[-8:]
    for broken in (cursor[:-8], cursor[:-1], cursor + "AAAAAAAA", swapped, "AAAA", "é" * 8, "A" * 9000, "!" + cursor):
        answer = live.client.get("/api/search", params={"q": "story", "k": 3, "meaning": 0.3, "cursor": broken})
        assert answer.status_code == 400 and answer.json()["field"] == "cursor", broken[:20]
        assert "start again without it" in answer.json()["message"]
        assert live.client.get("/api/items", params={"q": "story", "cursor": broken}).status_code == 400


def test_a_cursor_of_another_search_is_refused(live):
    cursor = live.get("/api/search", q="story", k=3)["cursor"]
    other = live.client.get("/api/search", params={"q": "sea", "k": 3, "cursor": cursor})
    assert other.status_code == 400 and other.json()["field"] == "cursor"
    assert live.client.get("/api/search", params={"q": "story", "cursor": "nonsense"}).status_code == 400


def test_someone_new_is_asked_about_every_topic_and_then_about_the_others(shared):
    first = shared.get("/api/onboarding", k=4)
    assert first["trace"]["reason"] == "starters"
    topics = {one["id"][:-2] for one in first["items"]}
    assert topics == {"sea", "bread", "chess", "moon"}
    assert [one["position"] for one in first["items"]] == [0, 1, 2, 3]
    liked, skipped = first["items"][0]["id"], first["items"][1]["id"]
    second = [one["id"] for one in shared.get("/api/onboarding", k=3, likes=[liked], skip=[skipped])["items"]]
    assert not {liked, skipped} & set(second)
    assert liked[:-2] not in {name[:-2] for name in second}
    known = [one["id"] for one in shared.get("/api/onboarding", k=3, user="sea-u0")["items"]]
    assert "sea" not in {name[:-2] for name in known}


def test_a_wish_and_likes_given_together_share_the_score(shared):
    body = {"text": "oven dough anchor whale", "history": ["bread00", "bread02"], "k": 5}
    both = [one["id"] for one in shared.send("POST", "/api/recommend", body)["items"]]
    wish = [one["id"] for one in shared.send("POST", "/api/recommend", {**body, "personal": 0})["items"]]
    assert both != wish
    assert sum(name.startswith("bread") for name in both) >= sum(name.startswith("bread") for name in wish)
    half = shared.send("POST", "/api/recommend", {**body, "personal": 0.5})["items"]
    assert [one["id"] for one in half] == both


def test_probabilities_are_given_where_they_are_asked_for(shared):
    body = {"user": "sea-u0", "k": 5}
    assert all("probability" not in one for one in shared.send("POST", "/api/recommend", body)["items"])
    items = shared.send("POST", "/api/recommend", {**body, "probability": True})["items"]
    chances = [one["probability"] for one in items]
    assert all(0 < chance < 1 for chance in chances) and chances == sorted(chances, reverse=True)
    stranger = shared.send("POST", "/api/recommend", {"k": 5, "probability": True})["items"]
    assert [one["probability"] for one in stranger] == [None] * 5


def test_a_server_may_give_probabilities_without_being_asked(serve):
    live = serve(probability=True)
    body = {"user": "sea-u0", "k": 3}
    assert all(one["probability"] > 0 for one in live.send("POST", "/api/recommend", body)["items"])
    plain = live.send("POST", "/api/recommend", {**body, "probability": False})["items"]
    assert all("probability" not in one for one in plain)
