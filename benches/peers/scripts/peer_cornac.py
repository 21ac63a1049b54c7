"""Cornac: Bayesian personalised ranking."""

from __future__ import annotations

from collections.abc import Iterator

import asked
import numpy as np
from cornac.data import Dataset
from cornac.models import BPR


def bpr(fit: asked.Fit) -> Iterator[asked.Fitted]:
    rows, point = fit.rows, fit.point
    train = Dataset.from_uir(zip(rows.users.tolist(), rows.items.tolist(), np.ones(len(rows.users)), strict=True))
    model = BPR(
        k=point["factors"],
        max_iter=200,
        learning_rate=point["learning_rate"],
        lambda_reg=0.01,
        num_threads=fit.threads,
        seed=0,
    )
    model.fit(train)
    users = np.zeros((len(rows.user_ids), point["factors"]))
    items, biases = np.zeros((rows.n_items, point["factors"])), np.zeros(rows.n_items)
    for code, place in train.uid_map.items():
        users[code] = model.u_factors[place]
    for item, place in train.iid_map.items():
        items[item], biases[item] = model.i_factors[place], model.i_biases[place]
    yield asked.Fitted(asked.factor_scores(fit, users, items, point["unknown"], biases))


MODELS = {
    "bpr": asked.Model(
        bpr,
        [
            {"factors": factors, "learning_rate": rate, "unknown": unknown}
            for factors, rate in ((32, 0.05), (64, 0.05), (64, 0.01))
            for unknown in ("trained", "history")
        ],
        "trained user factors, or the mean of the history's item factors",
        ("cornac", "numpy"),
    )
}

if __name__ == "__main__":
    asked.main(MODELS)
