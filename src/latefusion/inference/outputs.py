"""What can be saved of a matte: each kind as a picture, on a background and cropped as wished."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import OutputError
from latefusion.images.compositing import Background, compose
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import resize, resize_plane
from latefusion.images.levels import to_deep_levels, to_levels
from latefusion.images.writing import FORMATS, Picture
from latefusion.inference.matte import Matte

PANEL_SIDE = 480  # longest side of a picture in a preview
VISIBLE = 0.03  # of alpha: less is not worth a wider crop
GREEN, WHITE = (0, 177, 64), (255, 255, 255)

Into: TypeAlias = Literal["files", "tar", "parquet"]  # where results go
Pixels: TypeAlias = NDArray[Any]  # uint8, or uint16 where deep


@dataclass(frozen=True)
class Look:
    """How results look.

    `background` comes behind the subject of a cut-out, None leaves it transparent: a colour, an
    image, `blur` or `blur:RADIUS` in pixels. `linear` mixes the two in linear light. `margin` crops
    all results to the subject with so much of its longer side around it; None leaves the whole
    photo. `deep` writes alpha in 16 bits.
    """

    background: Background | None = None
    linear: bool = False
    margin: float | None = None
    deep: bool = False


PLAIN = Look()


def render(matte: Matte, kind: str, look: Look = PLAIN) -> Picture:
    """One of KINDS as a picture with the photo's profile and resolution. Raises ImageError."""
    pixels = KINDS[kind](matte, look)
    if look.margin is not None and kind not in SHEETS:
        pixels = np.ascontiguousarray(pixels[box_of(matte.alpha, look.margin)])
    coloured = pixels.ndim == 3
    return Picture(pixels, icc=matte.icc if coloured else None, dpi=matte.dpi)


def refuse_misfit(kinds: Iterable[str], format: str, look: Look) -> None:
    """Raise OutputError for what would fail with every photo; `format` is one of FORMATS."""
    if not FORMATS[format].alpha and "cutout" in kinds and look.background is None:
        raise OutputError(
            f"a cut-out is transparent, which {format} cannot be; choose png or webp, or a"
            " background"
        )
    if look.deep and not FORMATS[format].deep:
        raise OutputError("16 bits need png or tiff")


def box_of(alpha: NDArray[np.float32], margin: float) -> tuple[slice, slice]:
    """Rows and columns of the subject, with `margin` of its longer side around it, in the photo.

    All of them where there is no subject.
    """
    seen = alpha > VISIBLE
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return slice(0, alpha.shape[0]), slice(0, alpha.shape[1])
    room = round(margin * max(np.ptp(rows) + 1, np.ptp(columns) + 1))
    top, left = max(0, int(rows[0]) - room), max(0, int(columns[0]) - room)
    return slice(top, int(rows[-1]) + 1 + room), slice(left, int(columns[-1]) + 1 + room)


def _cutout(matte: Matte, look: Look) -> Pixels:
    if look.background is None:
        return matte.cutout()
    return matte.over(look.background, linear=look.linear)


def _alpha(matte: Matte, look: Look) -> Pixels:
    return to_deep_levels(matte.alpha) if look.deep else to_levels(matte.alpha)


def _foreground(matte: Matte, look: Look) -> Pixels:
    return estimate_foreground(matte.image, matte.alpha)


def _branches(matte: Matte, look: Look) -> Pixels:
    return np.hstack([to_levels(plane) for plane in (matte.fg, matte.bg, matte.blend)])


def _preview(matte: Matte, look: Look) -> Pixels:
    """Photo, alpha and the subject over green and over white, side by side."""
    scale = min(1.0, PANEL_SIDE / max(matte.alpha.shape))
    size = tuple(max(1, round(length * scale)) for length in matte.alpha.shape)
    image = resize(matte.image, (size[0], size[1]))
    alpha = resize_plane(matte.alpha, (size[0], size[1]))
    panels = [image, np.repeat(to_levels(alpha)[:, :, None], 3, axis=2)]
    for colour in (GREEN, WHITE):
        subject = estimate_foreground(image, alpha)
        panels.append(compose(subject, alpha, np.array(colour, np.uint8).reshape(1, 1, 3)))
    return np.hstack(panels)


KINDS: dict[str, Callable[[Matte, Look], Pixels]] = {
    "cutout": _cutout,
    "alpha": _alpha,
    "foreground": _foreground,
    "trimap": lambda matte, _: matte.trimap(),
    "doubt": lambda matte, _: to_levels(matte.doubt),
    "branches": _branches,
    "preview": _preview,
}
CLIP_KINDS = ("cutout", "alpha", "foreground")  # that make sense as a clip
SHEETS = ("branches", "preview")  # several pictures in one, never cropped
