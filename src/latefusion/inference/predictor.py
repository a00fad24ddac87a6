"""Photo -> Matte, by an exported network in ONNX Runtime."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from latefusion.errors import LatefusionError
from latefusion.images.framing import MULTIPLE, Box, Letterbox, resize
from latefusion.images.levels import Plane
from latefusion.images.reading import ImageSource, Photo, read_photo
from latefusion.inference.closed_form import solve_outline
from latefusion.inference.closeup import look_at, look_closer
from latefusion.inference.matte import Matte
from latefusion.inference.options import CLOSED_FORM, DEFAULTS, WHOLE, MattingOptions
from latefusion.inference.subject import fill_holes, keep_subject, unmet
from latefusion.inference.tiles import look_in_tiles
from latefusion.inference.turning import search_turn
from latefusion.runtime.devices import AUTO, Hardware
from latefusion.runtime.model_file import PACKAGED, ModelFile, read_model
from latefusion.runtime.planes import Planes
from latefusion.runtime.runtimes import Network, OnnxNetwork

EMPTY = "no subject found; the result is empty, or nearly so"

BeforePass: TypeAlias = Callable[[], None]


class NetworkFile:
    """A model file and its network, loaded at its first use, once for all who share it.

    Pickled without the network, which another process, on another machine even, loads anew.
    """

    def __init__(self, path: Path | None, hardware: Hardware, epsilon: float) -> None:
        self._path = path
        self._hardware = hardware
        self._epsilon = epsilon
        self._lock = threading.Lock()
        self._network: OnnxNetwork | None = None

    @cached_property
    def model(self) -> ModelFile:
        """The checked file. Raises WeightsError."""
        return read_model(self._path or PACKAGED)

    def load(self) -> OnnxNetwork:
        """The network. Raises WeightsError and DeviceError."""
        with self._lock:  # the first photos of several threads load it once
            if self._network is None:
                self._network = OnnxNetwork(self.model, self._hardware, self._epsilon)
        return self._network

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_lock": None, "_network": None}
        state.pop("model", None)
        return state | {"_path": self._path and self._path.absolute()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class Predictor:
    """A network with its options: loaded once, at the first photo, and used for many.

    `model` is an exported .onnx file, with its sidecar .json beside it; None takes the package's.
    `device` is one of devices.DEVICES; where it is missing the CPU is used with a warning, or, with
    `strict`, DeviceError is raised. `threads` None takes one per core that this process may
    use; more than that are not started. Loading raises WeightsError and DeviceError, calls those
    and ImageError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        options: MattingOptions = DEFAULTS,
        *,
        device: str = AUTO,
        threads: int | None = None,
        strict: bool = False,
    ) -> None:
        if not isinstance(options, MattingOptions):
            raise LatefusionError(f"options {options!r} is not a MattingOptions; pass one")
        path = None if model is None else Path(model)
        self.options = options
        self.before_pass: BeforePass | None = None
        self.file = NetworkFile(path, Hardware(device, threads, strict), options.epsilon)

    @overload
    def __call__(self, image: ImageSource) -> Matte: ...
    @overload
    def __call__(self, image: list[ImageSource]) -> list[Matte]: ...
    def __call__(self, image: ImageSource | list[ImageSource]) -> Matte | list[Matte]:
        """The matte of a path, encoded bytes, a PIL image or a uint8 array, at the photo's size.

        A list gives a list.
        """
        if isinstance(image, list):
            return list(self.each(image))
        return self.of(read_photo(image))

    def each(self, images: Iterable[ImageSource]) -> Iterator[Matte]:
        """The mattes of many images, one at a time, to hold only one in memory."""
        for image in images:
            yield self(image)

    def of(self, photo: Photo) -> Matte:
        """The matte of a decoded photo."""
        found = self.finish(self._search(photo.image))
        found = replace(found, icc=photo.icc, dpi=photo.dpi, about=photo.about)
        found = found.faded(photo.opacity)
        if found.subject_found:
            return found
        return replace(found, warnings=(*found.warnings, EMPTY))

    def look(self, image: NDArray[np.uint8]) -> Matte:
        """The matte of one look at a whole image (H, W, 3), unrefined."""
        frame = self.model.frame((image.shape[0], image.shape[1]), self.options.size)
        return _look(self._pass, image, frame)

    def look_at(self, found: Matte, box: Box) -> Matte:
        """A closer look at a part of an image; the first look stays if the two contradict."""
        return look_at(self._pass, self.model, found, self.options.size, box)

    def finish(self, found: Matte) -> Matte:
        """Refine the outline, keep one subject and close its holes, as the options say."""
        if self.options.refine == CLOSED_FORM:
            found = solve_outline(found)
        alpha = keep_subject(found.alpha, self.options.subject)
        if warnings := unmet(found.alpha, self.options.subject):
            found = replace(found, warnings=warnings)
        if self.options.fill_holes:
            alpha = fill_holes(alpha)
        return found if alpha is found.alpha else found.changed(alpha)

    def _search(self, image: NDArray[np.uint8]) -> Matte:
        if self.options.rotate_search:
            return search_turn(self._found, self._detail, image)
        return self._detail(self._found(image))

    def _found(self, image: NDArray[np.uint8]) -> Matte:
        found = self.look(image)
        if self.options.framing != WHOLE:
            found = look_closer(self._pass, self.model, found, self.options.size)
        return found

    def _look_again(self, image: NDArray[np.uint8]) -> Plane | None:
        """Alpha (h, w) of the mirrored photo at half the size; None for a fixed input size."""
        if self.model.size:
            return None
        side = max(MULTIPLE, (self.options.size or self.model.side) // 2 // MULTIPLE * MULTIPLE)
        frame = self.model.frame((image.shape[0], image.shape[1]), side)
        small = np.ascontiguousarray(resize(image, frame.inner)[:, ::-1])  # of uint8, for speed
        planes = self._pass(replace(frame, photo=frame.inner).fit(small).transpose(2, 0, 1)[None])
        return np.ascontiguousarray(frame.inside(planes.alpha)[:, ::-1])

    def _detail(self, found: Matte) -> Matte:
        if self.options.tiles:
            found = look_in_tiles(self._pass, self.model, found)
        return replace(found, second=self._look_again(found.image))

    def _pass(self, image: NDArray[np.float32]) -> Planes:
        if self.before_pass:
            self.before_pass()
        return self.file.load()(image)

    @property
    def model(self) -> ModelFile:
        """The checked file. Raises WeightsError."""
        return self.file.model

    def sharing(
        self, options: MattingOptions, before_pass: BeforePass | None = None
    ) -> "Predictor":
        """A Predictor with other options on the same network, which is loaded only once.

        `before_pass` is called before each pass of the network; an exception of it ends the work.
        Raises LatefusionError for another `epsilon`, which belongs to the network.
        """
        if options.epsilon != self.options.epsilon:
            raise LatefusionError(
                f"epsilon {options.epsilon} is not {self.options.epsilon}, that of the network to"
                f" share; give epsilon={self.options.epsilon}, or load another Predictor"
            )
        other = copy(self)
        other.options, other.before_pass = options, before_pass
        return other

    def counted(self, before_pass: BeforePass) -> "Predictor":
        """A Predictor with the same options on the same network; see `sharing`."""
        return self.sharing(self.options, before_pass)

    def load(self) -> None:
        """Load the network now, rather than at the first photo. Raises as a call does."""
        self.file.load()

    @property
    def device(self) -> str:
        """The device in use, one of devices.DEVICES; loads the network."""
        return self.file.load().device


def predict(network: Network, photo: Photo, frame: Letterbox) -> Matte:
    """The matte of one look in any runtime: resize and pad, run, and restore alpha."""
    found = replace(_look(network, photo.image, frame), icc=photo.icc, dpi=photo.dpi)
    return found.faded(photo.opacity)


def _look(network: Network, image: NDArray[np.uint8], frame: Letterbox) -> Matte:
    """The matte of the pixels, without profile and opacity."""
    planes = network(frame.fit(image).transpose(2, 0, 1)[None])  # (1, 3, H, W)
    return Matte(image, frame.restore(planes.alpha), planes, frame)


@cache
def default_predictor() -> Predictor:
    """The one Predictor of the package's weights that `latefusion.matte` and `remove` share."""
    return Predictor()


def load(
    model: str | os.PathLike[str] = "lite",
    options: MattingOptions = DEFAULTS,
    *,
    device: str = AUTO,
    threads: int | None = None,
    strict: bool = False,
) -> Predictor:
    """Load a network: `predictor = latefusion.load(); predictor("me.jpg").cutout()`.

    `model` is `lite`, which ships with the package, or an exported .onnx file; the rest is as in
    Predictor. Raises WeightsError and DeviceError.
    """
    path = None if model == "lite" else model
    predictor = Predictor(path, options, device=device, threads=threads, strict=strict)
    predictor.load()
    return predictor


def matte(image: ImageSource) -> Matte:
    """Make the matte of a photo with the default weights and options.

    `image` is a path, encoded bytes, a PIL image or a uint8 RGB array. Raises ImageError.
    """
    return default_predictor()(image)
