"""A request in numbers: at the border its ids become numbers, and many requests become one block."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np

from langrec.data.ids import Ids
from langrec.data.items import Items
from langrec.errors import DataError
from langrec.types import Condition, Filters, IntVector, Operator, Query, QueryBlock, TimeVector

_OPERATORS = get_args(Operator)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A query in numbers.

    Attributes:
        history: (h,) int32 known items of the history that count, oldest first.
        times: (h,) int64 their times, the query's own where unknown.
        seen: (m,) int32 items that a list leaves out as seen.
        at: the query's "now" in epoch milliseconds; a time without a zone is UTC.
        unknown: ids of the history that the catalogue does not hold.
    """

    history: IntVector
    times: TimeVector
    seen: IntVector
    at: int
    unknown: tuple[str, ...]

    def shown_again(self, filters: Filters) -> IntVector:
        """Items of the history that these filters let into the list."""
        if not filters.drop_seen:
            return self.history
        if not filters.seen_types:  # then all of the history counts as seen
            return self.history[:0]
        return self.history[~np.isin(self.history, self.seen)]


def number(query: Query, items: Items, unsaying: Collection[str] = ()) -> Asked:
    """The query in numbers.

    Args:
        unsaying: event types that say nothing for an item, such as a hide: it was seen, but it is no history. In lower
            case; those of the history and of `seen_types` may have any, as in training.

    Raises:
        DataError: a k or offset below zero, columns of the history that differ in length, or what would answer
            another question than the one that was meant: a text in place of a tuple, an id that is no string.
    """
    _check(query)
    if query.k < 0 or query.offset < 0:
        wrong = "k" if query.k < 0 else "offset"
        raise DataError(f"k = {query.k}, offset = {query.offset}: must not be negative", field=wrong)
    h = len(query.history)
    for name, column in (("history_at", query.history_at), ("history_types", query.history_types)):
        if column and len(column) != h:
            raise DataError(f"{name}: {len(column)} values for {h} items of the history", field=name)
    at = now() if query.at is None else _milliseconds(query.at)
    nums = items.ids.numbers(query.history)
    known = nums >= 0
    times = np.array(query.history_at, np.int64) if query.history_at else np.full(h, at, dtype=np.int64)
    kept = known & ~np.isin(nums, items.ids.numbers(query.without)) if query.without else known
    if unsaying and query.history_types:
        kept = kept & np.array([kind.lower() not in unsaying for kind in query.history_types], dtype=np.bool_)
    seen_types = {kind.lower() for kind in query.filters.seen_types}
    counted = known
    if seen_types and query.history_types:
        seen = [not kind or kind.lower() in seen_types for kind in query.history_types]
        counted = known & np.array(seen, dtype=np.bool_)
    unknown = () if known.all() else tuple(name for name, ok in zip(query.history, known, strict=True) if not ok)
    return Asked(nums[kept], times[kept], nums[counted], at, unknown)


def _check(query: Query) -> None:
    """Refuses what a dataclass lets through: a text would count letter by letter, an id of another type as unknown."""
    own = query.filters
    counts: dict[str, Any] = {"k": query.k, "offset": query.offset}
    for name, value in counts.items():
        if not isinstance(value, (int, np.integer)):
            raise DataError(f"{name} = {value!r}: must be a whole number", field=name)
    columns: dict[str, Any] = {
        "history": query.history,
        "history_types": query.history_types,
        "without": query.without,
        "exclude": own.exclude,
        "categories": own.categories,
        "seen_types": own.seen_types,
    }
    for name, texts in columns.items():
        if isinstance(texts, str):
            raise DataError(f"{name}: {texts!r} is a text where a tuple is meant; write ({texts!r},)", field=name)
        if not all(issubclass(kind, str) for kind in set(map(type, texts))):
            odd = next(one for one in texts if not isinstance(one, str))
            raise DataError(f"{name}: {odd!r} is no string; write {str(odd)!r}", field=name)
    for name, share in (("meaning", query.meaning), ("personal", query.personal)):
        if not 0 <= share <= 1:
            raise DataError(f"{name} = {share}: must be between 0 and 1", field=name)
    if own.max_age_days is not None and not own.max_age_days >= 0:
        raise DataError(f"max_age_days = {own.max_age_days}: must be 0 or more", field="max_age_days")
    for condition in own.where:
        _check_condition(condition)


def _check_condition(condition: Condition) -> None:
    if condition.op not in _OPERATORS:
        known = ", ".join(_OPERATORS)
        raise DataError(f"filters.where: {condition.op!r} on {condition.field} is none of {known}", field="where")
    value: Any = condition.value
    if not isinstance(value, (str, int, float, tuple, np.generic)):
        kind = type(value).__name__
        raise DataError(
            f"filters.where: {condition.op} on {condition.field} takes a value or a tuple of values, not {kind}",
            field="where",
        )


def block_of(queries: Sequence[Query], asked: Sequence[Asked], users: Ids) -> QueryBlock:
    """The numbered queries as one block; their texts are not in it, since each stands beside its user's history."""
    offsets = np.zeros(len(queries) + 1, dtype=np.int64)
    np.cumsum([len(one.history) for one in asked], out=offsets[1:])
    return QueryBlock(
        users=users.numbers(query.user or "" for query in queries),
        offsets=offsets,
        items=_concatenate([one.history for one in asked], np.int32),
        times=_concatenate([one.times for one in asked], np.int64),
        at=np.array([one.at for one in asked], dtype=np.int64),
        texts=(None,) * len(queries),
    )


def nobody(at: int) -> QueryBlock:
    """A block of one query of which nothing is known but its time."""
    return QueryBlock(
        np.full(1, -1, np.int32),
        np.zeros(2, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.int64),
        np.full(1, at, np.int64),
        (None,),
    )


def now() -> int:
    """This moment in epoch milliseconds."""
    return _milliseconds(datetime.now(UTC))


def _milliseconds(at: datetime) -> int:
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _concatenate(arrays: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=dtype)
