"""A cross-encoder's judgement as a small formula over cheap features: what the light ranker learns from its teacher.

Features of a candidate: its score and cosine before, its cosine to the nearest and to the latest history item, and the
words that it shares with the history. Linear and product terms are fitted to the teacher's scores within each list
(Hinton et al. 2015, distillation by regression on logits; each list is centred, for only its order matters).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from langrec.lm.compress.cross import RECENT, Cross
from langrec.types import FloatMatrix, FloatVector, IntVector, QueryBlock

FEATURES = ("score", "nearest", "latest", "words")
RIDGE = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What features are made of.

    Attributes:
        vectors: (n, d) unit vectors of the items.
        titles: (n,) titles.
        texts: (n,) texts.
        words: (n,) the set of words of each text, lower case.
    """

    vectors: FloatMatrix
    titles: Sequence[str]
    texts: Sequence[str]
    words: Sequence[frozenset[str]]

    @classmethod
    def of(cls, vectors: FloatMatrix, titles: Sequence[str], texts: Sequence[str]) -> Self:
        """Splits the texts into words."""
        return cls(vectors, titles, texts, [frozenset(text.lower().split()) for text in texts])

    def features(self, history: IntVector, nums: IntVector, scores: FloatVector) -> FloatMatrix:
        """(m, len(FEATURES)) of the candidates `nums`, whose scores before are `scores` (m,)."""
        recent = history[::-1][:RECENT]
        recent = recent[recent < len(self.vectors)]
        out = np.zeros((len(nums), len(FEATURES)), dtype=np.float32)
        out[:, 0] = scores
        if len(recent):
            near = self.vectors[nums] @ self.vectors[recent].T
            out[:, 1], out[:, 2] = near.max(1), near[:, 0]
            seen = frozenset().union(*(self.words[i] for i in recent))
            out[:, 3] = [len(self.words[i] & seen) / max(len(self.words[i]), 1) for i in nums]
        return out

    def asked(self, history: IntVector) -> str:
        """The history as a text, newest first: what the teacher reads."""
        return "; ".join(self.titles[i] for i in history[::-1][:RECENT] if i < len(self.titles))


@dataclass(frozen=True, slots=True, eq=False)
class LightStudent:
    """Weights over the features, their squares and products.

    Attributes:
        mean: (f,) of the features.
        scale: (f,) their spread.
        weights: (t,) of the terms.
    """

    mean: FloatVector
    scale: FloatVector
    weights: FloatVector

    @classmethod
    def fit(cls, lists: Sequence[tuple[FloatMatrix, FloatVector]]) -> Self:
        """Fits lists of (features (m, f), teacher's scores (m,)) by ridge regression, each list centred."""
        stacked = np.concatenate([rows for rows, _ in lists])
        mean, scale = stacked.mean(0), np.maximum(stacked.std(0), 1e-6)
        terms, wanted = [], []
        for rows, scores in lists:
            own = _terms((rows - mean) / scale)
            terms.append(own - own.mean(0))
            wanted.append(scores - scores.mean())
        x, y = np.concatenate(terms).astype(np.float64), np.concatenate(wanted).astype(np.float64)
        gram = x.T @ x
        ridge = RIDGE * max(float(np.trace(gram)) / len(gram), 1e-9) * np.eye(len(gram))
        return cls(mean, scale, np.linalg.solve(gram + ridge, x.T @ y).astype(np.float32))

    def score(self, features: FloatMatrix) -> FloatVector:
        """(m,) scores; only their order within a list means something."""
        found: FloatVector = _terms((features - self.mean) / self.scale) @ self.weights
        return found


@dataclass(frozen=True, slots=True, eq=False)
class LightReranked:
    """A scorer whose best items the student looks at again; all others stay behind them in their order."""

    base: Any
    student: LightStudent
    items: Items
    best: int

    def score_block(self, block: QueryBlock) -> FloatMatrix:
        """(q, n) scores."""
        scores = np.array(self.base.score_block(block), dtype=np.float32)
        for i, (history, near) in enumerate(best_of(scores, block, self.best)):
            if len(near):
                fit = self.student.score(self.items.features(history, near, scores[i, near]))
                scores[i, near] = float(scores[i, near].max()) + 1 + (fit - fit.min())
        return scores


@dataclass(frozen=True, slots=True)
class Gap:
    """How near the student comes to its teacher, and what each costs.

    Attributes:
        agreement: mean rank correlation of both within a held-out list.
        base_agreement: that of the scores before, without any second look.
        ms_teacher: milliseconds per 1,000 candidates of the teacher.
        ms_student: the same of the student, features included.
        lists: held-out lists that this was measured on.
    """

    agreement: float
    base_agreement: float
    ms_teacher: float
    ms_student: float
    lists: int


def teach(base: Any, teacher: Cross, items: Items, block: QueryBlock, best: int) -> tuple[LightStudent, Gap]:
    """A student of the teacher's order among the `best` of each question; one list in five is held out for the gap."""
    scores = np.array(base.score_block(block), dtype=np.float32)
    lists, told, spent = [], 0, 0.0
    for i, (history, near) in enumerate(best_of(scores, block, best)):
        if len(near) < 2:
            continue
        begun = time.perf_counter()
        wanted = teacher.score([items.asked(history)] * len(near), [items.texts[j] for j in near])
        spent, told = spent + time.perf_counter() - begun, told + len(near)
        lists.append((history, near, scores[i, near], wanted))
    held = lists[::5] if len(lists) > 4 else lists
    kept = [one for i, one in enumerate(lists) if i % 5] if len(lists) > 4 else lists
    student = LightStudent.fit([(items.features(h, near, s), wanted) for h, near, s, wanted in kept])
    begun = time.perf_counter()
    found = [student.score(items.features(h, near, s)) for h, near, s, _ in held]
    taken = time.perf_counter() - begun
    count = sum(len(near) for _, near, _, _ in held)
    gap = Gap(
        agreement=_mean([_rank_correlation(a, one[3]) for a, one in zip(found, held, strict=True)]),
        base_agreement=_mean([_rank_correlation(one[2], one[3]) for one in held]),
        ms_teacher=round(spent / max(told, 1) * 1e6, 2),
        ms_student=round(taken / max(count, 1) * 1e6, 3),
        lists=len(held),
    )
    return student, gap


def best_of(scores: FloatMatrix, block: QueryBlock, best: int) -> list[tuple[IntVector, IntVector]]:
    """(history, numbers of its best items) of each question, without the history and what has no score."""
    found = []
    for i in range(len(block)):
        row = np.where(np.isnan(scores[i]), -np.inf, scores[i])
        history = block.history(i)
        row[history[history < len(row)]] = -np.inf
        near = np.argsort(-row, kind="stable")[:best]
        found.append((history, near[np.isfinite(row[near])].astype(np.int32)))
    return found


def _terms(rows: FloatMatrix) -> FloatMatrix:
    upper = np.triu_indices(rows.shape[1])
    found: FloatMatrix = np.concatenate([rows, rows[:, upper[0]] * rows[:, upper[1]]], axis=1)
    return found


def _rank_correlation(a: FloatVector, b: FloatVector) -> float:
    """Spearman's correlation; ties take the order of their places."""
    if len(a) < 2:
        return 1.0
    mine, theirs = (np.argsort(np.argsort(one, kind="stable"), kind="stable") for one in (a, b))
    return float(np.corrcoef(mine, theirs)[0, 1])


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0
