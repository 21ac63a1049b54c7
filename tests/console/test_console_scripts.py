"""What the console shows of titles and words that are not written as English is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from console_world import Shop

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

ITEM = {
    "ItemId": "岩茶/1 50%",
    "Comment": "《红楼梦》Ｔｅａ หนังสือชา Cafe\u0301 Straße ﾃﾞｼﾞｶﾒ",
    "Categories": ["茶叶", "岩茶/乌龙 100%"],
    "Labels": {"description": "山高水远，" * 60 + "岩骨花香的武夷水仙。" + "回味悠长，" * 60},
}


@pytest.fixture(autouse=True)
def with_the_item(browser: Any, shop: Shop) -> None:
    """The shop of the other walks has one item more."""
    browser.open("#/catalogue")
    script = """const [body, done] = arguments; fetch('/api/item', {method: 'POST', body: JSON.stringify(body),
        headers: {'Content-Type': 'application/json'}}).then(answer => answer.json()).then(done)"""
    assert browser.driver.execute_async_script(script, ITEM) == {"RowAffected": 1}


@pytest.mark.parametrize(
    ("words", "marked"),
    [
        ("红楼梦", ["红楼梦"]),
        ("tea", ["Ｔｅａ"]),
        ("หนังสือชา", ["หนังสือชา"]),
        ("ชา", ["ชา"]),
        ("CAFÉ", ["Cafe\u0301"]),
        ("strasse", ["Straße"]),
        ("デジカメ", ["ﾃﾞｼﾞｶﾒ"]),
        ("骨花香的", ["骨花香的"]),
        ("楼", ["楼"]),
    ],
)
def test_found_words_are_marked_as_a_whole(browser: Any, words: str, marked: list[str]) -> None:
    browser.open(f"#/search?q={quote(words)}&meaning=0")
    browser.wait(".hit mark")
    assert browser.run("return [...document.querySelectorAll('.hit mark')].map(one => one.innerText)") == marked


def test_a_chip_takes_a_word_with_vowel_signs_away(browser: Any) -> None:
    browser.open(f"#/search?q={quote('หนังสือชา 红楼梦')}&meaning=0")
    browser.wait("button.chip").click()
    left = "return document.querySelector('input[type=search]').value"
    browser.until(lambda: browser.run(left) != "หนังสือชา 红楼梦", "one word less")
    assert browser.run(left) == "红楼梦"


def test_what_is_written_from_the_right_runs_from_there(browser: Any) -> None:
    title, text = "شاي أخضر (طبيعي)", "شاي أخضر طبيعي من أوراق مختارة بعناية."
    body = {"ItemId": "tea-ar", "Comment": title, "Categories": ["شاي"], "Labels": {"description": text}}
    script = """const [body, done] = arguments; fetch('/api/item', {method: 'POST', body: JSON.stringify(body),
        headers: {'Content-Type': 'application/json'}}).then(answer => answer.json()).then(done)"""
    assert browser.driver.execute_async_script(script, body) == {"RowAffected": 1}
    browser.open(f"#/search?q={quote('شاى اخضر')}&meaning=0")
    browser.wait("[data-id=tea-ar] mark")
    ways = """return ['[data-id=tea-ar] .title span', '[data-id=tea-ar] .text', '[data-id=tea-ar] .score',
        'input[type=search]'].map(one => getComputedStyle(document.querySelector(one)).direction)"""
    assert browser.run(ways) == ["rtl", "rtl", "ltr", "rtl"]
    marks = "return [...document.querySelectorAll('[data-id=tea-ar] .title mark')].map(one => one.innerText)"
    assert browser.run(marks) == ["شاي", "أخضر"]


def test_a_problem_is_told_in_the_chosen_language_beside_the_servers_words(browser: Any) -> None:
    browser.wait("[data-language=zh]").click()
    browser.until(lambda: browser.run("return document.documentElement.lang") == "zh-Hans", "Chinese")
    browser.open(f"#/catalogue/{quote('没有/这个 1%', safe='')}")
    card = browser.wait(".problem")
    assert "没有找到。" in card.text and "there is no item '没有/这个 1%'" in card.text
