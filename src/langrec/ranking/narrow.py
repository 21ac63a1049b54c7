"""Filters that keep few of very many items: one mask for all who ask alike, and when it is worth handing on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from langrec.data.items import Items
from langrec.errors import DataError
from langrec.ranking.filters import allowed, holds
from langrec.types import Condition, Filters, Mask

# Where a filter keeps a smaller share of the items, what finds candidates is told of it; else they are filtered after.
TOLD_BELOW = 0.5


def narrowed(items: Items, filters: Filters, at: int) -> Mask | None:
    """(n,) True for items that categories, conditions, age and hiding let through; None where most are let through.

    What a user has seen, and what a request excludes, is not looked at: it differs from request to request.

    Raises:
        DataError: as `filters.allowed`.
    """
    own = Filters(categories=filters.categories, where=filters.where, max_age_days=filters.max_age_days)
    if own == Filters() and not items.base_hides:
        return None
    base = len(items.catalogue)
    mask = np.zeros(len(items), dtype=np.bool_)
    mask[:base] = ~items.base_hidden
    if filters.categories or filters.where:
        mask[:base] &= _kept(items, filters)
    if filters.max_age_days is not None:
        aged = Items(items.catalogue, shared=items.shared)
        mask[:base] &= allowed(aged, np.zeros(base, dtype=np.bool_), replace(own, categories=(), where=()), _NONE, at)[
            0
        ]
    if len(items.changed_nums):
        some = items.among(items.changed_nums)
        mask[items.changed_nums] = allowed(some, some.hidden(), own, _NONE, at)[0]
    mask[items.deleted_nums] = False
    return mask if int(mask.sum()) < TOLD_BELOW * len(items) else None


_NONE = np.zeros(0, dtype=np.int32)


def _kept(items: Items, filters: Filters) -> Mask:
    """(base,) what categories and conditions say of the catalogue's items; kept for the next who asks alike."""
    shared = items.shared
    key = (shared.name, tuple(sorted(filters.categories)), filters.where)
    mask = shared.masks.get(key)
    if mask is None:
        catalogue = Items(items.catalogue, shared=shared)
        mask = np.ones(len(catalogue), dtype=np.bool_)
        if filters.categories:
            mask &= catalogue.in_categories(filters.categories)
        for condition in filters.where:
            mask &= _holding(items, catalogue, condition)
        mask.flags.writeable = False  # others read it at the same time
        shared.masks.put(key, mask, mask.nbytes + _size(filters))
    return mask


def _size(filters: Filters) -> int:
    """About how many bytes the name of a kept mask takes; a string of Python has some 50 beside its letters."""
    words = [*filters.categories]
    for condition in filters.where:
        wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
        words += [condition.field, condition.op, *map(str, wanted)]
    return sum(50 + 4 * len(word) for word in words) + 200


def _holding(items: Items, catalogue: Items, condition: Condition) -> Mask:
    if condition.field not in catalogue.field_names():
        if condition.field in items.field_names():  # a field that only newer items have
            return np.zeros(len(catalogue), dtype=np.bool_)
        known = ", ".join(items.field_names())
        raise DataError(f"filters.where: no item has a field {condition.field!r} (fields: {known})", field="where")
    column = catalogue.catalogue.frame[condition.field]
    wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    if condition.op in ("eq", "in") and column.dtype == pl.String and all(isinstance(one, str) for one in wanted):
        mask: Mask = column.is_in([one for one in wanted if one]).fill_null(False).to_numpy()  # "" is missing
        return mask
    return holds(catalogue, condition)
