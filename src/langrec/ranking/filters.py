"""Which items a query may be shown: one small rule each, its name in the trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.data.among import Among
from langrec.data.events import DAY_MS
from langrec.data.items import Items
from langrec.errors import DataError
from langrec.types import Condition, Filters, IntVector, Mask

_EVER = 1 << 60  # milliseconds: an age that no item has, which 64 bits hold


def allowed(
    items: Items | Among, hidden: Mask, filters: Filters, seen: IntVector, at: int
) -> tuple[Mask, dict[str, int]]:
    """What one query may be shown.

    Args:
        items: the catalogue as it is now.
        hidden: (n,) items that nobody is shown.
        filters: the query's wishes.
        seen: numbers of history items that count as seen.
        at: the query's "now" in epoch milliseconds.

    Returns:
        (n,) True where allowed, and how many items each rule dropped that earlier rules had left.

    Raises:
        DataError: a condition names a field that no item has, or compares text with a number.
    """
    mask = ~hidden
    dropped = {"hidden": int(hidden.sum())} if hidden.any() else {}
    for name, keep in _rules(items, filters, seen, at):
        gone = int((mask & ~keep).sum())
        if gone:
            dropped[name] = gone
        mask &= keep
    return mask, dropped


def _rules(items: Items | Among, filters: Filters, seen: IntVector, at: int) -> list[tuple[str, Mask]]:
    rules: list[tuple[str, Mask]] = []
    if filters.drop_seen and len(seen):
        rules.append(("seen", items.all_but(seen)))
    if filters.exclude:
        nums = items.ids.numbers(filters.exclude)
        rules.append(("excluded", items.all_but(nums[nums >= 0])))
    if filters.categories:
        rules.append(("categories", items.in_categories(filters.categories)))
    rules.extend((f"where {condition.field}", holds(items, condition)) for condition in filters.where)
    if filters.max_age_days is not None:
        times = items.times()
        rules.append(("age", (times >= 0) & (times >= at - int(min(filters.max_age_days * DAY_MS, _EVER)))))
    return rules


def holds(items: Items | Among, condition: Condition) -> Mask:
    """(n,) True where the condition holds; a missing value fails every condition.

    Raises:
        DataError: no item has the field, or its values cannot be compared so.
    """
    known = items.field_names()
    if condition.field not in known:
        raise DataError(
            f"filters.where: no item has a field {condition.field!r} (fields: {', '.join(known)})", field="where"
        )
    values = items.field(condition.field)
    wanted = condition.value
    if condition.op in ("eq", "in"):
        return _is_one_of(values, wanted if isinstance(wanted, tuple) else (wanted,))
    if isinstance(wanted, (tuple, bool)):
        raise DataError(f"filters.where: {condition.op} on {condition.field} needs one value", field="where")
    if values.dtype == object and not isinstance(wanted, str):
        if any(isinstance(value, str) for value in values) and not any(_is_count(value) for value in values):
            raise DataError(f"filters.where: {condition.field} holds text; {wanted!r} is a number", field="where")
        values = np.array([value if _is_count(value) else np.nan for value in values], dtype=np.float64)
    if values.dtype.kind == "f":
        return _compare(values, condition.op, _number(condition.field, wanted))
    present = np.array([isinstance(value, str) for value in values], dtype=np.bool_)
    out = np.zeros(len(values), dtype=np.bool_)
    out[present] = _compare(values[present].astype(str), condition.op, wanted)
    return out


def _is_one_of(values: npt.NDArray[Any], wanted: Sequence[Any]) -> Mask:
    if values.dtype.kind == "f":
        numbers = [float(value) for value in wanted if _is_number(value)]
        return np.isin(values, numbers)
    as_numbers = {float(value) for value in wanted if _is_number(value)}
    choices = {*wanted, *(text for value in wanted for text in _written(value)), *as_numbers}
    return np.array([_holds_one_of(value, choices) for value in values], dtype=np.bool_)


def _written(value: Any) -> tuple[str, ...]:
    """How a field that holds text may say a value."""
    if isinstance(value, float) and value.is_integer():
        return str(value), str(int(value))
    return (str(value),)


def _holds_one_of(value: Any, choices: set[Any]) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_one_of(part, choices) for part in value)
    return isinstance(value, (str, int, float)) and value in choices


def _compare(values: npt.NDArray[Any], op: str, wanted: Any) -> Mask:
    result: Mask = {"ge": np.greater_equal, "le": np.less_equal, "gt": np.greater, "lt": np.less}[op](values, wanted)
    return result


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _number(field: str, value: Any) -> float:
    if not _is_number(value):
        raise DataError(f"filters.where: {field} holds numbers; {value!r} is none", field="where")
    return float(value)
