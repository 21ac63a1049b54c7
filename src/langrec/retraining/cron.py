"""When a cron expression is due: minute, hour, day of the month, month, day of the week; in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from langrec.errors import SettingsError

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "day of the week": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_FIRST = {"month": 1, "day of the week": 0}
# Within so many days every date that exists comes: 29 February stands aside for eight years around 2100.
_FARTHEST = 366 * 9


@dataclass(frozen=True, slots=True)
class Cron:
    """The minutes at which something is due.

    Attributes:
        text: the expression.
        minutes: of an hour, as are `hours` of a day, `days` of a month, `months`, and `weekdays` with Sunday = 0.
        either: days and weekdays are both restricted, and it is enough that one of them fits, as cron has it.
    """

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """An expression such as `0 3 * * *`: numbers, names of months and weekdays, `*`, lists, ranges and steps.

        Raises:
            SettingsError: naming the field that is wrong, or that no such date exists.
        """
        parts = text.split()
        if len(parts) != len(_FIELDS):
            raise SettingsError(
                f"retrain: {text!r} has {len(parts)} fields; a cron expression has five, such as '0 3 * * *' "
                "(minute, hour, day of the month, month, day of the week)",
                field="retrain",
            )
        found = [_values(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
        weekdays = frozenset(day % 7 for day in found[4])
        either = not parts[2].startswith("*") and not parts[4].startswith("*")
        made = cls(text, found[0], found[1], found[2], found[3], weekdays, either)
        made.next(datetime(2000, 1, 1, tzinfo=UTC))
        return made

    def next(self, after: datetime) -> datetime:
        """The first due minute after a moment, in UTC.

        Raises:
            SettingsError: there is none, as on 30 February.
        """
        at = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = at.replace(hour=0, minute=0)
        for _ in range(_FARTHEST):
            if self._fits(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        due = day.replace(hour=hour, minute=minute)
                        if due >= at:
                            return due
            day += timedelta(days=1)
        raise SettingsError(f"retrain: {self.text!r} never comes: there is no such date", field="retrain")

    def _fits(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either else in_month and in_week


def _values(part: str, name: str, low: int, high: int) -> frozenset[int]:
    """The numbers that a field names."""
    values: set[int] = set()
    for one in part.split(","):
        span, slash, step_text = one.partition("/")
        step = _number(step_text, name, part) if slash else 1
        if step < 1:
            raise _wrong(part, name, "a step is at least 1")
        if span == "*":
            first, last = low, high
        else:
            start, dash, stop = span.partition("-")
            first = _number(start, name, part)
            last = _number(stop, name, part) if dash else (high if slash else first)
        if not low <= first <= high or not low <= last <= high:
            raise _wrong(part, name, f"from {low} to {high}")
        if first > last:
            raise _wrong(part, name, f"{first} comes after {last}")
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, name: str, part: str) -> int:
    names = _NAMES.get(name, ())
    if text.lower() in names:
        return names.index(text.lower()) + _FIRST[name]
    if not (text.isascii() and text.isdigit()):
        raise _wrong(part, name, "a number" + (f" or one of {', '.join(names)}" if names else ""))
    return int(text)


def _wrong(part: str, name: str, wanted: str) -> SettingsError:
    return SettingsError(f"retrain: {part!r} is no {name} of a cron expression: {wanted}", field="retrain")
