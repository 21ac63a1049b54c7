"""The report's page: whole without a network, and safe whatever the names are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from test_evaluate import noisy, run, world

from langrec.evaluation.page import page

NASTY = '</script><script>alert(1)</script> "quoted" & $primary <img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def html():
    targets = world()
    models = {NASTY: noisy(targets, 0.3, 1), "mix": noisy(targets, 0.8, 2)}
    return page(run(targets, models, protocol={"split": NASTY, "leaks": NASTY}))


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


@pytest.mark.browser
def test_a_browser_draws_every_chart_and_fills_the_table(html, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    path = tmp_path / "report.html"
    path.write_text(html, "utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000"]
    command = [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120)
    drawn = re.sub(r"<script.*?</script>", "", out.stdout, flags=re.DOTALL)
    panels = len(re.findall(r"<h3>", drawn))
    assert panels >= 5
    # One chart per panel, the bars, and quality against time.
    assert len(re.findall(r'class="[^"]*js-plotly-plot', drawn)) == panels + 2
    table = drawn.partition('id="numbers"')[2].partition("</table>")[0]
    assert len(re.findall(r"<tr[ >]", table)) == 3
    assert "<img" not in drawn
