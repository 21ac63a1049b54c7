"""A check of files: every problem with its place and a way out, also where the files cannot be used at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langrec.data.cleaning import Ledger
from langrec.data.load import load_into
from langrec.data.report import Step
from langrec.errors import DataError
from langrec.settings import DataSettings


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found.

    Attributes:
        title: the outcome in one line.
        steps: the findings, as cleaning reports them.
        counts: rows, events, users and items; empty where the files cannot be used.
        error: why the files cannot be used; empty where they can.
    """

    title: str
    steps: tuple[Step, ...]
    counts: Mapping[str, int]
    error: str = ""

    @property
    def ok(self) -> bool:
        """True where nothing was refused and the files can be used."""
        return not self.error and all(step.action != "refused" for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        steps = [{**asdict(step), "places": list(step.places)} for step in self.steps]
        return {"ok": self.ok, "title": self.title, "error": self.error, **self.counts, "problems": steps}


def check_data(
    events: Path | None,
    items: Path | None,
    settings: DataSettings,
    *,
    users: Path | None = None,
    rejected: Path | None = None,
) -> Check:
    """Loads the files as training would and reports all findings.

    What was found before a file turned out to be unusable is reported too. In strict mode the first kind of problem
    that refuses rows is the error.
    """
    ledger = Ledger(settings.strict)
    try:
        _, report = load_into(ledger, events, items, settings, lambda _: None, users)
    except DataError as error:
        return Check("the data cannot be used", tuple(ledger.steps), {}, str(error))
    finally:
        if rejected is not None:
            rejected.parent.mkdir(parents=True, exist_ok=True)
            ledger.refused().write_parquet(rejected)
    counts = {
        "rows_in": report.rows_in,
        "events": report.events,
        "users": report.users,
        "items": report.items,
        "refused": report.refused,
    }
    title = (
        f"{report.events:,} of {report.rows_in:,} rows are events; {report.users:,} users, {report.items:,} items; "
        f"{report.refused:,} rows refused"
    )
    return Check(title, report.steps, counts)
