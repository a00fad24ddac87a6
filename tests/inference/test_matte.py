import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageShow

from latefusion.errors import ImageError, LatefusionError, OutputError
from latefusion.images.exif import Exif, Value
from latefusion.images.framing import Letterbox
from latefusion.images.metadata import Metadata
from latefusion.inference.matte import Matte
from latefusion.inference.outputs import Look
from latefusion.runtime.planes import Planes
from tests.helpers.mattes import red_on_green, whole


def test_planes_are_enlarged_to_the_photo_when_they_are_asked_for() -> None:
    fg = np.zeros((32, 64), np.float32)
    fg[4:28, :32] = 1  # the photo lies in rows 4 to 28
    planes = Planes(fg, fg, 1 - fg, fg * np.float32(0.5), 0.25)
    matte = Matte(
        np.zeros((48, 128, 3), np.uint8),
        np.zeros((48, 128), np.float32),
        planes,
        Letterbox((48, 128), (24, 64), (32, 64)),
    )
    for plane, level in ((matte.fg, 1), (matte.bg, 0), (matte.blend, 0.5)):
        assert plane.shape == (48, 128)
        np.testing.assert_allclose(plane[:, :60], level, atol=1e-6)
    assert matte.fused == 0.25


def test_doubt_is_how_far_the_branches_disagree() -> None:
    matte = red_on_green()
    np.testing.assert_allclose(matte.doubt, np.abs(matte.fg + matte.bg - 1))
    assert matte.doubt.max() > 0.3
    assert matte.doubt[0, 0] == 0


def test_the_expected_error_is_greatest_where_alpha_is_undecided() -> None:
    levels = np.tile(np.array([0, 0.1, 0.5, 0.9, 1], np.float32), (4, 1))
    expected = planes(levels, 1 - levels).expected_error[0]
    assert expected[[0, 4]].tolist() == [0, 0]
    assert 0.1 < expected[1] < expected[2] < 0.6
    assert expected[3] == pytest.approx(expected[1])
    assert planes(levels.round(), 1 - levels.round()).confidence == 1
    assert planes(levels, 1 - levels).confidence < 0.01


def test_confidence_falls_as_more_pixels_are_undecided() -> None:
    mattes = []
    for share in (1, 2, 4, 8, 16):
        fg = np.zeros((100, 100), np.float32)
        fg[:share] = 0.5
        fg[-20:] = 1
        mattes.append(planes(fg, 1 - fg))
    confidences = [matte.confidence for matte in mattes]
    assert confidences == sorted(confidences, reverse=True)
    assert len(set(confidences)) == 5


def test_a_cutout_is_straight_and_free_of_the_old_background() -> None:
    matte = red_on_green()
    cutout = matte.cutout()
    assert cutout.shape == (40, 60, 4)
    np.testing.assert_array_equal(cutout[:, :, 3], np.rint(matte.alpha * 255))
    soft = (matte.alpha > 0.1) & (matte.alpha < 0.9)
    assert matte.image[soft].astype(int)[:, 1].max() > 140  # green shines through in the photo
    np.testing.assert_allclose(cutout[soft][:, :3], [[220, 10, 10]] * soft.sum(), atol=12)


def test_over_a_colour_mixes_by_alpha() -> None:
    matte = red_on_green()
    for blue in ("blue", "#0000ff", (0, 0, 255)):
        composite = matte.over(blue)
        expected = matte.alpha[:, :, None] * (220, 10, 10) + (1 - matte.alpha[:, :, None]) * (
            0, 0, 255)  # fmt: skip
        np.testing.assert_allclose(composite, expected, atol=8)
        assert composite[0, 59].tolist() == [0, 0, 255]
        assert composite[0, 0].tolist() == [220, 10, 10]


def test_over_an_image_fills_the_photos_size(tmp_path: Path) -> None:
    beach = np.zeros((30, 300, 3), np.uint8)
    beach[:, 150:] = (9, 8, 200)  # the middle of the crop
    path = tmp_path / "white beach.png"
    Image.fromarray(beach).save(path)
    for background in (beach, path, str(path), Image.fromarray(beach), path.read_bytes()):
        composite = red_on_green(600, 900).over(background)
        assert composite.shape == (600, 900, 3)
        assert composite[599, 890].tolist() == [9, 8, 200]
        assert composite[300, 430].tolist() == [0, 0, 0]


@pytest.mark.parametrize("background", ["no such colour", (0, 0), (0, 0, 256), "#ff000080"])
def test_a_background_that_is_none_is_refused(background: object) -> None:
    with pytest.raises(ImageError, match="colour"):
        red_on_green().over(background)  # type: ignore[arg-type]


def planes(fg: NDArray[np.float32], bg: NDArray[np.float32]) -> Matte:
    return whole(np.zeros((*fg.shape, 3), np.uint8), fg, fg, bg, fg)


def test_the_trimap_is_unknown_around_the_outline() -> None:
    fg = np.zeros((300, 512), np.float32)
    fg[100:250, 50:300] = 1
    trimap = planes(fg, 1 - fg).trimap()
    assert np.unique(trimap).tolist() == [0, 128, 255]
    row, column = trimap[175], trimap[:, 150]
    assert np.flatnonzero(row == 128).tolist() == [*range(40, 60), *range(290, 310)]
    assert np.flatnonzero(column == 128).tolist() == [*range(90, 110), *range(240, 260)]
    assert (row[60:290] == 255).all()


def test_the_trimap_band_grows_with_the_photo() -> None:
    fg = np.zeros((50, 1024), np.float32)
    fg[:, :400] = 1
    assert (planes(fg, 1 - fg).trimap()[25] == 128).sum() == 40


def test_a_trimap_has_the_width_and_the_threshold_that_were_asked_for() -> None:
    fg = np.zeros((300, 1024), np.float32)
    fg[100:250, 50:300] = 1
    fg[100:250, 300:350] = 0.3
    row = planes(fg, 1 - fg).trimap(width=20)[175]  # the write-up's kernel at any size
    assert np.flatnonzero(row == 128).tolist() == [*range(40, 60), *range(290, 310)]
    row = planes(fg, 1 - fg).trimap(width=6, threshold=0.25)[175]
    assert np.flatnonzero(row == 128).tolist() == [*range(47, 53), *range(347, 353)]
    assert (planes(fg, 1 - fg).trimap(width=0) != 128).all()


@pytest.mark.parametrize(
    ("width", "unknown"), [(1, 0), (2, 2), (3, 2), (4, 4), (7, 6), (9, 8), (9.9, 8), (True, 0)]
)
def test_an_odd_kernel_is_as_wide_as_asked_and_an_even_one_a_pixel_wider(
    width: float, unknown: int
) -> None:
    fg = np.zeros((40, 90), np.float32)
    fg[:, 30:] = 1
    assert (planes(fg, 1 - fg).trimap(width)[20] == 128).sum() == unknown


def test_a_kernel_wider_than_the_photo_leaves_nothing_sure() -> None:
    fg = np.zeros((4, 9), np.float32)
    fg[:, 2:] = 1
    assert (planes(fg, 1 - fg).trimap(width=1e9) == 128).all()
    assert (planes(0 * fg, 1 + 0 * fg).trimap(width=1e9) == 0).all()


@pytest.mark.parametrize("options", [{"width": -1}, {"width": np.nan}, {"threshold": 1.5}])
def test_a_trimap_that_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(LatefusionError, match=r"a trimap's (width is 0 or|threshold is from 0)"):
        red_on_green().trimap(**options)


def test_what_one_branch_alone_claims_is_unknown() -> None:
    nothing, everything = np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)
    assert (planes(nothing, nothing).trimap() == 128).all()
    assert (planes(everything, everything).trimap() == 128).all()
    assert (planes(everything, nothing).trimap() == 255).all()
    assert (planes(nothing, everything).trimap() == 0).all()


def test_a_matte_is_told_in_one_line() -> None:
    text = repr(red_on_green())
    assert "\n" not in text
    assert re.fullmatch(r"<Matte 60 x 40, 3\d% subject, confidence 0\.\d\d>", text)


def test_a_matte_saves_its_pictures(tmp_path: Path) -> None:
    matte = replace(red_on_green(), icc=b"profile", dpi=(300.0, 300.0))
    matte.save(tmp_path / "cut.png")
    matte.save(str(tmp_path / "alpha.tiff"), "alpha", Look(bits=16))
    matte.save(tmp_path / "blue.jpg", look=Look("#0000ff", crop=True, margin=0))
    with Image.open(tmp_path / "cut.png") as cutout:
        assert cutout.info["icc_profile"] == b"profile"
        np.testing.assert_array_equal(np.asarray(cutout), matte.cutout())
    with Image.open(tmp_path / "alpha.tiff") as alpha:
        assert alpha.mode.startswith("I;16")
    with Image.open(tmp_path / "blue.jpg") as blue:
        assert blue.size[0] < 30
    with pytest.raises(OutputError, match="JPEG cannot store transparency"):
        matte.save(tmp_path / "cut.jpg")
    with pytest.raises(OutputError, match="unknown kind 'mask'; choose one of cutout, alpha"):
        matte.save(tmp_path / "mask.png", "mask")


def test_a_matte_gives_pil_images() -> None:
    matte = replace(red_on_green(), icc=b"profile", dpi=(300.0, 300.0))
    cutout, alpha = matte.to_pil(), matte.to_pil("alpha", Look(bits=16))
    assert (cutout.mode, cutout.size) == ("RGBA", (60, 40))
    assert cutout.info == {"icc_profile": b"profile", "dpi": (300.0, 300.0)}
    assert alpha.info == {"dpi": (300.0, 300.0)}
    np.testing.assert_allclose(np.asarray(alpha) / 65535, matte.alpha, atol=1e-4)


def test_a_pil_image_has_the_metadata_of_the_photo(tmp_path: Path) -> None:
    rights = b"\x1c\x02\x74\x00\x09" + "(c) José".encode()
    about = Metadata(Exif({0x8298: Value(2, b"me\0")}), iptc=rights)
    matte = replace(red_on_green(), about=about, dpi=(300.0, 200.0))
    cutout = matte.to_pil()
    assert cutout.getexif()[0x8298] == "me"
    assert cutout.getexif()[0x011B] == 200
    assert "(c) José" in cutout.info["xmp"].decode()
    for suffix in ("png", "webp", "tif"):
        path = tmp_path / f"cut.{suffix}"
        cutout.save(path, exif=cutout.info["exif"])
        with Image.open(path) as found:
            assert found.getexif()[0x8298] == "me"
    assert set(matte.to_pil(look=Look(strip=True)).info) == {"dpi"}


def test_a_notebook_shows_the_preview() -> None:
    matte = red_on_green()
    with Image.open(io.BytesIO(matte._repr_png_())) as shown:
        assert shown.format == "PNG"
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(matte.to_pil("preview")))


def test_show_opens_the_viewer_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Image.Image] = []

    class Listening(ImageShow.Viewer):
        def show(self, image: Image.Image, **_: object) -> int:
            seen.append(image)
            return 1

    monkeypatch.setattr(ImageShow, "_viewers", [Listening()])
    red_on_green().show("alpha")
    red_on_green().show()
    assert [image.size for image in seen] == [(60, 40), (240, 40)]


@pytest.mark.parametrize("opacity", [0.5, 0.1])
def test_the_colours_of_a_transparent_photo_are_its_own(opacity: float) -> None:
    """Half transparent is not half background: the red stays red."""
    opaque = red_on_green()
    plane = np.full(opaque.alpha.shape, opacity, np.float32)
    plane[:20] = 0
    faded = opaque.faded(plane)
    np.testing.assert_allclose(faded.alpha[20:], opaque.alpha[20:] * opacity)
    np.testing.assert_allclose(faded.mix[20:], opaque.alpha[20:], atol=1e-6)
    cutout = faded.cutout()
    inside = np.abs(cutout[20:, :15, :3].astype(int) - (220, 10, 10))
    assert inside.max() <= 8
    assert cutout[25, 3, 3] == round(255 * opacity)
    assert (cutout[:10] == 0).all()
    white = faded.over("white")[25, 3]
    assert np.abs(white - (opacity * np.array([220, 10, 10]) + (1 - opacity) * 255)).max() <= 2
    assert opaque.faded(None) is opaque
