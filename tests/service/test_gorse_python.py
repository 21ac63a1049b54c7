"""Every method of the published Python clients of Gorse works against the server unchanged."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

gorse = pytest.importorskip("gorse", reason="pygorse is not installed")

AT = "2024-05-01T12:00:00Z"


class Same:
    """Calls the sync client, or the async one and waits: one test serves both."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            found = getattr(self._client, name)(*args, **kwargs)
            return asyncio.run(found) if inspect.isawaitable(found) else found

        return call


@pytest.fixture(params=["Gorse", "AsyncGorse"])
def client(request: pytest.FixtureRequest, live: Any) -> Iterator[Same]:
    yield Same(getattr(gorse, request.param)(live.url, "any key"))


def test_users_are_written_read_paged_and_deleted(client: Same):
    assert client.insert_user({"UserId": "ann", "Labels": {"country": "SE"}, "Comment": "first"}) == {"RowAffected": 1}
    assert client.insert_users([{"UserId": "bob"}, {"UserId": "cid", "Labels": ["a", "b"]}]) == {"RowAffected": 2}
    assert client.get_user("ann") == {"UserId": "ann", "Labels": {"country": "SE"}, "Comment": "first"}
    seen, cursor = [], ""
    while True:
        users, cursor = client.get_users(7, cursor)
        seen += [user["UserId"] for user in users]
        if not cursor:
            break
    assert seen == sorted(set(seen)) and len(seen) == 43
    assert client.delete_user("ann")["RowAffected"] == 1  # and a receipt beside it
    with pytest.raises(gorse.GorseException) as error:
        client.get_user("ann")
    assert error.value.status_code == 404


def test_items_are_written_searched_changed_paged_and_deleted(client: Same):
    item = {
        "ItemId": "kiln",
        "IsHidden": False,
        "Categories": ["craft"],
        "Timestamp": AT,
        "Labels": {"description": "A porcelain kiln in the mountains"},
        "Comment": "Porcelain",
    }
    assert client.insert_item(item) == {"RowAffected": 1}
    assert client.get_item("kiln") == item
    assert client.search_items("porcelain", 3)[0] == item
    assert client.update_item("kiln", categories=["craft", "clay"], is_hidden=True) == {"RowAffected": 1}
    assert client.get_item("kiln") == item | {"Categories": ["craft", "clay"], "IsHidden": True}
    assert all(found["ItemId"] != "kiln" for found in client.search_items("porcelain", 3)), "it is hidden now"
    client.update_item("kiln", is_hidden=False, comment="Clay", timestamp="2024-06-01T00:00:00Z", labels=["clay"])
    changed = client.get_item("kiln")
    assert (changed["Comment"], changed["Timestamp"], changed["Labels"]) == ("Clay", "2024-06-01T00:00:00Z", ["clay"])
    seen, cursor = [], ""
    while True:
        items, cursor = client.get_items(10, cursor)
        seen += [found["ItemId"] for found in items]
        if not cursor:
            break
    assert seen == sorted(set(seen)) and len(seen) == 49
    assert client.delete_item("kiln") == {"RowAffected": 1}
    with pytest.raises(gorse.GorseException) as error:
        client.get_item("kiln")
    assert error.value.status_code == 404
    assert all(found["ItemId"] != "kiln" for found in client.search_items("clay", 5))


def test_feedback_is_written_listed_paged_and_deleted(client: Same):
    assert client.insert_feedback("click", "ann", "sea00", AT) == {"RowAffected": 1}
    more = [
        {"FeedbackType": "read", "UserId": "ann", "ItemId": "sea01", "Timestamp": AT, "Value": 3},
        {"FeedbackType": "click", "UserId": "ann", "ItemId": "new item", "Timestamp": AT},
    ]
    assert client.insert_feedbacks(more) == {"RowAffected": 2}
    clicks = client.list_feedbacks("click", "ann")
    assert {row["ItemId"] for row in clicks} == {"sea00", "new item"}
    assert all(row["FeedbackType"] == "click" and row["Timestamp"] == AT for row in clicks)
    seen, cursor = [], ""
    while True:
        rows, cursor = client.get_feedbacks(100, cursor)
        seen += [(row["FeedbackType"], row["UserId"], row["ItemId"], row["Timestamp"]) for row in rows]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 243
    assert client.delete_feedback("ann", "sea00") == {"RowAffected": 1}
    assert {row["ItemId"] for row in client.list_feedbacks("click", "ann")} == {"new item"}


def test_lists_have_scores_and_pages(client: Same):
    first = client.get_recommend("sea-u0", n=4)
    assert [type(one).__name__ for one in first] == ["Score"] * 4
    assert [one.score for one in first] == sorted((one.score for one in first), reverse=True)
    second = client.get_recommend("sea-u0", n=2, offset=2)
    assert [one.id for one in second] == [one.id for one in first[2:]]
    only = client.get_recommend("sea-u0", category="moon", n=3)
    assert [one.id[:4] for one in only] == ["moon"] * 3
    client.get_recommend("sea-u0", n=1, write_back_type="shown", write_back_delay="0h0m0s")
    assert [row["ItemId"] for row in client.list_feedbacks("shown", "sea-u0")] == [first[0].id]


def test_sessions_and_neighbours_stay_on_their_topic(client: Same):
    log = [{"FeedbackType": "click", "UserId": "x", "ItemId": f"bread0{i}", "Timestamp": AT} for i in range(3)]
    found = client.session_recommend(log, 3)
    assert len(found) == 3 and {one["Id"][:5] for one in found} == {"bread"}
    # What earlier tests wrote grows into the models by the server's own clock, which may fall between two pages.
    for _ in range(5):
        near = client.get_neighbors("chess00", n=4)
        rest = client.get_neighbors("chess00", n=2, offset=2)
        if client.get_neighbors("chess00", n=4) == near:
            break
    assert len(near) == 4 and {one["Id"][:5] for one in near} == {"chess"}
    assert rest == near[2:]


def test_no_method_of_the_clients_was_left_out():
    methods = {name for name in vars(gorse.Gorse) if not name.startswith("_")}
    methods |= {name for name in vars(gorse.AsyncGorse) if not name.startswith("_")}
    called = set(re.findall(r"client\.(\w+)\(", Path(__file__).read_text("utf-8")))
    assert methods - called == set()
