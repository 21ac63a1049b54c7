"""Writes one set and split as the Parquet files that every peer reads; the targets of the test stay here.

The folder holds, with items numbered by their row in items.parquet:

- items.parquet: `item_id, text, categories`; the whole catalogue.
- fit_valid.parquet, fit_test.parquet: `user_id, item_id, at, value`, oldest first; what a model may learn from before
  it is asked the validation's questions and the test's. Under leave-one-out both are the same rows.
- valid.parquet: `question, user_id, at, history, target`; at most `ranking.tune_questions` questions, as langrec's own
  scorers are tuned on. `history` holds item rows, oldest first, everything that the user did before.
- test.parquet: the same without the target.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from langrec.data.dataset import Dataset
from langrec.data.events import Events, joined
from langrec.data.load import load_dataset
from langrec.data.splits import Split, split_events
from langrec.errors import SettingsError
from langrec.evaluation.protocol import Targets, next_item
from langrec.settings import DataSettings, RankingSettings, Settings, SplitSettings

SETS: dict[str, tuple[str, ...]] = {
    "ml-100k": ("loo", "time"),
    "ml-latest-small": ("loo", "time"),
    "amazon-beauty-2014": ("loo",),
    "amazon-office-2018": ("own",),
    "complete-journey-grocery": ("time",),
}
# Their rows of one user and time stand by item id, which next-item questions would score.
DRAWN = ("ml-latest-small", "complete-journey-grocery")
OWN = "own"  # the parts that the set itself names in a column `part`


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A set, its parts, and the questions of validation and test.

    Attributes:
        name: of the set.
        kind: time, loo or own.
        dataset: the whole set.
        split: its parts; of the set's own parts it says loo, because these know no common time.
        seen: what is fitted on before the test.
        valid: questions that settings are chosen on.
        test: questions that are reported.
    """

    name: str
    kind: str
    dataset: Dataset
    split: Split
    seen: Events
    valid: Targets
    test: Targets

    def stamp(self) -> dict[str, object]:
        """What the numbers depend on, as langrec's own reports say it."""
        cut = self.kind == "time"
        return {
            "set": self.name,
            "split": self.kind,
            "leaks": self.split.leaks,
            "cut": list(SplitSettings().cut) if cut else None,
            "valid_from": self.split.valid_from,
            "test_from": self.split.test_from,
            "data": self.dataset.hash(),
            "n_users": len(self.dataset.users),
            "n_items": len(self.dataset.catalogue),
            "n_events": len(self.dataset.events),
            "valid_questions": len(self.valid),
            "empty_history": "popularity of the training's end",
            **({"equal_times": "drawn"} if self.name in DRAWN else {}),
        }

    def key(self) -> str:
        """Equal data, parts and questions, equal key."""
        digest = hashlib.sha256(json.dumps(self.stamp(), sort_keys=True).encode())
        for events in (self.split.train, self.seen):
            digest.update(events.rows.tobytes())
        for targets in (self.valid, self.test):
            digest.update(targets.events.tobytes())
        return digest.hexdigest()[:16]


def load_set(name: str, data: Path) -> tuple[Dataset, Path]:
    """A shared set as langrec reads it, and its folder; MovieLens-100K is fetched.

    Raises:
        DataError: the folder is absent or cannot be read.
    """
    if name == "ml-100k":
        from langrec.data.fetch import fetch

        folder = fetch(name)
    else:
        folder = data / name
    return load_dataset(folder, None, data_settings(name))[0], folder


def data_settings(name: str) -> DataSettings:
    """How the set is cleaned."""
    return DataSettings(equal_times="drawn" if name in DRAWN else "file")


def ask(name: str, kind: str, data: Path, limit: int | None = None) -> Asked:
    """The set with its parts and questions.

    Args:
        limit: ask at most so many questions of the test, drawn at random; for a quick look.

    Raises:
        SettingsError: the set has no such split.
    """
    if kind not in SETS.get(name, (kind,)):
        raise SettingsError(f"{name}: no split {kind}; this set has {', '.join(SETS[name])}", field="split.kind")
    dataset, folder = load_set(name, data)
    n_users, ranking = len(dataset.users), RankingSettings()
    if kind == OWN:
        split = _own_parts(dataset.events, folder)
    else:
        split = split_events(dataset.events, n_users, Settings(split=SplitSettings(kind=kind)).split)  # type: ignore[arg-type]
    seen = split.train if kind == "loo" else joined(split.train, split.valid)
    valid = next_item(split.train, split.valid, n_users, ranking.tune_questions, ranking.seed)
    test = next_item(joined(split.train, split.valid), split.test, n_users, limit)
    return Asked(name, kind, dataset, split, seen, valid, test)


def write(asked: Asked, folder: Path) -> None:
    """Writes the peers' files; a folder that is complete is left as it is."""
    done = folder / "complete"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = asked.dataset.catalogue
    pl.DataFrame(
        {
            "item_id": pl.Series(catalogue.ids.names.tolist(), dtype=pl.String),
            "text": pl.Series(catalogue.texts(), dtype=pl.String),
            "categories": pl.Series([list(row) for row in catalogue.categories], dtype=pl.List(pl.String)),
        }
    ).write_parquet(folder / "items.parquet")
    _rows(asked, asked.split.train).write_parquet(folder / "fit_valid.parquet")
    _rows(asked, asked.seen).write_parquet(folder / "fit_test.parquet")
    valid = _questions(asked, asked.valid).with_columns(pl.Series("target", asked.valid.items))
    valid.write_parquet(folder / "valid.parquet")
    _questions(asked, asked.test).write_parquet(folder / "test.parquet")
    done.write_text("")


def _own_parts(events: Events, folder: Path) -> Split:
    """The parts history, valid and test of the set's interactions file."""
    part = pl.read_csv(folder / "interactions.csv.gz", columns=["part"])["part"].to_numpy()[events.rows]
    train, valid, test = (events.take(part == name) for name in ("history", "valid", "test"))
    return Split(train, valid, test, "loo")


def _rows(asked: Asked, events: Events) -> pl.DataFrame:
    events = events.take(events.gains > 0)
    return pl.DataFrame(
        {
            "user_id": pl.Series(asked.dataset.users.names[events.users].tolist(), dtype=pl.String),
            "item_id": pl.Series(asked.dataset.catalogue.ids.names[events.items].tolist(), dtype=pl.String),
            "at": events.at,
            "value": events.values,
        }
    )


def _questions(asked: Asked, targets: Targets) -> pl.DataFrame:
    block = targets.block
    offsets = block.offsets
    flat = pl.DataFrame({"question": block.rows().astype(np.int64), "history": block.items})
    histories = flat.group_by("question", maintain_order=True).agg("history")
    users = asked.dataset.users.names[block.users].tolist()
    frame = pl.DataFrame(
        {
            "question": np.arange(len(targets), dtype=np.int64),
            "user_id": pl.Series(users, dtype=pl.String),
            "at": block.at,
        }
    ).join(histories, on="question", how="left", maintain_order="left")
    assert int(offsets[-1]) == flat.height
    return frame.with_columns(pl.col("history").fill_null(pl.lit([], dtype=pl.List(pl.Int32))))
