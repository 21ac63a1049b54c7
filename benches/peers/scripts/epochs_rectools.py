"""Seconds that RecTools' SASRec takes for one epoch: prints one JSON line of them."""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=Path, required=True, help="user, item in the order of time")
    parser.add_argument("--sizes", required=True, help="JSON: dim layers heads length dropout batch threads epochs")
    args = parser.parse_args()
    sizes = json.loads(args.sizes)
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    frame = pl.read_parquet(args.rows)
    moments = pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(frame)), unit="s")
    columns = {Columns.User: frame["user"].to_numpy(), Columns.Item: frame["item"].to_numpy(), Columns.Weight: 1.0}
    dataset = Dataset.construct(pd.DataFrame({**columns, Columns.Datetime: moments}))
    model = SASRecModel(
        n_blocks=sizes["layers"],
        n_heads=sizes["heads"],
        n_factors=sizes["dim"],
        dropout_rate=sizes["dropout"],
        session_max_len=sizes["length"],
        loss="softmax",
        lr=0.001,
        batch_size=sizes["batch"],
    )
    model.fit_partial(dataset, min_epochs=1, max_epochs=1)  # builds what it needs
    seconds = []
    for _ in range(sizes["epochs"]):
        start = time.perf_counter()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    main()
