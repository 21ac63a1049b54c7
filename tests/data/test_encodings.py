"""Text that is not UTF-8: Chinese is known by its bytes, anything else is read as Windows-1252."""

from __future__ import annotations

import pytest

from langrec.data.sources.lines import is_gb18030, to_utf8


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
