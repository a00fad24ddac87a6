"""A service in this process, photos for it and what its answers hold."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from latefusion import Predictor
from latefusion.server.limits import Limits
from latefusion.server.queue import Queue
from latefusion.server.service import Service


def service(model: Path | None = None, **settings: object) -> Service:
    limits = settings.pop("limits", Limits())
    assert isinstance(limits, Limits)
    return Service(Predictor(model, threads=2), Queue(2, limits.queue), limits, **settings)  # type: ignore[arg-type]


def encoded(pixels: np.ndarray, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def lopsided(height: int = 60, width: int = 90) -> np.ndarray:
    """A red wall with a white subject on the left: alpha of the toy network is green + blue (red
    minus green)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 200
    image[10:50, 5:35] = 255
    return image


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def error_of(response: object, status: int) -> str:
    assert response.status_code == status, response.text  # type: ignore[attr-defined]
    found = response.json()  # type: ignore[attr-defined]
    if "/v1.0/" in str(response.url):  # type: ignore[attr-defined]
        assert list(found) == ["errors"]
        [error] = found["errors"]
        assert list(error) == ["title", "code"]
        text = error["title"]
    else:
        assert list(found) == ["error"]
        text = found["error"]
    assert "\n" not in text
    return str(text)
