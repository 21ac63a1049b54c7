"""implicit: ALS, BPR and two ItemKNN."""

from __future__ import annotations

from collections.abc import Iterator

import asked
import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender


def als(fit: asked.Fit) -> Iterator[asked.Fitted]:
    model = AlternatingLeastSquares(
        factors=fit.point["factors"],
        regularization=fit.point["regularization"],
        alpha=fit.point["alpha"],
        iterations=15,
        use_gpu=False,
        num_threads=fit.threads,
        random_state=0,
    )
    matrix = fit.rows.matrix()
    model.fit(matrix, show_progress=False)
    untrained = np.bincount(fit.rows.items, minlength=fit.rows.n_items) == 0
    items = np.asarray(model.item_factors, dtype=np.float32)

    def scores(part: asked.Questions) -> np.ndarray:
        histories = part.matrix(fit.rows.n_items)
        users = np.asarray(model.recalculate_user(np.arange(len(part)), histories), dtype=np.float32)
        users = users.reshape(len(part), -1)
        found = users @ items.T
        found[:, untrained] = np.nan
        found[np.diff(histories.indptr) == 0] = np.nan
        return found

    yield asked.Fitted(scores)


def bpr(fit: asked.Fit) -> Iterator[asked.Fitted]:
    model = BayesianPersonalizedRanking(
        factors=fit.point["factors"],
        learning_rate=fit.point["learning_rate"],
        regularization=0.01,
        iterations=fit.point["iterations"],
        use_gpu=False,
        num_threads=fit.threads,
        random_state=0,
    )
    model.fit(fit.rows.matrix(), show_progress=False)
    # The last column holds the items' biases, and ones on the users' side.
    users, items = np.asarray(model.user_factors)[:, :-1], np.asarray(model.item_factors)
    yield asked.Fitted(asked.factor_scores(fit, users, items[:, :-1], fit.point["unknown"], items[:, -1]))


def neighbours(kind: type, **fixed: float) -> object:
    def fit_it(fit: asked.Fit) -> Iterator[asked.Fitted]:
        model = kind(K=fit.point["neighbours"], num_threads=fit.threads, **fixed)
        model.fit(fit.rows.matrix(), show_progress=False)
        similarity = model.similarity.tocsr()

        def scores(part: asked.Questions) -> np.ndarray:
            found = (part.matrix(fit.rows.n_items) @ similarity).toarray().astype(np.float64)
            found[found == 0] = np.nan  # no neighbour in the history
            return found

        yield asked.Fitted(scores)

    return fit_it


PACKAGES = ("implicit", "numpy", "scipy")
KNN = [{"neighbours": count} for count in (20, 50, 200, 500)]
MODELS = {
    "als": asked.Model(
        als,
        [
            {"factors": factors, "regularization": 0.05, "alpha": alpha}
            for factors, alpha in ((16, 1.0), (32, 1.0), (64, 1.0), (128, 1.0), (32, 10.0), (64, 10.0))
        ],
        "fold-in of the history (recalculate_user)",
        PACKAGES,
    ),
    "bpr": asked.Model(
        bpr,
        [
            {"factors": factors, "learning_rate": 0.05, "iterations": 100, "unknown": unknown}
            for factors in (32, 64, 128)
            for unknown in ("trained", "history")
        ],
        "trained user factors, or the mean of the history's item factors",
        PACKAGES,
    ),
    "itemknn-cosine": asked.Model(neighbours(CosineRecommender), KNN, "similarity to the history's items", PACKAGES),
    "itemknn-bm25": asked.Model(
        neighbours(BM25Recommender, K1=1.2, B=0.75), KNN, "similarity to the history's items", PACKAGES
    ),
}

if __name__ == "__main__":
    asked.main(MODELS)
