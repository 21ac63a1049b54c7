"""Files of a Chinese shop as they come: encodings, columns, dates, prices, yes and no, categories."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from langrec.data.load import load_dataset

ITEMS = """商品编号,标题,描述,分类,价格,上架时间,隐藏
茶-1,西湖龙井（礼盒装）,产自杭州的绿茶，清香回甘，适合送礼,茶叶、绿茶,￥１２８,2026年1月2日,否
联通,《红楼梦》精装版,人民文学出版社出版的古典小说,图书、文学,59.80元,2026.1.3,是
𠮷-3,𠮷野茶房的盖碗与品茗杯,景德镇手工烧制，送礼自用皆宜,茶具,99,2026/1/4 8:05,
"""
EVENTS = """用户编号,商品编号,时间,行为
张三,茶-1,2026年1月2日,购买
李四,联通,2026年1月3日 8:05,收藏
联通,𠮷-3,2026年1月4日08:05:09,浏览
"""


@pytest.fixture(params=["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def shop(tmp_path, request):
    for name, text in (("商品.csv", ITEMS), ("行为.csv", EVENTS)):
        (tmp_path / name).write_text(text, request.param, newline="")
    return load_dataset(tmp_path / "行为.csv", tmp_path / "商品.csv")


def test_texts_and_ids_are_those_of_the_file_in_any_encoding(shop):
    dataset, report = shop
    assert tuple(dataset.catalogue.ids) == ("茶-1", "联通", "𠮷-3")
    assert tuple(dataset.users) == ("张三", "李四", "联通")
    assert dataset.catalogue.titles[1] == "《红楼梦》精装版"
    assert dataset.catalogue.texts()[0] == "西湖龙井（礼盒装）. 产自杭州的绿茶，清香回甘，适合送礼. 茶叶, 绿茶"
    assert report.refused == 0


def test_dates_prices_and_marks_are_read_as_they_are_written_there(shop):
    dataset, report = shop
    days = [datetime(2026, 1, 2), datetime(2026, 1, 3), datetime(2026, 1, 4, 8, 5)]
    assert [datetime.fromtimestamp(at / 1000, UTC).replace(tzinfo=None) for at in dataset.catalogue.frame["at"]] == days
    assert [datetime.fromtimestamp(int(at) / 1000, UTC).hour for at in dataset.events.at] == [0, 8, 8]
    assert dataset.catalogue.frame["price"].to_list() == [128.0, 59.8, 99.0]
    assert dataset.catalogue.frame["hidden"].to_list() == [False, True, False]
    assert dataset.catalogue.frame["categories"].to_list() == [["茶叶", "绿茶"], ["图书", "文学"], ["茶具"]]
    assert report.count("unreadable_field") == 0
