"""What a dataset holds, as plain numbers: sizes, span, density, popularity, histories, texts and fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from langrec.data.dataset import Dataset
from langrec.data.events import DAY_MS, Events


def describe_dataset(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Sections (data, events, users, user_fields, items, texts, fields) of JSON values, for people and scripts."""
    catalogue = dataset.catalogue
    events = dataset.events
    per_item = np.bincount(events.items, minlength=len(catalogue))
    per_user = np.bincount(events.users, minlength=len(dataset.users))
    cells = len(dataset.users) * len(catalogue)
    sections: dict[str, dict[str, Any]] = {
        "data": {
            "users": len(dataset.users),
            "items": len(catalogue),
            "events": len(events),
            "density": len(events) / cells if cells else 0.0,
            "hash": dataset.hash(),
        }
    }
    if len(events):
        sections["events"] = _events(events)
        sections["users"] = {"events_per_user": _spread(per_user)}
    profiles = dataset.profiles
    if profiles is not None:
        sections["user_fields"] = {name: _field(profiles[name]) for name in profiles.columns if name != "user_id"}
    items: dict[str, Any] = {"with_an_event": int((per_item > 0).sum()), "without": int((per_item == 0).sum())}
    if len(events):
        ranked = np.sort(per_item)[::-1]
        items["events_per_item"] = _spread(per_item[per_item > 0])
        items["share_of_events_of_the_top_1_percent"] = float(ranked[: max(1, len(ranked) // 100)].sum() / len(events))
        items["items_that_hold_80_percent_of_events"] = int(
            np.searchsorted(np.cumsum(ranked), 0.8 * len(events), side="left") + 1
        )
    sections["items"] = items
    sections["texts"] = _texts(dataset)
    sections["fields"] = {
        name: _field(catalogue.frame[name])
        for name in catalogue.frame.columns
        if name not in ("item_id", "title", *catalogue.text_fields)
    }
    return sections


def _events(events: Events) -> dict[str, Any]:
    counts = np.bincount(events.types, minlength=len(events.type_names))
    facts: dict[str, Any] = {
        "types": {name: int(count) for name, count in zip(events.type_names, counts, strict=True) if count},
        "has_time": events.has_time,
    }
    if events.has_time:
        facts["first"] = _day(int(events.at[0]))
        facts["last"] = _day(int(events.at[-1]))
        facts["days"] = round(float(events.at[-1] - events.at[0]) / DAY_MS, 1)
        facts["events_that_share_their_time_and_user"] = _simultaneous(events)
    values = events.values[np.isfinite(events.values)]
    if len(values):
        facts["values"] = _spread(values)
    return facts


def _simultaneous(events: Events) -> int:
    """Events whose order within their user the times do not tell; the file's order decides there."""
    order = np.argsort(events.users, kind="stable")
    users, at = events.users[order], events.at[order]
    same = (users[1:] == users[:-1]) & (at[1:] == at[:-1])
    return int((np.append(same, False) | np.insert(same, 0, False)).sum())


def _texts(dataset: Dataset) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    frame = dataset.catalogue.frame
    for name in ("title", *dataset.catalogue.text_fields):
        lengths = frame[name].str.len_chars().fill_null(0).to_numpy()
        filled = lengths[lengths > 0]
        facts[name] = {
            "filled": float((lengths > 0).mean()) if len(lengths) else 0.0,
            "mean_characters": float(filled.mean()) if len(filled) else 0.0,
        }
    return facts


def _field(column: pl.Series) -> dict[str, Any]:
    if column.dtype == pl.List(pl.String):
        values = column.explode().drop_nulls()
        filled = float((column.list.len() > 0).fill_null(False).mean() or 0.0) if len(column) else 0.0  # type: ignore[arg-type]
        return {"type": "list", "filled": filled, "distinct": values.n_unique()}
    values = column.drop_nulls()
    if column.dtype == pl.String:
        values = values.filter(values != "")  # a picture that is not there is an empty address
    filled = len(values) / len(column) if len(column) else 0.0
    return {"type": str(column.dtype), "filled": filled, "distinct": values.n_unique()}


def _spread(values: npt.NDArray[Any]) -> dict[str, float]:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return {"least": float(low), "median": float(middle), "mean": float(values.mean()), "most": float(high)}


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
