"""Golden images, to test every export and compare all runtimes."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latefusion.images.framing import Size

SAMPLE = Path(__file__).parent / "golden.jpg"  # a part of the sample photo in examples/
TURNED = 6  # EXIF orientation: the camera was held upright


def made_up(size: Size, seed: int = 0) -> NDArray[np.uint8]:
    """An image (H, W, 3): a soft-edged orange subject left of the middle, on coloured clouds."""
    rng = np.random.default_rng(seed)
    height, width = size
    clouds = cv2.resize(rng.uniform(0, 255, (5, 7, 3)).astype(np.float32), (width, height))
    y, x = np.mgrid[0:height, 0:width] + 0.5
    distance = np.hypot((x / width - 0.4) / 0.25, (y / height - 0.6) / 0.4)
    alpha = np.clip((1.1 - distance) / 0.2, 0, 1)[:, :, None]
    mixed = alpha * (230, 120, 40) + (1 - alpha) * clouds + rng.normal(0, 4, (height, width, 1))
    levels: NDArray[np.uint8] = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return levels


def write_pictures(folder: Path) -> list[Path]:
    """Write the sample, and synthetic images of odd proportions and hard to decode alike.

    All are lossless except the two JPEGs. Returns their paths.
    """
    paths = []
    for name, picture in _pictures().items():
        paths.append(folder / name)
        picture.save(paths[-1], quality=95, exif=picture.getexif())
    return paths


def _pictures() -> dict[str, Image.Image]:
    with Image.open(SAMPLE) as photo:
        sample = photo.convert("RGB")
    turned = sample.resize((240, 300)).transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = TURNED
    clear = Image.fromarray(made_up((150, 201), seed=4))
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    return {
        "sample.jpg": sample,
        "turned.jpg": turned,
        "odd.png": Image.fromarray(made_up((203, 151), seed=1)),
        "tall.png": Image.fromarray(made_up((411, 97), seed=2)),
        "wide.png": Image.fromarray(made_up((83, 501), seed=3)),
        "large.png": Image.fromarray(made_up((733, 1201), seed=6)),
        "tiny.png": Image.fromarray(made_up((3, 5), seed=5)),
        "clear.png": clear,
        "grey.png": sample.convert("L").resize((131, 200)),
    }
