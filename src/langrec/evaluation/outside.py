"""Lists that were made elsewhere, by the recommender that is in use today or another library, measured beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from langrec.data.aliases import EVENT_ROLES, find_roles
from langrec.data.candidates import distinct, within
from langrec.data.ids import Ids
from langrec.data.log import as_ids
from langrec.data.sources.frames import read_frame
from langrec.data.sources.table import Table
from langrec.data.sources.tables import read_table
from langrec.errors import DataError
from langrec.evaluation.lists import TopLists
from langrec.evaluation.protocol import Targets
from langrec.types import AnyTable, FloatVector, IntVector

_ROLES = {
    "user": EVENT_ROLES["user"],
    "item": EVENT_ROLES["item"],
    "event": ("event",),
    "rank": ("rank", "position", "place"),
    "score": ("score", "prediction", "rating"),
}


@dataclass(frozen=True, slots=True, eq=False)
class OutsideLists:
    """Answers to the test's questions, best first.

    Attributes:
        by: what a row's question is told by: the target's row in the events file, or the user, who then has one list.
        keys: (r,) int64 rising: rows of the events file, or user numbers.
        nums: (r,) int32 item numbers.
        scores: (r,) float32, falling in each list; where none were given, 1 / rank.
        unknown: rows of users or items that the data does not hold; they were passed over.
    """

    by: Literal["event", "user"]
    keys: npt.NDArray[np.int64]
    nums: IntVector
    scores: FloatVector
    unknown: int = 0

    def answers(self, targets: Targets) -> bool:
        """Whether these are the questions that it is about."""
        if self.by == "event":
            return targets.question == "next item" and bool(np.isin(self._asked(targets), self.keys).any())
        return len(np.unique(targets.block.users)) == len(targets)

    def told(self, targets: Targets) -> dict[str, Any]:
        """For the protocol: rows, those passed over, and how many questions have no list, which counts as a miss."""
        missing = int((~np.isin(self._asked(targets), self.keys)).sum())
        return {"rows": len(self.keys), "unknown": self.unknown, "unanswered": missing}

    def lists(self, targets: Targets, k: int, n_items: int) -> TopLists:
        """The lists of a block of questions, without the items of each history, which are no candidates.

        A target that stands on no list shares the mean rank of all that could follow it.
        """
        q = len(targets)
        nums, scores = np.full((q, k), -1, dtype=np.int32), np.full((q, k), np.nan, dtype=np.float32)
        candidates = np.empty(q, dtype=np.int64)
        asked = self._asked(targets)
        begins, ends = np.searchsorted(self.keys, asked, "left"), np.searchsorted(self.keys, asked, "right")
        for i in range(q):
            history = distinct(targets.block.history(i))[0]
            own = slice(begins[i], ends[i])
            new = ~within(self.nums[own], history)
            listed = self.nums[own][new][:k]
            nums[i, : len(listed)], scores[i, : len(listed)] = listed, self.scores[own][new][:k]
            candidates[i] = n_items - len(history)
        owner = np.repeat(np.arange(q), np.diff(targets.offsets))
        hit = nums[owner] == targets.items[:, None]
        met, free = hit.any(axis=1), candidates[owner]
        listed = (nums >= 0).sum(axis=1)[owner]
        places = np.where(met, hit.argmax(axis=1) + 1.0, (listed + 1 + free) / 2.0)
        ranks = np.where(met, hit.argmax(axis=1) + 1, free).astype(np.int64)
        return TopLists(nums, scores, ranks, places, candidates)

    def _asked(self, targets: Targets) -> npt.NDArray[np.int64]:
        return targets.events if self.by == "event" else targets.block.users.astype(np.int64)


def read_lists(given: AnyTable, users: Ids, items: Ids, name: str = "lists") -> OutsideLists:
    """Lists of a file or a data frame: user_id, item_id, and rank or score or both; perhaps `event`.

    With `event`, the 0-based row in the events file that `questions.parquet` of an evaluation names, a list answers
    that question; without it, or where all its values are null, the question of its user. Of an item that a list holds
    twice the better place counts.

    Args:
        given: in any format that training reads.
        users, items: ids and numbers of the data.
        name: what errors call a data frame.

    Raises:
        DataError: a column is missing, a rank or a score is none, or no row is of a user and an item that are known.
    """
    table = read_table(Path(given)) if isinstance(given, (str, PathLike)) else read_frame(given, name)
    columns = find_roles(table.frame.columns, _ROLES)
    for role, wanted in (("user", "user_id"), ("item", "item_id")):
        if role not in columns:
            raise DataError(f"{table.path}: no {role} column; call it {wanted}", field=role)
    if "rank" not in columns and "score" not in columns:
        raise DataError(f"{table.path}: neither a column rank nor score: which item is the best?", field="rank")
    frame = _typed(table, columns)
    frame = frame.with_columns(_numbers(frame["user"], users), _numbers(frame["item"], items))
    known = (frame["user"] >= 0) & (frame["item"] >= 0)
    if not known.any():
        raise DataError(f"{table.path}: none of its {frame.height:,} rows is of a user and an item of the data")
    by: Literal["event", "user"] = "event" if "event" in frame.columns else "user"
    rows = (
        frame.filter(known)
        .sort([by, "rank", "item"] if "rank" in columns else [by, "worse", "item"], maintain_order=True)
        .unique([by, "item"], keep="first", maintain_order=True)
    )
    place = rows.select(pl.int_range(1, pl.len() + 1).over(by).alias("place"))["place"].to_numpy()
    scores = -rows["worse"].to_numpy() if "score" in columns else 1.0 / place
    return OutsideLists(
        by,
        rows[by].cast(pl.Int64).to_numpy(),
        rows["item"].cast(pl.Int32).to_numpy(),
        scores.astype(np.float32),
        frame.height - int(known.sum()),
    )


def _typed(table: Table, columns: dict[str, str]) -> pl.DataFrame:
    """The columns in numbers: user and item, -1 for unknown ones, rank, worse (a score turned round), and event."""
    frame, numbers = table.frame, {}
    for role in ("rank", "score", "event"):
        if role not in columns:
            continue
        raw = frame[columns[role]]
        read = raw.cast(pl.Float64, strict=False)
        if role == "event" and read.null_count() == len(read):
            continue  # as our own lists say that there is one for each user
        bad = (~read.is_finite().fill_null(False)).arg_true()
        if len(bad):
            row = table.row_numbers()[bad[0]]
            raise DataError(f"{table.path} row {row}: {role} is {raw[bad[0]]!r}, which is no number", field=role)
        numbers[role] = read
    return pl.DataFrame(
        {
            **({"event": numbers["event"].cast(pl.Int64)} if "event" in numbers else {}),
            **({"rank": numbers["rank"]} if "rank" in numbers else {}),
            **({"worse": -numbers["score"]} if "score" in numbers else {}),
            "user": as_ids(frame[columns["user"]]).str.strip_chars(),
            "item": as_ids(frame[columns["item"]]).str.strip_chars(),
        }
    )


def _numbers(names: pl.Series, ids: Ids) -> pl.Series:
    """The numbers of ids, -1 for unknown ones."""
    distinct = names.unique()
    known = pl.Series(ids.numbers(distinct.fill_null("").to_list()), dtype=pl.Int32)
    return names.replace_strict(distinct, known, return_dtype=pl.Int32)
