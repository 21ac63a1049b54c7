"""A headless Chromium in front of a served release, and the few moves a person makes in it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from console_world import Shop, message_keys, train_twice

from langrec.settings import ServeSettings
from ports import free_port

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en",
)
WIDE, PHONE = (1280, 900), (390, 844)


class Browser:
    """One window on one server.

    Args:
        driver: a selenium driver.
        url: the server's origin.
    """

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, place: str) -> None:
        """Opens a view as a newcomer would: a fresh document at the view's address."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/{place}")
        self.wait("main h1, main .empty, main .problem")

    def all(self, css: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", css))

    def wait(self, css: str, seconds: float = 120) -> Any:
        """The first element of a selector, as soon as there is one that is seen."""
        return self.until(lambda: next((one for one in self.all(css) if one.is_displayed()), None), css, seconds)

    def until(self, ready: Callable[[], Any], what: str = "it", seconds: float = 120) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + seconds
        while True:
            try:
                found = ready()
            except StaleElementReferenceException:
                found = None  # the page drew itself anew meanwhile
            if found:
                return found
            assert time.monotonic() < end, f"waited in vain for {what} at {self.address}: {self.text('main')[:400]}"
            time.sleep(0.05)

    def quiet(self) -> None:
        """Waits until nothing in view is loading; charts further down draw themselves when they are seen."""
        loading = """return [...document.querySelectorAll('[aria-busy], .bone')].some(node => {
            const box = node.getBoundingClientRect();
            return box.height && box.top < innerHeight && box.bottom > 0; })"""
        self.until(lambda: not self.run(loading), "the end of loading")
        # A quarter of a second in which nothing changed; what never rests is not waited for.
        self.driver.execute_async_script("""
            const done = arguments[0];
            const rest = () => setTimeout(end, 250);
            const seen = new MutationObserver(() => { clearTimeout(resting); resting = rest(); });
            const end = () => { seen.disconnect(); clearTimeout(resting); clearTimeout(last); done(); };
            let resting = rest();
            const last = setTimeout(end, 2000);
            seen.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
        """)

    def settle(self, seconds: float = 0.5) -> None:
        time.sleep(seconds)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def tab_to(self, css: str) -> None:
        """Moves the focus forward by the Tab key until it is on the wanted element."""
        for _ in range(80):
            self.press("\ue004")
            if self.run("return document.activeElement.matches(arguments[0])", css):
                return
        raise AssertionError(f"the Tab key does not lead to {css}")

    def text(self, css: str) -> str:
        return " ".join(one.text for one in self.all(css))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def focused(self, script: str = "return document.activeElement.outerHTML") -> str:
        return str(self.run(script))

    @property
    def address(self) -> str:
        return str(self.run("return location.hash"))

    def order(self) -> list[str]:
        """Ids of the rows in view, in their order."""
        return list(self.run("return [...document.querySelectorAll('main [data-row-box]')].map(row => row.dataset.id)"))

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def picture(self, path: Path) -> None:
        """A picture of the whole page."""
        width = self.run("return innerWidth")
        height = min(4000, self.run("return document.documentElement.scrollHeight"))
        before = self.run("return innerHeight")
        self.size(width, max(height, before))
        self.settle()
        self.driver.save_screenshot(str(path))
        self.size(width, before)

    def complaints(self) -> list[str]:
        """What the browser's console holds since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found


def start_driver(profile: Path) -> Any:
    """A selenium driver of the installed Chromium; skips the test where it is absent."""
    binary, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or chromedriver is None:
        pytest.skip("chromium or chromedriver is absent: `make browser` installs them where the user is root")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is absent")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    driver.set_page_load_timeout(120)
    return driver


@pytest.fixture(scope="module")
def window(console_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One window for the tests of a file."""
    profile = tmp_path_factory.mktemp("chromium")
    driver = start_driver(profile)
    yield Browser(driver, console_url)
    driver.quit()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def browser(window: Browser) -> Browser:
    """The window, wide, in English, with nothing remembered."""
    window.size(*WIDE)
    window.driver.get(f"{window.url}/console/icon.svg")
    window.run("localStorage.clear(); sessionStorage.clear();")
    window.complaints()
    window.requests()
    return window


@pytest.fixture(scope="session")
def two_trained_releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of releases; tests copy it."""
    return train_twice(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def shop(two_trained_releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop behind a real server in a thread of this process; a file's tests share it."""
    folder = tmp_path_factory.mktemp("served")
    releases = Path(shutil.copytree(two_trained_releases, folder / "releases"))
    settings = ServeSettings(store=f"sqlite:///{folder / 'store.db'}")
    with serving(releases, settings) as url:
        yield Shop(url, keys=message_keys())


@pytest.fixture(scope="module")
def console_url(shop: Shop) -> str:
    return shop.url


@pytest.fixture
def keyed_url(two_trained_releases: Path, tmp_path: Path) -> Iterator[str]:
    """A server that wants a key: `look` may read, `sesame` may everything."""
    settings = ServeSettings(store=f"sqlite:///{tmp_path / 'store.db'}", keys="read:look,admin:sesame")
    with serving(two_trained_releases, settings) as url:
        yield url


@contextmanager
def serving(releases: Path, settings: ServeSettings) -> Iterator[str]:
    """The origin of a server that answers until the block ends."""
    import uvicorn

    from langrec.service.http import create_app

    port = free_port()
    app = create_app(releases, replace(settings, port=port))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while not server.started:
        assert thread.is_alive() and time.monotonic() < end, "the server did not start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=120)
