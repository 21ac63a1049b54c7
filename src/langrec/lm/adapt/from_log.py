"""Histories with candidates, and pairs, from an event log by itself: each event asks about its item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from langrec.data.dataset import Dataset
from langrec.data.events import Events, joined
from langrec.data.load import load_dataset
from langrec.data.splits import split_events
from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.examples import Choices
from langrec.lm.adapt.pairs import Pairs
from langrec.lm.adapt.question import LATEST, LIKED
from langrec.settings import EncoderSettings

# Rows drawn of each part: adaptation does not need millions.
MOST = {"train": 20_000, "valid": 3_000, "test": 5_000}


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """An event and what its user did before it.

    Attributes:
        user: user number.
        item: item number.
        before: numbers of up to LATEST earlier items, oldest first.
        liked: whether each of these was liked.
        label: how much the item was liked, in [0, 1].
    """

    user: int
    item: int
    before: tuple[int, ...]
    liked: tuple[bool, ...]
    label: float


class FromLog:
    """A log, cut by time into training, validation and test.

    Attributes:
        rated: True where events hold ratings that are asked about; else every event is a like.
        train: the events of training.
        notes: what was done, for people.
    """

    def __init__(self, events: Path, items: Path | None, seed: int, asks: str = "auto", past: str = "texts") -> None:
        """Reads the log.

        Args:
            asks: choices takes every event for a like, whatever it was rated.
            past: what the items of a history are read by, texts or titles.

        Raises:
            DataError: it cannot be read, or no user has two events.
        """
        self.dataset: Dataset = load_dataset(events, items)[0]
        self.texts = self.dataset.catalogue.texts(EncoderSettings().fields)
        self.past = self.dataset.catalogue.titles if past == "titles" else tuple(self.texts)
        log = self.dataset.events
        self.rated = bool(np.isfinite(log.values).mean() > 0.5) if len(log) else False
        self.rated = self.rated and asks != "choices"
        self.highest = float(np.nanmax(log.values)) if self.rated else 1.0
        self.seed = seed
        self.notes: list[str] = []
        split = split_events(log, len(self.dataset.users))
        self.train = split.train
        self._drawn: list[str] = []
        self.asked = {
            "train": self._asked(split.train, None, "train"),
            "valid": self._asked(split.valid, split.train, "valid"),
            "test": self._asked(split.test, joined(split.train, split.valid), "test"),
        }
        for name, rows in self.asked.items():
            if not rows:
                raise DataError(f"{events}: no event of its {name} part has an earlier one of the same user")
        counts = ", ".join(f"{len(rows)} {name}" for name, rows in self.asked.items())
        self.notes.append(f"Events were cut by time; each with an earlier one of its user is a row: {counts}.")
        if self._drawn:
            self.notes.append(f"Rows of large parts were drawn by seed {seed}: {', '.join(self._drawn)}.")

    def _asked(self, part: Events, earlier: Events | None, name: str) -> list[Asked]:
        """Events of a part as questions, drawn by the seed where there are more than MOST."""
        events = part if earlier is None else joined(earlier, part)
        first = len(events) - len(part)
        order = np.argsort(events.users, kind="stable")
        likes = events.values > LIKED * self.highest if self.rated else np.ones(len(events), dtype=bool)
        labels = np.nan_to_num(events.values / self.highest, nan=1.0) if self.rated else np.ones(len(events))
        labels = likes.astype(float) if self.rated else labels
        same = np.flatnonzero(np.diff(events.users[order], prepend=-1))
        begin = np.repeat(same, np.diff(np.append(same, len(order))))
        usable = np.flatnonzero((order >= first) & (np.arange(len(order)) > begin))
        if len(usable) > MOST[name]:
            self._drawn.append(f"{MOST[name]} of {len(usable)} {name}")
            usable = np.sort(np.random.default_rng((self.seed, 7)).permutation(usable)[: MOST[name]])
        found = []
        for at in usable:
            past = order[max(begin[at], at - LATEST) : at]
            row = order[at]
            found.append(
                Asked(
                    int(events.users[row]),
                    int(events.items[row]),
                    tuple(int(i) for i in events.items[past]),
                    tuple(bool(one) for one in likes[past]),
                    float(np.clip(labels[row], 0, 1)),
                )
            )
        return found

    def choices(self, name: str, hard: str = "none") -> Choices:
        """A part as candidates beside histories; where no rating counts, with a sampled negative for each.

        Args:
            hard: the scorer that finds a hard negative for each row too (`negatives.mined`); none does not.

        Raises:
            SettingsError: hard negatives beside ratings, which say themselves what was not liked.
        """
        asked = self.asked[name]
        rows = list(asked)
        if self.rated and hard != "none":
            raise SettingsError(
                f"--hard-negatives {hard}: the log's ratings say what was not liked; add --set asks=choices",
                field="adapt.hard_negatives",
            )
        if not self.rated:
            rows += self._negatives(asked, name)
            if hard != "none":
                rows += self._hard_negatives(asked, hard)
        users = np.array([self.dataset.users.names[row.user] for row in rows])
        return Choices(
            tuple(self._names(row, True) for row in rows),
            tuple(self._names(row, False) for row in rows),
            tuple(self.texts[row.item] for row in rows),
            np.array([row.label for row in rows]),
            users,
            np.arange(len(rows), dtype=np.int64),
        )

    def _names(self, row: Asked, kept: bool) -> tuple[str, ...]:
        return tuple(self.past[item] for item, liked in zip(row.before, row.liked, strict=True) if liked is kept)

    def _negatives(self, rows: Sequence[Asked], name: str) -> list[Asked]:
        """As many rows about items that the user never met, drawn evenly from the catalogue."""
        rng = np.random.default_rng((self.seed, 8, len(name)))
        log, n = self.dataset.events, len(self.texts)
        met: set[tuple[int, int]] = set(zip(log.users.tolist(), log.items.tolist(), strict=True))
        found = []
        for row in rows:
            for item in rng.integers(0, n, 20).tolist():
                if (row.user, item) not in met:
                    found.append(Asked(row.user, item, row.before, row.liked, 0.0))
                    break
        note = "No rating counts: each event is a like, beside one item that its user never met, drawn evenly."
        if note not in self.notes:
            self.notes.append(note)
        return found

    def _hard_negatives(self, rows: Sequence[Asked], hard: str) -> list[Asked]:
        """The same histories beside items that a simple scorer takes for the answer."""
        texts = tuple("; ".join(reversed(self._names(row, True))) for row in rows)
        found = self._mined(rows, texts, hard)
        note = f"Beside each like stands an item that {hard} ranks high and its user had not met in training."
        if note not in self.notes:
            self.notes.append(note)
        return [
            Asked(row.user, int(item), row.before, row.liked, 0.0)
            for row, item in zip(rows, found, strict=True)
            if item >= 0
        ]

    def pairs(self, name: str, hard: str = "none", of: str = "histories") -> Pairs:
        """The liked events of a part as pairs: the liked history, newest first, and the item.

        Args:
            hard: the scorer that finds a hard negative for each row (`negatives.mined`); none does not.
            of: items has one of the liked items stand for the history, its text for their titles.

        Raises:
            DataError: no liked event has a liked one before it.
        """
        rows = [row for row in self.asked[name] if row.label > LIKED and any(row.liked)]
        if of == "items":
            rows, anchors = self._beside(rows, name)
        else:
            titles = [title or text for title, text in zip(self.dataset.catalogue.titles, self.texts, strict=True)]
            liked = ([titles[item] for item, kept in zip(row.before, row.liked, strict=True) if kept] for row in rows)
            anchors = tuple("; ".join(reversed(past)) for past in liked)
        if not rows:
            raise DataError(f"no like of the {name} part has another one of the same user before it")
        if len(rows) < len(self.asked[name]):
            what = "likes after another one" + (", both with texts that differ" if of == "items" else "")
            self.notes.append(
                f"{len(rows)} of the {len(self.asked[name])} {name} rows are {what}: these are the pairs."
            )
        users = np.array([self.dataset.users.names[row.user] for row in rows])
        positives = tuple(self.texts[row.item] for row in rows)
        places: npt.NDArray[np.int64] = np.arange(len(rows), dtype=np.int64)
        negatives = ("",) * len(rows) if hard == "none" else self._hard(rows, anchors, hard)
        return Pairs(anchors, positives, negatives, users, places)

    def _beside(self, rows: Sequence[Asked], name: str) -> tuple[list[Asked], tuple[str, ...]]:
        """The rows whose item has a text, and beside each that of an earlier like: another one than the item's own."""
        rng, found = np.random.default_rng((self.seed, 13, len(name))), list[tuple[Asked, str]]()
        for row in rows:
            own = self.texts[row.item]
            liked = (item for item, kept in zip(row.before, row.liked, strict=True) if kept)
            others = [text for text in (self.texts[item] for item in liked) if text.strip() and text != own]
            if others and own.strip():
                found.append((row, others[rng.integers(len(others))]))
        return [row for row, _ in found], tuple(text for _, text in found)

    def _hard(self, rows: Sequence[Asked], anchors: Sequence[str], hard: str) -> tuple[str, ...]:
        """A hard negative's text for each row, "" where none was found."""
        return tuple(self.texts[item] if item >= 0 else "" for item in self._mined(rows, anchors, hard))

    def _mined(self, rows: Sequence[Asked], anchors: Sequence[str], hard: str) -> npt.NDArray[np.int64]:
        """(len(rows),) number of a hard negative, -1 where none was found."""
        from langrec.lm.adapt.negatives import block_of, mined

        users = np.array([row.user for row in rows], dtype=np.int32)
        right = np.array([row.item for row in rows], dtype=np.int32)
        liked = ((item for item, kept in zip(row.before, row.liked, strict=True) if kept) for row in rows)
        histories = [np.fromiter(past, dtype=np.int32) for past in liked]
        asked = block_of(users, histories, anchors, np.zeros(len(rows), dtype=np.int64))
        return mined(hard, self.train, len(self.dataset.users), self.texts, asked, right, self.seed)
