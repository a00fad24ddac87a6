"""What the network found in one photo, and what can be made of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from latefusion.errors import ImageError
from latefusion.foreground import estimate_foreground
from latefusion.framing import Letterbox, cover
from latefusion.planes import ROWS, Plane, Planes, to_levels
from latefusion.reading import Dpi, ImageSource, read_photo

# The kernel of the implicit trimap is 20 x 20 in a photo whose longer side is 512, the network's.
TRIMAP_KERNEL, TRIMAP_SIDE = 20, 512

# Fitted to the default weights by benchmarks/calibrate.py: |alpha - truth| of a pixel from the root
# of min(alpha, 1 - alpha), and the chance of a good matte from the mean of that.
ERROR_WEIGHT = 0.612
CONFIDENCE = (-22.217, 5.637)
GOOD_MAD = 0.02  # of a matte that few people would mend

Background: TypeAlias = ImageSource | tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Matte:
    """A photo and its matte, all at the photo's size; planes are (H, W) float32 in [0, 1].

    alpha = blend * fg + (1 - blend) * (1 - bg), times the photo's own alpha where it has one. But
    for alpha the planes are kept at the network's size and enlarged each time they are asked for.
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    alpha: Plane
    planes: Planes  # as the network gave them
    frame: Letterbox  # where the photo lies in them
    icc: bytes | None = None  # the photo's colour profile, which holds for a cut-out too
    dpi: Dpi | None = None  # the photo's, across and down

    @property
    def fg(self) -> Plane:
        """The probability of foreground, from the foreground branch."""
        return self.frame.restore(self.planes.fg)

    @property
    def bg(self) -> Plane:
        """The probability of background, from the background branch."""
        return self.frame.restore(self.planes.bg)

    @property
    def blend(self) -> Plane:
        """The fusion weight beta: 1 trusts fg, 0 trusts bg; 1/2 where the two agree anyway."""
        return self.frame.restore(self.planes.blend)

    @property
    def fused(self) -> float:
        """The share, in [0, 1], of the tiles in which the branches disagreed and fusion ran."""
        return self.planes.fused

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
        return np.dstack([colour, to_levels(self.alpha)])

    def over(self, background: Background) -> NDArray[np.uint8]:
        """(H, W, 3) RGB: the subject on a colour or on another image, which is cropped to fill.

        `background` is a colour name or `#rrggbb`, an (r, g, b) tuple of 0 to 255, or an image as
        a path, bytes, PIL image or uint8 array. A string that names a colour is a colour. Raises
        ImageError.
        """
        behind = _background(background, self.alpha.shape)
        composite = estimate_foreground(self.image, self.alpha)
        for top in range(0, composite.shape[0], ROWS):
            strip = slice(top, top + ROWS)
            alpha = self.alpha[strip, :, None]
            below = behind[strip] if behind.shape[0] > 1 else behind
            mixed = alpha * composite[strip] + (1 - alpha) * below
            composite[strip] = np.rint(mixed)
        return composite


# What `--save` can name: kind -> the pixels of the PNG.
KINDS: dict[str, Callable[[Matte], NDArray[np.uint8]]] = {
    "cutout": Matte.cutout,
    "alpha": lambda matte: to_levels(matte.alpha),
    "fg": lambda matte: to_levels(matte.fg),
    "bg": lambda matte: to_levels(matte.bg),
    "blend": lambda matte: to_levels(matte.blend),
    "doubt": lambda matte: to_levels(matte.doubt),
    "trimap": Matte.trimap,
}


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


def _background(background: Background, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """The background as (H, W, 3), or as (1, 1, 3) where it is one colour."""
    if isinstance(background, tuple):
        return _colour(background)
    if isinstance(background, str):
        try:
            return _colour(ImageColor.getrgb(background))
        except ValueError:  # not a colour, so it has to be a file
            if not Path(background).exists():
                raise ImageError(
                    f"{background!r} is neither a colour nor a file; use e.g. white or #1e90ff"
                ) from None
    return cover(read_photo(background).image, (size[0], size[1]))


def _colour(colour: tuple[int, ...]) -> NDArray[np.uint8]:
    if len(colour) != 3 or not all(0 <= level <= 255 for level in colour):
        raise ImageError(f"{colour} is not a colour; use (r, g, b) with levels from 0 to 255")
    return np.array(colour, np.uint8).reshape(1, 1, 3)
