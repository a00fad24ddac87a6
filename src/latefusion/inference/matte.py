"""A matte with its photo, and the pictures made of them."""

import io
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.errors import LatefusionError
from latefusion.images.compositing import Background, blurred, compose, parse_blur, read_background
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import Letterbox, resize_plane
from latefusion.images.levels import Plane, to_levels
from latefusion.images.metadata import NOTHING, Metadata, pil_info
from latefusion.images.reading import Dpi
from latefusion.images.writing import Picture, write_picture
from latefusion.inference.confidence import (
    NO_SUBJECT,
    PARTS,
    SURE,
    UNSURE,
    Note,
    confidence_of,
    evidence,
    expected_error,
    has_subject,
    parts_of,
)
from latefusion.inference.detail import Detail
from latefusion.inference.outputs import PLAIN, Look, render
from latefusion.runtime.planes import Planes

# The kernel of the implicit trimap is 20 x 20 in a photo with a longer side of 512, the network's.
TRIMAP_KERNEL, TRIMAP_SIDE = 20, 512


@dataclass(frozen=True, eq=False)
class Matte:
    """A photo and its matte, all at the photo's size; planes are (H, W) float32 in [0, 1].

    The network's alpha is blend * fg + (1 - blend) * (1 - bg); `alpha` is that with its outline
    refined, unless the options turn that off, times the photo's own alpha if it has one. The other
    planes are kept at the network's size and enlarged at each access.
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    alpha: Plane
    planes: Planes  # the network's, for the whole photo
    frame: Letterbox  # place of the photo in the planes
    icc: bytes | None = None  # the photo's colour profile, also valid for a cut-out
    dpi: Dpi | None = None  # the photo's pixels per inch
    details: tuple[Detail, ...] = ()  # closer views of parts
    about: Metadata = NOTHING  # the photo's EXIF, IPTC and XMP
    opacity: Plane | None = None  # the photo's own alpha, which `alpha` is multiplied by
    second: Plane | None = None  # (h, w), alpha of the second look that confidence compares with
    warnings: tuple[str, ...] = ()  # no subject, or an option that could not be followed

    def __repr__(self) -> str:
        height, width = self.alpha.shape
        share = f"{self.alpha.mean():.0%} subject" if self.subject_found else "no subject"
        return f"<Matte {width} x {height}, {share}, confidence {self.confidence:.2f}>"

    def faded(self, opacity: Plane | None) -> "Matte":
        """The matte of a photo that is itself transparent: alpha times that opacity (H, W)."""
        if opacity is None:
            return self
        faded = replace(self, alpha=self.alpha * opacity, opacity=opacity)
        return replace(faded, second=self.changed(faded.mix).second)

    def changed(self, alpha: Plane) -> "Matte":
        """The matte with another alpha; its second look is changed alike, so that they compare."""
        second = self.second
        if second is not None:
            change = alpha - self.alpha
            size = second.shape[0], second.shape[1]
            second = np.minimum(second, 1 - resize_plane(-change, size))
            second = np.maximum(second, resize_plane(change, size))
        return replace(self, alpha=alpha, second=second)

    @property
    def mix(self) -> Plane:
        """The subject's share of each pixel's colour, (H, W) in [0, 1].

        It is alpha but for a photo that is itself transparent, whose colours are mixed with no
        background where it is.
        """
        if self.opacity is None:
            return self.alpha
        mix = np.zeros_like(self.alpha)
        return np.minimum(np.divide(self.alpha, self.opacity, out=mix, where=self.opacity > 0), 1)

    @property
    def colours(self) -> NDArray[np.uint8]:
        """The subject's own colours (H, W, 3), black away from it."""
        return estimate_foreground(self.image, self.mix)

    def _repr_png_(self) -> bytes:
        """The preview, for notebooks."""
        stream = io.BytesIO()
        write_picture(stream, render(self, "preview"), "PNG")
        return stream.getvalue()

    def save(self, path: str | os.PathLike[str], kind: str = "cutout", look: Look = PLAIN) -> None:
        """Write one of outputs.KINDS to a .png, .webp, .tiff or .jpg, with the photo's metadata.

        Raises OutputError, and ImageError for a background that cannot be read.
        """
        write_picture(Path(path), render(self, kind, look))

    def to_pil(self, kind: str = "cutout", look: Look = PLAIN) -> Image.Image:
        """One of outputs.KINDS as a PIL image, with profile, resolution and metadata in its `info`.

        Pillow writes EXIF and XMP only if asked: `image.save(path, exif=image.info["exif"])`.

        Raises as `save` does.
        """
        return as_pil(render(self, kind, look))

    def show(self, kind: str = "preview", look: Look = PLAIN) -> None:
        """Open a picture in the viewer of this machine. Raises as `save` does."""
        self.to_pil(kind, look).show()

    @property
    def fg(self) -> Plane:
        """The probability of foreground, from the foreground branch."""
        return self._restore("fg")

    @property
    def bg(self) -> Plane:
        """The probability of background, from the background branch."""
        return self._restore("bg")

    @property
    def blend(self) -> Plane:
        """The fusion weight beta: 1 trusts fg, 0 trusts bg; 1/2 where fusion did not run."""
        return self._restore("blend")

    @property
    def fused(self) -> float:
        """Share of tiles, in [0, 1], in which the branches disagreed and fusion ran."""
        views = (self.planes, *(detail.planes for detail in self.details))
        return sum(planes.fused for planes in views) / len(views)

    def _restore(self, name: str) -> Plane:
        plane = self.frame.restore(getattr(self.planes, name))
        for detail in self.details:
            detail.paste(plane, getattr(detail.planes, name))
        return plane

    @property
    def doubt(self) -> Plane:
        """|fg + bg - 1|, (H, W) in [0, 1]: the disagreement of the branches at each pixel."""
        doubt = self.fg
        doubt += self.bg
        doubt -= 1
        return np.abs(doubt, out=doubt)

    @property
    def expected_error(self) -> NDArray[np.float32]:
        """Estimate of |alpha - true| at each pixel, (H, W) in [0, 1].

        It grows as alpha moves away from 0 and 1. Doubt is no part of it: a fit with non-negative
        weights gives doubt the weight 0. Calibrated for the default weights; with others it still
        ranks, but its values may be off.
        """
        return expected_error(self.mix)

    @cached_property
    def subject_found(self) -> bool:
        """False if no more than a speck of the photo is subject."""
        return has_subject(self.mix)

    @cached_property
    def confidence(self) -> float:
        """Estimated probability that the subject is a person and the MAD below 0.02.

        It ranks the photos of a folder for review. 0 if no subject was found.
        """
        if not self.subject_found:
            return 0.0
        return confidence_of(evidence(self.mix, self.second))

    @property
    def notes(self) -> tuple[Note, ...]:
        """What to look at: `no-subject`, or `unsure` below a confidence of confidence.SURE, and
        `parts` where several separate parts were kept.
        """
        if not self.subject_found:
            return (NO_SUBJECT,)
        unsure, parts = self.confidence < SURE, parts_of(self.mix) > 1
        return (*((UNSURE,) if unsure else ()), *((PARTS,) if parts else ()))

    def trimap(self, width: float | None = None, threshold: float = 0.5) -> NDArray[np.uint8]:
        """Trimap (H, W): 255 for subject, 0 for background, 128 for unknown.

        Unknown is dilate(fg > threshold) minus erode(1 - bg > threshold), and wherever the latter
        claims subject that the foreground branch denies. `width` is that of the square kernel in
        pixels; an even one grows by one, so that the band is symmetric. By default it is about 20
        at a longer side of 512 and grows with the photo. Raises LatefusionError for a width below 0
        or a threshold outside of 0 to 1.
        """
        if width is None:
            width = 2 * max(1, round(TRIMAP_KERNEL * max(self.alpha.shape) / TRIMAP_SIDE / 2))
        if not 0 <= width < np.inf:
            raise LatefusionError(f"a trimap's width is 0 or more pixels, not {width}")
        if not 0 <= threshold <= 1:
            raise LatefusionError(f"a trimap's threshold is from 0 to 1, not {threshold}")
        radius = min(int(width / 2), max(self.alpha.shape))
        maybe = _grow(self.fg > threshold, radius)
        surely = ~_grow(1 - self.bg <= threshold, radius)
        trimap = np.where(maybe | surely, np.uint8(128), np.uint8(0))
        trimap[maybe & surely] = 255
        return trimap

    def cutout(self) -> NDArray[np.uint8]:
        """Cut-out (H, W, 4) RGBA, straight (not multiplied by alpha), in the subject's own colours.

        Transparent pixels away from the subject are black, so nothing of the old background stays.
        """
        rgba = np.asarray(cv2.cvtColor(self.colours, cv2.COLOR_RGB2RGBA), np.uint8)
        rgba[:, :, 3] = to_levels(self.alpha)
        return rgba

    def over(self, background: Background, *, linear: bool = False) -> NDArray[np.uint8]:
        """The subject (H, W, 3) RGB on a colour, an image, or the photo's own background blurred.

        `background` is a colour name or `#rrggbb`, an (r, g, b) tuple of 0 to 255, an image as a
        path, bytes, PIL image or uint8 array, which is cropped to fill, or `blur` or `blur:RADIUS`
        in pixels. A string that names a colour is a colour. Colours are sRGB, pictures have their
        profile, and both are converted into the photo's. `linear` mixes in linear light. Raises
        ImageError.
        """
        radius = parse_blur(background)
        if radius is None:
            size = self.alpha.shape[0], self.alpha.shape[1]
            behind = read_background(background, size, self.icc)
        else:
            behind = blurred(self.image, self.mix, radius)
        return compose(self.colours, self.alpha, behind, linear=linear, icc=self.icc)


def as_pil(picture: Picture) -> Image.Image:
    """A picture as a PIL image, with profile, resolution, EXIF and XMP in its `info`."""
    image = Image.fromarray(picture.pixels)
    about = {"icc_profile": picture.icc, "dpi": picture.dpi}
    image.info.update({name: value for name, value in about.items() if value})
    image.info.update(pil_info(picture.about, picture.dpi))
    return image


def _grow(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Dilation by a square of side 2 * radius + 1, as a box sum: as fast for a large radius."""
    side = 2 * radius + 1
    count = cv2.boxFilter(
        mask.astype(np.uint8),
        cv2.CV_32S,
        (side, side),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    return np.asarray(count > 0)
