"""The second look at the best of the mix: trees that know the candidate, the history and the moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.data.candidates import had
from langrec.data.rows import Growing
from langrec.loops import compiled
from langrec.ranking.facts import Facts
from langrec.ranking.features import candidate_features, features_of
from langrec.ranking.mix import Signals
from langrec.ranking.select import top_k
from langrec.ranking.trees import Trees
from langrec.types import Candidates, FloatMatrix, FloatVector, IntVector, Item, QueryBlock


@dataclass(frozen=True, slots=True, eq=False)
class Reranker:
    """Adds the trees' sum to the mixed score of the best `depth` items of each query that are not in its history.

    Attributes:
        trees: boosted over the mix: a candidate's score is the mix plus the trees. They are shown the columns that
            they name, so that those of an older release meet no column that they did not learn.
        facts: of items and users.
        depth: candidates of a query.
    """

    trees: Trees
    facts: Facts
    depth: int

    def added(
        self, names: Sequence[str], logs: Signals, mixed: FloatMatrix, block: QueryBlock, vectors: Growing | None
    ) -> FloatMatrix:
        """(q, n) what is added to the mixed scores.

        All candidates are lifted by one number, so that none falls below where the mix has it; so are items of the
        history that the mix puts among them.

        Args:
            names: the signals.
            logs: (s, q, n) their log features.
            mixed: (q, n) mixed scores.
            vectors: (n', d) centred text vectors, where the trees read texts.
        """
        nums = candidates_of(names, logs, mixed, block, self.depth)
        x = candidate_features(self.facts, names, logs, mixed, block, nums, vectors, self.trees.names)
        value = self.trees.predict(x)
        out = np.zeros_like(mixed)
        start = 0
        for i, own in enumerate(nums):
            if not len(own):
                continue
            mine = value[start : start + len(own)]
            start += len(own)
            lift = max(0.0, -float(mine.min()))
            history = block.history(i)
            history = history[history < mixed.shape[1]]
            # Rare candidates may stand far below: the others begin where the mix's own best end.
            floor = mixed[i, own[min(self.depth, len(own)) - 1]]
            out[i, history[mixed[i, history] >= floor]] = lift
            out[i, own] = mine + lift
        return out

    def added_to(
        self,
        names: Sequence[str],
        logs: FloatMatrix,
        mixed: FloatVector,
        block: QueryBlock,
        asked: Candidates,
        vectors: Growing | None,
    ) -> FloatVector:
        """(m,) what is added to the mixed scores of candidates.

        Args:
            names: the signals.
            logs: (s, m) log features of each query's candidates.
            mixed: (m,) their mixed scores.
            vectors: (n', d) centred text vectors, where the trees read texts.
        """
        new = ~had(block, asked)
        if (loops := compiled("picking")) is not None:
            told = told_by_text(names, logs)
            bounds, chosen = loops.foremost(mixed, told, new, asked.offsets, self.depth, self.depth // 5)
            nums = [asked.nums[chosen[lo:hi]] for lo, hi in pairwise(bounds)]
            x = features_of(self.facts, names, logs[:, chosen], mixed[chosen], block, nums, vectors, self.trees.names)
            value = self.trees.predict(x)
            added: FloatVector = loops.lifted(value, chosen, bounds, mixed, new, asked.offsets, self.depth)
            return added
        best = foremost(names, logs, mixed, block, asked, self.depth)
        places = np.concatenate([np.zeros(0, dtype=np.intp), *best])
        nums = [asked.nums[own] for own in best]
        x = features_of(self.facts, names, logs[:, places], mixed[places], block, nums, vectors, self.trees.names)
        value = self.trees.predict(x)
        out = np.zeros_like(mixed)
        start = 0
        for i, own in enumerate(best):
            if not len(own):
                continue
            mine = value[start : start + len(own)]
            start += len(own)
            lift = max(0.0, -float(mine.min()))
            lo, hi = asked.offsets[i], asked.offsets[i + 1]
            floor = mixed[own[min(self.depth, len(own)) - 1]]
            out[lo:hi][~new[lo:hi] & (mixed[lo:hi] >= floor)] = lift
            out[own] = mine + lift
        return out

    def with_items(self, nums: IntVector, items: Sequence[Item] | None, n_items: int) -> Self:
        """The same trees over facts that know these items too."""
        return replace(self, facts=self.facts.with_items(nums, items, n_items))

    def save(self, folder: Path) -> None:
        self.trees.save(folder / "trees")
        self.facts.save(folder / "facts")

    @classmethod
    def load(cls, folder: Path, depth: int) -> Self:
        """
        Raises:
            BundleError: a part cannot be read.
        """
        return cls(Trees.load(folder / "trees"), Facts.load(folder / "facts"), depth)


def candidates_of(
    names: Sequence[str], logs: Signals, mixed: FloatMatrix, block: QueryBlock, depth: int
) -> list[IntVector]:
    """For each query the items to look at again, best of the mix first: its best, and the best of the rare by text.

    An item that few or none have met stands low in any mix that learned from what many met; what its text says is
    reason enough to look at it.

    Args:
        names: the signals.
        logs: (s, q, n) their log features.
        mixed: (q, n) mixed scores.
        depth: how many of the mix, without the query's history; of the rare a fifth of it.
    """
    rare = [s for s, name in enumerate(names) if name.endswith("@rare")]
    told = logs[rare].sum(axis=0) if rare else np.zeros_like(mixed)
    found = []
    for i in range(len(block)):
        scores, texts = mixed[i].copy(), told[i].copy()
        history = block.history(i)
        history = history[history < len(scores)]
        scores[history] = texts[history] = np.nan
        best = top_k(np.where(scores > 0, scores, np.nan), depth)
        texts[best] = np.nan
        texts[~(texts > 0)] = np.nan
        others = top_k(texts, depth // 5)
        nums = np.concatenate([best, others])
        found.append(nums[np.argsort(-mixed[i, nums], kind="stable")])
    return found


def foremost(
    names: Sequence[str], logs: FloatMatrix, mixed: FloatVector, block: QueryBlock, asked: Candidates, depth: int
) -> list[npt.NDArray[np.intp]]:
    """For each query the places among all candidates of those to look at again, as `candidates_of` says.

    Args:
        names: the signals.
        logs: (s, m) log features of each query's candidates.
        mixed: (m,) their mixed scores.
        depth: as there.
    """
    told, new, found = told_by_text(names, logs), ~had(block, asked), []
    for lo, hi in pairwise(asked.offsets):
        fresh = new[lo:hi]
        scores = np.where(fresh & (mixed[lo:hi] > 0), mixed[lo:hi], np.nan)
        best = top_k(scores, depth)
        texts = np.where(fresh & (told[lo:hi] > 0), told[lo:hi], np.nan)
        texts[best] = np.nan
        picked = np.concatenate([best, top_k(texts, depth // 5)])
        found.append(lo + picked[np.argsort(-mixed[lo + picked], kind="stable")])
    return found


def holding(found: Sequence[npt.NDArray[Any]], right: Sequence[bool]) -> list[npt.NDArray[Any]]:
    """The candidates of questions whose right answer is among them, and none of others, which teach trees nothing."""
    return [own if some else own[:0] for own, some in zip(found, right, strict=True)]


def told_by_text(names: Sequence[str], logs: FloatMatrix) -> FloatVector:
    """(m,) what texts say of rare candidates, from the (s, m) log features of the signals."""
    rare = [s for s, name in enumerate(names) if name.endswith("@rare")]
    return np.asarray(logs[rare].sum(axis=0))
