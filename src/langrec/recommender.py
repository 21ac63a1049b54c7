"""The order of a request, on one page: number, score, mix, filter, select, each step counted in the trace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from langrec.data.catalogue import Catalogue
from langrec.data.ids import Ids
from langrec.data.items import Items, item_text
from langrec.errors import DataError
from langrec.explain.additive import Contribution, Explanation, Reason, history_shares, reason_of
from langrec.protocols import Encoder, ItemReader, Scorer
from langrec.ranking.filters import allowed
from langrec.ranking.fusion import Fusion
from langrec.ranking.select import diverse, top_k
from langrec.settings import RankingSettings
from langrec.types import (
    Filters,
    FloatMatrix,
    FloatVector,
    IntVector,
    Item,
    ItemList,
    Mask,
    Query,
    QueryBlock,
    Recommendation,
    Stage,
    Trace,
)

# Signals of one block of queries stay within this many bytes, whatever the number of users asked for.
BLOCK_BYTES = 128_000_000
# A centred cosine from here on counts as a match of meaning in a search.
MEANING_MATCH = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Recommender:
    """Answers queries from one immutable state; `with_changes` gives the next state.

    Attributes:
        items: the catalogue with what has changed since the training.
        users: ids of users in the training data.
        fusion: scorers and their mix.
        encoders: by space ("vectors", "tokens"), for texts that arrive at run time.
        ranking: settings of selection.
        text_fields: item fields that make up an item's text.
        release: the stamp of the bundle.
    """

    items: Items
    users: Ids
    fusion: Fusion
    encoders: Mapping[str, Encoder]
    ranking: RankingSettings = field(default_factory=RankingSettings)
    text_fields: tuple[str, ...] = ("title", "*text", "categories")
    release: str = ""

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

    def recommend_many(self, queries: Sequence[Query], block: int = 256) -> Iterator[Recommendation]:
        """The answers of `recommend`, one by one, for any number of queries."""
        for start in range(0, len(queries), block):
            yield from self.recommend(queries[start : start + block])

    def search(self, queries: Sequence[Query]) -> list[Recommendation]:
        """`recommend` for wishes in words: what does not match is left out, and seen items are kept.

        The first stage of the trace holds the number of all matches.
        """
        return self.recommend([replace(query, filters=replace(query.filters, drop_seen=False)) for query in queries])

    def neighbours(self, item_id: str, k: int, offset: int = 0, filters: Filters | None = None) -> Recommendation:
        """Items like this one, by everything but popularity.

        Raises:
            DataError: the item is unknown.
        """
        if self.view(item_id) is None:
            raise DataError(f"item {item_id!r} is not in the catalogue", field="item_id")
        keep = np.array([not signal.scorer.startswith("popular") for signal in self.fusion.signals])
        fusion = replace(self.fusion, mix=replace(self.fusion.mix, weights=self.fusion.mix.weights * keep))
        query = Query(history=(item_id,), k=k, offset=offset, filters=filters or Filters())
        return replace(self, fusion=fusion).recommend([query])[0]

    def popular(
        self, k: int, offset: int = 0, filters: Filters | None = None, at: datetime | None = None
    ) -> Recommendation:
        """The list for someone of whom nothing is known."""
        return self.recommend([Query(k=k, offset=offset, filters=filters or Filters(), at=at)])[0]

    def latest(self, k: int, offset: int = 0, filters: Filters | None = None) -> Recommendation:
        """Items by their own time, newest first; items without one are left out."""
        times = self.items.times()
        mask, dropped = allowed(self.items, self.items.hidden(), filters or Filters(), np.zeros(0, np.int32), _now())
        nums = np.flatnonzero(mask & (times >= 0))
        best: IntVector = nums[np.lexsort((nums, -times[nums]))][offset : offset + k].astype(np.int32)
        listed = ItemList(best, (times[best] / 1000.0).astype(np.float32))
        return Recommendation(self.items.ids.take(best), listed, Trace("latest", dropped=dropped, release=self.release))

    def _answer(self, queries: Sequence[Query]) -> list[Recommendation]:
        start = time.perf_counter()
        asked = [self._number(query) for query in queries]
        block = self._block(queries, asked)
        signals = self.fusion.signal_scores(block)
        parts = self.fusion.parts(signals)
        ms = 1000.0 * (time.perf_counter() - start) / max(len(queries), 1)
        hidden = self.items.hidden()
        spoken = (
            self._spoken(queries, block) if any(query.text or query.vector is not None for query in queries) else {}
        )
        return [
            self._list(query, asked[i], self._parts(query, parts[:, i], spoken.get(i)), spoken.get(i), hidden, ms)
            for i, query in enumerate(queries)
        ]

    def _list(
        self,
        query: Query,
        asked: _Asked,
        parts: dict[str, FloatVector],
        spoken: dict[str, FloatVector] | None,
        hidden: Mask,
        ms: float,
    ) -> Recommendation:
        """Filters, selects and accounts for one query."""
        if query.k < 0 or query.offset < 0:
            raise DataError(f"k = {query.k}, offset = {query.offset}: must not be negative", field="k")
        clock = time.perf_counter()
        scores = _total(parts)
        matches = self._matches(query, spoken)
        mask, dropped = allowed(self.items, hidden, query.filters, asked.seen, asked.at)
        mask &= matches
        filtered = time.perf_counter()
        wanted = query.k + query.offset
        scored = np.where(mask & (scores > 0), scores, np.nan)
        pool = top_k(scored, max(wanted, self.ranking.candidates if self.ranking.diversity > 0 else 0))
        listed = ItemList(pool, scores[pool], {name: column[pool] for name, column in parts.items()})
        if self.ranking.diversity > 0:
            listed = diverse(listed, self._text_vectors(pool), wanted, self.ranking.diversity)
        listed, filled = self._fill(listed, mask, parts, wanted) if spoken is None else (listed, {})
        listed = listed.take(np.arange(query.offset, min(wanted, len(listed))))
        done = time.perf_counter()
        stages = (
            Stage("retrieve", self.n_items, int(matches.sum()), ms),
            Stage("filter", int(matches.sum()), int(mask.sum()), 1000 * (filtered - clock)),
            Stage("select", int(mask.sum()), len(listed), 1000 * (done - filtered)),
        )
        trace = Trace(_reason(query, asked), stages, dropped, filled, asked.unknown, self.release)
        return Recommendation(self.items.ids.take(listed.nums), listed, trace)

    def _fill(
        self, listed: ItemList, mask: Mask, parts: Mapping[str, FloatVector], wanted: int
    ) -> tuple[ItemList, dict[str, int]]:
        """Fills a short list with allowed items that no signal speaks for, by the fallback scorer's order."""
        missing = wanted - len(listed)
        if missing <= 0:
            return listed, {}
        left = mask.copy()
        left[listed.nums] = False
        scorer = self.fusion.scorers.get(self.ranking.fallback)
        order = np.zeros(self.n_items, dtype=np.float32)
        if scorer is not None:
            known = scorer.score_block(_nobody(_now()))[0]
            order[: len(known)] = np.nan_to_num(known)
        more = top_k(np.where(left, order, np.nan), missing)
        if not len(more):
            return listed, {}
        nums = np.concatenate([listed.nums, more])
        columns = {name: column[nums] for name, column in parts.items()}
        scores = np.concatenate([listed.scores, np.zeros(len(more), dtype=np.float32)])
        return ItemList(nums, scores, columns), {self.ranking.fallback: len(more)}

    # ---- texts -----------------------------------------------------------------------------------------------------

    def _spoken(self, queries: Sequence[Query], block: QueryBlock) -> dict[int, dict[str, FloatVector]]:
        """By query with a text or a vector: raw scores of the text readers ("bm25", "vectors")."""
        rows = [i for i, query in enumerate(queries) if query.text or query.vector is not None]
        vectors = np.stack([self._query_vector(queries[i]) for i in rows])
        nothing = np.zeros(len(rows) + 1, dtype=np.int64)
        asked = QueryBlock(
            users=np.full(len(rows), -1, dtype=np.int32),
            offsets=nothing,
            items=np.zeros(0, np.int32),
            times=np.zeros(0, np.int64),
            at=block.at[rows],
            texts=tuple(queries[i].text or "" for i in rows),
            vectors={"vectors": vectors},
        )
        out: dict[int, dict[str, FloatVector]] = {i: {} for i in rows}
        for name in ("bm25", "vectors"):
            if name not in self.fusion.scorers:
                continue
            scores = self.fusion.scorers[name].score_block(asked)
            for row, i in enumerate(rows):
                out[i][name] = np.pad(
                    np.nan_to_num(scores[row]), (0, self.n_items - scores.shape[1]), constant_values=0.0
                )
        return out

    def _query_vector(self, query: Query) -> FloatVector:
        encoder = self.encoder
        if query.vector is not None:
            if encoder is not None and len(query.vector) != encoder.dim:
                raise DataError(
                    f"vector: {len(query.vector)} numbers, but the encoder's space has {encoder.dim}", field="vector"
                )
            return np.asarray(query.vector, dtype=np.float32)
        if encoder is None:
            return np.full(1, np.nan, dtype=np.float32)
        vector: FloatVector = encoder.encode([query.text or ""], role="query")[0]
        return vector

    def _parts(
        self, query: Query, parts: FloatMatrix, spoken: Mapping[str, FloatVector] | None
    ) -> dict[str, FloatVector]:
        """By signal, the (n,) parts of the score: of the history, of the text, or of both in the asked proportion."""
        by_name = {signal.name: parts[s] for s, signal in enumerate(self.fusion.signals)}
        if spoken is None:
            return by_name
        share = query.personal if query.history or query.user else 0.0
        out = {}
        if share > 0:
            top = max(float(parts.sum(axis=0).max()), 1e-9)
            out = {name: (share / top) * column for name, column in by_name.items()}
        meaning = 1.0 if query.text is None else query.meaning
        for name, weight in (("bm25", 1.0 - meaning), ("vectors", meaning)):
            if name in spoken and weight > 0:
                value = np.maximum(spoken[name], 0.0)
                value = value * np.float32((1.0 - share) * weight / max(float(value.max()), 1e-9))
                out[name] = out[name] + value if name in out else value
        return out or {"bm25": np.zeros(self.n_items, dtype=np.float32)}

    def _matches(self, query: Query, spoken: Mapping[str, FloatVector] | None) -> Mask:
        """(n,) True for what a search may show: a common word, or a near meaning. Without a text, everything."""
        if spoken is None:
            return np.ones(self.n_items, dtype=np.bool_)
        mask = np.zeros(self.n_items, dtype=np.bool_)
        if "bm25" in spoken and query.meaning < 1:
            mask |= spoken["bm25"] > 0
        if "vectors" in spoken and (query.meaning > 0 or query.text is None):
            mask |= spoken["vectors"] >= MEANING_MATCH
        return mask

    def matched_words(self, text: str, nums: IntVector) -> list[tuple[str, ...]]:
        """For each item number, the words of the text that the item holds."""
        lexical: Any = self.fusion.scorers.get("bm25")
        return [lexical.matched(text, int(num)) if lexical is not None else () for num in nums]

    def _text_vectors(self, nums: IntVector) -> FloatMatrix:
        scorer: Any = self.fusion.scorers.get("vectors")
        vectors: FloatMatrix = np.zeros((len(nums), 1), np.float32) if scorer is None else scorer.vectors[nums]
        return vectors

    # ---- numbering -------------------------------------------------------------------------------------------------

    def _number(self, query: Query) -> _Asked:
        at = _now() if query.at is None else int(query.at.timestamp() * 1000)
        nums = self.items.ids.numbers(query.history)
        known = nums >= 0
        unknown = tuple(name for name, ok in zip(query.history, known, strict=True) if not ok)
        types = query.history_types or ("",) * len(query.history)
        counted = known & np.array(
            [not query.filters.seen_types or not kind or kind in query.filters.seen_types for kind in types], bool
        )
        left_out = np.isin(nums, self.items.ids.numbers(query.without)) if query.without else ~known
        times = np.array(query.history_at, np.int64) if query.history_at else np.full(len(nums), at, dtype=np.int64)
        if len(times) != len(nums):
            raise DataError(f"history_at: {len(times)} times for {len(nums)} items", field="history_at")
        kept = known & ~left_out
        return _Asked(nums[kept], times[kept], nums[counted], at, unknown)

    def _block(self, queries: Sequence[Query], asked: Sequence[_Asked]) -> QueryBlock:
        offsets = np.zeros(len(queries) + 1, dtype=np.int64)
        np.cumsum([len(one.history) for one in asked], out=offsets[1:])
        return QueryBlock(
            users=self.users.numbers(query.user or "" for query in queries),
            offsets=offsets,
            items=_concatenate([one.history for one in asked], np.int32),
            times=_concatenate([one.times for one in asked], np.int64),
            at=np.array([one.at for one in asked], dtype=np.int64),
            texts=(None,) * len(queries),
        )

    # ---- explaining ------------------------------------------------------------------------------------------------

    def explain(self, query: Query, item_id: str) -> Explanation:
        """The exact account of one item's score for a query.

        Raises:
            DataError: the item is unknown.
        """
        num = self.items.ids.number(item_id)
        if num < 0 or num in self.items.deleted:
            raise DataError(f"item {item_id!r} is not in the catalogue", field="item")
        asked = self._number(query)
        block = self._block([query], [asked])
        features = self.fusion.parts(self.fusion.signal_scores(block))[:, 0]
        spoken = self._spoken([query], block).get(0) if query.text or query.vector is not None else None
        parts = self._parts(query, features, spoken)
        scores = _total(parts)
        mask, _ = allowed(self.items, self.items.hidden(), query.filters, asked.seen, asked.at)
        mine = {name: float(column[num]) for name, column in parts.items()}
        shares = history_shares(self.fusion, block, num)
        ids = self.items.ids.take(asked.history)
        weights = {s.name: float(w) for s, w in zip(self.fusion.signals, self.fusion.mix.weights, strict=True)}
        contributions = tuple(
            Contribution(
                name,
                weights.get(name, 1.0),
                mine[name] / weights[name] if weights.get(name) else mine[name],
                mine[name],
                _by_item(ids, shares[name] * np.float32(mine[name])) if name in shares else (),
            )
            for name in sorted(mine, key=lambda name: -abs(mine[name]))
        )
        better = mask & ((scores > scores[num]) | ((scores == scores[num]) & (np.arange(len(scores)) < num)))
        return Explanation(
            item_id,
            float(scores[num]),
            int(better.sum()) + 1 if mask[num] else None,
            None if mask[num] else self._dropping_rule(query, asked, num),
            contributions,
            reason_of(mine, shares, ids),
        )

    def reasons(self, query: Query, answer: Recommendation) -> list[Reason]:
        """The short why of each item of an answer."""
        asked = self._number(query)
        block = self._block([query], [asked])
        ids = self.items.ids.take(asked.history)
        out = []
        for row, num in enumerate(answer.items.nums):
            parts = {name: float(column[row]) for name, column in answer.items.columns.items()}
            if query.text is not None:
                best = max(parts, key=lambda name: parts[name])
                out.append(Reason("text_match" if best == "bm25" else "similar_text", best))
            else:
                out.append(reason_of(parts, history_shares(self.fusion, block, int(num)), ids))
        return out

    def _dropping_rule(self, query: Query, asked: _Asked, num: int) -> str:
        only = np.ones(self.n_items, dtype=np.bool_)
        only[num] = bool(self.items.hidden()[num])
        _, dropped = allowed(self.items, only, query.filters, asked.seen, asked.at)
        return next((name for name in dropped if name != "hidden"), "hidden")

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
            items, nums = items.with_items(changed)
            texts = [item_text(item, self.text_fields) for item in changed]
            vectors = self.embed_items(changed) if vectors is None else vectors
            # An id that comes twice counts by its last state.
            last = np.array(sorted({int(num): row for row, num in enumerate(nums)}.values()))
            scorers: dict[str, Scorer] = {}
            for name, scorer in fusion.scorers.items():
                if isinstance(scorer, ItemReader):
                    of_space = vectors.get(getattr(scorer, "space", ""))
                    scorers[name] = scorer.with_items(
                        nums[last], [texts[row] for row in last], None if of_space is None else of_space[last]
                    )
                else:
                    scorers[name] = scorer
            fusion = fusion.with_scorers(scorers, len(items))
        if deleted:
            items = items.without(deleted)
        return replace(self, items=items, fusion=fusion)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A query in numbers."""

    history: IntVector
    times: Any
    seen: IntVector
    at: int
    unknown: tuple[str, ...]


def _total(parts: Mapping[str, FloatVector]) -> FloatVector:
    total: FloatVector = np.sum(list(parts.values()), axis=0, dtype=np.float32)
    return total


def _reason(query: Query, asked: _Asked) -> str:
    if query.vector is not None:
        return "vector"
    if query.text:
        return "text"
    return "history" if len(asked.history) else "new_visitor"


def _by_item(ids: tuple[str, ...], values: FloatVector) -> tuple[tuple[str, float], ...]:
    sums: dict[str, float] = {}
    for name, value in zip(ids, values, strict=True):
        if value != 0:
            sums[name] = sums.get(name, 0.0) + float(value)
    return tuple(sorted(sums.items(), key=lambda pair: -abs(pair[1])))


def _nobody(at: int) -> QueryBlock:
    return QueryBlock(
        np.full(1, -1, np.int32),
        np.zeros(2, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.int64),
        np.full(1, at, np.int64),
        (None,),
    )


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _concatenate(arrays: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=dtype)
