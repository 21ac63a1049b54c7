"""Which texts to label next: five ways to choose among unlabelled vectors (active learning).

n texts of the pool, m labelled ones, c classes, d dimensions; vectors are frozen unit rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.errors import MissingExtra, SettingsError
from langrec.types import FloatMatrix

Rows = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
WAYS = ("random", "margin", "entropy", "coreset", "badge")
# Ways that ask a classifier; without two labels there is none.
ASKING = ("margin", "entropy", "badge")
# Ridge of the logistic regression: the middle of those that an adaptation's validation chooses from.
RIDGE = 3e-4


@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """What to label next, most wanted first.

    Attributes:
        rows: numbers of pool texts.
        why: one sentence for each.
        by: the way that chose, which is another one where the wanted way had no labels to go by.
    """

    rows: Rows
    why: tuple[str, ...]
    by: str

    def __len__(self) -> int:
        return len(self.rows)


def pick(by: str, pool: FloatMatrix, known: FloatMatrix, labels: Sequence[str], count: int, seed: int = 0) -> Picks:
    """At most `count` rows of the pool.

    Args:
        by: one of WAYS. margin: the two likeliest labels are closest (Scheffer et al. 2001). entropy: the label is
            least certain. coreset: farthest from all that is labelled or picked (greedy k-centre, Sener and Savarese
            2018). badge: spread over the gradients that a label would bring (Ash et al. 2020).
        pool: (n, d) unit rows of unlabelled texts.
        known: (m, d) unit rows of labelled texts.
        labels: m labels. With fewer than two different ones coreset stands in for the ways that ask a classifier.
        seed: of random and badge.

    Raises:
        SettingsError: no such way, or a count below 1.
        MissingExtra: torch, which fits the classifier, is not installed.
    """
    if by not in WAYS:
        raise SettingsError(f"--by {by}: unknown (known: {', '.join(WAYS)})", field="by")
    if count < 1:
        raise SettingsError(f"--count {count}: needs at least 1", field="count")
    rng = np.random.default_rng(seed)
    count = min(count, len(pool))
    if not count:
        return Picks(np.zeros(0, dtype=np.int64), (), by)
    if by in ASKING and len(set(labels)) < 2:
        found = _coreset(pool, known, count)
        note = f"{by} needs two labels to go by"
        return Picks(found.rows, tuple(f"{why}; {note}" for why in found.why), "coreset")
    if by == "random":
        rows = rng.permutation(len(pool))[:count]
        return Picks(rows, ("drawn evenly",) * count, by)
    if by == "coreset":
        return _coreset(pool, known, count)
    names, weight, bias = classifier(known, labels)
    shares = probabilities(pool, weight, bias)
    chosen: Callable[[], Picks] = {
        "margin": lambda: _margin(shares, names, count),
        "entropy": lambda: _entropy(shares, names, count),
        "badge": lambda: _badge(pool, shares, names, count, rng),
    }[by]
    return chosen()


def classifier(vectors: FloatMatrix, labels: Sequence[str]) -> tuple[list[str], FloatMatrix, Any]:
    """Names of the classes, weight (c, d) and bias (c,) of a logistic regression on unit rows."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("lm", "learning from labels") from error
    from langrec.lm.adapt.heads import regression

    names = sorted(set(labels))
    place = {name: i for i, name in enumerate(names)}
    targets = torch.tensor([place[label] for label in labels])
    weight, bias = regression(torch.from_numpy(np.ascontiguousarray(vectors)), targets, len(names), RIDGE)
    return names, weight.numpy(), bias.numpy()


def probabilities(vectors: FloatMatrix, weight: FloatMatrix, bias: Any) -> Numbers:
    """(n, c) float64, each row sums to 1."""
    logits = (vectors @ weight.T + bias).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
    found = np.exp(logits)
    shares: Numbers = found / found.sum(axis=1, keepdims=True)
    return shares


def _margin(shares: Numbers, names: Sequence[str], count: int) -> Picks:
    order = np.argsort(-shares, axis=1, kind="stable")
    first, second = (np.take_along_axis(shares, order[:, [i]], axis=1)[:, 0] for i in (0, 1))
    rows = np.argsort(first - second, kind="stable")[:count]
    why = (
        f"{names[order[i, 0]]} {first[i]:.2f} or {names[order[i, 1]]} {second[i]:.2f}: {first[i] - second[i]:.3f} apart"
        for i in rows
    )
    return Picks(rows, tuple(why), "margin")


def _entropy(shares: Numbers, names: Sequence[str], count: int) -> Picks:
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
    rows = np.argsort(-entropy, kind="stable")[:count]
    top = shares.argmax(axis=1)
    bits = entropy / np.log(2)
    why = (f"{bits[i]:.2f} bits unsure; likeliest {names[top[i]]} {shares[i, top[i]]:.2f}" for i in rows)
    return Picks(rows, tuple(why), "entropy")


def _coreset(pool: FloatMatrix, known: FloatMatrix, count: int) -> Picks:
    """Greedy k-centre: each pick is the text whose nearest centre is farthest, which becomes a centre itself."""
    rows: list[int] = []
    why: list[str] = []
    if len(known):
        nearest = np.concatenate([(pool[i : i + 1024] @ known.T).max(axis=1) for i in range(0, len(pool), 1024)])
    else:
        # Nothing to be far from: begin at the text that is most like all others, the middle of the pool.
        begin = int(np.argmax(pool @ pool.mean(axis=0)))
        rows, why = [begin], ["nearest to the middle of all texts"]
        nearest = pool @ pool[begin]
    taken = np.zeros(len(pool), dtype=bool)
    taken[rows] = True
    while len(rows) < count:
        nearest[taken] = np.inf
        new = int(np.argmin(nearest))
        why.append(f"nothing labelled or picked is nearer than cosine {nearest[new]:.2f}")
        rows.append(new)
        taken[new] = True
        nearest = np.maximum(nearest, pool @ pool[new])
    return Picks(np.array(rows, dtype=np.int64), tuple(why), "coreset")


def _badge(pool: FloatMatrix, shares: Numbers, names: Sequence[str], count: int, rng: np.random.Generator) -> Picks:
    """k-means++ over the gradients of the last layer for the likeliest label: (p - onehot) times the vector, outer.

    Outer products are not written out: the inner product of two is that of their first parts times that of their
    second parts.
    """
    top = shares.argmax(axis=1)
    residual = shares.copy()
    residual[np.arange(len(shares)), top] -= 1
    length = (residual**2).sum(axis=1) * (pool.astype(np.float64) ** 2).sum(axis=1)
    rows = [int(np.argmax(length))]
    distance = _to(rows[0], residual, pool, length)
    while len(rows) < count:
        distance[rows] = 0
        total = distance.sum()
        if total > 0:
            new = int(rng.choice(len(pool), p=distance / total))
        else:  # every gradient that is left is one that was picked
            new = int(rng.choice(np.setdiff1d(np.arange(len(pool)), rows)))
        rows.append(new)
        distance = np.minimum(distance, _to(new, residual, pool, length))
    why = (
        f"gradient of length {np.sqrt(length[i]):.2f}, unlike the others picked; likeliest {names[top[i]]} "
        f"{shares[i, top[i]]:.2f}"
        for i in rows
    )
    return Picks(np.array(rows, dtype=np.int64), tuple(why), "badge")


def _to(row: int, residual: Numbers, pool: FloatMatrix, length: Numbers) -> Numbers:
    """(n,) squared distance of every gradient to one."""
    inner = (residual @ residual[row]) * (pool @ pool[row])
    found: Numbers = np.maximum(length + length[row] - 2 * inner, 0)
    return found
