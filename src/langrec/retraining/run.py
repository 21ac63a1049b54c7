"""The order of a retraining, on one page.

take the store as it is -> clean -> cut at the last event of the release in use -> train a candidate -> judge it against
the release in use on what came later -> promote it, or keep it with the reason -> remove old releases.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from langrec.bundle import Bundle
from langrec.data.dataset import Dataset
from langrec.data.events import DAY_MS
from langrec.data.splits import Split
from langrec.errors import DataError
from langrec.protocols import Progress
from langrec.releases import keep_back, promote, prune
from langrec.retraining.from_store import Taken, read, take
from langrec.retraining.guard import IN_USE, Verdict, check, fresh_split, judge, judge_by_record, last_event, serving
from langrec.retraining.lease import SECONDS, Held, lease
from langrec.service.store import audit, receipts
from langrec.service.store.importing import imported_up_to
from langrec.service.store.schema import events, retrainings
from langrec.service.store.store import Store
from langrec.settings import Settings
from langrec.training import train

LEASE = "retrain"
# What the audit calls what became of a release.
ACTS = {"promoted": "promote release", "kept": "keep release back"}
# In the folder of the releases; what an interrupted run had taken from the store, and its steps.
WORK = ".retrain"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a retraining.

    Attributes:
        state: promoted, kept, or nothing to do.
        reason: one sentence.
        release: the stamp of the new release; None where nothing was trained.
        figures: what it was judged by.
        removed: stamps of the releases that were removed.
        receipts: deletions whose retraining this was.
        seconds: it took.
    """

    state: str
    reason: str
    release: str | None = None
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    removed: tuple[str, ...] = ()
    receipts: int = 0
    seconds: float = 0.0


def retrain(
    releases: Path,
    store: Store,
    settings: Settings | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    lease_seconds: float = SECONDS,
    actor: str | None = None,
) -> Outcome:
    """Trains on the store's events, and promotes the new release if it is no worse than the one in use.

    Args:
        releases: the folder of releases that servers watch.
        store: their store.
        settings: None = those of the release in use, with [retrain] at its defaults.
        force: train with few new events too, and promote whatever the comparison says.
        progress: is told each step.
        lease_seconds: after which a retraining that is not heard of is taken for dead.
        actor: who it is by in the audit; None = whoever runs this process.

    Raises:
        Held: another retraining runs.
        BundleError: there is no release in use.
        DataError: the store holds nothing to learn from.
        SettingsError: see `guard.check`.
    """
    with lease(store, LEASE, lease_seconds) as lost:
        started = time.time()
        in_use = Bundle.open(releases)
        settings = settings or in_use.settings
        check(settings)
        few = None if force else _too_few(store, in_use, settings)
        if few:
            return Outcome("nothing to do", few)
        _close_those_that_died(store)
        row = _begin(store)
        try:
            outcome = _run(releases, store, settings, in_use, force, progress, lost)
        except BaseException as error:
            _end(store, row, "failed", None, {"reason": str(error)[:2000]})
            raise
        outcome = dataclasses.replace(outcome, seconds=round(time.time() - started, 1))
        detail = {name: getattr(outcome, name) for name in ("reason", "figures", "receipts", "seconds")}
        act = outcome.state, in_use.stamp, actor or audit.cli_actor()
        _end(store, row, outcome.state, outcome.release, {**detail, "removed": list(outcome.removed)}, act)
        return outcome


def _run(
    releases: Path,
    store: Store,
    settings: Settings,
    in_use: Bundle,
    force: bool,
    progress: Progress | None,
    lost: threading.Event,
) -> Outcome:
    work = releases / WORK
    fields = tuple(in_use.manifest["data"]["text_fields"])
    taken = take(store, work, fields)
    try:
        dataset = _fit_to_learn_from(taken, work, fields, settings)
    except DataError:
        # The next run must not find the same again: events may have come by then.
        shutil.rmtree(work, ignore_errors=True)
        raise
    split = fresh_split(dataset, last_event(in_use.folder), fewest=settings.retrain.min_questions)
    rivals = {} if split is None else {IN_USE: serving(in_use.recommender(), dataset)}
    folder, report = train(
        dataset, settings, releases, progress=progress, steps=work / "steps", split=split, rivals=rivals, use=False
    )
    verdict = (
        None
        if split is None
        else judge(report, *_before(dataset, split, settings), settings.retrain, settings.evaluate)
    )
    if verdict is None:
        verdict = judge_by_record(report, in_use, settings.retrain)
    if force and not verdict.promoted:
        verdict = Verdict(True, f"{verdict.reason}; promoted all the same, as --force has it", verdict.figures)
    noted, removed = 0, []
    if lost.is_set():
        # It stood still for so long that another may be at it, on the same work and perhaps with newer events.
        raise Held(f"{LEASE}: this retraining lost its lease; {folder.name} stays a candidate", field=LEASE)
    if verdict.promoted:
        promote(releases, folder.name)
        with store.write() as connection:
            noted = receipts.note_retrained(connection, folder.name, taken.removals, int(time.time() * 1000))
        removed = prune(releases, settings.retrain.keep)
    else:
        keep_back(folder, verdict.reason)
        removed = prune(releases, settings.retrain.keep + 1)
    shutil.rmtree(work, ignore_errors=True)
    state = "promoted" if verdict.promoted else "kept"
    return Outcome(state, verdict.reason, folder.name, verdict.figures, tuple(removed), noted)


def _fit_to_learn_from(taken: Taken, work: Path, fields: tuple[str, ...], settings: Settings) -> Dataset:
    _check_fresh(taken, settings)
    dataset, _ = read(work, fields, settings.data)
    if not len(dataset.events):
        raise DataError("the store holds no event to learn from")
    return dataset


def stand_back(settings: Settings) -> None:
    """Gives way to others on this machine: niceness and threads of linear algebra, for the rest of this process."""
    from threadpoolctl import threadpool_limits

    if settings.retrain.nice > 0 and hasattr(os, "nice"):
        os.nice(settings.retrain.nice)
    threadpool_limits(settings.retrain.threads)


def _before(
    dataset: Dataset, split: Split, settings: Settings
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], list[str]]:
    seen = np.concatenate([split.train.items, split.valid.items])
    return np.bincount(seen, minlength=len(dataset.catalogue)), dataset.catalogue.texts(settings.encoder.fields)


def _too_few(store: Store, in_use: Bundle, settings: Settings) -> str:
    """Why nothing is to be trained; empty where something is."""
    with store.read() as connection:
        waiting = receipts.scheduled(connection)
        after = imported_up_to(connection, in_use.stamp)
        last = last_event(in_use.folder)
        arrived = sa.select(sa.func.count()).select_from(events).where(sa.or_(events.c.seq > after, events.c.at > last))
        new = int(connection.execute(arrived).scalar_one())
    if waiting or new >= settings.retrain.min_events:
        return ""
    return f"{new:,} events beyond the release in use; retrain.min_events is {settings.retrain.min_events:,}"


def _check_fresh(taken: Taken, settings: Settings) -> None:
    if not settings.retrain.fresh_days or taken.newest is None:
        return
    days = (time.time() * 1000 - taken.newest) / DAY_MS
    if days > settings.retrain.fresh_days:
        newest = datetime.fromtimestamp(taken.newest / 1000, UTC).isoformat(timespec="minutes")
        raise DataError(
            f"the newest event is of {newest}, {days:.1f} days ago; retrain.fresh_days is "
            f"{settings.retrain.fresh_days:g}: do events still arrive?"
        )


def _begin(store: Store) -> int:
    with store.write() as connection:
        row = {"started_at": int(time.time() * 1000), "state": "running", "detail": {}}
        made = connection.execute(retrainings.insert().values(**row).returning(retrainings.c.seq))
        return int(made.scalar_one())


def _end(
    store: Store,
    row: int,
    state: str,
    release: str | None,
    detail: dict[str, Any],
    act: tuple[str, str, str] | None = None,
) -> None:
    """Writes down what became of a run, and in the audit what became of its release.

    Args:
        act: the state, the release that was in use, and who did it.
    """
    with store.write() as connection:
        if act is not None and act[0] in ACTS:
            said = {"reason": detail["reason"], "in use before": act[1], "removed": detail["removed"]}
            audit.note(connection, act[2], ACTS[act[0]], release or "", said)
        values = {"finished_at": int(time.time() * 1000), "state": state, "release": release, "detail": detail}
        connection.execute(retrainings.update().where(retrainings.c.seq == row).values(**values))


def _close_those_that_died(store: Store) -> None:
    """What is still called running has died: this process holds the lease."""
    with store.write() as connection:
        died = retrainings.update().where(retrainings.c.state == "running")
        connection.execute(died.values(state="stopped", detail={"reason": "its process ended before it was done"}))
