"""The report's page: whole without a network, and safe whatever the names are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from test_evaluate import N_ITEMS, noisy, run, world

from langrec.data.ids import Ids
from langrec.evaluation.beside import Bound, Control
from langrec.evaluation.examples import examples
from langrec.evaluation.page import page

NASTY = '</script><script>alert(1)</script> "quoted" & $primary <img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def html():
    targets = world()
    spoilt = f"spoilt {NASTY}"
    models = {NASTY: noisy(targets, 0.3, 1), "mix": noisy(targets, 0.8, 2), spoilt: noisy(targets, 0.1, 3)}
    beside = {spoilt: Control(NASTY, NASTY), "union": Bound((NASTY, "mix"))}
    titles = [f"{NASTY} {num}" for num in range(N_ITEMS)]
    users = Ids([f"{NASTY} {num}" for num in range(25)])
    stamp = {"split": NASTY, "leaks": NASTY}
    return page(run(targets, models, protocol=stamp, beside=beside, titles=titles, users=users))


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


def test_controls_and_bounds_have_a_part_of_their_own(html):
    table = html.partition('id="h-beside"')[2].partition("</table>")[0]
    assert table.count('<th scope="row">') == 2
    assert "a control: " in table and "a bound: per question the better list of " in table
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["beside"] == {f"spoilt {NASTY}": "control", "union": "bound"}


def test_a_single_scorer_has_a_page_too():
    targets = world()
    plain = page(run(targets, {"alone": noisy(targets, 0.5, 1)}))
    assert "There is only one scorer." in plain
    assert 'id="h-beside"' not in plain
    assert "What came next is shown" in plain


# ---- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("single", [True, False])
def test_each_kind_of_example_holds_what_it_says_and_the_shares_add_up(single):
    targets = world(single)
    report = run(targets)
    kinds = examples(report)
    assert sum(kind.share for kind in kinds) == pytest.approx(1)
    users = [example.user for kind in kinds for example in kind.examples]
    assert len(set(users)) == len(users) > 3
    for kind in kinds:
        for example in kind.examples:
            shown = {answer.model: any(answer.hits) for answer in example.answers}
            expected = {
                "Only mix shows what came next": {"mix": True, "strong": False},
                "Only strong shows it": {"mix": False, "strong": True},
                "Both show it": {"mix": True, "strong": True},
                "Neither shows it": {"mix": False, "strong": False},
            }
            assert shown == expected[kind.says]
            for answer in example.answers:
                hits = [title for title, hit in zip(answer.titles, answer.hits, strict=True) if hit]
                assert set(hits) <= set(example.targets)
                assert any(answer.hits) == (answer.rank <= 5)


def test_examples_are_drawn_under_the_seed_and_name_items_as_people_do():
    targets = world()
    titles = [f"Title {num}" for num in range(N_ITEMS)]
    first, again = (examples(run(targets, titles=titles)) for _ in range(2))
    assert first == again
    example = first[0].examples[0]
    assert all(title.startswith("Title ") for title in (*example.history, *example.targets, *example.answers[0].titles))
    question = next(i for i in range(len(targets)) if targets.block.at[i] == example.at)
    history = targets.block.history(question)
    assert example.before == len(history)
    assert example.history == tuple(f"Title {num}" for num in history[::-1][:5])
    assert example.targets == (f"Title {targets.items[question]}",)


@pytest.mark.browser
def test_a_browser_draws_every_chart_and_fills_the_table(html, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    path = tmp_path / "report.html"
    path.write_text(html, "utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000"]
    command = [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    out = subprocess.run(command, capture_output=True, text=True, timeout=600)
    drawn = re.sub(r"<script.*?</script>", "", out.stdout, flags=re.DOTALL)
    panels = len(re.findall(r"<h3>", drawn.partition('id="slices"')[2].partition("</section>")[0]))
    assert panels >= 5
    # One chart per panel, the bars, and quality against time.
    assert len(re.findall(r'class="[^"]*js-plotly-plot', drawn)) == panels + 2
    table = drawn.partition('id="numbers"')[2].partition("</table>")[0]
    assert len(re.findall(r"<tr[ >]", table)) == 5
    assert len(re.findall("<button[^>]*aria-pressed", drawn)) == 4
    assert "<img" not in drawn
