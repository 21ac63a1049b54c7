"""Grows the ranker's trees with LightGBM's LambdaMART over the scores of the linear mix; needs the extra `lm`."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langrec.errors import DataError, LangrecError, MissingExtra
from langrec.ranking.trees import Trees, filled, joined
from langrec.types import FloatMatrix, FloatVector

# Pairs among so many of the best of each question are learned from, and lists are judged by their first ten.
TRUNCATION = 20
JUDGED_AT = 10

Valid = tuple[FloatMatrix, npt.NDArray[Any], npt.NDArray[Any], FloatVector]


def train_trees(
    x: FloatMatrix,
    labels: npt.NDArray[Any],
    groups: npt.NDArray[Any],
    base: FloatVector,
    valid: Valid | None,
    names: Sequence[str],
    *,
    rounds: int = 300,
    rate: float = 0.05,
    leaves: int = 15,
    min_leaf: int = 50,
    feature_share: float = 0.5,
    l2: float = 10.0,
    patience: int = 30,
    seed: int = 0,
    threads: int = 0,
    monotone: Mapping[str, int] | None = None,
) -> tuple[Trees, int]:
    """Trees whose sum, added to `base`, ranks better than `base`; and how many rounds were kept.

    Boosting begins at `base`, so that it learns only what the mix leaves over: a candidate's score is
    base + trees.predict(x). Equal input gives equal trees.

    Args:
        x: (m, f) features, the candidates of one question after those of another; NaN says unknown.
        labels: (m,) whole numbers, 0 for what was not chosen; a label l gains 2^l - 1.
        groups: (q,) candidates of each question. Questions without a chosen candidate teach nothing and are left out.
        base: (m,) scores to begin from.
        valid: (x, labels, groups, base) of other questions: boosting stops where their mean NDCG@10 has not risen for
            `patience` rounds, and keeps the best round; 0 rounds where no round beats `base`. None: exactly `rounds`.
        names: f features.
        threads: 0 = all cores.
        monotone: features whose contribution must not fall (1) or not rise (-1), by name.

    Raises:
        MissingExtra: LightGBM is not installed.
        LangrecError: LightGBM is installed, but a system library that it needs is not.
        DataError: lengths that do not fit, or no question with a chosen candidate.
    """
    lightgbm = _lightgbm()
    learned = _questions((x, labels, groups, base), names)
    judged = None if valid is None else _questions(valid, names)
    if learned is None or (valid is not None and judged is None):
        raise DataError("no question with a chosen candidate to learn the ranker from")
    params = {
        "objective": "lambdarank",
        "lambdarank_truncation_level": TRUNCATION,
        "metric": "ndcg",
        "eval_at": [JUDGED_AT],
        "learning_rate": rate,
        "num_leaves": leaves,
        "min_data_in_leaf": min_leaf,
        "feature_fraction": feature_share,
        "lambda_l2": l2,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "use_missing": False,
        "monotone_constraints": [int((monotone or {}).get(name, 0)) for name in names] if monotone else None,
        "verbosity": -1,
    }
    params = {name: value for name, value in params.items() if value is not None}

    def data(part: Valid, **of: Any) -> Any:
        values, marks, sizes, start = part
        # Columns go by number: LightGBM refuses some characters in names.
        return lightgbm.Dataset(values, label=marks, group=sizes, init_score=start, params=params, **of)

    first = data(learned)
    if judged is None:
        booster = lightgbm.train(params, first, num_boost_round=rounds)
        best = rounds
    else:
        stop = lightgbm.early_stopping(patience, first_metric_only=True, verbose=False)
        booster = lightgbm.train(params, first, rounds, [data(judged, reference=first)], ["valid"], callbacks=[stop])
        best = int(booster.best_iteration)
        if booster.best_score["valid"][f"ndcg@{JUDGED_AT}"] <= mean_ndcg(judged[3], judged[1], judged[2]):
            best = 0
    grown = booster.dump_model(num_iteration=best)["tree_info"] if best else []
    return joined(tuple(names), [_flat(tree["tree_structure"]) for tree in grown]), best


def mean_ndcg(scores: FloatVector, labels: npt.NDArray[Any], groups: npt.NDArray[Any], k: int = JUDGED_AT) -> float:
    """Mean NDCG@k over the questions with a chosen candidate, gains 2^label - 1; equal scores keep their order.

    Args:
        scores: (m,) one question's after another's.
        labels: (m,) whole numbers.
        groups: (q,) candidates of each question.
    """
    rows = np.repeat(np.arange(len(groups)), groups)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(groups) - groups, groups)
    discount = np.where(place < k, 1.0 / np.log2(2.0 + place), 0.0)
    gains = np.exp2(labels.astype(np.float64)) - 1.0

    def summed(by: npt.NDArray[Any]) -> npt.NDArray[Any]:
        order = np.lexsort((np.arange(len(rows)), -by, rows))
        return np.bincount(rows, gains[order] * discount, minlength=len(groups))

    ideal = summed(gains)
    return float((summed(scores)[ideal > 0] / ideal[ideal > 0]).mean()) if (ideal > 0).any() else float("nan")


def _questions(part: Valid, names: Sequence[str]) -> Valid | None:
    """The questions with a chosen candidate, as the trees read them; None where there are none."""
    x, labels, groups, base = part[0], np.asarray(part[1]), np.asarray(part[2]), np.asarray(part[3])
    m = int(groups.sum())
    if x.shape != (m, len(names)) or labels.shape != (m,) or base.shape != (m,):
        raise DataError(
            f"candidates: features {x.shape}, labels {labels.shape}, scores {base.shape} for groups of {m} rows and "
            f"{len(names)} names"
        )
    rows = np.repeat(np.arange(len(groups)), groups)
    chosen = np.bincount(rows, labels > 0, minlength=len(groups)) > 0
    if not chosen.any():
        return None
    kept = chosen[rows]
    if not kept.all():
        x, labels, base = x[kept], labels[kept], base[kept]
    groups = groups[chosen]
    return filled(x), labels.astype(np.int32), groups.astype(np.int32), base.astype(np.float64)


def _flat(root: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """One tree of LightGBM's dump as arrays, parents before children; inner values are means over training rows."""
    feature: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[float] = []

    def add(node: Mapping[str, Any]) -> tuple[int, float, int]:
        """Place, value and training rows of a node."""
        here = len(feature)
        feature.append(int(node.get("split_feature", 0)))
        threshold.append(float(node.get("threshold", np.inf)))
        left.append(here)
        right.append(here)
        value.append(float(node.get("leaf_value", 0.0)))
        if "split_feature" not in node:
            return here, value[here], int(node.get("leaf_count", 1))
        left[here], below, few = add(node["left_child"])
        right[here], above, many = add(node["right_child"])
        value[here] = (below * few + above * many) / max(few + many, 1)
        return here, value[here], few + many

    add(root)
    return {
        "feature": np.array(feature),
        "threshold": _rounded_down(np.array(threshold)),
        "left": np.array(left),
        "right": np.array(right),
        "value": np.array(value),
    }


def _rounded_down(values: npt.NDArray[np.float64]) -> FloatVector:
    """The largest float32 not above each value: for a float32 x, x <= value holds exactly where x <= this does."""
    near = values.astype(np.float32)
    return np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near)


def _lightgbm() -> Any:
    """The module lightgbm, whose wheel needs libgomp.so.1; where the system has none, torch's serves."""
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtra("lm", "training a ranker") from error
    except OSError as first:
        for library in _bundled_openmp():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        try:
            import lightgbm
        except (ImportError, OSError):
            raise LangrecError(
                f"training a ranker: LightGBM cannot be loaded ({first}); install the system's OpenMP library, such "
                "as 'apt-get install libgomp1', 'dnf install libgomp' or 'brew install libomp'"
            ) from first
    return lightgbm


def _bundled_openmp() -> list[Path]:
    """OpenMP libraries that an installed torch brings along; torch itself is not loaded."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return []
    return sorted((Path(found.origin).parent / "lib").glob("libgomp*.so*"))
