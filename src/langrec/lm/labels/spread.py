"""Labels for free: self-training, where a classifier labels what it is sure of and learns from it.

Each round takes the surest texts of each label, so many of each at most: without that, the labels that are easy drown
the others (class-balanced self-training, Zou et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langrec.errors import DataError, SettingsError
from langrec.lm.labels.pick import classifier, probabilities
from langrec.types import FloatMatrix

# Fewer held-out texts do not tell a gain from chance, whatever it is.
FEWEST_JUDGED = 20


@dataclass(frozen=True, slots=True)
class Spread:
    """A label that was given by the classifier.

    Attributes:
        row: number of the pool text.
        label: what it was given.
        probability: how sure the classifier was when it was taken.
        round: from 1.
    """

    row: int
    label: str
    probability: float
    round: int


@dataclass(frozen=True, slots=True)
class Gain:
    """What self-training brought on labelled texts that neither way learned from.

    Attributes:
        before: accuracy of the classifier from the labelled texts alone.
        after: accuracy with the texts that it labelled itself.
        low: lower end of the 95 % interval of the difference, texts resampled.
        high: upper end.
        judged: how many texts were held out.
    """

    before: float
    after: float
    low: float
    high: float
    judged: int

    @property
    def told(self) -> str:
        """One sentence, honest where there is no gain."""
        if self.judged < FEWEST_JUDGED:
            return f"Too few labelled texts to judge the gain: {self.judged} were held out, {FEWEST_JUDGED} are needed."
        numbers = f"accuracy {self.after:.4f} instead of {self.before:.4f} on {self.judged} held-out labelled texts, "
        numbers += f"difference {self.after - self.before:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        if self.low > 0:
            return f"Self-training helps: {numbers}."
        if self.high < 0:
            return f"Self-training hurts: {numbers}; do not train on these labels."
        return f"No gain is shown: {numbers}."


def spread(
    pool: FloatMatrix,
    known: FloatMatrix,
    labels: Sequence[str],
    *,
    confidence: float = 0.9,
    rounds: int = 5,
    growth: float = 0.5,
) -> list[Spread]:
    """Labels for pool texts that the classifier is sure of, in the order in which they were taken.

    Args:
        pool: (n, d) unit rows of unlabelled texts.
        known: (m, d) unit rows of labelled texts.
        labels: m labels, two different ones at least.
        confidence: probability from which a label is taken.
        rounds: fits at most; it stops where a round takes nothing.
        growth: each round takes, of each label, at most this share of the mean number of labelled texts of a label.

    Raises:
        SettingsError: a value out of range.
        DataError: fewer than two labels.
    """
    if not 0 < confidence <= 1:
        raise SettingsError(f"--confidence {confidence}: must lie above 0 and at most at 1", field="confidence")
    if rounds < 1 or growth <= 0:
        raise SettingsError(f"--rounds {rounds} --growth {growth}: must be above 0", field="rounds")
    if len(set(labels)) < 2:
        raise DataError("self-training needs two different labels; label more texts first", field="label")
    quota = max(1, round(growth * len(labels) / len(set(labels))))
    taken: list[Spread] = []
    open_ = np.ones(len(pool), dtype=bool)
    for number in range(1, rounds + 1):
        if not open_.any():
            break
        rows = [one.row for one in taken]
        names, weight, bias = classifier(np.concatenate([known, pool[rows]]), [*labels, *(one.label for one in taken)])
        shares = probabilities(pool, weight, bias)
        top, sure = shares.argmax(axis=1), shares.max(axis=1)
        new = []
        for label in range(len(names)):
            among = np.flatnonzero(open_ & (top == label) & (sure >= confidence))
            among = among[np.argsort(-sure[among], kind="stable")][:quota]
            new += [Spread(int(row), names[label], float(sure[row]), number) for row in among]
        if not new:
            break
        open_[[one.row for one in new]] = False
        taken += sorted(new, key=lambda one: (-one.probability, one.row))
    return taken


def gain(
    pool: FloatMatrix, known: FloatMatrix, labels: Sequence[str], *, share: float = 0.3, seed: int = 0, **how: float
) -> Gain | None:
    """What self-training brings, judged on a share of each label's texts; None where nothing can be held out.

    Args:
        how: confidence, rounds and growth, as of `spread`.
    """
    rng, names = np.random.default_rng(seed), np.array(labels)
    held = np.zeros(len(names), dtype=bool)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(names == label))
        held[rows[: min(len(rows) - 1, round(share * len(rows)))]] = True
    kept = names[~held].tolist()
    if not held.any() or len(set(kept)) < 2:
        return None
    more = spread(pool, known[~held], kept, **how)  # type: ignore[arg-type]
    rows_taken = [one.row for one in more]
    right = []
    for vectors, given in (
        (known[~held], kept),
        (np.concatenate([known[~held], pool[rows_taken]]), [*kept, *(one.label for one in more)]),
    ):
        found, weight, bias = classifier(vectors, given)
        right.append(np.array(found)[probabilities(known[held], weight, bias).argmax(axis=1)] == names[held])
    low, high = _interval(right[1].astype(float) - right[0].astype(float), rng)
    return Gain(float(right[0].mean()), float(right[1].mean()), low, high, int(held.sum()))


def _interval(differences: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    drawn = rng.integers(len(differences), size=(1000, len(differences)))
    low, high = np.percentile(differences[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
