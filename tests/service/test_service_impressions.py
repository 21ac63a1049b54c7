"""Shown lists are logged: what, where in the list, to whom, and by which release."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from live_server import wait_until

from langrec.service.impressions import Shown, insert
from langrec.service.store import event_rows, schema
from langrec.service.store.event_rows import StoredUser
from langrec.service.store.store import Store


def logged(live):
    with live.service.store.read() as connection:
        return list(connection.execute(sa.select(schema.impressions)).mappings())


def test_what_was_shown_is_logged_after_the_reply(live):
    shown = live.send("POST", "/api/recommend", {"user": "sea-u0", "k": 3, "offset": 2})

    row = wait_until(lambda: logged(live))[0]
    assert row["items"] == [one["id"] for one in shown["items"]] and row["offset"] == 2
    assert row["scores"] == pytest.approx([one["score"] for one in shown["items"]], abs=1e-5)
    assert row["propensities"] == [1.0, 1.0, 1.0]
    assert (row["user_id"], row["release"], row["request_id"]) == ("sea-u0", live.new, shown["request_id"])


@pytest.mark.parametrize(
    ("path", "asked", "kind", "user"),
    [
        ("/api/popular", {"offset": 2}, "popular", None),
        ("/api/popular/sea", {"user-id": "moon-u0"}, "popular", "moon-u0"),
        ("/api/latest", {}, "latest", None),
        ("/api/non-personalized/popular", {}, "popular", None),
        ("/api/non-personalized/latest", {"user-id": "sea-u0", "offset": 1}, "latest", "sea-u0"),
        ("/api/item/sea00/neighbors", {}, "neighbours", None),
        ("/api/item-to-item/similar/sea00", {"user-id": "sea-u0"}, "neighbours", "sea-u0"),
        ("/api/items", {"q": "story"}, "search", None),
    ],
)
def test_lists_for_everyone_are_logged_too(live, path, asked, kind, user):
    answer = live.client.get(path, params={"n": 4, **asked}).raise_for_status()
    shown = answer.json()
    ids = [one["Id"] for one in shown] if isinstance(shown, list) else [one["ItemId"] for one in shown["Items"]]

    (row,) = wait_until(lambda: logged(live))
    assert (row["kind"], row["user_id"], row["offset"]) == (kind, user, asked.get("offset", 0))
    assert len(ids) == 4 and row["items"] == ids and row["propensities"] == [1.0] * 4
    assert (row["release"], row["request_id"]) == (live.new, answer.headers["X-Request-Id"])
    if isinstance(shown, list):
        assert row["scores"] == pytest.approx([one["Score"] for one in shown], rel=1e-5)


def test_drawn_items_are_logged_with_their_chance(live):
    asked = {"user": "sea-u0", "k": 10, "explore": 2}
    shown = live.send("POST", "/api/recommend", asked)
    drawn = shown["trace"]["explored"]
    plain = live.send("POST", "/api/recommend", {**asked, "explore": 0})

    rows = wait_until(lambda: logged(live) if len(logged(live)) == 2 else None)
    chances = dict(zip(rows[0]["items"], rows[0]["propensities"], strict=True))
    assert len(drawn) == 2 and set(drawn) <= set(chances)
    assert all(0 < chances.pop(item) < 1 for item in drawn)
    assert set(chances.values()) == {1.0}
    assert plain["trace"]["explored"] == [] and rows[1]["propensities"] == [1.0] * 10


def test_a_list_that_waits_while_its_user_is_deleted_names_nobody(store_url):
    store = Store(store_url)
    rows = [("r1", 1, Shown("recommend", user, "a", 0, '["m1"]', "[1.0]", "[1.0]")) for user in ("ann", "ben", None)]
    with store.write() as connection:
        event_rows.put_users(connection, [StoredUser("ann"), StoredUser("ben")])
        event_rows.delete_user(connection, "ann")
        insert(connection, rows)
    with store.write() as connection:
        event_rows.put_users(connection, [StoredUser("ann")])  # who came back is somebody again
        insert(connection, rows[:1])
    with store.read() as connection:
        found = connection.execute(sa.select(schema.impressions.c.user_id).order_by(schema.impressions.c.seq))
        assert list(found.scalars()) == [None, "ben", None, "ann"]
    store.close()


def test_starters_are_logged_as_onboarding(live):
    shown = live.get("/api/onboarding", k=3)
    (row,) = wait_until(lambda: logged(live))
    assert (row["kind"], row["user_id"], row["items"]) == ("onboarding", None, [one["id"] for one in shown["items"]])
