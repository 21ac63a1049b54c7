"""Lists of many users as columns: numbered, scored and selected in blocks, with no object for a user."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from langrec.data.asked import now
from langrec.protocols import Progress, untold
from langrec.ranking.calibration import Calibration, levels
from langrec.ranking.cross import RERANK
from langrec.ranking.fill import Fallback, with_more
from langrec.recommender import Recommender
from langrec.types import FloatMatrix, FloatVector, IntVector, ItemList, Mask, Query, QueryBlock, TimeVector
from langrec.windows import in_windows

if TYPE_CHECKING:
    import polars as pl

# Users whose lists are made together: of more, the scores no longer fit the processor's cache.
TOGETHER = 128
# Of a large catalogue so few that the scores of a block stay within so many bytes.
BLOCK_BYTES = 128_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """What u users did, in numbers.

    Attributes:
        names: (u,) the users' ids.
        users: (u,) int32 user numbers, -1 for users that the release does not know.
        offsets: (u + 1,) int64; the events of user i are rows offsets[i]:offsets[i + 1], oldest first.
        items: (h,) int32 item numbers, -1 for items that the catalogue does not hold.
        times: (h,) int64 epoch milliseconds.
        says: (h,) False for events that say nothing for an item, such as a hide: it was seen, but it is no history.
    """

    names: npt.NDArray[np.object_]
    users: IntVector
    offsets: TimeVector
    items: IntVector
    times: TimeVector
    says: Mask

    @classmethod
    def of(cls, recommender: Recommender, names: Sequence[str], events: pl.DataFrame) -> Histories:
        """What these users did by a frame of events, oldest first: user_id, item_id, at and type."""
        import polars as pl

        asked = np.array(names, dtype=object)
        place = {name: num for num, name in enumerate(dict.fromkeys(names))}
        places = pl.DataFrame(
            {"user_id": pl.Series(list(place), dtype=pl.String), "place": np.arange(len(place), dtype=np.int32)}
        )
        rows = events.join(places, on="user_id", maintain_order="left").sort("place", maintain_order=True)
        ids = rows["item_id"].unique()
        nums = recommender.items.ids.numbers(ids.to_list())
        offsets = np.searchsorted(rows["place"].to_numpy(), np.arange(len(place) + 1)).astype(np.int64)
        found = cls(
            np.array(list(place), dtype=object),
            recommender.users.numbers(place),
            offsets,
            # Of no rows at all it stays a column of strings.
            rows["item_id"].replace_strict(ids, nums, return_dtype=pl.Int32).cast(pl.Int32).to_numpy(),
            rows["at"].to_numpy(),
            ~rows["type"].fill_null("").is_in(list(recommender.unsaying)).to_numpy(),
        )
        return found if len(place) == len(names) else found.take(np.array([place[name] for name in asked]))

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: npt.NDArray[np.intp]) -> Histories:
        """The users at these places, in this order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        names, users = self.names[rows], self.users[rows]
        return Histories(names, users, offsets, self.items[places], self.times[places], self.says[places])

    def rows(self) -> IntVector:
        """(h,) the user that each event belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    def block(self, at: int) -> QueryBlock:
        """The users as numbered queries at one time."""
        kept = self.says & (self.items >= 0)
        offsets = np.concatenate([[0], np.cumsum(kept)])[self.offsets].astype(np.int64)
        times = np.full(len(self), at, dtype=np.int64)
        return QueryBlock(
            self.users, offsets, self.items[kept], self.times[kept], times, texts=(None,) * len(self.users)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Lists of users, one after the other, each best first.

    Attributes:
        lengths: (u,) of each user's list.
        items: (r,) int32 item numbers.
        scores: (r,) float32, 0 where the fallback filled.
        levels: (u,) what probabilities measure the scores against (`Recommendation.level`); NaN where nothing asks, or
            where the history says nothing.
        propensities: (r,) the chance of each item to be in its list.
        added: (r,) what of the score a rerank added, of which probabilities know nothing.
    """

    lengths: IntVector
    items: IntVector
    scores: FloatVector
    levels: FloatVector
    propensities: FloatVector
    added: FloatVector

    @classmethod
    def joined(cls, parts: list[Lists]) -> Lists:
        """These lists one after the other."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    @classmethod
    def none(cls) -> Lists:
        """The lists of nobody."""
        nothing, numbers = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32)
        return cls(numbers, numbers, nothing, nothing, nothing, nothing)

    def ranks(self) -> IntVector:
        """(r,) from 1 in each list."""
        starts = np.cumsum(self.lengths) - self.lengths
        return (np.arange(len(self.items)) - np.repeat(starts, self.lengths) + 1).astype(np.int32)

    def probabilities(self, calibration: Calibration | None) -> FloatVector:
        """(r,) the probability that each item is what its user chooses next; NaN where that is not known."""
        if calibration is None:
            return np.full(len(self.items), np.nan, dtype=np.float32)
        return calibration.probability(self.scores - self.added - np.repeat(self.levels, self.lengths))

    def take(self, users: npt.NDArray[np.intp]) -> Lists:
        """The lists of these users, in this order."""
        starts, lengths = (np.cumsum(self.lengths) - self.lengths)[users], self.lengths[users]
        rows = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        found = (self.levels[users], self.propensities[rows], self.added[rows])
        return Lists(lengths, self.items[rows], self.scores[rows], *found)


def lists_of(
    recommender: Recommender,
    histories: Histories,
    k: int,
    at: int | None = None,
    rated: bool = False,
    threads: int = 1,
) -> Iterator[Lists]:
    """The lists that `Recommender.recommend` gives these users, some thousands at a time and in order.

    Items of the history are left out. What a list tells beside its scores (signals, reasons, the trace) is not made.
    Where the release explores, reranks or wants lists that differ, each user is asked for alone, as a request is.

    Args:
        k: length of each list.
        at: "now" in epoch milliseconds; None = this moment.
        rated: whether the lists tell their levels, which probabilities need.
        threads: blocks that are made at a time. With more than one, linear algebra should keep to one thread
            (`threadpoolctl`).
    """
    at = now() if at is None else at
    alike = recommender.exploring.places > 0 or recommender.ranking.diversity > 0
    alike = alike or recommender.fusion.near is not None or recommender.cross is not None
    make = _asked_alone if alike else _made_together
    lengths = np.diff(histories.offsets)
    together = max(1, min(TOGETHER, BLOCK_BYTES // (16 * max(recommender.n_items, 1))))
    together = TOGETHER if recommender.fusion.near is not None else together
    for places, parts in in_windows(
        lengths, lambda own: make(recommender, histories.take(own), k, at, rated), together, threads
    ):
        yield Lists.joined(parts).take(places)


def list_frame(
    recommender: Recommender,
    names: Sequence[str],
    events: pl.DataFrame,
    k: int,
    *,
    probability: bool = False,
    progress: Progress = untold,
) -> pl.DataFrame:
    """The lists of users as rows `user_id, item_id, score, rank`, in the order of the users, each best first.

    Made in blocks on all cores. Where the release explores, `propensity` says with what chance an item is in its list.

    Args:
        names: users; one that has no events gets the list of a new visitor.
        events: oldest first: user_id, item_id, at and type.
        k: length of each list.
        probability: adds the chance of each item to be chosen next, null where it is not known.
        progress: is told how many users are done.
    """
    import polars as pl
    from threadpoolctl import threadpool_limits

    histories, parts, done = Histories.of(recommender, names, events), list[Lists](), 0
    # Each block computes alone: its products are too small to be shared.
    with threadpool_limits(1, user_api="blas"):
        for part in lists_of(recommender, histories, k, rated=probability, threads=os.cpu_count() or 1):
            parts.append(part)
            done += len(part.lengths)
            progress("recommend", done, len(names))
    lists = Lists.joined(parts) if parts else Lists.none()
    more = {"probability": lists.probabilities(recommender.calibration)} if probability else {}
    if recommender.exploring.places:
        more["propensity"] = lists.propensities
    ids = pl.Series(recommender.items.ids.names, dtype=pl.String)
    return pl.DataFrame(
        {
            "user_id": pl.Series(names, dtype=pl.String)[np.repeat(np.arange(len(names)), lists.lengths)],
            "item_id": ids[lists.items],
            "score": lists.scores,
            "rank": lists.ranks(),
            **{name: pl.Series(column, nan_to_null=True) for name, column in more.items()},
        }
    )


def _made_together(recommender: Recommender, histories: Histories, k: int, at: int, rated: bool) -> Lists:
    block = histories.block(at)
    scores, silent = recommender.fusion.mixed(block)
    found = np.full(len(block), np.nan, dtype=np.float32)
    if rated and recommender.calibration is not None:
        known = ~silent & (np.diff(block.offsets) > 0)
        found[known] = levels(scores, block)[known]
    hidden = recommender.items.hidden()
    scores[:, hidden] = 0.0
    seen = histories.items >= 0
    scores[histories.rows()[seen], histories.items[seen]] = 0.0
    lengths, nums, values = best_rows(scores, k)
    short = np.flatnonzero(lengths < k)
    if len(short):
        lengths, nums, values = _filled(recommender, histories, at, k, hidden, lengths, nums, values)
    sure, nothing = np.ones(len(nums), dtype=np.float32), np.zeros(len(nums), dtype=np.float32)
    return Lists(lengths, nums, values, found, sure, nothing)


def best_rows(scores: FloatMatrix, k: int) -> tuple[IntVector, IntVector, FloatVector]:
    """The k highest scores above 0 of each row, as `select.top_k` picks and orders them.

    Returns:
        (q,) how many each row has, and their columns and scores, row after row.
    """
    q, n = scores.shape
    if k < n:
        bars = np.partition(scores, n - k, axis=1)[:, n - k]
        rows, nums = np.nonzero((scores >= bars[:, None]) & (scores > 0))
    else:
        rows, nums = np.nonzero(scores > 0)
    values = scores[rows, nums]
    order = np.lexsort((nums, -values, rows))
    rows, nums, values = rows[order], nums[order], values[order]
    counts = np.bincount(rows, minlength=q)
    kept = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) < k
    return np.minimum(counts, k).astype(np.int32), nums[kept].astype(np.int32), values[kept]


def _filled(
    recommender: Recommender,
    histories: Histories,
    at: int,
    k: int,
    hidden: Mask,
    lengths: IntVector,
    nums: IntVector,
    values: FloatVector,
) -> tuple[IntVector, IntVector, FloatVector]:
    """The same lists, the short ones filled by the fallback."""
    fallback = Fallback.of(recommender.fusion, recommender.ranking.fallback, at)
    ends = np.cumsum(lengths)
    own = [ItemList(nums[end - n : end], values[end - n : end]) for end, n in zip(ends, lengths, strict=True)]
    for i in np.flatnonzero(lengths < k):
        mask, seen = ~hidden, histories.items[histories.offsets[i] : histories.offsets[i + 1]]
        mask[seen[seen >= 0]] = False
        own[i] = with_more(own[i], fallback.more(own[i].nums, mask, k))
    return (
        np.array([len(one) for one in own], dtype=np.int32),
        np.concatenate([one.nums for one in own]),
        np.concatenate([one.scores for one in own]),
    )


def _asked_alone(recommender: Recommender, histories: Histories, k: int, at: int, rated: bool) -> Lists:
    when, mute = datetime.fromtimestamp(at / 1000, UTC), next(iter(recommender.unsaying), "")
    queries = []
    for i, name in enumerate(histories.names):
        rows = np.arange(histories.offsets[i], histories.offsets[i + 1])
        rows = rows[histories.items[rows] >= 0]
        queries.append(
            Query(
                user=name,
                history=recommender.items.ids.take(histories.items[rows]),
                history_at=tuple(histories.times[rows].tolist()),
                history_types=tuple("" if says else mute for says in histories.says[rows]),
                k=k,
                at=when,
            )
        )
    answers = recommender.recommend(queries)
    drawn = [np.ones(len(one)) if one.propensities is None else one.propensities for one in answers]
    added = [one.items.columns.get(RERANK, np.zeros(len(one), dtype=np.float32)) for one in answers]
    level = [one.level if rated and one.trace.reason == "history" else np.nan for one in answers]
    return Lists(
        np.array([len(one) for one in answers], dtype=np.int32),
        np.concatenate([one.items.nums for one in answers]),
        np.concatenate([one.items.scores for one in answers]),
        np.array(level, dtype=np.float32),
        np.concatenate(drawn).astype(np.float32),
        np.concatenate(added).astype(np.float32),
    )
