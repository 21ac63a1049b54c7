"""What a study looks through: for each setting a list of choices, or a range."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langrec.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        whole: whole numbers only.
        log: each order of magnitude is as likely as the next.
    """

    low: float
    high: float
    whole: bool
    log: bool = False


# By setting: its choices as they would be written on the command line, or a range.
Space = Mapping[str, tuple[str, ...] | Range]


def parse_space(texts: Sequence[str]) -> Space:
    """The space of `key=a,b,c` and `key=low..high[:log]` texts.

    Choices that hold commas themselves are parted by semicolons: `text_tower.head=512;512,256`.

    Raises:
        SettingsError: a text is neither, a range is empty, or a setting is named twice.
    """
    space: dict[str, tuple[str, ...] | Range] = {}
    for text in texts:
        name, sign, values = (part.strip() for part in text.partition("="))
        if not (sign and name and values):
            raise SettingsError(f"--space {text}: write it as key=a,b,c or key=low..high[:log]", field="space")
        if name in space:
            raise SettingsError(f"--space {text}: {name} is named twice; write it once", field="space")
        space[name] = _range(text, values) if ".." in values else _choices(text, values)
    if not space:
        raise SettingsError("--space: name at least one setting, such as id_tower.rate=1e-4..1e-2:log", field="space")
    return space


def ends(space: Space) -> Iterator[tuple[str, str]]:
    """(setting, value) of every choice and of both ends of every range: what is tried out before any trial."""
    for name, part in space.items():
        for value in (written(part.low), written(part.high)) if isinstance(part, Range) else part:
            yield name, value


def combinations(space: Space, at_most: int) -> list[dict[str, Any]] | None:
    """Every combination, in order, where there are at most so many; else None."""
    parts: list[Sequence[Any]] = []
    for part in space.values():
        if isinstance(part, Range):
            if not part.whole:
                return None
            parts.append(range(int(part.low), int(part.high) + 1))
        else:
            parts.append(part)
    if math.prod(len(part) for part in parts) > at_most:
        return None
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*parts)]


def written(value: Any) -> str:
    """A value as one would write it on the command line."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def as_dict(space: Space) -> dict[str, Any]:
    """The space as JSON."""
    return {
        name: {"low": part.low, "high": part.high, "whole": part.whole, "log": part.log}
        if isinstance(part, Range)
        else list(part)
        for name, part in space.items()
    }


def _choices(text: str, values: str) -> tuple[str, ...]:
    mark = ";" if ";" in values else ","
    found = tuple(dict.fromkeys(part.strip() for part in values.split(mark) if part.strip()))
    if not found:
        raise SettingsError(f"--space {text}: names no value", field="space")
    return found


def _range(text: str, values: str) -> Range:
    numbers, mark, how = values.partition(":")
    low, _, high = numbers.partition("..")
    if mark and how.strip() != "log":
        raise SettingsError(f"--space {text}: {how!r} is not known; write low..high or low..high:log", field="space")
    try:
        found = Range(float(low), float(high), _is_whole(low) and _is_whole(high), bool(mark))
    except ValueError:
        raise SettingsError(f"--space {text}: {numbers} is no range of numbers", field="space") from None
    if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
        raise SettingsError(f"--space {text}: {numbers} must rise", field="space")
    if found.log and found.low <= 0:
        raise SettingsError(f"--space {text}: a range with :log must begin above 0", field="space")
    return found


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()
