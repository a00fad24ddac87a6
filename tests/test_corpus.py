import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import corpus
from latefusion.errors import ImageError
from latefusion.reading import PHOTO_SUFFIXES, read_photo
from latefusion.writing import Picture, write_picture

GOOD, BAD = corpus.good(), corpus.bad()


def test_the_corpus_is_large_enough() -> None:
    names = [case.name for case in GOOD] + [case.name for case in BAD]
    assert len(names) == len(set(names)) >= 40


@pytest.mark.parametrize("case", GOOD, ids=[case.name for case in GOOD])
def test_a_good_file_gives_its_pixels(case: corpus.Good, tmp_path: Path) -> None:
    path = tmp_path / case.name
    path.write_bytes(case.data)
    photo = read_photo(path)
    assert photo.image.shape == case.pixels.shape
    off = np.abs(photo.image.astype(float) - case.pixels).mean()
    assert off <= case.tolerance
    if case.opacity is None:
        assert photo.opacity is None
    else:
        assert photo.opacity is not None
        assert np.abs(photo.opacity - case.opacity).max() < 0.005
    assert bool(photo.icc) == case.profile
    if case.dpi:
        assert photo.dpi == pytest.approx(case.dpi, rel=1e-3)


@pytest.mark.parametrize("case", BAD, ids=[case.name for case in BAD])
def test_a_bad_file_is_one_line(case: corpus.Bad, tmp_path: Path) -> None:
    path = tmp_path / case.name
    path.write_bytes(case.data)
    with pytest.raises(ImageError) as caught:
        read_photo(path)
    line = str(caught.value)
    assert line.startswith(f"{path} ")
    assert case.words in line
    assert "\n" not in line


def test_heic_is_read_upright(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs latefusion[heic]")
    image = Image.fromarray(corpus.PIXELS.transpose(1, 0, 2)[::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.heic"
    heif.from_pillow(image).save(path, quality=95, exif=exif.tobytes())
    found = read_photo(path).image
    assert found.shape == corpus.PIXELS.shape
    assert np.abs(found.astype(float) - corpus.PIXELS).mean() < 6


def test_heic_without_its_package_names_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 99)
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from latefusion.reading import read_photo\n"
        f"read_photo({str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("is HEIC; pip install 'latefusion[heic]'\n")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_places_that_are_no_files_are_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, words in {
        "pipe.jpg": "is a pipe or a device",
        "/dev/zero": "is a pipe or a device",
        "dangling.jpg": "does not exist",
        "loop.jpg": "cannot be opened",
        "missing.jpg": "does not exist",
        ".": "is a folder",
    }.items():
        with pytest.raises(ImageError, match=words):
            read_photo(tmp_path / name)


NAMES = [
    "a b.jpg",
    "größe 写真 👩.jpg",
    "-x.jpg",
    "n\nl.jpg",
    "%20.jpg",
    "'\".jpg",
    "a.b.c.jpg",
    ".jpg",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(GOOD[0].data)
    assert read_photo(tmp_path / name).image.shape == corpus.PIXELS.shape


SEEDS = [
    case.data for case in GOOD if case.name in ("plain.jpg", "plain.png", "plain.webp", "lzw.tiff")
]


@pytest.mark.filterwarnings("ignore")  # of Pillow, about what is odd in a file
@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_mutated_files_give_pixels_or_one_line(seed: bytes, data: st.DataObject) -> None:
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)))
    with suppress(ImageError):
        assert read_photo(bytes(mutated[: cut or None])).image.ndim == 3


def second_program(path: Path) -> dict[str, str]:
    """What ImageMagick says of a file."""
    keys = {"size": "%wx%h", "depth": "%z", "dpi": "%x", "unit": "%U", "profile": "%[profile:icc]"}
    keys |= {"orientation": "%[orientation]"}
    command = ["identify", "-format", "\\n".join(keys.values()), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(zip(keys, done.stdout.split("\n"), strict=False))


@pytest.mark.skipif(shutil.which("identify") is None, reason="needs ImageMagick")
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_second_program_sees_what_was_kept(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(corpus.PIXELS.transpose(1, 0, 2)[::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = corpus.profile("sRGB")
    image.save(tmp_path / "in.jpg", exif=exif, dpi=(300, 300), icc_profile=profile, quality=95)
    photo = read_photo(tmp_path / "in.jpg")
    path = (tmp_path / "out").with_suffix(suffix)
    write_picture(path, Picture(photo.image, photo.icc, photo.dpi))
    seen = second_program(path)
    assert seen["size"] == f"{corpus.WIDTH}x{corpus.HEIGHT}"
    assert seen["profile"].startswith("sRGB")
    assert seen["orientation"] in ("Undefined", "TopLeft")
    per_inch = float(seen["dpi"].split()[0]) * (2.54 if "Centimeter" in seen["unit"] else 1)
    assert per_inch == pytest.approx(300, rel=1e-3)
    write_picture(path, Picture(np.full((20, 30), 32896, np.uint16)))
    assert second_program(path)["depth"] == "16"


def test_every_suffix_of_a_folder_walk_is_readable() -> None:
    assert {Path(case.name).suffix for case in GOOD} <= set(PHOTO_SUFFIXES)
