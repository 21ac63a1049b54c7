"""The order of a request, on one page: number, score, mix, filter, select, each step counted in the trace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from langrec import large
from langrec.data.asked import Asked, block_of, number
from langrec.errors import DataError
from langrec.explain.account import account, reasons
from langrec.explain.additive import Explanation, Reason
from langrec.ranking.calibration import levels
from langrec.ranking.cross import RERANK, look_again
from langrec.ranking.fill import Fallback
from langrec.ranking.filters import allowed
from langrec.ranking.newest import newest
from langrec.ranking.scored import Scored
from langrec.ranking.spoken import matched_words, spoken_scores
from langrec.ranking.starters import starters
from langrec.selecting import selected
from langrec.settings import ExploreSettings
from langrec.state import State
from langrec.types import (
    Filters,
    FloatVector,
    IntVector,
    Mask,
    Query,
    Recommendation,
    Stage,
    Trace,
)
from langrec.windows import in_windows

# Signals of one block of queries stay within this many bytes, whatever the number of users asked for.
BLOCK_BYTES = 128_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Recommender(State):
    """Answers queries from one immutable state; `with_changes` gives the next state."""

    def __repr__(self) -> str:
        scorers = ", ".join(self.fusion.scorers)
        return f"<Recommender: {self.n_items:,} items, {len(self.users):,} users; {scorers}>"

    @classmethod
    def load(cls, folder: Path) -> Recommender:
        """The recommender of a release folder.

        Raises:
            BundleError: the file that is missing or damaged.
        """
        from langrec.bundle import Bundle

        return Bundle.open(folder).recommender()

    # ---- answering -------------------------------------------------------------------------------------------------

    def recommend(self, queries: Sequence[Query]) -> list[Recommendation]:
        """One answer per query, in order; scores blocks of queries within fixed memory.

        Unknown users are answered from their history, users with nothing from popularity, wishes in words from the
        items' texts; the trace's reason says which. Unknown item ids are passed over and named in the trace.

        Raises:
            DataError: a filter that no item can answer, or a query whose values are not of their types and ranges
                (`types.Query`): a k below zero, a text in place of a tuple, an id that is no string.
        """
        if self.fusion.near is not None:
            return large.recommend(self, queries)
        size = max(1, BLOCK_BYTES // (4 * max(self.n_items, 1) * max(len(self.fusion.signals), 1)))
        answers: list[Recommendation] = []
        for start in range(0, len(queries), size):
            answers.extend(self._answer(queries[start : start + size]))
        return answers

    def recommend_many(self, queries: Sequence[Query], block: int = 32, threads: int = 1) -> Iterator[Recommendation]:
        """The answers of `recommend`, one by one and in order, for any number of queries.

        Where nobody asks for traces and signals, `lists.lists_of` takes a fraction of the time.

        Args:
            block: queries scored at once; the signals of more no longer fit the processor's cache.
            threads: blocks that are answered at a time. With more than one, linear algebra should keep to one thread
                (`threadpoolctl`).
        """
        lengths = np.array([len(query.history) for query in queries], dtype=np.int64)
        for places, parts in in_windows(lengths, lambda own: self.recommend([queries[i] for i in own]), block, threads):
            answered = [answer for part in parts for answer in part]
            yield from (answered[place] for place in places)

    def search(self, queries: Sequence[Query]) -> list[Recommendation]:
        """`recommend` for wishes in words: what does not match is left out, and seen items are kept.

        The first stage of the trace holds the number of all matches. Nothing is explored.

        Raises:
            DataError: as `recommend`.
        """
        asked = [replace(query, filters=replace(query.filters, drop_seen=False)) for query in queries]
        return self._exploring_nothing().recommend(asked)

    def neighbours(self, item_id: str, k: int, offset: int = 0, filters: Filters | None = None) -> Recommendation:
        """Items like this one, by everything but popularity.

        Raises:
            DataError: the item is unknown; else as `recommend`.
        """
        if self.view(item_id) is None:
            raise DataError(f"item {item_id!r} is not in the catalogue", field="item_id")
        query = Query(history=(item_id,), k=k, offset=offset, filters=filters or Filters())
        plain = replace(self._exploring_nothing(), fusion=self.fusion.without_popularity(), cross=None)
        return plain.recommend([query])[0]

    def popular(
        self, k: int, offset: int = 0, filters: Filters | None = None, at: datetime | None = None
    ) -> Recommendation:
        """The list for someone of whom nothing is known.

        Raises:
            DataError: as `recommend`.
        """
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
        if self.fusion.near is not None:
            return large.starters_of(self, queries)
        asked = [number(query, self.items, self.unsaying) for query in queries]
        fallbacks = [self._fallback(one) for one in asked]
        found = [
            starters(query, one, self.items, self.fusion, fallback.order)
            for query, one, fallback in zip(queries, asked, fallbacks, strict=True)
        ]
        return [replace(one, trace=replace(one.trace, release=self.release)) for one in found]

    def latest(self, k: int, offset: int = 0, filters: Filters | None = None) -> Recommendation:
        """Items by their own time, newest first; then those without one, scored 0, the last added first.

        Added means the catalogue's order: rows of the items file, then what has been written since. Scores are seconds
        since 1970.

        Raises:
            DataError: as `recommend`.
        """
        query = Query(k=k, offset=offset, filters=filters or Filters())
        if self.fusion.near is not None:
            listed, dropped = large.latest_of(self, query)
        else:
            listed, dropped = newest(self.items, query, number(query, self.items))
        return Recommendation(
            self.items.ids.take(listed.nums), listed, Trace("latest", dropped=dropped, release=self.release)
        )

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
        return selected(
            self,
            scored,
            (Stage("retrieve", self.n_items, int(scored.matches.sum()), ms),),
            lambda listed, mask, wanted: self._fallback(scored.asked).more(listed, mask, wanted),
            self.fusion.is_rare,
            hidden=hidden,
        )

    def _fallback(self, asked: Asked) -> Fallback:
        return Fallback.of(self.fusion, self.ranking.fallback, asked.at)

    # ---- explaining ------------------------------------------------------------------------------------------------

    def explain(self, query: Query, item_id: str) -> Explanation:
        """The exact account of one item's score for a query.

        Raises:
            DataError: the item is unknown; else as `recommend`.
        """
        if self.view(item_id) is None:
            raise DataError(f"item {item_id!r} is not in the catalogue", field="item")
        if self.fusion.near is not None:
            return large.account_of(self, query, item_id)
        scored = self._score([query])[0]
        if self.cross is not None:
            mask, _ = allowed(self.items, self.items.hidden(), query.filters, scored.asked.seen, scored.asked.at)
            scored = look_again(self.cross, scored, mask & scored.matches, self.items, self.text_fields).scored
        return account(item_id, scored, self.fusion, self.items, self._fallback(scored.asked))

    def reasons(self, query: Query, answer: Recommendation) -> list[Reason]:
        """The short why of each item of an answer, in its order.

        Args:
            query: the one that was answered.
        """
        asked = number(query, self.items, self.unsaying)
        return reasons(query, asked, block_of([query], [asked], self.users), self.fusion, self.items, answer.items)

    def probabilities(self, answer: Recommendation) -> FloatVector:
        """(k,) the probability that each item is what the user chooses next; NaN where that is not known.

        It is known for answers from a history by a release that was calibrated: a wish and popularity alone are scored
        otherwise. What a rerank adds is left out: the calibration is the mix's.
        """
        if self.calibration is None or answer.trace.reason != "history":
            return np.full(len(answer), np.nan, dtype=np.float32)
        scores = answer.items.scores - answer.items.columns.get(RERANK, np.float32(0.0))
        return self.calibration.probability(scores - np.float32(answer.level))

    def matched_words(self, text: str, nums: IntVector) -> list[tuple[str, ...]]:
        """For each item number, the words of the text that the item holds."""
        return matched_words(self.fusion, text, nums)
