"""The requested device runs, or the user is warned."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from latefusion import Predictor
from latefusion.errors import DeviceError
from latefusion.runtime.devices import PROVIDERS, Hardware

CPU, CUDA = PROVIDERS["cpu"], PROVIDERS["cuda"]
PHOTO = np.zeros((40, 60, 3), np.uint8)


@pytest.mark.parametrize(
    ("device", "available", "providers"),
    [
        ("auto", [CPU], [CPU]),
        ("auto", [CUDA, CPU], [CUDA, CPU]),
        ("cpu", [CUDA, CPU], [CPU]),
        ("cuda", [CUDA, CPU], [CUDA, CPU]),
    ],
)
def test_providers_follow_the_requested_device(
    device: str, available: list[str], providers: list[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Hardware(device, strict=True).providers(available) == providers


def test_a_missing_device_gives_a_warning_or_an_error() -> None:
    with pytest.warns(UserWarning, match="cuda is not available: .* supports only cpu; running on"):
        assert Hardware("cuda").providers([CPU]) == [CPU]
    with pytest.raises(DeviceError, match="pip install onnxruntime-gpu, or leave out --strict"):
        Hardware("cuda", strict=True).providers([CPU])


def test_a_device_that_does_not_start_gives_a_warning_or_an_error() -> None:
    assert Hardware("cuda", strict=True).device_in_use(CUDA, [CUDA, CUDA]) == "cuda"
    with pytest.warns(UserWarning, match="cuda is not available: it did not start"):
        assert Hardware("cuda").device_in_use(CUDA, [CUDA, CPU]) == "cpu"
    with pytest.raises(
        DeviceError, match="cuda is not available: it did not start, check its driver"
    ):
        Hardware("cuda", strict=True).device_in_use(CUDA, [CUDA, CPU])
    assert Hardware("auto", strict=True).device_in_use(CUDA, [CUDA, CPU]) == "cpu"


def test_an_unknown_device_and_an_invalid_number_of_threads_are_refused() -> None:
    with pytest.raises(DeviceError, match="unknown device 'gpu'; choose one of auto, cuda"):
        Hardware("gpu")
    for threads in (0, -1, 1025, 10**9, 1.5, "2"):
        with pytest.raises(
            DeviceError, match=rf"{threads!r} is not a valid number of threads; use"
        ):
            Hardware(threads=threads)  # type: ignore[arg-type]


def test_the_predictor_names_the_device_that_runs(toy_model: Path) -> None:
    assert Predictor(toy_model).device == "cpu"
    assert Predictor(toy_model, device="cpu", threads=1, strict=True)(PHOTO).alpha.shape == (40, 60)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="there is CUDA")
def test_the_predictor_warns_or_fails_without_its_device(toy_model: Path) -> None:
    with pytest.warns(UserWarning, match="cuda is not available") as warned:
        assert Predictor(toy_model, device="cuda")(PHOTO).alpha.shape == (40, 60)
    with pytest.raises(DeviceError, match="cuda is not available"):
        Predictor(toy_model, device="cuda", strict=True)(PHOTO)
    assert len(warned) == 1
