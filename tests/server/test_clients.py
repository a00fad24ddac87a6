"""Clients of others, as they come from PyPI, against a running server."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from removebg import RemoveBg, removebg

from tests.helpers.serving import SAMPLE, Serving, serving

KEY = "correct horse"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("clients"), key=KEY) as running:
        yield running


@pytest.fixture
def address(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has remove.bg's address as a constant."""
    monkeypatch.setattr(removebg, "API_ENDPOINT", f"{server.url}/v1.0/removebg")


def client(folder: Path, key: str = KEY) -> RemoveBg:
    return RemoveBg(key, str(folder / "errors.log"))


def check(path: Path, mode: str, size: tuple[int, int]) -> None:
    with Image.open(path) as image:
        assert (image.mode, image.size) == (mode, size)
        corner = np.asarray(image)[10, 10]
    assert corner[3] == 0 if mode == "RGBA" else abs(corner.astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.usefixtures("address")
def test_removebg_from_pypi_cuts_out_a_file(tmp_path: Path) -> None:
    photo = tmp_path / "me.jpg"
    photo.write_bytes(SAMPLE.read_bytes())
    client(tmp_path).remove_background_from_img_file(str(photo))  # size regular: 0.25 megapixels
    check(tmp_path / "me.jpg_no_bg.png", "RGBA", (500, 500))


@pytest.mark.usefixtures("address")
def test_removebg_from_pypi_cuts_out_base64_with_line_breaks(tmp_path: Path) -> None:
    text = base64.encodebytes(SAMPLE.read_bytes()).decode()
    target = tmp_path / "me.png"
    cutting = client(tmp_path)
    cutting.remove_background_from_base64_img(text, "full", str(target), bg_color="red")
    check(target, "RGB", (512, 512))


@pytest.mark.usefixtures("address")
def test_removebg_from_pypi_raises_where_it_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "me.png"
    for key, address, status in ((KEY, "http://127.0.0.1/me.jpg", 400), ("wrong", "", 403)):
        with pytest.raises(requests.HTTPError) as refused:
            client(tmp_path, key).remove_background_from_img_url(address, "full", str(target))
        answer = refused.value.response
        assert answer is not None
        assert answer.status_code == status
        assert list(answer.json()["errors"][0]) == ["title", "code"]
    assert not target.exists()
