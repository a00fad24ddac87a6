"""The work on one photo: decode, matte, render, encode, as the command does."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from latefusion.errors import ImageError, LatefusionError
from latefusion.folder.batch import turn_of
from latefusion.images.compositing import Background, needs_no_file
from latefusion.images.framing import resize
from latefusion.images.reader_pool import ReaderPool
from latefusion.images.reading import Photo
from latefusion.images.writing import FORMATS_OUT, Picture, write_picture
from latefusion.inference.matte import Matte
from latefusion.inference.outputs import (
    PLAIN,
    TRANSPARENT,
    VISIBLE,
    Look,
    refuse_misfit,
    render,
)
from latefusion.inference.predictor import Predictor
from latefusion.rembg import is_foreign, removed
from latefusion.server.limits import Limits
from latefusion.server.options import MatteOptions, RemovebgOptions, RemoveOptions
from latefusion.server.queue import Check

MEDIA_TYPES = {
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "JPEG": "image/jpeg",
}
MEGAPIXELS = {
    "preview": 0.25,
    "small": 0.25,
    "regular": 0.25,
    "medium": 1.5,
    "hd": 4,
    "4k": 10,
    "50mp": 50,
}
MARGIN = 0.0  # remove.bg's


@dataclass(frozen=True)
class Order:
    """A request, checked as far as possible without the photo."""

    predictor: Callable[[Check], Predictor]
    make: Callable[[Matte, Background | None], Picture]  # with the background image
    format: str = "PNG"  # one of writing.FORMATS
    behind: bytes | None = None  # an encoded background image
    most_pixels: float = math.inf  # a larger photo is reduced first
    ignored: Sequence[str] = ()  # names of options without effect


class Frame(NamedTuple):
    """The size of a result, and the box of the subject in the photo, in its pixels."""

    width: int
    height: int
    left: int
    top: int
    subject_width: int
    subject_height: int


class Facts(NamedTuple):
    """What is known of a matte; the fields are those of `Matte`."""

    subject_found: bool
    confidence: float
    notes: Sequence[str]
    warnings: Sequence[str]


class Result(NamedTuple):
    """An encoded picture and its facts."""

    data: bytes
    media_type: str
    seconds: float
    facts: Facts
    device: str
    pixels: int
    frame: Frame


def order_matte(base: Predictor, wish: MatteOptions, behind: bytes | None) -> Order:
    """Order the same as `latefusion matte` with these options. Raises LatefusionError."""
    format = FORMATS_OUT[f".{wish.format}"]
    look = replace(wish.over(PLAIN), background=_background(wish.background, behind))
    refuse_misfit([wish.save], format, look)
    predictor = partial(base.sharing, wish.over(base.options))
    return Order(predictor, partial(_rendered, wish.save, look), format, behind)


def _background(text: str, behind: bytes | None) -> Background:
    """A colour or a blur; never a file of this machine, because a client wrote the text."""
    if behind is not None:
        if text != TRANSPARENT:
            raise LatefusionError("background and background_image are given; send one of them")
        return behind
    if text != TRANSPARENT and not needs_no_file(text):
        raise ImageError(
            f"background {text!r} is neither a colour nor a blur; use e.g. white, #1e90ff or"
            " blur:20, or send an image as the file background_image"
        )
    return text


def _rendered(kind: str, look: Look, matte: Matte, behind: Background | None) -> Picture:
    return render(matte, kind, look if behind is None else replace(look, background=behind))


def order_remove(base: Predictor, wish: RemoveOptions) -> Order:
    """Order the same as rembg's `remove` with these options. Raises LatefusionError."""
    if wish.model != "lite" and not is_foreign(wish.model):
        raise LatefusionError(f"unknown model {wish.model!r}; leave it out, or use u2net")
    colour = tuple(int(level) for level in wish.bgc.split(",")) if wish.bgc else None

    def make(matte: Matte, _: Background | None) -> Picture:
        return removed(matte, wish.om, wish.ppm, colour)

    return Order(partial(base.sharing, base.options), make, ignored=wish.ignored)


def order_removebg(base: Predictor, wish: RemovebgOptions, behind: bytes | None = None) -> Order:
    """Order the same as remove.bg with these options. Raises LatefusionError."""
    wish.check()
    kind = {"rgba": "cutout", "alpha": "alpha"}[wish.channels]
    colour = _hex(wish.bg_color) if wish.bg_color else None
    background = _background(colour or TRANSPARENT, behind)
    # Without metadata, as remove.bg's results are.
    look = Look(background, crop=wish.crop, margin=MARGIN, strip=True)
    opaque = kind == "alpha" or not look.transparent
    suffix = {"auto": "jpg" if opaque and kind == "cutout" else "png"}.get(wish.format, wish.format)
    format = FORMATS_OUT[f".{suffix}"]
    refuse_misfit([kind], format, look)
    most = 1e6 * MEGAPIXELS.get(wish.size, math.inf)
    predictor = partial(base.sharing, base.options)
    make = partial(_rendered, kind, look)
    return Order(predictor, make, format, behind, most, ignored=wish.ignored)


def _hex(colour: str) -> str:
    """A colour with #, which remove.bg lets clients leave out."""
    digits = set(colour.lower()) <= set("0123456789abcdef") and len(colour) in (3, 6)
    return f"#{colour}" if digits else colour


def fulfil(order: Order, data: bytes, limits: Limits, readers: ReaderPool, check: Check) -> Result:
    """Do one photo within `limits`, from its bytes to those of the result.

    Raises LatefusionError, and the exceptions of `check`, which is called between the steps.
    """
    start = perf_counter()

    def read(data: bytes) -> Photo:
        allowed: dict[str, Any] = {"most_pixels": limits.pixels, "formats": limits.formats}
        return readers.read(data, check=check, raw=False, **allowed)

    behind = read(order.behind) if order.behind else None
    whole = read(data)
    photo = _fitted(whole, order.most_pixels)
    check()
    pixels = photo.image.shape[0] * photo.image.shape[1]
    predictor = order.predictor(check)
    with turn_of(pixels, predictor.options.tiles):
        found = predictor.of(photo)
        check()
        picture = order.make(found, behind)
        check()
        stream = io.BytesIO()
        write_picture(stream, picture, order.format, "the result")
    return Result(
        stream.getvalue(),
        MEDIA_TYPES[order.format],
        perf_counter() - start,
        Facts(found.subject_found, round(found.confidence, 4), found.notes, found.warnings),
        predictor.device,
        pixels,
        _frame(picture, found, whole.image.shape),
    )


def _frame(picture: Picture, matte: Matte, shape: tuple[int, ...]) -> Frame:
    rows, columns = (np.flatnonzero((matte.alpha > VISIBLE).any(axis=axis)) for axis in (1, 0))
    height, width = picture.pixels.shape[:2]
    if not matte.subject_found:
        return Frame(width, height, 0, 0, 0, 0)
    down, across = shape[0] / matte.alpha.shape[0], shape[1] / matte.alpha.shape[1]
    left, right = (round(across * edge) for edge in (int(columns[0]), int(columns[-1]) + 1))
    top, bottom = (round(down * edge) for edge in (int(rows[0]), int(rows[-1]) + 1))
    return Frame(width, height, left, top, right - left, bottom - top)


def _fitted(photo: Photo, most_pixels: float) -> Photo:
    height, width = photo.image.shape[:2]
    scale = math.sqrt(most_pixels / (height * width))
    if scale >= 1:
        return photo
    size = max(1, int(height * scale)), max(1, int(width * scale))
    opacity = None if photo.opacity is None else resize(photo.opacity, size)
    return photo._replace(image=resize(photo.image, size), opacity=opacity)
