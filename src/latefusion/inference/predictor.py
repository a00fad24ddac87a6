"""From a photo to its Matte: an exported network in ONNX Runtime."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import LatefusionError
from latefusion.images.framing import Box, Letterbox, check_side
from latefusion.images.reading import ImageSource, Photo, read_photo
from latefusion.inference.closed_form import solve_outline
from latefusion.inference.closeup import look_at, look_closer
from latefusion.inference.matte import Matte
from latefusion.inference.subject import ALL, Point, fill_holes, keep_subject, parse_subject
from latefusion.inference.tiles import look_in_tiles
from latefusion.inference.turning import search_turn
from latefusion.runtime.devices import AUTO, Hardware
from latefusion.runtime.lazy import EPSILON
from latefusion.runtime.model_file import PACKAGED, ModelFile, read_model
from latefusion.runtime.planes import Planes
from latefusion.runtime.runtimes import Network, OnnxNetwork

WHOLE = "whole"
FRAMINGS = (AUTO, WHOLE)
CLOSED_FORM, OFF = "closed-form", "off"
REFINEMENTS = (CLOSED_FORM, OFF)


class Predictor:
    """A network that is loaded once, at the first photo, and used for many.

    `model` is an exported .onnx file, with its sidecar .json beside it; None takes the package's.
    `size` is the longer side of the network's input, a multiple of 32; None takes the sidecar's.
    `threads` None leaves the number to ONNX Runtime. `device` is one of devices.DEVICES; the CPU
    steps in with a warning where it is not there, and with `strict` that is a DeviceError.
    `epsilon`: the fusion network runs where the branches disagree by that much, |fg + bg - 1|, so
    that its alpha is within epsilon / 2 of the whole network's at the network's size, and within
    0.95 epsilon at any photo's, before refining; 0 runs it everywhere.
    `framing`: `auto` looks a second time, closer, at a subject that is small in its photo; `whole`
    never does. `tiles` then goes along the outline of a photo larger than the network's input, in
    tiles, down to the photo's own pixels. `refine`: `closed-form` solves the outline anew from the
    photo's colours, `off` leaves it as the network has it. `subject` keeps one connected subject
    only, the `largest` or the one at a point (x, y), and `fill_holes` closes small gaps that it
    encloses. `rotate_search` also tries the quarter turns of a photo in which it is not sure of
    much as it lies.
    Loading raises WeightsError and DeviceError, calls those and ImageError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        size: int | None = None,
        threads: int | None = None,
        device: str = AUTO,
        *,
        strict: bool = False,
        epsilon: float = EPSILON,
        framing: str = AUTO,
        tiles: bool = False,
        refine: str = CLOSED_FORM,
        subject: str | Point = ALL,
        fill_holes: bool = False,
        rotate_search: bool = False,
    ) -> None:
        if framing not in FRAMINGS:
            raise LatefusionError(f"framing {framing!r} is none; use {' or '.join(FRAMINGS)}")
        if refine not in REFINEMENTS:
            raise LatefusionError(f"refine {refine!r} is none; use {' or '.join(REFINEMENTS)}")
        if not (isinstance(epsilon, int | float | np.floating) and 0 <= epsilon <= 1):
            raise LatefusionError(f"epsilon {epsilon} is not in 0..1; the default is {EPSILON:.4f}")
        self._path = None if model is None else Path(model)
        self._size = size if size is None else check_side(size)
        self._hardware = Hardware(device, threads, strict)
        self._epsilon = epsilon
        self.framing = framing
        self.tiles = tiles
        self._refine = refine
        self._subject = parse_subject(subject) if isinstance(subject, str) else subject
        self._fill_holes = fill_holes
        self._rotate_search = rotate_search
        self._lock = threading.Lock()
        self._loaded: OnnxNetwork | None = None
        self._before_pass: Callable[[], None] | None = None

    @overload
    def __call__(self, image: ImageSource) -> Matte: ...
    @overload
    def __call__(self, image: list[ImageSource]) -> list[Matte]: ...
    def __call__(self, image: ImageSource | list[ImageSource]) -> Matte | list[Matte]:
        """The matte of a path, encoded bytes, a PIL image or a uint8 array, at the photo's size.

        Of a list, the list of theirs.
        """
        if isinstance(image, list):
            return list(self.each(image))
        return self.of(read_photo(image))

    def each(self, images: Iterable[ImageSource]) -> Iterator[Matte]:
        """The mattes of many images, one after another, so that only one is held at a time."""
        for image in images:
            yield self(image)

    def of(self, photo: Photo) -> Matte:
        """The matte of a photo that is decoded already."""
        found = self.finish(self._search(photo.image))
        found = replace(found, icc=photo.icc, dpi=photo.dpi)
        if photo.opacity is None:
            return found
        return replace(found, alpha=found.alpha * photo.opacity)

    def look(self, image: NDArray[np.uint8]) -> Matte:
        """One look at a whole image (H, W, 3), as it is."""
        frame = self.model.frame((image.shape[0], image.shape[1]), self._size)
        return _look(self._pass, image, frame)

    def look_at(self, found: Matte, box: Box) -> Matte:
        """A closer look at a part of an image; the first one stays where the two contradict."""
        return look_at(self._pass, self.model, found, self._size, box)

    def finish(self, found: Matte) -> Matte:
        """What was seen, its outline refined, the subject alone and its holes closed, as wished."""
        if self._refine == CLOSED_FORM:
            found = solve_outline(found)
        alpha = keep_subject(found.alpha, self._subject)
        if self._fill_holes:
            alpha = fill_holes(alpha)
        return found if alpha is found.alpha else replace(found, alpha=alpha)

    def _search(self, image: NDArray[np.uint8]) -> Matte:
        if self._rotate_search:
            return search_turn(self._found, self._detail, image)
        return self._detail(self._found(image))

    def _found(self, image: NDArray[np.uint8]) -> Matte:
        found = self.look(image)
        if self.framing == AUTO:
            found = look_closer(self._pass, self.model, found, self._size)
        return found

    def _detail(self, found: Matte) -> Matte:
        return look_in_tiles(self._pass, self.model, found) if self.tiles else found

    def _pass(self, image: NDArray[np.float32]) -> Planes:
        if self._before_pass:
            self._before_pass()
        return self._network(image)

    @property
    def photos_only(self) -> tuple[str, ...]:
        """Which of the options it has that nothing but photos knows: clips refuse them."""
        asked = {"tiles": self.tiles, "rotate_search": self._rotate_search}
        return tuple(name for name, wanted in asked.items() if wanted)

    @cached_property
    def model(self) -> ModelFile:
        """The checked file. Raises WeightsError."""
        return read_model(self._path or PACKAGED)

    def sharing(
        self,
        *,
        framing: str = AUTO,
        tiles: bool = False,
        refine: str = CLOSED_FORM,
        subject: str | Point = ALL,
        fill_holes: bool = False,
        rotate_search: bool = False,
        before_pass: Callable[[], None] | None = None,
    ) -> "Predictor":
        """A Predictor with other settings on the network of this one, which is loaded only once.

        `before_pass` is called before each pass of the network; what it raises ends the work.
        """
        other = Predictor(
            self._path,
            self._size,
            epsilon=self._epsilon,
            framing=framing,
            tiles=tiles,
            refine=refine,
            subject=subject,
            fill_holes=fill_holes,
            rotate_search=rotate_search,
        )
        other.model = self.model
        other._loaded = self._network
        other._before_pass = before_pass
        return other

    def load(self) -> None:
        """Load the network now, rather than at the first photo. Raises as a call does."""
        self._network  # noqa: B018

    @property
    def device(self) -> str:
        """Where the network runs, one of devices.DEVICES; loads it."""
        return self._network.device

    def __getstate__(self) -> dict[str, Any]:
        """For another process, on another machine even, which loads the network anew."""
        state = self.__dict__ | {"_lock": None, "_loaded": None}
        state.pop("model", None)
        return state | {"_path": self._path and self._path.absolute()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    @property
    def _network(self) -> OnnxNetwork:
        with self._lock:  # the first photos of several threads load it once
            if self._loaded is None:
                self._loaded = OnnxNetwork(self.model, self._hardware, self._epsilon)
        return self._loaded


def predict(network: Network, photo: Photo, frame: Letterbox) -> Matte:
    """The whole way in any runtime: resize and pad, run, and bring alpha back."""
    found = replace(_look(network, photo.image, frame), icc=photo.icc, dpi=photo.dpi)
    return found if photo.opacity is None else replace(found, alpha=found.alpha * photo.opacity)


def _look(network: Network, image: NDArray[np.uint8], frame: Letterbox) -> Matte:
    """The matte of the pixels alone."""
    planes = network(frame.fit(image).transpose(2, 0, 1)[None])  # (1, 3, H, W)
    return Matte(image, frame.restore(planes.alpha), planes, frame)


@cache
def default_predictor() -> Predictor:
    """The one Predictor of the package's weights that `latefusion.matte` and `remove` use."""
    return Predictor()


def load(
    model: str | os.PathLike[str] = "lite",
    device: str = AUTO,
    strict: bool = False,
    **options: Any,
) -> Predictor:
    """A network, loaded and ready: `predictor = latefusion.load(); predictor("me.jpg").cutout()`.

    `model` is `lite`, which ships with the package, or an exported .onnx file. `options` are those
    of Predictor. Raises WeightsError and DeviceError.
    """
    predictor = Predictor(
        None if model == "lite" else model, device=device, strict=strict, **options
    )
    predictor.load()
    return predictor


def matte(image: ImageSource) -> Matte:
    """The matte of a photo with the default weights; for settings of your own make a Predictor.

    `image` is a path, encoded bytes, a PIL image or a uint8 RGB array. Raises ImageError.
    """
    return default_predictor()(image)
