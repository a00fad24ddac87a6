"""A photo with its matte, and the pictures made of the two."""

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.images.compositing import Background, blurred, compose, parse_blur, read_background
from latefusion.images.foreground import estimate_foreground
from latefusion.images.framing import Letterbox
from latefusion.images.levels import Plane, to_levels
from latefusion.images.reading import Dpi
from latefusion.images.writing import write_picture
from latefusion.inference.detail import Detail
from latefusion.inference.outputs import PLAIN, Look, render
from latefusion.runtime.planes import Planes

# The kernel of the implicit trimap is 20 x 20 in a photo whose longer side is 512, the network's.
TRIMAP_KERNEL, TRIMAP_SIDE = 20, 512

# Fitted to the default weights by benchmarks/calibrate.py: |alpha - truth| of a pixel from the root
# of min(alpha, 1 - alpha), and the chance of a good matte from the mean of that.
ERROR_WEIGHT = 0.584
CONFIDENCE = (-21.745, 5.477)
GOOD_MAD = 0.02  # of a matte that few people would mend


@dataclass(frozen=True, eq=False)
class Matte:
    """A photo and its matte, all at the photo's size; planes are (H, W) float32 in [0, 1].

    The network's alpha is blend * fg + (1 - blend) * (1 - bg); `alpha` is that with its outline
    refined, unless that was left out, times the photo's own alpha where it has one. But
    for alpha the planes are kept at the network's size and enlarged each time they are asked for.
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    alpha: Plane
    planes: Planes  # as the network gave them for the whole photo
    frame: Letterbox  # where the photo lies in them
    icc: bytes | None = None  # the photo's colour profile, which holds for a cut-out too
    dpi: Dpi | None = None  # pixels an inch, as the photo says
    details: tuple[Detail, ...] = ()  # closer views of parts of it

    def __repr__(self) -> str:
        height, width = self.alpha.shape
        share = f"{self.alpha.mean():.0%} subject"
        return f"<Matte {width} x {height}, {share}, confidence {self.confidence:.2f}>"

    def _repr_png_(self) -> bytes:
        """The preview, for notebooks."""
        stream = io.BytesIO()
        write_picture(stream, render(self, "preview"), "PNG")
        return stream.getvalue()

    def save(self, path: str | os.PathLike[str], kind: str = "cutout", look: Look = PLAIN) -> None:
        """Write one of outputs.KINDS to a .png, .webp, .tiff or .jpg, with profile and resolution.

        Raises OutputError, and ImageError for a background that cannot be read.
        """
        write_picture(Path(path), render(self, kind, look))

    def to_pil(self, kind: str = "cutout", look: Look = PLAIN) -> Image.Image:
        """One of outputs.KINDS as a PIL image, with profile and resolution in its `info`.

        Raises as `save` does.
        """
        picture = render(self, kind, look)
        image = Image.fromarray(picture.pixels)
        about = {"icc_profile": picture.icc, "dpi": picture.dpi}
        image.info.update({name: value for name, value in about.items() if value})
        return image

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
        """The fusion weight beta: 1 trusts fg, 0 trusts bg; 1/2 where the two agree anyway."""
        return self._restore("blend")

    @property
    def fused(self) -> float:
        """The share, in [0, 1], of the tiles in which the branches disagreed and fusion ran."""
        views = (self.planes, *(detail.planes for detail in self.details))
        return sum(planes.fused for planes in views) / len(views)

    def _restore(self, name: str) -> Plane:
        plane = self.frame.restore(getattr(self.planes, name))
        for detail in self.details:
            detail.paste(plane, getattr(detail.planes, name))
        return plane

    @property
    def doubt(self) -> Plane:
        """|fg + bg - 1|, (H, W) in [0, 1]: how far the branches disagree at each pixel."""
        doubt = self.fg
        doubt += self.bg
        doubt -= 1
        return np.abs(doubt, out=doubt)

    @property
    def expected_error(self) -> NDArray[np.float32]:
        """(H, W) in [0, 1]: an estimate of |alpha - truth| at each pixel.

        It grows as alpha, which blend takes from the two branches, is less decided: as the
        branches waver or as blend stands between two that disagree. Doubt of its own adds nothing
        to that: a fit without negative weights gives it none. Calibrated for the default weights;
        for others it ranks, but may be off.
        """
        error = np.subtract(np.float32(1), self.alpha)
        np.minimum(error, self.alpha, out=error)
        np.sqrt(error, out=error)
        error *= np.float32(ERROR_WEIGHT)
        return error

    @property
    def confidence(self) -> float:
        """The chance, in [0, 1], that the matte is a good one: MAD to the truth below 0.02.

        It falls as the mean expected error rises, so it ranks a folder's photos for review.
        """
        offset, slope = CONFIDENCE
        expected = float(self.expected_error.mean(dtype=np.float64))
        return 1 / (1 + math.exp(-offset) * expected**slope)

    def trimap(self) -> NDArray[np.uint8]:
        """(H, W): 255 surely subject, 0 surely background, 128 unknown.

        Unknown is dilate(fg > 0.5) minus erode(1 - bg > 0.5), and wherever erode(1 - bg > 0.5)
        claims subject that the foreground branch denies. The kernel is 20 pixels wide at a longer
        side of 512 and grows with the photo, made odd so that the band is symmetric.
        """
        radius = max(1, round(TRIMAP_KERNEL * max(self.alpha.shape) / TRIMAP_SIDE / 2))
        maybe = _grow(self.fg > 0.5, radius)
        surely = ~_grow(self.bg >= 0.5, radius)
        trimap = np.where(maybe | surely, np.uint8(128), np.uint8(0))
        trimap[maybe & surely] = 255
        return trimap

    def cutout(self) -> NDArray[np.uint8]:
        """(H, W, 4) RGBA, straight (not multiplied by alpha), in the subject's own colours.

        Transparent pixels away from it are black: the old background does not travel along.
        """
        colour = estimate_foreground(self.image, self.alpha)
        rgba = np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2RGBA), np.uint8)
        rgba[:, :, 3] = to_levels(self.alpha)
        return rgba

    def over(self, background: Background, *, linear: bool = False) -> NDArray[np.uint8]:
        """(H, W, 3) RGB: the subject on a colour, an image, or the photo's own background blurred.

        `background` is a colour name or `#rrggbb`, an (r, g, b) tuple of 0 to 255, an image as a
        path, bytes, PIL image or uint8 array, which is cropped to fill, or `blur` or `blur:RADIUS`
        in pixels. A string that names a colour is a colour. `linear` mixes in linear light. Raises
        ImageError.
        """
        radius = parse_blur(background)
        if radius is None:
            behind = read_background(background, (self.alpha.shape[0], self.alpha.shape[1]))
        else:
            behind = blurred(self.image, self.alpha, radius)
        colour = estimate_foreground(self.image, self.alpha)
        return compose(colour, self.alpha, behind, linear=linear)


def _grow(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Dilation by a square of 2 * radius + 1, as a box sum: as quick for a great radius."""
    side = 2 * radius + 1
    count = cv2.boxFilter(
        mask.astype(np.uint8),
        cv2.CV_32S,
        (side, side),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    return np.asarray(count > 0)
