"""The page in a real Chromium, which asks a server that makes real cut-outs."""

import base64
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

import latefusion
from latefusion.images.reading import read_photo
from latefusion.images.spaces import convert
from tests.helpers.page_browser import (
    ASTRONAUT,
    DESK,
    PHONE,
    Page,
    absent_programs,
    pixels,
    start_chromium,
)
from tests.helpers.page_server import Mood, stand_in
from tests.helpers.profiles import DISPLAY_P3, PROPHOTO, as_srgb

BLUE = (30, 144, 255)  # #1e90ff


def absent(reason: str) -> None:
    """Skip, but never in CI, where it would stay unseen."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def moody() -> Iterator[tuple[str, Mood]]:
    """A stand-in that can be told to be busy or to want a key, and remembers what it was asked."""
    with stand_in() as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The page as `latefusion serve` gives it."""
    serve = [sys.executable, "-m", "latefusion", "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip() + "/"
        finally:
            server.terminate()


@pytest.fixture
def mood(moody: tuple[str, Mood]) -> Mood:
    """For the tests that need the stand-in."""
    moody[1].reset()
    return moody[1]


@pytest.fixture
def address(request: pytest.FixtureRequest, moody: tuple[str, Mood], site: str) -> str:
    moody[1].reset()
    return moody[0] if "mood" in request.fixturenames else site


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if missing := absent_programs():
        absent(f"needs {missing}: apt install chromium chromium-driver")
    with start_chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(chromium: webdriver.Chrome, address: str, tmp_path: Path) -> Iterator[Page]:
    """The page as it is opened; in the end it has neither complained nor asked another host."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    opened = Page(chromium, address, downloads)
    allow = {"behavior": "allow", "downloadPath": str(downloads)}
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    opened.screen(DESK)
    opened.requests()
    opened.log("browser")
    chromium.get(address)
    opened.js("sessionStorage.clear()")
    yield opened
    asked = [urlsplit(url) for url in opened.requests()]
    hosts = {url.netloc for url in asked if url.scheme in ("http", "https", "ws", "wss")}
    assert hosts == {urlsplit(address).netloc}
    bad = [entry for entry in opened.log("browser") if entry["source"] != "network"]
    assert bad == []  # no error in a script, nothing that the Content-Security-Policy forbids


def by_command(tmp_path: Path) -> bytes:
    """The result of `latefusion matte` for the sample."""
    out = tmp_path / "by-command.png"
    matte = [sys.executable, "-m", "latefusion", "matte", str(ASTRONAUT), "-o", str(out)]
    subprocess.run(matte, check=True, capture_output=True)
    return out.read_bytes()


def clip(page: Page) -> float:
    """The left edge of the cut-out's half, in pixels."""
    shape = page.js("return getComputedStyle(document.getElementById('after')).clipPath")
    return float(shape.removeprefix("inset(").removesuffix(")").split()[-1].removesuffix("px"))


def test_the_downloaded_cutout_is_that_of_the_command(page: Page, tmp_path: Path) -> None:
    page.open(ASTRONAUT).find("[data-save=cutout]").click()
    saved, wanted = page.saved("astronaut-cutout.png"), by_command(tmp_path)
    assert np.array_equal(pixels(saved)[:, :, 3], pixels(wanted)[:, :, 3])
    assert saved == wanted  # the server's bytes, untouched
    page.find("[data-save=alpha]").click()
    assert np.array_equal(pixels(page.saved("astronaut-alpha.png")), pixels(wanted)[:, :, 3])


def test_the_divider_moves_by_keys_and_by_mouse(page: Page) -> None:
    page.open(ASTRONAUT)
    divider, before = page.find("#divider"), clip(page)
    assert divider.get_attribute("aria-valuenow") == "50"
    divider.send_keys(Keys.ARROW_LEFT)
    assert clip(page) < before
    assert divider.get_attribute("aria-valuetext") == "48 % photo, 52 % cut-out"
    divider.send_keys(Keys.HOME)
    assert divider.get_attribute("aria-valuenow") == "0"
    page.drag("#divider", 100, 0)
    photo, stage = page.box("#photo"), page.box("#stage")
    assert clip(page) == pytest.approx(photo["x"] - stage["x"] + 100, abs=2)
    page.drag("#stage", 60, 9)
    assert clip(page) == pytest.approx(stage["width"] / 2 + 60, abs=2)


def test_backgrounds_change_at_once(page: Page, mood: Mood, tmp_path: Path) -> None:
    page.open(ASTRONAUT)
    corner = 8, page.stage().shape[1] // 2 + 240  # beside the head, right of the divider
    assert not page.find("[data-save=png]").is_enabled()
    page.choose("#1e90ff")
    assert tuple(page.stage()[corner]) == BLUE
    page.find("[data-save=png]").click()
    made = pixels(page.saved("astronaut-composite.png"))[:, :, :3].astype(int)
    Image.new("RGB", (40, 20), (200, 30, 90)).save(tmp_path / "wall.png")
    page.find("#image-file").send_keys(str(tmp_path / "wall.png"))
    page.wait("document.getElementById('backdrop-image').naturalWidth")
    assert tuple(page.stage()[corner]) == (200, 30, 90)
    page.find("[data-save=jpg]").click()
    picture = pixels(page.saved("astronaut-composite.jpg")).astype(int)
    assert picture[4, 300] == pytest.approx(np.array([200, 30, 90]), abs=4)
    assert mood.asked == [{}]  # the photo went to the server once
    wanted = page.served("background=%231e90ff").astype(int)
    assert np.abs(made - wanted).max() <= 2  # a canvas keeps colours times alpha, in 8 bits


def test_a_photo_with_a_profile_gets_the_colour_that_was_asked_for(
    page: Page, tmp_path: Path
) -> None:
    """The canvas is sRGB: the browser converts photo, picture and colour into it."""
    green = (47, 163, 107)
    Image.open(ASTRONAUT).save(tmp_path / "wide.png", icc_profile=DISPLAY_P3)
    wall = convert(np.full((20, 40, 3), green, np.uint8), None, PROPHOTO)
    Image.fromarray(wall).save(tmp_path / "wall.png", icc_profile=PROPHOTO)
    by_python = latefusion.matte(tmp_path / "wide.png")
    wanted = as_srgb(by_python.over("#2fa36b"), by_python.icc).astype(int)
    page.open(tmp_path / "wide.png").choose("#2fa36b")
    for picture in (False, True):
        if picture:
            page.find("#image-file").send_keys(str(tmp_path / "wall.png"))
            page.wait("document.getElementById('backdrop-image').naturalWidth")
        page.find("[data-save=png]").click()
        made = read_photo(page.saved("wide-composite.png"))
        assert made.icc is None
        assert made.image[4, 300] == pytest.approx(np.array(green), abs=1)
        off = np.abs(made.image - wanted)[by_python.alpha == 1]  # soft ones are mixed in sRGB
        assert off.mean() < 1.5


def test_what_no_canvas_holds_comes_from_the_server(page: Page, mood: Mood) -> None:
    page.open(ASTRONAUT).choose("#1e90ff")
    page.js("HTMLCanvasElement.prototype.toBlob = (give) => give(null)")
    page.find("[data-save=jpg]").click()
    made = pixels(page.saved("astronaut-composite.jpg")).astype(int)
    assert made[4, 300] == pytest.approx(np.array(BLUE), abs=4)
    assert mood.asked[1:] == [{"background": "#1e90ff", "format": "jpg"}]


def test_the_blur_is_the_servers(page: Page) -> None:
    page.open(ASTRONAUT).choose("blur")
    page.wait("!document.getElementById('backdrop-blur').hidden")
    assert page.text("#blur-size") == "10 px"
    page.find("[data-save=png]").click()
    made = pixels(page.saved("astronaut-composite.png"))[:, :, :3].astype(float)
    off = np.abs(made - page.served("background=blur"))
    assert off.mean() < 1
    assert np.percentile(off, 99) < 6


def test_doubt_is_tinted_red(page: Page, mood: Mood) -> None:
    page.open(ASTRONAUT).choose("#ffffff")
    before = page.stage().astype(int)
    page.find("#show-doubt").click()
    page.wait("!document.getElementById('doubt-window').hidden")
    change = page.stage() - before
    reddened = (change[:, :, 0] - change[:, :, 1] > 60).mean()
    assert 0.002 < reddened < 0.2
    page.find("#show-doubt").click()
    page.wait("document.getElementById('doubt-window').hidden")
    page.find("#show-doubt").click()
    page.wait("!document.getElementById('doubt-window').hidden")
    assert mood.asked == [{}, {"save": "doubt"}]


def test_one_to_one_shows_the_pixels_of_the_photo(page: Page) -> None:
    page.open(ASTRONAUT)
    page.find("[data-zoom='1']").click()
    page.find("#divider").send_keys(Keys.END)
    page.js("document.querySelector('.tag.left').remove()")
    shown = page.stage()
    top, left = [(room - 512) // 2 for room in shown.shape[:2]]
    photo = pixels(ASTRONAUT.read_bytes())
    part = (slice(30, 480), slice(30, 480))  # the divider is at the right edge
    here = shown[max(0, top) :, max(0, left) :][part]
    assert np.abs(here.astype(int) - photo[part]).mean() < 1


def test_a_zoomed_photo_is_moved_by_mouse_wheel_and_keys(page: Page) -> None:
    page.open(ASTRONAUT)
    page.find("[data-zoom='2']").click()
    start = page.box("#photo")
    assert start["width"] == pytest.approx(1024)
    page.drag("#stage", 40, 30, off=90)
    moved = page.box("#photo")
    assert (moved["x"], moved["y"]) == pytest.approx((start["x"] + 40, start["y"] + 30), abs=1)
    page.js("document.getElementById('stage').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.box("#photo")["x"] == pytest.approx(start["x"] - 20, abs=1)
    wheel = "new WheelEvent('wheel', {deltaY: -200, clientX: 400, clientY: 300})"
    page.js(f"document.getElementById('stage').dispatchEvent({wheel})")
    assert page.box("#photo")["width"] == pytest.approx(1024 * np.exp(0.4), abs=1)
    page.press("0")
    assert page.box("#photo")["width"] < 600
    assert page.find("[data-zoom=fit]").get_attribute("aria-pressed") == "true"


def test_a_bad_file_among_several_stops_no_other(page: Page, mood: Mood, tmp_path: Path) -> None:
    notes = tmp_path / "<b>notes.jpg"
    notes.write_bytes(b"%PDF-1.4")
    boxes = {"left": (0, 0, 300, 512), "right": (140, 0, 440, 500), "upper": (60, 0, 460, 300)}
    photos = [tmp_path / f"{name}.jpg" for name in boxes]
    for photo, box in zip(photos, boxes.values(), strict=True):
        Image.open(ASTRONAUT).crop(box).save(photo)
    page.open(notes, *photos)
    assert page.states()[0] == "failed"
    assert set(page.states()[1:]) <= {"done", "unsure"}
    assert page.text("#notice-text").startswith("<b>notes.jpg: the given photo is a PDF document")
    assert mood.most == 2
    page.find("[data-all=cutout]").click()
    with zipfile.ZipFile(io.BytesIO(page.saved("cutouts.zip"))) as zipped:
        assert zipped.testzip() is None
        assert zipped.namelist() == [f"{photo.stem}-cutout.png" for photo in photos]
        assert pixels(zipped.read("upper-cutout.png")).shape == (300, 400, 4)
    page.find("#queue li .remove").click()
    assert len(page.states()) == 3
    page.wait("document.querySelector('#stage.done')")


def test_a_busy_server_is_asked_again(page: Page, mood: Mood) -> None:
    mood.busy = 1
    page.add(ASTRONAUT)
    page.wait("document.getElementById('notice-text').textContent.includes('next try in 1 s')")
    assert page.states() == ["waiting"]
    page.settle()
    assert len(mood.asked) == 2


def test_a_server_with_a_key_asks_for_it_once(page: Page, mood: Mood) -> None:
    mood.key = "open-sesame"
    page.add(ASTRONAUT, ASTRONAUT)
    page.wait("document.getElementById('key').open")
    page.press("wrong", Keys.ENTER)
    page.wait("document.getElementById('key-line').textContent.includes('did not take')")
    page.press(mood.key, Keys.ENTER)
    page.settle(2)
    assert not page.js("return document.getElementById('key').open")


def test_a_server_that_is_gone_is_a_line_and_can_be_tried_again(page: Page) -> None:
    page.browser.execute_cdp_cmd("Network.enable", {})
    down = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", down)
    try:
        page.open(ASTRONAUT)
        assert "does not answer" in page.text("#notice-text")
    finally:
        up = down | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", up)
    page.find("#again-failed").click()
    page.wait("document.querySelector('#stage.done')")


def test_photos_come_by_paste_and_by_drop(page: Page) -> None:
    send = """
        const [kind, name] = arguments, data = new DataTransfer();
        const bytes = Uint8Array.from(atob(arguments[2]), (sign) => sign.charCodeAt(0));
        data.items.add(new File([bytes], name, {type: "image/jpeg"}));
        const event = kind === "paste" ? new ClipboardEvent(kind, {clipboardData: data})
            : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
        document.dispatchEvent(event);
    """
    encoded = base64.b64encode(ASTRONAUT.read_bytes()).decode()
    page.js(send, "dragenter", "a.jpg", encoded)
    assert page.find("#dropping").is_displayed()
    page.js(send, "drop", "a.jpg", encoded)
    assert not page.find("#dropping").is_displayed()
    page.js(send, "paste", "b.jpg", encoded)
    page.settle(2)


def test_the_camera_is_off_after_the_shot(page: Page) -> None:
    page.wait("!document.querySelector('#empty [data-camera]').hidden")
    assert page.js("return document.getElementById('shoot').disabled")  # before there is a picture
    page.find("#empty [data-camera]").click()
    page.wait("!document.getElementById('shoot').disabled")
    page.js("window.track = document.getElementById('viewfinder').srcObject.getTracks()[0]")
    page.find("#shoot").click()
    page.settle()
    assert page.js("return window.track.readyState") == "ended"
    assert page.text("#queue .name").startswith("camera-")


def test_the_server_shows_a_photo_that_the_browser_cannot(page: Page, tmp_path: Path) -> None:
    photo = Image.open(ASTRONAUT).crop((0, 0, 512, 400))
    pillow_heif.from_pillow(photo).save(tmp_path / "phone.heic", quality=95)
    page.open(tmp_path / "phone.heic")
    page.wait("document.getElementById('photo').naturalWidth === 512")
    page.find("#divider").send_keys(Keys.END)
    page.find("[data-zoom='1']").click()
    shown = page.stage().astype(int)
    top, left = (shown.shape[0] - 400) // 2, (shown.shape[1] - 512) // 2
    flag = pixels(ASTRONAUT.read_bytes())[150, 40].astype(int)
    assert shown[top + 150, left + 40] == pytest.approx(flag, abs=12)


def test_a_photo_on_its_side_lies_under_its_cutout(page: Page, tmp_path: Path) -> None:
    photo = Image.open(ASTRONAUT).crop((100, 0, 400, 200))
    exif = photo.getexif()
    exif[0x0112] = 6  # to be turned clockwise
    photo.save(tmp_path / "side.jpg", exif=exif)
    page.open(tmp_path / "side.jpg")
    size = "const {naturalWidth: w, naturalHeight: h} = window[arguments[0]]; return [w, h]"
    assert page.js(size, "photo") == page.js(size, "cutout") == [200, 300]


def test_whom_to_keep_is_pointed_at_by_mouse_or_keys(page: Page, mood: Mood) -> None:
    page.open(ASTRONAUT)
    page.js("document.getElementById('options').open = true")
    page.find("#pick").click()
    page.chain().move_to_element(page.find("#photo")).click().perform()
    page.wait("!document.querySelector('#stage.picking')")
    page.settle()
    page.find("#pick").click()
    page.press(Keys.ARROW_UP, Keys.ENTER)
    page.wait("!document.querySelector('#stage.picking')")
    page.settle()
    at = [[int(length) for length in query["subject"].split(",")] for query in mood.asked[1:]]
    assert at[0] == pytest.approx([256, 256], abs=2)
    assert at[1][0] == pytest.approx(256, abs=2)
    assert 236 <= at[1][1] < 252


def test_options_go_with_a_photo_that_is_cut_out_again(page: Page, mood: Mood) -> None:
    page.open(ASTRONAUT)
    page.js("document.getElementById('options').open = true")
    for option in ("#tiles", "#fill-holes", "[value=largest]", "#again"):
        page.click(option)
    page.settle()
    page.wait("document.querySelector('#stage.done')")
    assert mood.asked[1] == {"tiles": "true", "fill_holes": "true", "subject": "largest"}


def test_everything_is_reached_by_keys(page: Page) -> None:
    page.press(Keys.TAB)
    assert page.js("return document.activeElement.textContent") == "Choose photos"
    page.open(ASTRONAUT)  # the browser's own window for files is out of reach here
    assert page.js("return document.activeElement.id") == "stage"
    page.press("1")
    assert page.find("[data-zoom='1']").get_attribute("aria-pressed") == "true"
    page.press("0", Keys.TAB, Keys.PAGE_UP)
    assert page.find("#divider").get_attribute("aria-valuenow") == "60"
    press = {"show-doubt": Keys.SPACE, "background": Keys.ARROW_RIGHT, "png": Keys.ENTER}
    at = ""
    while at != "again":  # the last one
        page.press(Keys.TAB)
        at = page.js(
            "const {id, name, dataset, tagName} = document.activeElement;"
            "return name || dataset.save || id || tagName"
        )
        assert at != "BODY", "the page ended"
        page.press(*press.pop(at, ""))
        if at == "SUMMARY":
            page.press(Keys.ENTER)
    assert not press
    page.wait("!document.getElementById('doubt-window').hidden")
    made = pixels(page.saved("astronaut-composite.png"))
    assert tuple(made[4, 300, :3]) == (255, 255, 255)


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_a_phone_has_no_sideways_scroll_and_room_for_fingers(page: Page, filled: bool) -> None:
    page.screen(PHONE)
    if filled:
        page.open(ASTRONAUT, ASTRONAUT)
        page.js("document.getElementById('options').open = true")
        page.choose("blur")
    assert page.js("return document.documentElement.scrollWidth") == PHONE["width"]
    small = """
        const targets = "button, summary, .swatch, .choice, [type=range], [type=color], #divider";
        return [...document.querySelectorAll(targets)].filter((one) => one.checkVisibility())
            .map((one) => [one.outerHTML, one.getBoundingClientRect()])
            .filter(([, box]) => Math.min(box.width, box.height) < 40).map(([text]) => text)
    """
    assert page.js(small) == []


def test_a_finger_drags_the_divider_and_two_pinch(page: Page) -> None:
    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        event = {"type": kind, "touchPoints": fingers}
        page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    page.screen(PHONE)
    page.open(ASTRONAUT)
    box = page.box("#stage")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 - 80
    touch("touchStart", (x, y))
    for step in range(1, 9):
        touch("touchMove", (x + 10 * step, y))
    touch("touchEnd")
    assert clip(page) == pytest.approx(box["width"] / 2 + 80, abs=3)
    scale = "return Number(document.getElementById('stage').style.getPropertyValue('--scale'))"
    before = page.js(scale)
    touch("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 7):
        touch("touchMove", (x - 30 - 10 * step, y), (x + 30 + 10 * step, y))
    touch("touchEnd")
    assert page.js(scale) == pytest.approx(3 * before, rel=0.1)


def test_the_files_of_the_page_name_no_other_host_and_no_inline_style() -> None:
    files = list((Path(latefusion.__file__).parent / "server" / "web").iterdir())
    assert {path.suffix for path in files} == {".html", ".css", ".js", ".svg"}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(?i)https?://(?!www\.w3\.org/2000/svg)|innerHTML| style=", text) == []


def test_the_document_of_the_api_is_shown_without_another_host(page: Page) -> None:
    page.browser.get(f"{page.address.rstrip('/')}/docs")
    page.wait("document.querySelectorAll('.opblock').length > 5")
    shown = page.js(
        "return [...document.querySelectorAll('.opblock-summary-path')].map("
        "path => path.dataset.path)"
    )
    assert {"/api/matte", "/api/batch", "/api/remove", "/v1.0/removebg", "/healthz"} <= set(shown)
