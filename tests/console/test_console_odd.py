"""People walk through the console with odd data: long texts, other scripts, strange ids, narrow windows."""

from __future__ import annotations

from typing import Any

import pytest
from console_world import Shop

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

PAPER = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz"
LONG = f"{'Blue oak table ' * 12}{PAPER}{PAPER}"


def call(browser: Any, method: str, path: str, body: object = None) -> Any:
    """The server's answer to a request of the page's origin."""
    return browser.driver.execute_async_script(
        "const [method, path, body, done] = arguments; fetch(path, {method, body: body && JSON.stringify(body),"
        " headers: {'Content-Type': 'application/json'}}).then(answer => answer.json()).then(done)",
        method,
        path,
        body,
    )


def put(browser: Any, item: str, title: str, **labels: object) -> None:
    body = {"ItemId": item, "Comment": title, "Categories": ["Sea"], "Labels": {"title": title, **labels}}
    assert "RowAffected" in call(browser, "POST", "/api/item", body)


def test_long_titles_are_read_in_windows_of_any_width(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue")
    put(browser, "long", LONG)
    parts = [f"Part {n} of a large tree" for n in range(80)]
    call(browser, "POST", "/api/item", {"ItemId": "many", "Comment": "Of many parts", "Categories": parts})
    places = (
        "#/recommend?like=long",
        f"#/recommend?like=long&why={shop.item}",
        "#/catalogue?q=many",
        f"#/recommend?user={shop.user}",
        f"#/catalogue/{PAPER}{PAPER}{PAPER}",
        "#/catalogue/long",
        "#/health",
    )
    wide = "return document.documentElement.scrollWidth"
    narrow = "return Math.min(...[...document.querySelectorAll('.card .because')].map(one => one.clientWidth))"
    cut = "return [...document.querySelectorAll('.figure .value')].filter(one => one.scrollWidth > one.clientWidth)"
    out = """return [...document.querySelectorAll('dialog, dialog *, .nav span, .nav a')].filter(one =>
        one.getBoundingClientRect().left < 0 || one.getBoundingClientRect().right > innerWidth)"""
    rows = "return [...document.querySelectorAll('.items tbody th')].map(one => [one.clientWidth, one.clientHeight])"
    for place in places:
        browser.open(place)
        if "why=" in place:
            browser.wait("dialog .sum")
        browser.quiet()
        browser.run("for (const folded of document.querySelectorAll('details')) folded.open = true")
        for width in (1280, 1001, 768, 390, 320):
            browser.size(width, 900)
            browser.until(lambda width=width: browser.run(wide) <= width, f"{place} within {width}", 10)
            assert not browser.all(".card") or browser.run(narrow) > 120, f"cards of {place} at {width}"
            assert browser.run(f"{cut}.map(one => one.innerText)") == [], f"figures of {place} at {width}"
            assert browser.run(f"{out}.map(one => one.outerHTML.slice(0, 80))") == [], f"{place} at {width}"
            for row_width, row_height in browser.run(rows):
                assert row_width > 120 and row_height < 160, f"the rows of {place} at {width}"


def test_an_address_written_by_hand_is_read_as_far_as_it_goes(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue")
    put(browser, "50%off", "Half a price")
    browser.open("#/catalogue/50%off")
    browser.until(lambda: browser.text("h1") == "Half a price", "the item")
    browser.open("#/catalogue?page=99")
    browser.wait("tbody tr")
    total = call(browser, "GET", "/api/catalogue?n=1")["total"]
    last = -(-total // 25)
    assert browser.address == f"#/catalogue?page={last}"
    assert browser.text(".pager .count").endswith(f"{total} of {total}")
    assert browser.complaints() == []
    browser.open("#/search?q=whale&where=price:about:20")
    assert "where" in browser.wait(".problem").text
    browser.wait("button.chip[aria-label='Remove price about 20']").click()
    browser.wait(".hit")
    browser.open(f"#/recommend?user={shop.user}&k=9999")
    browser.wait(".card")


def test_a_link_followed_on_the_same_page_asks_for_what_it_says(browser: Any, shop: Shop) -> None:
    browser.open(f"#/recommend?user={shop.user}")
    browser.wait(".card")
    browser.quiet()
    before = browser.text(".card .value")
    seen = browser.all(".timeline li")[0].get_attribute("data-id")
    browser.run(f"location.hash = '#/recommend?user={shop.user}&k=20'")
    browser.until(lambda: len(browser.order()) == 20, "twenty items")
    browser.run(f"location.hash = '#/recommend?user={shop.user}&without={seen}'")
    browser.until(lambda: len(browser.order()) == 10, "ten items")
    browser.wait(".timeline li.off")
    assert browser.text(".card .value") != before
    browser.run("location.hash = '#/recommend'")
    browser.wait("[data-starter]")
    browser.run(f"location.hash = '#/recommend?like={shop.item}'")
    browser.until(lambda: browser.all("[data-starter][aria-pressed=true]"), "the like of the link")
    browser.until(lambda: browser.order() and shop.item not in browser.order(), "its list")


def test_an_older_release_is_measured_by_its_own_lists_and_named(browser: Any, shop: Shop) -> None:
    browser.open("#/measure")
    stamps = [one["stamp"] for one in call(browser, "GET", "/api/releases") if not one["current"]]
    user = shop.measured_user
    scores = {}
    for stamp in (*stamps, ""):
        browser.open(f"#/measure?user={user}&a=mix&b=ease&release={stamp}")
        browser.wait(".plain-list li")
        browser.quiet()
        told = call(browser, "GET", f"/api/measure/lists?user={user}&models=mix,ease&k=10&release={stamp}")["lists"]
        scores[stamp] = [f"{one['score']:.3f}" for model in ("mix", "ease") for one in told[model]]
        assert [one.text for one in browser.all(".plain-list .numbers")] == scores[stamp]
        assert stamp in browser.text("[data-release]")
    assert scores[""] != scores[stamps[0]]
    assert "In colour: Mix" in browser.text("main")


def test_an_items_numbers_are_shown_as_they_are(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue")
    put(browser, "exact", "An exact thing", weight=0.0042, width=12.34567, price=19.9, code=1234567890123)
    browser.open("#/catalogue/exact")
    browser.wait(".fields")
    shown = browser.run("return [...document.querySelectorAll('.fields dd')].map(one => one.innerText)")
    assert {"0.0042", "12.34567", "19.9", "1234567890123"} <= set(shown)


# Answers to a search come late where its words say so.
SLOWLY = """
const send = window.fetch;
window.fetch = async (path, options) => {
    if (String(path).includes("late")) await new Promise(done => setTimeout(done, 700));
    return send(path, options);
};
"""


def search(browser: Any, words: str) -> None:
    browser.run(
        "const field = document.querySelector('[data-search]'); field.value = arguments[0]; field.form.requestSubmit()",
        words,
    )


def test_a_search_that_is_answered_late_does_not_come_over_a_newer_one(browser: Any, shop: Shop) -> None:
    browser.open(f"#/search?q={shop.words.replace(' ', '+')}")
    browser.wait(".hit")
    browser.run(SLOWLY)
    search(browser, "late bread")
    search(browser, "whale")
    browser.settle(1.5)
    assert "whale" in browser.text(".hit mark").lower()
    assert not browser.all("main .dim, main [aria-busy]")
    search(browser, "late bread")
    browser.settle(0.3)
    search(browser, "")
    browser.settle(1.5)
    assert not browser.all(".hit") and not browser.all("main .dim, main [aria-busy]")
    assert "own words" in browser.text("main")


def test_picking_a_user_of_a_search_keeps_the_focus(browser: Any, shop: Shop) -> None:
    browser.open(f"#/search?q={shop.words.replace(' ', '+')}")
    browser.wait(".hit")
    browser.tab_to(".controls .picker input")
    browser.wait("[role=option]")
    assert browser.run("const list = document.querySelector('.options'); return list.scrollHeight > list.clientHeight")
    browser.press("\ue004")  # past the list, though it scrolls
    assert browser.focused("return document.activeElement.tagName") == "SELECT"
    browser.tab_to(".controls .picker input")
    browser.press(*shop.user)
    browser.wait("[role=option]")
    browser.press("\ue015", "\ue007")
    browser.until(lambda: f"user={shop.user}" in browser.address, "the user in the address")
    browser.quiet()
    assert browser.focused("return document.activeElement.value") == shop.user
    assert f"User {shop.user}" in browser.text(".slider")
    assert browser.all("input[type=range]")[1].get_property("value") == "0.5"
    browser.wait(f"button.chip[aria-label='Remove User {shop.user}']").click()  # and everyone again
    browser.until(lambda: "user=" not in browser.address and "personal=" not in browser.address, "an address of all")
    browser.quiet()
    assert browser.run("return document.querySelector('.controls .picker input').value") == ""
    assert not browser.all("button.chip[aria-label^='Remove User']")


def fill_form(browser: Any, item: str, title: str) -> None:
    browser.wait(".main-action").click()
    browser.wait("dialog form")
    browser.until(lambda: 'name="title"' in browser.focused(), "the focus in the form")
    browser.press(*title)
    field = browser.wait("dialog [name=id]")
    field.clear()
    field.send_keys(item)


def test_the_form_that_adds_an_item_overwrites_none(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue")
    put(browser, "taken", "What stood here before")
    fill_form(browser, "taken", "A newcomer")
    browser.wait("dialog [type=submit]").click()
    browser.wait("dialog [role=alert]")
    assert "item taken already" in browser.text("dialog [role=alert]")
    assert 'name="id"' in browser.focused()
    assert call(browser, "GET", "/api/item/taken")["Comment"] == "What stood here before"
    browser.press("-2", "\ue007")  # what was typed is still there: another id is enough
    browser.wait("dialog [role=status]")
    assert call(browser, "GET", "/api/item/taken-2")["Comment"] == "A newcomer"


def test_the_catalogue_shows_an_item_that_was_just_added(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue?q=brand-new")
    browser.wait(".empty")
    fill_form(browser, "brand-new", "Brand new")
    browser.press("\ue007")
    browser.wait("dialog [role=status]")
    browser.press("\ue00c")
    browser.until(lambda: browser.order() == ["brand-new"], "the item in the table")
    assert browser.focused("return document.activeElement.tagName") in ("A", "BUTTON")


def test_marking_text_beyond_a_window_does_not_close_it(browser: Any, shop: Shop) -> None:
    from selenium.webdriver import ActionChains

    browser.open("#/catalogue")
    fill_form(browser, "marked", "A title that took a while")
    field = browser.wait("dialog [name=title]")
    hand = ActionChains(browser.driver).move_to_element_with_offset(field, 100, 0).click_and_hold()
    hand.move_by_offset(-500, 0).release().perform()
    browser.settle(0.3)
    assert browser.wait("dialog [name=title]").get_property("value") == "A title that took a while"
    ActionChains(browser.driver).move_by_offset(-50, 0).click().perform()
    browser.until(lambda: not browser.all("dialog"), "the window to close at a click beside it")


def test_a_key_that_cannot_be_sent_is_asked_for_again(browser: Any, keyed_url: str) -> None:
    browser.driver.get(f"{keyed_url}/#/catalogue")
    browser.run("sessionStorage.clear()")
    browser.driver.refresh()
    field = browser.wait("dialog input[type=password]")
    field.send_keys("密钥", "\ue007")
    browser.settle(0.5)
    assert "Latin letters" in browser.run("return document.querySelector('dialog input').validationMessage")
    assert browser.run("return document.getElementById('banner').hidden")
    field.clear()
    field.send_keys("look", "\ue007")
    browser.wait("tbody tr")


def test_the_explanation_is_of_the_list_in_view(browser: Any, shop: Shop) -> None:
    for asked in (f"like={shop.item}", f"like={shop.item}&wish=whale", f"user={shop.user}&category=Bread"):
        browser.open(f"#/recommend?{asked}")
        browser.wait(".card")
        browser.quiet()
        score = float(browser.all(".card .value")[1].text)
        browser.all(".card .title")[1].click()
        browser.wait("dialog .sum")
        assert "Place 2 in the list" in browser.text("dialog .item-head"), asked
        told = float(browser.text("dialog .sum span:last-child").replace("−", "-"))
        assert abs(told - score) < 0.002, asked
        browser.press("\ue00c")


def cut(browser: Any, *urls: str) -> None:
    """Lets no request to these addresses through; none given lets all through again."""
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(urls)})


EVERYTHING = ("*/api/*", "*/console/*")


def test_a_page_opened_while_nobody_answers_comes_when_somebody_does(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue")
    browser.wait("tbody tr")
    browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    cut(browser, *EVERYTHING)
    try:
        browser.run("location.hash = '#/measure'")
        browser.wait(".problem")
        assert "The server does not answer." in browser.text(".problem")
        assert "does not answer" in browser.wait("#banner").text
        browser.wait(".problem .button").click()  # trying again keeps the console
        browser.settle(0.5)
        assert "The server does not answer." in browser.text(".problem")
    finally:
        cut(browser)
    browser.wait(".chart .barlayer .point")
    assert browser.run("return document.getElementById('banner').hidden")


def test_a_page_whose_words_do_not_come_says_so_until_they_do(browser: Any, shop: Shop) -> None:
    browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    cut(browser, "*/console/words/*")
    try:
        browser.driver.get("about:blank")
        browser.driver.get(f"{browser.url}/#/catalogue")
        browser.until(lambda: "does not answer" in browser.text("main"), "a note")
    finally:
        cut(browser)
    browser.wait("tbody tr")
    assert browser.text("h1") == "Catalogue" and "does not answer" not in browser.text("main")


def test_a_release_that_another_process_promotes_is_seen_without_a_reload(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue")
    browser.wait("tbody tr")
    assert not browser.all(".release .bad")
    browser.run(DAMAGED)
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    bad = browser.wait(".release .bad")
    assert bad.is_displayed()


def test_a_language_that_does_not_come_changes_nothing_and_says_so(browser: Any, shop: Shop) -> None:
    browser.open("#/catalogue")
    browser.wait("tbody tr")
    cut(browser, *EVERYTHING)
    try:
        browser.wait("[data-language=zh]").click()
        browser.until(lambda: "does not answer" in browser.text(".toast"), "a note")
    finally:
        cut(browser)
    browser.until(lambda: browser.run("return document.getElementById('banner').hidden"), "the banner to go")
    browser.quiet()
    assert browser.text("h1") == "Catalogue"
    assert browser.all("[data-language=zh]") and "ago" in browser.text("tbody")
    browser.wait("[data-language=zh]").click()
    browser.until(lambda: browser.all("[data-language=en]"), "Chinese")


def test_whoever_types_is_not_disturbed_when_the_server_comes_back(browser: Any, shop: Shop) -> None:
    browser.open("#/search?q=whale")
    browser.wait(".hit")
    cut(browser, "*/api/*")
    try:
        browser.wait("[data-search]").click()
        browser.press(" ", "s")
        browser.wait(".problem")
        browser.run("document.querySelector('[data-search]').dataset.same = 'yes'")
    finally:
        cut(browser)
    browser.until(lambda: browser.run("return document.getElementById('banner').hidden"), "the banner to go")
    browser.press("e", "a")
    browser.wait(".hit")
    assert browser.focused("return document.activeElement.dataset.same") == "yes"
    assert browser.focused("return document.activeElement.value") == "whale sea"
    browser.until(lambda: browser.address == "#/search?q=whale+sea", "the words in the address")


def test_the_release_is_named_once_there_is_a_key(browser: Any, keyed_url: str) -> None:
    browser.driver.get(f"{keyed_url}/#/catalogue")
    browser.run("sessionStorage.clear()")
    browser.driver.refresh()
    browser.wait("dialog input[type=password]")
    browser.press("\ue00c")
    browser.wait(".problem .button").click()
    browser.wait("dialog input[type=password]").send_keys("look", "\ue007")
    browser.wait("tbody tr")
    told = "fetch('/api/release', {headers: {'X-API-Key': 'look'}}).then(answer => answer.json())"
    release = browser.driver.execute_async_script(f"const [done] = arguments; {told}.then(done)")
    assert browser.wait(".release .stamp").text == release["stamp"]


ASKED = """
const [done] = arguments;
import("/console/core/api.js").then(async ({ get, peek, onKeyNeeded }) => {
    let asked = 0;
    onKeyNeeded(async () => { asked += 1; return null; });
    const [answers, counts] = [window.fetch, []];
    window.fetch = async (path, options) => {
        if (path === "/late") await new Promise(go => setTimeout(go, 300));
        return new Response("{}", { status: 401 });
    };
    const refused = promise => promise.then(() => "answered", error => error.status);
    for (const calls of [["/soon", "/late"], ["/soon"]]) {
        const found = await Promise.all(calls.map(path => refused(get(path))));
        counts.push([found, asked]);
    }
    counts.push([[await refused(peek("/soon"))], asked]);
    window.fetch = answers;
    done(counts);
});
"""


def test_who_gives_no_key_is_not_asked_by_what_was_on_its_way(browser: Any, shop: Shop) -> None:
    browser.open("#/search")
    browser.quiet()
    told = browser.driver.execute_async_script(ASKED)
    assert told == [[[401, 401], 1], [[401], 2], [[401], 2]]


def test_long_lists_and_a_roll_back_keep_the_focus(browser: Any, shop: Shop) -> None:
    browser.open(f"#/recommend?user={shop.user}")
    browser.wait(".pager button")
    browser.quiet()
    browser.tab_to(".pager button")
    browser.press("\ue007")
    browser.until(lambda: len(browser.order()) == 20, "ten more")
    browser.quiet()
    row = "return document.activeElement.closest('[data-row-box]')?.dataset.id"
    assert browser.focused(row) == browser.order()[10]

    browser.open("#/catalogue")
    browser.wait(".pager button")
    browser.tab_to(".pager button")
    pages = -(-call(browser, "GET", "/api/catalogue?n=1")["total"] // 25)
    for page in range(2, pages + 1):
        browser.press("\ue007")
        browser.until(lambda page=page: f"page={page}" in browser.address, "the next page")
        browser.quiet()
        label = "return document.activeElement.innerText"
        assert browser.focused(label) == ("Next" if page < pages else "Previous")

    browser.open("#/releases")
    browser.wait(".release-card")
    for _ in range(2):  # back, and forward again
        browser.wait(".release-card button").click()
        browser.wait("dialog .danger").click()
        on_served = "document.activeElement.closest('.release-card')?.querySelector('.chip.good')"
        browser.until(lambda on=on_served: browser.run(f"return !document.querySelector('dialog') && !!{on}"), "it")
        browser.quiet()


DRAW = """
const [found, done] = arguments;
import("/console/parts/quality.js").then(part => {
    const box = document.createElement("div");
    document.querySelector("main").replaceChildren(box);
    part.drawQuality(box, found);
    done();
});
"""


def test_pictures_of_quality_name_their_lines_and_write_dates_for_every_language(browser: Any, shop: Shop) -> None:
    browser.run("localStorage.setItem('langrec.language', 'zh')")
    browser.open("#/health")
    browser.until(lambda: call(browser, "GET", "/api/quality")["report"], "a report")
    browser.quiet()
    report = call(browser, "GET", "/api/quality")["report"]
    day = 24 * 3600 * 1000
    weeks = [{"at": report["at"] - n * 7 * day, "events": 10, "divergence": 0.3 + n / 10} for n in range(4, 0, -1)]
    history = [
        {"at": report["at"] - n * day, "click_through": 0.1, "fallback": 0.2, "coverage": 0.3} for n in range(3, 0, -1)
    ]
    found = {"report": report | {"weeks": weeks}, "history": history}
    browser.driver.execute_async_script(DRAW, found)
    browser.run("window.scrollTo(0, document.body.scrollHeight)")
    browser.until(lambda: len(browser.all(".chart .xtick text")) > 4, "the pictures")
    ticks = browser.run("return [...document.querySelectorAll('.chart .xtick text')].map(one => one.textContent)")
    assert [tick for tick in ticks if any(sign.isalpha() for sign in tick)] == []
    last = "[...document.querySelectorAll('.panel')].at(-1)"
    names = browser.run(f"return [...{last}.querySelectorAll('.legend > span')].map(one => one.innerText)")
    assert len(names) == len(browser.run(f"return {last}.querySelector('.chart').data.map(one => one.name)")) == 3
    assert names == browser.run(f"return {last}.querySelector('.chart').data.map(one => one.name)")


# Of one model nothing says between which values it lies.
NO_INTERVAL = """
const send = window.fetch;
window.fetch = async (path, options) => {
    const answer = await send(path, options);
    if (!/api.measure(\\?|$)/.test(path)) return answer;
    const told = await answer.json();
    const bare = row => (row.model === "ease" ? { ...row, low: null, high: null } : row);
    return Response.json({ ...told, metrics: told.metrics.map(bare), seconds: { ...told.seconds, ease: 0 } });
};
"""


def test_a_measure_without_an_interval_is_neither_exact_nor_a_difference(browser: Any, shop: Shop) -> None:
    browser.open("#/releases")
    browser.wait(".release-card")
    browser.run(NO_INTERVAL)
    browser.run("location.hash = '#/measure'")
    browser.wait(".chart .barlayer .point")
    browser.run("window.scrollTo(0, document.body.scrollHeight)")
    browser.wait("tbody .chip[title*=interval]")
    ease = "[...document.querySelectorAll('main tbody tr')].filter(row => row.textContent.startsWith('Together (E'))"
    assert browser.run(f"return {ease}.at(-1).querySelector('.chip').title").startswith("An interval is missing")
    assert browser.run(f"return {ease}.at(-1).querySelector('.chip.good, .chip.bad')") is None
    assert "one is missing" in browser.text(".panel")
    assert browser.run(f"return {ease}[0].children[2].textContent") == "–"
    assert browser.run(f"return {ease}[0].children[3].textContent") == "0.000"
    drawn = "document.querySelector('.chart').data[0]"
    lines = browser.run(f"return {drawn}.y.map((name, i) => [name, {drawn}.error_x.array[i], {drawn}.hovertext[i]])")
    for name, line, text in lines:
        assert (line is None) == (name == "Together (EASE)")
        assert ("–" in text) == (line is not None)
    painted = (
        "[...document.querySelector('.chart').querySelectorAll('path.xerror')].filter(one => one.getTotalLength())"
    )
    assert browser.run(f"return {painted}.length") == len(lines) - 1
    costs = browser.run("return [...document.querySelectorAll('.chart')].map(one => one.data?.[0].text).find(Boolean)")
    assert "Together (EASE)" in costs  # what took less than a millisecond stands there too


# As if a training had died between two releases, and CURRENT named what it left.
DAMAGED = """
const send = window.fetch;
window.fetch = async (path, options) => {
    const answer = await send(path, options);
    if (!/api.(releases?|health.live)$/.test(path)) return answer;
    const told = await answer.json();
    const why = "made-up: is damaged; serving goes on";
    if (!Array.isArray(told)) return Response.json({ ...told, problem: why, Problem: why });
    const bad = { stamp: "made-up", current: false, made_at: null, data: {}, metrics: [], size_bytes: 9, ok: false };
    return Response.json([told[0], { ...bad, problem: "manifest.json: is damaged", kept: null }, told[1]]);
};
"""


def test_a_damaged_release_is_named_and_nothing_is_compared_with_it(browser: Any, shop: Shop) -> None:
    browser.open("#/releases")
    before = browser.wait(".release-card:first-child").text
    browser.run(DAMAGED)
    browser.run("location.hash = '#/health'")
    browser.wait(".figure")
    browser.run("location.hash = '#/releases'")
    bad = browser.wait("[data-stamp=made-up]").text
    assert "manifest.json: is damaged" in bad and "Against" not in bad and "NaN" not in bad
    first = browser.wait(".release-card:first-child").text
    assert "Against" in before and first.partition("Against")[2] == before.partition("Against")[2]
    assert "made-up: is damaged; serving goes on" in browser.text("main .problem")
    browser.wait("[data-language=zh]").click()  # which asks for the top line anew
    browser.wait(".release .bad")


# What a server in front of this one, or one that dies while it answers, makes of an answer.
BROKEN = """
const [status, text] = arguments;
const send = window.fetch;
const asked = path => path.startsWith("/api/catalogue");
window.fetch = async (path, options) => (asked(path) ? new Response(text, { status }) : send(path, options));
"""


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [(502, "<html>Bad Gateway</html>", "in front of langrec"), (200, '{"items": [', "broke off")],
)
def test_an_answer_that_is_not_the_apis_is_told_as_such(
    browser: Any, shop: Shop, status: int, text: str, told: str
) -> None:
    browser.open("#/releases")
    browser.wait(".release-card")
    browser.run(BROKEN, status, text)
    browser.run("location.hash = '#/catalogue'")
    assert told in browser.wait(".problem").text
    assert browser.complaints() == []
    browser.driver.refresh()
    browser.wait("tbody tr")
