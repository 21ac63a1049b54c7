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
        ("हिन्दी फ़िल्म", ["हिन्दी", unicodedata.normalize("NFKC", "फ़िल्म")]),
        ("สวัสดี ชาวโลก", ["สวัสดี", "ชาวโลก"]),
        ("العَرَبِيَّة", ["العَرَبِيَّة"]),
        ("Ελληνικά ΟΔΟΣ οδός", ["ελληνικά", "οδοσ", "οδόσ"]),
    ],
)
def test_words_of(text, expected):
    assert words(text) == expected


def test_composed_and_decomposed_accents_are_one_word():
    assert words("Am\u00e9lie") == words("Ame\u0301lie") == ["amélie"]


def test_an_accent_that_no_letter_swallows_stays_within_its_word():
    assert words("x\u0302yz") == ["x\u0302yz"]


@given(st.text())
def test_any_text_gives_words_without_blanks(text):
    for word in words(text):
        assert word
        assert not any(letter.isspace() for letter in word)


@given(st.lists(st.text(st.characters(categories=["Ll", "Nd"], max_codepoint=0x24F), min_size=1)))
def test_words_between_spaces_stay_apart(parts):
    assert words(" ".join(parts)) == [word for part in parts for word in words(part)]
