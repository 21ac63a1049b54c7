"""What requests may hold: ids, times, filters and bodies, checked before anything else sees them."""

from __future__ import annotations

import math
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from langrec.errors import DataError
from langrec.types import Condition, Filters

# A slash within an id of the path (%2F) travels through the router as this private character.
SLASH = "\ue000"
NO_TIME = "0001-01-01T00:00:00Z"
_TIME_HELP = (
    "a time is ISO 8601, such as 2024-05-01T12:00:00Z, or a number of seconds since 1970, of the years 1 to 9999"
)
_LARGEST = 1e30
# What a request may ask for at most where the work grows faster than its body: everybody waits for the scorer.
MOST_CONDITIONS, MOST_HISTORY, LONGEST_WISH = 100, 10_000, 4000
LONGEST_DURATION = 64  # characters
_LONGEST = 100 * 366 * 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST, _NEWEST = -62_135_596_800_000, 253_402_300_799_999


def clean_text(text: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


def _names(value: Any) -> Any:
    """A list of names: none is empty, and one that is not in a list is refused by what is wanted."""
    if isinstance(value, str):
        raise ValueError('is a list of names, such as ["Comedy"]')  # noqa: TRY004 - what pydantic reports
    return [] if value is None else value


def _checked_id(text: str) -> str:
    if not text or len(text) > 1024:
        raise ValueError("an id has from 1 to 1024 characters")
    if text != clean_text(text) or SLASH in text:
        raise ValueError("an id must be valid Unicode without NUL and U+E000")
    return text


def _path_id(text: str) -> str:
    return _checked_id(text.replace(SLASH, "/"))


def clean_json(value: Any, levels: int = 100) -> Any:
    """A JSON value that every database takes.

    Args:
        value: as it came.
        levels: lists and objects within one another at most.

    Raises:
        ValueError: there are more.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return None  # what compares numbers would take it for an infinite one
    if isinstance(value, (list, dict)) and levels <= 0:
        raise ValueError("lists and objects lie within one another deeper than 100 levels")
    if isinstance(value, list):
        return [clean_json(one, levels - 1) for one in value]
    if isinstance(value, dict):
        return {clean_text(str(name)): clean_json(one, levels - 1) for name, one in value.items()}
    return value


def _bounded(value: float | None) -> float | None:
    """The value of an event: none for NaN and infinity; others may be added up and are numbers of 32 bits too."""
    if value is not None and not math.isfinite(value):
        return None
    if value is not None and abs(value) > _LARGEST:
        raise ValueError(f"a value lies between -{_LARGEST:g} and {_LARGEST:g}")
    return value


def parse_time(value: Any) -> int:
    """Epoch milliseconds of an ISO 8601 time, or of a number of seconds or milliseconds; -1 where there is none.

    Gorse's clients write the first second of the year 1 for none.
    """
    if value is None or value in ("", NO_TIME):
        return -1
    if isinstance(value, bool):
        raise ValueError(_TIME_HELP)  # noqa: TRY004 - pydantic makes an answer of a ValueError only
    if isinstance(value, (int, float)) or re.fullmatch(r"-?\d{5,}(\.\d+)?", str(value).strip()):
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(_TIME_HELP) from None
        # Seconds until the year 5138, milliseconds above.
        return _within(number * 1000 if abs(number) < 1e11 else number)
    text = str(value).strip().replace("/", "-")
    # Python reads at most microseconds; Go's clients send nanoseconds.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_TIME_HELP) from None
    # Whole numbers all the way: a float of seconds is a millisecond off now and then.
    return _within(((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1))


def _within(at: float) -> int:
    """The time as a number that every database and every calendar takes."""
    if not _OLDEST <= at <= _NEWEST:  # NaN too
        raise ValueError(_TIME_HELP)
    return int(at) if at > _OLDEST else -1


def parse_event_time(value: Any) -> int:
    """As `parse_time`, of what somebody did: a time before 1970 is a slip, and must not become now."""
    at = parse_time(value)
    if at < -1:
        raise ValueError("an event does not lie before 1970; leave the time out for now")
    return at


def show_time(at: int) -> str:
    """An ISO 8601 time in UTC; Gorse's zero time where there is none."""
    if at == -1:
        return NO_TIME
    shown = _EPOCH + timedelta(milliseconds=at)
    return shown.isoformat(timespec="milliseconds" if at % 1000 else "seconds").replace("+00:00", "Z")


def parse_duration(text: str) -> int:
    """Milliseconds of a duration as Go writes it, such as 1h30m or 90s.

    Raises:
        DataError: it is no such duration.
    """
    units = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1, "us": 0.001, "ns": 0.000001}
    # The search for parts looks at a row of digits again from each of them: a long one would hold everybody up.
    short = text if len(text) <= LONGEST_DURATION else ""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)", short)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise DataError(f"write-back-delay: {text[:80]!r} is not a duration such as 1h30m", field="write-back-delay")
    found = sum(float(number) * units[unit] for number, unit in parts)
    if found > _LONGEST:
        raise DataError("write-back-delay: is longer than a hundred years", field="write-back-delay")
    return int(found)


def now_ms() -> int:
    """The time of the call in epoch milliseconds."""
    return int(time.time() * 1000)


Id = Annotated[str, AfterValidator(_checked_id)]
MaybeId = Annotated[str, AfterValidator(lambda text: text and _checked_id(text))]
PathUser = Annotated[
    str, Path(description="a user's id; write a slash in it as %2F", examples=["ann"]), AfterValidator(_path_id)
]
PathItem = Annotated[
    str, Path(description="an item's id; write a slash in it as %2F", examples=["m1"]), AfterValidator(_path_id)
]
PathType = Annotated[
    str,
    Path(description="a type of events; write a slash in it as %2F", examples=["click"]),
    AfterValidator(_path_id),
]
PathCategory = Annotated[
    str, Path(description="a category; write a slash in it as %2F", examples=["Comedy"]), AfterValidator(_path_id)
]
Text = Annotated[str, AfterValidator(clean_text)]
# A blank is nothing asked: else it would be a wish that no item answers.
Wish = Annotated[str, AfterValidator(lambda text: clean_text(text) if text.strip() else "")]
LooseText = Annotated[str, BeforeValidator(lambda value: "" if value is None else value), AfterValidator(clean_text)]
LooseTexts = Annotated[list[Text], BeforeValidator(_names)]
Json = Annotated[Any, AfterValidator(lambda value: clean_json(value))]
_TIME_SCHEMA = {"anyOf": [{"type": "string", "description": "ISO 8601"}, {"type": "number"}]}
Time = Annotated[int, BeforeValidator(parse_time), WithJsonSchema(_TIME_SCHEMA | {"description": _TIME_HELP})]
_EVENT_TIME_HELP = f"{_TIME_HELP}, not before 1970; absent = now"
EventTime = Annotated[
    int, BeforeValidator(parse_event_time), WithJsonSchema(_TIME_SCHEMA | {"description": _EVENT_TIME_HELP})
]
Count = Annotated[int, Query(ge=0, description="how many at most", examples=[10])]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="how many of the first are passed over", examples=[0])]


def _shown(example: dict[str, Any]) -> ConfigDict:
    """A body's example as a whole; the base class's other settings stay."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Gorse(BaseModel):
    """Bodies in Gorse's words."""

    model_config = ConfigDict(extra="ignore")


class GorseUser(_Gorse):
    """A user; writing one again overwrites it."""

    UserId: Id = Field(examples=["ann"])
    Labels: Json = Field(default=None, examples=[{"country": "SE"}])
    Comment: LooseText = Field(default="", examples=["met at the fair"])


class GorseUserPatch(_Gorse):
    """Changes of a user; what is absent or null stays."""

    model_config = _shown({"Labels": {"country": "NO"}, "Comment": "moved"})

    Labels: Json = None
    Comment: Text | None = None


class GorseItem(_Gorse):
    """An item; writing one again overwrites it.

    Gorse's body, and beside it Title, Texts, Image and Fields. Without a Title it is `title` of the labels, else the
    comment. Labels that are texts of the catalogue (or description, text, overview, summary, body) are read by the
    encoder; the other labels are fields for filters.
    """

    model_config = _shown(
        {
            "ItemId": "m1",
            "IsHidden": False,
            "Categories": ["Comedy"],
            "Timestamp": "2024-05-01T12:00:00Z",
            "Labels": {"description": "Two friends bake on the moon.", "year": 2024, "price": 20},
            "Comment": "Moon Bakery",
        }
    )

    ItemId: Id = Field(examples=["m1"])
    IsHidden: Annotated[bool, BeforeValidator(lambda value: bool(value) if value is None else value)] = False
    Categories: LooseTexts = Field(default_factory=list, examples=[["Comedy"]])
    Timestamp: Time = Field(default=-1, examples=["2024-05-01T12:00:00Z"])
    Labels: Json = Field(default=None, examples=[{"description": "Two friends bake on the moon.", "year": 2024}])
    Comment: LooseText = Field(default="", examples=["Moon Bakery"])
    Title: LooseText = ""
    Texts: Annotated[dict[Text, Text], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)
    Image: LooseText = ""
    Fields: Annotated[dict[Text, Json], BeforeValidator(lambda value: value or {})] = Field(default_factory=dict)


class GorseItemPatch(_Gorse):
    """Changes of an item; what is absent or null stays."""

    model_config = _shown({"IsHidden": False, "Categories": ["Comedy", "Space"], "Fields": {"price": 18.5}})

    IsHidden: bool | None = None
    Categories: list[Text] | None = None
    Timestamp: Annotated[int | None, BeforeValidator(lambda v: None if v in (None, "") else parse_time(v))] = None
    Labels: Json = None
    Comment: Text | None = None
    Title: Text | None = None
    Texts: dict[Text, Text] | None = None
    Image: Text | None = None
    Fields: dict[Text, Json] | None = None


class GorseFeedback(_Gorse):
    """An event; without a timestamp it happens now."""

    model_config = _shown(
        {
            "FeedbackType": "click",
            "UserId": "ann",
            "ItemId": "m1",
            "Timestamp": "2024-05-01T12:00:00Z",
            "Value": 1.0,
            "Comment": "from the start page",
            "EventId": "5f0c9a3e-click-1",
        }
    )

    FeedbackType: Id = Field(examples=["click"])
    UserId: Id = Field(examples=["ann"])
    ItemId: Id = Field(examples=["m1"])
    Timestamp: EventTime = Field(default=-1, examples=["2024-05-01T12:00:00Z"])
    Value: Annotated[float | None, AfterValidator(lambda value: _bounded(value))] = None
    Comment: LooseText = ""
    EventId: Annotated[
        LooseText, Field(max_length=1024, description="an id of the client's own: sent again, the event counts once")
    ] = ""


class SessionFeedback(_Gorse):
    """An event of a session; only the item is needed."""

    model_config = _shown({"ItemId": "m1", "FeedbackType": "click", "Timestamp": "2024-05-01T12:00:00Z"})

    ItemId: Id = Field(examples=["m1"])
    FeedbackType: LooseText = ""
    UserId: LooseText = ""
    Timestamp: EventTime = -1
    Value: float | None = None


class _Ours(BaseModel):
    """Bodies in our words: an unknown name is an error."""

    model_config = ConfigDict(extra="forbid")


def _comparable(value: Any) -> Any:
    """Said here in one sentence: the union would say it once for each of its kinds."""
    for one in value if isinstance(value, (list, tuple)) else (value,):
        if not isinstance(one, (str, int, float)):
            raise ValueError("a value is a text, a number, true, false, or a list of these")  # noqa: TRY004 - pydantic makes an answer of a ValueError only
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError("a number is neither NaN nor infinite")
    return value


Scalar = str | float | bool


class ConditionBody(_Ours):
    """One condition on an item's field."""

    field: Text = Field(examples=["price"])
    op: Literal["eq", "in", "ge", "le", "gt", "lt"] = Field(examples=["le"])
    value: Annotated[Scalar | list[Scalar], BeforeValidator(_comparable)] = Field(examples=[20])

    def condition(self) -> Condition:
        value = tuple(self.value) if isinstance(self.value, list) else self.value
        if (self.op == "in") != isinstance(value, tuple):
            raise DataError(f"where: {self.field} {self.op} takes {_takes(self.op)}", field="where")
        return Condition(self.field, self.op, value)


class FiltersBody(_Ours):
    """What may be in the list."""

    categories: list[Text] = Field(default_factory=list, examples=[["Comedy"]])
    where: list[ConditionBody] = Field(default_factory=list, max_length=MOST_CONDITIONS)
    exclude: list[Id] = Field(default_factory=list)
    drop_seen: bool = True
    seen_types: list[Text] = Field(default_factory=list)
    max_age_days: float | None = Field(default=None, ge=0)

    def filters(self) -> Filters:
        return Filters(
            categories=tuple(self.categories),
            where=tuple(one.condition() for one in self.where),
            exclude=tuple(self.exclude),
            drop_seen=self.drop_seen,
            seen_types=tuple(self.seen_types),
            max_age_days=self.max_age_days,
        )


class RecommendBody(_Ours):
    """A request for a list: for a user, for a history that is given here, for a text, or for anyone."""

    model_config = _shown(
        {
            "user": "ann",
            "k": 10,
            "filters": {
                "categories": ["Comedy"],
                "where": [{"field": "price", "op": "le", "value": 20}],
                "exclude": ["m7"],
                "drop_seen": True,
            },
            "explain": True,
        }
    )

    user: Id | None = Field(default=None, examples=["ann"])
    history: list[Id] | None = Field(
        default=None, max_length=MOST_HISTORY, description="item ids, oldest first; replaces what is known"
    )
    text: Wish | None = Field(
        default=None, max_length=LONGEST_WISH, description="a wish in words: only what answers it is shown"
    )
    meaning: float = Field(default=0.5, ge=0, le=1, description="for a text: 0 matches words only, 1 meaning only")
    personal: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="for a text: the history's share of the score; null is 0.5 where `history` is given here, else 0",
    )
    k: int = Field(default=10, ge=1)
    offset: int = Field(default=0, ge=0, le=1_000_000)
    filters: FiltersBody = Field(default_factory=lambda: FiltersBody())
    without: list[Id] = Field(
        default_factory=list,
        max_length=MOST_HISTORY,
        description="history items to leave out: what if they were unseen?",
    )
    diversity: float | None = Field(default=None, ge=0, le=1, description="0 by score alone, 1 as different as can be")
    explore: int | None = Field(
        default=None, ge=0, le=100, description="places that go to new or rare items; null as the release is set"
    )
    explain: bool = Field(default=True, description="give each item its reason")
    probability: bool | None = Field(
        default=None, description="give each item the chance to be chosen next; null as serve.probability says"
    )


class SearchBody(_Ours):
    """A search in words."""

    model_config = _shown({"q": "a bakery on the moon", "k": 10, "meaning": 0.5, "user": "ann", "personal": 0.2})

    q: Wish = Field(default="", examples=["a quiet film about the sea"], max_length=LONGEST_WISH)
    k: int = Field(default=10, ge=1)
    offset: int = Field(default=0, ge=0, le=1_000_000)
    cursor: str | None = Field(default=None, description="`cursor` of the page before")
    meaning: float = Field(default=0.5, ge=0, le=1, description="0 matches words only, 1 meaning only")
    user: Id | None = None
    personal: float = Field(default=0.0, ge=0, le=1, description="0 for everyone, 1 by the history only")
    filters: FiltersBody = Field(default_factory=lambda: FiltersBody(drop_seen=False))


class RollbackBody(_Ours):
    """Which release to serve; the one before the current one where it is absent."""

    stamp: Text | None = Field(default=None, examples=["20240501T120000-03d072d1"])


def parse_where(text: str) -> Condition:
    """A condition written as field:op:value, such as price:le:20 or colour:in:red|blue.

    Raises:
        DataError: it is not.
    """
    parts = text.split(":", 2)
    if len(parts) != 3 or parts[1] not in ("eq", "in", "ge", "le", "gt", "lt"):
        raise DataError(f"where: {text!r} is not field:op:value with op eq, in, ge, le, gt or lt", field="where")
    field, op, value = parts
    is_same = op in ("eq", "in")
    values = [_scalar(one, is_same) for one in (value.split("|") if op == "in" else [value])]
    return ConditionBody(field=field, op=op, value=values if op == "in" else values[0]).condition()  # type: ignore[arg-type]


def _scalar(text: str, is_same: bool) -> Scalar:
    """A value out of a text; one that is to be the `same` and is not written as numbers are may be a code: it stays."""
    if text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text  # "nan" may be a word of the catalogue
    return text if is_same and text not in (repr(number), repr(number).removesuffix(".0")) else number


def _takes(op: str) -> str:
    return "a list" if op == "in" else "one value"
