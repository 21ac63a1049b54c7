"""Real data sets load as their descriptions say; each test skips where its set is absent."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from langrec.data.cache import cache_folder
from langrec.data.fetch import fetch
from langrec.data.load import load_dataset
from langrec.data.splits import split_events
from langrec.errors import DataError, SettingsError
from langrec.settings import SplitSettings

pytestmark = pytest.mark.real_data
DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))


def folder_of(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not here (LANGREC_TEST_DATA names the folder of the sets)")
    return folder


@pytest.fixture(scope="module")
def ml_100k() -> Path:
    try:
        return fetch("ml-100k")
    except (DataError, OSError) as error:
        pytest.skip(f"MovieLens-100K cannot be fetched into {cache_folder()}: {error}")


def test_movielens_100k(ml_100k):
    dataset, report = load_dataset(ml_100k)
    assert (len(dataset.users), len(dataset.catalogue), len(dataset.events)) == (943, 1682, 100_000)
    assert report.refused == 0
    assert report.count("near_duplicate") == 18
    assert dataset.catalogue.titles[0] == "Toy Story"
    assert dataset.catalogue.categories[0] == ("Animation", "Children's", "Comedy")
    split = split_events(dataset.events, len(dataset.users))
    assert len(split.test) == 10_000
    assert split.train.at.max() < split.valid_from
    loo = split_events(dataset.events, len(dataset.users), SplitSettings(kind="loo"))
    assert len(loo.test) == len(loo.valid) == 943


def test_the_users_of_movielens_100k(ml_100k):
    dataset, report = load_dataset(ml_100k)
    assert dataset.profiles.columns == ["user_id", "age", "gender", "occupation", "zip_code"]
    assert dataset.profiles.height == 943 == report.users_in
    assert sum(column.null_count() for column in dataset.profiles) == 0
    first = next(row for row in dataset.profiles.iter_rows(named=True) if row["user_id"] == "1")
    assert first == {"user_id": "1", "age": 24, "gender": "M", "occupation": "technician", "zip_code": "85711"}


def test_movielens_latest_small():
    dataset, report = load_dataset(folder_of("ml-latest-small"))
    assert (len(dataset.users), len(dataset.catalogue), len(dataset.events)) == (610, 9742, 100_836)
    assert report.refused == 0
    assert dataset.events.type_names == ("rating",)
    overviews = dataset.catalogue.frame["overview"].str.len_chars() > 0
    assert overviews.sum() == 9742 - 210
    assert {"overview", "keywords", "tagline", "director", "top_cast", "title_zh"} == set(dataset.catalogue.text_fields)


def test_amazon_beauty_has_an_order_and_no_times():
    dataset, report = load_dataset(folder_of("amazon-beauty-2014"))
    assert (len(dataset.users), len(dataset.catalogue), len(dataset.events)) == (22_363, 12_101, 198_502)
    assert report.count("no_text") == 7
    assert not dataset.events.has_time
    with pytest.raises(SettingsError, match="loo"):
        split_events(dataset.events, len(dataset.users))
    loo = split_events(dataset.events, len(dataset.users), SplitSettings(kind="loo"))
    assert len(loo.test) == 22_363


def test_amazon_office_has_descriptions():
    dataset, report = load_dataset(folder_of("amazon-office-2018"))
    assert (len(dataset.users), len(dataset.catalogue), len(dataset.events)) == (3231, 3459, 22_447)
    assert report.refused == 0
    assert dataset.catalogue.text_fields == ("description", "brand")
    lengths = dataset.events.by_user(len(dataset.users)).lengths()
    assert lengths.min() == 5


def test_complete_journey_gets_titles_from_its_category_texts():
    dataset, report = load_dataset(folder_of("complete-journey-grocery"))
    assert len(dataset.users) == 2469
    assert report.rows_in == 1_469_307
    assert report.rows_in == len(dataset.events) + report.refused
    assert report.count("unknown_item") == 4836
    assert dataset.catalogue.titles[0] == "ICE - CRUSHED/CUBED"
    assert dataset.catalogue.frame["title_filled"].sum() > 90_000
    assert (np.diff(dataset.events.at) >= 0).all()


def test_chinese_captions_are_read_as_texts():
    dataset, _ = load_dataset(None, folder_of("kuairec-captions-zh") / "captions.csv.gz")
    assert len(dataset.catalogue) == 10_728
    assert "caption" in dataset.catalogue.text_fields
