"""Reduction of flicker in the alphas of a clip, without ghosts behind moving things.

The alpha of a frame is averaged with those of the previous and the next one, moved along by optical
flow (DIS, Kroeger et al., ECCV 2016). Three conditions must hold for that: the colours agree, the
forward and the backward flow agree, and the alphas of the two neighbours agree. The last one is
MODNet's one-frame delay (Ke et al., AAAI 2022), made soft and motion-compensated. An error of a
single frame is removed, and a lasting change is kept from its first frame on.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from latefusion.images.framing import resize
from latefusion.images.levels import Plane
from latefusion.inference.matte import Matte

SMOOTH = 0.8  # this and the sigmas are tuned with benchmarks/video.py
WORK_SIDE = 384  # longer side at which frames are compared; the change of alpha is then enlarged
LEAST_SIDE = 32  # shortest side of it; the flow needs some pixels
COLOUR_SIGMA = 6.0  # levels of 255
FLOW_SIGMA = 1.0  # pixels at the working size
ALPHA_SIGMA = 0.25
BLUR = 3  # window in pixels of the working size in which colours are compared

Colours = NDArray[np.float32]  # (H, W, 3), range 0 to 255
Flow = NDArray[np.float32]  # (H, W, 2): motion (x, y) to another frame, in pixels
Each: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
Tag = TypeVar("Tag")


def steadied(
    seen: Iterable[tuple[Matte, Tag]], smooth: float = SMOOTH, each: Each = map
) -> Iterator[tuple[Matte, Tag]]:
    """Yield the mattes of a clip's frames without flicker, one frame late; tags pass through.

    `smooth` in [0, 1) is the weight of the previous frames where all conditions hold; 0 leaves the
    mattes unchanged. Nothing is carried over a cut, where no condition holds. The first and the
    last frame have one neighbour only and are not changed. `each` is `map` or a parallel `map`.

    Source: the flow of Kroeger et al. (ECCV 2016), the delay of Ke et al. (AAAI 2022).
    """
    if not smooth:
        yield from seen
        return
    viewed = ((_view(matte), matte, tag) for matte, tag in seen)
    past: tuple[Plane, _Link] | None = None  # steadied alpha of the previous frame, link to it
    last = None
    for now, after, links in each(_linked, _neighbours(viewed)):
        if now and links:
            view, matte, tag = now
            alpha = view.alpha
            if past:
                future = after[0].alpha, links.ahead
                alpha = _steadied(alpha, past, future, smooth / (1 - smooth))
                matte = _changed(matte, alpha - view.alpha)
            yield matte, tag
            past = alpha, links.back
        last = after
    if last:
        yield last[1], last[2]


class _View(NamedTuple):
    """A frame at the working size: RGB, grey for the flow, and alpha."""

    colours: Colours
    grey: NDArray[np.uint8]
    alpha: Plane


class _Link(NamedTuple):
    """The position of each pixel in another frame, with the confidence in it."""

    places: Flow  # positions (x, y) in pixels
    trust: Plane  # confidence in [0, 1]


class _Links(NamedTuple):
    """Links between two frames: from the first to the second, and back."""

    ahead: _Link
    back: _Link


_Seen: TypeAlias = tuple[_View, Matte, Any]


def _view(matte: Matte) -> _View:
    height, width = matte.alpha.shape
    shrink = min(1.0, WORK_SIDE / max(height, width))
    size = max(LEAST_SIDE, round(height * shrink)), max(LEAST_SIDE, round(width * shrink))
    small = np.asarray(resize(matte.image, size), np.uint8)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    return _View(small.astype(np.float32), grey, resize(matte.alpha, size))


def _neighbours(viewed: Iterable[_Seen]) -> Iterator[tuple[_Seen | None, _Seen]]:
    """Yield each frame with the previous one."""
    before = None
    for now in viewed:
        yield before, now
        before = now


def _linked(
    pair: tuple[_Seen | None, _Seen],
) -> tuple[_Seen | None, _Seen, _Links | None]:
    """Compute the links between two frames; None for the first frame, which has no previous one."""
    first, second = pair
    if first is None:
        return None, second, None
    ahead, back = _flow(first[0], second[0]), _flow(second[0], first[0])
    links = _Links(_link(first[0], second[0], ahead, back), _link(second[0], first[0], back, ahead))
    return first, second, links


def _link(now: _View, other: _View, there: Flow, back: Flow) -> _Link:
    places = _places(there)
    difference = now.colours - _taken(other.colours, places)
    difference -= np.median(difference.reshape(-1, 3), axis=0)  # ignore a change of light
    off = cv2.blur(np.abs(difference).max(axis=2), (BLUR, BLUR))
    astray = np.linalg.norm(there + _taken(back, places), axis=2)
    trust = _likely(off, COLOUR_SIGMA) * _likely(astray, FLOW_SIGMA) * _inside(places)
    return _Link(places, trust)


def _steadied(
    alpha: Plane, past: tuple[Plane, _Link], future: tuple[Plane, _Link], pull: float
) -> Plane:
    """Average the alpha of a frame with those of its neighbours where all three agree.

    The previous frame, which is steadied itself, has twice the weight of the next one.
    """
    earlier, later = (_moved_along(other, link) for other, link in (past, future))
    agreed = pull * _likely(earlier - later, ALPHA_SIGMA)
    trust_earlier, trust_later = agreed * past[1].trust, agreed / 2 * future[1].trust
    total = alpha + trust_earlier * earlier + trust_later * later
    return np.asarray(total / (1 + trust_earlier + trust_later), np.float32)


def _moved_along(alpha: Plane, link: _Link) -> Plane:
    """Move the alpha of another frame along its link; bicubic, to blur less over many frames."""
    return np.clip(_taken(alpha, link.places, cv2.INTER_CUBIC), 0, 1)


def _changed(matte: Matte, change: Plane) -> Matte:
    """Add a change at the working size to the alpha of a matte, which keeps its fine detail."""
    height, width = matte.alpha.shape
    alpha = np.asarray(cv2.resize(change, (width, height)), np.float32)
    alpha += matte.alpha
    return replace(matte, alpha=np.clip(alpha, 0, 1, out=alpha))


def _flow(here: _View, there: _View) -> Flow:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = np.zeros((*here.grey.shape, 2), np.float32)
    return np.asarray(dis.calc(here.grey, there.grey, flow), np.float32)


def _places(flow: Flow) -> Flow:
    """Convert a flow to positions in the other frame."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    return flow + np.dstack([columns, rows])


def _taken(
    plane: NDArray[np.float32], places: Flow, method: int = cv2.INTER_LINEAR
) -> NDArray[np.float32]:
    x, y = places[..., 0], places[..., 1]
    taken = cv2.remap(plane, x, y, method, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32)


def _inside(places: Flow) -> NDArray[np.bool_]:
    height, width = places.shape[:2]
    x, y = places[..., 0], places[..., 1]
    return (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)


def _likely(error: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return the Gaussian of an error: 1 for none, towards 0 for errors far above sigma."""
    return np.exp(np.square(error / np.float32(sigma)) / -2)
