"""A closer view of a part of a photo, and how it is pasted into the whole."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import Box, Letterbox, resize_plane
from latefusion.runtime.planes import Planes

SEAM_SHARE = 0.08  # share of a closer view's side over which it fades into the whole


@dataclass(frozen=True)
class Detail:
    """A closer view of a part of a photo: its box, its framing and the network's planes.

    `share` is its weight at each pixel, (H, W) of the frame's inside, in [0, 1]; None weighs 1.
    """

    box: Box
    frame: Letterbox
    planes: Planes
    share: NDArray[np.float32] | None = None

    def paste(self, whole: NDArray[np.float32], plane: NDArray[np.float32]) -> None:
        """Paste a plane of this view into that of the photo, with a soft seam inside the box."""
        part = whole[self.box.slices]
        closer = self.frame.restore(plane.astype(np.float32, copy=False))
        closer -= part
        down, across = (
            _ramp(first, last, length)
            for first, last, length in zip(self.box[::2], self.box[1::2], whole.shape, strict=True)
        )
        closer *= down[:, None]
        closer *= across[None]
        if self.share is not None:
            closer *= resize_plane(self.share.astype(np.float32, copy=False), self.frame.photo)
        part += closer

    def halved(self) -> "Detail":
        """A copy in half precision, because a large photo holds many."""
        alpha, fg, bg, blend = (cast(Any, plane.astype(np.float16)) for plane in self.planes[:4])
        share = None if self.share is None else cast(Any, self.share.astype(np.float16))
        return replace(self, planes=Planes(alpha, fg, bg, blend, self.planes.fused), share=share)


def _ramp(first: int, last: int, length: int) -> NDArray[np.float32]:
    """Ramp from 0 to 1 and back along a side of a box; it stays 1 at the photo's own edges."""
    width = max(1, round(SEAM_SHARE * (last - first)))
    place = np.arange(last - first, dtype=np.float32) + 0.5
    ramp = np.ones(last - first, np.float32)
    if first > 0:
        np.minimum(ramp, place / width, out=ramp)
    if last < length:
        np.minimum(ramp, place[::-1] / width, out=ramp)
    return ramp
