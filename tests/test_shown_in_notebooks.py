"""What a notebook prints of data, releases and reports is a line or a table, whatever their size."""

from __future__ import annotations

import pytest

from langrec import Bundle, load_dataset, load_settings, train
from langrec.data.events import empty_events
from langrec.data.ids import Ids
from small_shop import write_shop


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set, the release of its training, and the report."""
    folder = tmp_path_factory.mktemp("shown")
    write_shop(folder)
    few = ["encoder.name=hashing", "retrieval.scorers=popular,bm25", "evaluate.bootstrap=50"]
    settings = load_settings(overrides=few, environ={})
    dataset, _ = load_dataset(folder / "events.csv", folder / "items.csv", settings)
    return dataset, *train(dataset, settings, folder / "releases")


def test_data_is_shown_in_a_line(made):
    dataset = made[0]
    counts = f"{len(dataset.users)} users, {len(dataset.catalogue)} items, {len(dataset.events)} events"
    assert repr(dataset).startswith(f"<Dataset: {counts} (") and " from 20" in repr(dataset)
    assert repr(dataset.events).startswith(f"<Events: {len(dataset.events)} events (")
    assert repr(dataset.catalogue).startswith(f"<Catalogue: {len(dataset.catalogue)} items with item_id, title")
    assert repr(empty_events(("click",))) == "<Events: 0 events (click)>"


def test_ids_are_shown_by_the_first():
    assert repr(Ids(["a", "b", "c", "d"])) == "<Ids: 4: 'a', 'b', 'c', ...>"
    assert repr(Ids(["a"])) == "<Ids: 1: 'a'>" and repr(Ids([])) == "<Ids: 0>"


def test_a_release_is_shown_by_its_name_and_place(made):
    bundle = Bundle.open(made[1])
    assert repr(bundle) == f"<Bundle {bundle.stamp} in {made[1]}>"
    assert repr(bundle.recommender()) == "<Recommender: 40 items, 48 users; popular, bm25>"


def test_a_report_is_a_line_and_in_a_notebook_its_tables(made):
    report = made[2]
    best = report.row(report.chosen, "ndcg@10")
    assert f"ndcg@10 of {report.chosen} {best.value:.4f} [{best.low:.4f}" in repr(report) and len(repr(report)) < 200
    assert report._repr_markdown_() == report.markdown()
