"""LensKit: implicit-feedback ALS and ItemKNN."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import asked
import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.data import ItemList, RecQuery, from_interactions_df
from lenskit.knn import ItemKNNScorer


def fitted(fit: asked.Fit, scorer: object) -> Iterator[asked.Fitted]:
    rows = fit.rows
    frame = pd.DataFrame({"user_id": rows.users, "item_id": rows.items}).drop_duplicates()
    scorer.train(from_interactions_df(frame))
    every = ItemList(item_ids=np.unique(rows.items))  # LensKit refuses a history with an item that it does not know

    def scores(part: asked.Questions) -> np.ndarray:
        found = np.full((len(part), rows.n_items), np.nan)
        for i, history in enumerate(part.histories):
            known = np.intersect1d(history, every.ids())
            if len(known):
                query = RecQuery(history_items=ItemList(item_ids=known))
                found[i, every.ids()] = scorer(query=query, items=every).scores()
        return found

    yield asked.Fitted(scores)


def ials(fit: asked.Fit) -> Iterator[asked.Fitted]:
    point = fit.point
    yield from fitted(
        fit,
        ImplicitMFScorer(
            embedding_size=point["factors"], epochs=15, regularization=point["regularization"], weight=point["weight"]
        ),
    )


def itemknn(fit: asked.Fit) -> Iterator[asked.Fitted]:
    yield from fitted(fit, ItemKNNScorer(max_nbrs=fit.point["neighbours"], save_nbrs=1000, feedback="implicit"))


PACKAGES = ("lenskit", "numpy", "torch")
MODELS = {
    "ials": asked.Model(
        ials,
        [
            {"factors": factors, "regularization": 0.1, "weight": weight}
            for factors in (32, 64, 128)
            for weight in (5.0, 40.0)
        ],
        "fold-in of the history (query items)",
        PACKAGES,
    ),
    "itemknn": asked.Model(
        itemknn, [{"neighbours": count} for count in (5, 20, 50, 200)], "similarity to the history's items", PACKAGES
    ),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asked.main(MODELS)
