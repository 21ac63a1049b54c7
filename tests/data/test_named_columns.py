"""Columns whose names langrec does not know are named in a setting."""

from __future__ import annotations

import json

import polars as pl
import pytest

from langrec.data.load import load_dataset
from langrec.errors import DataError, SettingsError
from langrec.recipe import load_settings
from langrec.settings import DataSettings

EVENTS = [("Kundin", "Ware", "Tag", "Zahl"), ("ann", "t1", "31.12.2024", "2"), ("ben", "t2", "01.01.2025", "1")]
ITEMS = [("Ware", "Überschrift", "Sorte"), ("t1", "Grüner Tee", "Tee"), ("t2", "Kaffee", "Kaffee")]
USERS = [("Kundin", "Ort"), ("ann", "Wien"), ("ben", "Graz")]
NAMED = "user_id=Kundin,item_id=ware,timestamp=Tag,quantity=Zahl,title=Überschrift,category=Sorte"


def write(folder, kind):
    paths = []
    for stem, rows in (("events", EVENTS), ("items", ITEMS), ("users", USERS)):
        path = folder / f"{stem}.{kind}"
        if kind == "parquet":
            pl.DataFrame(rows[1:], schema=rows[0], orient="row").write_parquet(path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(dict(zip(rows[0], row, strict=True))) + "\n" for row in rows[1:]))
        else:
            mark = {"csv": ",", "dat": ";"}[kind]
            path.write_text("".join(mark.join(row) + "\n" for row in rows))
        paths.append(path)
    return paths


@pytest.mark.parametrize("kind", ["csv", "dat", "jsonl", "parquet", "frames"])
def test_columns_are_those_that_the_setting_names(tmp_path, kind):
    if kind == "frames":
        events, items, users = (pl.DataFrame(rows[1:], schema=rows[0], orient="row") for rows in (EVENTS, ITEMS, USERS))
    else:
        events, items, users = write(tmp_path, kind)
    settings = load_settings(None, [f"data.columns={NAMED}"], environ={})
    dataset, report = load_dataset(events, items, settings, users=users)
    assert tuple(dataset.users) == ("ann", "ben") and tuple(dataset.catalogue.ids) == ("t1", "t2")
    assert dataset.events.at.tolist() == [1_735_603_200_000, 1_735_689_600_000]
    assert dataset.events.values.tolist() == [2, 1]
    assert list(dataset.catalogue.titles) == ["Grüner Tee", "Kaffee"]
    assert dataset.catalogue.frame["categories"].to_list() == [["Tee"], ["Kaffee"]]
    assert dataset.profiles is not None and dataset.profiles["Ort"].to_list() == ["Wien", "Graz"]
    assert not report.steps


@pytest.mark.parametrize(
    ("events", "items"),
    [
        ("用戶編號,商品編號,時間,評分", "商品編號,商品名稱,分類,價格,簡介"),
        ("会員番号,商品コード,購入日時,評価", "商品コード,商品名,カテゴリー,価格,商品説明"),
        ("ﾕｰｻﾞｰID,商品ID,日時,評価", "商品ID,ﾀｲﾄﾙ,ｼﾞｬﾝﾙ,単価,説明"),
        ("회원번호,상품코드,구매일시,평점", "상품코드,상품명,카테고리,판매가,상품설명"),
        ("ID клиента,Артикул,Дата заказа,Оценка", "Артикул,Наименование,Категория,Цена,Описание"),
        ("Kunden-ID,Artikelnummer,Datum,Bewertung", "Artikelnummer,Bezeichnung,Warengruppe,Preis,Beschreibung"),
        ("id_client,id_produit,Date,Evaluation", "id_produit,Désignation,Catégorie,Prix,Description"),
        ("ID_USUARIO,Producto,Fecha,Valoración", "Producto,Título,Categoría,Precio,Descripción"),
        ("MÜŞTERİ NO,Ürün Kodu,TARİH,Puan", "Ürün Kodu,Ürün Adı,Kategori,Fiyat,Açıklama"),
    ],
)
def test_headers_of_other_languages_are_known(tmp_path, events, items):
    (tmp_path / "events.csv").write_text(f"{events}\nu,i,2025-01-01,5\n")
    (tmp_path / "items.csv").write_text(f"{items}\ni,T,C,1.5,x\n")
    dataset, _ = load_dataset(tmp_path / "events.csv", tmp_path / "items.csv")
    assert (tuple(dataset.users), tuple(dataset.catalogue.ids)) == (("u",), ("i",))
    assert dataset.events.at.tolist() == [1_735_689_600_000]
    assert dataset.events.type_names == ("rating",)
    assert dataset.catalogue.frame.select("title", "categories", "price").row(0) == ("T", ["C"], 1.5)
    assert dataset.catalogue.text_fields == (items.split(",")[-1],)


def test_what_english_tables_call_an_id_is_not_a_word_of_another_language(tmp_path):
    (tmp_path / "items.csv").write_text("Produkt,id\nx,1\n")
    assert tuple(load_dataset(None, tmp_path / "items.csv")[0].catalogue.ids) == ("1",)


def test_a_named_column_counts_more_than_one_that_langrec_knows(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id,Konto\nx,t1,ann\nx,t2,ben\n")
    dataset, _ = load_dataset(tmp_path / "events.csv", None, DataSettings(columns={"user_id": "Konto"}))
    assert tuple(dataset.users) == ("ann", "ben")


def test_what_is_missing_names_the_setting(tmp_path):
    events, items, _ = write(tmp_path, "csv")
    for given in ((events, None), (None, items)):
        with pytest.raises(DataError, match=r"data\.columns"):
            load_dataset(*given)
    with pytest.raises(DataError, match=r"data\.columns"):
        load_dataset(write(tmp_path, "parquet")[0])


def test_a_column_that_no_file_has_is_refused(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id,Tag\nann,t1,1.1.2025\n")
    with pytest.raises(DataError, match=r"data\.columns: no file has a column 'Datum' for timestamp"):
        load_dataset(tmp_path / "events.csv", None, DataSettings(columns={"timestamp": "Datum"}))


def test_a_name_that_langrec_does_not_know_is_refused(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id,Tag\nann,t1,1.1.2025\n")
    with pytest.raises(SettingsError, match=r"data\.columns: 'tiem' is no name that langrec knows"):
        load_dataset(tmp_path / "events.csv", None, DataSettings(columns={"tiem": "Tag"}))
