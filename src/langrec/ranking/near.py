"""Candidates of a large catalogue: what each retriever finds best, and every signal of these items alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from langrec import loops
from langrec.budget import stage
from langrec.data.candidates import distinct, places_in, population_of, union, within
from langrec.protocols import Index, ItemReader, ItemScorer, Retriever
from langrec.ranking.mix import RRF_DEPTH, votes_of
from langrec.ranking.select import top_k
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Mask, Population, QueryBlock

if TYPE_CHECKING:
    from langrec.ranking.fusion import Fusion, Only, Signal

# Of popularity's best so many are enough: they are the same for everyone, and its windows find nearly the same.
POPULAR = 50


@dataclass(frozen=True, eq=False)
class Near:
    """What finds candidates beside the scorers that find them by themselves.

    Attributes:
        searchers: by name, scorers whose best an index finds.
        indexes: by the same names.
        everyone: all items, with the sample that stands for them.
        rare: items with few training events or none.
        new: items with none.
    """

    searchers: Mapping[str, Any]
    indexes: Mapping[str, Index]
    everyone: Population
    rare: Population
    new: Population

    @classmethod
    def over(
        cls, searchers: Mapping[str, Any], indexes: Mapping[str, Index], n_items: int, rare: Mask, new: Mask
    ) -> Self:
        """For a catalogue of n items.

        Args:
            rare, new: (n',) True for items with few training events, and with none; items past the end have none.
        """
        loops.start()
        few, none = population_of(n_items, rare), population_of(n_items, new)
        return cls(searchers, indexes, population_of(n_items), few, none)

    def of(self, only: Only) -> Population:
        """Whom a signal speaks of."""
        return {"": self.everyone, "rare": self.rare, "new": self.new}[only]

    def with_items(
        self, nums: IntVector, texts: Sequence[str], vectors: Mapping[str, FloatMatrix], n_items: int
    ) -> Self:
        """The same, finding these items too."""
        searchers, indexes = dict(self.searchers), dict(self.indexes)
        for name, scorer in self.searchers.items():
            if isinstance(scorer, ItemReader):
                searchers[name] = scorer.with_items(nums, texts, vectors.get(getattr(scorer, "space", "")))
                rows = searchers[name].index_rows(nums)
                some = rows.any(axis=1)
                indexes[name] = indexes[name].without(nums[~some]).with_items(nums[some], rows[some])
        return replace(
            self,
            searchers=searchers,
            indexes=indexes,
            everyone=self.everyone.grown(n_items),
            rare=self.rare.grown(n_items),
            new=self.new.grown(n_items),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Candidates of a block.

    Attributes:
        asked: what all retrievers found together.
        counts: by retriever, how many it found for each query.
    """

    asked: Candidates
    counts: Mapping[str, npt.NDArray[np.int64]]


def find(fusion: Fusion, block: QueryBlock, k: int, allowed: Mask | None = None) -> Found:
    """What every retriever of the mix finds, at most k items of each.

    Args:
        block: whose `kept` is a table: what is found is scored from it again.
        allowed: as `Retriever.retrieve`.
    """
    assert fusion.near is not None
    parts: dict[str, Candidates] = {}
    for signal in fusion.retrieving:
        few = min(k, POPULAR) if signal.scorer.startswith("popular") else k
        parts[signal.name] = fusion.at(signal).retrieve(block, few, allowed)
    for name, scorer in fusion.near.searchers.items():
        parts[name] = searched(fusion.near.indexes[name], scorer.index_queries(block), k, allowed)
    nothing = Candidates.of([np.zeros(0, dtype=np.int32)] * len(block))
    counts = {name: np.diff(part.offsets) for name, part in parts.items()}
    return Found(union([nothing, *parts.values()]), counts)


def retrieving(fusion: Fusion) -> list[Signal]:
    """The signals that find candidates: each distinct state of a scorer that can, where it weighs anything.

    Of more than two decays of one scorer the lowest and the highest find for all: what those between find lies in
    both for the most part, and all of them score what was found.
    """
    weigh = np.abs(fusion.mix.weights)
    if len(fusion.mix.slopes):
        weigh = weigh + np.abs(fusion.mix.slopes).sum(axis=0)
    found: dict[tuple[Any, ...], Signal] = {}
    for signal, weight in zip(fusion.signals, weigh, strict=True):
        scorer = fusion.at(signal)
        if isinstance(scorer, Retriever) and (weight > 0 or signal.name == fusion.fallback):
            once = getattr(scorer, "retrieves_once", False)
            found.setdefault((signal.scorer, () if once else signal.params), signal)
    return [signal for signal in found.values() if _outermost(fusion, signal, found.values())]


def _outermost(fusion: Fusion, signal: Signal, among: Iterable[Signal]) -> bool:
    """Whether no signal of the same scorer has a lower decay, or none has a higher one."""
    decays = [getattr(fusion.at(one), "decay", 0.0) for one in among if one.scorer == signal.scorer]
    return getattr(fusion.at(signal), "decay", 0.0) in (min(decays), max(decays))


def searched(index: Index, queries: FloatMatrix, k: int, allowed: Mask | None) -> Candidates:
    """What an index finds for each query, by number."""
    # An index that can look less closely does: what its last would add, others find, or none would show.
    look: Any = getattr(index, "glance", index.search)
    nums, _ = look(np.ascontiguousarray(queries, dtype=np.float32), k, allowed)
    ordered = np.sort(nums, axis=1)
    lengths = (ordered >= 0).sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Candidates(offsets, ordered[ordered >= 0].astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """What the mix says of candidates.

    Attributes:
        logs: (s, m) features of the signals.
        parts: (p, m) what each signal, and the reranker, adds to the score.
        mixed: (m,) the scores.
        silent: (q,) True for queries about which no signal but popularity has anything to say.
    """

    logs: FloatMatrix
    parts: FloatMatrix
    mixed: FloatVector
    silent: Mask


def weigh(fusion: Fusion, block: QueryBlock, asked: Candidates) -> Weighed:
    """The candidates' features, weighed and looked at again, as `Fusion.parts` does for a whole catalogue."""
    raw, means = candidate_signals(fusion, block, asked)
    names, rows = fusion.names, asked.rows()
    if fusion.mix.kind == "rrf":
        logs = votes_of(rank_candidates(raw, asked), fusion.mix.rrf_k)
    else:
        logs = log_candidates(raw, means, rows)
    parts = np.empty((len(fusion.part_names), len(rows)), dtype=np.float32)
    weights = fusion.mix.weights_in(fusion.situations.of(block))
    np.multiply(logs, weights[:, rows], out=parts[: len(names)])
    others = np.array([not name.startswith("popular") for name in names], dtype=np.bool_)
    heard = (means[others] > 0).any(axis=0)
    heard |= np.bincount(rows, (raw[others] > 0).any(axis=0), minlength=len(block)) > 0
    # Of whom nothing is known popularity alone speaks, and what trees would add is dropped again below.
    told_apart = fusion.fallback in names and others.any()
    if fusion.reranker is not None and told_apart and not heard.any():
        parts[-1] = 0.0
    elif fusion.reranker is not None:
        with stage("trees") as has_room:
            if has_room:
                mixed = parts[:-1].sum(axis=0)
                parts[-1] = fusion.reranker.added_to(names, logs, mixed, block, asked, fusion.text_vectors)
            else:
                parts[-1] = 0.0
    if told_apart and not heard.all():
        alone, quiet = names.index(fusion.fallback), ~heard[rows]
        parts[:, quiet] = 0.0
        parts[alone, quiet] = log_candidates(raw[alone : alone + 1], means[alone : alone + 1], rows)[0, quiet]
    return Weighed(logs, parts, parts.sum(axis=0), ~heard)


def candidate_signals(fusion: Fusion, block: QueryBlock, asked: Candidates) -> tuple[FloatMatrix, FloatMatrix]:
    """(s, m) raw scores of each signal, and (s, q) the means over the catalogue of what is above 0."""
    assert fusion.near is not None
    out = np.empty((len(fusion.signals), len(asked.nums)), dtype=np.float32)
    means = np.empty((len(fusion.signals), len(block)), dtype=np.float32)
    known = {only: ~fusion.near.of(only).holds(asked.nums) for only in {signal.only for signal in fusion.signals}}
    done: dict[tuple[Any, ...], int] = {}
    for s, signal in enumerate(fusion.signals):
        scorer: Any = fusion.pointwise[signal]
        same = done.setdefault((signal.scorer, signal.params), s)
        out[s] = out[same] if same < s else scorer.score_items(block, asked)
        means[s] = scorer.mean_positive(block, fusion.near.of(signal.only))
    for s, signal in enumerate(fusion.signals):
        if signal.only:
            out[s, known[signal.only]] = np.nan
    return out, means


def pointwise(scorer: Any) -> Any:
    """The scorer as one of items by number."""
    return scorer if isinstance(scorer, ItemScorer) else Whole(scorer)


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """Candidates' scores by a scorer that only scores whole catalogues; it takes time by their size."""

    scorer: Any

    def score_items(self, block: QueryBlock, asked: Candidates) -> FloatVector:
        scores = self._all(block)
        inside = asked.nums < scores.shape[1]
        out = scores[asked.rows(), np.where(inside, asked.nums, 0)]
        out[~inside] = np.nan
        return out

    def mean_positive(self, block: QueryBlock, among: Population) -> FloatVector:
        scores = np.nan_to_num(np.maximum(self._all(block), 0.0))
        members = among.holds(np.arange(scores.shape[1], dtype=np.int32))
        return np.asarray(scores[:, members].sum(axis=1) / max(among.n, 1), dtype=np.float32)

    def _all(self, block: QueryBlock) -> FloatMatrix:
        scores: FloatMatrix = block.keep(("whole", id(self.scorer)), lambda: self.scorer.score_block(block))
        return scores


def total_of(found: Candidates, asked: Candidates, mixed: FloatVector, block: QueryBlock, n: int) -> FloatVector:
    """(q,) as `calibration.levels`: log of the sum of exp(score) over all n items outside each history, from a sample.

    Args:
        found: what was looked for.
        asked: these, and a sample of all items: what is not among the found stands for all that was not found.
        mixed: (m,) scores of `asked`.
    """
    out = np.empty(len(found), dtype=np.float32)
    for i, (lo, hi) in enumerate(pairwise(asked.offsets)):
        nums, scores = asked.nums[lo:hi], mixed[lo:hi].astype(np.float64)
        history = distinct(block.history(i))[0]
        scores[within(nums, history)] = -np.inf
        there = places_in(found[i], nums)[1]
        top = max(float(scores.max(initial=0.0)), 0.0)
        mine = np.exp(scores[there] - top).sum()
        others = np.exp(scores[~there] - top)
        n_rest = n - int(there.sum()) - int((~within(history, nums[there])).sum())
        out[i] = top + np.log(mine + (others.mean() * n_rest if len(others) else 0.0) + 1e-300)
    return out


def log_candidates(raw: FloatMatrix, means: FloatMatrix, rows: IntVector) -> FloatMatrix:
    """(s, m) as `mix.log_features`."""
    positive: FloatMatrix = np.fmax(raw, np.float32(0.0))
    positive /= np.maximum(means, np.float32(1e-12))[:, rows]
    return np.log1p(positive, out=positive)


def rank_candidates(raw: FloatMatrix, asked: Candidates) -> npt.NDArray[np.int16]:
    """(s, m) as `mix.ranks_in`, ranked among the candidates."""
    out = np.zeros(raw.shape, dtype=np.int16)
    for lo, hi in pairwise(asked.offsets):
        for s in range(len(raw)):
            best = top_k(raw[s, lo:hi], RRF_DEPTH)
            out[s, lo + best] = np.arange(1, len(best) + 1)
    return out
