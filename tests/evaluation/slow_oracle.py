"""The metrics once more, one query at a time in plain Python, written from their definitions."""

from __future__ import annotations

import math


def ndcg(ranked, gains, k):
    dcg = sum(gains.get(item, 0) / math.log2(rank + 2) for rank, item in enumerate(ranked[:k]))
    best = sum(g / math.log2(rank + 2) for rank, g in enumerate(sorted(gains.values(), reverse=True)[:k]))
    return dcg / best if best else math.nan


def recall(ranked, gains, k):
    return sum(item in gains for item in ranked[:k]) / len(gains) if gains else math.nan


def hit_rate(ranked, gains, k):
    return float(any(item in gains for item in ranked[:k])) if gains else math.nan


def precision(ranked, gains, k):
    return sum(item in gains for item in ranked[:k]) / k if gains else math.nan


def f1(ranked, gains, k):
    if not gains:
        return math.nan
    p, r = precision(ranked, gains, k), recall(ranked, gains, k)
    return 2 * p * r / (p + r) if p + r else 0.0


def mrr(ranked, gains, k):
    if not gains:
        return math.nan
    for rank, item in enumerate(ranked[:k], start=1):
        if item in gains:
            return 1 / rank
    return 0.0


def average_precision(ranked, gains, k):
    if not gains:
        return math.nan
    total = hits = 0
    for rank, item in enumerate(ranked[:k], start=1):
        if item in gains:
            hits += 1
            total += hits / rank
    return total / min(len(gains), k)


def auc(scores, history, gains):
    """Pairs of a target and a candidate that is no target; NaN scores rank last, equal to one another."""

    def value(item):
        return -math.inf if math.isnan(scores[item]) else scores[item]

    others = [item for item in range(len(scores)) if item not in history and item not in gains]
    if not gains or not others:
        return math.nan
    won = sum(
        1.0 if value(target) > value(other) else 0.5 if value(target) == value(other) else 0.0
        for target in gains
        for other in others
    )
    return won / (len(gains) * len(others))


def ranking(scores, history):
    """All scored candidates, best first, ties by number."""
    there = [item for item in range(len(scores)) if item not in history and not math.isnan(scores[item])]
    return sorted(there, key=lambda item: (-scores[item], item))


def diversity(ranked, vectors, k):
    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    shown = [vectors[item] for item in ranked[:k] if any(vectors[item])]
    pairs = [cosine(shown[i], shown[j]) for i in range(len(shown)) for j in range(i)]
    return 1 - sum(pairs) / len(pairs) if pairs else math.nan


def novelty(ranked, counts, k):
    total = sum(counts) + len(counts)
    bits = [-math.log2((counts[item] + 1) / total) for item in ranked[:k]]
    return sum(bits) / len(bits) if bits else math.nan
