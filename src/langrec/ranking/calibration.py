"""From a score to the probability of an action: a logistic curve of two numbers (Platt 1999)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.errors import UNREADABLE, BundleError, DataError
from langrec.types import FloatMatrix, FloatVector, QueryBlock


def levels(scores: FloatMatrix, block: QueryBlock) -> FloatVector:
    """(q,) log of the sum of exp(score) over the items outside each history.

    The mix is learned as a softmax, so a score less its query's level is the log of a share. Bare scores of two people
    do not compare: the same score is much for one of whom little is known and little for another.

    Args:
        scores: (q, n) of the mix.
    """
    from scipy import special

    left = scores.astype(np.float64)
    inside = block.items < scores.shape[1]
    left[block.rows()[inside], block.items[inside]] = -np.inf
    return np.asarray(special.logsumexp(left, axis=1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Calibration:
    """probability = 1 / (1 + exp(-(scale * score + offset))), of scores less their query's level."""

    scale: float
    offset: float

    @classmethod
    def fit(cls, scores: FloatVector, labels: npt.NDArray[Any], weights: npt.NDArray[Any] | None = None) -> Self:
        """The curve of the highest likelihood on validation pairs.

        Targets are drawn in a little, as Platt does, so that scores that part the labels cleanly give a finite curve.

        Args:
            scores: (m,) final scores; NaN is passed over.
            labels: (m,) above 0 where the action followed.
            weights: (m,) how much each pair counts, such as how many candidates a drawn one stands for; None = 1.

        Raises:
            DataError: no pair of one of the two kinds.
        """
        from scipy import optimize, special

        known = ~np.isnan(scores)
        x, acted = scores[known].astype(np.float64), np.asarray(labels)[known] > 0
        counted = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)[known]
        yes, no = float(counted[acted].sum()), float(counted[~acted].sum())
        if not yes or not no:
            raise DataError("a calibration needs scores with and without an action after them")
        target = np.where(acted, (yes + 1.0) / (yes + 2.0), 1.0 / (no + 2.0))
        # In units of the scores' own spread, so that the search finds its way whatever the scale.
        centre = float(np.average(x, weights=counted))
        spread = float(np.sqrt(np.average((x - centre) ** 2, weights=counted))) or 1.0
        unit = (x - centre) / spread

        def loss(curve: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            logit = curve[0] * unit + curve[1]
            value = (counted * (np.logaddexp(0.0, logit) - target * logit)).sum() / (yes + no)
            slope = counted * (special.expit(logit) - target) / (yes + no)
            return float(value), np.array([(slope * unit).sum(), slope.sum()])

        start = np.array([1.0, np.log(yes / no)])
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9}).x
        scale = float(found[0]) / spread
        return cls(scale, float(found[1]) - scale * centre)

    def save(self, file: Path) -> None:
        file.write_text(json.dumps({"scale": self.scale, "offset": self.offset}))

    @classmethod
    def load(cls, file: Path) -> Self:
        """
        Raises:
            BundleError: it cannot be read.
        """
        try:
            kept = json.loads(file.read_text("utf-8"))
            return cls(float(kept["scale"]), float(kept["offset"]))
        except UNREADABLE as error:
            raise BundleError(f"{file}: cannot be read as a calibration ({error!r})") from error

    def probability(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Between 0 and 1, of the shape of the scores; NaN where the score is."""
        logit = self.scale * scores.astype(np.float64) + self.offset
        with np.errstate(invalid="ignore"):  # NaN stays NaN
            return np.exp(-np.logaddexp(0.0, -logit)).astype(np.float32)
