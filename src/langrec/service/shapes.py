"""Values as JSON: answers in our words, and items, users and events in Gorse's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langrec.explain.additive import Reason
from langrec.retrieval.words import MARKS
from langrec.service.bodies import GorseItem, GorseItemPatch, show_time
from langrec.service.service import Answer
from langrec.service.store.event_rows import Event, StoredUser
from langrec.service.store.item_rows import StoredItem
from langrec.types import Filters, Item, Recommendation, Trace

if TYPE_CHECKING:
    from langrec.recommender import Recommender

# Labels that the encoder reads, beside the text fields of the catalogue.
TEXT_LABELS = frozenset(
    (
        "description",
        "text",
        "overview",
        "summary",
        "abstract",
        "body",
        "content",
        "plot",
        "描述",
        "简介",
        "摘要",
        "内容",
    )
)
_RUN = re.compile(rf"\w[\w{MARKS}]*")


def number(value: Any) -> float | None:
    """A score as JSON; None for NaN."""
    value = float(value)
    return value if math.isfinite(value) else None


def item_card(item: Item) -> dict[str, Any]:
    """What a list shows of an item."""
    return {
        "id": item.id,
        "title": item.title or item.id,
        "categories": list(item.categories),
        "image": item.image,
        "fields": {**item.texts, **item.fields},
    }


def reason(recommender: Recommender, why: Reason) -> dict[str, Any]:
    """The short why of an item, with titles."""
    return {"kind": why.kind, "items": titles(recommender, why.items), "scorer": why.scorer}


def titles(recommender: Recommender, item_ids: Sequence[str]) -> list[dict[str, str]]:
    """Ids with their titles."""
    return [{"id": item_id, "title": title_of(recommender, item_id)} for item_id in item_ids]


def title_of(recommender: Recommender, item_id: str) -> str:
    """An item's title; its id where it has none."""
    item = recommender.view(item_id)
    return item.title or item_id if item is not None else item_id


def list_items(answer: Answer) -> list[dict[str, Any]]:
    """The list's items with scores, positions (from 0) and each scorer's exact contribution."""
    shown = []
    # As lists of Python's numbers: taking them out of arrays one by one costs more than the rest.
    columns = {name: column.tolist() for name, column in answer.list.items.columns.items()}
    for place, (item_id, score) in enumerate(answer.list):
        item = answer.snapshot.recommender.view(item_id) or Item(item_id)
        sources = {name: value for name, column in columns.items() if (value := number(column[place]))}
        card = item_card(item)
        card |= {"score": number(score), "position": answer.query.offset + place, "sources": sources}
        shown.append(card)
    return shown


def trace(value: Trace) -> dict[str, Any]:
    """How the answer came about."""
    return {
        "reason": value.reason,
        "stages": [{"name": s.name, "n_in": s.n_in, "n_out": s.n_out, "ms": round(s.ms, 3)} for s in value.stages],
        "dropped": dict(value.dropped),
        "filled": dict(value.filled),
        "unknown": list(value.unknown),
        "release": value.release,
        "explored": list(value.explored),
        "skipped": list(value.skipped),
    }


def words_of(text: str) -> list[str]:
    """The words of a text as typed but in lower case, each once; Chinese, Japanese and Korean runs stay whole."""
    return list(dict.fromkeys(_RUN.findall(text.lower())))


def understood(text: str, filters: Filters) -> dict[str, Any]:
    """What a search went by."""
    return {
        "words": words_of(text),
        "categories": list(filters.categories),
        "where": [
            {"field": c.field, "op": c.op, "value": list(c.value) if isinstance(c.value, tuple) else c.value}
            for c in filters.where
        ],
    }


def scores(found: Recommendation) -> list[dict[str, Any]]:
    """Gorse's scored items."""
    return [{"Id": item_id, "Score": number(score) or 0.0} for item_id, score in found]


def as_sent(stored: StoredItem) -> StoredItem:
    """The item with labels and comment as a client would have sent them; a release's have none of their own."""
    if stored.source != "release":
        return stored
    item = stored.item
    labels = {**item.texts, **item.fields} | ({"image": item.image} if item.image else {})
    return replace(stored, labels=labels or None, comment=item.title)


def gorse_item(stored: StoredItem) -> dict[str, Any]:
    """Gorse's item."""
    stored = as_sent(stored)
    item = stored.item
    return {
        "ItemId": item.id,
        "IsHidden": item.hidden,
        "Categories": list(item.categories),
        "Timestamp": show_time(item.at),
        "Labels": stored.labels,
        "Comment": stored.comment,
    }


def gorse_user(user: StoredUser) -> dict[str, Any]:
    """Gorse's user."""
    return {"UserId": user.id, "Labels": user.labels, "Comment": user.comment}


def gorse_event(event: Event) -> dict[str, Any]:
    """Gorse's feedback."""
    return {
        "FeedbackType": event.type,
        "UserId": event.user,
        "ItemId": event.item,
        "Value": event.value or 0.0,
        "Timestamp": show_time(event.at),
        "Comment": event.comment,
    }


def item_from(body: GorseItem, text_fields: Sequence[str]) -> StoredItem:
    """The item that a Gorse body describes."""
    title, image, texts, fields = _from_labels(body.Labels, body.Comment, text_fields)
    labels = body.Labels
    extra = {**body.Texts, **body.Fields} | ({"image": body.Image} if body.Image else {})
    if extra and (labels is None or isinstance(labels, dict)):
        labels = {**(labels or {}), **extra}
    comment = body.Comment or body.Title
    item = Item(
        id=body.ItemId,
        title=body.Title or title,
        texts={**texts, **{name: text for name, text in body.Texts.items() if text}},
        categories=tuple(dict.fromkeys(body.Categories)),
        image=body.Image or image,
        at=body.Timestamp,
        hidden=body.IsHidden,
        fields={**fields, **body.Fields},
    )
    return StoredItem(item, labels, comment)


def item_patched(stored: StoredItem, patch: GorseItemPatch, text_fields: Sequence[str]) -> StoredItem:
    """The item with the patch's fields; what the patch leaves out stays, in whichever words it was said."""
    stored = as_sent(stored)
    item, labels, comment = stored.item, stored.labels, stored.comment
    if patch.Labels is not None or patch.Comment is not None:
        title_before, _, texts_before, fields_before = _from_labels(labels, comment, text_fields)
        has_own_title = item.title != title_before
        labels = labels if patch.Labels is None else patch.Labels
        comment = comment if patch.Comment is None else patch.Comment
        title, image, texts, fields = _from_labels(labels, comment, text_fields)
        if has_own_title and not (isinstance(patch.Labels, dict) and patch.Labels.get("title")):
            title = item.title
        item = replace(
            item,
            title=title or item.title,
            image=image or item.image,
            texts=_and_own(item.texts, texts_before, texts),
            fields=_and_own(item.fields, fields_before, fields),
        )
    if patch.Title is not None:
        is_label = isinstance(labels, dict) and "title" in labels
        if is_label:
            labels = {**labels, "title": patch.Title}
        if patch.Comment is None and comment == item.title and (comment or not is_label):
            comment = patch.Title
    beside = {**(patch.Texts or {}), **(patch.Fields or {})} | ({"image": patch.Image} if patch.Image else {})
    if beside and (labels is None or isinstance(labels, dict)):
        labels = {**(labels or {}), **beside}
    given: Mapping[str, Any] = {
        "hidden": patch.IsHidden,
        "categories": None if patch.Categories is None else tuple(dict.fromkeys(patch.Categories)),
        "at": patch.Timestamp,
        "title": patch.Title,
        "texts": None if patch.Texts is None else {**item.texts, **patch.Texts},
        "image": patch.Image,
        "fields": None if patch.Fields is None else {**item.fields, **patch.Fields},
    }
    return replace(
        stored,
        source="api",
        item=replace(item, **{name: value for name, value in given.items() if value is not None}),
        labels=labels,
        comment=comment,
    )


def _and_own(known: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What labels say after a patch, and what was known beside those of before it."""
    own = {name: value for name, value in known.items() if before.get(name) != value}
    changed = {name: value for name, value in after.items() if name not in own or before.get(name) != value}
    return {**own, **changed}


def _from_labels(
    labels: Any, comment: str, text_fields: Sequence[str]
) -> tuple[str, str, dict[str, str], dict[str, Any]]:
    """Title, image, texts and fields of Gorse's labels and comment."""
    title, image, texts, fields = "", "", {}, {}
    if isinstance(labels, dict):
        for name, value in labels.items():
            if name == "title" and isinstance(value, str):
                title = value
            elif name == "image" and isinstance(value, str):
                image = value
            elif isinstance(value, str) and (name in text_fields or name in TEXT_LABELS):
                texts[name] = value
            elif value is not None:
                fields[name] = value
    elif isinstance(labels, list) and labels:
        # A bare list of tags: read as text, and kept for filters.
        texts["labels"] = ", ".join(str(label) for label in labels)
        fields["labels"] = labels
    if not title:
        title = comment
    elif comment and comment != title:
        texts["comment"] = comment
    return title, image, texts, fields
