"""Many scorers and their mix, scoring as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from langrec.budget import stage
from langrec.data.rows import Growing
from langrec.protocols import EventReader, EventRemover, ItemReader, Scorer
from langrec.ranking.mix import Mix, Signals, log_features
from langrec.ranking.near import Near, pointwise, retrieving
from langrec.ranking.repeats import neutral
from langrec.ranking.rerank import Reranker
from langrec.ranking.situation import Situations
from langrec.ranking.summed import summed
from langrec.types import FloatMatrix, FloatVector, IntVector, Item, Mask, QueryBlock, TimeVector

# An item with at most so many training events is rare: what others did says little about it, its text says more.
RARE = 5
Only = Literal["", "rare", "new"]
# The name of what the reranker adds, among the parts of a score.
RANKER = "ranker"


@dataclass(frozen=True, slots=True)
class Signal:
    """One input of the mix: a scorer, perhaps at another decay than its own, perhaps for some items only.

    `transitions@1` is the scorer `transitions` with decay 1: the same model, looking at the newest items only.
    `bm25@rare` lets words weigh otherwise where an item has few training events or none, `bm25@new` once more where it
    has none at all: a new item can win a place.
    """

    scorer: str
    params: tuple[tuple[str, float], ...] = ()
    only: Only = ""

    @property
    def name(self) -> str:
        return "@".join([self.scorer, *(f"{value:g}" for _, value in self.params), *filter(None, [self.only])])


@dataclass(frozen=True, eq=False)
class Fusion:
    """Scores by the mix of its scorers' signals.

    Attributes:
        scorers: by name.
        signals: what enters the mix, in the order of its weights.
        mix: how they are added.
        fallback: the signal that answers alone where only popularity speaks: a mix learned on people with a history
            says little about people without one.
        n_items: width of the answer; scorers that know fewer items say NaN for the rest.
        counts: training events of the first items; later ones have none.
        reranker: the second look at the best of the mix, where validation favoured it.
        near: what finds candidates, where the catalogue is too large to score it whole.
        usual: what tells the situation that the weights of the mix bend with; None = made of the counts.
    """

    scorers: Mapping[str, Scorer]
    signals: tuple[Signal, ...]
    mix: Mix
    n_items: int
    fallback: str = "popular_decayed"
    counts: IntVector = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    reranker: Reranker | None = None
    near: Near | None = None
    usual: Situations | None = None

    def __post_init__(self) -> None:
        # Kept as a field: a copy with other scorers, as each change makes one, must not look at the whole catalogue.
        object.__setattr__(self, "usual", self.situations)

    def signal_scores(self, block: QueryBlock) -> Signals:
        """(s, q, n_items) raw scores of each signal."""
        out = np.empty((len(self.signals), len(block), self.n_items), dtype=np.float32)
        done: dict[tuple[Any, ...], int] = {}
        for s, signal in enumerate(self.signals):
            same = done.setdefault((signal.scorer, signal.params), s)
            if same < s:
                out[s] = out[same]
            else:
                scores = self._bound[signal].score_block(block)
                out[s, :, : scores.shape[1]] = scores
                out[s, :, scores.shape[1] :] = np.nan
        for s, signal in enumerate(self.signals):
            if signal.only:
                known = self._known[signal.only]
                out[s, :, : len(known)][:, known] = np.nan
        return out

    @property
    def situations(self) -> Situations:
        """What tells the situation that the weights of the mix bend with."""
        return Situations(self.counts) if self.usual is None else self.usual

    @cached_property
    def _known(self) -> dict[Only, Mask]:
        """(len(counts),) True for items of which a signal for rare, or for new items alone says nothing."""
        return {"rare": self.counts > RARE, "new": self.counts > 0}

    def rare_fit(self, signals: Signals) -> FloatMatrix:
        """(q, n_items) how well rare and new items fit by the signals that read texts; NaN where these say nothing."""
        rare = [s for s, signal in enumerate(self.signals) if signal.only == "rare"]
        told = log_features(signals[rare]).sum(axis=0) if rare else np.zeros(signals.shape[1:], dtype=np.float32)
        return np.where(told > 0, told, np.float32(np.nan))

    def is_rare(self) -> Mask:
        """(n_items,) True for items with few training events or none."""
        return self.has_only("rare")

    def has_only(self, only: Only) -> Mask:
        """(n_items,) True for items that signals for these alone speak of."""
        of = np.ones(self.n_items, dtype=np.bool_)
        of[: len(self.counts)] = ~self._known[only]
        return of

    def at(self, signal: Signal) -> Any:
        """The scorer of a signal, with the signal's own settings."""
        return self._bound[signal]

    @cached_property
    def _bound(self) -> dict[Signal, Any]:
        bound: dict[Signal, Any] = {}
        for signal in self.signals:
            scorer: Any = self.scorers[signal.scorer]
            bound[signal] = scorer.with_params(**dict(signal.params)) if signal.params else scorer
        return bound

    # What a scorer can do is asked once: to ask a class for a protocol's methods takes longer than many a score.
    @cached_property
    def retrieving(self) -> list[Signal]:
        """The signals that find candidates (see `near.retrieving`)."""
        return retrieving(self)

    @cached_property
    def pointwise(self) -> dict[Signal, Any]:
        """The scorer of each signal as one of items by number."""
        return {signal: pointwise(scorer) for signal, scorer in self._bound.items()}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the signals."""
        return tuple(signal.name for signal in self.signals)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of what `parts` gives: the signals, and the reranker where there is one."""
        return self.names if self.reranker is None else (*self.names, RANKER)

    def parts(self, signals: Signals, block: QueryBlock) -> Signals:
        """(s or s + 1, q, n_items) what each signal, and the reranker, adds to the score."""
        names = self.names
        features = self.mix.features(signals)
        # One array for all parts: signals of many queries are large, and each copy of them costs as much as a scorer.
        parts = np.empty((len(self.part_names), *features.shape[1:]), dtype=np.float32)
        weights = self.mix.weights_in(self.situations.of(block))
        np.multiply(features, weights[:, :, None], out=parts[: len(names)])
        if self.reranker is not None:
            with stage("trees") as has_room:
                if has_room:
                    mixed = np.asarray(parts[:-1].sum(axis=0), dtype=np.float32)
                    parts[-1] = self.reranker.added(names, features, mixed, block, self.text_vectors)
                else:
                    parts[-1] = 0.0
        if self.fallback in names and not all(name.startswith("popular") for name in names):
            silent = self.silent(signals)
            if silent.any():
                alone = names.index(self.fallback)
                parts[:, silent] = 0.0
                parts[alone, silent] = log_features(signals[alone : alone + 1, silent])[0]
        return parts

    def with_repeats(self, parts: Signals, history: IntVector) -> Signals:
        """(s or s + 1, n) the parts of one query for a list that may show these items of the history again."""
        quiet = np.zeros(len(parts), dtype=np.bool_)
        quiet[: len(self.signals)] = [
            getattr(self.scorers[signal.scorer], "only_new", False) for signal in self.signals
        ]
        return neutral(parts, quiet, None if self.reranker is None else len(self.signals), history)

    def silent(self, signals: Signals) -> Mask:
        """(q,) True for queries about which no signal but popularity has anything to say."""
        silent = np.ones(signals.shape[1], dtype=np.bool_)
        for name, scores in zip(self.names, signals, strict=True):
            if not name.startswith("popular"):
                silent &= ~(scores > 0).any(axis=1)
            if not silent.any():
                break
        return silent

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) mixed scores; never NaN."""
        return self.mixed(block)[0]

    def mixed(self, block: QueryBlock) -> tuple[FloatMatrix, Mask]:
        """(q, n_items) mixed scores, and (q,) True where only popularity has anything to say."""
        if self.mix.kind == "linear" and self.reranker is None:
            return summed(self, block)
        signals = self.signal_scores(block)
        return np.asarray(self.parts(signals, block).sum(axis=0), dtype=np.float32), self.silent(signals)

    @property
    def text_vectors(self) -> Growing | None:
        """(n, d) centred text vectors for the reranker, where a scorer holds them."""
        vectors: Growing | None = getattr(self.scorers.get("vectors"), "vectors", None)
        return vectors

    def without_popularity(self) -> Self:
        """The same mix, in which popularity weighs nothing, and without a second look, which learned to mind it."""
        keep = np.array([not signal.scorer.startswith("popular") for signal in self.signals], dtype=np.bool_)
        mix = replace(self.mix, weights=self.mix.weights * keep, slopes=self.mix.slopes * keep)
        return replace(self, mix=mix, reranker=None)

    def with_scorers(self, scorers: Mapping[str, Scorer], n_items: int) -> Self:
        """The same mix over other states of the scorers."""
        return replace(self, scorers=scorers, n_items=n_items)

    def with_items(
        self,
        nums: IntVector,
        texts: Sequence[str],
        vectors: Mapping[str, FloatMatrix],
        n_items: int,
        items: Sequence[Item] | None = None,
    ) -> Self:
        """The same mix, in which the scorers that read items know these too.

        Args:
            nums: (m,) numbers of the items, each once; new ones continue upwards.
            texts: m texts.
            vectors: by space, (m, d) vectors of the texts; a space that is not there leaves the items without one.
            n_items: width of the answers from now on.
            items: the m items, for the reranker's facts.
        """
        scorers = {
            name: scorer.with_items(nums, texts, vectors.get(getattr(scorer, "space", "")))
            if isinstance(scorer, ItemReader)
            else scorer
            for name, scorer in self.scorers.items()
        }
        second = None if self.reranker is None else self.reranker.with_items(nums, items, n_items)
        near = None if self.near is None else self.near.with_items(nums, texts, vectors, n_items)
        return replace(self.with_scorers(scorers, n_items), reranker=second, near=near)

    def with_events(self, nums: IntVector, at: TimeVector, gains: FloatVector) -> Self:
        """The same mix, in which the scorers that read events know these too: (m,) items, times and gains."""
        scorers = {
            name: scorer.with_events(nums, at, gains) if isinstance(scorer, EventReader) else scorer
            for name, scorer in self.scorers.items()
        }
        return self.with_scorers(scorers, self.n_items)

    def without_events(self, nums: IntVector, at: TimeVector, gains: FloatVector) -> Self:
        """The same mix, in which the scorers that can forget events do not know these: (m,) items, times and gains."""
        scorers = {
            name: scorer.without_events(nums, at, gains) if isinstance(scorer, EventRemover) else scorer
            for name, scorer in self.scorers.items()
        }
        return self.with_scorers(scorers, self.n_items)


@dataclass(frozen=True, slots=True, eq=False)
class WithFallback:
    """A scorer that answers with another where it can say nothing at all about a query."""

    scorer: Scorer
    fallback: Scorer

    @property
    def n_items(self) -> int:
        return self.scorer.n_items

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n_items) the scorer's rows, and the fallback's where the scorer's are all NaN.

        Items that the fallback does not know (they came after its training) stay NaN.
        """
        scores = self.scorer.score_block(block)
        silent = np.flatnonzero(np.isnan(scores).all(axis=1))
        if len(silent):
            filled = self.fallback.score_block(block)
            width = min(scores.shape[1], filled.shape[1])
            scores[silent, :width] = filled[silent, :width]
        return scores
