"""A diagnosis of the installation: versions, devices, and a golden photo's alpha."""

import platform
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from latefusion import __version__
from latefusion.errors import LatefusionError, install_hint
from latefusion.images.reading import read_photo
from latefusion.inference.golden import SAMPLE
from latefusion.inference.options import OFF, WHOLE, MattingOptions
from latefusion.inference.predictor import Predictor
from latefusion.runtime.devices import AUTO, PROVIDERS

GOLDEN_ALPHA = Path(__file__).parent / "golden-alpha.png"  # of the default network on SAMPLE
ROOM = 3  # levels of 255 by which another processor may differ
RUNS = 5

PACKAGES = {  # module -> the distributions that may provide it
    "numpy": ("numpy",),
    "cv2": (
        *("opencv-python-headless", "opencv-python"),
        *("opencv-contrib-python-headless", "opencv-contrib-python"),
    ),
    "PIL": ("Pillow",),
    "typer": ("typer",),
    "rich": ("rich",),
}
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
EXTRAS = {
    "video": ("av", "video, ProRes and VP9 with alpha"),
    "serve": ("fastapi-offline", "matting over HTTP"),
    "ray": ("ray", "many machines, by matte --engine ray"),
    "s3": ("s3fs", "photos in S3, by matte --engine ray"),
    "gs": ("gcsfs", "photos in Google's store, by matte --engine ray"),
    "heic": ("pillow-heif", "photos in HEIC"),
    "raw": ("rawpy", "cameras' RAW files"),
    "train": ("torch", "training, export, info"),
}


class Finding(NamedTuple):
    """One line of the diagnosis; `fine` is None for a fact that is no check."""

    name: str
    text: str
    fine: bool | None = None


def examine(
    model: Path | None = None, device: str = AUTO, threads: int | None = None
) -> Iterator[Finding]:
    """Examine the installation and yield findings; failures are findings, too."""
    yield Finding("latefusion", f"{__version__}, Python {platform.python_version()}")
    yield Finding("machine", f"{platform.system()} {platform.machine()}")
    packages = [name for module, names in PACKAGES.items() for name in installed(module, names)]
    yield Finding("packages", ", ".join(packages))
    yield _runtime()
    yield from _network(model, device, threads)
    for extra, (package, what) in EXTRAS.items():
        found = _version(package)
        yield Finding(
            extra,
            f"{package} {found}: {what}"
            if found
            else f"not installed; for {what}, {install_hint(extra)}",
        )


def _runtime() -> Finding:
    import onnxruntime

    packages = installed("onnxruntime", RUNTIMES)
    available = onnxruntime.get_available_providers()
    devices = [name for name, provider in PROVIDERS.items() if provider in available]
    text = f"{', '.join(packages)}; devices: {', '.join(devices)}"
    if len(packages) > 1:
        return Finding(
            "runtime", f"{text}; uninstall all but one, they overwrite each other", False
        )
    return Finding("runtime", text)


def _network(model: Path | None, device: str, threads: int | None) -> Iterator[Finding]:
    plain = MattingOptions(framing=WHOLE, refine=OFF)
    predictor = Predictor(model, plain, device=device, threads=threads, strict=device != AUTO)
    try:
        start = perf_counter()
        predictor.load()
        loading = perf_counter() - start
        times, alpha = [], np.empty((0, 0), np.float32)
        for _ in range(RUNS):
            start = perf_counter()
            alpha = predictor(SAMPLE).alpha
            times.append(perf_counter() - start)
    except LatefusionError as error:
        yield Finding("network", str(error), False)
        return
    yield Finding("device", f"{predictor.device}: a golden photo ran there", True)
    height, width = alpha.shape
    best = min(times)
    yield Finding(
        "time",
        f"{best:.2f} s for {width} x {height}, {times[0]:.2f} s the first, {loading:.2f} s to load",
    )
    if model is not None:
        return
    try:
        stored = read_photo(GOLDEN_ALPHA).image[:, :, 0]
    except LatefusionError as error:
        yield Finding("golden photo", str(error), False)
        return
    off = float(np.abs(255 * alpha - stored).max())
    yield Finding(
        "golden photo",
        f"alpha differs from the stored one by {off:.1f} levels of 255 at most, {ROOM} allowed",
        off <= ROOM,
    )


def installed(module: str, names: Iterable[str]) -> list[str]:
    """Return each of the distributions that is installed, with its version.

    Without any, as in a frozen program or where something else provides the module: the module's
    own version.
    """
    found = [f"{name} {number}" for name in names if (number := _version(name))]
    own = getattr(import_module(module), "__version__", "of unknown version")
    return found or [f"{module} {own}"]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
