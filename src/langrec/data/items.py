"""The items as a running service sees them: a catalogue, and over it what has come or changed since."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from langrec.bounded import Bounded
from langrec.data.catalogue import STANDARD_FIELDS, Catalogue
from langrec.data.ids import Ids
from langrec.data.kinds import Kinds
from langrec.types import IntVector, Item, Mask, TimeVector

if TYPE_CHECKING:
    from langrec.data.among import Among

Masks = Bounded[tuple[Any, ...], Mask]
# Of the masks of filters, where nobody says otherwise.
MASK_BYTES = 32_000_000


class Shared:
    """What all views of one catalogue share: its columns as arrays, made once, and what filters keep of it.

    Args:
        masks: holds the masks of filters that are asked for again; those of several catalogues may lie in one.
    """

    def __init__(self, masks: Masks | None = None) -> None:
        self.masks: Masks = Bounded(MASK_BYTES) if masks is None else masks
        # Names this catalogue's masks among those of others, without keeping its columns in memory.
        self.name = object()
        self._made: dict[tuple[str, str], Any] = {}

    def once(self, kind: str, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made at the first call of a kind and name."""
        if (kind, name) not in self._made:
            self._made[kind, name] = make()
        return self._made[kind, name]


class Items:
    """An immutable view: `with_items` and `without` give new ones.

    Args:
        catalogue: the items of a bundle.
        changed: newer states by number; numbers past the catalogue are new items.
        deleted: numbers that are never shown and have no view.
        ids: ids of all numbers.
        shared: what other views of the catalogue have made already.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        changed: Mapping[int, Item] | None = None,
        deleted: frozenset[int] = frozenset(),
        ids: Ids | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.changed = dict(changed or {})
        self.deleted = deleted
        self.ids = ids or catalogue.ids
        self.shared = Shared() if shared is None else shared

    def __len__(self) -> int:
        return len(self.ids)

    def among(self, nums: IntVector) -> Among:
        """What is said of these items alone."""
        from langrec.data.among import Among

        return Among(self, nums)

    def all_but(self, nums: IntVector) -> Mask:
        """(n,) False for these items."""
        mask = np.ones(len(self), dtype=np.bool_)
        mask[nums[(nums >= 0) & (nums < len(self))]] = False
        return mask

    @cached_property
    def changed_nums(self) -> IntVector:
        """Numbers of the items with a newer state, rising."""
        return np.sort(np.fromiter(self.changed, dtype=np.int32, count=len(self.changed)))

    @cached_property
    def deleted_nums(self) -> IntVector:
        """Numbers of the deleted items, rising."""
        return np.sort(np.fromiter(self.deleted, dtype=np.int32, count=len(self.deleted)))

    @property
    def base_hidden(self) -> Mask:
        """True for items that the catalogue hides."""
        mask: Mask = self.shared.once("mask", "hidden", self._hidden_at_first)
        return mask

    @property
    def base_hides(self) -> bool:
        """Whether the catalogue hides any item."""
        hides: bool = self.shared.once("any", "hidden", lambda: bool(self.base_hidden.any()))
        return hides

    @property
    def kinds(self) -> Kinds:
        """Categories of the catalogue."""
        kinds: Kinds = self.shared.once("kinds", "", lambda: Kinds.of(self.catalogue.frame["categories"]))
        return kinds

    @property
    def by_time(self) -> IntVector:
        """Numbers of the catalogue's items, the newest first; then those without a time since 1970, the last first."""
        nums: IntVector = self.shared.once("order", "time", self._newest_first)
        return nums

    def _newest_first(self) -> IntVector:
        times, nums = self.catalogue.times, np.arange(len(self.catalogue), dtype=np.int32)
        return nums[np.lexsort((np.where(times >= 0, nums, -nums), -np.maximum(times, -1)))]

    def base_field(self, name: str) -> npt.NDArray[Any]:
        """A field of the catalogue's items, as `field` gives it."""
        if name not in self.catalogue.frame.columns:
            # Of these there may be as many as there are names in newer items: one number stands for all rows.
            return np.broadcast_to(np.float64(np.nan), len(self.catalogue))
        values: npt.NDArray[Any] = self.shared.once("field", name, lambda: self._base_column(name))
        return values

    def _hidden_at_first(self) -> Mask:
        if "hidden" not in self.catalogue.frame.columns:
            return np.zeros(len(self.catalogue), dtype=np.bool_)
        return self.catalogue.frame["hidden"].fill_null(False).to_numpy()

    def holding(self, masks: Masks) -> Items:
        """The view that keeps the masks of filters in these bytes."""
        return Items(self.catalogue, self.changed, self.deleted, self.ids, Shared(masks))

    def with_items(self, items: Sequence[Item]) -> tuple[Items, npt.NDArray[np.int32]]:
        """The view with these items added or replaced, and their numbers; an id that was deleted comes back."""
        fresh = [item.id for item in {item.id: item for item in items}.values() if self.ids.number(item.id) < 0]
        ids = self.ids.extended(fresh) if fresh else self.ids
        nums = ids.numbers(item.id for item in items)
        changed = {**self.changed, **dict(zip(nums.tolist(), items, strict=True))}
        return Items(self.catalogue, changed, self.deleted - set(nums.tolist()), ids, self.shared), nums

    def without(self, names: Sequence[str]) -> Items:
        """The view without these items; unknown ids are passed over."""
        gone = {num for num in self.ids.numbers(names).tolist() if num >= 0}
        return Items(self.catalogue, self.changed, self.deleted | gone, self.ids, self.shared)

    def view(self, name: str) -> Item | None:
        """The item's newest state; None where it is unknown or deleted."""
        num = self.ids.number(name)
        return None if num < 0 or num in self.deleted else self.at(num)

    def at(self, num: int) -> Item:
        """The newest state of item `num`."""
        if num in self.changed:
            return self.changed[num]
        row = self.catalogue.frame.row(num, named=True)
        texts = {name: row[name] or "" for name in self.catalogue.text_fields}
        skip = {*STANDARD_FIELDS, *self.catalogue.text_fields, "hidden", "title_filled"}
        fields = {name: value for name, value in row.items() if name not in skip and value is not None}
        if row.get("price") is not None:
            fields["price"] = row["price"]
        return Item(
            id=row["item_id"],
            title=row["title"] or "",
            texts=texts,
            categories=tuple(row["categories"] or ()),
            image=row.get("image") or "",
            at=int(self.catalogue.times[num]),
            hidden=bool(row.get("hidden") or False),
            fields=fields,
        )

    def texts(self, nums: IntVector, fields: Sequence[str]) -> list[str]:
        """The newest text of each of these items, the named fields joined as `Catalogue.texts` joins them."""
        base = np.flatnonzero(nums < len(self.catalogue))
        texts = [""] * len(nums)
        for row, text in zip(base.tolist(), self.catalogue.texts(fields, nums[base]), strict=True):
            texts[row] = text
        for place, num in enumerate(nums.tolist()):
            if num in self.changed:
                texts[place] = item_text(self.changed[num], fields)
        return texts

    def title(self, num: int) -> str:
        """What to call item `num`: its title, or its id."""
        if num in self.changed:
            return self.changed[num].title or self.changed[num].id
        return self.catalogue.titles[num]

    def hidden(self) -> Mask:
        """(n,) True for items that are never shown: hidden or deleted."""
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[: len(self.catalogue)] = self.base_hidden
        for num, item in self.changed.items():
            mask[num] = item.hidden
        mask[list(self.deleted)] = True
        return mask

    def times(self) -> TimeVector:
        """(n,) int64 epoch milliseconds of the items' own times, -1 where unknown."""
        times = np.full(len(self), -1, dtype=np.int64)
        times[: len(self.catalogue)] = self.catalogue.times
        for num, item in self.changed.items():
            times[num] = item.at
        return times

    def in_categories(self, names: Sequence[str]) -> Mask:
        """(n,) True for items with at least one of the categories."""
        mask = np.zeros(len(self), dtype=np.bool_)
        wanted = set(names)
        mask[self.kinds.items_of(names)] = True
        for num, item in self.changed.items():
            mask[num] = not wanted.isdisjoint(item.categories)
        return mask

    def field_names(self) -> tuple[str, ...]:
        """Fields that conditions can name."""
        extra = {name for item in self.changed.values() for name in item.fields}
        base = [name for name in self.catalogue.frame.columns if name not in ("item_id", "categories")]
        return tuple(dict.fromkeys([*base, *sorted(extra)]))

    def field(self, name: str) -> npt.NDArray[Any]:
        """(n,) values of a field: float64 with NaN for missing where numeric, else object with None for missing.

        An empty text is missing: a text field of the catalogue holds one for every item that lacks it. Dates are
        strings in ISO form, which compare as dates do.
        """
        base = self.base_field(name)
        if not self.changed:
            return base
        fresh = {num: field_of(item, name) for num, item in self.changed.items()}
        if base.dtype.kind == "f" and all(isinstance(value, (int, float, type(None))) for value in fresh.values()):
            numbers = np.full(len(self), np.nan)
            numbers[: len(base)] = base
            for num, value in fresh.items():
                numbers[num] = np.nan if value is None else value
            return numbers
        values = np.full(len(self), None, dtype=object)
        values[: len(base)] = base
        if base.dtype.kind == "f":
            values[np.flatnonzero(np.isnan(base))] = None
        for num, value in fresh.items():
            values[num] = value
        return values

    def _base_column(self, name: str) -> npt.NDArray[Any]:
        column = self.catalogue.frame[name]
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        if column.dtype.is_temporal():
            column = column.cast(pl.String)
        # Filled rather than built: NumPy would make a matrix of lists of one length.
        values = np.empty(len(column), dtype=object)
        values[:] = (column.replace("", None) if column.dtype == pl.String else column).to_list()
        return values


def field_of(item: Item, name: str) -> Any:
    """A field of one item, as filters see it; None where it is missing, as an empty text is."""
    if name == "at":
        return item.at if item.at >= 0 else None
    own = name in ("title", "image", "hidden")
    value = getattr(item, name) if own else item.fields.get(name, item.texts.get(name))
    return None if value == "" else value


def item_text(item: Item, fields: Sequence[str]) -> str:
    """The text of one item, made as `Catalogue.texts` makes it."""
    parts: list[str] = []
    for name in fields:
        if name == "*text":
            parts.extend(item.texts.values())
        elif name == "title":
            parts.append(item.title)
        elif name == "categories":
            parts.append(", ".join(item.categories))
        else:
            parts.append(_as_text(item.fields.get(name, item.texts.get(name))))
    return ". ".join(part for part in parts if part)


def _as_text(value: Any) -> str:
    """A field's value as Polars casts it to a string."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(_as_text(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
