"""RecTools: SASRec with its losses, and its blocks of the newer eSASRec."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterator

import asked
import numpy as np
import pandas as pd
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

CELLS = 150_000_000  # numbers in the largest tensor of a step, which bounds the batch
FEWEST_BATCHES = 60  # trained between two judgements
MOST_EPOCHS = 2000


def sasrec(fit: asked.Fit) -> Iterator[asked.Fitted]:
    torch.set_num_threads(fit.threads)
    torch.manual_seed(0)
    rows, point = fit.rows, fit.point
    length = session_length(rows)
    negatives = point.get("negatives", 0)
    width = (negatives + 1) * point["factors"] if negatives else len(np.unique(rows.items))
    # The library's own 128, less where memory or a small log ask for it: an epoch should be worth its name.
    bounds = (128, CELLS / (length * width), max(16, len(rows.user_ids) / FEWEST_BATCHES))
    batch = max(4, 2 ** int(math.log2(min(bounds))))
    model = SASRecModel(
        n_blocks=2,
        n_heads=2,
        n_factors=point["factors"],
        dropout_rate=point["dropout"],
        session_max_len=length,
        loss=point["loss"],
        n_negatives=negatives or 1,
        gbce_t=0.75,
        lr=0.001,
        batch_size=batch,
        transformer_layers_type=LiGRLayers if point.get("blocks") == "ligr" else SASREC_LAYERS,
    )
    places = np.arange(len(rows.users))
    dataset = Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: rows.users,
                Columns.Item: rows.items,
                Columns.Weight: 1.0,
                # Places in the log: equal times keep their order.
                Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(places, unit="s"),
            }
        )
    )
    batches = math.ceil(len(rows.user_ids) / batch)
    step, done = math.ceil(FEWEST_BATCHES / batches), 0
    while done < MOST_EPOCHS:
        model.fit_partial(dataset, min_epochs=step, max_epochs=step)
        done += step
        yield asked.Fitted(
            scores_of(model, model.torch_model, rows, length),
            done,
            lambda: scores_of(model, copy.deepcopy(model.torch_model), rows, length),
        )


def session_length(rows: asked.Rows) -> int:
    """50 where that holds nearly every history, or else the library's own 100."""
    return 50 if np.quantile(np.bincount(rows.users), 0.95) <= 50 else 100


def scores_of(model: SASRecModel, net: torch.nn.Module, rows: asked.Rows, length: int) -> asked.Scores:
    """Scores as the library ranks by: the last position's vector with every item's."""
    external = np.arange(rows.n_items)
    known = np.flatnonzero(np.isin(external, model.data_preparator.get_known_item_ids()))
    inside = np.zeros(rows.n_items, dtype=np.int64)
    inside[known] = model.data_preparator.item_id_map.convert_to_internal(known)

    def scores(part: asked.Questions) -> np.ndarray:
        net.eval()
        found = np.full((len(part), rows.n_items), np.nan, dtype=np.float32)
        with torch.no_grad():
            items = net.item_model.get_all_embeddings()
            targets = net.similarity_module.item_tower_forward(items)[torch.from_numpy(inside[known])]
            for start in range(0, len(part), 256):
                sessions = np.zeros((min(256, len(part) - start), length), dtype=np.int64)
                for i, history in enumerate(part.histories[start : start + 256]):
                    session = inside[history]
                    session = session[session > 0][-length:]
                    sessions[i, length - len(session) :] = session
                asked_for = {"x": torch.from_numpy(sessions)}
                users = net.similarity_module.session_tower_forward(net.encode_sessions(asked_for, items)[:, -1, :])
                values = (users @ targets.T).numpy()
                values[(sessions > 0).sum(axis=1) == 0] = np.nan
                found[start : start + len(values), known] = values
        return found

    return scores


SASREC_LAYERS = SASRecModel().transformer_layers_type
MODELS = {
    "sasrec": asked.Model(
        sasrec,
        [
            {"loss": "softmax", "factors": 128, "dropout": 0.2},
            {"loss": "softmax", "factors": 128, "dropout": 0.5},
            {"loss": "gBCE", "negatives": 256, "factors": 128, "dropout": 0.2},
            {"loss": "sampled_softmax", "negatives": 256, "factors": 128, "dropout": 0.2, "blocks": "ligr"},
        ],
        "the history is the session",
        ("RecTools", "torch", "pytorch-lightning"),
    )
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    asked.main(MODELS)
