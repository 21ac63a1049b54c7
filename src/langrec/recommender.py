"""The order of a request, on one page: number, score, mix, filter, select, each step counted in the trace."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.data.asked import Asked, block_of, number
from langrec.data.catalogue import Catalogue
from langrec.data.ids import Ids
from langrec.data.items import Items, item_text
from langrec.errors import DataError
from langrec.explain.account import account, reasons
from langrec.explain.additive import Explanation, Reason
from langrec.protocols import Encoder
from langrec.ranking.calibration import Calibration, levels
from langrec.ranking.explore import Explored, draws, explore
from langrec.ranking.fill import Fallback
from langrec.ranking.filters import allowed
from langrec.ranking.fusion import Fusion
from langrec.ranking.scored import Scored
from langrec.ranking.select import diverse, top_k
from langrec.ranking.spoken import matched_words, spoken_scores
from langrec.ranking.starters import starters
from langrec.settings import ExploreSettings, RankingSettings
from langrec.types import (
    Filters,
    FloatMatrix,
    FloatVector,
    IntVector,
    Item,
    ItemList,
    Mask,
    Query,
    Recommendation,
    Stage,
    TimeVector,
    Trace,
)

# Signals of one block of queries stay within this many bytes, whatever the number of users asked for.
BLOCK_BYTES = 128_000_000
# Of many queries so many are looked at together for those of like length.
WINDOW = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Recommender:
    """Answers queries from one immutable state; `with_changes` gives the next state.

    Attributes:
        items: the catalogue with what has changed since the training.
        users: ids of users in the training data.
        fusion: scorers and their mix.
        encoders: by space ("vectors", "tokens"), for texts that arrive at run time.
        ranking: settings of selection.
        exploring: settings of the places that go to new or rare items.
        calibration: from scores to probabilities; None = the release holds none.
        text_fields: item fields that make up an item's text.
        release: the stamp of the bundle.
        unsaying: event types that say nothing for an item: they stand in no history, but count as seen.
    """

    items: Items
    users: Ids
    fusion: Fusion
    encoders: Mapping[str, Encoder]
    ranking: RankingSettings = field(default_factory=RankingSettings)
    exploring: ExploreSettings = field(default_factory=ExploreSettings)
    calibration: Calibration | None = None
    text_fields: tuple[str, ...] = ("title", "*text", "categories")
    release: str = ""
    unsaying: frozenset[str] = frozenset()

    @classmethod
    def load(cls, folder: Path) -> Recommender:
        """The recommender of a release folder.

        Raises:
            BundleError: the file that is missing or damaged.
        """
        from langrec.bundle import Bundle

        return Bundle.open(folder).recommender()

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def catalogue(self) -> Catalogue:
        return self.items.catalogue

    @property
    def encoder(self) -> Encoder | None:
        return self.encoders.get("vectors")

    @property
    def scorer_names(self) -> tuple[str, ...]:
        return tuple(self.fusion.scorers)

    def view(self, item_id: str) -> Item | None:
        """The item's newest state; None where it is unknown or deleted."""
        return self.items.view(item_id)

    # ---- answering -------------------------------------------------------------------------------------------------

    def recommend(self, queries: Sequence[Query]) -> list[Recommendation]:
        """One answer per query, in order; scores blocks of queries within fixed memory.

        Unknown users are answered from their history, users with nothing from popularity, wishes in words from the
        items' texts; the trace's reason says which. Unknown item ids are passed over and named in the trace.

        Raises:
            DataError: a filter that no item can answer, or a k or offset below zero.
        """
        size = max(1, BLOCK_BYTES // (4 * max(self.n_items, 1) * max(len(self.fusion.signals), 1)))
        answers: list[Recommendation] = []
        for start in range(0, len(queries), size):
            answers.extend(self._answer(queries[start : start + size]))
        return answers

    def recommend_many(self, queries: Sequence[Query], block: int = 32, threads: int = 1) -> Iterator[Recommendation]:
        """The answers of `recommend`, one by one and in order, for any number of queries.

        Queries of like length are answered together, because a tower reads as many places for each of a block as its
        longest history has.

        Args:
            block: queries scored at once; the signals of more no longer fit the processor's cache.
            threads: blocks that are answered at a time. With more than one, linear algebra should keep to one thread
                (`threadpoolctl`).
        """
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            ahead: deque[tuple[list[int], list[Future[list[Recommendation]]]]] = deque()
            for start in range(0, len(queries), WINDOW):
                window = queries[start : start + WINDOW]
                order = sorted(range(len(window)), key=lambda i: len(window[i].history))
                parts = [order[at : at + block] for at in range(0, len(order), block)]
                jobs = [pool.submit(self.recommend, [window[i] for i in part]) for part in parts]
                ahead.append((order, jobs))
                if len(ahead) > 1:  # one window is answered while the one before it is taken
                    yield from _in_order(*ahead.popleft())
            while ahead:
                yield from _in_order(*ahead.popleft())

    def search(self, queries: Sequence[Query]) -> list[Recommendation]:
        """`recommend` for wishes in words: what does not match is left out, and seen items are kept.

        The first stage of the trace holds the number of all matches. Nothing is explored.
        """
        asked = [replace(query, filters=replace(query.filters, drop_seen=False)) for query in queries]
        return self._exploring_nothing().recommend(asked)

    def neighbours(self, item_id: str, k: int, offset: int = 0, filters: Filters | None = None) -> Recommendation:
        """Items like this one, by everything but popularity.

        Raises:
            DataError: the item is unknown.
        """
        if self.view(item_id) is None:
            raise DataError(f"item {item_id!r} is not in the catalogue", field="item_id")
        query = Query(history=(item_id,), k=k, offset=offset, filters=filters or Filters())
        return replace(self._exploring_nothing(), fusion=self.fusion.without_popularity()).recommend([query])[0]

    def popular(
        self, k: int, offset: int = 0, filters: Filters | None = None, at: datetime | None = None
    ) -> Recommendation:
        """The list for someone of whom nothing is known."""
        query = Query(k=k, offset=offset, filters=filters or Filters(), at=at)
        return self._exploring_nothing().recommend([query])[0]

    def starters(self, queries: Sequence[Query]) -> list[Recommendation]:
        """Items to ask someone new about: popular, unlike one another, and informative (see `ranking.starters`).

        What the query's history holds counts as liked: the starters then say what it does not. The score of a starter
        is the share of people's choices that a like of it speaks for and no earlier one does.

        Args:
            queries: history, k, offset, filters and at are read.

        Raises:
            DataError: as `recommend`.
        """
        asked = [number(query, self.items, self.unsaying) for query in queries]
        fallbacks = [self._fallback(one) for one in asked]
        found = [
            starters(query, one, self.items, self.fusion, fallback.order)
            for query, one, fallback in zip(queries, asked, fallbacks, strict=True)
        ]
        return [replace(one, trace=replace(one.trace, release=self.release)) for one in found]

    def latest(self, k: int, offset: int = 0, filters: Filters | None = None) -> Recommendation:
        """Items by their own time, newest first; then those without one, scored 0, the last added first.

        Added means the catalogue's order: rows of the items file, then what has been written since.
        """
        asked = number(Query(k=k, offset=offset, filters=filters or Filters()), self.items)
        times = self.items.times()
        mask, dropped = allowed(self.items, self.items.hidden(), filters or Filters(), asked.seen, asked.at)
        nums = np.flatnonzero(mask)
        timed, timeless = nums[times[nums] >= 0], nums[times[nums] < 0][::-1]
        order = np.concatenate([timed[np.lexsort((timed, -times[timed]))], timeless])
        best: IntVector = order[offset : offset + k].astype(np.int32)
        listed = ItemList(best, (np.maximum(times[best], 0) / 1000.0).astype(np.float32))
        return Recommendation(self.items.ids.take(best), listed, Trace("latest", dropped=dropped, release=self.release))

    def _exploring_nothing(self) -> Recommender:
        return replace(self, exploring=ExploreSettings()) if self.exploring.places else self

    def _answer(self, queries: Sequence[Query]) -> list[Recommendation]:
        start = time.perf_counter()
        scored = self._score(queries)
        ms = 1000.0 * (time.perf_counter() - start) / max(len(queries), 1)
        hidden = self.items.hidden()
        return [self._list(one, hidden, ms) for one in scored]

    def _score(self, queries: Sequence[Query]) -> list[Scored]:
        """Numbers the queries, and asks every signal and every reader of wishes about them."""
        asked = [number(query, self.items, self.unsaying) for query in queries]
        block = block_of(queries, asked, self.users)
        signals = self.fusion.signal_scores(block)
        silent, parts = self.fusion.silent(signals), self.fusion.parts(signals, block)
        names, mixed = self.fusion.part_names, parts.sum(axis=0)
        spoken = spoken_scores(queries, block.at, self.fusion, self.encoder)
        level = None if self.calibration is None else levels(mixed, block)
        rare = self.fusion.rare_fit(signals) if self.exploring.places else None
        out = []
        for i, query in enumerate(queries):
            own, total = parts[:, i], mixed[i]
            if len(again := asked[i].shown_again(query.filters)) and not silent[i]:
                own = self.fusion.with_repeats(own, again)
                total = own.sum(axis=0)
            one = block.slice(i, i + 1)
            found = Scored.of(query, asked[i], one, names, own, total, spoken.get(i), bool(silent[i]))
            if rare is not None or level is not None:
                found = replace(
                    found,
                    rare=None if rare is None else rare[i],
                    level=float("nan") if level is None else float(level[i]),
                )
            out.append(found)
        return out

    def _list(self, scored: Scored, hidden: Mask, ms: float) -> Recommendation:
        """Filters, selects, fills and accounts for one query."""
        clock = time.perf_counter()
        query, asked, scores = scored.query, scored.asked, scored.scores
        mask, dropped = allowed(self.items, hidden, query.filters, asked.seen, asked.at)
        mask &= scored.matches
        filtered = time.perf_counter()
        wanted, amount, depth = query.k + query.offset, self.ranking.diversity, self.ranking.candidates
        pool = top_k(np.where(mask & (scores > 0), scores, np.nan), max(wanted, depth if amount > 0 else 0))
        listed = ItemList(pool, scores[pool], scored.columns(pool))
        if amount > 0:
            listed = diverse(listed, self._text_vectors(pool), wanted, amount, depth)
        found, filled = len(listed), {}
        if found < wanted and not scored.spoken:
            fallback = self._fallback(asked)
            listed = fallback.fill(listed, mask, wanted)
            filled = {fallback.name: len(listed) - max(found, query.offset)}
        explored = self._explore(scored, listed.nums, mask) if self.exploring.places else None
        if explored is not None:
            listed = explored.joined(listed, scored.scores, scored.columns(explored.drawn))
        page = np.arange(query.offset, max(query.offset, min(wanted, len(listed))))
        listed = listed.take(page)
        done = time.perf_counter()
        matching, allowed_ = int(scored.matches.sum()), int(mask.sum())
        stages = (
            Stage("retrieve", self.n_items, matching, ms),
            Stage("filter", matching, allowed_, 1000 * (filtered - clock)),
            Stage("select", allowed_, len(listed), 1000 * (done - filtered)),
        )
        filled = {name: count for name, count in filled.items() if count > 0}
        trace = Trace(scored.reason, stages, dropped, filled, asked.unknown, self.release)
        answer = Recommendation(self.items.ids.take(listed.nums), listed, trace, level=scored.level)
        return answer if explored is None else self._told(answer, explored, page)

    def _explore(self, scored: Scored, listed: IntVector, mask: Mask) -> Explored:
        """The list with its drawn items: by what their texts say of the history or the wish, else the newest."""
        settings, fit = self.exploring, scored.scores if scored.spoken or scored.rare is None else scored.rare
        may = mask & self.fusion.is_rare()
        worth = np.where(may & (fit > 0), fit, np.float32(np.nan)).astype(np.float32)
        if np.isnan(worth).all() and not scored.spoken:
            nums = np.flatnonzero(may)
            newest = np.lexsort((nums, self.items.times()[nums]))
            worth[nums[newest]] = np.arange(len(nums), dtype=np.float32)
        rng = draws(settings.seed, scored.query, scored.asked.at)
        return explore(listed, scored.query.k, worth, settings.among, settings.places, rng)

    def _told(self, answer: Recommendation, explored: Explored, page: npt.NDArray[np.intp]) -> Recommendation:
        """The answer with what was drawn into it."""
        drawn = answer.items.nums[np.isin(answer.items.nums, explored.drawn)]
        named = replace(answer.trace, explored=self.items.ids.take(drawn))
        return replace(answer, trace=named, propensities=explored.propensities[page])

    def _fallback(self, asked: Asked) -> Fallback:
        return Fallback.of(self.fusion, self.ranking.fallback, asked.at)

    def _text_vectors(self, nums: IntVector) -> FloatMatrix:
        scorer: Any = self.fusion.scorers.get("vectors")
        vectors: FloatMatrix = np.zeros((len(nums), 1), np.float32) if scorer is None else scorer.vectors[nums]
        return vectors

    # ---- explaining ------------------------------------------------------------------------------------------------

    def explain(self, query: Query, item_id: str) -> Explanation:
        """The exact account of one item's score for a query.

        Raises:
            DataError: the item is unknown.
        """
        if self.view(item_id) is None:
            raise DataError(f"item {item_id!r} is not in the catalogue", field="item")
        scored = self._score([query])[0]
        return account(item_id, scored, self.fusion, self.items, self._fallback(scored.asked))

    def reasons(self, query: Query, answer: Recommendation) -> list[Reason]:
        """The short why of each item of an answer."""
        asked = number(query, self.items, self.unsaying)
        return reasons(query, asked, block_of([query], [asked], self.users), self.fusion, self.items, answer.items)

    def probabilities(self, answer: Recommendation) -> FloatVector:
        """(k,) the probability that each item is what the user chooses next; NaN where that is not known.

        It is known for answers from a history by a release that was calibrated: a wish and popularity alone are scored
        otherwise.
        """
        if self.calibration is None or answer.trace.reason != "history":
            return np.full(len(answer), np.nan, dtype=np.float32)
        return self.calibration.probability(answer.items.scores - np.float32(answer.level))

    def matched_words(self, text: str, nums: IntVector) -> list[tuple[str, ...]]:
        """For each item number, the words of the text that the item holds."""
        return matched_words(self.fusion, text, nums)

    # ---- changing --------------------------------------------------------------------------------------------------

    def embed_items(self, items: Sequence[Item]) -> dict[str, FloatMatrix]:
        """By space, (m, d) vectors of the items' texts, made by the serving encoders."""
        texts = [item_text(item, self.text_fields) for item in items]
        return {space: encoder.encode(texts) for space, encoder in self.encoders.items()}

    def with_changes(
        self,
        changed: Sequence[Item],
        deleted: Sequence[str] = (),
        vectors: Mapping[str, FloatMatrix] | None = None,
    ) -> Recommender:
        """The next state: these items added or replaced, those deleted.

        A new item can be recommended by its text at once; what only training can know of it stays unknown.

        Args:
            vectors: what `embed_items` gave for `changed`; None embeds here.
        """
        items, fusion = self.items, self.fusion
        if changed:
            # An id that comes twice counts by its last state.
            last = sorted({item.id: row for row, item in enumerate(changed)}.values())
            fresh = [changed[row] for row in last]
            read = self.embed_items(fresh) if vectors is None else {space: vectors[space][last] for space in vectors}
            items, nums = items.with_items(fresh)
            texts = [item_text(item, self.text_fields) for item in fresh]
            fusion = fusion.with_items(nums, texts, read, len(items), fresh)
        if deleted:
            items = items.without(deleted)
        return replace(self, items=items, fusion=fusion)

    def with_events(self, item_ids: Sequence[str], at: TimeVector, gains: FloatVector) -> Recommender:
        """The next state: popularity counts these events too; other scorers stay as they were trained.

        Args:
            item_ids: m items; unknown ones are passed over.
            at: (m,) int64 epoch milliseconds, in any order.
            gains: (m,) float32 how much each event says.
        """
        nums = self.items.ids.numbers(item_ids)
        known = nums >= 0
        return replace(self, fusion=self.fusion.with_events(nums[known], at[known], gains[known]))


def _in_order(order: list[int], jobs: list[Future[list[Recommendation]]]) -> list[Recommendation]:
    """What the jobs answered, in the order in which it was asked: the n-th answer is that of query order[n]."""
    answered = dict(zip(order, (answer for job in jobs for answer in job.result()), strict=True))
    return [answered[i] for i in range(len(order))]
