"""RecBole: SASRec with full cross-entropy on every prefix of every history."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import asked
import numpy as np
import polars as pl
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

LENGTH = 50
BATCH = 256  # the library's own 2048 gives too few steps in the minutes that two cores have
CELLS = 150_000_000  # numbers in the largest tensor of a step, which bounds the batch
BATCHES = 160  # trained between two judgements, so that a pass longer than the time allowed can be cut
MOST_EPOCHS = 300


def sasrec(fit: asked.Fit) -> Iterator[asked.Fitted]:
    torch.set_num_threads(fit.threads)
    rows = fit.rows
    with tempfile.TemporaryDirectory() as folder:
        settings = config(fit, Path(folder), len(np.unique(rows.items)))
        init_seed(0, True)
        dataset = create_dataset(settings)
        # `build` would hold events out; all rows given are to learn from.
        dataset._change_feat_format()
        model = SASRec(settings, dataset)
        trainer = Trainer(settings, model)
        tokens = dataset.field2id_token["item_id"]
        outside = np.array([-1, *(int(token) for token in tokens[1:])])
        loader = TrainDataLoader(settings, dataset, None, shuffle=True)
        total, done = len(loader), 0
        stream = batches(loader)
        while done < MOST_EPOCHS * total:
            count = min(BATCHES, total) if total > 2 * BATCHES else total
            trainer._train_epoch(islice(stream, count), done // total)
            done += count
            yield asked.Fitted(
                scores_of(model, outside, rows.n_items),
                done / total,
                lambda: scores_of(copy.deepcopy(model), outside, rows.n_items),
            )


def batches(loader: TrainDataLoader) -> Iterator[object]:
    """Batches without end, shuffled anew in every pass."""
    while True:
        yield from loader


def config(fit: asked.Fit, folder: Path, n_items: int) -> Config:
    """The rows as RecBole's own file, and its settings."""
    rows = fit.rows
    (folder / "rows").mkdir()
    frame = pl.DataFrame(
        {
            "user_id:token": rows.users,
            "item_id:token": rows.items,
            "timestamp:float": np.arange(len(rows.users)),  # places in the log: equal times keep their order
        }
    )
    frame.write_csv(folder / "rows" / "rows.inter", separator="\t")
    batch = min(BATCH, 2 ** int(np.log2(CELLS / n_items)))
    return Config(
        model="SASRec",
        dataset="rows",
        config_dict={
            "data_path": str(folder),
            "checkpoint_dir": str(folder / "saved"),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "TIME_FIELD": "timestamp",
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            "train_neg_sample_args": None,
            "train_batch_size": batch,
            "learning_rate": 0.001,
            "hidden_size": fit.point["factors"],
            "inner_size": 4 * fit.point["factors"],
            "hidden_dropout_prob": fit.point["dropout"],
            "attn_dropout_prob": fit.point["dropout"],
            "loss_type": "CE",
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
        },
    )


def scores_of(model: SASRec, outside: np.ndarray, n_items: int) -> asked.Scores:
    inside = np.zeros(n_items, dtype=np.int64)
    inside[outside[1:]] = np.arange(1, len(outside))

    def scores(part: asked.Questions) -> np.ndarray:
        model.eval()
        found = np.full((len(part), n_items), np.nan, dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(part), 256):
                sessions = np.zeros((min(256, len(part) - start), LENGTH), dtype=np.int64)
                for i, history in enumerate(part.histories[start : start + 256]):
                    session = inside[history]
                    session = session[session > 0][-LENGTH:]
                    sessions[i, : len(session)] = session
                lengths = (sessions > 0).sum(axis=1)
                given = {
                    model.ITEM_SEQ: torch.from_numpy(sessions),
                    model.ITEM_SEQ_LEN: torch.from_numpy(np.maximum(lengths, 1)),
                }
                values = model.full_sort_predict(given).numpy()
                values[lengths == 0] = np.nan
                found[start : start + len(values), outside[1:]] = values[:, 1:]
        return found

    return scores


MODELS = {
    "sasrec": asked.Model(
        sasrec,
        [
            {"factors": 64, "dropout": 0.5},
            {"factors": 64, "dropout": 0.2},
        ],
        "the history is the session",
        ("recbole", "torch"),
    )
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    asked.main(MODELS)
