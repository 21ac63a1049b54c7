"""What a worker serves: one immutable snapshot of a release with the store's changes laid over it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from langrec.data.items import Masks
from langrec.data.mapped import at_once
from langrec.encoders.remembered import Held, Remembered
from langrec.errors import BundleError, LangrecError, StoreError
from langrec.protocols import Progress, untold
from langrec.releases import placeless
from langrec.service.served import checked
from langrec.service.served.counting import Weights, count_all, count_new, without_forgotten
from langrec.service.served.differing import changes_from
from langrec.service.served.warming import settle_again, warm
from langrec.service.store import item_rows
from langrec.service.store.importing import import_release
from langrec.service.store.store import Store, number
from langrec.types import FloatMatrix, Item

if TYPE_CHECKING:
    from langrec.recommender import Recommender

_log = logging.getLogger("langrec.service")
# Seconds until a release that the store could not take is looked at again.
_AGAIN = 10.0
# Seconds between two transactions of an import beside requests, whose writes have their turn then.
_TURN = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A recommender as of a revision of the store.

    Attributes:
        stamp: the release.
        folder: its folder.
        recommender: the release's recommender with the changes in it.
        revision: changes up to this revision are in.
        overlay: ids of the items that differ from the release's.
        loaded_at: seconds since 1970 when the release was loaded.
        counted: events up to this place in the log count in the popularity.
        weights: how much an event says.
        removals: what users had deleted up to this revision is out of its popularity.
        grown: how often changed scorers have been taken in since the release was loaded.
    """

    stamp: str
    folder: Path
    recommender: Recommender
    revision: int
    overlay: frozenset[str]
    loaded_at: float
    counted: int
    weights: Weights
    removals: int = 0
    grown: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """Scorers of a release that know what has changed since (see `growing`).

    Attributes:
        stamp: the release that they are of.
        loaded_at: when it was loaded.
        scorers: by name.
        popular: popularity counted anew, by name; empty = as it is.
        counted: the place in the log where that stands.
        removals: what users had deleted up to this revision is out of it.
        number: the how many-th change of the scorers of this process.
    """

    stamp: str
    loaded_at: float
    scorers: Mapping[str, Any]
    popular: Mapping[str, Any]
    counted: int
    removals: int
    number: int


class Releases:
    """Watches the releases folder and the store, and keeps the current snapshot in one attribute.

    Args:
        folder: the releases folder; its file CURRENT names the release in use.
        store: where changes come from.
        pause: seconds between looks at CURRENT.
        popular_pause: seconds between looks for new events, which popularity counts.
        texts: holds the vectors of texts that were asked; None = every text is read again.
        masks: holds what filters keep of a large catalogue; None = each release has its own.
        progress: called while a release is imported into the store (see `import_release`).

    Raises:
        BundleError: there is no release to start with.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        pause: float = 1.0,
        popular_pause: float = 5.0,
        texts: Held | None = None,
        masks: Masks | None = None,
        progress: Progress = untold,
    ) -> None:
        self.folder = folder
        self._store = store
        self.pause = pause
        self._popular_pause = popular_pause
        self._texts = texts
        self._masks = masks
        self._progress = progress
        self._looked = time.monotonic()
        self._loading: threading.Thread | None = None
        self._next: Snapshot | None = None
        self._grown: Grown | None = None
        self.problem: str | None = None
        self._lock = threading.Lock()  # held while a release is loaded, which takes seconds
        self._taking = threading.Lock()  # held while what comes next is put down or taken, which takes no time
        self._seen = self._pointer()
        self.snapshot = self._load_first()
        self._counted = time.monotonic()

    def fresh(self, connection: sa.Connection | None = None) -> Snapshot:
        """The snapshot with everything that the store has acknowledged; call it from one thread only.

        Items are in at once, for one look at a counter; popularity counts new events every few seconds. Histories are
        read from the store.

        Args:
            connection: an open one that sees the store as it is to be seen; None opens one.
        """
        if connection is None:
            with self._store.read() as opened:
                return self.fresh(opened)
        self.look()
        with self._taking:
            if self._next is not None:
                self.snapshot, self._next = self._next, None
            grown, self._grown = self._grown, None
        self.snapshot = _with_grown(self.snapshot, grown)
        if number(connection, "items") > self.snapshot.revision:
            changes = item_rows.changes_since(connection, self.snapshot.revision)
            self.snapshot = _with(self.snapshot, changes)
        if time.monotonic() - self._counted >= self._popular_pause:
            before = self.snapshot.counted
            recommender, counted = count_new(connection, self.snapshot.recommender, self.snapshot.weights, before)
            if counted > before:
                self.snapshot = replace(self.snapshot, recommender=recommender, counted=counted)
            self._counted = time.monotonic()
        return self.snapshot

    @property
    def has_next(self) -> bool:
        """Whether a release is loaded, or scorers were changed, that the next call of `fresh` serves."""
        return self._next is not None or self._grown is not None

    def offer(self, grown: Grown) -> None:
        """Has the next call of `fresh` take these scorers in; any thread may call it."""
        with self._taking:
            before = self._grown
            if (
                before is not None
                and not grown.popular
                and (before.stamp, before.loaded_at)
                == (
                    grown.stamp,
                    grown.loaded_at,
                )
            ):
                grown = replace(grown, popular=before.popular, counted=before.counted, removals=before.removals)
            self._grown = grown

    def switch(self) -> None:
        """Loads what CURRENT names, if it names something else than before; any thread may call it.

        A release that is refused is not looked at again until CURRENT is written anew, unless it was the store that
        failed.
        """
        with self._lock:
            pointer = self._pointer()
            if pointer != self._seen:
                before, self._seen = self._seen, pointer
                try:
                    self._try(pointer[0])
                except StoreError:
                    # Nothing is wrong with the release: a later look tries again.
                    self._seen, self._looked = before, time.monotonic() + _AGAIN

    def look(self) -> None:
        """Begins to load what CURRENT names now, at most once a pause; any thread may call it."""
        if time.monotonic() - self._looked < self.pause or (self._loading is not None and self._loading.is_alive()):
            return
        self._looked = time.monotonic()
        if self._pointer() != self._seen:
            # Loading takes seconds; requests go on with the snapshot in use.
            self._loading = threading.Thread(target=self.switch, name="langrec-loader", daemon=True)
            self._loading.start()

    def _pointer(self) -> tuple[str, float]:
        """What CURRENT says, and when it was written; nothing where it names no folder of this one."""
        path = self.folder / "CURRENT"
        try:
            stamp, at = path.read_text("utf-8").strip(), path.stat().st_mtime
        except (OSError, UnicodeDecodeError):
            return "", 0.0
        return ("" if stamp == ".." or Path(stamp).name != stamp else stamp), at

    def _try(self, stamp: str) -> None:
        """Has a release served next; what stands in its way is said, and raised again where it is the store."""
        with self._taking:
            served = (self._next or self.snapshot).stamp
        if not stamp:
            self.problem = f"CURRENT: cannot be read; serving goes on with {served}"
            _log.error("release refused: %s", self.folder / self.problem)
            return
        if stamp == served:
            self.problem = None
            return
        try:
            found = self._load(stamp, _TURN)
            warm(found.recommender)
            settle_again()
            with self._taking:
                self._next = found
            self.problem = None
            _log.info("release %s takes over from %s", stamp, served)
        except LangrecError as error:
            self.problem = placeless(f"{error.message}; serving goes on with {served}", self.folder)
            _log.error("release %s refused: %s; serving goes on with %s", stamp, error.message, served)
            if isinstance(error, StoreError):
                raise
        except Exception:
            self.problem = f"release {stamp} cannot be loaded; serving goes on with {served}"
            _log.exception("release %s refused", stamp)

    def _load_first(self) -> Snapshot:
        """The release that CURRENT names; where it is damaged, the newest sound one before it."""
        from langrec.releases import releases

        stamp = self._seen[0]
        first: BundleError | None = None

        def candidates() -> Iterator[str]:
            if stamp:
                yield stamp
            yield from (one.stamp for one in releases(self.folder) if one.stamp != stamp and one.kept is None)

        for name in candidates():
            try:
                found = self._load(name)
            except BundleError as error:
                first = first or error
                _log.error("release %s refused: %s", name, error.message)
                continue
            if first is not None:
                self.problem = placeless(f"{first.message}; serving {name} instead", self.folder)
            return found
        if first is not None:
            raise first
        raise BundleError(f"{self.folder}: holds no release; make one with `langrec train --out {self.folder}`")

    def _load(self, stamp: str, pause: float = 0.0) -> Snapshot:
        from langrec.bundle import Bundle

        bundle = Bundle.open(self.folder / stamp, verify=True, checked=checked.told())
        with at_once():
            recommender = _remembering(bundle.recommender(), self._texts, self._masks)
        import_release(
            self._store, bundle.stamp, bundle.folder, recommender.catalogue, pause=pause, progress=self._progress
        )
        changes, revision = changes_from(self._store, bundle.stamp, recommender.catalogue)
        with self._store.read() as connection:
            weights = Weights.of(bundle.settings.data, bundle.folder)
            removals = number(connection, "removals")
            bare = Snapshot(
                bundle.stamp, bundle.folder, recommender, revision, frozenset(), time.time(), 0, weights, removals
            )
            snapshot = replace(_with(bare, changes), revision=revision)
            left = without_forgotten(connection, snapshot.recommender, weights, bundle.folder)
            counting = count_all(connection, left, weights, bundle.folder, bundle.stamp)
        return replace(snapshot, recommender=counting[0], counted=counting[1])


def _remembering(recommender: Recommender, texts: Held | None, masks: Masks | None) -> Recommender:
    """The recommender whose encoders remember the texts asked last, and whose items remember the filters."""
    if masks is not None:
        recommender = replace(recommender, items=recommender.items.holding(masks))
    if texts is None:
        return recommender
    encoders = {space: Remembered(encoder, texts) for space, encoder in recommender.encoders.items()}
    return replace(recommender, encoders=encoders)


def _with_grown(snapshot: Snapshot, grown: Grown | None) -> Snapshot:
    """The snapshot with changed scorers; those of another release, or of another loading, are passed over."""
    if grown is None or (grown.stamp, grown.loaded_at) != (snapshot.stamp, snapshot.loaded_at):
        return snapshot
    recommender = snapshot.recommender.with_scorers({**grown.scorers, **grown.popular})
    snapshot = replace(snapshot, recommender=recommender, grown=grown.number)
    return replace(snapshot, counted=grown.counted, removals=grown.removals) if grown.popular else snapshot


def _with(snapshot: Snapshot, changes: Sequence[item_rows.Change]) -> Snapshot:
    """The snapshot with changes laid over it."""
    if not changes:
        return snapshot
    try:
        return _changed(snapshot, changes)
    except Exception as error:
        if len(changes) == 1:
            # An item that no recommender can take must not stop all others from being served.
            _log.exception("item %r is left as the release has it", changes[0].item_id)
            return replace(snapshot, revision=max(snapshot.revision, changes[0].revision))
        _log.warning("%d changes are taken one by one: %s", len(changes), type(error).__name__)
        for change in changes:
            snapshot = _with(snapshot, [change])
        return snapshot


def _changed(snapshot: Snapshot, changes: Sequence[item_rows.Change]) -> Snapshot:
    changed = [change for change in changes if change.item is not None]
    deleted = [change.item_id for change in changes if change.item is None]
    items = [change.item for change in changed if change.item is not None]
    vectors = _vectors(snapshot.recommender, items, changed)
    return replace(
        snapshot,
        recommender=snapshot.recommender.with_changes(items, deleted, vectors),
        revision=max(snapshot.revision, *(change.revision for change in changes)),
        overlay=snapshot.overlay | {change.item_id for change in changes},
    )


def _vectors(
    recommender: Recommender, items: Sequence[Item], changed: Sequence[item_rows.Change]
) -> dict[str, FloatMatrix] | None:
    """The items' vectors by space: those in the store if the serving encoder made them, the others are made here."""
    encoder = recommender.encoder
    if not items or encoder is None:
        return None
    ready = [change.encoder == encoder.identity and bool(change.vectors) for change in changed]
    missing = [item for item, is_ready in zip(items, ready, strict=True) if not is_ready]
    made = recommender.embed_items(missing) if missing else {}
    spaces = list(made) or list(changed[0].vectors)
    rows: dict[str, list[FloatMatrix]] = {space: [] for space in spaces}
    n_made = 0
    for change, is_ready in zip(changed, ready, strict=True):
        for space in spaces:
            rows[space].append(change.vectors[space] if is_ready else made[space][n_made])
        n_made += not is_ready
    return {space: np.stack(parts).astype(np.float32) for space, parts in rows.items()}
