"""A Chromium with the page in it, and what a person does there.

Selenium drives it: pure Python that speaks W3C WebDriver to the chromedriver of the same Debian
package as the browser, so the two always fit, and it downloads nothing. Playwright brings a Node.js
of its own and is made for browsers that it downloads.
"""

import io
import json
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
PATIENCE = 30.0  # seconds; on a busy machine ten were too few
DESK = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a test picture
)
BROWSER, DRIVER = "chromium", "chromedriver"

Pixels = NDArray[np.uint8]


def absent_programs() -> str:
    """Which of the two are not installed."""
    return " and ".join(name for name in (BROWSER, DRIVER) if not shutil.which(name))


def start_chromium(profile: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which(BROWSER))
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(str(shutil.which(DRIVER))))


def pixels(encoded: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(encoded)))


class Page:
    """The page in the browser, and what a person does with it."""

    def __init__(self, browser: webdriver.Chrome, address: str, downloads: Path) -> None:
        self.browser, self.address, self.downloads = browser, address, downloads

    def js(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element("css selector", selector)

    def chain(self) -> ActionChains:
        return ActionChains(self.browser, duration=20)

    def press(self, *keys: str) -> None:
        self.chain().send_keys(*keys).perform()

    def wait(self, condition: str, *arguments: object) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.js(f"return Boolean({condition})", *arguments):
            assert time.monotonic() < end, f"never: {condition}; {self.state()}"
            time.sleep(0.02)

    def state(self) -> str:
        """What a failed test should tell: the status line and the state of each photo."""
        rows = "[...document.querySelectorAll('#queue li')].map((row) => row.dataset.state)"
        return f"status: {self.text('#status')!r}, photos: {self.js(f'return {rows}')}"

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def add(self, *photos: Path) -> None:
        self.find("#files").send_keys("\n".join(map(str, photos)))

    def states(self) -> list[str]:
        rows = "document.querySelectorAll('#queue li')"
        return list(self.js(f"return [...{rows}].map((row) => row.dataset.state)"))

    def box(self, selector: str) -> dict[str, float]:
        """The place of an element: x, y, width and height in CSS pixels."""
        script = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
        return dict(self.js(script, selector))

    def drag(self, selector: str, dx: int, dy: int, off: int = 0) -> None:
        """Press the mouse in the middle of an element, or `off` right of it, and pull."""
        chain = self.chain().move_to_element_with_offset(self.find(selector), off, 0)
        chain.click_and_hold().move_by_offset(dx, dy).release().perform()

    def settle(self, count: int = 1) -> None:
        """Until so many photos are done or failed, and the one looked at is on the stage."""
        ended = "/^(done|unsure|failed)$/.test(row.dataset.state)"
        rows = "[...document.querySelectorAll('#queue li')]"
        self.wait(f"{rows}.filter((row) => {ended}).length === {count}")
        chosen = "document.querySelector('[aria-current=true]').closest('li').dataset.state"
        self.wait(f"{chosen} === 'failed' || document.querySelector('#stage.done')")

    def open(self, *photos: Path) -> "Page":
        self.add(*photos)
        self.settle(len(photos))
        return self

    def choose(self, background: str) -> None:
        self.click(f"[name=background][value='{background}']")

    def click(self, selector: str) -> None:
        """Tell if it is in sight."""
        self.js("document.querySelector(arguments[0]).click()", selector)

    def stage(self) -> Pixels:
        """(H, W, 3): what the stage shows."""
        return pixels(self.find("#stage").screenshot_as_png)[:, :, :3]

    def saved(self, name: str) -> bytes:
        """The file of a download that is on its way."""
        path, end = self.downloads / name, time.monotonic() + PATIENCE
        while not path.is_file():
            assert time.monotonic() < end, f"no {name} in {list(self.downloads.iterdir())}"
            time.sleep(0.02)
        content = path.read_bytes()
        path.unlink()
        return content

    def served(self, query: str) -> Pixels:
        """The server's result for the sample."""
        kind = {"Content-Type": "application/octet-stream"}
        request = Request(f"{self.address}api/matte?{query}", ASTRONAUT.read_bytes(), kind)
        with urlopen(request) as answer:
            return pixels(answer.read())

    def log(self, kind: str) -> list[Any]:
        return list(self.browser.get_log(kind))

    def requests(self) -> list[str]:
        """The addresses of all requests since the last time this was asked for."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def screen(self, sizes: dict[str, Any]) -> None:
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
        touch = {"enabled": sizes["mobile"]}
        self.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)
