"""Texts to words, in the scripts that people write."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langrec.retrieval.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ?! -- ", []),
        ("The Devil's Advocate (1997)", ["the", "devil's", "advocate", "1997"]),
        ("rock’n’roll ’tis 'quoted'", ["rock'n'roll", "tis", "quoted"]),
        ("snake_case C++ 3.5", ["snake", "case", "c", "3", "5"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("Ａｍｅｌｉｅ ①", ["amelie", "1"]),
        ("東京物語", ["東京", "京物", "物語"]),
        ("猫", ["猫"]),
        ("更改收货地址", ["更改", "改收", "收货", "货地", "地址"]),
        ("ﾊﾘｰ", ["ハリ", "リー"]),
        ("ハリー・ポッター", ["ハリ", "リー", "ポッ", "ッタ", "ター"]),
        ("人々の佐々木", ["人々", "々の", "の佐", "佐々", "々木"]),
        ("한국어 영화", ["한국", "국어", "영화"]),
        ("iPhone手机壳 X", ["iphone", "手机", "机壳", "x"]),
        ("हिन्दी फ़िल्म", ["हिन्दी", "फिल्म"]),
        ("ตู้เย็น 2 ประตู สี", ["ตู้", "ู้เ", "้เย", "เย็", "ย็น", "2", "ประ", "ระต", "ะตู", "สี"]),
        ("ລາວ", ["ລາວ"]),
        ("សៀវភៅ។", ["សៀវ", "ៀវភ", "វភៅ"]),
        ("စကား၊ မြန်", ["စကာ", "ကား", "မြန", "ြန်"]),
        ("العَرَبِيَّة", ["العربيه"]),
        ("Ελληνικά ΟΔΟΣ οδός", ["ελληνικα", "οδοσ", "οδοσ"]),
    ],
)
def test_words_of(text, expected):
    assert words(text) == expected


def test_composed_and_decomposed_accents_are_one_word():
    assert words("Am\u00e9lie") == words("Ame\u0301lie") == ["amelie"]


def test_an_accent_that_no_letter_swallows_stays_within_its_word():
    assert words("x\u0302yz") == ["xyz"]


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("cafe creme", "Café CRÈME"),
        ("Moliere oeuvres", "MOLIÈRE œuvres"),
        ("blabarssylt smorrebrod", "Blåbärssylt smørrebrød"),
        ("zolc lodz", "Żółć Łódź"),
        ("pho bo Ha Noi", "Phở bò Hà Nội"),
        ("ışık IŞIK istanbul", "IŞIK ışık İSTANBUL"),
        ("зеленый чай", "Зелёный чай"),
        ("замок", "за\u0301мок"),
        ("οδος ελληνικα", "ΟΔΌΣ Ελληνικά"),
        ("احمد مدرسه على", "أَحْمَد مَدْرَسَة علــي"),
        ("کتاب فارسی", "كتاب فارسي"),
        ("שלום", "שָׁלוֹם"),
        ("फिल्म हंसी", "फ़िल्म हँसी"),
        ("2025", "２０２５"),
        ("2025 2025", "٢٠٢٥ ๒๐๒๕"),
        ("デジタルカメラ", "ﾃﾞｼﾞﾀﾙｶﾒﾗ"),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("rechtsschutz", "Rechts\u00adschutz"),
    ],
)
def test_what_a_search_writes_otherwise_is_the_same_word(asked, written):
    assert words(asked) == words(written)


@pytest.mark.parametrize(("one", "other"), [("мой", "мои"), ("がき", "かき"), ("और", "ओर"), ("สี", "ส"), ("가", "각")])
def test_letters_that_are_others_stay_apart(one, other):
    assert words(one) != words(other)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_plain_english_is_read_as_by_the_way_for_all_scripts(text):
    assert words(text + " é")[:-1] == words(text)


@given(st.text())
def test_any_text_gives_words_without_blanks(text):
    for word in words(text):
        assert word
        assert not any(letter.isspace() for letter in word)


@given(st.lists(st.text(st.characters(categories=["Ll", "Nd"], max_codepoint=0x24F), min_size=1)))
def test_words_between_spaces_stay_apart(parts):
    assert words(" ".join(parts)) == [word for part in parts for word in words(part)]
