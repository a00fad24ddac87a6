"""The routes: what each takes, gives and refuses. In this process; see test_process.py."""

import base64
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from latefusion import Predictor, remove
from latefusion.cli import app as commands
from latefusion.errors import LatefusionError
from latefusion.images.framing import resize
from latefusion.images.writing import FORMATS_OUT
from latefusion.inference.options import DEFAULTS, MattingOptions, declared
from latefusion.inference.outputs import KINDS, Kind, Look, Suffix
from latefusion.server import bodies
from latefusion.server.app import create_app
from latefusion.server.bodies import SLICE
from latefusion.server.callers import Callers
from latefusion.server.forms import Upload
from latefusion.server.limits import BATCH_PHOTOS
from latefusion.server.options import MatteOptions
from latefusion.server.refusals import refuse
from latefusion.server.zips import entry_names
from tests.helpers.service import encoded, error_of, lopsided, pixels_of, service

SAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
PHOTO = SAMPLE.read_bytes()
KEY = "correct horse"


@pytest.fixture
def toy(toy_model: Path) -> Iterator[TestClient]:
    with TestClient(create_app(service(toy_model)), raise_server_exceptions=True) as client:
        yield client


def test_the_result_is_that_of_the_command(tmp_path: Path) -> None:
    with TestClient(create_app(service())) as client:
        cases = [
            ([], {}, "png"),
            (["--save", "alpha", "--bits", "16", "--refine", "off"],
             {"save": "alpha", "bits": "16", "refine": "off"}, "tiff"),
            (["--background", "blur:8", "--linear", "--crop", "--margin", "0.2"],
             {"background": "blur:8", "linear": "true", "crop": "1", "margin": "0.2"}, "jpg"),
        ]  # fmt: skip
        for number, (options, fields, format) in enumerate(cases):
            target = tmp_path / f"{number}.{format}"
            done = CliRunner().invoke(commands, ["matte", str(SAMPLE), "-o", str(target), *options])
            assert done.exit_code == 0, done.output
            form = {**fields, "format": format}
            found = client.post("/api/matte", files={"image": PHOTO}, data=form)
            assert found.content == target.read_bytes()
            assert 0 < float(found.headers["x-latefusion-seconds"]) < 60
            assert 0 <= float(found.headers["x-latefusion-confidence"]) <= 1
            assert found.headers["x-latefusion-device"] == "cpu"


def test_options_are_the_same_in_query_and_form_and_the_form_counts(toy: TestClient) -> None:
    photo = encoded(lopsided())
    whole = toy.post("/api/matte?save=alpha", content=photo)
    assert whole.headers["content-type"] == "image/png"
    assert pixels_of(whole.content).shape == (60, 90)
    form = toy.post("/api/matte", files={"image": photo}, data={"save": "alpha"})
    assert form.content == whole.content
    both = toy.post("/api/matte?save=trimap", files={"image": photo}, data={"save": "alpha"})
    assert both.content == whole.content
    empty = toy.post("/api/matte?save=alpha&subject=", files={"image": photo}, data={"bits": ""})
    assert empty.content == whole.content


def test_a_crop_goes_round_the_subject(toy: TestClient) -> None:
    options = "crop=true&margin=0&save=alpha&refine=off"
    found = pixels_of(toy.post(f"/api/matte?{options}", content=encoded(lopsided())).content)
    assert np.abs(np.subtract(found.shape, (40, 30))).max() <= 4


@pytest.mark.parametrize(
    ("format", "media_type"),
    [("webp", "image/webp"), ("tiff", "image/tiff"), ("jpg", "image/jpeg"), ("png", "image/png")],
)
def test_the_format_is_what_the_content_type_says(
    toy: TestClient, format: str, media_type: str
) -> None:
    found = toy.post(f"/api/matte?save=alpha&format={format}", content=encoded(lopsided()))
    assert found.headers["content-type"] == media_type
    with Image.open(io.BytesIO(found.content)) as image:
        assert image.get_format_mimetype() == media_type


def test_a_background_image_comes_as_a_file(toy: TestClient) -> None:
    blue = encoded(np.full((8, 8, 3), (0, 0, 255), np.uint8))
    files = {"image": encoded(lopsided()), "background_image": blue}
    found = pixels_of(toy.post("/api/matte", files=files).content)
    assert found.shape == (60, 90, 3)
    assert np.abs(found[30, 80].astype(int) - (0, 0, 255)).max() <= 2  # the wall is gone
    assert found[30, 20].min() > 250
    twice = toy.post("/api/matte", files=files, data={"background": "red"})
    assert "send one" in error_of(twice, 400)


@pytest.mark.parametrize(
    "background", ["{sample}", "/etc/passwd", "../{sample}", "file:///etc/passwd", "http://a.b/c"]
)
def test_a_background_is_never_a_file_of_the_server(toy: TestClient, background: str) -> None:
    text = background.format(sample=SAMPLE)
    found = toy.post("/api/matte", files={"image": PHOTO}, data={"background": text})
    assert "neither a colour nor a blur" in error_of(found, 400)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("save=everything", "save: Input should be 'cutout'"),
        ("sav=alpha", "unknown option sav; see /docs"),
        ("margin=nan", "margin: "),
        ("margin=11", "margin: "),
        ("bits=12", "bits: "),
        ("bits=x", "bits: "),
        ("framing=close", "framing: "),
        ("subject=me", "unknown subject 'me'"),
        ("subject=500,3", "outside of the 90 x 60 photo"),
        ("background=nocolour", "neither a colour nor a blur"),
        ("background=blur:x", "is not a blur"),
        ("format=jpg", "a cut-out is transparent, which JPEG cannot be"),
        ("format=webp&save=alpha&bits=16", "16 bits need png or tiff"),
        ("format=gif", "format: "),
        ("crop=perhaps", "crop: "),
    ],
)
def test_a_wrong_option_is_one_line(toy: TestClient, query: str, message: str) -> None:
    assert message in error_of(toy.post(f"/api/matte?{query}", content=encoded(lopsided())), 400)
    fields = dict(pair.split("=") for pair in query.split("&"))
    form = toy.post("/api/matte", files={"image": encoded(lopsided())}, data=fields)
    assert message.partition(";")[0] in error_of(form, 400)


def test_bodies_that_are_none(toy: TestClient) -> None:
    kinds = {"content-type": "text/html"}
    assert "use multipart" in error_of(toy.post("/api/matte", content=PHOTO, headers=kinds), 415)
    urlencoded = toy.post("/api/matte", data={"save": "alpha"})
    assert "with curl add" in error_of(urlencoded, 415)
    assert "is empty" in error_of(toy.post("/api/matte"), 400)
    assert "is not an image" in error_of(toy.post("/api/matte", content=b"nothing"), 400)
    raw = error_of(toy.post("/api/matte", content=b"FUJIFILMCCD-RAW 0201" + bytes(90)), 400)
    assert raw.endswith("develop it to TIFF or JPEG")  # no decoder of RAW files is open to the net
    rare = error_of(toy.post("/api/matte", content=encoded(lopsided(), "BMP")), 400)
    assert rare.endswith("is a BMP, which is not taken here; send a JPEG or PNG")
    half = encoded(lopsided(), "JPEG")
    assert "cut short" in error_of(toy.post("/api/matte", content=half[: len(half) // 2]), 400)
    assert "no photo" in error_of(toy.post("/api/matte", files={"save": (None, "alpha")}), 400)
    two: list[tuple[str, Any]] = [("image", PHOTO), ("image", PHOTO)]
    assert "send one" in error_of(toy.post("/api/matte", files=two), 400)
    other = toy.post("/api/matte", files={"img": PHOTO})
    assert "this route has no file field 'img'; use image" in error_of(other, 400)
    boundless = {"content-type": "multipart/form-data"}
    assert "broken" in error_of(toy.post("/api/matte", content=b"x", headers=boundless), 400)
    kinds = {"content-type": "multipart/form-data; boundary=b; charset=undefined"}
    form = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff.\xff\r\n--b--\r\n'
    assert "not UTF-8" in error_of(toy.post("/api/matte", content=form, headers=kinds), 400)
    contradiction: list[tuple[str, Any]] = [
        ("save", (None, "alpha")),
        ("save", (None, "doubt")),
        ("image", PHOTO),
    ]
    assert "gives 'save' twice" in error_of(toy.post("/api/matte", files=contradiction), 400)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}", "too many parts"),
        (json.dumps({f"k{i}": 1 for i in range(200)}).encode(), "more than 40 fields"),
        (b'{"\\ud800": 1}', "not JSON"),  # an answer could not repeat it
        (b'{"bg_color": "\\udfff"}', "not JSON"),
        (b'{"size": ' + b"[" * 900 + b"]" * 900 + b"}", "not JSON"),
        (b'{"size": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"size": 1e999}', "size: "),
        (b'{"image_file_b64": "' + b"\\n" * 150_000 + b'"}', "too many backslashes"),
        (b'{"image_file_b64": "' + b"A" * 150_000 + "😀".encode() + b'"}', "outside ASCII"),
        (b'{"image_file_b64": "' + b"A" * 150_000 + b'\\ud83d\\ude00"}', "the JSON is broken"),
        (b'{"image_file_b64": "' + b"A" * 11_000 + "é".encode() + b'"}', "outside ASCII"),
        (b'{"image_file_b64": "' + b"A" * 11_000 + b'\\u00e9"}', "outside ASCII"),
        (b'{"bg_color": "' + b"a" * 11_000 + b'"}', "'bg_color' is over 10000 letters"),
        (b'{"' + b"a" * 300 + b'": 1}', "a name in the form is over 200 letters"),
        ('{"size": "auto"}'.encode("utf-16"), "not JSON"),
    ],
)
def test_json_of_many_parts_is_refused_before_it_is_looked_at(
    toy: TestClient, body: bytes, fault: str
) -> None:
    kind = {"content-type": "application/json"}
    assert fault in error_of(toy.post("/v1.0/removebg", content=body, headers=kind), 400)


def test_an_escape_that_comes_byte_by_byte_is_seen(
    toy: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLICE", 1)
    body = b'{"image_file_b64": "\\u0101' + b"A" * 110_000 + b'"}'
    kind = {"content-type": "application/json"}
    found = error_of(toy.post("/v1.0/removebg", content=body, headers=kind), 400)
    assert "the JSON is broken: a field with letters outside ASCII" in found


@pytest.mark.parametrize("cut", range(7))
def test_an_escape_that_is_cut_by_the_slices_is_seen(toy: TestClient, cut: int) -> None:
    start = b'{"image_file_b64": "'
    letters = b"A" * (2 * SLICE - len(start) - cut)  # the second slice ends inside the escape
    body = start + letters + b"\\u0101" + b"A" * SLICE + b'"}'
    kind = {"content-type": "application/json"}
    found = error_of(toy.post("/v1.0/removebg", content=body, headers=kind), 400)
    assert "the JSON is broken: a field with letters outside ASCII" in found


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"image_file_b64=" + b"%" * 300_000, "not valid base64"),
        (b"bg_color=" + b"%41" * 11_000, "'bg_color' is over 10000 letters"),
        (b"a=1&" * 50, "more than 40 fields"),
        (b"a" * 300 + b"=1", "a name in the form"),
        (b"size=%ff", "not UTF-8"),
        (b"size=%ed%a0%80", "not UTF-8"),  # half of a surrogate pair
        (b"image_file_b64=" + b"A" * 11_000 + b"%c3%a9", "outside ASCII"),
        (b"size=auto&size=full", "gives 'size' twice"),
    ],
)
def test_urlencoded_forms_are_limited(toy: TestClient, body: bytes, fault: str) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert fault in error_of(toy.post("/v1.0/removebg", content=body, headers=kind), 400)


def test_text_in_a_multipart_form_is_limited(toy: TestClient) -> None:
    for text, fault in (("A" * 11_000 + "é", "outside ASCII"), ("é" * 200, "not valid base64")):
        found = toy.post("/v1.0/removebg", files={"image_file_b64": (None, text)})
        assert fault in error_of(found, 400)
    found = toy.post("/api/matte", files={"background": (None, "a" * 11_000), "image": PHOTO})
    assert "over 10000 letters" in error_of(found, 400)


def test_a_large_photo_in_base64_is_read_in_another_thread(toy: TestClient) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    text = base64.b64encode(encoded(noise)).decode()
    assert len(text) > 200_000
    for sent in ({"json": {"image_file_b64": text}}, {"data": {"image_file_b64": text}}):
        found = toy.post("/v1.0/removebg", **sent)  # type: ignore[arg-type]
        assert pixels_of(found.content).shape == (300, 200, 4)


def test_an_answer_can_repeat_any_text() -> None:
    found = refuse(400, "unknown option \ud800é")
    assert json.loads(bytes(found.body)) == {"error": "unknown option \\ud800é"}


def test_names_in_a_zip_fit_any_disk() -> None:
    names = entry_names([Upload("人" * 200 + ".jpg", b"")] * 2, "-foreground.tiff")
    assert len(set(names)) == 2
    assert max(len(name.encode()) for name in names) < 255


def test_what_an_image_says_it_is_does_not_count(toy: TestClient) -> None:
    lie = {"content-type": "image/tiff"}
    assert toy.post("/api/matte", content=encoded(lopsided()), headers=lie).status_code == 200
    lie = {"content-type": "image/png"}
    assert "SVG" in error_of(toy.post("/api/matte", content=b"<svg/>", headers=lie), 400)


def test_paths_and_methods_that_are_none(toy: TestClient) -> None:
    error_of(toy.get("/api/matte"), 405)
    error_of(toy.get("/nowhere"), 404)
    error_of(toy.get("/..%2f..%2fetc%2fpasswd"), 404)
    error_of(toy.get("//etc/passwd"), 404)
    error_of(toy.put("/healthz"), 405)


def test_rembg_clients_get_what_remove_gives() -> None:
    base = service()
    photo = encoded(pixels_of(PHOTO)[100:340, 60:400])
    with TestClient(create_app(base)) as client:
        plain = client.post("/api/remove", files={"file": photo})
        assert plain.headers["content-type"] == "image/png"
        assert plain.content == remove(photo, session=base.predictor)
        form = {"om": "true", "ppm": "true", "model": "isnet-general-use", "a": "true", "af": "240"}
        mask = client.post("/api/remove", files={"file": photo}, data=form)
        wanted = remove(photo, session=base.predictor, only_mask=True, post_process_mask=True)
        assert mask.content == wanted
        red = client.post("/api/remove?bgc=255,0,0,255", files={"file": photo})
        assert red.content == remove(photo, session=base.predictor, bgcolor=(255, 0, 0, 255))
        assert "x-latefusion-ignored" not in plain.headers
        assert mask.headers["x-latefusion-ignored"] == "model, a"
        others = "model=sam&ab=20&ae=5&af=99&dc=1&vm=1&extras={}"
        found = client.post(f"/api/remove?{others}", content=photo)
        assert found.content == plain.content
        assert found.headers["x-latefusion-ignored"] == "model, af, ab, ae, dc, vm, extras"
        wrong = client.post("/api/remove?model=sam2", content=photo)
        assert "unknown model" in error_of(wrong, 400)
        assert "url: " in error_of(client.get("/api/remove"), 400)
        by_url = client.get("/api/remove?url=http://example.com/me.jpg")
        assert "does not accept image_url or url" in error_of(by_url, 400)
        assert "bgc is not r,g,b,a" in error_of(
            client.post("/api/remove?bgc=red", content=photo), 400
        )
        assert "not" in error_of(client.post("/api/remove?bgc=1,2,3,999", content=photo), 400)


def test_removebg_clients_get_what_they_ask_for(toy: TestClient) -> None:
    image = lopsided(600, 900)
    image[100:500, 50:350] = 255
    photo = encoded(image)
    route = "/v1.0/removebg"
    whole = toy.post(route, files={"image_file": photo})
    assert whole.headers["content-type"] == "image/png"
    assert pixels_of(whole.content).shape == (600, 900, 4)
    small = toy.post(route, files={"image_file": photo}, data={"size": "preview"})
    height, width = pixels_of(small.content).shape[:2]
    assert 240_000 < height * width <= 250_000
    assert width / height == pytest.approx(1.5, abs=0.01)
    text = base64.b64encode(photo).decode()
    on_blue = {"image_file_b64": text, "bg_color": "0000ff", "crop": "true"}
    for found in (toy.post(route, data=on_blue), toy.post(route, json=on_blue | {"crop": True})):
        assert found.headers["content-type"] == "image/jpeg"
        assert pixels_of(found.content).shape[1] < 500
    lines = base64.encodebytes(photo).decode().replace("\n", "\r\n")
    for given in (f"data:image/png;base64,{text}", lines):
        uri = {"image_file_b64": given, "channels": "alpha"}
        for sent in ({"json": uri}, {"data": uri}):
            assert pixels_of(toy.post(route, **sent).content).shape == (600, 900)  # type: ignore[arg-type]


def test_removebg_says_where_the_subject_is_in_the_photo_that_was_sent(toy: TestClient) -> None:
    image = lopsided(600, 900)
    image[:] = (200, 0, 0)
    image[100:500, 50:350] = 255
    files = {"image_file": encoded(image)}
    crop = {"crop": "true", "size": "full"}
    for fields, size in (({}, (900, 600)), ({"size": "preview"}, (612, 408)), (crop, (300, 400))):
        headers = toy.post("/v1.0/removebg", files=files, data=fields).headers
        place = [
            int(headers[f"x-foreground-{name}"]) for name in ("left", "top", "width", "height")
        ]
        assert np.abs(np.subtract(place, (50, 100, 300, 400))).max() <= 8
        found = int(headers["x-width"]), int(headers["x-height"])
        assert np.abs(np.subtract(found, size)).max() <= 8
        assert (headers["x-type"], headers["x-credits-charged"]) == ("person", "0")
    nobody = toy.post("/v1.0/removebg", files={"image_file": encoded(image[:, 500:])}).headers
    assert (nobody["x-type"], nobody["x-foreground-width"]) == ("other", "0")


def test_removebg_answers_in_json_where_that_comes_first_in_accept(toy: TestClient) -> None:
    files = {"image_file": encoded(lopsided())}
    for accept in ("application/json", "Application/JSON; q=1, image/*, */*"):
        found = toy.post("/v1.0/removebg", files=files, headers={"accept": accept})
        data = found.json()["data"]
        assert pixels_of(base64.b64decode(data.pop("result_b64"))).shape == (60, 90, 4)
        assert {name: str(value) for name, value in data.items()} == {
            f"foreground_{name}": found.headers[f"x-foreground-{name}"]
            for name in ("top", "left", "width", "height")
        }
    for accept in ("*/*", "image/*, application/json"):
        found = toy.post("/v1.0/removebg", files=files, headers={"accept": accept})
        assert found.headers["content-type"] == "image/png"


def test_removebg_names_the_options_that_it_ignores(toy: TestClient) -> None:
    files = {"image_file": encoded(lopsided())}
    neutral = {"type": "person", "roi": "0% 0% 100% 100%", "scale": "original", "crop_margin": "0"}
    assert (
        "x-latefusion-ignored" not in toy.post("/v1.0/removebg", files=files, data=neutral).headers
    )
    ignored = {"type": "product", "type_level": "2", "semitransparency": "false"}
    found = toy.post("/v1.0/removebg", files=files, data=ignored)
    assert found.headers["x-latefusion-ignored"] == "type, type_level, semitransparency"


def test_a_background_of_removebg_comes_as_a_file(toy: TestClient) -> None:
    blue = np.full((10, 20, 3), (0, 0, 255), np.uint8)
    files = {"image_file": encoded(lopsided()), "bg_image_file": encoded(blue)}
    found = toy.post("/v1.0/removebg", files=files)
    assert found.headers["content-type"] == "image/jpeg"
    assert pixels_of(found.content)[5, 80].tolist() == pytest.approx([0, 0, 255], abs=12)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/v1.0/nothing", 404, "invalid_request"), ("/v1.0/removebg", 405, "invalid_request")],
)
def test_all_errors_of_removebg_have_its_form(
    toy: TestClient, path: str, status: int, code: str
) -> None:
    found = toy.get(path)
    error_of(found, status)
    assert found.json()["errors"][0]["code"] == code
    kind = toy.post("/v1.0/removebg", content=b"a", headers={"content-type": "text/plain"})
    assert error_of(kind, 415)
    toy.app.state.service.draining = True  # type: ignore[attr-defined]
    assert "shutting down" in error_of(toy.post("/v1.0/removebg", content=b""), 503)


@pytest.mark.parametrize("name", ["png", "PNG", "jpg", "JPEG", "jpeg", "tif", "Tiff", "webp"])
def test_formats_have_the_names_that_the_command_knows(toy: TestClient, name: str) -> None:
    photo, behind = encoded(lopsided()), {"background": "white", "format": name}
    with Image.open(
        io.BytesIO(toy.post("/api/matte", params=behind, content=photo).content)
    ) as image:
        assert image.format == FORMATS_OUT[f".{name.lower()}"]
    on_white = {"format": name, "bg_color": "fff"}
    found = toy.post("/v1.0/removebg", files={"image_file": photo}, data=on_white)
    assert found.headers["content-type"] == f"image/{FORMATS_OUT[f'.{name.lower()}'].lower()}"


def test_a_quality_is_for_what_loses_something(toy: TestClient) -> None:
    photo = encoded(pixels_of(PHOTO)[:200])
    sizes = {}
    for format in ("jpg", "webp"):
        for quality in ("", "90", "20"):
            query = {"background": "blur", "format": format, "quality": quality}
            sizes[format, quality] = len(
                toy.post("/api/matte", params=query, content=photo).content
            )
    assert sizes["jpg", ""] > sizes["jpg", "90"] > sizes["jpg", "20"]
    assert sizes["webp", ""] > sizes["webp", "90"] > sizes["webp", "20"]
    lossless = toy.post("/api/matte?quality=90", content=photo)
    assert "quality has no meaning in PNG" in error_of(lossless, 400)
    assert "quality: " in error_of(toy.post("/api/matte?format=jpg&quality=0", content=photo), 400)


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/version", "/metrics", "/", "/page.js", "/openapi.json"]
)
def test_state_and_page_answer_head(toy: TestClient, path: str) -> None:
    while toy.get("/readyz").status_code != 200:
        pass
    found = toy.head(path)
    assert found.status_code == 200
    assert found.headers["content-type"] == toy.get(path).headers["content-type"]


def test_the_viewer_of_the_document_asks_no_other_host(toy: TestClient) -> None:
    viewer = toy.get("/docs").text
    found = re.findall(r"""(?:src|href)=["']([^"']+)""", viewer)
    assert len(found) >= 3
    for address in found:
        assert address.startswith("/")
        assert toy.get(address).status_code == 200
    assert '"validatorUrl": null' in viewer
    error_of(toy.get("/redoc"), 404)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "send one of image_file, image_file_b64 and image_url"),
        ({"image_file_b64": "a", "image_url": "http://a.b"}, "send one of"),
        ({"image_file_b64": "no base64!"}, "is not valid base64"),
        ({"image_url": "http://example.com/a.jpg"}, "does not accept image_url"),
        ({"image_file_b64": "aaaa", "size": "huge"}, "size: "),
        ({"image_file_b64": "aaaa", "bg_color": "/etc/passwd"}, "neither a colour"),
        ({"image_file_b64": "aaaa", "roi": "1 2 3 4"}, "roi is not supported and would change"),
        ({"image_file_b64": "aaaa", "scale": "50%"}, "scale is not supported"),
        ({"image_file_b64": "aaaa", "position": "center"}, "position is not supported"),
        ({"image_file_b64": "aaaa", "crop_margin": "10%"}, "crop_margin is not supported"),
        ({"image_file_b64": "aaaa", "add_shadow": True}, "add_shadow is not supported"),
        ({"image_file_b64": "aaaa", "bg_image_url": "http://a.b"}, "bg_image_url is not fetched"),
        ({"image_file_b64": "aaaa", "format": "zip"}, "format: "),
        ({"image_file_b64": "aaaa", "colour": "red"}, "unknown option colour"),
        ({"image_file_b64": "aaaa", "format": "jpg"}, "transparent"),
        ({"image_file_b64": ["aaaa"]}, "neither text nor a number"),
    ],
)
def test_a_wrong_field_of_removebg_is_one_line(
    toy: TestClient, fields: dict[str, object], message: str
) -> None:
    assert message in error_of(toy.post("/v1.0/removebg", json=fields), 400)


@pytest.mark.parametrize("body", [b"", b"[]", b"nothing", b"[" * 100_000, b"\xff"])
def test_json_that_is_none(toy: TestClient, body: bytes) -> None:
    kind = {"content-type": "application/json"}
    assert "JSON" in error_of(toy.post("/v1.0/removebg", content=body, headers=kind), 400)


def test_a_batch_is_a_zip_with_a_manifest(toy: TestClient) -> None:
    good, bad = encoded(lopsided()), b"no photo"
    names = ["a.png", "sub/a.jpg", "../../a.png", "C:\\x\\b.png", "con\x00\n.png", "", "é" * 200]
    files = [("image", (name or "/", good)) for name in names] + [("image", ("bad.png", bad))]
    found = toy.post("/api/batch?save=alpha", files=files)
    assert found.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        assert archive.testzip() is None
        entries = archive.namelist()
        lines = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
        single = toy.post("/api/matte?save=alpha", content=good).content
        assert archive.read("a-alpha.png") == single
    assert entries[-1] == "manifest.jsonl"
    assert len(entries) == len(names) + 1 == len(set(entries))
    assert {"a-alpha.png", "a-2-alpha.png", "a-3-alpha.png", "b-alpha.png"} <= set(entries)
    assert not [name for name in entries if set(name) & set("/\\:\0\n") or name[0] in "./"]
    assert max(map(len, entries)) <= 100
    assert [line["photo"] for line in lines][-1] == "bad.png"
    assert "is not an image" in lines[-1]["error"]
    assert all(0 <= line["confidence"] <= 1 for line in lines[:-1])


def test_a_batch_of_nothing_or_too_much(toy: TestClient) -> None:
    assert "send 1 to" in error_of(toy.post("/api/batch", files={"save": (None, "alpha")}), 400)
    many = [("image", ("a.png", b"x"))] * (BATCH_PHOTOS + 2)
    assert "Too many files" in error_of(toy.post("/api/batch", files=many), 400)
    error_of(toy.post("/api/batch", content=PHOTO), 415)
    wrong = toy.post("/api/batch?format=jpg", files={"image": PHOTO})
    assert "transparent" in error_of(wrong, 400)


def test_a_key_opens_what_takes_photos(toy_model: Path) -> None:
    with TestClient(create_app(service(toy_model, key=KEY))) as client:
        photo = encoded(lopsided())
        for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Bearer corréct"},
                        {"authorization": f"Basic {KEY}"}):  # fmt: skip
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            refused = client.post("/api/matte?save=no", content=photo, headers=raw)
            assert "key" in error_of(refused, 401)
            error_of(client.get("/metrics", headers=raw), 401)
            for route in ("/api/remove", "/api/batch"):
                error_of(client.post(route, content=photo, headers=raw), 401)
            refused = client.post("/v1.0/removebg", content=photo, headers=raw)
            assert "key" in error_of(refused, 403)  # as remove.bg has it
            assert refused.json()["errors"][0]["code"] == "auth_failed"
        for headers in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
            assert client.post("/api/matte", content=photo, headers=headers).status_code == 200
        for path in ("/", "/healthz", "/readyz", "/version", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_other_origins_are_let_in_only_where_they_are_named(toy_model: Path) -> None:
    origin = {"origin": "https://me.org"}
    with TestClient(create_app(service(toy_model))) as client:
        found = client.post("/api/matte", content=encoded(lopsided()), headers=origin)
        assert "other origins" in error_of(found, 403)
        assert not [name for name in found.headers if name.startswith("access-control")]
    with TestClient(create_app(service(toy_model), Callers(origins=["https://me.org"]))) as client:
        found = client.post("/api/matte", content=encoded(lopsided()), headers=origin)
        assert found.headers["access-control-allow-origin"] == "https://me.org"
        assert "X-Latefusion-Confidence" in found.headers["access-control-expose-headers"]
        other = client.get("/version", headers={"origin": "https://you.org"})
        assert "access-control-allow-origin" not in other.headers


def test_the_state_is_told(toy: TestClient) -> None:
    assert toy.get("/healthz").json() == {"status": "ok"}
    while (ready := toy.get("/readyz")).status_code != 200:  # no longer than the network loads
        assert "loading" in error_of(ready, 503)
    assert ready.json() == {"status": "ready"}
    assert toy.get("/version").json()["version"]
    toy.post("/api/matte", content=encoded(lopsided()))
    toy.post("/api/matte", content=b"nothing")
    text = toy.get("/metrics").text
    assert 'latefusion_requests_total{route="/api/matte",status="200"} 1.0\n' in text
    assert 'latefusion_requests_total{route="/api/matte",status="400"} 1.0\n' in text
    assert 'latefusion_request_seconds_count{route="/api/matte"} 2.0\n' in text
    assert 'latefusion_photo_seconds_bucket{le="+Inf",route="/api/matte"} 1.0\n' in text
    assert "latefusion_queue_waiting 0.0\n" in text
    assert "latefusion_held_bytes 0.0\n" in text
    assert text.count("# TYPE latefusion_request_seconds histogram") == 1
    assert "_created" not in text


def test_nothing_is_taken_while_draining(toy_model: Path) -> None:
    base = service(toy_model)
    with TestClient(create_app(base)) as client:
        base.draining = True
        found = client.post("/api/matte", content=encoded(lopsided()))
        assert "shutting down" in error_of(found, 503)
        assert "shutting down" in error_of(client.get("/readyz"), 503)
        assert client.get("/healthz").status_code == 200


def test_a_bug_is_json_too(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = service(toy_model)
    monkeypatch.setattr(base.metrics, "text", None)
    with TestClient(create_app(base), raise_server_exceptions=False) as client:
        assert "bug" in error_of(client.get("/metrics"), 500)


def test_the_page_is_served_and_guarded(toy: TestClient) -> None:
    page = toy.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_document_names_what_the_tables_have(toy: TestClient) -> None:
    assert get_args(Kind) == tuple(KINDS)
    assert {f".{name}" for name in get_args(Suffix)} <= set(FORMATS_OUT)
    fields = MatteOptions.model_fields
    options = [*declared(MattingOptions), *declared(Look)]
    known = {each.name for each in options if each.option.clients}
    assert set(fields) == known | {"save", "format"}
    assert {"size", "epsilon"} & set(fields) == set()
    document = toy.get("/openapi.json").json()
    operation = document["paths"]["/api/matte"]["post"]
    assert set(fields) == {parameter["name"] for parameter in operation["parameters"]}
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {*fields, "image", "background_image"}
    assert not [path for path in document["paths"].values() if "422" in str(path)]


def test_a_smaller_photo_is_the_same_photo() -> None:
    from latefusion.images.reading import Photo
    from latefusion.server.orders import _fitted

    image = lopsided()
    opacity = np.linspace(0, 1, 60 * 90, dtype=np.float32).reshape(60, 90)
    small = _fitted(Photo(image, opacity, b"icc", (72, 72)), 1350)
    assert small.image.shape == (30, 45, 3)
    assert small.opacity is not None
    assert np.array_equal(small.opacity, resize(opacity, (30, 45)))
    assert (small.icc, small.dpi) == (b"icc", (72, 72))


def test_one_network_serves_many_wishes(toy_model: Path) -> None:
    base = Predictor(toy_model)
    passes: list[int] = []
    other = base.sharing(MattingOptions(subject="largest"), lambda: passes.append(1))
    image = lopsided()
    image[10:20, 70:80] = 255
    assert base(image).alpha[15, 75] > 0.9
    assert other(image).alpha[15, 75] < 0.1
    assert passes
    assert other.file is base.file
    assert base.options == DEFAULTS
    with pytest.raises(LatefusionError, match=r"epsilon 0\.5 .* give epsilon=0\.0039"):
        base.sharing(MattingOptions(epsilon=0.5))
