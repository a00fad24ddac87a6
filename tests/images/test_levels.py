import numpy as np

from latefusion.images.levels import to_deep_levels, to_levels

PLANE = np.array([[0, 0.5, 0.999, 1]], np.float32)


def test_levels_are_rounded_not_truncated() -> None:
    assert to_levels(PLANE).tolist() == [[0, 128, 255, 255]]


def test_deep_levels_distinguish_values_that_levels_do_not() -> None:
    assert to_deep_levels(PLANE).tolist() == [[0, 32768, 65469, 65535]]
    fine = np.arange(65536, dtype=np.float32).reshape(512, 128) / np.float32(65535)
    np.testing.assert_array_equal(to_deep_levels(fine).ravel(), np.arange(65536))
