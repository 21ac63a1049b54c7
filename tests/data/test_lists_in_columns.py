"""Lists where one value belongs: the rows are read all the same, their parts joined."""

from __future__ import annotations

import json

from langrec.data.load import load_dataset
from langrec.settings import DataSettings


def test_a_price_or_an_id_that_is_a_list_is_read_as_its_parts(tmp_path):
    items = [
        {"item_id": ["a", "b"], "title": "one", "price": ["12.5", "x"], "timestamp": ["2024-05-01"]},
        {"item_id": "c", "title": "two", "price": "3", "timestamp": "2024-05-02"},
    ]
    events = [{"user_id": ["u"], "item_id": ["c"], "timestamp": ["1600000000"]}] * 2
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)), "utf-8")
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, events)), "utf-8")
    dataset, _ = load_dataset(tmp_path / "events.jsonl", tmp_path / "items.jsonl", DataSettings())
    frame = dataset.catalogue.frame
    assert len(frame) == 2 and frame["price"].to_list() == [12.5, 3.0]
    assert len(dataset.events) >= 1 and dataset.events.at[0] == 1_600_000_000_000
