"""Matte -> pictures to save: each kind, on a background and cropped if asked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import OutputError
from latefusion.images.compositing import Background, compose, read_background
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import resize, resize_plane
from latefusion.images.levels import to_deep_levels, to_levels
from latefusion.images.metadata import NOTHING
from latefusion.images.writing import FORMATS, Picture
from latefusion.inference.options import IN_AND_OUT, Option, check_declared

if TYPE_CHECKING:  # a Matte saves itself by this module
    from latefusion.inference.matte import Matte

PANEL_SIDE = 480  # longest side of a picture in a preview
VISIBLE = 0.03  # of alpha: less is not worth a wider crop
GREEN, WHITE = (0, 177, 64), (255, 255, 255)
TRANSPARENT = "transparent"

Kind: TypeAlias = Literal[
    "cutout",
    "alpha",
    "foreground",
    "trimap",
    "doubt",
    "fg",
    "bg",
    "blend",
    "branches",
    "preview",
]
ClipKind: TypeAlias = Literal["cutout", "alpha", "foreground"]
Suffix: TypeAlias = Literal["png", "webp", "tiff", "tif", "jpg", "jpeg"]  # of FORMATS_OUT
Into: TypeAlias = Literal["files", "tar", "parquet"]  # where results go
Pixels: TypeAlias = NDArray[Any]  # uint8, or uint16 where deep


@dataclass(frozen=True, eq=False)
class Look:
    """The options that change a picture of a matte; raises LatefusionError for one out of range.

    `crop` does nothing where no subject was found.

    `background` is a colour, an image, `blur`, `blur:RADIUS` in pixels, or `transparent`.
    """

    background: Annotated[
        Background,
        Option(
            "Behind the cut-out: a colour, an image, blur, blur:RADIUS or transparent.",
            IN_AND_OUT,
            text=True,
        ),
    ] = TRANSPARENT
    linear: Annotated[bool, Option("Mix subject and background in linear light.", IN_AND_OUT)] = (
        False
    )
    crop: Annotated[bool, Option("Crop the results to the subject.", IN_AND_OUT, clips=False)] = (
        False
    )
    margin: Annotated[
        float,
        Option(
            "With crop: room around the subject, as a share of its longer side.",
            IN_AND_OUT,
            least=0,
            most=10,
            clips=False,
        ),
    ] = 0.05
    bits: Annotated[
        Literal[8, 16], Option("Of the alpha, in png and tiff.", IN_AND_OUT, clips=False)
    ] = 8
    quality: Annotated[
        int | None,
        Option(
            "Of jpg and webp; webp is lossless without it.",
            IN_AND_OUT,
            least=1,
            most=100,
            default="95 in jpg",
            clips=False,
        ),
    ] = None
    strip: Annotated[
        bool,
        Option(
            "Leave EXIF, IPTC and XMP (author, date, camera, place) out of the results.",
            IN_AND_OUT,
            clips=False,
        ),
    ] = False

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    def transparent(self) -> bool:
        """True where nothing comes behind the subject."""
        return isinstance(self.background, str) and self.background == TRANSPARENT


PLAIN = Look()


def render(matte: "Matte", kind: str, look: Look = PLAIN) -> Picture:
    """One of KINDS as a picture with the photo's profile, resolution and metadata.

    Raises OutputError for an unknown kind, and ImageError for a background that cannot be read.
    """
    if kind not in KINDS:
        raise OutputError(f"unknown kind {kind!r}; choose one of {', '.join(KINDS)}")
    pixels = KINDS[kind](matte, look)
    if look.crop and kind not in SHEETS and matte.subject_found:
        pixels = np.ascontiguousarray(pixels[box_of(matte.alpha, look.margin)])
    coloured = pixels.ndim == 3
    about = NOTHING if look.strip else matte.about
    return Picture(pixels, matte.icc if coloured else None, matte.dpi, about, look.quality)


def refuse_misfit(kinds: Iterable[str], format: str, look: Look) -> None:
    """Raise OutputError for what would fail with every photo; `format` is one of FORMATS."""
    if not FORMATS[format].alpha and "cutout" in kinds and look.transparent:
        raise OutputError(
            f"a cut-out is transparent, which {format} cannot be; choose png or webp, or a"
            " background"
        )
    if look.bits == 16 and not FORMATS[format].deep:
        raise OutputError("16 bits need png or tiff")
    if look.quality is not None and FORMATS[format].lossy is None:
        raise OutputError(
            f"quality has no meaning in {format}, which loses nothing; use jpg or webp"
        )


def box_of(alpha: NDArray[np.float32], margin: float) -> tuple[slice, slice]:
    """Rows and columns of the subject in the photo, with `margin` of its longer side around it.

    All rows and columns if there is no subject.
    """
    seen = alpha > VISIBLE
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return slice(0, alpha.shape[0]), slice(0, alpha.shape[1])
    room = round(margin * max(np.ptp(rows) + 1, np.ptp(columns) + 1))
    top, left = max(0, int(rows[0]) - room), max(0, int(columns[0]) - room)
    return slice(top, int(rows[-1]) + 1 + room), slice(left, int(columns[-1]) + 1 + room)


def _cutout(matte: "Matte", look: Look) -> Pixels:
    if look.transparent:
        return matte.cutout()
    return matte.over(look.background, linear=look.linear)


def _alpha(matte: "Matte", look: Look) -> Pixels:
    return to_deep_levels(matte.alpha) if look.bits == 16 else to_levels(matte.alpha)


def _foreground(matte: "Matte", look: Look) -> Pixels:
    return matte.colours


def _branches(matte: "Matte", look: Look) -> Pixels:
    return np.hstack([to_levels(plane) for plane in (matte.fg, matte.bg, matte.blend)])


def _preview(matte: "Matte", look: Look) -> Pixels:
    """Photo, alpha and the subject over green and over white, side by side."""
    scale = min(1.0, PANEL_SIDE / max(matte.alpha.shape))
    size = tuple(max(1, round(length * scale)) for length in matte.alpha.shape)
    image = resize(matte.image, (size[0], size[1]))
    alpha, mix = (resize_plane(plane, (size[0], size[1])) for plane in (matte.alpha, matte.mix))
    panels = [image, np.repeat(to_levels(alpha)[:, :, None], 3, axis=2)]
    for colour in (GREEN, WHITE):
        subject = estimate_foreground(image, mix)
        panels.append(compose(subject, alpha, read_background(colour, (1, 1), matte.icc)))
    return np.hstack(panels)


KINDS: dict[str, Callable[["Matte", Look], Pixels]] = {
    "cutout": _cutout,
    "alpha": _alpha,
    "foreground": _foreground,
    "trimap": lambda matte, _: matte.trimap(),
    "doubt": lambda matte, _: to_levels(matte.doubt),
    "fg": lambda matte, _: to_levels(matte.fg),
    "bg": lambda matte, _: to_levels(matte.bg),
    "blend": lambda matte, _: to_levels(matte.blend),
    "branches": _branches,
    "preview": _preview,
}
CLIP_KINDS = get_args(ClipKind)
SHEETS = ("branches", "preview")  # several pictures in one, never cropped
