"""`remove` and `new_session` with rembg's names and types: to switch, change the import."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.errors import LatefusionError
from latefusion.images.compositing import read_background
from latefusion.images.levels import to_levels
from latefusion.images.writing import Picture, write_picture
from latefusion.inference.matte import Matte, as_pil
from latefusion.inference.predictor import Predictor, default_predictor, load
from latefusion.inference.subject import LARGEST, keep_subject
from latefusion.runtime.devices import AUTO, PROVIDERS

Given = TypeVar("Given", bytes, Image.Image, NDArray[np.uint8])

# The models of rembg 2.0.86; it names others of the same families each year.
FOREIGN = (
    *("u2net", "u2netp", "u2net_human_seg", "u2net_cloth_seg", "u2net_custom", "silueta"),
    *("isnet-general-use", "isnet-anime", "dis_custom", "ben_custom", "bria-rmbg", "sam"),
    *("birefnet-general", "birefnet-general-lite", "birefnet-general-fp16", "birefnet-portrait"),
    *("birefnet-dis", "birefnet-hrsod", "birefnet-cod", "birefnet-massive"),
    *("withoutbg", "atlascloud"),
)
FAMILIES = ("birefnet-", "bria-", "u2net", "isnet-")
# Arguments of `remove` without effect, and their defaults.
NO_EFFECT = {
    "alpha_matting": False,
    "alpha_matting_foreground_threshold": 240,
    "alpha_matting_background_threshold": 10,
    "alpha_matting_erode_size": 10,
    "decontaminate": False,
    "vitmatte": False,
    "vitmatte_model": None,
}
PROVIDER_DEVICES = {provider: device for device, provider in PROVIDERS.items()}


def new_session(
    model_name: str = "lite",
    *args: object,
    providers: Sequence[str | tuple[str, Any]] | None = None,
    **kwargs: object,
) -> Predictor:
    """Load a network for `remove(..., session=...)`; the names of rembg's models mean `lite`.

    The first of `providers`, those of ONNX Runtime, chooses the device. Warns of a name of rembg
    and of arguments without effect. Raises WeightsError for any other name that is no .onnx file.
    """
    names = [each if isinstance(each, str) else each[0] for each in providers or ()]
    device = PROVIDER_DEVICES.get(names[0], AUTO) if names else AUTO
    unknown = {"providers": names} if names and device == AUTO else {}
    _warn("new_session", args, {**kwargs, **unknown})
    if not is_foreign(model_name):
        return load(model_name, device=device)
    text = f"{model_name!r} of rembg means latefusion's own network here, 'lite'"
    warnings.warn(f"{text}; leave the name out", stacklevel=2)
    return load("lite", device=device)


def _warn(function: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
    """Warn of arguments without effect, once for each place that calls."""
    names = [*kwargs, *([f"{len(args)} positional arguments"] if args else [])]
    if names:
        text = f"{function} ignores {', '.join(names)}; see docs/python.md, From rembg"
        warnings.warn(text, stacklevel=3)


def is_foreign(model_name: str) -> bool:
    """True for the name of one of rembg's models."""
    return model_name in FOREIGN or model_name.startswith(FAMILIES)


def remove(
    data: Given,
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    session: Predictor | None = None,
    only_mask: bool = False,
    post_process_mask: bool = False,
    decontaminate: bool = False,
    vitmatte: bool = False,
    vitmatte_model: str | None = None,
    bgcolor: tuple[int, int, int, int] | None = None,
    force_return_bytes: bool = False,
    *args: object,
    **kwargs: object,
) -> Any:
    """Cut out an image; the result has its type: bytes (of a PNG), PIL image or uint8 array.

    An array is (H, W, 3) or (H, W, 4) RGB; the result keeps the order of its channels and adds
    alpha. `only_mask` gives alpha, (H, W); `post_process_mask` keeps the largest subject only;
    `bgcolor` (r, g, b, a) is the background. The arguments in NO_EFFECT have none, nor have others
    that rembg hands to its models: alpha is soft and the colours are the subject's own in any case.
    Warns of those that are given. Raises ImageError.
    """
    given = (
        *(alpha_matting, alpha_matting_foreground_threshold, alpha_matting_background_threshold),
        *(alpha_matting_erode_size, decontaminate, vitmatte, vitmatte_model),
    )
    pairs = zip(NO_EFFECT.items(), given, strict=True)
    _warn(
        "remove", args, {name: value for (name, usual), value in pairs if value != usual} | kwargs
    )
    matte = (session or default_predictor())(data)
    picture = removed(matte, only_mask, post_process_mask, bgcolor)
    if force_return_bytes or isinstance(data, bytes | bytearray | memoryview):
        return _png(picture)
    return as_pil(picture) if isinstance(data, Image.Image) else picture.pixels


def removed(
    matte: Matte,
    only_mask: bool = False,
    post_process_mask: bool = False,
    bgcolor: tuple[int, ...] | None = None,
) -> Picture:
    """The result of `remove` as a picture with the photo's profile and resolution.

    Raises LatefusionError for a wrong colour.
    """
    if post_process_mask:
        matte = matte.changed(keep_subject(matte.alpha, LARGEST))
    pixels = to_levels(matte.alpha) if only_mask else matte.cutout()
    if bgcolor is not None and not only_mask:
        pixels = _on(bgcolor, matte)
    return Picture(pixels, icc=matte.icc if pixels.ndim == 3 else None, dpi=matte.dpi)


def _on(colour: tuple[int, ...], matte: Matte) -> NDArray[np.uint8]:
    """The subject on a colour that may itself be transparent, (H, W, 4)."""
    if len(colour) != 4 or not all(0 <= level <= 255 for level in colour):
        raise LatefusionError(f"bgcolor {colour} is not (r, g, b, a) with levels from 0 to 255")
    cutout = matte.cutout()
    behind = read_background(colour[:3], (1, 1), matte.icc).astype(np.float32)
    alpha, cover = matte.alpha[:, :, None], np.float32(colour[3] / 255)
    both = alpha + (1 - alpha) * cover
    mixed = alpha * cutout[:, :, :3] + (1 - alpha) * cover * behind
    colours = np.divide(mixed, both, out=np.zeros_like(mixed), where=both > 0)
    levels: NDArray[np.uint8] = np.rint(np.dstack([colours, 255 * both])).astype(np.uint8)
    return levels


def _png(picture: Picture) -> bytes:
    stream = io.BytesIO()
    write_picture(stream, picture, "PNG")
    return stream.getvalue()
