"""Validation questions over a large catalogue, asked of the retrievers as a request is: what the mix learns from.

`fusing.py` and `choosing.py` do the same with every item of a smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from langrec.data.candidates import distinct, had, population_of, union, within
from langrec.evaluation.found import few
from langrec.evaluation.protocol import Targets
from langrec.protocols import Progress
from langrec.ranking.alone import found_in
from langrec.ranking.facts import Facts
from langrec.ranking.features import features_of
from langrec.ranking.fusion import Fusion
from langrec.ranking.mix import Mix, MixSamples
from langrec.ranking.near import candidate_signals, find, log_candidates, rank_candidates, total_of, weigh
from langrec.ranking.rerank import foremost, holding
from langrec.ranking.select import top_k
from langrec.ranking.voting import Ballot
from langrec.settings import RankingSettings
from langrec.types import Candidates, FloatMatrix, FloatVector, Mask, QueryBlock

# Items drawn at random for each question, which stand for all that was not found.
DRAWN = 500
NOT_FOUND = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Questions answered by the mix of the other half of the users, with what the trees look at.

    Attributes:
        linear: (q,) rank of the target by the mix, NOT_FOUND where no retriever found it.
        fused: (ways, q) likewise by rank fusion in each way; NOT_FOUND too where it was not asked.
        x: (m, f) features of the candidates that the trees look at, one question after the other.
        base: (m,) their mixed scores.
        labels: (m,) True for the right answer.
        groups: (q,) candidates of each question.
    """

    linear: npt.NDArray[np.int64]
    fused: npt.NDArray[np.int64]
    x: FloatMatrix
    base: FloatVector
    labels: Mask
    groups: npt.NDArray[np.int64]


def gather(
    samples: MixSamples, fusion: Fusion, questions: Targets, judged: Mask, settings: RankingSettings, told: Progress
) -> npt.NDArray[np.int64]:
    """Adds to the samples what the mix learns from: what was found, the right answer, and a draw of all others.

    Args:
        judged: (q,) questions whose ranks are wanted.

    Returns:
        (s, judged) ranks of the right answers by each signal alone.
    """
    rng, done = np.random.default_rng(settings.seed), 0
    ranks = [np.zeros((len(fusion.signals), 0), dtype=np.int64)]
    for part in few(questions):
        block = _kept(part.block)
        found = find(fusion, block, settings.retrieved).asked
        drawn = Candidates.of([_draw(fusion.n_items, rng)] * len(part))
        asked = _without(union([found, _targets(part), drawn]), block)
        known = found_in(found, asked) | found_in(_targets(part), asked)
        raw, means = candidate_signals(fusion, block, asked)
        n_known = np.bincount(asked.rows(), known, minlength=len(part)).astype(np.int64)
        n_past = np.array([len(distinct(block.history(i))[0]) for i in range(len(part))])
        logs = log_candidates(raw, means, asked.rows())
        n_others = (fusion.n_items - n_known - n_past).astype(np.int32)
        samples.add_found(logs, asked, ~known, n_others, part.items, fusion.situations.of(block))
        mine = judged[done : done + len(part)]
        ranks.append(ranks_of(np.where(np.isnan(raw), -np.inf, raw), asked, part, mine)[:, mine])
        done += len(part)
        told("learn the mix", done, 2 * len(questions))
    return np.concatenate(ranks, axis=1)


def answer(
    fusion: Fusion,
    facts: Facts,
    questions: Targets,
    halves: Sequence[Mix],
    odd: Mask,
    ballot: Ballot,
    fused_too: Mask,
    settings: RankingSettings,
    told: Progress,
) -> Asked:
    """Every question answered from its candidates, by the mix that its user had no part in.

    Args:
        halves: mixes learned from the even and from the odd users.
        odd: (q,) True for questions of odd users.
        ballot: the ways of rank fusion.
        fused_too: (q,) questions that it is asked too.
    """
    names = fusion.names
    linear: list[npt.NDArray[np.int64]] = []
    fused: list[npt.NDArray[np.int64]] = []
    x: list[FloatMatrix] = []
    base, labels, groups = [np.zeros(0, np.float32)], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)]
    done = 0
    for part in few(questions):
        block = _kept(part.block)
        asked = find(fusion, block, settings.retrieved).asked
        raw, means = candidate_signals(fusion, block, asked)
        rows, place = asked.rows(), np.arange(done, done + len(part))
        done += len(part)
        logs = log_candidates(raw, means, rows)
        situations = fusion.situations.of(block)
        # The first half's weights were learned from even users, so they answer the odd ones.
        weights = np.where(odd[place], halves[0].weights_in(situations), halves[1].weights_in(situations))
        mixed = np.einsum("sm,sm->m", weights[:, rows], logs, optimize=True).astype(np.float32)
        linear.append(ranks_of(mixed, asked, part))
        if fused_too[place].any():
            merged = np.stack(list(ballot.merged(rank_candidates(raw, asked))))
            fused.append(ranks_of(merged, asked, part, fused_too[place]))
        else:
            fused.append(np.full((len(ballot.ways), len(part)), NOT_FOUND))
        told("learn the mix", len(questions) + done, 2 * len(questions))
        if settings.ranker == "none":
            continue
        best = foremost(names, logs, mixed, block, asked, settings.depth)
        best = holding(best, [target in asked.nums[own] for own, target in zip(best, part.items, strict=True)])
        where = np.concatenate([np.zeros(0, dtype=np.intp), *best])
        nums = [asked.nums[own] for own in best]
        x.append(features_of(facts, names, logs[:, where], mixed[where], block, nums, fusion.text_vectors))
        base.append(mixed[where])
        labels.extend(own == target for own, target in zip(nums, part.items, strict=True))
        groups.append(np.array([len(own) for own in nums], dtype=np.int64))
    return Asked(
        np.concatenate(linear),
        np.concatenate(fused, axis=1),
        np.concatenate(x) if x else np.zeros((0, 0), np.float32),
        np.concatenate(base),
        np.concatenate(labels),
        np.concatenate(groups),
    )


def listed(
    fusion: Fusion, questions: Targets, depth: int, settings: RankingSettings
) -> tuple[list[FloatVector], list[Mask]]:
    """Of each question that the mix has something to say about, the scores of its best less its level, and which of
    them is the right answer.
    """
    scores: list[FloatVector] = []
    labels: list[Mask] = []
    sample = population_of(fusion.n_items, sampled=DRAWN).sample
    for part in few(questions):
        block = _kept(part.block)
        found = find(fusion, block, settings.retrieved).asked
        asked = union([found, Candidates.of([sample] * len(part))])
        weighed = weigh(fusion, block, asked)
        levels = total_of(found, asked, weighed.mixed, block, fusion.n_items)
        there = found_in(found, asked) & ~had(block, asked)
        for i, (lo, hi) in enumerate(pairwise(asked.offsets)):
            if weighed.silent[i]:
                continue
            best = lo + top_k(np.where(there[lo:hi], weighed.mixed[lo:hi], np.nan), depth)
            scores.append((weighed.mixed[best] - levels[i]).astype(np.float32))
            labels.append(asked.nums[best] == part.items[i])
    return scores, labels


def ranks_of(
    scores: FloatVector | FloatMatrix, asked: Candidates, questions: Targets, wanted: Mask | None = None
) -> npt.NDArray[np.int64]:
    """(..., q) rank of each target among the candidates outside its history, ties by number.

    NOT_FOUND where it is none of them.

    Args:
        scores: (..., m).
        wanted: (q,) questions to look at, the others are NOT_FOUND; None = all.
    """
    out = np.full((*scores.shape[:-1], len(questions)), NOT_FOUND, dtype=np.int64)
    for i, (lo, hi) in enumerate(pairwise(asked.offsets)):
        if wanted is not None and not wanted[i]:
            continue
        nums, own = asked.nums[lo:hi], scores[..., lo:hi]
        place = int(np.searchsorted(nums, questions.items[i]))
        if place == len(nums) or nums[place] != questions.items[i]:
            continue
        free = ~within(nums, questions.block.history(i))
        mine = own[..., place, None]
        before = (own > mine) | ((own == mine) & (nums < questions.items[i]))
        out[..., i] = 1 + (before & free).sum(axis=-1)
    return out


def _kept(block: QueryBlock) -> QueryBlock:
    return replace(block, kept={})


def _targets(part: Targets) -> Candidates:
    return Candidates(np.arange(len(part) + 1, dtype=np.int64), part.items)


def _draw(n_items: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Some items at random, rising, each once."""
    if n_items <= DRAWN:
        return np.arange(n_items, dtype=np.int32)
    return np.unique(rng.integers(0, n_items, DRAWN)).astype(np.int32)


def _without(asked: Candidates, block: QueryBlock) -> Candidates:
    """The candidates that no history holds."""
    new = ~had(block, asked)
    rows: Sequence[npt.NDArray[np.int32]] = [asked.nums[lo:hi][new[lo:hi]] for lo, hi in pairwise(asked.offsets)]
    return Candidates.of(rows)
