import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from latefusion.images.foreground import enlarged, estimate_foreground


def mixed_portrait(height: int, width: int) -> tuple[NDArray[np.float32], ...]:
    """Image, alpha and true foreground: a soft-edged subject left of the middle on a busy room."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    y, x = y.astype(np.float32), x.astype(np.float32)
    distance = np.hypot((x - 0.35) * 1.3, y - 0.5)
    strands = 0.02 * np.sin(40 * np.arctan2(y - 0.5, x - 0.35))
    alpha = np.clip((0.3 + strands - distance) / 0.08 + 0.5, 0, 1)
    fg = np.stack([200 - 60 * y, 120 + 60 * x, 60 + 20 * np.sin(30 * x)], axis=2)
    bg = np.stack([40 + 30 * np.sin(25 * y), 90 + 100 * x, 190 - 80 * y], axis=2)
    image = alpha[:, :, None] * fg + (1 - alpha[:, :, None]) * bg
    return np.rint(image), alpha, fg


@pytest.mark.parametrize("size", [(300, 400), (1500, 1100)])
def test_the_subjects_own_colour_is_recovered(size: tuple[int, int]) -> None:
    image, alpha, fg = mixed_portrait(*size)
    estimate = estimate_foreground(image.astype(np.uint8), alpha)

    soft = (alpha > 0.1) & (alpha < 0.9)
    kept = np.abs(image - fg)[soft].mean()
    left = np.abs(estimate - fg)[soft].mean()
    assert left < kept / 12  # 1 / 15 to 1 / 20 when this was written


def test_a_grey_edge_over_white_shows_no_trace_of_white() -> None:
    # A hard case: (200, 180, 160) at alpha 128 over white must not come out lighter.
    alpha = np.zeros((40, 60), np.float32)
    alpha[:, :30], alpha[:, 30:32] = 1, 128 / 255
    image = 255 + alpha[:, :, None] * (np.array([200, 180, 160]) - 255)
    estimate = estimate_foreground(np.rint(image).astype(np.uint8), alpha)
    np.testing.assert_allclose(
        estimate[:, 30:32], np.broadcast_to((200, 180, 160), (40, 2, 3)), atol=3
    )


def test_opaque_pixels_keep_the_photos_colour_exactly() -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    _, alpha, _ = mixed_portrait(90, 120)
    estimate = estimate_foreground(image, alpha)
    opaque = alpha >= 0.999
    assert opaque.sum() > 500
    np.testing.assert_array_equal(estimate[opaque], image[opaque])


def test_pixels_far_from_the_subject_are_black() -> None:
    image, alpha, fg = mixed_portrait(300, 400)
    estimate = estimate_foreground(image.astype(np.uint8), alpha)
    assert (estimate[:, 300:] == 0).all()
    first_clear = 140 + int(np.argmax(alpha[150, 140:] == 0))
    np.testing.assert_allclose(estimate[150, first_clear], fg[150, first_clear], atol=20)


@pytest.mark.parametrize("level", [0, 0.5, 1])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (700, 1), (33, 20), (1, 40_000)])
def test_any_size_and_any_constant_alpha_gives_valid_colours(
    size: tuple[int, int], level: float
) -> None:
    image = np.full((*size, 3), (250, 120, 5), np.uint8)
    estimate = estimate_foreground(image, np.full(size, level, np.float32))
    expected = image if level else np.zeros_like(image)
    np.testing.assert_allclose(estimate, expected, atol=1)


def test_sampled_pixels_equal_those_of_the_enlarged_picture() -> None:
    colours = np.random.default_rng(2).random((30, 20, 3), np.float32) * 255
    whole = cv2.resize(colours, (170, 260), interpolation=cv2.INTER_LINEAR)
    places = np.arange(33, 260 * 170, 7)
    for found in enlarged((colours, colours), places, (260, 170)):
        np.testing.assert_allclose(found, whole.reshape(-1, 3)[places], atol=3)  # 1/32 pixel steps
