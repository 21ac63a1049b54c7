"""The client whose calls are awaited; `synchronous.py` is made of it by `python tests/test_docs.py --write`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from langrec.client import replies, replies_operate, replies_privacy
from langrec.client.asynchronous_wire import AsyncWire
from langrec.client.calls import (
    Call,
    blocks,
    bulk_body,
    event_body,
    filters_body,
    given,
    item_body,
    keyed,
    listed,
    path,
    user_body,
)
from langrec.errors import DataError
from langrec.types import Filters, Item

T = TypeVar("T")


class AsyncClient(AsyncWire):
    """Every route of a server as a typed call; one client serves a whole program and keeps its connections.

    Calls that failed on the way, or that the server put off, are made again after a growing pause. Writes of events
    carry an idempotency key, so that a repeat counts once even where only the answer was lost.

    Args:
        url: where the server, or a balancer before it, listens.
        key: of the server; sent as X-API-Key.
        timeout: seconds that a connection, and each wait for bytes, may take.
        retries: how often and how patiently calls are repeated.
        verify: False, a file of certificates, or an SSL context, in place of the system's certificates.
        headers: sent with every call.
        connections: open at once at most.
        rng: draws the pauses.

    Raises:
        MissingExtra: httpx is not installed.
        SettingsError: `url` is no http or https address.
    """

    # ---- lists -----------------------------------------------------------------------------------------------------

    async def recommend(
        self,
        user: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        k: int = 10,
        offset: int = 0,
        filters: Filters | None = None,
        without: Sequence[str] = (),
        meaning: float | None = None,
        personal: float | None = None,
        diversity: float | None = None,
        explore: int | None = None,
        explain: bool = True,
        probability: bool | None = None,
    ) -> replies.List:
        """The best items for a user, a history, a wish in words, or anyone.

        Args:
            user: whose events count; None for anyone.
            history: item ids, oldest first, in place of what the server knows of the user.
            text: a wish in words.
            k: how many at most.
            offset: how many of the best are passed over.
            filters: what may be in the list.
            without: items of the history to leave out ("what if they had not seen this?").
            meaning: for a text: 0 matches words only, 1 meaning only.
            personal: for a text: the history's share of the score.
            diversity: 0 by score alone, 1 as different as can be.
            explore: places that go to new or rare items.
            explain: give each item its reason.
            probability: give each item the chance to be chosen next.
        """
        body = given(
            user=user,
            history=listed(history),
            text=text,
            k=k,
            offset=offset,
            filters=None if filters is None else filters_body(filters),
            without=listed(without),
            meaning=meaning,
            personal=personal,
            diversity=diversity,
            explore=explore,
            explain=explain,
            probability=probability,
        )
        return await self._ask(Call("POST", "/api/recommend", replies.List, body=body))

    async def recommend_ids(
        self,
        user: str,
        k: int = 10,
        *,
        offset: int = 0,
        categories: Sequence[str] = (),
        write_back: str = "",
        write_back_delay: str = "",
        max_age: float = 0.0,
    ) -> tuple[replies.Scored, ...]:
        """The best items for a user as ids with scores: the shortest answer.

        Args:
            user: whose events count.
            k: how many at most.
            offset: how many of the best are passed over.
            categories: an item needs one of them.
            write_back: note the shown items as events of this type; needs a key that may write.
            write_back_delay: these events count from then on, such as 1h30m.
            max_age: seconds that the list may be old; the server then sends one that it has at hand.
        """
        params: dict[str, Any] = {"n": k, "offset": offset, "category": listed(categories)}
        params |= {"write-back-type": write_back, "write-back-delay": write_back_delay, "max-age": max_age or None}
        where = path("api", "recommend", user)
        kind = tuple[replies.Scored, ...]
        headers = {"X-API-Version": "2"}
        return await self._ask(Call("GET", where, kind, params, headers=headers, repeatable=not write_back))

    async def session(
        self, items: Sequence[str | replies.Event], k: int = 10, *, offset: int = 0, category: str = ""
    ) -> tuple[replies.Scored, ...]:
        """The best items for a visit, of which nothing is kept.

        Args:
            items: ids of what was looked at, oldest first, or events with times.
            k: how many at most.
            offset: how many of the best are passed over.
            category: an item needs it; empty allows all.
        """
        listed(items)  # type: ignore[arg-type]
        now = datetime.now(UTC)
        body = [
            {"ItemId": one}
            if isinstance(one, str)
            else {name: value for name, value in event_body(one, now).items() if name != "Timestamp" or one.at}
            for one in items
        ]
        where = path("api", "session", "recommend", *([category] if category else []))
        return await self._ask(Call("POST", where, tuple[replies.Scored, ...], {"n": k, "offset": offset}, body))

    async def starters(
        self,
        k: int = 12,
        *,
        likes: Sequence[str] | None = None,
        skip: Sequence[str] = (),
        user: str | None = None,
        categories: Sequence[str] = (),
        offset: int = 0,
    ) -> replies.List:
        """Items to ask someone new about: known ones, unlike one another, whose likes say much about the rest.

        Args:
            k: how many at most.
            likes: items that are liked already.
            skip: items that are not shown again.
            user: whose events count as likes.
            categories: an item needs one of them.
            offset: how many of the first are passed over.
        """
        params: dict[str, Any] = {"k": k, "offset": offset, "likes": listed(likes), "skip": listed(skip)}
        params |= {"user": user or "", "category": listed(categories)}
        return await self._ask(Call("GET", "/api/onboarding", replies.List, params))

    async def search(
        self,
        q: str,
        *,
        k: int = 10,
        offset: int = 0,
        cursor: str | None = None,
        meaning: float = 0.5,
        user: str | None = None,
        personal: float = 0.0,
        filters: Filters | None = None,
    ) -> replies.Found:
        """A page of items that fit a text; `search_all` walks through the pages.

        Args:
            q: words; empty finds everything that the filters allow.
            k: how many at most.
            offset: how many of the best are passed over.
            cursor: of the page before.
            meaning: 0 matches words only, 1 meaning only.
            user: whose history counts, as far as `personal` says.
            personal: 0 for everyone, 1 by the history only.
            filters: what may be found.
        """
        body = given(
            q=q,
            k=k,
            offset=offset,
            cursor=cursor,
            meaning=meaning,
            user=user,
            personal=personal,
            filters=filters_body(filters or Filters(drop_seen=False)),
        )
        return await self._ask(Call("POST", "/api/search", replies.Found, body=body))

    async def search_all(
        self,
        q: str,
        *,
        page: int = 50,
        meaning: float = 0.5,
        user: str | None = None,
        personal: float = 0.0,
        filters: Filters | None = None,
    ) -> AsyncIterator[replies.Listed]:
        """Every item that fits a text, best first, fetched as they are asked for; none comes twice."""
        cursor: str | None = None
        while True:
            found = await self.search(
                q, k=page, cursor=cursor, meaning=meaning, user=user, personal=personal, filters=filters
            )
            for one in found.items:
                yield one
            cursor = found.cursor
            if not cursor:
                return

    async def explain(
        self,
        user: str,
        item: str,
        *,
        without: Sequence[str] = (),
        history: Sequence[str] = (),
        text: str = "",
        categories: Sequence[str] = (),
    ) -> replies.Account:
        """Each scorer's exact contribution to an item's score for a user, and the history behind it.

        Args:
            user: whose list it is.
            item: which item.
            without: items of the history to leave out.
            history: item ids, oldest first, in place of what the server knows of the user.
            text: a wish in words.
            categories: of the list; an item needs one of them.
        """
        params = {"without": listed(without), "history": listed(history), "category": listed(categories), "text": text}
        return await self._ask(Call("GET", path("api", "explain", user, item), replies.Account, params))

    async def popular(
        self, k: int = 10, *, offset: int = 0, categories: Sequence[str] = (), unseen_by: str = ""
    ) -> tuple[replies.Scored, ...]:
        """Popular items; without those that the user `unseen_by` has events with."""
        params = {"n": k, "offset": offset, "category": listed(categories), "user-id": unseen_by}
        return await self._ask(Call("GET", "/api/popular", tuple[replies.Scored, ...], params))

    async def latest(
        self, k: int = 10, *, offset: int = 0, categories: Sequence[str] = (), unseen_by: str = ""
    ) -> tuple[replies.Scored, ...]:
        """Newest items by their own times; without those that the user `unseen_by` has events with."""
        params = {"n": k, "offset": offset, "category": listed(categories), "user-id": unseen_by}
        return await self._ask(Call("GET", "/api/latest", tuple[replies.Scored, ...], params))

    async def item_neighbours(
        self, item: str, k: int = 10, *, offset: int = 0, categories: Sequence[str] = (), unseen_by: str = ""
    ) -> tuple[replies.Scored, ...]:
        """Items like an item; without those that the user `unseen_by` has events with."""
        params = {"n": k, "offset": offset, "category": listed(categories), "user-id": unseen_by}
        where = path("api", "item", item, "neighbors")
        return await self._ask(Call("GET", where, tuple[replies.Scored, ...], params))

    async def user_neighbours(self, user: str, k: int = 10, *, offset: int = 0) -> tuple[replies.Scored, ...]:
        """Users with like events: those who share most of the user's newest items."""
        where = path("api", "user", user, "neighbors")
        return await self._ask(Call("GET", where, tuple[replies.Scored, ...], {"n": k, "offset": offset}))

    async def audience(self, item: str, k: int = 10) -> tuple[replies.Listener, ...]:
        """Users whose lists hold an item, best first."""
        where = path("api", "item", item, "audience")
        return await self._ask(Call("GET", where, tuple[replies.Listener, ...], {"n": k}))

    # ---- events ----------------------------------------------------------------------------------------------------

    async def add_feedback(
        self,
        events: Iterable[replies.Event],
        *,
        overwrite: bool = False,
        key: str | None = None,
        block: int = 1000,
    ) -> int:
        """Writes events, in blocks that are each durable when the next is sent; the number of rows.

        Args:
            events: any number; one without a time happens now.
            overwrite: an event that is there (user, item, type, time) is overwritten; else its value is added.
            key: of this write, up to 48 letters, digits, "-" and "_": a later call with the same key and the same
                events, by another process too, counts once. None makes one, which covers this call's own repeats.
            block: events of one request.
        """
        now, rows = datetime.now(UTC), 0
        for some, own in blocks(events, block, key):
            body = [event_body(one, now) for one in some]
            call: Call[replies.Affected] = Call(
                "PUT" if overwrite else "POST", "/api/feedback", replies.Affected, body=body
            )
            rows += (await self._ask(keyed(call, own))).rows
        return rows

    async def feedback(self, type: str = "", *, page: int = 1000) -> AsyncIterator[replies.Event]:
        """All events, of one type or of every, in the order of arrival, fetched as they are asked for."""
        where, cursor = path("api", "feedback", *([type] if type else [])), ""
        while True:
            call: Call[replies.EventsPage] = Call("GET", where, replies.EventsPage, {"n": page, "cursor": cursor})
            found = await self._ask(call)
            for one in found.rows:
                yield one
            cursor = found.cursor
            if not cursor:
                return

    async def feedback_between(self, user: str, item: str, type: str = "") -> tuple[replies.Event, ...]:
        """A user's events with an item, newest first; with a type the newest of that type, or none."""
        if not type:
            where = path("api", "feedback", user, item)
            return await self._ask(Call("GET", where, tuple[replies.Event, ...]))
        found = await self.user_feedback(user, type)
        return tuple(one for one in found if one.item == item)[:1]

    async def user_feedback(self, user: str, type: str = "") -> tuple[replies.Event, ...]:
        """A user's events, newest first."""
        where = path("api", "user", user, "feedback", *([type] if type else []))
        return await self._ask(Call("GET", where, tuple[replies.Event, ...]))

    async def item_feedback(self, item: str, type: str = "") -> tuple[replies.Event, ...]:
        """An item's events, newest first."""
        where = path("api", "item", item, "feedback", *([type] if type else []))
        return await self._ask(Call("GET", where, tuple[replies.Event, ...]))

    async def delete_feedback(self, user: str, item: str, type: str = "") -> int:
        """Deletes a user's events with an item, of one type or of every; the number of rows."""
        where = path("api", "feedback", *([type] if type else []), user, item)
        return (await self._write(Call("DELETE", where, replies.Affected))).rows

    async def history(self, user: str, k: int = 50) -> tuple[replies.Happened, ...]:
        """A user's events with what they were about, newest first."""
        where = path("api", "user", user, "history")
        return await self._ask(Call("GET", where, tuple[replies.Happened, ...], {"n": k}))

    # ---- items -----------------------------------------------------------------------------------------------------

    async def write_items(self, items: Iterable[Item], *, block: int = 500) -> int:
        """Writes items, each block in one transaction; they can be found and recommended at once."""
        rows = 0
        for some, own in blocks(items, block, None):
            call: Call[replies.Affected] = Call(
                "POST", "/api/items", replies.Affected, body=[item_body(one) for one in some]
            )
            rows += (await self._ask(keyed(call, own))).rows
        return rows

    async def item(self, item: str) -> replies.StoredItem:
        """An item as the store holds it."""
        return await self._ask(Call("GET", path("api", "item", item), replies.StoredItem))

    async def items(self, q: str = "", *, page: int = 500) -> AsyncIterator[replies.StoredItem]:
        """All items by id, or those that fit words, best first; fetched as they are asked for."""
        cursor = ""
        while True:
            params = {"n": page, "cursor": cursor, "q": q}
            call: Call[replies.ItemsPage] = Call("GET", "/api/items", replies.ItemsPage, params)
            found = await self._ask(call)
            for one in found.rows:
                yield one
            cursor = found.cursor
            if not cursor:
                return

    async def change_item(
        self,
        item: str,
        *,
        title: str | None = None,
        texts: Mapping[str, str] | None = None,
        categories: Sequence[str] | None = None,
        image: str | None = None,
        hidden: bool | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> int:
        """Changes an item; what is None stays, texts and fields are added to those that are there."""
        body = given(
            Title=title,
            Texts=None if texts is None else dict(texts),
            Categories=listed(categories),
            Image=image,
            IsHidden=hidden,
            Fields=None if fields is None else dict(fields),
        )
        call: Call[replies.Affected] = Call("PATCH", path("api", "item", item), replies.Affected, body=body)
        return (await self._write(call)).rows

    async def delete_item(self, item: str) -> int:
        """Takes an item out of all lists; its events stay. 1, or 0 where it was not there."""
        return (await self._write(Call("DELETE", path("api", "item", item), replies.Affected))).rows

    async def add_category(self, item: str, category: str) -> int:
        """Gives an item a category."""
        where = path("api", "item", item, "category", category)
        return (await self._write(Call("PUT", where, replies.Affected))).rows

    async def remove_category(self, item: str, category: str) -> int:
        """Takes a category from an item."""
        where = path("api", "item", item, "category", category)
        return (await self._write(Call("DELETE", where, replies.Affected))).rows

    async def suggest_items(self, q: str = "", k: int = 10) -> tuple[replies.Titled, ...]:
        """Items by what is typed so far."""
        return await self._ask(Call("GET", "/api/items/suggest", tuple[replies.Titled, ...], {"q": q, "n": k}))

    async def catalogue(
        self,
        q: str = "",
        *,
        category: str = "",
        sort: str = "id",
        order: Literal["asc", "desc"] = "asc",
        k: int = 50,
        offset: int = 0,
    ) -> replies.CataloguePage:
        """A page of the catalogue: items whose title or id holds `q`, sorted by id, title, events, at, or a field."""
        params = {"q": q, "category": category, "sort": sort, "order": order, "n": k, "offset": offset}
        return await self._ask(Call("GET", "/api/catalogue", replies.CataloguePage, params))

    async def categories(self) -> tuple[replies.Category, ...]:
        """Categories with their numbers of items, largest first."""
        return await self._ask(Call("GET", "/api/categories", tuple[replies.Category, ...]))

    # ---- users -----------------------------------------------------------------------------------------------------

    async def write_users(self, users: Iterable[replies.User], *, block: int = 500) -> int:
        """Writes users, each block in one transaction; those that are there are overwritten."""
        rows = 0
        for some, own in blocks(users, block, None):
            call: Call[replies.Affected] = Call(
                "POST", "/api/users", replies.Affected, body=[user_body(one) for one in some]
            )
            rows += (await self._ask(keyed(call, own))).rows
        return rows

    async def user(self, user: str) -> replies.User:
        """A user as the store holds them."""
        return await self._ask(Call("GET", path("api", "user", user), replies.User))

    async def users(self, *, page: int = 500) -> AsyncIterator[replies.User]:
        """All users by id, fetched as they are asked for."""
        cursor = ""
        while True:
            call: Call[replies.UsersPage] = Call("GET", "/api/users", replies.UsersPage, {"n": page, "cursor": cursor})
            found = await self._ask(call)
            for one in found.rows:
                yield one
            cursor = found.cursor
            if not cursor:
                return

    async def change_user(self, user: str, *, labels: Any = None, comment: str | None = None) -> int:
        """Changes a user; what is None stays."""
        body = given(Labels=labels, Comment=comment)
        call: Call[replies.Affected] = Call("PATCH", path("api", "user", user), replies.Affected, body=body)
        return (await self._write(call)).rows

    async def delete_user(self, user: str) -> replies_privacy.Deleted:
        """Deletes a user with all events, impressions and their part of the models; with a receipt."""
        return await self._write(Call("DELETE", path("api", "user", user), replies_privacy.Deleted))

    async def export_user(self, user: str) -> replies_privacy.Export:
        """All that is known of a user: profile, events, and the lists that were shown."""
        return await self._ask(Call("GET", path("api", "user", user, "export"), replies_privacy.Export))

    async def receipt(self, receipt: str) -> replies_privacy.Receipt:
        """A deletion's receipt, proved again: what it said, and what a new look finds."""
        return await self._ask(Call("GET", path("api", "receipts", receipt), replies_privacy.Receipt))

    async def suggest_users(self, q: str = "", k: int = 10) -> tuple[replies.SuggestedUser, ...]:
        """Users by what is typed so far."""
        params = {"q": q, "n": k}
        return await self._ask(Call("GET", "/api/users/suggest", tuple[replies.SuggestedUser, ...], params))

    # ---- in bulk ---------------------------------------------------------------------------------------------------

    async def bulk_write(
        self, rows: Iterable[Item | replies.User | replies.Event], *, key: str | None = None, block: int = 5000
    ) -> replies.BulkWritten:
        """Writes many rows of one kind, what is there is overwritten; bad rows are left out and named.

        Args:
            rows: items, users, or events; one kind alone.
            key: of this write, as for `add_feedback`.
            block: rows of one request; a body must fit into the server's `serve.max_body`.
        """
        now, written, refused = datetime.now(UTC), 0, 0
        reasons: list[replies.RefusedRow] = []
        sent = 0
        for some, own in blocks(rows, block, key):
            named = [bulk_body(one, now) for one in some]
            kinds = {kind for kind, _ in named}
            if len(kinds) > 1:
                raise DataError(f"bulk_write takes rows of one kind, not of {' and '.join(sorted(kinds))}")
            where = path("api", "bulk", *kinds)
            call: Call[replies.BulkWritten] = Call(
                "POST", where, replies.BulkWritten, body=[body for _, body in named], lines=True
            )
            found = await self._ask(keyed(call, own))
            written, refused = written + found.rows, refused + found.refused
            reasons += [replies.RefusedRow(sent + one.row, one.reason) for one in found.reasons]
            sent += len(some)
        return replies.BulkWritten(written, refused, tuple(reasons))

    async def bulk_users(self) -> AsyncIterator[replies.User]:
        """All users as one state of the store has them, as they arrive."""
        async for one in self._lines("users", replies.User):
            yield one

    async def bulk_items(self) -> AsyncIterator[replies.StoredItem]:
        """All items as one state of the store has them, as they arrive."""
        async for one in self._lines("items", replies.StoredItem):
            yield one

    async def bulk_feedback(self) -> AsyncIterator[replies.Event]:
        """All events as one state of the store has them, in the order of arrival, as they arrive."""
        async for one in self._lines("feedback", replies.Event):
            yield one

    # ---- running a server ------------------------------------------------------------------------------------------

    async def health(self) -> replies_operate.Health:
        """Whether the server can serve; one that cannot answers too, with `ready` False."""
        return await self._ask(Call("GET", "/api/health/ready", replies_operate.Health, also=(503,)))

    async def stats(self) -> replies_operate.Stats:
        """Requests, times and memory of the last hour."""
        return await self._ask(Call("GET", "/api/health/stats", replies_operate.Stats))

    async def metrics(self) -> str:
        """Metrics in the Prometheus text format."""
        return await self._ask(Call("GET", "/metrics", None))

    async def quality(self) -> dict[str, Any]:
        """Click-through, fallback lists, coverage, freshness and drift from the log, and how they moved."""
        return await self._ask(Call("GET", "/api/quality", dict[str, Any]))

    async def release(self) -> replies_operate.Release:
        """The release in use."""
        return await self._ask(Call("GET", "/api/release", replies_operate.Release))

    async def releases(self) -> tuple[replies_operate.ReleaseRow, ...]:
        """All releases, newest first."""
        return await self._ask(Call("GET", "/api/releases", tuple[replies_operate.ReleaseRow, ...]))

    async def roll_back(self, stamp: str | None = None) -> str:
        """Serves another release, or the one before; its stamp.

        Without a stamp a call whose answer was lost is not made again: it might go back twice.
        """
        call: Call[replies_operate.Served] = Call(
            "POST",
            "/api/releases/rollback",
            replies_operate.Served,
            body=given(stamp=stamp),
            repeatable=stamp is not None,
        )
        return (await self._ask(call)).stamp

    async def audit(self, *, page: int = 100) -> AsyncIterator[replies_operate.Act]:
        """Who did what, newest first, fetched as it is asked for; needs a key of the role admin."""
        cursor = ""
        while True:
            call: Call[replies_operate.ActsPage] = Call(
                "GET", "/api/audit", replies_operate.ActsPage, {"n": page, "cursor": cursor}
            )
            found = await self._ask(call)
            for one in found.rows:
                yield one
            cursor = found.cursor
            if not cursor:
                return

    async def measure(self, release: str = "") -> replies_operate.Measure:
        """How good a release's models were measured to be; empty for the one in use."""
        return await self._ask(Call("GET", "/api/measure", replies_operate.Measure, {"release": release}))

    async def measured_lists(
        self, user: str, models: Sequence[str] = (), *, k: int = 10, release: str = ""
    ) -> replies_operate.MeasuredLists:
        """Lists of several models for one user, as they were measured."""
        params = {"user": user, "models": ",".join(listed(models) or ()), "k": k, "release": release}
        return await self._ask(Call("GET", "/api/measure/lists", replies_operate.MeasuredLists, params))
