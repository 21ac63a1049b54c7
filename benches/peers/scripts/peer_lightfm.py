"""LightFM (the fork that RecTools maintains): WARP with item ids, and with the words of their texts beside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import asked
import numpy as np
from lightfm import LightFM
from scipy.sparse import csr_matrix, hstack, identity

WORD = re.compile(r"[^\W_]{2,}")
MOST_WORDS = 20_000  # of the texts, the most frequent
STEP = 5  # passes between two judgements
MOST = 100  # passes


def warp(fit: asked.Fit) -> Iterator[asked.Fitted]:
    features = item_features(fit) if fit.point["items"] == "ids+text" else identity(fit.rows.n_items, format="csr")
    features = features.astype(np.float32)
    model = LightFM(
        no_components=fit.point["factors"],
        loss="warp",
        learning_schedule="adagrad",
        learning_rate=0.05,
        item_alpha=fit.point["alpha"],
        random_state=0,
    )
    matrix = fit.rows.matrix().tocoo()
    for done in range(STEP, MOST + 1, STEP):
        model.fit_partial(matrix, item_features=features, epochs=STEP, num_threads=fit.threads)
        found = scores_of(fit, model, features)
        yield asked.Fitted(found, done, lambda found=found: found)


def scores_of(fit: asked.Fit, model: LightFM, features: csr_matrix) -> asked.Scores:
    """The model as it is now: representations are copied, so further training leaves them alone."""
    biases, items = (np.array(part) for part in model.get_item_representations(features))
    users = np.array(model.get_user_representations()[1])
    text = "text" if fit.point["items"] == "ids+text" else "nothing"
    return asked.factor_scores(fit, users, items, fit.point["unknown"], biases, untrained=text)


def item_features(fit: asked.Fit) -> csr_matrix:
    """(n, n + words) an item's own column, its categories' and its text's words; rows sum to 1 + 1."""
    terms = [
        {*WORD.findall(text.lower()), *(f"category {name}" for name in names or ())}
        for text, names in zip(fit.items["text"].to_list(), fit.items["categories"].to_list(), strict=True)
    ]
    counts = Counter(term for row in terms for term in row)
    kept = [term for term, count in counts.most_common(MOST_WORDS) if 2 <= count <= 0.5 * len(terms)]
    column = {term: place for place, term in enumerate(kept)}
    rows, columns, values = [], [], []
    for place, row in enumerate(terms):
        found = [column[term] for term in row if term in column]
        rows += [place] * len(found)
        columns += found
        values += [1.0 / max(len(found), 1)] * len(found)
    words = csr_matrix((values, (rows, columns)), shape=(len(terms), len(kept)), dtype=np.float32)
    return hstack([identity(len(terms), format="csr", dtype=np.float32), words]).tocsr()


MODELS = {
    "warp": asked.Model(
        warp,
        [
            {"factors": 64, "items": items, "alpha": alpha, "unknown": unknown}
            for items, alpha in (("ids", 0.0), ("ids", 1e-6), ("ids+text", 1e-6))
            for unknown in ("trained", "history")
        ],
        "trained user factors, or the mean of the history's item factors; items as ids, or ids and words",
        ("rectools-lightfm", "numpy"),
    )
}

if __name__ == "__main__":
    asked.main(MODELS)
