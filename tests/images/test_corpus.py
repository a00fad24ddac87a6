import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from latefusion.errors import ImageError
from latefusion.images.reading import read_photo
from tests.helpers import corpus
from tests.helpers.corpus import BROKEN, HEALTHY, NAMES, PIXELS, SRGB


@pytest.mark.filterwarnings("ignore:.*left out")  # damaged metadata
@pytest.mark.parametrize("name", HEALTHY)
def test_an_unusual_photo_has_its_expected_pixels(name: str) -> None:
    if "heic" in name:
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    case = HEALTHY[name]()
    photo = read_photo(case.data)
    assert photo.image.shape == case.image.shape
    visible = np.ones(case.image.shape[:2], bool) if case.opacity is None else case.opacity > 0
    error = np.abs(photo.image.astype(int) - case.image)[visible]
    assert error.max() <= case.tolerance
    if case.opacity is None:
        assert photo.opacity is None
    else:
        assert photo.opacity is not None
        assert np.abs(photo.opacity * 255 - case.opacity).max() <= case.tolerance + 0.01


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_photo_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    if "heic" in name:
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    make, problem = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(ImageError) as caught:
        read_photo(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert problem in message
    assert "\n" not in message


def test_the_corpus_has_more_than_100_files() -> None:
    assert len(HEALTHY) + len(BROKEN) + len(NAMES) > 100


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_can_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(corpus.encode(PIXELS))
    np.testing.assert_array_equal(read_photo(Path(name)).image, PIXELS)
    Path(name).write_bytes(b"broken")
    with pytest.raises(ImageError, match="is not an image") as caught:
        read_photo(Path(name))
    assert str(caught.value).isprintable()


def test_a_path_that_is_not_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match=r"dangling.jpg is a link to a missing file"):
        read_photo(tmp_path / "dangling.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(ImageError, match="is a pipe or a device; give a file"):
            read_photo(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_photo_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "me.jpg"
    path.write_bytes(corpus.encode(PIXELS, "JPEG"))
    path.chmod(0)
    with pytest.raises(ImageError, match="cannot be read; change its permissions"):
        read_photo(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_the_profile_and_the_dots_per_inch_are_kept(kind: str) -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 300.0, 240.0, 2
    options = {"exif": exif} if kind in ("WEBP", "AVIF") else {"dpi": (300, 240)}
    photo = read_photo(corpus.encode(PIXELS, kind, icc_profile=SRGB, **options))
    assert photo.icc == SRGB
    assert photo.dpi == (300, 240)


def test_dots_per_centimetre_become_dots_per_inch() -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 100.0, 100.0, 3
    assert read_photo(corpus.encode(PIXELS, "WEBP", exif=exif)).dpi == (254, 254)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_the_resolution_is_turned_with_the_photo(kind: str) -> None:
    assert read_photo(corpus.oriented(6, kind, dpi=(300, 150))).dpi == (150, 300)


@pytest.mark.parametrize("dpi", [(0, 0), (0.2, 300), (1e9, 300)])
def test_an_implausible_resolution_is_dropped(dpi: tuple[float, float]) -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = (*dpi, 2)
    assert read_photo(corpus.encode(PIXELS, "WEBP", exif=exif)).dpi is None


def test_a_profile_of_another_colour_space_is_dropped() -> None:
    assert read_photo(corpus.encode(PIXELS, icc_profile=b"no profile")).icc is None
    assert read_photo(corpus.encode(PIXELS, icc_profile=SRGB[:200])).icc is None
    assert read_photo(corpus.encode(PIXELS, icc_profile=corpus.cmyk_profile())).icc is None
    assert read_photo(corpus.cyan_ink(icc_profile=corpus.cmyk_profile())).icc is None
    assert read_photo(corpus.encode(corpus.GREY, icc_profile=SRGB)).icc == SRGB


def test_a_mask_keeps_its_levels_whatever_its_profile() -> None:
    data = corpus.encode(corpus.GREY, icc_profile=corpus.grey_profile(1))
    assert (read_photo(data).image[:, :, 0] != corpus.GREY).any()
    np.testing.assert_array_equal(read_photo(data, mask=True).image[:, :, 0], corpus.GREY)


@pytest.mark.parametrize("orientation", corpus.STORED)
def test_heic_is_upright(orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    heif.register_heif_opener()
    photo = read_photo(corpus.oriented(orientation, "HEIF", quality=95))
    assert np.abs(photo.image.astype(int) - PIXELS).max() <= 10


def test_heic_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"is a HEIC photo, .*\.\[heic\]"):
        read_photo(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90))


SEEDS = [
    corpus.encode(PIXELS, "JPEG", exif=Image.Exif(), icc_profile=SRGB, dpi=(300, 300)),
    corpus.encode(corpus.RGBA, dpi=(72, 72)),
    corpus.encode(corpus.RGBA, "WEBP"),
    corpus.encode(PIXELS, "TIFF", compression="tiff_lzw"),
    corpus.palette_with_transparency().data,
    corpus.gif().data,
]
CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=12)


@pytest.mark.filterwarnings("ignore:.*left out")  # damaged metadata
@settings(max_examples=400, deadline=2000)
@given(seed=st.sampled_from(SEEDS), changes=CHANGES, length=st.integers(1, 5000))
def test_damaged_photos_give_pixels_or_a_one_line_error(
    seed: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    broken = bytearray(seed)
    for place, level in changes:
        broken[place % len(broken)] = level
    try:
        photo = read_photo(bytes(broken[:length]))
    except ImageError as error:
        assert str(error).isprintable()  # noqa: PT017  there need not be an error
    else:
        assert photo.image.size


def test_a_tiff_without_a_resolution_has_no_dpi() -> None:
    assert read_photo(corpus.encode(PIXELS, "TIFF")).dpi is None
