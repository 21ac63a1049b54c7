"""What a user will think of a candidate: what was liked before, what the candidate's text says, and what it is like.

The logit of a row is a sum: the log-odds of the share of liked titles in its history (the floor, weighed 1 before any
data are seen), named features, an effect of the candidate's own title, and a linear reading of its vector. All but the
floor start at nothing and are held there by a ridge: with few rows the model is the floor, with many it departs.

Where validation surely says so (`Belief`), the floor weighs less from the start, and nearness to liked titles more:
there are logs in which a user's share of likes says nothing of the next candidate.

Each title of a training history is a row too, with what was said of it as its label and the rest of the history as its
history. Its log-odds are those of the whole history, itself included: so such rows say nothing about how much a user
likes in general, and everything about what sets titles apart for one user (as fixed effects do in a panel).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from langrec.lm.adapt.examples import Choices

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
FEATURES = ("share", "asked", "nearest", "nearer", "known")
MEANING = {
    "share": "log-odds of the share of liked titles in the history, on top of its weight of 1",
    "asked": "1 for a candidate, 0 for a title of a history: candidates may be liked more or less than these",
    "nearest": "cosine to the nearest liked title less that to the nearest disliked one",
    "nearer": "mean cosine to liked titles less that to disliked ones",
    "known": "log(1 + how often training names the title) / 2",
}
# Ridges: how strongly each part is held at nothing, per unit of summed log loss.
RIDGES = {"share": 10.0, "asked": 1.0, "nearest": 30.0, "nearer": 30.0, "known": 1.0}
CONTENT, TITLE = 2.0, 1.0
NEARNESS = ("nearest", "nearer")
# What validation chooses from: multiples of all ridges but the share's, weights of the floor, ridges of nearness.
SCALES = (0.3, 1.0, 3.0, 10.0)
FLOORS = (1.0, 0.5, 0.0)
NEAR = 3.0


@dataclass(frozen=True, slots=True)
class Belief:
    """What a fit believes before it sees data.

    Attributes:
        scale: the multiple of the ridges.
        floor: what the log-odds of the share of liked titles weigh in a candidate's row.
        near: the ridge of nearness, whatever the scale; None = its own times the scale.
    """

    scale: float = 1.0
    floor: float = 1.0
    near: float | None = None


def others(with_floor: bool) -> list[Belief]:
    """The beliefs that depart from the usual one (floor 1, nearness as the rest)."""
    floors = FLOORS if with_floor else (1.0,)
    found = [Belief(scale, floor, near) for floor in floors for near in (None, NEAR) for scale in SCALES]
    return [one for one in found if one.floor != 1.0 or one.near is not None]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Candidates beside histories, as numbers of titles.

    Attributes:
        liked: title numbers of each row.
        disliked: title numbers of each row.
        candidate: (n,) title numbers.
        labels: (n,) in [0, 1].
        floor: (n,) log-odds of the share of liked titles.
        asked: (n,) 1 for a candidate, 0 for a title of a history.
        source: (n,) row of the file that each came from.
    """

    liked: Sequence[Sequence[int]]
    disliked: Sequence[Sequence[int]]
    candidate: Places
    labels: Numbers
    floor: Numbers
    asked: Numbers
    source: Places

    def __len__(self) -> int:
        return len(self.candidate)


def titles_of(parts: Sequence[Choices]) -> list[str]:
    """All distinct titles, sorted."""
    found = {title for part in parts for row in (*part.liked, *part.disliked) for title in row}
    return sorted(found | {title for part in parts for title in part.candidates})


def judged(choices: Choices) -> bool:
    """True where histories say what was disliked: only then does the share of liked titles say anything."""
    return any(choices.disliked)


def rows_of(choices: Choices, place: dict[str, int], *, derive: bool, with_floor: bool) -> Rows:
    """The rows of a file, and, where asked, a row for each title of its histories.

    Args:
        place: number of each title.
        derive: also make rows of the histories' titles.
        with_floor: the share of liked titles counts; else the log-odds are 0.
    """
    liked: list[list[int]] = []
    disliked: list[list[int]] = []
    plain: list[tuple[int, float, float, float, int]] = []
    for i in range(len(choices)):
        likes, dislikes = [place[t] for t in choices.liked[i]], [place[t] for t in choices.disliked[i]]
        floor = float(np.log((len(likes) + 1) / (len(dislikes) + 1))) if with_floor else 0.0
        liked.append(likes)
        disliked.append(dislikes)
        plain.append((place[choices.candidates[i]], float(choices.labels[i]), floor, 1.0, i))
        if derive:
            for at, title in enumerate(likes):
                liked.append(likes[:at] + likes[at + 1 :])
                disliked.append(dislikes)
                plain.append((title, 1.0, floor, 0.0, i))
            for at, title in enumerate(dislikes):
                liked.append(likes)
                disliked.append(dislikes[:at] + dislikes[at + 1 :])
                plain.append((title, 0.0, floor, 0.0, i))
    candidate, labels, floors, asked, source = (np.array(column) for column in zip(*plain, strict=True))
    return Rows(liked, disliked, candidate.astype(np.int64), labels, floors, asked, source.astype(np.int64))


def features(rows: Rows, vectors: npt.NDArray[np.float32], counts: Numbers) -> Numbers:
    """(n, len(FEATURES)) float64.

    Args:
        vectors: (titles, d) unit rows.
        counts: (titles,) how often training names each title, in rows of any kind.
    """
    near = np.zeros((len(rows), 2))
    for i, (likes, dislikes) in enumerate(zip(rows.liked, rows.disliked, strict=True)):
        here = vectors[rows.candidate[i]]
        first, second = vectors[likes] @ here, vectors[dislikes] @ here
        if len(first) and (len(second) or not any(rows.disliked)):
            low = (second.max(), second.mean()) if len(second) else (0.0, 0.0)
            near[i] = first.max() - low[0], first.mean() - low[1]
    # A row of training does not count itself.
    others = np.maximum(counts[rows.candidate] - (counts[rows.candidate] > 0) * (1 - rows.asked), 0)
    return np.column_stack([rows.floor * rows.asked, rows.asked, near, np.log1p(others) / 2])


@dataclass(frozen=True, slots=True, eq=False)
class Preference:
    """A fitted sum.

    Attributes:
        weight: (d,) reading of a vector.
        named: (len(FEATURES),) weights of the features.
        titles: (titles,) effect of each title.
        bias: the rest.
        belief: what it started from.
    """

    weight: Numbers
    named: Numbers
    titles: Numbers
    bias: float
    belief: Belief

    def beside(self, rows: Rows, found: Numbers) -> Numbers:
        """(n,) logits without the vectors' part."""
        result: Numbers = rows.floor + found @ self.named + self.titles[rows.candidate]
        return result

    def logits(self, rows: Rows, found: Numbers, texts: Places, vectors: npt.NDArray[Any]) -> Numbers:
        """(n,) logits.

        Args:
            found: features of the rows.
            texts: (n,) row in `vectors` of each row's text.
        """
        result: Numbers = self.beside(rows, found) + (vectors @ self.weight)[texts] + self.bias
        return result


def fit(
    rows: Rows,
    found: Numbers,
    texts: Places,
    vectors: npt.NDArray[Any],
    n_titles: int,
    belief: Belief,
    by_title: bool = True,
) -> Preference:
    """The most likely sum under Gaussian priors: ridges that are multiplied by the scale (all but the share's).

    Args:
        by_title: whether titles have effects of their own.
    """
    x, d, f = np.asarray(vectors, dtype=np.float64), vectors.shape[1], found.shape[1]
    centre = x[np.unique(texts)].mean(axis=0)
    x = x - centre
    scale, share = belief.scale, FEATURES.index("share")
    named = np.array([RIDGES[name] * (1.0 if name == "share" else scale) for name in FEATURES])
    if belief.near is not None:
        named[[FEATURES.index(name) for name in NEARNESS]] = belief.near
    start = rows.floor + (belief.floor - 1.0) * found[:, share]
    ridge = np.concatenate([np.full(d, CONTENT * scale), named, np.full(n_titles, TITLE * scale), [0.0]])
    y, titles = rows.labels, 1.0 if by_title else 0.0

    def loss(w: Numbers) -> tuple[float, Numbers]:
        z = start + (x @ w[:d])[texts] + found @ w[d : d + f] + titles * w[d + f : -1][rows.candidate] + w[-1]
        value = (np.logaddexp(0, z) - y * z).sum() + (ridge * w * w).sum()
        rest = 1 / (1 + np.exp(-z)) - y
        gradient = np.concatenate(
            [
                x.T @ np.bincount(texts, weights=rest, minlength=len(x)),
                found.T @ rest,
                titles * np.bincount(rows.candidate, weights=rest, minlength=n_titles),
                [rest.sum()],
            ]
        )
        return float(value), gradient + 2 * ridge * w

    w = minimize(loss, np.zeros(len(ridge)), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    # What the floor weighs less is told as a weight of the share: who reads the sum adds the whole floor.
    w[d + share] += belief.floor - 1.0
    return Preference(w[:d], w[d : d + f], w[d + f : -1], float(w[-1] - centre @ w[:d]), belief)
