"""Text that is not UTF-8: known by its letters or named in a setting, anything else is read as Windows-1252."""

from __future__ import annotations

import gzip

import pytest

from langrec.data.checks import check_data
from langrec.data.load import load_dataset
from langrec.data.sources.encodings import encoding_of, is_gb18030
from langrec.data.sources.lines import to_utf8
from langrec.errors import DataError, SettingsError
from langrec.recipe import load_settings
from langrec.settings import DataSettings

TEXTS = {
    "shift_jis": "吾輩は猫である。名前はまだ無い。抹茶セット 茶筅・茶碗 ソーラー充電器 表示",
    "euc_jp": "吾輩は猫である。名前はまだ無い。抹茶セット 茶筅・茶碗 ソーラー充電器 表示",
    "euc_kr": "한국어 첫걸음 녹차 선물 세트 책 읽는 밤 서울의 봄 우리가 사랑한 모든 것",
    "big5": "臺灣高山烏龍茶，產自南投縣鹿谷鄉，口感清香回甘，適合送禮自飲。功夫茶具",
    "windows-1251": "Война и мир. Чай зелёный и чёрный с доставкой по всей России",
    "koi8-r": "Война и мир. Чай зелёный и чёрный с доставкой по всей России",
    "cp866": "Война и мир. Чай зелёный и чёрный с доставкой по всей России",
    "windows-1253": "Πόλεμος και ειρήνη, τσάι πράσινο και μαύρο",
    "windows-1254": "Yeşil çay ve siyah çay, Türkiye'nin her yerine gönderilir. Işık, kış, yağmur, güneş, İstanbul",
    "windows-1255": "תה ירוק ותה שחור עם משלוח לכל הארץ, אוזניות אלחוטיות",
    "windows-1256": "شاي أخضر وشاي أسود مع توصيل إلى جميع المدن",
    "tis-620": "ชาเขียวและชาดำจัดส่งทั่วประเทศ หูฟังไร้สาย",
}
WESTERN = (
    "Thé vert et café crème à emporter «\u00a0déjà prêt\u00a0», où l'été s'achève. Pâtés créés",
    "l’art d’aimer, qu’il n’a j’ai s’il l’or d’eau m’en t’es c’est l’âme",
    "Größe, Süßigkeiten, Äpfel, Öl, Übergröße, grüner Tee für Gäste, Käse, Straße",
    "Blåbärssylt från Åre, köttbullar, räksmörgås, småländsk ostkaka, påskägg",
    "Pääsääntöisesti sää tänään, jäätelöä, hääyöaie",
    "Íslenskur þorskur, þjóðlegt, góður matur, ýsa, bækur um sögu og náttúru, það er gott",
    "MAÇÃ ÁGUA SÃO JOÃO CAFÉ AÇÚCAR ORGÂNICO FEIJÃO",
    "caffè tè è più città perché università così",
    "Niño, año, señal, corazón, ¿qué?, ¡hola!, jamón, España, col·lecció",
)


def test_a_file_in_gb18030_is_read_as_a_whole():
    # 联通 in GBK is UTF-8 by chance, though of something else.
    text = "编号,标题\n1,西湖龙井茶叶礼盒装（𠮷）\n2,联通\n"
    notes: list[str] = []
    assert to_utf8(text.encode("gb18030"), notes).decode() == text
    assert notes == ["the file is GB18030 or GBK; it was read as such; save it as UTF-8"]


def test_lines_of_two_encodings_are_each_read_as_what_they_are():
    lines = ["编号,标题".encode(), "1,西湖龙井茶叶礼盒装".encode("gb18030"), "2,武夷山大红袍散装".encode()]
    notes: list[str] = []
    assert to_utf8(b"\n".join(lines), notes).decode() == "编号,标题\n1,西湖龙井茶叶礼盒装\n2,武夷山大红袍散装"
    assert "1 lines are not UTF-8 and were read as GB18030 (lines 2)" in notes[0]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Amélie à Nîmes, où ça coûte 5€ — «déjà vu», ÄÖÜ ÅÄÖ", "cp1252"),
        ("Žižek, Łódź, żółć, příliš žluťoučký kůň", "cp1250"),
        ("Война и мир. Чай зелёный и чёрный с доставкой по всей России", "cp1251"),
        ("Война и мир. Чай зелёный и чёрный с доставкой по всей России", "koi8-r"),
        ("Πόλεμος και ειρήνη, τσάι πράσινο και μαύρο", "cp1253"),
        ("한국어 첫걸음 녹차 선물 세트 책 읽는 밤 서울의 봄 우리가 사랑한 모든 것", "euc-kr"),
        ("吾輩は猫である。名前はまだ無い。抹茶セット 茶筅・茶碗", "shift_jis"),
        ("臺灣高山烏龍茶，產自南投縣鹿谷鄉，口感清香回甘，適合送禮自飲", "big5"),
    ],
)
def test_other_encodings_are_not_taken_for_chinese(text, encoding):
    for written in (text, text.upper()):
        assert not is_gb18030(written.encode(encoding, "ignore"))


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_text_is_known_by_its_letters(encoding):
    text = f"item_id,title\n1,{TEXTS[encoding]}\n2,Tea\n"
    for written in (text, text.upper() if encoding != "windows-1254" else text):
        notes: list[str] = []
        assert to_utf8(written.encode(encoding), notes).decode() == written
        assert notes == [
            f"the file is not UTF-8 and was read as {encoding}, by its letters; save it as UTF-8, or name another in "
            "data.encoding"
        ]


def test_japanese_without_kana_is_known_in_shift_jis():
    for text in (
        "会員番号,購入日時\n会員1,2025年1月2日 14時05分\n会員2,2025年3月4日 9時00分\n",
        "ﾜｲﾔﾚｽｲﾔﾎﾝ 商品番号 在庫無制限 送料無料",
    ):
        assert to_utf8(text.encode("cp932"), []).decode() == text


def test_a_header_that_nobody_can_read_names_the_encoding_too(tmp_path):
    (tmp_path / "events.csv").write_bytes("клиент,товар\n".encode("koi8-r"))
    with pytest.raises(DataError, match=r"no column that langrec knows.*makes no words.*data\.encoding"):
        load_dataset(tmp_path / "events.csv")


@pytest.mark.parametrize("text", WESTERN)
def test_western_texts_are_taken_for_nothing_else(text):
    for written in (text, text.upper(), text.lower()):
        notes: list[str] = []
        assert to_utf8(written.encode("cp1252"), notes).decode() == written
        assert notes == ["1 lines are not UTF-8 and were read as Windows-1252 (lines 1); save it as UTF-8"]


def test_lines_that_are_not_utf8_tell_what_they_are_by_themselves():
    lines = ["1,Зелёный чай".encode(), f"2,{TEXTS['windows-1251']}".encode("cp1251"), *["3,Чёрный чай".encode()] * 3]
    notes: list[str] = []
    assert to_utf8(b"\n".join(lines), notes).decode().split("\n")[1] == f"2,{TEXTS['windows-1251']}"
    assert "1 lines are not UTF-8 and were read as windows-1251 (lines 2), by their letters" in notes[0]


@pytest.mark.parametrize(("text", "encoding"), [("Чай", "koi8-r"), ("Zażółć gęślą jaźń i łyżka", "cp1250")])
def test_what_makes_no_words_is_a_finding_that_names_the_setting(tmp_path, text, encoding):
    (tmp_path / "items.csv").write_bytes(f"item_id,title\n1,{text} {text}\n".encode(encoding))
    found = check_data(None, tmp_path / "items.csv", DataSettings())
    assert [step.name for step in found.steps] == ["reading"]
    assert "makes no words" in found.steps[0].what and "data.encoding" in found.steps[0].what
    named = check_data(None, tmp_path / "items.csv", DataSettings(encoding=encoding, strict=True))
    assert named.ok and not named.steps


@pytest.mark.parametrize("encoding", [*TEXTS, "iso2022_jp", "utf-16-le"])
def test_every_reader_of_text_goes_by_the_setting(tmp_path, encoding):
    title = TEXTS.get(encoding, TEXTS["shift_jis"])[:9]
    written = {
        "items.csv": f"item_id,title\n1,{title}\n",
        "items.tsv.gz": f"item_id\ttitle\n1\t{title}\n",
        "shop.item": f"item_id:token\ttitle:token_seq\n1\t{title}\n",
        "items.jsonl": f'{{"item_id": "1", "title": "{title}"}}\n',
        "items.json": f'[{{"item_id": "1", "title": "{title}", "tags": ["a"]}}]',
    }
    (tmp_path / "events.csv").write_bytes("user_id,item_id\nu,1\n".encode(encoding))
    (tmp_path / "users.csv").write_bytes(f"user_id,city\nu,{title}\n".encode(encoding))
    settings = load_settings(None, [f"data.encoding={encoding}", "data.repair_text=false"], environ={})
    for name, text in written.items():
        data = text.encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        dataset, report = load_dataset(tmp_path / "events.csv", tmp_path / name, settings, users=tmp_path / "users.csv")
        assert list(dataset.catalogue.titles) == [title], name
        assert dataset.profiles is not None and dataset.profiles["city"].to_list() == [title]
        assert report.count("reading") == 0


def test_utf8_counts_whatever_the_setting_says():
    for data in ("1,Чай".encode(), "1,Чай".encode("utf-8-sig"), "1,Чай".encode("utf-16")):
        assert to_utf8(data, [], "windows-1251").decode() == "1,Чай"


def test_a_name_means_what_windows_means_by_it():
    for text, encoding, written in (("①髙橋", "shift_jis", "cp932"), ("똠방각하", "euc_kr", "cp949")):
        notes: list[str] = []
        assert to_utf8(text.encode(written), notes, encoding).decode() == text
        assert not notes


def test_bytes_that_are_not_of_the_named_encoding_are_counted():
    notes: list[str] = []
    data = b"item_id,title\n1," + "日本".encode("cp932") + b"\n2,\x81\n3,\x85\n"
    assert "1,日本\n" in to_utf8(data, notes, "shift_jis").decode()
    assert len(notes) == 1 and "2 lines hold bytes that are no shift_jis (lines 3, 4)" in notes[0]


@pytest.mark.parametrize("name", ["shift-gis", "", "base64", "rot13", "idna", "undefined", "a\0b"])
def test_a_name_that_is_no_encoding_of_texts_is_refused(name):
    with pytest.raises(SettingsError, match=r"data\.encoding: .* such as utf-8, shift_jis") as refused:
        DataSettings(encoding=name)
    assert refused.value.field == "data.encoding"


def test_strict_stops_where_the_encoding_was_a_guess(tmp_path):
    (tmp_path / "items.csv").write_bytes(f"item_id,title\n1,{TEXTS['big5']}\n".encode("big5"))
    with pytest.raises(DataError, match="read as big5"):
        load_dataset(None, tmp_path / "items.csv", DataSettings(strict=True))
    assert load_dataset(None, tmp_path / "items.csv", DataSettings(strict=True, encoding="big5"))[1].items == 1


def test_few_letters_tell_nothing():
    assert encoding_of("日本".encode("shift_jis")) == encoding_of("Чай".encode("koi8-r")) == encoding_of(b"") == ""
