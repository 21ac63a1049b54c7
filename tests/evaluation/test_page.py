"""The report's page: whole without a network, and safe whatever the names are."""

from __future__ import annotations

import json
import re

import pytest
from test_evaluate import noisy, run, world

from langrec.evaluation.page import page

NASTY = '</script><script>alert(1)</script> "quoted" & $primary <img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def html():
    targets = world()
    models = {NASTY: noisy(targets, 0.3, 1), "mix": noisy(targets, 0.8, 2)}
    return page(run(targets, models, protocol={"split": NASTY}))


def without_plotly(text):
    """The page without the chart library, whose source may hold any word."""
    return re.sub(r"<script>/\*\*.*?</script>", "", text, flags=re.DOTALL)


def test_names_enter_the_page_as_text_only(html):
    rest = without_plotly(html)
    assert len(rest) < 200_000
    assert "<script>alert" not in rest and "<img" not in rest
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in rest
    assert rest.count("<script") == rest.count("</script>") == 2


def test_the_page_asks_for_no_other_file(html):
    rest = without_plotly(html)
    assert not re.search(r"""(?:src|href)\s*=\s*["']""", rest)
    assert "http" not in rest and "url(" not in rest and "@import" not in rest


def test_the_page_holds_every_number(html):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["models"] == ["mix", NASTY]
    assert data["chosen"] == "mix" and data["reference"] == NASTY
    value, low, high, n = data["values"]["all"]["mix"]["ndcg@10"]
    assert low < value < high and n == 80
    assert data["values"]["all"]["mix"]["coverage@10"][1] is None


def test_the_page_says_in_words_whether_there_is_a_gain(html):
    assert "That is a gain over" in html
    assert '<span class="pill gain">gain</span>' in html


def test_a_single_scorer_has_a_page_too():
    targets = world()
    assert "There is only one scorer." in page(run(targets, {"alone": noisy(targets, 0.5, 1)}))
