"""Events that arrived after a release's training, for the scorers that count them: popularity moves while serving.

The store also holds the events that the release was trained on. A release counts those that are later than its last
event, or that arrived after its import: neither kind can be among its own. An event that had arrived before and is not
later was in reach of the training, which used it or left it out.

What somebody deleted is taken out again: that of the release when it is loaded, and all of it within seconds
(`growing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import sqlalchemy as sa

from langrec.errors import BundleError
from langrec.protocols import EventRemover
from langrec.registry import find
from langrec.service.store.importing import imported_up_to
from langrec.service.store.schema import events, removed_events, users

if TYPE_CHECKING:
    from langrec.recommender import Recommender
    from langrec.service.served.snapshot import Snapshot
    from langrec.settings import DataSettings

# Events that one request counts at most, so that it does not wait for a long import of somebody's log.
MOST = 20_000
_CHUNK = 100_000

_COLUMNS = (events.c.seq, events.c.item_id, events.c.type, events.c.at, events.c.value)
_arrived = (
    sa.select(*_COLUMNS).where(events.c.seq > sa.bindparam("after")).order_by(events.c.seq).limit(sa.bindparam("most"))
)
_later = (
    sa.select(*_COLUMNS)
    .where(events.c.seq > sa.bindparam("after"), events.c.seq <= sa.bindparam("upto"), events.c.at > sa.bindparam("at"))
    .order_by(events.c.seq)
    .limit(sa.bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much an event says for its item: by the rules that the release's own events were weighed by.

    Attributes:
        types: gain of each event type; types not named weigh 1.
        top: the highest rating of the training, where a rating's gain is scaled by it; None where it is not.
    """

    types: Mapping[str, float]
    top: float | None = None

    @classmethod
    def of(cls, settings: DataSettings, folder: Path) -> Weights:
        """The weights of a release in a folder.

        Raises:
            BundleError: its events cannot be read.
        """
        top = _column(folder, pl.col("value").fill_nan(None).max()) if settings.rating_gain == "scaled" else None
        return cls(settings.type_weights, top if top and top > 0 else None)

    def gain(self, kind: str, value: float | None) -> float:
        """The gain of one event; under scaling that of a rating goes by its value, at most the training's highest."""
        weight = float(self.types.get(kind.lower(), 1.0))
        if self.top is None or value is None or value != value or kind.lower() != "rating":
            return weight
        return weight * min(max(value / self.top, 0.0), 1.0)


def count_new(
    connection: sa.Connection, recommender: Recommender, weights: Weights, after: int, most: int = MOST
) -> tuple[Recommender, int]:
    """The recommender that counts the events that arrived after a place in the log, and the place it stands at now."""
    rows = connection.execute(_arrived, {"after": after, "most": most}).all()
    return (_counted(recommender, weights, rows), int(rows[-1].seq)) if rows else (recommender, after)


def count_all(
    connection: sa.Connection, recommender: Recommender, weights: Weights, folder: Path, stamp: str
) -> tuple[Recommender, int]:
    """A release's recommender that counts everything in the store that the release was not trained on, and the place.

    Raises:
        BundleError: the release's events cannot be read.
    """
    last = _column(folder, pl.col("at").max())
    upto = imported_up_to(connection, stamp)
    for rows in _chunks(connection, upto, -1 if last is None else last):
        recommender = _counted(recommender, weights, rows)
    while True:
        recommender, place = count_new(connection, recommender, weights, upto, _CHUNK)
        if place == upto:
            return recommender, place
        upto = place


def without_forgotten(
    connection: sa.Connection, recommender: Recommender, weights: Weights, folder: Path
) -> Recommender:
    """A release's recommender that does not count what the release was trained on and somebody has deleted since.

    Raises:
        BundleError: the release's events cannot be read.
    """
    gone = list(connection.execute(sa.select(users.c.user_id).where(users.c.deleted == sa.true())).scalars())
    keys = connection.execute(sa.select(removed_events)).all()
    if not gone and not keys:
        return recommender
    path = folder / "catalog" / "events.parquet"
    names = ("user_id", "item_id", "type", "at")
    removed = pl.DataFrame(
        [tuple(key) for key in keys],
        schema={"user_id": pl.String, "item_id": pl.String, "type": pl.String, "at": pl.Int64},
        orient="row",
    )
    try:
        log = pl.scan_parquet(path)
        of_users = log.filter(pl.col("user_id").is_in(gone))
        single = log.filter(~pl.col("user_id").is_in(gone)).join(removed.lazy(), on=names, how="semi")
        rows = pl.concat([of_users, single]).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    gains = np.array(
        [weights.gain(kind, value) for kind, value in zip(rows["type"], rows["value"], strict=True)], dtype=np.float32
    )
    return recommender.without_events(rows["item_id"].to_list(), rows["at"].to_numpy().astype(np.int64), gains)


def recounted(connection: sa.Connection, snapshot: Snapshot) -> tuple[dict[str, Any], int]:
    """The popularity scorers of a snapshot's release, counted anew as the store is now, and the place in the log.

    Raises:
        BundleError: the release cannot be read.
    """
    from langrec.bundle import Bundle

    folder, weights = snapshot.folder, snapshot.weights
    manifest = Bundle.open(folder, verify=False).manifest
    names = [name for name, one in snapshot.recommender.fusion.scorers.items() if isinstance(one, EventRemover)]
    bare = {name: find("scorers", manifest["models"][name]["kind"]).load(folder / "retrieval" / name) for name in names}
    left = without_forgotten(connection, snapshot.recommender.with_scorers(bare), weights, folder)
    counting, place = count_all(connection, left, weights, folder, snapshot.stamp)
    return {name: counting.fusion.scorers[name] for name in names}, place


def _chunks(connection: sa.Connection, upto: int, last: int) -> Iterator[list[Any]]:
    after = 0
    while rows := connection.execute(_later, {"after": after, "upto": upto, "at": last, "most": _CHUNK}).all():
        yield list(rows)
        after = int(rows[-1].seq)


def _counted(recommender: Recommender, weights: Weights, rows: Sequence[Any]) -> Recommender:
    gains = np.array([weights.gain(row.type, row.value) for row in rows], dtype=np.float32)
    said = gains != 0
    at = np.array([row.at for row in rows], dtype=np.int64)
    items = [row.item_id for row, gain in zip(rows, gains, strict=True) if gain]
    return recommender.with_events(items, at[said], gains[said])


def _column(folder: Path, what: pl.Expr) -> Any:
    path = folder / "catalog" / "events.parquet"
    try:
        return pl.scan_parquet(path).select(what).collect().item()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
