"""What the ranker's features know of items and users beside the scores: counts, times, categories and fields."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from langrec.data.candidates import ragged
from langrec.data.catalogue import STANDARD_FIELDS, Catalogue
from langrec.data.dataset import Dataset
from langrec.data.events import Events
from langrec.errors import UNREADABLE, BundleError
from langrec.types import FloatMatrix, IntMatrix, IntVector, Item, TimeVector

# Columns of a catalogue that are no property of the item.
NOT_FIELDS = frozenset({*STANDARD_FIELDS, "hidden", "title_filled"}) - {"price"}
# A user field of more values than this is nearer to an id than to a property: a tree would learn persons by heart.
MOST_VALUES = 50


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts of n items and u users, as training saw them.

    Attributes:
        counts: (n,) int32 training events with a gain above zero.
        first: (n,) int64 epoch milliseconds: the item's own time, else its first training event; -1 where unknown.
        last: (n,) int64 epoch milliseconds of the last training event, -1 where there is none.
        categories: the known categories; their places are the numbers in `category_nums`.
        category_starts: (n + 1,) int64; item i's categories are category_nums[starts[i]:starts[i + 1]].
        category_nums: (c,) int32, each category of an item once.
        item_fields: names of the numeric item fields.
        item_values: (n, len(item_fields)) float32, NaN where unknown.
        user_fields: names of the user fields.
        user_values: (u, len(user_fields)) float32: numbers, or places in the sorted values of a text field.
        shared: names that are fields of users and of items.
        shared_values: for each of `shared`, the place of every known value.
        item_codes: (n, len(shared)) int32 places of the items' values, -1 where unknown.
        user_codes: (u, len(shared)) int32 the same of users.
        timed: False where the log has only an order: then nothing is said of ages, gaps and hours.
        newer: items that came or changed since, in place of what the arrays say of them.
    """

    counts: IntVector
    first: TimeVector
    last: TimeVector
    categories: tuple[str, ...]
    category_starts: TimeVector
    category_nums: IntVector
    item_fields: tuple[str, ...]
    item_values: FloatMatrix
    user_fields: tuple[str, ...]
    user_values: FloatMatrix
    shared: tuple[str, ...]
    shared_values: tuple[Mapping[str, int], ...]
    item_codes: IntMatrix
    user_codes: IntMatrix
    timed: bool = True
    newer: Newer | None = None

    @classmethod
    def of(cls, dataset: Dataset, events: Events) -> Self:
        """From a catalogue, user fields, and the events that training may see."""
        catalogue, n = dataset.catalogue, len(dataset.catalogue)
        said = events.take(events.gains > 0)
        counts = np.bincount(said.items, minlength=n).astype(np.int32)
        first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, -1, dtype=np.int64)
        np.minimum.at(first, said.items, said.at)
        np.maximum.at(last, said.items, said.at)
        first[counts == 0] = -1
        first = np.where(catalogue.times >= 0, catalogue.times, first)
        names, starts, nums = _category_table(catalogue)
        item_fields, item_values = _item_values(catalogue)
        user_fields, user_values = _user_values(dataset.profiles, len(dataset.users))
        shared, values, item_codes, user_codes = _shared(catalogue, dataset.profiles, len(dataset.users))
        return cls(
            counts, first, last, names, starts, nums, item_fields, item_values, user_fields, user_values,
            shared, values, item_codes, user_codes, events.has_time,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.counts) if self.newer is None else self.newer.n

    def counts_of(self, items: IntVector) -> IntVector:
        """(len(items),) training events."""
        counts: IntVector = self._looked_up("counts", items, 0)
        return counts

    def first_of(self, items: IntVector) -> TimeVector:
        """(len(items),) as `first`."""
        first: TimeVector = self._looked_up("first", items, -1)
        return first

    def last_of(self, items: IntVector) -> TimeVector:
        """(len(items),) as `last`."""
        last: TimeVector = self._looked_up("last", items, -1)
        return last

    def values_of(self, items: IntVector) -> FloatMatrix:
        """(len(items), len(item_fields)) as `item_values`."""
        values: FloatMatrix = self._looked_up("item_values", items, np.nan)
        return values

    def codes_of(self, items: IntVector) -> IntMatrix:
        """(len(items), len(shared)) as `item_codes`."""
        codes: IntMatrix = self._looked_up("item_codes", items, -1)
        return codes

    def sizes_of(self, items: IntVector) -> TimeVector:
        """(len(items),) how many categories each has."""
        inside, known = self._inside(items)
        sizes = np.where(inside, self.category_starts[known + 1] - self.category_starts[known], 0)
        if self.newer is not None:
            there, places = self.newer.find(items)
            sizes[there] = self.newer.facts.sizes_of(places)
        return sizes

    def categories_of(self, items: IntVector) -> tuple[npt.NDArray[np.intp], IntVector]:
        """One row per item and category: the place of the item in `items`, rising, and the category."""
        inside, known = self._inside(items)
        there = np.zeros(0, dtype=np.intp)
        if self.newer is not None:
            there, places = self.newer.find(items)
            inside[there] = False
        mine = np.flatnonzero(inside)
        starts = self.category_starts[known[mine]]
        lengths = self.category_starts[known[mine] + 1] - starts
        owner, cats = np.repeat(mine, lengths), self.category_nums[ragged(starts, lengths)]
        if not len(there) or self.newer is None:
            return owner, cats
        rows, own = self.newer.facts.categories_of(places)
        owner, cats = np.concatenate([owner, there[rows]]), np.concatenate([cats, own])
        order = np.argsort(owner, kind="stable")
        return owner[order], cats[order]

    def _inside(self, items: IntVector) -> tuple[npt.NDArray[np.bool_], IntVector]:
        """Which items the arrays hold, and places that are safe to look up."""
        inside = items < len(self.counts)
        return inside, items if inside.all() else np.where(inside, items, 0)

    def _looked_up(self, name: str, items: IntVector, nothing: float) -> npt.NDArray[Any]:
        values = getattr(self, name)
        if self.newer is None:
            found: npt.NDArray[Any] = values[items]
            return found
        inside, known = self._inside(items)
        out = np.full((len(items), *values.shape[1:]), nothing, dtype=values.dtype)
        out[inside] = values[known[inside]]
        there, places = self.newer.find(items)
        out[there] = getattr(self.newer.facts, name)[places]
        return out

    def with_items(self, nums: IntVector, items: Sequence[Item] | None, n_items: int) -> Self:
        """The same facts knowing these items too, in time by what has changed.

        What only events can tell stays as it was: a new item has no count and no last event. Categories and values
        that training never saw say nothing.

        Args:
            nums: (m,) item numbers, each once; known ones are replaced.
            items: their states; None where only the numbers are known.
            n_items: width from now on, above every number.
        """
        told = np.zeros(0, np.int32) if items is None else np.asarray(nums, dtype=np.int32)
        over = told if self.newer is None else np.union1d(self.newer.nums, told).astype(np.int32)
        over = np.unique(over)
        facts = self._picked(over)
        if items is not None:
            facts = facts._changed(np.searchsorted(over, told), items)
        return replace(self, newer=Newer(over, facts, n_items))

    def settled(self) -> Self:
        """The same facts in whole arrays."""
        return self if self.newer is None else self._picked(np.arange(len(self), dtype=np.int32))

    def _picked(self, items: IntVector) -> Self:
        """Facts of these items alone, in this order."""
        sizes = self.sizes_of(items)
        return replace(
            self,
            counts=self.counts_of(items) if self.newer is not None else _known(self.counts, items, 0),
            first=self.first_of(items) if self.newer is not None else _known(self.first, items, -1),
            last=self.last_of(items) if self.newer is not None else _known(self.last, items, -1),
            category_starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            category_nums=self.categories_of(items)[1],
            item_values=self.values_of(items) if self.newer is not None else _known(self.item_values, items, np.nan),
            item_codes=self.codes_of(items) if self.newer is not None else _known(self.item_codes, items, -1),
            newer=None,
        )

    def _changed(self, nums: npt.NDArray[np.intp], items: Sequence[Item]) -> Self:
        """The same facts with these items in place of what was known of them."""
        first, values, codes = self.first.copy(), self.item_values.copy(), self.item_codes.copy()
        place = self._category_places
        lists = np.split(self.category_nums, self.category_starts[1:-1]) if len(self.counts) else []
        for num, item in zip(nums.tolist(), items, strict=True):
            if item.at >= 0:
                first[num] = item.at
            values[num] = [_number(item.fields.get(name)) for name in self.item_fields]
            codes[num] = [
                places.get(_value(item.fields.get(name)), -1)
                for name, places in zip(self.shared, self.shared_values, strict=True)
            ]
            own = sorted({place[name] for name in item.categories if name in place})
            lists[num] = np.array(own, dtype=np.int32)
        starts = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
        cats = np.concatenate([np.zeros(0, dtype=np.int32), *lists]).astype(np.int32)
        return replace(
            self, first=first, category_starts=starts, category_nums=cats, item_values=values, item_codes=codes
        )

    @cached_property
    def _category_places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.categories)}

    def save(self, folder: Path) -> None:
        """Writes facts.npz and facts.json."""
        folder.mkdir(parents=True, exist_ok=True)
        settled = self.settled()
        np.savez_compressed(folder / "facts.npz", **{name: getattr(settled, name) for name in _ARRAYS})
        names = {name: getattr(self, name) for name in _NAMES}
        (folder / "facts.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            names = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            names = {name: tuple(names[name]) if name != "timed" else bool(names[name]) for name in _NAMES}
            with np.load(folder / "facts.npz", allow_pickle=False) as file:
                facts = cls(**{name: file[name] for name in _ARRAYS}, **names)
            facts._check()
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as facts of items and users ({error})") from error
        return facts

    def _check(self) -> None:
        """Raises ValueError where the arrays do not belong together."""
        n = len(self)
        right = (
            self.first.shape == self.last.shape == (n,)
            and self.category_starts.shape == (n + 1,)
            and self.category_starts[-1] == len(self.category_nums)
            and self.item_values.shape == (n, len(self.item_fields))
            and self.item_codes.shape == (n, len(self.shared))
            and self.user_values.shape[1:] == (len(self.user_fields),)
            and self.user_codes.shape[1:] == (len(self.shared),) == (len(self.shared_values),)
        )
        if not right:
            raise ValueError("the lengths of its arrays differ")


@dataclass(frozen=True, slots=True, eq=False)
class Newer:
    """Items that came or changed after the training: rising numbers, facts of them in this order, and the width."""

    nums: IntVector
    facts: Facts
    n: int

    def find(self, items: IntVector) -> tuple[npt.NDArray[np.intp], IntVector]:
        """Which places of `items` hold one of these, and which each is."""
        if not len(self.nums):
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.int32)
        places = np.minimum(np.searchsorted(self.nums, items), len(self.nums) - 1).astype(np.int32)
        there = np.flatnonzero(self.nums[places] == items)
        return there, places[there]


_NAMES = ("categories", "item_fields", "user_fields", "shared", "shared_values", "timed")
_ARRAYS = (
    "counts", "first", "last", "category_starts", "category_nums", "item_values", "user_values", "item_codes",
    "user_codes",
)  # fmt: skip


def _category_table(catalogue: Catalogue) -> tuple[tuple[str, ...], TimeVector, IntVector]:
    """Sorted names, and each item's categories as starts and numbers."""
    rows = [sorted(set(row)) for row in catalogue.categories]
    names = tuple(sorted({name for row in rows for name in row}))
    place = {name: num for num, name in enumerate(names)}
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    return names, starts, np.array([place[name] for row in rows for name in row], dtype=np.int32)


def _item_values(catalogue: Catalogue) -> tuple[tuple[str, ...], FloatMatrix]:
    """Numeric fields that differ between items and are no ids."""
    frame = catalogue.frame
    skipped = NOT_FIELDS | set(catalogue.text_fields)
    names = [
        name
        for name, dtype in frame.schema.items()
        if name not in skipped
        and (dtype.is_numeric() or dtype == pl.Boolean)
        and not _is_id(name)
        and frame[name].drop_nulls().n_unique() > 1
    ]
    return tuple(names), _columns([_floats(frame[name]) for name in names], frame.height)


def _user_values(profiles: pl.DataFrame | None, n_users: int) -> tuple[tuple[str, ...], FloatMatrix]:
    """Numeric user fields, and text fields of few values as places in their sorted values."""
    columns: dict[str, npt.NDArray[np.float32]] = {}
    for name in [] if profiles is None else profiles.columns:
        column = profiles[name] if profiles is not None else pl.Series()
        several = not _is_id(name) and not column.dtype.is_nested() and column.drop_nulls().n_unique() > 1
        if several and (column.dtype.is_numeric() or column.dtype == pl.Boolean):
            columns[name] = _floats(column)
        elif several and column.dtype == pl.String:
            place = {value: code for code, value in enumerate(sorted(column.drop_nulls().unique().to_list()))}
            if len(place) <= MOST_VALUES:
                columns[name] = np.array([place.get(value, np.nan) for value in column], dtype=np.float32)
    return tuple(columns), _columns(list(columns.values()), n_users)


def _shared(
    catalogue: Catalogue, profiles: pl.DataFrame | None, n_users: int
) -> tuple[tuple[str, ...], tuple[Mapping[str, int], ...], IntMatrix, IntMatrix]:
    """Fields that users and items both have, as places in their values."""
    frame = catalogue.frame
    names = [] if profiles is None else [name for name in profiles.columns if name in frame.columns]
    names = [name for name in names if name not in NOT_FIELDS and not frame.schema[name].is_nested()]
    places: list[dict[str, int]] = []
    codes: tuple[list[list[int]], list[list[int]]] = ([], [])
    for name in names:
        items, users = ([_value(value) for value in table[name]] for table in (frame, profiles) if table is not None)
        places.append({value: code for code, value in enumerate(sorted({*items, *users} - {""}))})
        codes[0].append([places[-1].get(value, -1) for value in items])
        codes[1].append([places[-1].get(value, -1) for value in users])
    item_codes = np.array(codes[0], dtype=np.int32).reshape(len(names), frame.height).T
    user_codes = np.array(codes[1], dtype=np.int32).reshape(len(names), n_users).T
    return tuple(names), tuple(places), np.ascontiguousarray(item_codes), np.ascontiguousarray(user_codes)


def _is_id(name: str) -> bool:
    low = name.lower()
    return low == "id" or low.endswith(("_id", "-id", " id"))


def _floats(column: pl.Series) -> npt.NDArray[np.float32]:
    numbers: npt.NDArray[np.float32] = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float32)
    return numbers


def _columns(columns: list[npt.NDArray[np.float32]], height: int) -> FloatMatrix:
    return np.stack(columns, axis=1) if columns else np.zeros((height, 0), dtype=np.float32)


def _number(value: Any) -> float:
    """A field's value as a feature: NaN for what is no number."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def _value(value: Any) -> str:
    """A field's value as it is compared: 3 and 3.0 are one; "" for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().lower()


def _known(rows: npt.NDArray[Any], items: IntVector, nothing: float) -> npt.NDArray[Any]:
    """The rows of items, `nothing` for items past the end."""
    out = np.full((len(items), *rows.shape[1:]), nothing, dtype=rows.dtype)
    inside = items < len(rows)
    out[inside] = rows[items[inside]]
    return out
