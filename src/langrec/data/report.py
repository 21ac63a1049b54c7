"""What cleaning did: each step with its count, examples of places, and the way to put it right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Action = Literal["refused", "changed", "kept"]


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of finding.

    Attributes:
        name: the step, as settings and tests call it.
        count: rows (or items, columns, files) concerned.
        action: refused (set aside, in rejected.parquet), changed, or kept (only reported).
        what: the finding in words.
        places: examples: file and row.
        fix: what a person can do about it.
    """

    name: str
    count: int
    action: Action
    what: str
    places: tuple[str, ...] = ()
    fix: str = ""


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """Counts before and after, and the steps that found something.

    Attributes:
        rows_in: data rows of the events file.
        events: events that are left.
        items_in: data rows of the item file, 0 without one.
        items: items of the catalogue.
        users: users with an event.
        users_in: data rows of the users file, 0 without one.
        steps: in the order in which they ran; a step without a finding is not listed.
    """

    rows_in: int
    events: int
    items_in: int
    items: int
    users: int
    users_in: int = 0
    steps: tuple[Step, ...] = ()

    def count(self, name: str) -> int:
        """How many rows a step concerned, 0 where it found nothing."""
        return sum(step.count for step in self.steps if step.name == name)

    @property
    def refused(self) -> int:
        """Rows set aside in all."""
        return sum(step.count for step in self.steps if step.action == "refused")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "steps": [{**asdict(step), "places": list(step.places)} for step in self.steps]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CleaningReport:
        """The inverse of `to_dict`."""
        steps = tuple(Step(**{**step, "places": tuple(step["places"])}) for step in values["steps"])
        return cls(**{**values, "steps": steps})

    def table(self) -> RichTable:
        """The report for a terminal."""
        return steps_table(
            self.steps,
            f"{self.events:,} of {self.rows_in:,} rows are events; {self.users:,} users, {self.items:,} items",
        )


def steps_table(steps: Sequence[Step], title: str) -> RichTable:
    """Findings as a table for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name, justify in (
        ("count", "right"),
        ("finding", "left"),
        ("done", "left"),
        ("where", "left"),
        ("fix", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for step in steps:
        places = "\n".join(escape(place) for place in step.places[:3])
        table.add_row(f"{step.count:,}", escape(step.what), step.action, places, escape(step.fix))
    return table
