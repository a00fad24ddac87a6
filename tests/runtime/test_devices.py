"""The device that was asked for runs, or the user is told."""

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
def test_providers_follow_the_wish(device: str, available: list[str], providers: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Hardware(device, strict=True).providers(available) == providers


def test_a_missing_device_is_never_passed_over_in_silence() -> None:
    with pytest.warns(UserWarning, match="no cuda: this ONNX Runtime has cpu only; running on the"):
        assert Hardware("cuda").providers([CPU]) == [CPU]
    with pytest.raises(DeviceError, match="pip install onnxruntime-gpu, or leave --strict off"):
        Hardware("cuda", strict=True).providers([CPU])


def test_a_device_that_does_not_start_is_not_passed_over_either() -> None:
    assert Hardware("cuda", strict=True).settle(CUDA, [CUDA, CUDA]) == "cuda"
    with pytest.warns(UserWarning, match="no cuda: it did not start"):
        assert Hardware("cuda").settle(CUDA, [CUDA, CPU]) == "cpu"
    with pytest.raises(DeviceError, match="no cuda: it did not start; are its driver"):
        Hardware("cuda", strict=True).settle(CUDA, [CUDA, CPU])
    assert Hardware("auto", strict=True).settle(CUDA, [CUDA, CPU]) == "cpu"


def test_nonsense_is_refused() -> None:
    with pytest.raises(DeviceError, match="gpu is no device; use one of auto, cuda"):
        Hardware("gpu")
    for threads in (0, -1, 1025, 10**9, 1.5, "2"):
        with pytest.raises(DeviceError, match=rf"{threads!r} is no number of threads; use 1 to"):
            Hardware(threads=threads)  # type: ignore[arg-type]


def test_the_predictor_names_the_device_that_runs(toy_model: Path) -> None:
    assert Predictor(toy_model).device == "cpu"
    assert Predictor(toy_model, device="cpu", threads=1, strict=True)(PHOTO).alpha.shape == (40, 60)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="there is CUDA")
def test_the_predictor_warns_or_fails_where_the_device_is_not_there(toy_model: Path) -> None:
    with pytest.warns(UserWarning, match="no cuda") as warned:
        assert Predictor(toy_model, device="cuda")(PHOTO).alpha.shape == (40, 60)
    with pytest.raises(DeviceError, match="no cuda"):
        Predictor(toy_model, device="cuda", strict=True)(PHOTO)
    assert len(warned) == 1
