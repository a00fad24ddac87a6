"""Code written for rembg, with another import; after the examples of its README."""

import inspect
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from latefusion import new_session, remove
from latefusion.errors import LatefusionError
from tests.helpers.profiles import DISPLAY_P3, as_srgb, difference

SAMPLE = Path(__file__).parents[1] / "examples" / "astronaut.jpg"


def sample() -> Image.Image:
    with Image.open(SAMPLE) as image:
        image.load()
    return image


def check(cutout: np.ndarray) -> None:
    """The astronaut is there, the flag behind her is not."""
    height, width = cutout.shape[:2]
    assert cutout.shape[2] == 4
    assert cutout[height // 5, round(0.43 * width), 3] > 250
    assert cutout[height // 20, width // 20, 3] == 0


def test_input_and_output_as_bytes(tmp_path: Path) -> None:
    output_path = tmp_path / "output.png"
    with SAMPLE.open("rb") as i, output_path.open("wb") as o:
        input = i.read()
        output = remove(input)
        o.write(output)
    with Image.open(output_path) as image:
        assert image.format == "PNG"
        check(np.asarray(image))


def test_input_and_output_as_a_pil_image(tmp_path: Path) -> None:
    input = sample()
    output = remove(input)
    output.save(tmp_path / "output.png")
    check(np.asarray(output))


def test_input_and_output_as_a_numpy_array(tmp_path: Path) -> None:
    input = np.asarray(cv2.imread(str(SAMPLE)), np.uint8)
    output = remove(input)
    assert cv2.imwrite(str(tmp_path / "output.png"), output)
    check(output)
    middle = tuple(length // 2 for length in input.shape[:2])
    assert np.abs(output[middle][:3].astype(int) - input[middle]).max() <= 2  # still BGR


def test_force_return_bytes() -> None:
    output = remove(sample(), force_return_bytes=True)
    with Image.open(io.BytesIO(output)) as image:
        check(np.asarray(image))


def test_a_session_for_many_files(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'u2net' of rembg means latefusion's own network"):
        session = new_session("u2net")
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(SAMPLE.read_bytes())
    for file in tmp_path.glob("*.jpg"):
        output_path = file.parent / (file.stem + ".out.png")
        output_path.write_bytes(remove(file.read_bytes(), session=session))
    assert len(list(tmp_path.glob("*.out.png"))) == 2


def test_only_mask_and_post_process() -> None:
    mask = remove(sample(), only_mask=True, post_process_mask=True)
    assert mask.mode == "L"
    assert mask.size == sample().size


def test_alpha_matting_is_taken_and_a_colour_comes_behind() -> None:
    with pytest.warns(
        UserWarning, match="remove ignores alpha_matting, .*_erode_size; see"
    ) as said:
        output = remove(
            sample(),
            alpha_matting=True,
            alpha_matting_foreground_threshold=270,
            alpha_matting_background_threshold=20,
            alpha_matting_erode_size=11,
            bgcolor=(255, 0, 255, 255),
        )
    assert [each.filename for each in said] == [__file__]
    assert output.getpixel((0, 0)) == (255, 0, 255, 255)
    clear = np.asarray(remove(sample(), bgcolor=(255, 0, 255, 0)))
    check(clear)


def test_a_wrong_colour_is_one_line() -> None:
    with pytest.raises(LatefusionError, match=r"bgcolor .* is not"):
        remove(sample(), bgcolor=(1, 2, 3))  # type: ignore[arg-type]


def test_a_background_has_the_colour_that_was_asked_for_on_a_photo_with_a_profile() -> None:
    photo = sample()
    photo.info["icc_profile"] = DISPLAY_P3
    cutout = remove(photo, bgcolor=(0, 177, 64, 255))
    assert cutout.info["icc_profile"] == DISPLAY_P3
    corner = np.asarray(cutout)[:3, :3, :3]
    shown = as_srgb(np.ascontiguousarray(corner), DISPLAY_P3)
    assert difference(shown, np.full_like(shown, (0, 177, 64))).max() < 1


def test_arguments_of_rembg_without_effect_are_named() -> None:
    with pytest.warns(UserWarning, match="remove ignores putalpha; see"):
        remove(sample(), putalpha=True)
    with pytest.warns(UserWarning, match="new_session ignores sess_opts; see"):
        new_session(sess_opts=None)
    with pytest.warns(UserWarning, match="new_session ignores providers; see"):
        new_session(providers=["NoSuchProvider"])
    session = new_session(providers=[("CPUExecutionProvider", {})])
    assert session.device == "cpu"


@pytest.mark.parametrize("name", ["sam", "bria-rmbg", "u2net_custom", "birefnet-of-next-year"])
def test_all_names_of_rembg_mean_this_network(name: str) -> None:
    with pytest.warns(UserWarning, match=f"'{name}' of rembg means"):
        assert new_session(name).model.path.stem == "lite"


def test_other_names_are_refused() -> None:
    with pytest.raises(LatefusionError, match="nobody"):
        new_session("nobody")


def test_the_arguments_are_those_of_rembg_in_its_order() -> None:
    """As of rembg 2.0.86, whose own requirements do not fit beside this package's."""
    assert list(inspect.signature(remove).parameters) == [
        *("data", "alpha_matting", "alpha_matting_foreground_threshold"),
        *("alpha_matting_background_threshold", "alpha_matting_erode_size", "session"),
        *("only_mask", "post_process_mask", "decontaminate", "vitmatte", "vitmatte_model"),
        *("bgcolor", "force_return_bytes", "args", "kwargs"),
    ]
