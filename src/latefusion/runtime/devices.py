"""Where a network runs: the device that was asked for, and the one that it came to be."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latefusion.errors import DeviceError

AUTO = "auto"
CPU = "cpu"

# What ONNX Runtime calls them. Which of them it has depends on the package that is installed.
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    CPU: "CPUExecutionProvider",
}
DEVICES = (AUTO, *PROVIDERS)
MOST_THREADS = 1024  # ONNX Runtime hangs or dies of far more
CURES = {"cuda": "pip install onnxruntime-gpu", "directml": "pip install onnxruntime-directml"}


@dataclass(frozen=True)
class Hardware:
    """What a network shall run on.

    `device` is one of DEVICES; `auto` takes CUDA where it is there, and else the CPU. `threads`
    None leaves their number to ONNX Runtime. `strict` makes it an error where the device is not
    there; otherwise the CPU steps in with a warning. Raises DeviceError.
    """

    device: str = AUTO
    threads: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise DeviceError(f"{self.device} is no device; use one of {', '.join(DEVICES)}")
        if self.threads is not None and not (
            isinstance(self.threads, int | np.integer) and 1 <= self.threads <= MOST_THREADS
        ):
            raise DeviceError(f"{self.threads!r} is no number of threads; use 1 to {MOST_THREADS}")

    def providers(self, available: Sequence[str]) -> list[str]:
        """What to ask ONNX Runtime for, given what it has. Raises DeviceError, or warns."""
        wanted = list(dict.fromkeys(["cuda" if self.device == AUTO else self.device, CPU]))
        if PROVIDERS[wanted[0]] not in available and self.device != AUTO:
            have = [name for name, provider in PROVIDERS.items() if provider in available]
            self.miss(f"this ONNX Runtime has {', '.join(have)} only")
        return [PROVIDERS[name] for name in wanted if PROVIDERS[name] in available]

    def settle(self, asked: str, running: Sequence[str]) -> str:
        """The device of a network, given the provider that it was to run on and each session's own.

        Raises DeviceError, or warns.
        """
        names = {provider: name for name, provider in PROVIDERS.items()}
        other = next((provider for provider in running if provider != asked), None)
        if other and self.device != AUTO:
            self.miss("it did not start; are its driver and libraries there?")
        return names.get(other or asked, other or asked)

    def miss(self, reason: str) -> None:
        """Say that the device is not there: an error if strict, and else a warning."""
        cure = CURES.get(self.device, "install the ONNX Runtime package that has it")
        if self.strict:
            raise DeviceError(f"no {self.device}: {reason}; {cure}, or leave --strict off")
        warnings.warn(f"no {self.device}: {reason}; running on the CPU", stacklevel=2)
